//! TTFT: from the send of a request to its first event with output, over completed requests.

use super::{Metric, Run, Stat, distribution};
use crate::model::RequestRecord;

pub(super) const METRIC: Metric = Metric { name: "ttft", stats };

fn stats(run: &Run<'_>) -> Vec<Stat> {
    let seconds = run.completed().filter_map(RequestRecord::ttft).map(|t| t.as_secs_f64());
    distribution(run, "ttft", seconds.collect())
}
