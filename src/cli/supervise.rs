//! The flags of `rbench supervise`, which rbench runs by itself.

use clap::Args;

use crate::config::values::Seconds;

/// The args of the process that stands between this one and the server that it started.
#[derive(Debug, Clone, Args)]
pub struct SuperviseArgs {
    /// Time the server has to end before it is killed
    #[arg(long, value_name = "SECONDS")]
    pub grace: Seconds,
    /// Become the server, as a child of that process
    #[arg(long, value_name = "PID")]
    pub child_of: Option<i32>,
    /// The server's command
    #[arg(allow_hyphen_values = true)]
    pub command: String,
}
