//! E2E latency: from the send of a request to its last event, over completed requests.

use crate::analysis::gather::Metric;
use crate::analysis::latencies::Latencies;
use crate::analysis::measure::Series;
use crate::analysis::measures::ms;

pub(super) const METRIC: Metric =
    |terms| Box::new(Latencies::new(terms, Series::E2e, |request| request.record.e2e().map(ms)));
