//! `rbench completions`: the script that completes command lines in a shell, made from the definitions of the flags.

use clap::{Args, Command};
use clap_complete::Shell;

/// The flags.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "To install it: rbench completions bash > ~/.local/share/bash-completion/completions/rbench"
)]
pub(super) struct CompletionsArgs {
    /// Shell that reads the script
    #[arg(value_name = "SHELL")]
    pub(super) shell: Shell,
}

/// Returns the script for `shell`; hidden commands are not in it.
pub(super) fn script(program: &Command, shell: Shell) -> String {
    // The generator would complete what is hidden, and adds the help itself.
    let is_shown = |command: &&Command| !command.is_hide_set() && command.get_name() != "help";
    let commands = program.get_subcommands().filter(is_shown).cloned();
    let mut program = Command::new("rbench").subcommands(commands);
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut program, "rbench", &mut text);
    String::from_utf8_lossy(&text).into_owned()
}
