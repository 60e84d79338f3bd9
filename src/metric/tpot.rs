//! TPOT: (E2E latency − TTFT) / (output tokens per completion − 1), over completed requests where that divisor is
//! above 0. Output tokens per completion is the mean over the completions of the request, nearly always one.

use super::{Metric, Run, Stat, distribution};

pub(super) const METRIC: Metric = Metric { name: "tpot", stats };

fn stats(run: &Run<'_>) -> Vec<Stat> {
    let seconds = run.completed().filter_map(|record| {
        let steps = record.steps()?;
        let after_first = record.e2e()?.saturating_sub(record.ttft()?);
        Some(after_first.as_secs_f64() / steps)
    });
    distribution(run, "tpot", seconds.collect())
}
