//! How precise the figures of a run are, as rows of the block and as an object of the JSONL line.

use serde_json::{Map, Value, json};

use super::names::{Name, name};
use crate::analysis::Analysis;
use crate::analysis::confidence::Bounds;
use crate::analysis::measure::{Measure, Series, Statistic};
use crate::analysis::statistics::CONFIDENCE;

/// The figure of `measure` with two digits; what a percentile needs that the sample does not support.
pub(super) fn shown(report: &Analysis<'_>, measure: Measure) -> String {
    let figure = report.figure(measure).number();
    match bounds(report, measure) {
        Some(Bounds::Needs(requests)) if figure.is_some() => format!("n/a (needs {requests})"),
        _ => figure.map_or("n/a".to_owned(), |x| format!("{x:.2}")),
    }
}

/// The rows of the block, as label and value: each figure with its interval.
pub(super) fn rows(report: &Analysis<'_>) -> Vec<(String, String)> {
    let is_known = report.confidence.as_ref().is_some_and(|all| !all.figures.is_empty());
    if !is_known {
        return Vec::new();
    }
    let mut rows = vec![(
        format!("Intervals of {:.0} %:", CONFIDENCE * 1e2),
        "within this run; they leave out how runs differ".to_owned(),
    )];
    let mut row = |label: &str, measures: &[Measure]| {
        let exists = measures.iter().any(|&measure| bounds(report, measure).is_some());
        if exists {
            let shown = measures.iter().map(|&measure| with_interval(report, measure));
            rows.push((format!("  {label}:"), shown.collect::<Vec<_>>().join(" / ")));
        }
    };
    let generates = report.metadata.generates;
    row("Requests/s", &[Measure::RequestThroughput]);
    if generates {
        row("Output tokens/s", &[Measure::OutputThroughput]);
    }
    let latencies = [
        ("TTFT", Series::Ttft, generates),
        ("TPOT", Series::Tpot, generates),
        ("ITL", Series::Itl, generates),
        ("E2E", Series::E2e, true),
    ];
    for (label, series, _) in latencies.into_iter().filter(|(.., exists)| *exists) {
        let of = |statistic| Measure::Of(statistic, series);
        let measures = [Statistic::Mean, Statistic::MEDIAN, Statistic::P99].map(of);
        row(&format!("{label}, mean/p50/p99 (ms)"), &measures);
    }
    rows
}

/// The figure of `measure` and its interval.
fn with_interval(report: &Analysis<'_>, measure: Measure) -> String {
    let value = shown(report, measure);
    match bounds(report, measure) {
        Some(Bounds::Between(low, high)) => format!("{value} [{low:.2}, {high:.2}]"),
        Some(Bounds::Needs(_)) | None => value,
    }
}

fn bounds(report: &Analysis<'_>, measure: Measure) -> Option<Bounds> {
    report.confidence.as_ref()?.bounds(measure)
}

/// The object `confidence`; `None` if samples were not kept.
pub(super) fn object(report: &Analysis<'_>) -> Option<Value> {
    let confidence = report.confidence.as_ref()?;
    let (mut intervals, mut needs) = (Map::new(), Map::new());
    for &(measure, bounds) in &confidence.figures {
        let Some(Name::Own(key)) = name(measure) else { continue };
        match bounds {
            Bounds::Between(low, high) => intervals.insert(key, json!([low, high])),
            Bounds::Needs(requests) => needs.insert(key, requests.into()),
        };
    }
    if let Some((low, high)) = confidence.success {
        intervals.insert("success".to_owned(), json!([low, high]));
    }
    Some(json!({
        "level": CONFIDENCE,
        "scope": "within this run",
        "intervals": intervals,
        "needs_requests": needs,
    }))
}
