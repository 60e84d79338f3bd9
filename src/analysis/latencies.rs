//! A latency of requests: what most metrics gather.

use super::counts::Ended;
use super::gather::{Gather, Run, Terms};
use super::measure::Series;
use super::measures::{Measures, ms};
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

/// E2E latency of a request, in ms.
pub(super) fn e2e(request: &Ended<'_>) -> Option<f64> {
    request.record.e2e().map(ms)
}

/// Time to first token of a request, in ms.
pub(super) fn ttft(request: &Ended<'_>) -> Option<f64> {
    request.record.ttft().map(ms)
}

/// Time per output token of a request after its first, in ms.
pub(super) fn tpot(request: &Ended<'_>) -> Option<f64> {
    let steps = request.steps()?;
    let after_first = request.record.e2e()?.saturating_sub(request.record.ttft()?);
    Some(after_first.as_secs_f64() / steps * 1e3)
}

/// Time to first token of a request from its due time, in ms.
pub(super) fn ttft_from_due(request: &Ended<'_>) -> Option<f64> {
    let record = request.record;
    Some(ms(record.first_token()?.saturating_sub(record.due)))
}

/// E2E latency of a request from its due time, in ms.
pub(super) fn e2e_from_due(request: &Ended<'_>) -> Option<f64> {
    Some(ms(request.record.done?.saturating_sub(request.record.due)))
}

/// Gives `each` gap of ITL of a request, in ms, with the number of entries that it is: by the running counts of its
/// events or, if it is shared, by the tokens of the pieces of text.
pub(super) fn itl(request: &Ended<'_>, is_shared: bool, mut each: impl FnMut(f64, u64)) {
    for gap in request.record.events.gaps() {
        let (parts, times) = if is_shared {
            // A piece without a token keeps its gap whole.
            let pieces = request.pieces.unwrap_or_default();
            let tokens = pieces.get(gap.event).map_or(1, |&tokens| tokens.max(1));
            (tokens, tokens)
        } else {
            (gap.tokens.max(1), gap.tokens)
        };
        each(gap.length().as_secs_f64() / f64::from(parts) * 1e3, times.into());
    }
}
