//! What the page shows of a comparison: the verdict, each metric, and the distributions of both sides.

use serde::Serialize;

use super::curves::Curve;
use crate::analysis::comparison::{Request, Row, Sampled, Verdict};
use crate::analysis::statistics::Scale;
use crate::analysis::stats::Distribution;
use crate::output::comparison::{Against, Compared, cells, figure, load, side, warnings};

/// A file against the one before.
#[derive(Debug, Serialize)]
pub(super) struct Comparison {
    base: String,
    new: String,
    verdict: &'static str,
    /// Whether runs that are no evidence were compared.
    warnings: Vec<String>,
    failures: Vec<String>,
    loads: Vec<Load>,
}

/// One load on both sides.
#[derive(Debug, Serialize)]
struct Load {
    /// The flags in which it differs from the others.
    name: Option<String>,
    base: String,
    new: String,
    rows: Vec<Judgement>,
    latencies: Vec<Latency>,
}

/// One metric of both sides, as the table of `rbench compare` shows it, and its change for the plot.
#[derive(Debug, Serialize)]
struct Judgement {
    metric: String,
    base: String,
    new: String,
    change: String,
    interval: String,
    p: String,
    verdict: String,
    /// `better`, `worse`, or nothing that is shown.
    class: &'static str,
    /// In percent, or in points of a share.
    change_percent: Option<f64>,
    /// Its interval; an end that the sample does not bound is absent.
    low_percent: Option<f64>,
    high_percent: Option<f64>,
}

/// A latency of both sides.
#[derive(Debug, Serialize)]
struct Latency {
    label: &'static str,
    base: Curve,
    new: Curve,
}

impl Comparison {
    /// That of `compared`.
    pub(super) fn of(compared: &Compared<'_>) -> Self {
        let one = |against: &Against<'_>| Load {
            name: load(compared, against),
            base: side(&against.pair.base),
            new: side(&against.pair.new),
            rows: against.rows.iter().map(change).collect(),
            latencies: latencies(against),
        };
        Self {
            base: compared.base.display().to_string(),
            new: compared.new.display().to_string(),
            verdict: compared.whole.name(),
            warnings: warnings(compared),
            failures: compared.failures.clone(),
            loads: compared.against.iter().map(one).collect(),
        }
    }
}

fn change(row: &Row) -> Judgement {
    let [change, interval, p, verdict] = cells(row);
    let percent = |share: f64| {
        let is_bound = share.is_finite() && (row.metric.scale() == Scale::Absolute || share > -1.0);
        is_bound.then_some(share * 1e2)
    };
    let ends = row.difference.and_then(|difference| difference.interval);
    Judgement {
        metric: row.metric.to_string(),
        base: figure(row.metric, row.base),
        new: figure(row.metric, row.new),
        change,
        interval,
        p,
        verdict,
        class: match row.verdict {
            Verdict::Improvement => "better",
            Verdict::Regression => "worse",
            _ => "",
        },
        change_percent: row.difference.and_then(|difference| percent(difference.change)),
        low_percent: ends.and_then(|(low, _)| percent(low)),
        high_percent: ends.and_then(|(_, high)| percent(high)),
    }
}

/// The latencies that both sides have samples of.
fn latencies(against: &Against<'_>) -> Vec<Latency> {
    /// The samples that a request gives to a latency.
    type Of = fn(&Request) -> &[f64];
    let all: [(&'static str, Of); 4] = [
        ("TTFT", |request| request.ttft_ms.as_slice()),
        ("TPOT", |request| request.tpot_ms.as_slice()),
        ("ITL", |request| &request.itl_ms),
        ("E2E", |request| request.e2e_ms.as_slice()),
    ];
    let pooled = |runs: &[&Sampled], of: Of| {
        // Of gaps there are as many as tokens.
        let mut samples = Distribution::new(false);
        let requests = runs.iter().flat_map(|run| run.requests.as_deref().unwrap_or_default());
        requests.flat_map(of).for_each(|&ms| samples.add(ms));
        Curve::of(&mut samples)
    };
    let pair = &against.pair;
    all.into_iter()
        .filter_map(|(label, of)| {
            let (base, new) = (pooled(&pair.base, of)?, pooled(&pair.new, of)?);
            Some(Latency { label, base, new })
        })
        .collect()
}
