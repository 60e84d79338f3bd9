//! Distributions of latencies for the page, and figures in slices of the run.

use serde::Serialize;

use super::timeline::round;
use crate::analysis::Analysis;
use crate::analysis::measures::ms;
use crate::analysis::metric::{OverTime, Slo};
use crate::analysis::stats::{Distribution, Method};
use crate::model::FailureKind;

/// Percentiles that a cumulative distribution is drawn from: every quarter up to 99, then tenths, then hundredths.
const POINTS: usize = 397 + 9 + 10;

/// Most slices of a run.
const SLICES: usize = 300;

/// Most slices that gaps are taken together in, so that each has enough of them for a tail.
const GAP_SLICES: usize = 75;

/// One latency of the completed requests, in ms.
#[derive(Debug, Serialize)]
pub(super) struct Latency {
    /// As in `--goodput` and in names of figures.
    key: &'static str,
    label: &'static str,
    about: &'static str,
    mean_ms: Option<f64>,
    p50_ms: Option<f64>,
    p90_ms: Option<f64>,
    p95_ms: Option<f64>,
    p99_ms: Option<f64>,
    max_ms: Option<f64>,
    /// The most that was asked for.
    objective_ms: Option<f64>,
    #[serde(flatten)]
    curve: Curve,
}

/// A cumulative distribution.
#[derive(Debug, Serialize)]
pub(super) struct Curve {
    samples: u64,
    /// Samples at the percentages `q`.
    x: Vec<f64>,
    q: Vec<f64>,
}

impl Curve {
    /// That of `samples`; `None` if there is none.
    pub(super) fn of(samples: &mut Distribution) -> Option<Self> {
        let q: [f64; POINTS] = std::array::from_fn(percentage);
        let x: Vec<f64> =
            samples.percentiles(q, Method::Linear).into_iter().flatten().map(round).collect();
        (!x.is_empty()).then(|| Self { samples: samples.len(), x, q: q.to_vec() })
    }
}

impl Latency {
    /// That of `samples`; `None` if there is none.
    pub(super) fn of(
        (key, label, about): (&'static str, &'static str, &'static str),
        mut samples: Distribution,
        slos: &[Slo],
    ) -> Option<Self> {
        let (mean_ms, max_ms) = (samples.mean(), samples.max());
        let [p50_ms, p90_ms, p95_ms, p99_ms] =
            samples.percentiles([50.0, 90.0, 95.0, 99.0], Method::Linear);
        let curve = Curve::of(&mut samples)?;
        let objective = slos.iter().find(|slo| slo.latency.name() == key);
        Some(Self {
            key,
            label,
            about,
            mean_ms,
            p50_ms,
            p90_ms,
            p95_ms,
            p99_ms,
            max_ms,
            objective_ms: objective.map(|slo| slo.ms),
            curve,
        })
    }
}

/// The percentage at a place of the curve.
fn percentage(i: usize) -> f64 {
    let i = i as f64;
    if i <= 396.0 {
        i / 4.0
    } else if i <= 405.0 {
        99.0 + (i - 396.0) / 10.0
    } else {
        99.9 + (i - 405.0) / 100.0
    }
}

/// A run in slices of equal length.
#[derive(Debug, Serialize)]
pub(super) struct Slices {
    slice_s: f64,
    /// Slices.
    count: usize,
    tokens_per_s: Vec<f64>,
    in_flight: Vec<u64>,
    /// Requests that were due in each slice; likewise the others.
    due: Vec<u32>,
    sent: Vec<u32>,
    completed: Vec<u32>,
    failed: Vec<Failed>,
    /// Gaps between events that ended in each slice; `None` if there is none at all.
    gaps: Option<Gaps>,
}

/// Failures of one kind in each slice.
#[derive(Debug, Serialize)]
struct Failed {
    kind: &'static str,
    counts: Vec<u32>,
}

/// In ms; a slice without gaps has none.
#[derive(Debug, Serialize)]
struct Gaps {
    slice_s: f64,
    p50_ms: Vec<Option<f64>>,
    p99_ms: Vec<Option<f64>>,
    max_ms: Vec<Option<f64>>,
}

impl Slices {
    /// Those of a run; `None` if nothing took time.
    pub(super) fn of(analysis: &Analysis<'_>) -> Option<Self> {
        let OverTime { slice_s, tokens_per_s, in_flight } = analysis.over_time(SLICES)?;
        let slices = in_flight.len();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded")]
        let slice = |seconds: f64| ((seconds / slice_s) as usize).min(slices - 1);
        let none = || vec![0_u32; slices];
        let [mut due, mut sent, mut completed] = [none(), none(), none()];
        let mut failed: Vec<(FailureKind, Vec<u32>)> = Vec::new();
        let each = slices.div_ceil(GAP_SLICES);
        let mut gaps = vec![Distribution::new(false); slices.div_ceil(each)];
        for record in analysis.records {
            due[slice(record.due.as_secs_f64())] += 1;
            if let Some(at) = record.first_sent.or(record.sent) {
                sent[slice(at.as_secs_f64())] += 1;
            }
            for gap in record.events.gaps() {
                gaps[slice(gap.to_ns as f64 / 1e9) / each].add(ms(gap.length()));
            }
            let Some(done) = record.done else { continue };
            let here = slice(done.as_secs_f64());
            completed[here] += u32::from(record.completed());
            if let Some(failure) = record.failure() {
                let kind = failure.kind;
                let at = failed.iter().position(|(known, _)| *known == kind).unwrap_or_else(|| {
                    failed.push((kind, none()));
                    failed.len() - 1
                });
                failed[at].1[here] += 1;
            }
        }
        failed.sort_by_key(|(_, counts)| std::cmp::Reverse(counts.iter().sum::<u32>()));
        let has_gaps = gaps.iter().any(|gaps| !gaps.is_empty());
        Some(Self {
            slice_s,
            count: slices,
            tokens_per_s: tokens_per_s.into_iter().map(round).collect(),
            in_flight,
            due,
            sent,
            completed,
            failed: failed
                .into_iter()
                .map(|(kind, counts)| Failed { kind: kind.name(), counts })
                .collect(),
            gaps: has_gaps.then(|| Gaps::of(gaps, slice_s * each as f64)),
        })
    }
}

impl Gaps {
    fn of(slices: Vec<Distribution>, slice_s: f64) -> Self {
        let none = || Vec::with_capacity(slices.len());
        let mut gaps = Self { slice_s, p50_ms: none(), p99_ms: none(), max_ms: none() };
        for mut samples in slices {
            let [p50, p99] = samples.percentiles([50.0, 99.0], Method::Linear);
            gaps.p50_ms.push(p50.map(round));
            gaps.p99_ms.push(p99.map(round));
            gaps.max_ms.push(samples.max().map(round));
        }
        gaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_rise_from_0_to_100() {
        let q: [f64; POINTS] = std::array::from_fn(percentage);
        assert_eq!((q[0], q[200], q[396]), (0.0, 50.0, 99.0));
        assert!((q[405] - 99.9).abs() < 1e-9 && (q[POINTS - 1] - 100.0).abs() < 1e-9);
        assert!(q.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
