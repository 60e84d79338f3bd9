//! A server that is started for the run.

use std::path::PathBuf;
use std::time::Duration;

use super::usage;
use crate::error::Error;

/// How long a server that was just started is waited for, in seconds: large models take long to load.
pub(super) const READY_TIMEOUT_S: u64 = 1800;

/// A server that is started for the run.
#[derive(Clone)]
pub struct Launch {
    /// What a shell runs; it may hold a key.
    pub command: String,
    /// File for its output.
    pub log: Option<PathBuf>,
    /// Time it has to end before it is killed.
    pub grace: Duration,
}

impl std::fmt::Debug for Launch {
    /// Leaves the command out, which may hold a key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Launch").field("log", &self.log).finish_non_exhaustive()
    }
}

impl Launch {
    /// Refuses an empty command.
    pub(super) fn check(&self) -> Result<(), Error> {
        if !self.command.trim().is_empty() {
            return Ok(());
        }
        Err(usage("--launch: the command is empty".to_owned()).hint(
            "give the server's whole command in quotes, such as 'python3 -m sglang.launch_server --model-path ...'",
        ))
    }
}
