//! Flags of a server that is started for the run.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::TARGET;
use crate::config::Launch;
use crate::config::values::Seconds;

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

impl LaunchArgs {
    /// The server that is started, if one is.
    pub fn launch(self) -> Option<Launch> {
        let Self { launch, launch_log, launch_grace_sec } = self;
        launch.map(|command| Launch {
            command,
            log: launch_log,
            grace: Duration::from_secs_f64(launch_grace_sec.0),
        })
    }
}
