//! The only door to stdout and stderr.
//!
//! Results go to stdout; everything else goes to stderr. Colour is for terminals, and never carries the meaning.

mod stderr;

use std::error::Error as _;
use std::io::{self, IsTerminal, Write};

use crate::error::Error;
use crate::output::door;

/// Writes to the two streams.
#[derive(Debug, Clone, Copy)]
pub struct Ui {
    color: bool,
    terminal: bool,
    quiet: bool,
}

impl Ui {
    /// Looks at the environment and at what stderr is.
    pub fn new() -> Self {
        let terminal = io::stderr().is_terminal();
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Self { color: terminal && !plain, terminal, quiet: false }
    }

    /// The same that prints no status if `quiet`.
    #[must_use]
    pub fn hushed(self, quiet: bool) -> Self {
        Self { quiet: self.quiet || quiet, ..self }
    }

    /// Whether colour may be used on stderr.
    pub fn color(self) -> bool {
        self.color
    }

    /// Whether stderr is a terminal.
    pub fn terminal(self) -> bool {
        self.terminal
    }

    /// Writes a result to stdout.
    ///
    /// # Errors
    /// If stdout cannot be written to; a closed pipe is not an error.
    pub fn data(self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match out.write_all(door::block(text).as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            result => result,
        }
    }

    /// Prints what is being done, unless it is quiet.
    pub fn status(self, text: &str) {
        if !self.quiet {
            self.line("", "", text);
        }
    }

    /// Prints what was found, also if it is quiet.
    pub fn report(self, text: &str) {
        self.line("", "", text);
    }

    /// Tells what may be wrong, with what to do about it.
    pub fn warn(self, text: &str) {
        self.line("\x1b[1;33m", "warning: ", text);
    }

    /// Says what to do about what was said before.
    pub fn hint(self, text: &str) {
        self.line("\x1b[1;36m", "hint: ", text);
    }

    /// Tells what ends the program, why, and what to do about it.
    pub fn error(self, error: &Error) {
        self.line("\x1b[1;31m", "error: ", &error.message);
        let mut said = error.message.clone();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            // Causes often repeat what stands above them.
            if !said.contains(&text) {
                self.line("", "  because: ", &text);
                said = text;
            }
            source = cause.source();
        }
        for hint in &error.hints {
            self.hint(hint);
        }
    }

    /// Shows a text of several lines that this program has made, such as a plot.
    pub fn block(self, text: &str) {
        stderr::write(&format!("{}\n", door::block(text)));
    }

    fn line(self, color: &str, label: &str, text: &str) {
        let text = door::message(text);
        stderr::write(&if self.color && !color.is_empty() {
            format!("{color}{label}\x1b[0m{text}\n")
        } else {
            format!("{label}{text}\n")
        });
    }
}

impl Default for Ui {
    fn default() -> Self {
        Self::new()
    }
}
