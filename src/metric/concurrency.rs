//! Concurrency: the sum of E2E latencies of completed requests over the duration (the mean number in flight),
//! and the accept length that the server reports.

use std::time::Duration;

use super::{Metric, Run, Stat, real};
use crate::model::RequestRecord;

pub(super) const METRIC: Metric = Metric { name: "concurrency", stats };

fn stats(run: &Run<'_>) -> Vec<Stat> {
    let seconds = run.duration().as_secs_f64();
    // Of nothing, a sum of floats is -0.
    let busy: Duration = run.completed().filter_map(RequestRecord::e2e).sum();
    vec![
        real("concurrency", (seconds > 0.0).then(|| busy.as_secs_f64() / seconds)),
        real("accept_length", run.accept_length),
    ]
}
