//! What the page shows of one run.

use serde::Serialize;
use serde_json::{Map, Value};

use super::curves::{Latency, Slices};
use super::timeline::Requests;
use crate::analysis::Analysis;
use crate::analysis::audit::{Finding, Ledger, figures};
use crate::analysis::measure::{Measure, Series, Statistic};
use crate::analysis::metric::PerEndpoint;
use crate::output::names::{Name, name};

/// One run as the page shows it.
#[derive(Debug, Serialize)]
pub struct Run {
    /// Its name beside those of other runs.
    name: String,
    model: String,
    backend: &'static str,
    dataset: String,
    tokenizer: String,
    tag: Option<String>,
    seed: u64,
    date: String,
    /// The rate of arrivals, in words; `None` if it was not asked for.
    rate: Option<String>,
    max_concurrency: Option<usize>,
    /// Whether requests generate tokens.
    generates: bool,
    ledger: Counts,
    partial: Option<String>,
    checks: Vec<Checked>,
    limits: Vec<Found>,
    notes: Vec<Found>,
    offered_rate: Option<f64>,
    achieved_rate: Option<f64>,
    tiles: Vec<Tile>,
    latencies: Vec<Latency>,
    /// The last end of a request, in s.
    end_s: f64,
    over_time: Option<Slices>,
    requests: Requests,
    failures: Vec<Group>,
    servers: Vec<Server>,
    config: Map<String, Value>,
    server_info: Option<Value>,
}

#[derive(Debug, Serialize)]
struct Counts {
    scheduled: u64,
    completed: u64,
    failed: u64,
    cancelled: u64,
    never_sent: u64,
    unfinished: u64,
}

#[derive(Debug, Serialize)]
struct Checked {
    name: &'static str,
    passed: bool,
    detail: String,
}

#[derive(Debug, Serialize)]
struct Found {
    evidence: String,
    /// The figures that are not to be trusted for it.
    affects: String,
    advice: &'static str,
}

/// A figure that is shown large.
#[derive(Debug, Serialize)]
struct Tile {
    /// As in results.
    key: Option<String>,
    label: &'static str,
    value: f64,
    unit: &'static str,
}

/// Failures with one reason.
#[derive(Debug, Serialize)]
struct Group {
    count: u64,
    kind: &'static str,
    phase: &'static str,
    status: Option<u16>,
    message: String,
    excerpt: Option<String>,
}

#[derive(Debug, Serialize)]
struct Server {
    name: String,
    sent: u64,
    completed: u64,
    failed: u64,
    output_tokens: u64,
    ttft_ms: [Option<f64>; 2],
}

/// The figures that are shown large, as far as the run has them.
const TILES: [(&str, Measure, &str); 12] = [
    ("Request rate", Measure::RequestThroughput, "req/s"),
    ("Output throughput", Measure::OutputThroughput, "tok/s"),
    ("Input throughput", Measure::InputThroughput, "tok/s"),
    ("Median TTFT", Measure::Of(Statistic::MEDIAN, Series::Ttft), "ms"),
    ("P99 TTFT", Measure::Of(Statistic::P99, Series::Ttft), "ms"),
    ("Median TPOT", Measure::Of(Statistic::MEDIAN, Series::Tpot), "ms"),
    ("P99 TPOT", Measure::Of(Statistic::P99, Series::Tpot), "ms"),
    ("P99 end to end", Measure::Of(Statistic::P99, Series::E2e), "ms"),
    ("Mean in flight", Measure::Concurrency, ""),
    ("Most in flight", Measure::MaxConcurrentRequests, ""),
    ("Goodput", Measure::RequestGoodput, "req/s"),
    ("Cache hit rate", Measure::CacheHitRate, "%"),
];

impl Run {
    /// The page's data on the run of `analysis`, whose records were kept, under `name`, on a page with about
    /// so many `runs`.
    pub fn of(name: String, analysis: &Analysis<'_>, runs: usize) -> Self {
        let Analysis { metadata, records, audit, .. } = analysis;
        let generates = metadata.generates;
        let Ledger { scheduled, completed, failed, cancelled, never_sent, unfinished, .. } =
            audit.ledger;
        let found = |findings: &[Finding]| {
            let one = |found: &Finding| Found {
                evidence: found.evidence.clone(),
                affects: figures(found.affects),
                advice: found.advice,
            };
            findings.iter().map(one).collect()
        };
        let tile = |&(label, measure, unit): &(&'static str, Measure, &'static str)| {
            let is_of_output = matches!(
                measure,
                Measure::OutputThroughput | Measure::Of(_, Series::Ttft | Series::Tpot)
            );
            let value = analysis.figure(measure).number()?;
            (generates || !is_of_output).then(|| Tile { key: key(measure), label, value, unit })
        };
        let rate = metadata.config.get("request_rate").map(|rate| match rate {
            Value::String(word) if word == "inf" => "no limit on the rate".to_owned(),
            Value::String(word) => word.clone(),
            rate => format!("{rate} requests/s"),
        });
        Self {
            name,
            model: metadata.model.clone(),
            backend: metadata.backend,
            dataset: metadata.dataset_name.clone(),
            tokenizer: metadata.tokenizer.clone(),
            tag: metadata.tag.clone(),
            seed: metadata.seed,
            date: metadata.date.clone(),
            rate,
            max_concurrency: metadata.max_concurrency,
            generates,
            ledger: Counts { scheduled, completed, failed, cancelled, never_sent, unfinished },
            partial: analysis.partial.clone(),
            checks: audit
                .checks
                .iter()
                .map(|check| Checked {
                    name: check.name,
                    passed: check.passed,
                    detail: check.detail.clone(),
                })
                .collect(),
            limits: found(&audit.limits),
            notes: found(&audit.notes),
            offered_rate: audit.offered_rate,
            achieved_rate: audit.achieved_rate,
            tiles: TILES.iter().filter_map(tile).collect(),
            latencies: latencies(analysis),
            end_s: records
                .iter()
                .filter_map(|record| record.done)
                .max()
                .unwrap_or_default()
                .as_secs_f64(),
            over_time: Slices::of(analysis),
            requests: Requests::of(analysis, runs),
            failures: analysis
                .failures
                .iter()
                .map(|group| Group {
                    count: group.count,
                    kind: group.kind.name(),
                    phase: group.phase.name(),
                    status: group.status,
                    message: group.message.clone(),
                    excerpt: group.excerpt.clone(),
                })
                .collect(),
            servers: analysis.endpoints.iter().map(server).collect(),
            config: metadata.config.clone(),
            server_info: analysis.server_info.clone(),
        }
    }
}

/// The name of a figure in results, if it has one there.
fn key(measure: Measure) -> Option<String> {
    match name(measure)? {
        Name::Own(key) => Some(key),
        Name::Reference(_) => None,
    }
}

fn server(figures: &PerEndpoint) -> Server {
    Server {
        name: figures.name.clone(),
        sent: figures.sent,
        completed: figures.completed,
        failed: figures.failed,
        output_tokens: figures.output_tokens,
        ttft_ms: figures.ttft_ms,
    }
}

/// The latencies of the completed requests, as far as there are samples.
fn latencies(analysis: &Analysis<'_>) -> Vec<Latency> {
    let slos = &analysis.metadata.slos;
    [
        (Series::Ttft, "ttft", "TTFT", "Time to first token"),
        (Series::Tpot, "tpot", "TPOT", "Time per output token after the first"),
        (Series::Itl, "itl", "ITL", "Time between tokens"),
        (Series::E2e, "e2el", "E2E", "End-to-end latency"),
    ]
    .into_iter()
    .filter(|(series, ..)| analysis.metadata.generates || *series == Series::E2e)
    .filter_map(|(series, key, label, about)| {
        Latency::of((key, label, about), analysis.distribution(series)?.clone(), slos)
    })
    .collect()
}
