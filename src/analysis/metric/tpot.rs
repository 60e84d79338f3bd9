//! TPOT: (E2E latency − TTFT) / (output tokens per completion − 1), over completed requests where that divisor is
//! above 0. Output tokens per completion is the mean over the completions of the request, nearly always one.

use crate::analysis::gather::Metric;
use crate::analysis::latencies::{Latencies, tpot};
use crate::analysis::measure::Series;

pub(super) const METRIC: Metric = |terms| Box::new(Latencies::new(terms, Series::Tpot, tpot));
