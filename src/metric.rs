//! Metrics: what is computed from records.
//!
//! A metric is one file and one line of [`ALL`]. Its definition stands in its module documentation.

mod cache;
mod concurrency;
mod due;
mod e2e;
mod endpoints;
mod folded;
mod goodput;
mod itl;
mod lateness;
mod over_time;
mod peak;
mod retries;
mod stall;
mod steady_state;
mod throughput;
mod token_itl;
mod tokens;
mod totals;
mod tpot;
mod ttft;

use std::time::Duration;

use crate::model::RequestRecord;
use crate::stats::{self, Tally};

pub use self::endpoints::{PerEndpoint, per_endpoint};
pub use folded::Folded;
pub use goodput::{Latency, Slo};
pub use itl::split as split_itl;
pub use lateness::lateness;
pub use over_time::{OverTime, over_time};
pub use steady_state::{SteadyState, steady_state};
pub use token_itl::event_tokens;

/// Every metric, in the order of results.
pub static ALL: &[Metric] = &[
    totals::METRIC,
    tokens::METRIC,
    throughput::METRIC,
    e2e::METRIC,
    ttft::METRIC,
    tpot::METRIC,
    itl::METRIC,
    token_itl::METRIC,
    stall::METRIC,
    due::METRIC,
    lateness::METRIC,
    concurrency::METRIC,
    peak::METRIC,
    retries::METRIC,
    goodput::METRIC,
    cache::METRIC,
];

/// One metric.
#[derive(Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Computes its figures.
    pub stats: fn(&Run<'_>) -> Vec<Stat>,
}

/// What metrics are computed from.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// One record per request, in the order of the plan.
    pub records: &'a [RequestRecord],
    /// Tokens of each record's text by the local tokenizer, 0 where it failed; as long as `records`.
    pub retokenized: &'a [u64],
    /// Inter-token latencies in seconds with gaps shared by retokenized pieces, where the backend calls for it.
    pub split_itl: Option<&'a [f64]>,
    /// Tokens of each event of each record, where retokenizing had to tell them; as long as `records`, or empty.
    pub event_tokens: &'a [Option<Vec<u32>>],
    /// What was kept of the events in the place of `records`' own, whose events and texts are gone then.
    pub folded: Option<&'a Folded>,
    /// A gap longer than this is a stall.
    pub stall_threshold: Duration,
    /// Latencies that requests are to keep within.
    pub slos: &'a [Slo],
    /// Whether the server's prefix cache is to be reported on.
    pub cache_report: bool,
    /// What the server told of speculative decoding.
    pub accept_length: Option<f64>,
    /// The gap that the arrival process drew after the last request.
    pub last_gap: Duration,
    /// What stopping the profilers and asking the server for its state took after the run.
    pub server_info_time: Duration,
}

impl Run<'_> {
    /// The records of requests that completed.
    pub fn completed(&self) -> impl Iterator<Item = &RequestRecord> + '_ {
        self.records.iter().filter(|record| record.completed())
    }

    /// From the start of the run to the last end of a request.
    pub fn duration(&self) -> Duration {
        self.records.iter().filter_map(|record| record.done).max().unwrap_or_default()
    }
}

/// A figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Stat {
    /// Its name in results.
    pub key: String,
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

/// All figures of all metrics.
pub fn compute(run: &Run<'_>) -> Vec<Stat> {
    ALL.iter().flat_map(|metric| (metric.stats)(run)).collect()
}

/// A whole number under `key`.
fn count(key: &str, value: u64) -> Stat {
    Stat { key: key.to_owned(), value: Figure::Count(value) }
}

/// A measured number under `key`.
fn real(key: &str, value: Option<f64>) -> Stat {
    Stat { key: key.to_owned(), value: value.into() }
}

/// Mean, median, deviation and upper percentiles of `seconds`, in ms.
///
/// Without samples the figures are 0 if something completed, as that is what other clients print for
/// latencies that do not exist (such as the inter-token latency of one token), and absent if nothing did.
fn distribution(run: &Run<'_>, name: &str, seconds: Vec<f64>) -> Vec<Stat> {
    let mut ms: Vec<f64> = seconds.into_iter().map(|s| s * 1e3).collect();
    let (mean, std) = (stats::mean(&ms), stats::std(&ms));
    // There can be as many samples as tokens.
    let [median, p90, p95, p99, max] = stats::percentiles(&mut ms, [50.0, 90.0, 95.0, 99.0, 100.0]);
    spread(run, name, [mean, std], [median, p90, p95, p99, max])
}

/// As [`distribution`], of samples in ms that were not kept.
fn counted(run: &Run<'_>, name: &str, ms: &Tally) -> Vec<Stat> {
    let percentiles = [50.0, 90.0, 95.0, 99.0, 100.0].map(|q| ms.percentile(q));
    spread(run, name, [ms.mean(), ms.std()], percentiles)
}

fn spread(
    run: &Run<'_>,
    name: &str,
    [mean, std]: [Option<f64>; 2],
    [median, p90, p95, p99, max]: [Option<f64>; 5],
) -> Vec<Stat> {
    let none = run.completed().next().map(|_| 0.0);
    let stat = |what: &str, value: Option<f64>| real(&format!("{what}_{name}_ms"), value.or(none));
    vec![
        stat("mean", mean),
        stat("median", median),
        stat("std", std),
        stat("p90", p90),
        stat("p95", p95),
        stat("p99", p99),
        stat("max", max),
    ]
}

#[cfg(test)]
pub(crate) mod testing;
