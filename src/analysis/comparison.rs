//! Whether runs differ from others: differences with intervals, and a verdict on each metric and on the whole.
//!
//! A side is one or more runs of the same load. Samples of its runs are pooled, and percentiles are taken from the
//! pool; percentiles of several runs are never averaged. A difference is shown if its probability, adjusted for the
//! number of metrics ([`holm`]), is below 5 % and it is as large as matters. Where nothing is shown, the interval
//! decides if the sample excludes a change for the worse as large as is tolerated.

mod history;
mod metric;
mod objective;
mod rule;
mod sample;

use std::sync::Arc;

pub use self::history::{FEWEST, Series, history};
pub use self::metric::{Compared, DEFAULT, Direction, Sample};
pub use self::objective::{DecidedOn, Judged, Met, Objective};
pub use self::rule::{Rule, Threshold};
pub use self::sample::{Figures, Request, Sampled, settle};
use crate::analysis::statistics::{CONFIDENCE, Difference, Estimate, Scale, holm, per_time};
use crate::analysis::stats::Method;

/// The level of significance, over all metrics together.
const ALPHA: f64 = 1.0 - CONFIDENCE;

/// What a comparison is to hold differences against.
#[derive(Debug, Clone, PartialEq)]
pub struct Terms {
    /// The metrics, each once.
    pub metrics: Vec<Compared>,
    /// Changes smaller than this do not matter, as a share.
    pub min_effect: f64,
    /// A change for the worse as large as this has to be excluded for a pass, as a share.
    pub tolerance: f64,
}

/// What became of one metric.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It got better.
    Improvement,
    /// It got worse.
    Regression,
    /// No difference is shown, and the sample excludes a change for the worse that is not tolerated.
    Unchanged,
    /// No difference is shown, and the sample excludes nothing: a side needs as many runs, if that is known.
    Undecided(Option<u64>),
    /// The files have too little for a decision.
    Unknown(&'static str),
}

/// What became of all metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whole {
    /// Nothing got worse by as much as matters, and nothing better.
    Pass,
    /// Something got better, and nothing worse.
    Improvement,
    /// Something got worse, and nothing better.
    Regression,
    /// Something got better, and something worse.
    Mixed,
    /// The runs decide nothing, or are no evidence.
    Inconclusive,
}

impl Whole {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Improvement => "improvement",
            Self::Regression => "regression",
            Self::Mixed => "mixed",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// One metric of both sides.
#[derive(Debug, Clone)]
pub struct Row {
    /// Which.
    pub metric: Compared,
    /// Its value before.
    pub base: f64,
    /// Its value after.
    pub new: f64,
    /// How that differs.
    pub difference: Option<Difference>,
    /// The probability adjusted for all metrics; `None` if there is no interval.
    pub p: Option<f64>,
    /// What follows.
    pub verdict: Verdict,
}

/// Two sides of the same load.
#[derive(Debug)]
pub struct Pair<'a> {
    /// Runs before.
    pub base: Vec<&'a Sampled>,
    /// Runs after.
    pub new: Vec<&'a Sampled>,
}

/// Compares the sides of each of `pairs`; differences are adjusted for the metrics of all of them together.
pub fn compare(pairs: &[Pair<'_>], terms: &Terms) -> Vec<Vec<Row>> {
    let mut all: Vec<Vec<Row>> = pairs.iter().map(|pair| rows(pair, terms)).collect();
    let probabilities: Vec<f64> =
        all.iter().flatten().filter_map(|row| row.difference?.p).collect();
    let mut adjusted = holm(&probabilities).into_iter();
    for (pair, rows) in pairs.iter().zip(&mut all) {
        let runs = pair.base.len().min(pair.new.len()) as f64;
        for row in rows {
            let Some(difference) = row.difference.filter(|difference| difference.p.is_some())
            else {
                continue;
            };
            row.p = adjusted.next();
            row.verdict = verdict(row.metric, &difference, row.p, runs, terms);
        }
    }
    all
}

/// Both sides of every metric that both have, not adjusted.
fn rows(pair: &Pair<'_>, terms: &Terms) -> Vec<Row> {
    let has_any = |metric| {
        let mut runs = pair.base.iter().chain(&pair.new);
        runs.any(|run| run.figure(metric).is_some() || run.requests.is_some())
    };
    let row = |&metric: &Compared| {
        let unknown = |reason| Row {
            metric,
            base: f64::NAN,
            new: f64::NAN,
            difference: None,
            p: None,
            verdict: Verdict::Unknown(reason),
        };
        let (base, new) = (estimate(&pair.base, metric), estimate(&pair.new, metric));
        let (base, new) = match (base, new) {
            (Some(base), Some(new)) => (base, new),
            (None, None) if !has_any(metric) => return None,
            // Latencies that this kind of load does not have.
            (None, None) if pair.base.iter().all(|run| run.requests.is_some()) => return None,
            _ => {
                return Some(unknown(
                    "of several runs it needs samples: --output-details or --records",
                ));
            }
        };
        let difference = Difference::between(&base, &new, metric.scale());
        let known = base.has_interval() && new.has_interval();
        let reason = if difference.is_none() {
            "the base is 0"
        } else if known {
            "the samples are too few"
        } else if metric.is_percentile() {
            "percentiles need samples: --output-details or --records"
        } else {
            "no interval: several runs, --output-details or --records"
        };
        let verdict = Verdict::Unknown(reason);
        let (base, new) = (base.value, new.value);
        Some(Row { metric, base, new, difference, p: None, verdict })
    };
    terms.metrics.iter().filter_map(row).collect()
}

/// The estimate of `metric` from `runs`, with an interval if they have what it needs.
pub fn estimate(runs: &[&Sampled], metric: Compared) -> Option<Estimate> {
    let needs_times = matches!(metric, Compared::RequestThroughput | Compared::OutputThroughput);
    let requests: Option<Vec<&[Request]>> = runs
        .iter()
        .map(|run| run.requests.as_deref().filter(|_| run.timed || !needs_times))
        .collect();
    match requests {
        Some(requests) if requests.iter().any(|run| !run.is_empty()) => {
            let lengths: Vec<usize> = runs.iter().map(|run| 2 * run.overlapping()).collect();
            of_requests(&requests, &lengths, metric)
        }
        _ => of_figures(runs, metric),
    }
}

/// That from the requests of each run.
fn of_requests(runs: &[&[Request]], lengths: &[usize], metric: Compared) -> Option<Estimate> {
    match metric {
        Compared::Success => {
            let good = |run: &&[Request]| run.iter().map(|request| request.completed).collect();
            Estimate::share(&runs.iter().map(good).collect::<Vec<_>>(), lengths)
        }
        Compared::Goodput => {
            let good = |run: &&[Request]| run.iter().map(|request| request.good).collect();
            let all: Option<Vec<Vec<bool>>> = runs.iter().map(good).collect();
            Estimate::share(&all?, lengths)
        }
        Compared::RequestThroughput => Estimate::ratio(&rates(runs, |_| 1.0), lengths),
        Compared::OutputThroughput => {
            Estimate::ratio(&rates(runs, |request| request.output_tokens as f64), lengths)
        }
        Compared::Mean(latency) => {
            let part = |request: &Request| {
                let samples = latency.of(request);
                (samples.iter().sum::<f64>(), samples.len() as f64)
            };
            let parts: Vec<Vec<(f64, f64)>> =
                runs.iter().map(|run| completed(run).map(part).collect()).collect();
            Estimate::ratio(&parts, lengths)
        }
        Compared::Percentile(percent, latency) => {
            let samples: Vec<Vec<&[f64]>> = runs
                .iter()
                .map(|run| completed(run).map(|request| latency.of(request)).collect())
                .collect();
            let pooled: Vec<f64> =
                samples.iter().flatten().flat_map(|all| all.iter().copied()).collect();
            let sorted = Arc::new(crate::analysis::stats::Sorted::new(pooled));
            Estimate::percentile(percent.value(), &samples, lengths, &sorted)
        }
    }
}

fn completed(run: &[Request]) -> impl Iterator<Item = &Request> {
    run.iter().filter(|request| request.completed)
}

/// What completed requests bring, and how long after the one before each of them ended, in s.
fn rates(runs: &[&[Request]], brings: fn(&Request) -> f64) -> Vec<Vec<(f64, f64)>> {
    let rate = |run: &&[Request]| {
        let brought = |r: &Request| (r.done_s, if r.completed { brings(r) } else { 0.0 });
        per_time(run.iter().map(brought).collect())
    };
    runs.iter().map(rate).collect()
}

/// That from one figure of each run.
fn of_figures(runs: &[&Sampled], metric: Compared) -> Option<Estimate> {
    let figures: Option<Vec<f64>> = runs.iter().map(|run| run.figure(metric)).collect();
    let figures = figures?;
    if metric == Compared::Success {
        // All that is known of each request.
        let tries: Option<Vec<Vec<bool>>> = runs.iter().map(|run| run.tries()).collect();
        return Estimate::share(&tries?, &vec![1; runs.len()]);
    }
    if !metric.is_percentile() {
        return Estimate::of_figures(&figures);
    }
    match figures[..] {
        [alone] => Some(Estimate::bare(alone)),
        // Percentiles of several runs are not averaged.
        _ => of_histograms(runs, metric),
    }
}

/// The percentile of the pooled histograms of all runs; `None` if one has none.
fn of_histograms(runs: &[&Sampled], metric: Compared) -> Option<Estimate> {
    let Compared::Percentile(percent, latency) = metric else { return None };
    let of = |run: &&Sampled| {
        let mut all = run.histograms.iter();
        all.find(|(given, _)| *given == latency).map(|(_, samples)| samples.clone())
    };
    let histograms = runs.iter().map(of).collect::<Option<Vec<_>>>()?;
    let mut pooled = histograms.into_iter().reduce(|mut all, more| {
        all.merge(more);
        all
    })?;
    pooled.percentile(percent.value(), Method::Linear).map(Estimate::bare)
}

/// What an estimate was taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The requests of all runs together.
    Requests,
    /// The histograms of all runs together.
    Histograms,
    /// One figure of each run.
    Figures,
    /// There is nothing that it can be taken from.
    Absent,
}

impl Source {
    /// The words for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Requests => "pooled requests",
            Self::Histograms => "pooled histograms",
            Self::Figures => "the figure of each run",
            Self::Absent => "nothing",
        }
    }
}

/// What [`estimate`] takes `metric` of `runs` from.
pub fn source(runs: &[&Sampled], metric: Compared) -> Source {
    if estimate(runs, metric).is_none() {
        return Source::Absent;
    }
    let needs_times = matches!(metric, Compared::RequestThroughput | Compared::OutputThroughput);
    let has_requests = |run: &&Sampled| {
        run.requests.as_ref().is_some_and(|run| !run.is_empty()) && (run.timed || !needs_times)
    };
    if runs.iter().all(has_requests) {
        Source::Requests
    } else if metric.is_percentile() && runs.len() > 1 {
        Source::Histograms
    } else {
        Source::Figures
    }
}

/// What `difference` of `metric` shows, where each side has at least `runs`.
fn verdict(
    metric: Compared,
    difference: &Difference,
    p: Option<f64>,
    runs: f64,
    terms: &Terms,
) -> Verdict {
    let better = match metric.direction() {
        Direction::Lower => -1.0,
        Direction::Higher => 1.0,
    };
    let matters = metric.scale() == Scale::Absolute || difference.change.abs() >= terms.min_effect;
    if p.is_some_and(|p| p < ALPHA) && matters {
        return if difference.change * better > 0.0 {
            Verdict::Improvement
        } else {
            Verdict::Regression
        };
    }
    let Some((low, high)) = difference.interval else { return Verdict::Undecided(None) };
    let tolerance =
        if metric.scale() == Scale::Absolute { metric::TOLERATED_SHARE } else { terms.tolerance };
    let worst = if better < 0.0 { high } else { -low };
    if worst <= tolerance {
        return Verdict::Unchanged;
    }
    let reach = worst + difference.change * better;
    // The interval shrinks with the root of the number of runs.
    let needed = (runs * (reach / tolerance).powi(2)).ceil().max(runs + 1.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive")]
    let needed = (needed <= 1e6).then_some(needed as u64);
    Verdict::Undecided(needed)
}

/// The verdict on all `rows`.
pub fn whole(rows: &[&Row]) -> Whole {
    let any = |verdict: &Verdict| rows.iter().any(|row| row.verdict == *verdict);
    let is_open = |row: &&Row| matches!(row.verdict, Verdict::Undecided(_) | Verdict::Unknown(_));
    match (any(&Verdict::Improvement), any(&Verdict::Regression)) {
        (true, true) => Whole::Mixed,
        (true, false) => Whole::Improvement,
        (false, true) => Whole::Regression,
        (false, false) if rows.is_empty() || rows.iter().any(is_open) => Whole::Inconclusive,
        (false, false) => Whole::Pass,
    }
}
