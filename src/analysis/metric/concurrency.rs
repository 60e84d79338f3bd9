//! Concurrency: the sum of E2E latencies of completed requests over the duration (the mean number in flight),
//! and the accept length that the server reports.

use std::time::Duration;

use super::{Ended, Gather, Metric, Run, Stat, real};
use crate::analysis::measure::Measure;
use crate::model::RequestRecord;

pub(super) const METRIC: Metric =
    Metric { name: "concurrency", gather: |_| Box::new(Concurrency::default()) };

#[derive(Debug, Default)]
struct Concurrency {
    // Of nothing, a sum of floats is -0.
    busy: Duration,
}

impl Gather for Concurrency {
    fn add(&mut self, request: &Ended<'_>) {
        self.busy += request.completed().and_then(RequestRecord::e2e).unwrap_or_default();
    }

    fn stats(self: Box<Self>, run: &Run) -> Vec<Stat> {
        let seconds = run.duration.as_secs_f64();
        vec![
            real(Measure::Concurrency, (seconds > 0.0).then(|| self.busy.as_secs_f64() / seconds)),
            real(Measure::AcceptLength, run.close.accept_length),
        ]
    }
}
