//! Metrics: what is computed from records.
//!
//! A metric is one file and one line of [`ALL`]. Its definition stands in its module documentation.
//! It sees one request after the other, so that a run of any length can be reported, and keeps its samples or counts them.

mod cache;
mod concurrency;
mod due;
mod e2e;
mod endpoints;
mod event_itl;
mod goodput;
mod itl;
mod latencies;
mod lateness;
mod over_time;
mod peak;
mod resent;
mod retries;
mod stall;
mod steady_state;
mod throughput;
mod token_itl;
mod tokens;
mod totals;
mod tpot;
mod ttft;

use std::fmt;
use std::time::Duration;

use crate::analysis::measure::{Measure, Percent, Series, Statistic};
use crate::analysis::stats::{Distribution, Method};
use crate::model::RequestRecord;

pub use self::endpoints::{Endpoints, PerEndpoint};
pub use self::goodput::{Latency, Slo};
pub use self::lateness::lateness;
pub use self::over_time::{OverTime, over_time};
pub use self::steady_state::{SteadyState, steady_state};
pub use self::token_itl::asks_pieces;

/// Every metric, in the order of results.
pub static ALL: &[Metric] = &[
    totals::METRIC,
    tokens::METRIC,
    throughput::METRIC,
    e2e::METRIC,
    ttft::METRIC,
    tpot::METRIC,
    itl::METRIC,
    event_itl::METRIC,
    token_itl::METRIC,
    stall::METRIC,
    due::METRIC,
    lateness::METRIC,
    concurrency::METRIC,
    peak::METRIC,
    retries::METRIC,
    resent::METRIC,
    goodput::METRIC,
    cache::METRIC,
];

/// One metric.
#[derive(Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Begins to gather what its figures need.
    pub gather: fn(&Terms<'_>) -> Box<dyn Gather>,
}

/// What a metric needs of requests, and the figures that come of it.
///
/// Requests come one after the other, and are gone then: what is kept of them is the gatherer's to say.
pub trait Gather: fmt::Debug + Send {
    /// Adds a request that has ended.
    fn add(&mut self, request: &Ended<'_>);

    /// The figures of all that were added.
    fn stats(self: Box<Self>, run: &Run) -> Vec<Stat>;
}

/// What is known before the first request is added.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// Whether samples are kept; if not, they are counted by size.
    pub keeps: bool,
    /// When the first second of peaks begins.
    pub origin: Duration,
    /// Whether the gaps of ITL are shared by retokenized pieces.
    pub shares: Shares,
    /// A gap longer than this is a stall.
    pub stall_threshold: Duration,
    /// Latencies that requests are to keep within.
    pub slos: &'a [Slo],
    /// Whether the server's prefix cache is to be reported on.
    pub cache_report: bool,
}

impl Default for Terms<'_> {
    /// Samples are kept, seconds count from the start of the run, a stall is longer than a second, and nothing is
    /// asked for.
    fn default() -> Self {
        Self {
            keeps: true,
            origin: Duration::ZERO,
            shares: Shares::Never,
            stall_threshold: Duration::from_secs(1),
            slos: &[],
            cache_report: false,
        }
    }
}

impl Terms<'_> {
    /// Samples, of which there are none yet.
    fn samples(&self) -> Distribution {
        Distribution::new(self.keeps)
    }
}

/// Whether the gaps of ITL are shared by retokenized pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shares {
    /// They are not.
    Never,
    /// They are.
    Always,
    /// They are if the server will tell an accept length.
    Perhaps,
}

impl Shares {
    /// Whether a backend that `may` share gaps does, where the server has told `accept_length`.
    pub fn of(may: bool, accept_length: Option<f64>) -> Self {
        if may && accept_length.is_some_and(|tokens| tokens > 0.0) {
            Self::Always
        } else {
            Self::Never
        }
    }
}

/// A request that has ended, with what the local tokenizer found in its answer.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'a> {
    /// The request.
    pub record: &'a RequestRecord,
    /// Tokens of its texts; 0 if it failed.
    pub retokenized: u64,
    /// Tokens of each event's piece of text, at least 1, in the order of the events; if they were counted.
    pub pieces: Option<&'a [u32]>,
}

impl<'a> Ended<'a> {
    /// The request if it completed.
    fn completed(&self) -> Option<&'a RequestRecord> {
        Some(self.record).filter(|record| record.completed())
    }
}

/// What is known once all requests were added.
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// Requests that were added.
    pub requests: u64,
    /// Those that completed.
    pub completed: u64,
    /// From the start of the run to the last end of a request.
    pub duration: Duration,
    /// What only the end of a run tells.
    pub close: Close,
}

/// What only the end of a run tells.
#[derive(Debug, Clone, Default)]
pub struct Close {
    /// What the server told of speculative decoding.
    pub accept_length: Option<f64>,
    /// Prompt tokens for images of completed requests that only the totals of all requests tell.
    pub vision_tokens: u64,
    /// Most requests in flight as the threads saw it, for runs whose samples are not kept.
    pub peak_in_flight: u64,
    /// The gap that the arrival process drew after the last request.
    pub last_gap: Duration,
    /// What stopping the profilers and asking the server for its state took after the run.
    pub server_info_time: Duration,
    /// Percentiles that are asked for beside the usual ones, each once.
    pub percentiles: Vec<Percent>,
}

/// Metrics that gather.
#[derive(Debug)]
pub struct Gathering {
    run: Run,
    gathers: Vec<Box<dyn Gather>>,
}

impl Gathering {
    /// All metrics at once.
    pub fn new(terms: &Terms<'_>) -> Self {
        Self::of(ALL, terms)
    }

    fn of(metrics: &[Metric], terms: &Terms<'_>) -> Self {
        let gathers = metrics.iter().map(|metric| (metric.gather)(terms)).collect();
        Self { run: Run::default(), gathers }
    }

    /// Adds a request that has ended.
    pub fn add(&mut self, request: &Ended<'_>) {
        let record = request.record;
        self.run.requests += 1;
        self.run.completed += u64::from(record.completed());
        self.run.duration = self.run.duration.max(record.done.unwrap_or_default());
        for gather in &mut self.gathers {
            gather.add(request);
        }
    }

    /// The figures, in the order of the metrics.
    pub fn stats(self, close: Close) -> Vec<Stat> {
        let run = Run { close, ..self.run };
        self.gathers.into_iter().flat_map(|gather| gather.stats(&run)).collect()
    }
}

/// When the first of `records` that completed was sent; 0 if none did.
pub fn first_send(records: &[RequestRecord]) -> Duration {
    let completed = records.iter().filter(|record| record.completed());
    completed.filter_map(|record| record.sent).min().unwrap_or_default()
}

/// All figures of all metrics over `requests`.
///
/// One metric after the other: in long runs their samples are what most memory is needed for.
pub fn compute<'a>(
    requests: &(impl Iterator<Item = Ended<'a>> + Clone),
    terms: &Terms<'_>,
    close: Close,
) -> Vec<Stat> {
    let of_one = move |metric| {
        let mut gathering = Gathering::of(std::slice::from_ref(metric), terms);
        requests.clone().for_each(|request| gathering.add(&request));
        gathering.stats(close.clone())
    };
    ALL.iter().flat_map(of_one).collect()
}

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

/// The whole number `value` of `measure`.
fn count(measure: Measure, value: u64) -> Stat {
    Stat { measure, value: Figure::Count(value) }
}

/// The measured number `value` of `measure`.
fn real(measure: Measure, value: Option<f64>) -> Stat {
    Stat { measure, value: value.into() }
}

/// Percentiles that every distribution has, in their order; what [`Close::percentiles`] asks for beside them follows.
const PERCENTILES: [Statistic; 4] =
    [Statistic::MEDIAN, Statistic::P90, Statistic::P95, Statistic::P99];

/// Mean, median, deviations, extremes and percentiles of `ms`.
///
/// Without samples the figures are 0 if something completed, as that is what other clients print for
/// latencies that do not exist (such as the inter-token latency of one token), and absent if nothing did.
fn distribution(run: &Run, series: Series, mut ms: Distribution) -> Vec<Stat> {
    let none = (run.completed > 0).then_some(0.0);
    let stat = |statistic, value: Option<f64>| real(Measure::Of(statistic, series), value.or(none));
    // What adds samples up comes first, as percentiles change their order.
    let (mean, std, sample_std) = (ms.mean(), ms.std(), ms.sample_std());
    let (min, max) = (ms.min(), ms.max());
    let [median, p90, p95, p99] = ms.percentiles([50.0, 90.0, 95.0, 99.0], Method::Linear);
    let mut stats = vec![
        stat(Statistic::Mean, mean),
        stat(Statistic::MEDIAN, median),
        stat(Statistic::Std, std),
        stat(Statistic::P90, p90),
        stat(Statistic::P95, p95),
        stat(Statistic::P99, p99),
        stat(Statistic::Max, max),
        stat(Statistic::Min, min),
        stat(Statistic::SampleStd, sample_std),
    ];
    for &percent in &run.close.percentiles {
        let statistic = Statistic::Percentile(percent);
        if !PERCENTILES.contains(&statistic) {
            stats.push(stat(statistic, ms.percentile(percent.value(), Method::Linear)));
        }
    }
    stats
}

/// `latency` in ms.
pub(crate) fn ms(latency: Duration) -> f64 {
    latency.as_secs_f64() * 1e3
}

#[cfg(test)]
pub(crate) mod testing;
