//! The pages of the book that are made from the program.

use std::fmt::Write as _;
use std::path::Path;

use expect_test::expect_file;

use crate::support::rbench::Rbench;

/// The page of a command from its help: a heading for each group of flags, the flags themselves as they are printed.
fn reference(command: &str, help: &str) -> String {
    let mut page = format!(
        "# rbench {command}\n\n<!-- Made from the help by `UPDATE_EXPECT=1 cargo test book`. -->\n"
    );
    let (mut block, mut fenced) = (String::new(), false);
    for line in help.lines().map(str::trim_end).chain(["end:"]) {
        let heading = line.strip_suffix(':').filter(|_| !line.starts_with(' '));
        let flags =
            (line.is_empty() && fenced) || line.starts_with(' ') || line.starts_with("Usage:");
        if heading.is_some() || flags != fenced {
            let text = block.trim_matches('\n');
            match fenced {
                _ if text.is_empty() => {}
                true => writeln!(page, "\n```text\n{text}\n```").unwrap(),
                false => writeln!(page, "\n{text}").unwrap(),
            }
            block.clear();
        }
        fenced = flags;
        match heading {
            Some("end") => {}
            Some(heading) => writeln!(page, "\n## {heading}").unwrap(),
            None => writeln!(block, "{line}").unwrap(),
        }
    }
    page
}

/// The commands with a page of their flags.
const COMMANDS: [&str; 10] = [
    "serve",
    "run",
    "sweep",
    "offline",
    "one-batch",
    "report",
    "compare",
    "merge",
    "mock",
    "selftest",
];

#[test]
fn the_flag_reference_is_the_help() {
    for command in COMMANDS {
        let help = Rbench::new([command, "--help"]).run().exits(0).stdout;
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/reference/{command}.md"));
        expect_file![path].assert_eq(&reference(command, &help));
    }
}

/// Phrases that readers of the field do not use; `CONTRIBUTING.md` has what to write instead.
const WORST: &str = "be told, can not, facts, is told, lane, lanes, nap, naps, patience, said of, say of, says of, \
                     tell of, tells of, told of, wins over";

/// The sentences of a page, without code, in lower case and with one blank between words.
fn sentences(name: &str, page: &str) -> String {
    let mut text = String::new();
    let mut fenced = false;
    for line in page.lines() {
        fenced ^= line.starts_with("```");
        // That table names them.
        let of_words = name.ends_with("CONTRIBUTING.md") && line.starts_with("| ");
        if !fenced && !of_words {
            text += &line.split('`').step_by(2).collect::<Vec<_>>().join(" ");
            text.push('\n');
        }
    }
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    format!(" {} ", words.collect::<Vec<_>>().join(" ").to_lowercase())
}

#[test]
fn documents_use_the_words_of_the_field() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = Vec::new();
    for folder in ["", "docs", "docs/adr", "examples"] {
        let entries = std::fs::read_dir(root.join(folder)).unwrap();
        pages.extend(
            entries
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.extension().is_some_and(|e| e == "md")),
        );
    }
    let mut texts: Vec<_> = pages
        .iter()
        .map(|path| (path.display().to_string(), std::fs::read_to_string(path).unwrap()))
        .collect();
    for command in COMMANDS {
        texts.push((
            format!("rbench {command} --help"),
            Rbench::new([command, "--help"]).run().exits(0).stdout,
        ));
    }
    assert!(texts.len() > 30, "{}", texts.len());
    for (name, text) in texts {
        let text = sentences(&name, &text);
        let mut found = WORST.split(", ").filter(|phrase| text.contains(&format!(" {phrase} ")));
        assert_eq!(found.next(), None, "{name}");
    }
}
