//! TPOT: (E2E latency − TTFT) / (output tokens per completion − 1), over completed requests where that divisor is
//! above 0. Output tokens per completion is the mean over the completions of the request, nearly always one.

use crate::analysis::counts::Ended;
use crate::analysis::gather::Metric;
use crate::analysis::latencies::Latencies;
use crate::analysis::measure::Series;

pub(super) const METRIC: Metric = |terms| Box::new(Latencies::new(terms, Series::Tpot, tpot));

fn tpot(request: &Ended<'_>) -> Option<f64> {
    let steps = request.steps()?;
    let after_first = request.record.e2e()?.saturating_sub(request.record.ttft()?);
    Some(after_first.as_secs_f64() / steps * 1e3)
}
