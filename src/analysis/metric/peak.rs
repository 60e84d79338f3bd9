//! Peaks.
//!
//! - `max_output_tokens_per_s`: most tokens in one of the seconds counted from the first send of a completed request.
//!   A token's time is its event's; the events that share a gap spread it evenly; the first event of a completion
//!   counts once.
//! - `max_concurrent_requests`: most requests in flight at one instant, failed ones included.
//! - `reference_max_concurrent_requests`: most completed requests that touch one and the same second, which is what
//!   SGLang's client reports; it exceeds a concurrency cap whenever one request ends in the second where another starts.

use std::time::Duration;

use crate::analysis::counts::Ended;
use crate::analysis::gather::{Gather, Metric, Run, Terms};
use crate::analysis::measure::{Measure, Reference};
use crate::analysis::measures::Measures;
use crate::analysis::stats::{BySecond, Touching, peak_overlap};
use crate::analysis::token_times::{nanos, token_times};

pub(super) const METRIC: Metric = |terms| Box::new(Peaks::new(terms));

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
            origin: terms.origins.sent,
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

    fn merge(&mut self, other: Self) {
        self.tokens.merge(&other.tokens);
        self.touching.merge(&other.touching);
        // What one part has not kept is known of neither.
        self.in_flight = self.in_flight.take().zip(other.in_flight).map(|(mut ours, theirs)| {
            ours.extend(theirs);
            ours
        });
    }

    fn finish(self, run: &Run, measures: &mut Measures) {
        let in_flight = self.in_flight.map(|spans| peak_overlap(&spans) as u64);
        measures.real(Measure::MaxOutputTokens, Some(self.tokens.most() as f64));
        let in_flight = in_flight.unwrap_or(run.close.peak_in_flight);
        measures.count(Measure::MaxConcurrentRequests, in_flight);
        let touching = self.touching.most();
        measures.count(Measure::Reference(Reference::MaxConcurrentRequests), touching);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::measures::Figure;
    use crate::analysis::testing::{record, stats_of};

    #[test]
    fn touching_a_second_is_not_being_in_flight() {
        // One after the other, both within the first second.
        let records = [record(0, &[100, 200], &["a", "b"]), record(300, &[400, 500], &["a", "b"])];
        let stats = stats_of(METRIC, &records);
        let values: Vec<Figure> = stats.iter().map(|stat| stat.value).collect();
        assert_eq!(values, [Figure::Real(4.0), Figure::Count(1), Figure::Count(2)]);
    }

    #[test]
    fn an_end_before_the_beginning_counts_in_no_second() {
        let mut records = [record(0, &[100], &["a"]), record(9000, &[9100], &["a"])];
        records[1].done = Some(Duration::from_secs(1));
        assert_eq!(stats_of(METRIC, &records)[2].value, Figure::Count(1));
    }

    #[test]
    fn tokens_of_the_reference_example() {
        let records = [
            record(0, &[100, 400, 1000], &["a", " b c d", " e f"]),
            record(0, &[100, 1100], &["a", " b"]),
        ];
        let stats = stats_of(METRIC, &records);
        assert_eq!(stats[0].value, Figure::Real(3.0));
        assert_eq!(stats[2].value, Figure::Count(2));
    }
}
