//! The figures of a run as AISBench defines them, from its requests.
//!
//! What that client defines in a way that gives a wrong number is defined in another way here; the page on AISBench
//! of the book has each difference.

use super::stable::Window;
use super::times::{end, gaps, input, latency, ttft};
use crate::analysis::counts::Ended;
use crate::analysis::stats::{Distribution, Method};

/// What figures are of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Stage {
    /// All requests.
    Total,
    /// The requests that were sent within the stable window.
    Stable(Window),
}

impl Stage {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Stable(_) => "stable",
        }
    }
}

/// What samples are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Series {
    Latency,
    Ttft,
    Tpot,
    Itl,
    Input,
    Output,
    OutputRate,
    PrefillRate,
}

/// The rows of the first table, their labels, and the units of their cells.
pub(super) const SERIES: [(&str, Series, &str); 8] = [
    ("E2EL", Series::Latency, " ms"),
    ("TTFT", Series::Ttft, " ms"),
    ("TPOT", Series::Tpot, " ms"),
    ("ITL", Series::Itl, " ms"),
    ("InputTokens", Series::Input, ""),
    ("OutputTokens", Series::Output, ""),
    ("OutputTokenThroughput", Series::OutputRate, " token/s"),
    ("PrefillTokenThroughput", Series::PrefillRate, " token/s"),
];

/// The statistics of a row: average, least, most, median, and the 75th, 90th and 99th percentile, which are linear.
pub(super) type Statistics = [f64; 7];

/// A row of the first table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) label: &'static str,
    pub(super) series: Series,
    pub(super) unit: &'static str,
    pub(super) statistics: Statistics,
    /// Requests that it is of.
    pub(super) requests: u64,
}

/// The figures of a stage of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// What they are of.
    pub stage: Stage,
    /// The rows that have samples.
    pub(super) rows: Vec<Row>,
    /// In s: from the first send to the last output of the requests that succeeded, or the window.
    pub duration: f64,
    /// Requests of the stage.
    pub total: u64,
    /// Those that succeeded.
    pub succeeded: u64,
    /// The mean number of requests in flight.
    pub concurrency: f64,
    /// The cap on it; `None` without one.
    pub cap: Option<usize>,
    /// Prompt tokens.
    pub input: u64,
    /// Output tokens.
    pub output: u64,
    /// Prompt tokens per second until the first output, of all requests together.
    pub(super) prefill: Option<f64>,
}

impl Series {
    fn samples(self, request: &Ended<'_>) -> Vec<f64> {
        let record = request.record;
        let rate = |tokens: u64, seconds: Option<f64>| {
            Some(tokens as f64 / seconds.filter(|seconds| *seconds > 0.0)?)
        };
        let one = match self {
            Self::Latency => latency(record),
            Self::Ttft => ttft(record),
            Self::Tpot => {
                let decode = latency(record).zip(ttft(record)).map(|(all, first)| all - first);
                decode.zip(request.steps()).map(|(decode, steps)| decode.max(0.0) / steps)
            }
            Self::Itl => return gaps(record),
            Self::Input => Some(input(request) as f64),
            Self::Output => Some(request.output() as f64),
            Self::OutputRate => rate(request.output(), latency(record)),
            Self::PrefillRate => rate(input(request), ttft(record)),
        };
        one.into_iter().collect()
    }

    /// Whether only streamed answers have it.
    fn is_streamed(self) -> bool {
        matches!(self, Self::Ttft | Self::Tpot | Self::Itl | Self::PrefillRate)
    }
}

impl Figures {
    /// The figures of a stage of `requests`, whose answers were streamed if `streams`.
    pub fn of<'a>(
        requests: impl Iterator<Item = Ended<'a>>,
        stage: Stage,
        streams: bool,
        cap: Option<usize>,
    ) -> Self {
        let inside = |request: &Ended<'_>| match stage {
            Stage::Total => true,
            Stage::Stable(window) => request.record.sent.is_some_and(|sent| window.holds(sent)),
        };
        let all: Vec<Ended<'_>> = requests.filter(inside).collect();
        let succeeded: Vec<&Ended<'_>> =
            all.iter().filter(|request| request.record.completed()).collect();
        let records = || succeeded.iter().map(|request| request.record);
        let knows_input = succeeded.iter().any(|request| input(request) > 0);
        let rows = SERIES.iter().filter_map(|&(label, series, unit)| {
            if series.is_streamed() && !streams || series == Series::PrefillRate && !knows_input {
                return None;
            }
            let each: Vec<Vec<f64>> =
                succeeded.iter().map(|request| series.samples(request)).collect();
            let requests = each.iter().filter(|samples| !samples.is_empty()).count() as u64;
            let statistics = statistics(each.into_iter().flatten())?;
            Some(Row { label, series, unit, statistics, requests })
        });
        let duration = match stage {
            Stage::Total => {
                let first = records().filter_map(|record| record.sent).min();
                let last = records().filter_map(end).max();
                first.zip(last).map_or(0.0, |(a, b)| b.saturating_sub(a).as_secs_f64())
            }
            Stage::Stable(window) => window.seconds(),
        };
        let busy: f64 = records().filter_map(latency).sum();
        let mut concurrency = if duration > 0.0 { busy / duration } else { 0.0 };
        if let (Stage::Stable(_), Some(cap)) = (stage, cap) {
            concurrency = concurrency.min(cap as f64);
        }
        let tokens: u64 = succeeded.iter().map(|request| input(request)).sum();
        let waited: f64 = records().filter_map(ttft).sum();
        let prefill = (streams && tokens > 0 && waited > 0.0).then(|| tokens as f64 / waited);
        Self {
            stage,
            rows: rows.collect(),
            duration,
            total: all.len() as u64,
            succeeded: succeeded.len() as u64,
            concurrency,
            cap,
            input: tokens,
            output: succeeded.iter().map(|request| request.output()).sum(),
            prefill,
        }
    }
}

fn statistics(samples: impl Iterator<Item = f64>) -> Option<Statistics> {
    let mut all = Distribution::new(true);
    samples.for_each(|sample| all.add(sample));
    let (mean, min, max) = (all.mean()?, all.min()?, all.max()?);
    let [p50, p75, p90, p99] = all.percentiles([50.0, 75.0, 90.0, 99.0], Method::Linear);
    Some([mean, min, max, p50?, p75?, p90?, p99?])
}
