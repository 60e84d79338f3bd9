//! ITL per event and per token, whatever the endpoint, and the peak in tokens.
//!
//! - `event_itl`: each gap between two events of a completion is one entry.
//! - `token_itl`: a gap that brought k tokens counts as k entries of its k-th part.
//!   k is by how much the server's running count rose, where each event has one, else what the local tokenizer finds
//!   in the event's piece of text; where the server counted as many tokens as there are events, each event is one token.
//! - `peak_output_tokens_per_s`: most tokens that arrived in one of the seconds counted from the first send.
//!
//! Where one event is one token all of them agree with the figures of the table.

use std::time::Duration;

use super::{Metric, Run, Stat, counted, distribution, real};
use crate::model::RequestRecord;

pub(super) const METRIC: Metric = Metric { name: "token_itl", stats };

fn stats(run: &Run<'_>) -> Vec<Stat> {
    if let Some(folded) = run.folded {
        let mut stats = counted(run, "event_itl", &folded.event_itl);
        stats.extend(counted(run, "token_itl", &folded.token_itl));
        let peak = run.completed().next().map(|_| folded.counted_by_second.most() as f64);
        stats.push(real("peak_output_tokens_per_s", peak));
        return stats;
    }
    // One after the other: in long runs these samples are what most memory is needed for.
    let mut stats = distribution(run, "event_itl", gaps(run, |_| 1));
    stats.extend(distribution(run, "token_itl", gaps(run, |k| k)));
    stats.push(real("peak_output_tokens_per_s", peak(run)));
    stats
}

/// The gaps of all completed requests in seconds, each shared among as many entries as `entries` makes of its tokens.
fn gaps(run: &Run<'_>, entries: fn(u32) -> u32) -> Vec<f64> {
    let completed = run.records.iter().enumerate().filter(|(_, record)| record.completed());
    let of_one = |(i, record)| {
        let tokens_of = tokens_of(run, i, record);
        record.events.gaps().flat_map(move |gap| {
            let n = entries(tokens_of.get(gap.event).copied().unwrap_or(gap.tokens));
            let seconds = gap.length().as_secs_f64() / f64::from(n.max(1));
            std::iter::repeat_n(seconds, n as usize)
        })
    };
    completed.flat_map(of_one).collect()
}

/// Tokens of each event of the i-th record.
fn tokens_of<'a>(run: &Run<'a>, i: usize, record: &'a RequestRecord) -> &'a [u32] {
    best(record, run.event_tokens.get(i).and_then(Option::as_deref))
}

/// Tokens of each event of `record`, where retokenizing tells `retokenized`.
pub(super) fn best<'a>(record: &'a RequestRecord, retokenized: Option<&'a [u32]>) -> &'a [u32] {
    if !record.events.counted.is_empty() {
        return &record.events.counted;
    }
    retokenized.unwrap_or(&record.events.tokens)
}

/// Most tokens in one second.
fn peak(run: &Run<'_>) -> Option<f64> {
    let start = run.completed().filter_map(|record| record.sent).min()?;
    let end = run.completed().filter_map(|record| record.done).max()?;
    let second = |at: Duration| usize::try_from(at.saturating_sub(start).as_secs()).unwrap_or(0);
    let mut seconds = vec![0_u64; second(end) + 1];
    for (i, record) in run.records.iter().enumerate().filter(|(_, record)| record.completed()) {
        let tokens_of = tokens_of(run, i, record);
        for (&at, &k) in record.events.at_ns.iter().zip(tokens_of) {
            if let Some(slot) = seconds.get_mut(second(Duration::from_nanos(at))) {
                *slot += u64::from(k);
            }
        }
    }
    seconds.into_iter().max().map(|most| most as f64)
}

/// Tokens of each event of `record` by `count`, a tokenizer's count of a piece of text;
/// `None` where the server told it with the events, or each is one token.
pub fn event_tokens(record: &RequestRecord, count: impl Fn(&str) -> usize) -> Option<Vec<u32>> {
    let events = record.events.len();
    let told: u64 = record.events.tokens.iter().map(|&k| u64::from(k)).sum();
    if !record.completed()
        || record.events.text_ends.len() != events
        || !record.events.counted.is_empty()
        || told != events as u64
        || record.output_count() == told
    {
        return None;
    }
    let count = |piece: &str| u32::try_from(count(piece).max(1)).unwrap_or(u32::MAX);
    Some(record.pieces().map(count).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Figure;
    use crate::metric::testing::{record, run};
    use crate::model::{OutputTokens, TokenSource};

    fn words(piece: &str) -> usize {
        piece.split_whitespace().count()
    }

    #[test]
    fn gaps_are_shared_where_events_hold_several_tokens() {
        let mut several = record(0, &[100, 400, 1000], &["a", " b c d", " e f"]);
        assert_eq!(event_tokens(&several, words), None, "as many tokens as events");
        several.output_tokens = Some(OutputTokens { count: 6, source: TokenSource::Server });
        let counted = event_tokens(&several, words);
        assert_eq!(counted, Some(vec![1, 3, 2]));
        let records = [several];
        let event_tokens = [counted];
        let mut run = run(&records);
        run.event_tokens = &event_tokens;
        let stats = stats(&run);
        let figure = |key: &str| stats.iter().find(|stat| stat.key == key).unwrap().value;
        assert_eq!(figure("mean_event_itl_ms"), Figure::Real(450.0));
        assert_eq!(figure("mean_token_itl_ms"), Figure::Real(180.0));
        assert_eq!(figure("peak_output_tokens_per_s"), Figure::Real(4.0));
    }

    #[test]
    fn running_counts_of_the_server_go_before_pieces() {
        let mut counted = record(0, &[100, 400, 1000], &["a", " b c d", " e f"]);
        counted.output_tokens = Some(OutputTokens { count: 9, source: TokenSource::Server });
        counted.events.counted = vec![2, 0, 6];
        assert_eq!(event_tokens(&counted, words), None, "not to be counted once more");
        assert_eq!(counted.itl().collect::<Vec<_>>(), [0.3, 0.6], "an entry for each event");
        let records = [counted];
        let stats = stats(&run(&records));
        let figure = |key: &str| stats.iter().find(|stat| stat.key == key).unwrap().value;
        assert_eq!(figure("mean_event_itl_ms"), Figure::Real(450.0));
        let mean = figure("mean_token_itl_ms").number().unwrap();
        assert!((mean - 100.0).abs() < 1e-9, "{mean}");
        assert_eq!(figure("peak_output_tokens_per_s"), Figure::Real(6.0));
    }

    #[test]
    fn counts_of_the_server_are_taken_as_they_are() {
        let mut counted = record(0, &[100, 400], &["a", "b c d"]);
        counted.events.tokens = vec![1, 3];
        counted.events.text_ends = Vec::new();
        assert_eq!(event_tokens(&counted, words), None);
        let records = [counted];
        let stats = stats(&run(&records));
        let figure = |key: &str| stats.iter().find(|stat| stat.key == key).unwrap().value;
        let mean = figure("mean_token_itl_ms").number().unwrap();
        assert!((mean - 100.0).abs() < 1e-9, "{mean}");
        assert_eq!(figure("peak_output_tokens_per_s"), Figure::Real(4.0));
    }
}
