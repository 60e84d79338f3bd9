//! Figures of conversations, of which each turn is a request.

use std::time::Duration;

use super::series::Values;
use super::times::{end, input};
use crate::analysis::counts::Ended;
use crate::analysis::stats::{Distribution, Method};
use crate::model::RequestRecord;

/// The rows of the table per conversation, with the digits that they are shown with.
pub(super) const ROWS: [(&str, usize); 6] = [
    ("Latency (s)", 3),
    ("First-Turn TTFT (s)", 4),
    ("TTFAT (s)", 4),
    ("Decode TPS", 4),
    ("Cache Hit Rate (%)", 4),
    ("Eligible Cache Hit Rate (%)", 4),
];

/// The figures of all conversations of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Traces {
    /// Conversations of which a turn was answered.
    pub count: usize,
    /// Turns that were answered per conversation, in the mean.
    pub turns: Option<f64>,
    /// Cached prompt tokens as a percentage of all, of turns whose cached tokens the server told.
    pub cache_hit: Option<f64>,
    /// Mean time to first token of first turns, in ms.
    pub first_ttft: Option<f64>,
    /// That of later turns.
    pub later_ttft: Option<f64>,
    /// One entry for each of [`ROWS`], by linear percentiles, with the 90th, 95th and 99th among them.
    pub rows: [Values; 6],
}

/// The figures of the conversations that `requests`, in the order of the plan, are turns of.
pub(super) fn traces(requests: &[Ended<'_>]) -> Traces {
    let conversations: Vec<Vec<Ended<'_>>> = requests
        .chunk_by(|a, b| a.record.index == b.record.index)
        .map(|turns| turns.iter().copied().filter(|turn| turn.record.completed()).collect())
        .filter(|turns: &Vec<_>| !turns.is_empty())
        .collect();
    let answered = || conversations.iter().flatten().copied();
    let mean = |samples: Vec<f64>| Values::of(samples, Method::Linear).mean;
    let ttft = |turn: Ended<'_>| turn.record.ttft().map(|ttft| ttft.as_secs_f64() * 1e3);
    let of_turns = |is: fn(usize) -> bool| {
        mean(answered().filter(|turn| is(turn.record.round)).filter_map(ttft).collect())
    };
    let row = |figure: fn(&[Ended<'_>]) -> Option<f64>| {
        let samples = conversations.iter().filter_map(|turns| figure(turns)).collect();
        Values::of(samples, Method::Linear)
    };
    let all: Vec<Ended<'_>> = answered().collect();
    Traces {
        count: conversations.len(),
        turns: mean(conversations.iter().map(|turns| turns.len() as f64).collect()),
        cache_hit: cache_hit(&all),
        first_ttft: of_turns(|round| round == 0),
        later_ttft: of_turns(|round| round > 0),
        rows: [
            row(|turns| seconds(last(turns, end)?, turns.first()?.record.sent)),
            row(|turns| {
                let first = turns.first()?.record;
                first.ttft().filter(|_| first.round == 0).map(|ttft| ttft.as_secs_f64())
            }),
            row(|turns| {
                seconds(last(turns, RequestRecord::first_token)?, turns.first()?.record.sent)
            }),
            row(decode_rate),
            row(cache_hit),
            row(eligible_hit),
        ],
    }
}

fn last(turns: &[Ended<'_>], at: fn(&RequestRecord) -> Option<Duration>) -> Option<Duration> {
    turns.last().and_then(|turn| at(turn.record))
}

fn seconds(to: Duration, from: Option<Duration>) -> Option<f64> {
    Some(to.saturating_sub(from?).as_secs_f64())
}

/// The mean over turns of the output tokens per second after the first one.
fn decode_rate(turns: &[Ended<'_>]) -> Option<f64> {
    let mut rates = Distribution::new(true);
    for ms in turns.iter().filter_map(super::series::tpot).filter(|ms| *ms > 0.0) {
        rates.add(1e3 / ms);
    }
    rates.mean()
}

/// Cached prompt tokens as a percentage of all prompt tokens, of turns whose cached tokens the server told.
fn cache_hit(turns: &[Ended<'_>]) -> Option<f64> {
    let told =
        turns.iter().filter_map(|turn| Some((turn.record.cached.as_ref()?.total, input(turn))));
    let (cached, all) = told.fold((0, 0), |(cached, all), (c, a)| (cached + c, all + a));
    (all > 0).then(|| cached as f64 * 100.0 / all as f64)
}

/// Cached prompt tokens of later turns as a percentage of what the turn before them had said.
fn eligible_hit(turns: &[Ended<'_>]) -> Option<f64> {
    let pairs = turns.windows(2).filter_map(|pair| {
        let eligible = input(&pair[0]) + pair[0].output();
        Some((pair[1].record.cached.as_ref()?.total, eligible))
    });
    let (cached, all) = pairs.fold((0, 0), |(cached, all), (c, a)| (cached + c, all + a));
    (all > 0).then(|| cached as f64 * 100.0 / all as f64)
}
