//! Completed requests and their tokens per second of the run's duration.

use super::{Metric, Run, Stat, real, tokens};

pub(super) const METRIC: Metric = Metric { name: "throughput", stats };

fn stats(run: &Run<'_>) -> Vec<Stat> {
    let seconds = run.duration().as_secs_f64();
    let rate = |n: u64| (seconds > 0.0).then(|| n as f64 / seconds);
    let input: u64 = run.completed().map(|record| record.prompt_len as u64).sum();
    let output = tokens::total_output(run);
    vec![
        real("request_throughput", rate(run.completed().count() as u64)),
        real("input_throughput", rate(input)),
        real("output_throughput", rate(output)),
        real("total_throughput", rate(input + output)),
    ]
}
