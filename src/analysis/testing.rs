//! Records for the tests of metrics.

use std::time::Duration;

use super::counts::Ended;
use super::gather::{Close, Metric, Run, Terms};
use super::measure::Measure;
use super::measures::{Figure, Measures, Stat};
use crate::model::{
    Outcome, OutputTokens, PlannedRequest, RequestRecord, TokenEvents, TokenSource,
};

/// A completed request sent at `sent` ms, with a piece of text at each of `at` ms.
pub(crate) fn record(sent: u64, at: &[u64], pieces: &[&str]) -> RequestRecord {
    let request = PlannedRequest {
        index: 0,
        due: Duration::from_millis(sent),
        body: bytes::Bytes::new(),
        prompt_len: 5,
        vision_len: 0,
        routing_key: None,
        output_len: at.len(),
        conversation: None,
        asked: crate::model::Asked::default(),
    };
    let mut events = TokenEvents::default();
    let mut text = String::new();
    for (at, piece) in at.iter().zip(pieces) {
        text.push_str(piece);
        events.at_ns.push(at * 1_000_000);
        events.tokens.push(1);
        events.text_ends.push(text.len());
    }
    RequestRecord {
        sent: Some(request.due),
        headers: Some(request.due),
        done: at.last().map(|&ms| Duration::from_millis(ms)),
        outcome: Outcome::Completed,
        output_tokens: Some(OutputTokens { count: at.len() as u64, source: TokenSource::Server }),
        events,
        text,
        ..RequestRecord::unsent(&request)
    }
}

/// Completed requests, each sent at an instant in ms, with a piece of text after each of its gaps in ms.
pub(crate) fn records(spans: &[(u64, Vec<u64>)]) -> Vec<RequestRecord> {
    let one = |(sent, gaps): &(u64, Vec<u64>)| {
        let mut at = *sent;
        let times: Vec<u64> = gaps
            .iter()
            .map(|gap| {
                at += gap;
                at
            })
            .collect();
        record(*sent, &times, &vec!["a"; times.len()])
    };
    spans.iter().map(one).collect()
}

/// Each of `records` without the local tokenizer's counts.
pub(crate) fn ended(records: &[RequestRecord]) -> impl Iterator<Item = Ended<'_>> + Clone {
    records.iter().map(Ended::of)
}

/// The figures that `metric` gives of `requests`.
pub(crate) fn stats<'a>(
    metric: Metric,
    requests: impl IntoIterator<Item = Ended<'a>>,
    terms: &Terms<'_>,
    close: Close,
) -> Vec<Stat> {
    let mut gather = metric(terms);
    let mut run = Run { close, ..Run::default() };
    for request in requests {
        run.add(&request);
        gather.add(&request);
    }
    let mut measures = Measures::default();
    gather.finish(&run, &mut measures);
    measures.stats
}

/// As [`stats`], of plain `records` alone.
pub(crate) fn stats_of(metric: Metric, records: &[RequestRecord]) -> Vec<Stat> {
    stats(metric, ended(records), &Terms::default(), Close::default())
}

/// The figure of `measure`.
pub(crate) fn figure(stats: &[Stat], measure: Measure) -> Figure {
    stats.iter().find(|stat| stat.measure == measure).unwrap().value
}
