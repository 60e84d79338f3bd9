//! E2E latency: from the send of a request to its last event, over completed requests.

use super::latencies::Latencies;
use super::{Metric, ms};

pub(super) const METRIC: Metric = Metric {
    name: "e2e_latency",
    gather: |terms| Latencies::boxed(terms, "e2e_latency", |record| record.e2e().map(ms)),
};
