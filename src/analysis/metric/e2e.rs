//! E2E latency: from the send of a request to its last event, over completed requests.

use crate::analysis::gather::Metric;
use crate::analysis::latencies::{Latencies, e2e};
use crate::analysis::measure::Series;

pub(super) const METRIC: Metric = |terms| Box::new(Latencies::new(terms, Series::E2e, e2e));
