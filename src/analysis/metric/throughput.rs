//! Completed requests and their tokens per second of the run's duration.

use super::tokens::Tokens;
use super::{Ended, Gather, Metric, Run, Stat, real};
use crate::analysis::measure::Measure;

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
            real(Measure::RequestThroughput, rate(run.completed)),
            real(Measure::InputThroughput, rate(input)),
            real(Measure::OutputThroughput, rate(output)),
            real(Measure::TotalThroughput, rate(input + output)),
        ]
    }
}
