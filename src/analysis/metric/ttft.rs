//! TTFT: from the send of a request to its first event with output, over completed requests.

use crate::analysis::gather::Metric;
use crate::analysis::latencies::{Latencies, ttft};
use crate::analysis::measure::Series;

pub(super) const METRIC: Metric = |terms| Box::new(Latencies::new(terms, Series::Ttft, ttft));
