//! Has servers profile themselves during a run.
//!
//! A profile is an extra: whatever goes wrong with it is a warning, and the measurement goes on.
//! But a profiler that is left running slows down whatever the server does next, so each one that may have begun is
//! asked to stop, however the run ends.

use serde_json::Value;
use std::time::Duration;

use crate::config::profile::{Profile, Worker};
use crate::control::probe::{Probe, Unanswered};

/// Longest wait for an answer: servers write their traces before they answer a stop.
const TIMEOUT: Duration = Duration::from_mins(10);

/// What became of a call, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It worked.
    Done(String),
    /// It did not.
    Failed(String),
}

/// Servers that are profiling themselves.
#[derive(Debug, Clone)]
pub struct Running {
    profile: Profile,
    probe: Probe,
    /// Those that may have begun.
    workers: Vec<Worker>,
}

impl Running {
    /// All servers of `profile`, of which any may begin from now on.
    pub fn new(profile: &Profile, probe: &Probe) -> Self {
        let (profile, probe) = (profile.clone(), probe.clone());
        Self { workers: profile.workers.clone(), profile, probe }
    }

    /// Starts the profilers, one after the other; `epoch_s`, in seconds since 1970, names the folder of the traces.
    pub async fn start(&mut self, epoch_s: f64, mut said: impl FnMut(Said)) {
        let body = self.profile.start_body(epoch_s);
        let mut begun = Vec::new();
        for worker in &self.workers {
            let name = &worker.name;
            let started = self.call(worker, "/start_profile", &body, TIMEOUT).await;
            // Without an answer nobody knows how far it came.
            if started.as_ref().map_or_else(|lost| lost.sent && lost.status.is_none(), |()| true) {
                begun.push(worker.clone());
            }
            said(match started {
                Ok(()) => Said::Done(format!("profiler of {name} started")),
                Err(lost) => {
                    let reason = lost.message;
                    Said::Failed(format!("the profiler of {name} did not start: {reason}"))
                }
            });
        }
        self.workers = begun;
    }

    /// Stops the profilers that may have begun, each within 10 minutes.
    pub async fn stop(self, said: impl FnMut(Said)) {
        self.stop_within(TIMEOUT, said).await;
    }

    /// Stops the profilers that may have begun, within `timeout` each.
    pub async fn stop_within(self, timeout: Duration, mut said: impl FnMut(Said)) {
        let body = self.profile.stop_body();
        for worker in &self.workers {
            let name = &worker.name;
            said(match self.call(worker, "/stop_profile", &body, timeout).await {
                Ok(()) => Said::Done(format!("profiler of {name} stopped")),
                // Those that count steps have stopped if there were as many.
                Err(lost) if lost.status.is_some() && self.profile.counts => Said::Done(format!(
                    "profiler of {name} counts its steps; asked to stop after the load, {}",
                    lost.message
                )),
                Err(lost) => {
                    Said::Failed(format!("the profiler of {name} did not stop: {}", lost.message))
                }
            });
        }
    }

    async fn call(
        &self,
        worker: &Worker,
        path: &str,
        body: &Value,
        timeout: Duration,
    ) -> Result<(), Unanswered> {
        self.probe.post(&format!("{}{path}", worker.base), body, timeout).await
    }
}
