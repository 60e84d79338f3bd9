//! `rbench man`: the manual page, made from the same definitions as the help texts.

use clap::{Args, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::advice::{HIDDEN, may_repeat};
use crate::error::{ENVIRONMENT, EXIT_CODES};

/// The flags.
#[derive(Debug, Clone, Args)]
#[command(after_help = "To read it: rbench man serve | man -l -\n\
                  To install it: rbench man > /usr/local/share/man/man1/rbench.1,\n\
                  and rbench man serve > /usr/local/share/man/man1/rbench-serve.1")]
pub struct ManArgs {
    /// Command whose page is to be printed [default: that of the whole program]
    #[arg(value_name = "COMMAND")]
    pub command: Option<String>,
}

/// The page of a command of `program`, or of the program itself, as troff.
///
/// # Errors
/// If there is no such command; the text says which there are.
pub(super) fn page(program: &Command, name: Option<&str>) -> Result<String, String> {
    let command = match name {
        None => program.clone(),
        Some(name) => {
            let shown = || program.get_subcommands().filter(|command| !command.is_hide_set());
            let found = shown().find(|command| command.get_name() == name);
            let found = found.cloned().ok_or_else(|| {
                let names: Vec<&str> = shown().map(Command::get_name).collect();
                let all: Vec<&str> = program.get_subcommands().map(Command::get_name).collect();
                let name = if may_repeat(name, &all) { name } else { HIDDEN };
                format!("there is no command {name}; there are {}", names.join(", "))
            })?;
            // Names of pages have no blanks.
            found.display_name(format!("rbench-{name}")).bin_name(format!("rbench {name}"))
        }
    };
    let mut roff = Roff::new();
    roff.control("SH", ["ENVIRONMENT"]);
    for (variables, meaning) in ENVIRONMENT {
        roff.control("TP", []);
        roff.text([bold(*variables)]);
        roff.text([roman(*meaning)]);
    }
    roff.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in EXIT_CODES {
        roff.control("TP", []);
        roff.text([bold(*code)]);
        roff.text([roman(*meaning)]);
    }
    roff.control("SH", ["SEE ALSO"]);
    let has_page = |command: &&Command| !command.is_hide_set() && command.get_name() != "help";
    let others = program.get_subcommands().filter(has_page);
    let others = others.map(|command| Some(command.get_name())).filter(|other| *other != name);
    let itself = name.is_some().then_some(None);
    let mut pages = Vec::new();
    for page in itself.into_iter().chain(others) {
        if !pages.is_empty() {
            pages.push(roman(", "));
        }
        pages.push(bold(page.map_or("rbench".to_owned(), |page| format!("rbench-{page}"))));
        pages.push(roman("(1)"));
    }
    roff.text(pages);
    let man = Man::new(command).manual("rbench manual");
    let mut text = Vec::new();
    // Writing to memory does not fail.
    let _ = man.render(&mut text);
    let _ = roff.to_writer(&mut text);
    Ok(String::from_utf8_lossy(&text).into_owned())
}
