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

#[test]
fn the_flag_reference_is_the_help() {
    for command in ["serve", "offline", "one-batch", "report", "mock", "selftest"] {
        let help = Rbench::new([command, "--help"]).run().exits(0).stdout;
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/reference/{command}.md"));
        expect_file![path].assert_eq(&reference(command, &help));
    }
}
