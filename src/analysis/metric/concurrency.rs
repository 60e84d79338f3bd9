//! Concurrency: the sum of E2E latencies of completed requests over the duration (the mean number in flight),
//! and the accept length that the server reports.

use std::time::Duration;

use crate::analysis::counts::Ended;
use crate::analysis::gather::{Gather, Metric, Run};
use crate::analysis::measure::Measure;
use crate::analysis::measures::Measures;
use crate::model::RequestRecord;

pub(super) const METRIC: Metric = |_| Box::new(Concurrency::default());

#[derive(Debug, Default)]
struct Concurrency {
    // Of nothing, a sum of floats is -0.
    busy: Duration,
}

impl Gather for Concurrency {
    fn add(&mut self, request: &Ended<'_>) {
        self.busy += request.completed().and_then(RequestRecord::e2e).unwrap_or_default();
    }

    fn merge(&mut self, other: Self) {
        self.busy += other.busy;
    }

    fn finish(self, run: &Run, measures: &mut Measures) {
        let seconds = run.duration.as_secs_f64();
        let mean = (seconds > 0.0).then(|| self.busy.as_secs_f64() / seconds);
        measures.real(Measure::Concurrency, mean);
        measures.real(Measure::AcceptLength, run.close.accept_length);
    }
}
