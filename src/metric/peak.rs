//! Peaks.
//!
//! - `max_output_tokens_per_s`: most tokens in one of the seconds counted from the first send of a completed request.
//!   A token's time is its event's; the events that share a gap spread it evenly; the first event of a completion
//!   counts once.
//! - `max_concurrent_requests`: most requests in flight at one instant, failed ones included.
//! - `reference_max_concurrent_requests`: most completed requests that touch one and the same second, which is what
//!   SGLang's client reports; it exceeds a concurrency cap whenever one request ends in the second where another starts.

use std::time::Duration;

use super::{Metric, Run, Stat, count, real};
use crate::model::RequestRecord;
use crate::stats::peak_overlap;

pub(super) const METRIC: Metric = Metric { name: "peak", stats };

fn stats(run: &Run<'_>) -> Vec<Stat> {
    let in_flight: Vec<(u64, u64)> = run
        .records
        .iter()
        .filter_map(|record| Some((nanos(record.sent?), nanos(record.done?))))
        .collect();
    let (tokens, touching) = per_second(run);
    let tokens = run.folded.map_or(tokens, |folded| folded.tokens_by_second.most() as f64);
    vec![
        real("max_output_tokens_per_s", Some(tokens)),
        count("max_concurrent_requests", peak_overlap(&in_flight) as u64),
        count("reference_max_concurrent_requests", touching),
    ]
}

/// Most tokens in one second, and most requests that touch one second.
fn per_second(run: &Run<'_>) -> (f64, u64) {
    let spans = || run.completed().filter_map(|r| Some((r, r.sent?, r.done?)));
    let Some(start) = spans().map(|(_, sent, _)| sent).min() else { return (0.0, 0) };
    let end = spans().map(|(_, _, done)| done).max().unwrap_or(start);
    let whole = |t: Duration| usize::try_from(t.as_secs()).unwrap_or(usize::MAX);
    let seconds = whole(end.saturating_sub(start)) + 2;
    let (mut tokens, mut touching) = (vec![0_u64; seconds], vec![0_u64; seconds]);
    let origin = start.as_secs_f64();
    for (record, sent, done) in spans() {
        let span = whole(sent.saturating_sub(start))..=whole(done.saturating_sub(start));
        // None where it ended before it was sent, which the checks of the measurement tell.
        for slot in touching.get_mut(span).into_iter().flatten() {
            *slot += 1;
        }
        for at in token_times(record) {
            // Offsets within the run are small and not negative.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded")]
            if let Some(slot) = tokens.get_mut((at - origin) as usize) {
                *slot += 1;
            }
        }
    }
    let most = |slots: &[u64]| slots.iter().copied().max().unwrap_or(0);
    (most(&tokens) as f64, most(&touching))
}

/// When the tokens of `record` came, in s from the start of the run, in no order.
///
/// Taken from the arrivals and not from sums of gaps, so that the last token of an event is at the event's own instant.
pub(super) fn token_times(record: &RequestRecord) -> impl Iterator<Item = f64> + '_ {
    let seconds = |ns: u64| Duration::from_nanos(ns).as_secs_f64();
    let later = record.events.gaps().flat_map(move |gap| {
        let (from, to, k) = (seconds(gap.from_ns), seconds(gap.to_ns), gap.tokens);
        let spread = move |j| from + gap.length().as_secs_f64() * f64::from(j) / f64::from(k);
        (1..=k).map(move |j| if j == k { to } else { spread(j) })
    });
    record.events.firsts().map(seconds).chain(later)
}

fn nanos(t: Duration) -> u64 {
    u64::try_from(t.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Figure;
    use crate::metric::testing::{record, run};

    #[test]
    fn touching_a_second_is_not_being_in_flight() {
        // One after the other, both within the first second.
        let records = [record(0, &[100, 200], &["a", "b"]), record(300, &[400, 500], &["a", "b"])];
        let stats = stats(&run(&records));
        let values: Vec<Figure> = stats.iter().map(|stat| stat.value).collect();
        assert_eq!(values, [Figure::Real(4.0), Figure::Count(1), Figure::Count(2)]);
    }

    #[test]
    fn an_end_before_the_beginning_counts_in_no_second() {
        let mut records = [record(0, &[100], &["a"]), record(9000, &[9100], &["a"])];
        records[1].done = Some(Duration::from_secs(1));
        assert_eq!(stats(&run(&records))[2].value, Figure::Count(1));
    }

    #[test]
    fn tokens_of_the_reference_example() {
        let records = [
            record(0, &[100, 400, 1000], &["a", " b c d", " e f"]),
            record(0, &[100, 1100], &["a", " b"]),
        ];
        let stats = stats(&run(&records));
        assert_eq!(stats[0].value, Figure::Real(3.0));
        assert_eq!(stats[2].value, Figure::Count(2));
    }
}
