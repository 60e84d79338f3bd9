//! A latency of requests: what most metrics gather.

use super::counts::Ended;
use super::gather::{Gather, Run, Terms};
use super::measure::Series;
use super::measures::Measures;
use super::stats::Distribution;

/// A latency in ms of each completed request that has it.
#[derive(Debug)]
pub(super) struct Latencies {
    series: Series,
    of: fn(&Ended<'_>) -> Option<f64>,
    ms: Distribution,
}

impl Latencies {
    /// The samples of `series`, which `of` gives.
    pub(super) fn new(
        terms: &Terms<'_>,
        series: Series,
        of: fn(&Ended<'_>) -> Option<f64>,
    ) -> Self {
        Self { series, of, ms: terms.samples() }
    }
}

impl Gather for Latencies {
    fn add(&mut self, request: &Ended<'_>) {
        let latency = request.completed().and_then(|_| (self.of)(request));
        if let Some(ms) = latency {
            self.ms.add(ms);
        }
    }

    fn merge(&mut self, other: Self) {
        self.ms.merge(other.ms);
    }

    fn finish(self, run: &Run, measures: &mut Measures) {
        measures.latencies(run, self.series, self.ms);
    }
}
