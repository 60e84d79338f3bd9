//! TPOT: (E2E latency − TTFT) / (output tokens per completion − 1), over completed requests where that divisor is
//! above 0. Output tokens per completion is the mean over the completions of the request, nearly always one.

use super::Metric;
use super::latencies::Latencies;
use crate::analysis::measure::Series;
use crate::model::RequestRecord;

pub(super) const METRIC: Metric =
    Metric { name: "tpot", gather: |terms| Latencies::boxed(terms, Series::Tpot, tpot) };

fn tpot(record: &RequestRecord) -> Option<f64> {
    let steps = record.steps()?;
    let after_first = record.e2e()?.saturating_sub(record.ttft()?);
    Some(after_first.as_secs_f64() / steps * 1e3)
}
