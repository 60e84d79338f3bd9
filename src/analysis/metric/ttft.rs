//! TTFT: from the send of a request to its first event with output, over completed requests.

use crate::analysis::gather::Metric;
use crate::analysis::latencies::Latencies;
use crate::analysis::measure::Series;
use crate::analysis::measures::ms;

pub(super) const METRIC: Metric =
    |terms| Box::new(Latencies::new(terms, Series::Ttft, |request| request.record.ttft().map(ms)));
