//! Completed requests and their tokens per second of the run's duration.

use super::tokens::Tokens;
use super::{Ended, Gather, Metric, Run, Stat, real};

pub(super) const METRIC: Metric =
    Metric { name: "throughput", gather: |_| Box::new(Throughput::default()) };

#[derive(Debug, Default)]
struct Throughput(Tokens);

impl Gather for Throughput {
    fn add(&mut self, request: &Ended<'_>) {
        self.0.add(request);
    }

    fn stats(self: Box<Self>, run: &Run) -> Vec<Stat> {
        let seconds = run.duration.as_secs_f64();
        let rate = |n: u64| (seconds > 0.0).then(|| n as f64 / seconds);
        let (input, output) = (self.0.input(run), self.0.output());
        vec![
            real("request_throughput", rate(run.completed)),
            real("input_throughput", rate(input)),
            real("output_throughput", rate(output)),
            real("total_throughput", rate(input + output)),
        ]
    }
}
