//! TPOT: (E2E latency − TTFT) / (output tokens − 1), over completed requests with more than one output token.

use super::{Metric, Run, Stat, distribution};

pub(super) const METRIC: Metric = Metric { name: "tpot", stats };

fn stats(run: &Run<'_>) -> Vec<Stat> {
    let seconds = run.completed().filter_map(|record| {
        let steps = record.output_count().checked_sub(1).filter(|&steps| steps > 0)?;
        let after_first = record.e2e()?.saturating_sub(record.ttft()?);
        Some(after_first.as_secs_f64() / steps as f64)
    });
    distribution(run, "tpot", seconds.collect())
}
