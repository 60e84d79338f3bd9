//! Requests that completed, and how long the run took.
//!
//! - `completed`: requests whose whole response arrived.
//! - `duration`: from the start of the run, when the first request is due, to the last end of any request, in s.
//! - `reference_duration`: what SGLang's client would report: it also waits out the gap that the arrival process
//!   draws after the last request, the stop of the profiler, and the question for the server's state.

use super::{Metric, Run, Stat, count, real};

pub(super) const METRIC: Metric = Metric { name: "totals", stats };

fn stats(run: &Run<'_>) -> Vec<Stat> {
    let last_due = run.records.last().map(|record| record.due).unwrap_or_default();
    let waited = run.duration().max(last_due + run.last_gap);
    vec![
        count("completed", run.completed().count() as u64),
        real("duration", Some(run.duration().as_secs_f64())),
        real("reference_duration", Some((waited + run.server_info_time).as_secs_f64())),
    ]
}
