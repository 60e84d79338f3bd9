//! How precise the figures of one run are: intervals of means, rates and percentiles, from its own requests alone.
//!
//! They hold within the run: what differs from one run to the next (a neighbour on the host, another placement, a
//! warmer cache) is not in them. A percentile with an end that the sample does not bound is not supported by it; then
//! there is no interval but the number of requests that would do. [`crate::analysis::statistics`] has the method.

use std::sync::Arc;

use super::counts::{Ended, Shares};
use super::gather::Close;
use super::latencies;
use super::measure::{Measure, Percent, Series, Statistic};
use super::statistics::{
    Around, CONFIDENCE, Estimate, Parts, overlapping, per_time, samples_needed,
};
use super::stats::Sorted;

/// What the sample says about how far a figure is from the truth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bounds {
    /// The truth lies between these with a probability of [`CONFIDENCE`].
    Between(f64, f64),
    /// The sample does not support the figure; so many completed requests would.
    Needs(u64),
}

/// The bounds of the figures of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Confidence {
    /// Of each figure, in the order of results.
    pub figures: Vec<(Measure, Bounds)>,
    /// Of the share of sent requests that completed.
    pub success: Option<(f64, f64)>,
}

/// Percentiles that have bounds beside those that are asked for.
const PERCENTS: [Percent; 4] =
    [Percent::whole(50), Percent::whole(90), Percent::whole(95), Percent::whole(99)];

/// Gives the samples of a request, in ms, with how many entries each stands for.
type Samples<'a> = &'a dyn Fn(&Ended<'_>, &mut dyn FnMut(f64, u64));

impl Confidence {
    /// That of the figures of `requests`; `shares` says how the gaps of ITL are shared.
    pub(super) fn of<'a>(
        requests: impl Iterator<Item = Ended<'a>>,
        shares: Shares,
        close: &Close,
    ) -> Self {
        let mut sent: Vec<Ended<'a>> =
            requests.filter(|request| request.record.sent.is_some()).collect();
        // Requests that overlapped are neighbours in the order of sending.
        sent.sort_by_key(|request| request.record.sent);
        let span = |request: &Ended<'_>| {
            let start = request.record.sent.unwrap_or_default();
            (start.as_secs_f64(), request.record.done.unwrap_or(start).as_secs_f64())
        };
        let at_least = 2 * overlapping(sent.iter().map(span));
        let tries: Vec<bool> = sent.iter().map(|request| request.completed().is_some()).collect();
        let success = Estimate::share(&[tries], &[at_least]);
        let mut percents = PERCENTS.to_vec();
        percents.extend(close.percentiles.iter().filter(|asked| !PERCENTS.contains(asked)));
        let mut all = Gathered { sent: &sent, at_least, percents, figures: Vec::new() };
        all.rates();
        let one = |of: fn(&Ended<'_>) -> Option<f64>| {
            move |request: &Ended<'_>, each: &mut dyn FnMut(f64, u64)| {
                if let Some(ms) = of(request) {
                    each(ms, 1);
                }
            }
        };
        all.series(Series::E2e, &one(latencies::e2e));
        all.series(Series::Ttft, &one(latencies::ttft));
        all.series(Series::Tpot, &one(latencies::tpot));
        let is_shared = Shares::of(shares != Shares::Never, close.accept_length) == Shares::Always;
        all.series(Series::Itl, &|request, each| latencies::itl(request, is_shared, each));
        all.series(Series::TtftFromDue, &one(latencies::ttft_from_due));
        all.series(Series::E2eFromDue, &one(latencies::e2e_from_due));
        let success = success.and_then(|share| share.interval(CONFIDENCE));
        Self { figures: all.figures, success }
    }

    /// The bounds of `measure`, if it has any.
    pub fn bounds(&self, measure: Measure) -> Option<Bounds> {
        self.figures.iter().find(|(given, _)| *given == measure).map(|(_, bounds)| *bounds)
    }
}

/// Bounds on their way.
struct Gathered<'s, 'a> {
    /// In the order of sending.
    sent: &'s [Ended<'a>],
    /// The least length of a batch.
    at_least: usize,
    percents: Vec<Percent>,
    figures: Vec<(Measure, Bounds)>,
}

impl Gathered<'_, '_> {
    fn add(&mut self, measure: Measure, estimate: Option<Estimate>) {
        if let Some((low, high)) = estimate.and_then(|estimate| estimate.interval(CONFIDENCE)) {
            // Neither latencies nor rates are below 0.
            self.figures.push((measure, Bounds::Between(low.max(0.0), high)));
        }
    }

    /// Adds the bounds of rates.
    fn rates(&mut self) {
        // That nothing came of a few requests does not say that nothing would of more.
        if self.sent.iter().all(|request| request.completed().is_none()) {
            return;
        }
        let has_images = self.sent.iter().any(|request| request.counts.vision > 0);
        let input = |request: &Ended<'_>| request.counts.prompt as f64;
        let output = |request: &Ended<'_>| request.output() as f64;
        let mut rate = |measure, brings: &dyn Fn(&Ended<'_>) -> f64| {
            let brought = |request: &Ended<'_>| {
                let brought = request.completed().map_or(0.0, |_| brings(request));
                (request.record.done.unwrap_or_default().as_secs_f64(), brought)
            };
            let parts = per_time(self.sent.iter().map(brought).collect());
            self.add(measure, Estimate::ratio(&[parts], &[self.at_least]));
        };
        rate(Measure::RequestThroughput, &|_| 1.0);
        // The tokens of images may be known in total alone.
        if !has_images {
            rate(Measure::InputThroughput, &input);
        }
        rate(Measure::OutputThroughput, &output);
        if !has_images {
            rate(Measure::TotalThroughput, &|request| input(request) + output(request));
        }
    }

    /// Adds the bounds of mean and percentiles of the samples of `series`.
    fn series(&mut self, series: Series, samples: Samples<'_>) {
        let completed = || self.sent.iter().filter(|request| request.completed().is_some());
        let mut pooled = Vec::new();
        let mut parts = Parts::new();
        for request in completed() {
            let (mut sum, mut n) = (0.0, 0.0);
            samples(request, &mut |ms, times| {
                pooled.extend(std::iter::repeat_n(ms, usize::try_from(times).unwrap_or(0)));
                sum += ms * times as f64;
                n += times as f64;
            });
            parts.push((sum, n));
        }
        if pooled.is_empty() {
            return;
        }
        let having = parts.iter().filter(|(_, n)| *n > 0.0).count() as f64;
        let per_request = pooled.len() as f64 / having;
        let mean = Estimate::ratio(&[parts], &[self.at_least]);
        let sorted = Arc::new(Sorted::new(pooled));
        let values: Vec<f64> =
            self.percents.iter().filter_map(|q| sorted.percentile(q.value())).collect();
        let mut around = vec![Vec::new(); values.len()];
        for request in completed() {
            for around in &mut around {
                around.push(Around::default());
            }
            samples(request, &mut |ms, times| {
                for (around, value) in around.iter_mut().zip(&values) {
                    if let Some(last) = around.last_mut() {
                        last.add(ms, *value, times as f64);
                    }
                }
            });
        }
        self.add(Measure::Of(Statistic::Mean, series), mean);
        for (percent, around) in self.percents.clone().into_iter().zip(around) {
            let measure = Measure::Of(Statistic::Percentile(percent), series);
            let q = percent.value();
            let estimate = Estimate::percentile_of(q, &[around], &[self.at_least], &sorted);
            let growth = estimate.as_ref().and_then(|estimate| estimate.growth(CONFIDENCE));
            if growth.is_some_and(|growth| growth <= 1.0) {
                self.add(measure, estimate);
                continue;
            }
            let requests = growth.map(|growth| growth * having).or_else(|| {
                // Too few to see how they depend on each other.
                Some(samples_needed(q, CONFIDENCE)? / per_request)
            });
            let requests = requests.map(|requests| requests.max(having + 1.0).ceil());
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive")]
            if let Some(requests) = requests.filter(|requests| *requests < 1e12) {
                self.figures.push((measure, Bounds::Needs(requests as u64)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::testing::{ended, record};
    use crate::model::RequestRecord;

    fn records(n: u64) -> Vec<RequestRecord> {
        (0..n)
            .map(|i| {
                let sent = 100 * i;
                let first = sent + 20 + i * 37 % 101;
                record(sent, &[first, first + 10, first + 20], &["a", "b", "c"])
            })
            .collect()
    }

    fn bounds(n: u64, statistic: Statistic) -> Option<Bounds> {
        let records = records(n);
        let confidence = Confidence::of(ended(&records), Shares::Never, &Close::default());
        confidence.bounds(Measure::Of(statistic, Series::Ttft))
    }

    #[test]
    fn a_percentile_has_bounds_once_the_sample_supports_it() {
        let Some(Bounds::Needs(needs)) = bounds(200, Statistic::P99) else { panic!() };
        assert!((300..2000).contains(&needs), "{needs}");
        assert!(matches!(bounds(2 * needs, Statistic::P99), Some(Bounds::Between(..))));
        let Some(Bounds::Between(low, high)) = bounds(200, Statistic::MEDIAN) else { panic!() };
        assert!(low > 40.0 && low < 70.0 && high > 70.0 && high < 100.0, "{low} {high}");
        // One request supports nothing but says what would.
        let Some(Bounds::Needs(needs)) = bounds(1, Statistic::MEDIAN) else { panic!() };
        assert!((4..10).contains(&needs), "{needs}");
        assert_eq!(bounds(1, Statistic::Mean), None);
        assert_eq!(bounds(0, Statistic::Mean), None);
    }

    #[test]
    fn means_and_rates_have_their_figure_within_their_bounds() {
        let records = records(300);
        let confidence = Confidence::of(ended(&records), Shares::Never, &Close::default());
        let Some(Bounds::Between(low, high)) = confidence.bounds(Measure::RequestThroughput) else {
            panic!()
        };
        // One each 100 ms.
        assert!(low < 10.0 && 10.0 < high && high - low < 1.0, "{low} {high}");
        let (low, high) = confidence.success.unwrap();
        assert!(low > 0.98 && high >= 1.0, "{low} {high}");
    }
}
