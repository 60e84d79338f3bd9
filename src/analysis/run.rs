//! What is known of a run as a whole once all its requests were added.

use std::time::Duration;

use super::counts::Ended;
use super::measure::Percent;

/// What is known once all requests were added.
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// Requests that were added.
    pub requests: u64,
    /// Those that completed.
    pub completed: u64,
    /// From the start of the run to the last end of a request.
    pub duration: Duration,
    /// What only the end of a run tells.
    pub close: Close,
}

impl Run {
    /// Adds a request that has ended.
    pub(super) fn add(&mut self, request: &Ended<'_>) {
        self.requests += 1;
        self.completed += u64::from(request.record.completed());
        self.duration = self.duration.max(request.record.done.unwrap_or_default());
    }

    /// Adds the requests of `other`.
    pub(super) fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.completed += other.completed;
        self.duration = self.duration.max(other.duration);
    }
}

/// What only the end of a run tells.
#[derive(Debug, Clone, Default)]
pub struct Close {
    /// The server's report on speculative decoding.
    pub accept_length: Option<f64>,
    /// Prompt tokens for images of completed requests that only the totals of all requests tell.
    pub vision_tokens: u64,
    /// Most requests in flight as the threads saw it, for runs whose samples are not kept.
    pub peak_in_flight: u64,
    /// The gap that the arrival process drew after the last request.
    pub last_gap: Duration,
    /// What stopping the profilers and asking the server for its state took after the run.
    pub server_info_time: Duration,
    /// Percentiles that are asked for beside the usual ones, each once.
    pub percentiles: Vec<Percent>,
}
