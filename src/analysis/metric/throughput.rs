//! Completed requests and their tokens per second of the run's duration.

use crate::analysis::counts::Ended;
use crate::analysis::gather::{Gather, Metric, Run};
use crate::analysis::measure::Measure;
use crate::analysis::measures::Measures;
use crate::analysis::token_sums::TokenSums;

pub(super) const METRIC: Metric = |_| Box::new(Throughput::default());

#[derive(Debug, Default)]
struct Throughput(TokenSums);

impl Gather for Throughput {
    fn add(&mut self, request: &Ended<'_>) {
        self.0.add(request);
    }

    fn merge(&mut self, other: Self) {
        self.0.merge(other.0);
    }

    fn finish(self, run: &Run, measures: &mut Measures) {
        let seconds = run.duration.as_secs_f64();
        let rate = |n: u64| (seconds > 0.0).then(|| n as f64 / seconds);
        let (input, output) = (self.0.input(run), self.0.output());
        measures.real(Measure::RequestThroughput, rate(run.completed));
        measures.real(Measure::InputThroughput, rate(input));
        measures.real(Measure::OutputThroughput, rate(output));
        measures.real(Measure::TotalThroughput, rate(input + output));
    }
}
