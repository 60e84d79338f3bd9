//! E2E latency: from the send of a request to its last event, over completed requests.

use super::{Metric, Run, Stat, distribution};
use crate::model::RequestRecord;

pub(super) const METRIC: Metric = Metric { name: "e2e_latency", stats };

fn stats(run: &Run<'_>) -> Vec<Stat> {
    let seconds = run.completed().filter_map(RequestRecord::e2e).map(|t| t.as_secs_f64());
    distribution(run, "e2e_latency", seconds.collect())
}
