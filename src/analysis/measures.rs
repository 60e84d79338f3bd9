//! The figures of a run, and the distributions that they are of.

use std::time::Duration;

use super::measure::{Measure, Series, Statistic};
use super::run::Run;
use super::stats::{Distribution, Method};

/// A figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stat {
    /// Which one.
    pub measure: Measure,
    /// Its value.
    pub value: Figure,
}

/// The value of a figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Figure {
    /// A whole number.
    Count(u64),
    /// A measured number; finite.
    Real(f64),
    /// Nothing to compute it from.
    Absent,
}

impl Figure {
    /// The figure as a number.
    pub fn number(self) -> Option<f64> {
        match self {
            Self::Count(n) => Some(n as f64),
            Self::Real(x) => Some(x),
            Self::Absent => None,
        }
    }
}

impl From<Option<f64>> for Figure {
    fn from(value: Option<f64>) -> Self {
        value.filter(|x| x.is_finite()).map_or(Self::Absent, Self::Real)
    }
}

/// Percentiles that every distribution has, in their order; what [`super::run::Close::percentiles`] asks for beside
/// them follows.
const PERCENTILES: [Statistic; 4] =
    [Statistic::MEDIAN, Statistic::P90, Statistic::P95, Statistic::P99];

/// Figures in the order of the metrics, and the distributions of latencies.
#[derive(Debug, Clone, Default)]
pub struct Measures {
    /// The figures.
    pub stats: Vec<Stat>,
    distributions: Vec<(Series, Distribution)>,
}

impl From<Vec<Stat>> for Measures {
    fn from(stats: Vec<Stat>) -> Self {
        Self { stats, ..Self::default() }
    }
}

impl Measures {
    /// The figure of `measure`; absent if no metric gave it.
    pub fn figure(&self, measure: Measure) -> Figure {
        let given = self.stats.iter().find(|stat| stat.measure == measure);
        given.map_or(Figure::Absent, |stat| stat.value)
    }

    /// The samples of `series`; those between events are counted, as nobody needs room for all of them twice.
    pub fn distribution(&self, series: Series) -> Option<&Distribution> {
        self.distributions.iter().find(|(given, _)| *given == series).map(|(_, samples)| samples)
    }

    /// Adds the figures of `others` after these.
    pub fn extend(&mut self, others: Self) {
        self.stats.extend(others.stats);
        self.distributions.extend(others.distributions);
    }

    /// Adds the whole number `value` of `measure`.
    pub(super) fn count(&mut self, measure: Measure, value: u64) {
        self.stats.push(Stat { measure, value: Figure::Count(value) });
    }

    /// Adds the measured number `value` of `measure`.
    pub(super) fn real(&mut self, measure: Measure, value: Option<f64>) {
        self.stats.push(Stat { measure, value: value.into() });
    }

    /// Adds mean, median, deviations, extremes and percentiles of `ms`, and keeps the distribution.
    ///
    /// Without samples the figures are 0 if something completed, as that is what other clients print for
    /// latencies that do not exist (such as the inter-token latency of one token), and absent if nothing did.
    pub(super) fn latencies(&mut self, run: &Run, series: Series, mut ms: Distribution) {
        let none = (run.completed > 0).then_some(0.0);
        let mut stat = |statistic, value: Option<f64>| {
            self.real(Measure::Of(statistic, series), value.or(none));
        };
        // What adds samples up comes first, as percentiles change their order.
        let (mean, [std, sample_std]) = (ms.mean(), ms.deviations());
        let (min, max) = (ms.min(), ms.max());
        let [median, p90, p95, p99] = ms.percentiles([50.0, 90.0, 95.0, 99.0], Method::Linear);
        stat(Statistic::Mean, mean);
        stat(Statistic::MEDIAN, median);
        stat(Statistic::Std, std);
        stat(Statistic::P90, p90);
        stat(Statistic::P95, p95);
        stat(Statistic::P99, p99);
        stat(Statistic::Max, max);
        stat(Statistic::Min, min);
        stat(Statistic::SampleStd, sample_std);
        for &percent in &run.close.percentiles {
            let statistic = Statistic::Percentile(percent);
            if !PERCENTILES.contains(&statistic) {
                stat(statistic, ms.percentile(percent.value(), Method::Linear));
            }
        }
        match series {
            // Two more views of the gaps of ITL.
            Series::EventItl | Series::TokenItl => {}
            Series::Itl => self.distributions.push((series, ms.counted())),
            _ => self.distributions.push((series, ms)),
        }
    }

    /// Adds median, 99th percentile and maximum of `ms`, and keeps the distribution.
    pub(super) fn waits(&mut self, series: Series, mut ms: Distribution) {
        let [median, p99, max] = ms.percentiles([50.0, 99.0, 100.0], Method::Linear);
        self.real(Measure::Of(Statistic::MEDIAN, series), median);
        self.real(Measure::Of(Statistic::P99, series), p99);
        self.real(Measure::Of(Statistic::Max, series), max);
        self.distributions.push((series, ms));
    }
}

/// `latency` in ms.
pub(crate) fn ms(latency: Duration) -> f64 {
    latency.as_secs_f64() * 1e3
}
