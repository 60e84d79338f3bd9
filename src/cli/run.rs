//! The flags of `rbench run`.

use std::path::PathBuf;

use clap::Args;

/// The flags.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Keys that FILE leaves out are as where serve has no flag. No key of a server stands in FILE: the environment\n\
                  or a file that it names has it, and the variables that it names have the values of headers."
)]
pub struct RunArgs {
    /// Configuration that rbench serve --print-config has printed; - is the standard input
    #[arg(value_name = "FILE")]
    pub config: PathBuf,
}
