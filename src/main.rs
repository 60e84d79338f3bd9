//! The `rbench` program: hands its words to the library and its result to the shell.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(rbench::run(std::env::args_os()))
}
