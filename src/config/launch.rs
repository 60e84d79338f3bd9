//! A server that is started for the run.

use std::path::PathBuf;
use std::time::Duration;

use super::usage;
use crate::cli::launch::LaunchArgs;
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

/// Resolves the flags of `--launch`, for a server that is waited for `timeout_s` seconds if that is given.
pub(super) fn resolve(args: &LaunchArgs, timeout_s: Option<u64>) -> Result<Option<Launch>, Error> {
    let Some(command) = &args.launch else { return Ok(None) };
    if command.trim().is_empty() {
        return Err(usage("--launch: the command is empty".to_owned()).hint(
            "give the server's whole command in quotes, such as 'python3 -m sglang.launch_server --model-path ...'",
        ));
    }
    if timeout_s == Some(0) {
        return Err(usage(
            "--ready-check-timeout-sec 0 does not apply to --launch: nothing would be ready"
                .to_owned(),
        )
        .hint("leave --ready-check-timeout-sec out to wait for up to half an hour"));
    }
    Ok(Some(Launch {
        command: command.clone(),
        log: args.launch_log.clone(),
        grace: Duration::from_secs_f64(args.launch_grace_sec.0),
    }))
}
