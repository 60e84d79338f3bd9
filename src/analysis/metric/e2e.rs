//! E2E latency: from the send of a request to its last event, over completed requests.

use super::latencies::Latencies;
use super::{Metric, ms};
use crate::analysis::measure::Series;

pub(super) const METRIC: Metric = Metric {
    name: "e2e_latency",
    gather: |terms| Latencies::boxed(terms, Series::E2e, |record| record.e2e().map(ms)),
};
