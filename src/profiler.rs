//! Has servers profile themselves during a run.
//!
//! A profile is an extra: whatever goes wrong with it is a warning, and the measurement goes on.

use serde_json::Value;
use std::time::Duration;

use crate::config::profile::{Profile, Worker};
use crate::probe::Probe;

/// Longest wait for an answer: servers write their traces before they answer a stop.
const PATIENCE: Duration = Duration::from_mins(10);

/// What became of a call, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It worked.
    Done(String),
    /// It did not.
    Failed(String),
}

/// Servers that are profiling themselves.
#[derive(Debug)]
pub struct Running<'a> {
    profile: &'a Profile,
    probe: &'a Probe,
    /// Those that have begun.
    workers: Vec<&'a Worker>,
}

impl<'a> Running<'a> {
    /// Starts the profilers, one after the other; `epoch_s`, in seconds since 1970, names the folder of the traces.
    pub async fn start(
        profile: &'a Profile,
        probe: &'a Probe,
        epoch_s: f64,
        mut said: impl FnMut(Said),
    ) -> Self {
        let body = profile.start_body(epoch_s);
        let mut workers = Vec::new();
        for worker in &profile.workers {
            match call(probe, worker, "/start_profile", &body).await {
                Ok(()) => {
                    workers.push(worker);
                    said(Said::Done(format!("profiler of {} started", worker.name)));
                }
                Err(reason) => said(Said::Failed(format!(
                    "the profiler of {} did not start: {reason}",
                    worker.name
                ))),
            }
        }
        Self { profile, probe, workers }
    }

    /// Stops the profilers that were started, unless they stop by themselves.
    pub async fn stop(self, mut said: impl FnMut(Said)) {
        if !self.profile.stops {
            return;
        }
        let body = self.profile.stop_body();
        for worker in self.workers {
            said(match call(self.probe, worker, "/stop_profile", &body).await {
                Ok(()) => Said::Done(format!("profiler of {} stopped", worker.name)),
                Err(reason) => {
                    Said::Failed(format!("the profiler of {} did not stop: {reason}", worker.name))
                }
            });
        }
    }
}

async fn call(probe: &Probe, worker: &Worker, path: &str, body: &Value) -> Result<(), String> {
    probe.post(&format!("{}{path}", worker.base), body, PATIENCE).await
}
