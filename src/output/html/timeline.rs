//! Requests as lines over time, as columns: of many requests some, and of each answer its slowest parts.

use std::time::Duration;

use serde::Serialize;

use crate::analysis::Analysis;
use crate::analysis::counts::Ended;
use crate::analysis::measures::ms;
use crate::analysis::stats::{Distribution, Method};
use crate::model::{Outcome, RequestRecord};

/// Most requests that are drawn, over all runs of a page.
const MOST: usize = 10_000;

/// Failed requests beyond those, which are what a reader looks for.
const MOST_FAILED: usize = 2_000;

/// Of one run at least so many are drawn.
const LEAST: usize = 500;

/// Parts of an answer that have a colour each.
const PARTS: usize = 24;

/// Colours end where gaps are so many times as long as the median gap.
const EDGES: [f64; 4] = [2.0, 4.0, 8.0, 16.0];

/// Requests that were sent, in the order of sending. Instants are in ms since the start of the run.
#[derive(Debug, Serialize)]
pub(super) struct Requests {
    /// How many were sent.
    of: usize,
    /// Every how many of them is here; 1 for all.
    every: usize,
    index: Vec<usize>,
    round: Vec<usize>,
    due_ms: Vec<f64>,
    sent_ms: Vec<f64>,
    first_ms: Vec<Option<f64>>,
    done_ms: Vec<f64>,
    /// 0 for a completed request, 1 for one that was given up, and 2 more than a place in `kinds` for a failed one.
    outcome: Vec<usize>,
    kinds: Vec<&'static str>,
    /// Output tokens, where they are known.
    tokens: Vec<Option<u64>>,
    /// A digit for each part of the time from the first event to the end: how many edges the longest gap exceeds that
    /// touches it. Empty for an answer without gaps.
    gaps: Vec<String>,
    /// In ms; none if there is no gap at all.
    gap_edges_ms: Vec<f64>,
}

impl Requests {
    /// Those of one of so many `runs` on a page.
    pub(super) fn of(analysis: &Analysis<'_>, runs: usize) -> Self {
        let most = |all: usize| (all / runs.max(1)).max(LEAST);
        let is_sent =
            |request: &Ended<'_>| request.record.sent.is_some() && request.record.done.is_some();
        let mut sent: Vec<Ended<'_>> = analysis.requests().filter(is_sent).collect();
        sent.sort_by_key(|request| request.record.sent);
        let of = sent.len();
        let every = of.div_ceil(most(MOST)).max(1);
        let mut spare = most(MOST_FAILED);
        let mut chosen = Vec::with_capacity(of.min(MOST + MOST_FAILED));
        for (i, request) in sent.into_iter().enumerate() {
            if i % every == 0 {
                chosen.push(request);
            } else if matches!(request.record.outcome, Outcome::Failed(_)) && spare > 0 {
                spare -= 1;
                chosen.push(request);
            }
        }
        let mut all = Distribution::new(false);
        for gap in analysis.records.iter().flat_map(|record| record.events.gaps()) {
            all.add(ms(gap.length()));
        }
        let median = all.percentile(50.0, Method::Linear).filter(|median| *median > 0.0);
        let edges = median.map(|median| EDGES.map(|times| times * median));
        let at = |instant: Option<Duration>| round(ms(instant.unwrap_or_default()));
        let mut kinds = Vec::new();
        let tokens = chosen.iter().map(|request| request.counts.output.map(|n| n.count)).collect();
        let chosen: Vec<&RequestRecord> = chosen.iter().map(|request| request.record).collect();
        let outcome = chosen.iter().map(|record| place(record, &mut kinds)).collect();
        Self {
            of,
            every,
            index: chosen.iter().map(|record| record.index).collect(),
            round: chosen.iter().map(|record| record.round).collect(),
            due_ms: chosen.iter().map(|record| at(Some(record.due))).collect(),
            sent_ms: chosen.iter().map(|record| at(record.sent)).collect(),
            first_ms: chosen
                .iter()
                .map(|record| record.first_token().map(|first| at(Some(first))))
                .collect(),
            done_ms: chosen.iter().map(|record| at(record.done)).collect(),
            outcome,
            kinds,
            tokens,
            gaps: chosen
                .iter()
                .map(|record| edges.map(|edges| strip(record, edges)).unwrap_or_default())
                .collect(),
            gap_edges_ms: edges.into_iter().flatten().map(round).collect(),
        }
    }
}

/// The number for an outcome; `kinds` grows by a kind that it has not.
fn place(record: &RequestRecord, kinds: &mut Vec<&'static str>) -> usize {
    let Outcome::Failed(failure) = &record.outcome else {
        return usize::from(!record.completed());
    };
    let name = failure.kind.name();
    2 + kinds.iter().position(|known| *known == name).unwrap_or_else(|| {
        kinds.push(name);
        kinds.len() - 1
    })
}

/// The digits of an answer.
fn strip(record: &RequestRecord, edges: [f64; 4]) -> String {
    let (Some(first), Some(done)) = (record.first_token(), record.done) else {
        return String::new();
    };
    let begin = first.as_nanos() as f64;
    let part = (done.as_nanos() as f64 - begin) / PARTS as f64;
    let mut levels: Option<[u8; PARTS]> = None;
    for gap in record.events.gaps() {
        let levels = levels.get_or_insert([0; PARTS]);
        let length = ms(gap.length());
        let level = edges.iter().map(|edge| u8::from(length > *edge)).sum::<u8>();
        if level == 0 || part <= 0.0 {
            continue;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded")]
        let place = |ns: u64| (((ns as f64 - begin) / part) as usize).min(PARTS - 1);
        for slot in &mut levels[place(gap.from_ns)..=place(gap.to_ns.max(gap.from_ns))] {
            *slot = level.max(*slot);
        }
    }
    levels.into_iter().flatten().map(|level| char::from(b'0' + level)).collect()
}

/// `x` to a hundredth where it is large, and to a tenth of a thousandth where it is small.
pub(super) fn round(x: f64) -> f64 {
    let steps = if x.abs() < 1e3 { 1e4 } else { 1e2 };
    (x * steps).round() / steps
}
