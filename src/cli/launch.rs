//! Flags of a server that is started for the run.

use std::path::PathBuf;

use clap::Args;

use super::{Seconds, TARGET};

/// Flags of a server that is started for the run.
///
/// None of them is among the effective of a result: a command line may hold a key.
#[derive(Debug, Clone, Args)]
pub struct LaunchArgs {
    /// Start this server with `sh -c`, wait for it, measure it, and end it with all its processes
    #[arg(long, value_name = "COMMAND", conflicts_with = "mock", help_heading = TARGET)]
    pub launch: Option<String>,
    /// File for that server's output [default: memory; its end is printed if it fails]
    #[arg(long, value_name = "FILE", requires = "launch", help_heading = TARGET)]
    pub launch_log: Option<PathBuf>,
    /// Time that server has to end before it is killed
    #[arg(long, value_name = "SECONDS", default_value = "10", requires = "launch", help_heading = TARGET)]
    pub launch_grace_sec: Seconds,
}

impl Default for LaunchArgs {
    fn default() -> Self {
        Self { launch: None, launch_log: None, launch_grace_sec: Seconds(10.0) }
    }
}

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
