//! Peaks.
//!
//! - `max_output_tokens_per_s`: most tokens in one of the seconds counted from the first send of a completed request.
//!   A token's time is its event's; the events that share a gap spread it evenly; the first event of a completion
//!   counts once.
//! - `max_concurrent_requests`: most requests in flight at one instant, failed ones included.
//! - `reference_max_concurrent_requests`: most completed requests that touch one and the same second, which is what
//!   SGLang's client reports; it exceeds a concurrency cap whenever one request ends in the second where another starts.

use std::time::Duration;

use super::{Ended, Gather, Metric, Run, Stat, Terms, count, real};
use crate::analysis::measure::{Measure, Reference};
use crate::analysis::stats::{BySecond, Touching, peak_overlap};
use crate::model::RequestRecord;

pub(super) const METRIC: Metric =
    Metric { name: "peak", gather: |terms| Box::new(Peaks::new(terms)) };

#[derive(Debug)]
struct Peaks {
    origin: Duration,
    tokens: BySecond,
    touching: Touching,
    /// When requests were in flight, in ns; where that is not kept, the threads have seen how many were.
    in_flight: Option<Vec<(u64, u64)>>,
}

impl Peaks {
    fn new(terms: &Terms<'_>) -> Self {
        Self {
            origin: terms.origin,
            tokens: BySecond::default(),
            touching: Touching::default(),
            in_flight: terms.keeps.then(Vec::new),
        }
    }
}

impl Gather for Peaks {
    fn add(&mut self, request: &Ended<'_>) {
        let record = request.record;
        let (Some(sent), Some(done)) = (record.sent, record.done) else { return };
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.push((nanos(sent), nanos(done)));
        }
        if !record.completed() {
            return;
        }
        let second = |at: Duration| at.saturating_sub(self.origin).as_secs();
        // None where it ended before it was sent, which the checks of the measurement tell.
        self.touching.add(second(sent), second(done));
        let origin = self.origin.as_secs_f64();
        for at in token_times(record) {
            // Offsets within the run are small, and what is negative becomes 0.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded")]
            self.tokens.add((at - origin) as u64, 1);
        }
    }

    fn stats(self: Box<Self>, run: &Run) -> Vec<Stat> {
        let in_flight = self.in_flight.map(|spans| peak_overlap(&spans) as u64);
        vec![
            real(Measure::MaxOutputTokens, Some(self.tokens.most() as f64)),
            count(Measure::MaxConcurrentRequests, in_flight.unwrap_or(run.close.peak_in_flight)),
            count(Measure::Reference(Reference::MaxConcurrentRequests), self.touching.most()),
        ]
    }
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

/// `t` in ns.
pub(super) fn nanos(t: Duration) -> u64 {
    u64::try_from(t.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::metric::Figure;
    use crate::analysis::metric::testing::{record, stats_of};

    #[test]
    fn touching_a_second_is_not_being_in_flight() {
        // One after the other, both within the first second.
        let records = [record(0, &[100, 200], &["a", "b"]), record(300, &[400, 500], &["a", "b"])];
        let stats = stats_of(&METRIC, &records);
        let values: Vec<Figure> = stats.iter().map(|stat| stat.value).collect();
        assert_eq!(values, [Figure::Real(4.0), Figure::Count(1), Figure::Count(2)]);
    }

    #[test]
    fn an_end_before_the_beginning_counts_in_no_second() {
        let mut records = [record(0, &[100], &["a"]), record(9000, &[9100], &["a"])];
        records[1].done = Some(Duration::from_secs(1));
        assert_eq!(stats_of(&METRIC, &records)[2].value, Figure::Count(1));
    }

    #[test]
    fn tokens_of_the_reference_example() {
        let records = [
            record(0, &[100, 400, 1000], &["a", " b c d", " e f"]),
            record(0, &[100, 1100], &["a", " b"]),
        ];
        let stats = stats_of(&METRIC, &records);
        assert_eq!(stats[0].value, Figure::Real(3.0));
        assert_eq!(stats[2].value, Figure::Count(2));
    }
}
