//! A latency of requests: what most metrics gather.

use super::{Ended, Gather, Run, Stat, Terms, distribution};
use crate::analysis::measure::Series;
use crate::analysis::stats::Distribution;
use crate::model::RequestRecord;

/// A latency in ms of each completed request that has it.
#[derive(Debug)]
pub(super) struct Latencies {
    series: Series,
    of: fn(&RequestRecord) -> Option<f64>,
    ms: Distribution,
}

impl Latencies {
    /// The samples of `series`, which `of` gives.
    pub(super) fn new(
        terms: &Terms<'_>,
        series: Series,
        of: fn(&RequestRecord) -> Option<f64>,
    ) -> Self {
        Self { series, of, ms: terms.samples() }
    }

    /// As [`Self::new`], for a metric that is this and nothing else.
    pub(super) fn boxed(
        terms: &Terms<'_>,
        series: Series,
        of: fn(&RequestRecord) -> Option<f64>,
    ) -> Box<dyn Gather> {
        Box::new(Self::new(terms, series, of))
    }

    /// Their figures.
    pub(super) fn into_stats(self, run: &Run) -> Vec<Stat> {
        distribution(run, self.series, self.ms)
    }
}

impl Gather for Latencies {
    fn add(&mut self, request: &Ended<'_>) {
        if let Some(ms) = request.completed().and_then(self.of) {
            self.ms.add(ms);
        }
    }

    fn stats(self: Box<Self>, run: &Run) -> Vec<Stat> {
        self.into_stats(run)
    }
}
