//! TTFT: from the send of a request to its first event with output, over completed requests.

use super::latencies::Latencies;
use super::{Metric, ms};
use crate::analysis::measure::Series;

pub(super) const METRIC: Metric = Metric {
    name: "ttft",
    gather: |terms| Latencies::boxed(terms, Series::Ttft, |record| record.ttft().map(ms)),
};
