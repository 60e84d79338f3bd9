//! ITL per token, whatever the endpoint, and the peak in tokens.
//!
//! - `token_itl`: a gap that brought k tokens counts as k entries of its k-th part.
//!   k is by how much the server's running count rose, where each event has one, else the event's share of the output
//!   tokens by what the local tokenizer finds in the pieces of text; where there are as many tokens as events, each event
//!   is one token. An event without a whole token leaves its gap to the next one.
//! - `peak_output_tokens_per_s`: most tokens that arrived in one of the seconds counted from the first send.
//!
//! Where one event is one token both agree with the figures of the table.

use std::time::Duration;

use crate::analysis::counts::Ended;
use crate::analysis::gather::{Gather, Metric, Run};
use crate::analysis::measure::{Measure, Series};
use crate::analysis::measures::Measures;
use crate::analysis::stats::{BySecond, Distribution};
use crate::model::{PerCompletion, RequestRecord};

pub(super) const METRIC: Metric = |terms| {
    let (origin, seconds) = (terms.origins.sent, BySecond::default());
    Box::new(TokenItl { origin, ms: terms.samples(), seconds })
};

#[derive(Debug)]
struct TokenItl {
    origin: Duration,
    ms: Distribution,
    seconds: BySecond,
}

impl Gather for TokenItl {
    fn add(&mut self, request: &Ended<'_>) {
        let Some(record) = request.completed() else { return };
        let shares = request.pieces.filter(|_| request.asks_pieces());
        let shares = shares.map(|pieces| shared(pieces, request.output()));
        let tokens_of = shares.as_deref().unwrap_or_else(|| told(record));
        // Gaps of each completion that no token has ended yet.
        let mut left: PerCompletion<f64> = PerCompletion::default();
        for gap in record.events.gaps() {
            let tokens = tokens_of.get(gap.event).copied().unwrap_or(gap.tokens);
            let mut length = gap.length().as_secs_f64();
            if shares.is_some() {
                let left = left.entry(record.events.completion_of(gap.event));
                length += std::mem::take(left);
                if tokens == 0 {
                    *left = length;
                }
            }
            let each = length / f64::from(tokens.max(1));
            self.ms.add_times(each * 1e3, tokens.into());
        }
        for (&at, &tokens) in record.events.at_ns.iter().zip(tokens_of) {
            let second = Duration::from_nanos(at).saturating_sub(self.origin).as_secs();
            self.seconds.add(second, tokens);
        }
    }

    fn merge(&mut self, other: Self) {
        self.ms.merge(other.ms);
        self.seconds.merge(&other.seconds);
    }

    fn finish(self, run: &Run, measures: &mut Measures) {
        measures.latencies(run, Series::TokenItl, self.ms);
        let peak = (run.completed > 0).then(|| self.seconds.most() as f64);
        measures.real(Measure::PeakOutputTokens, peak);
    }
}

/// Tokens of each event of `record`, as the server told them.
fn told(record: &RequestRecord) -> &[u32] {
    let events = &record.events;
    if events.counted.is_empty() { &events.tokens } else { &events.counted }
}

/// `count` tokens shared among events by what the local tokenizer finds in their pieces, which may be more or fewer in
/// all: text does not always encode to the tokens that it was made of. Each event has one, if there are enough.
fn shared(pieces: &[u32], count: u64) -> Vec<u32> {
    let least = u64::from(count >= pieces.len() as u64);
    let weight = |&piece: &u32| u64::from(piece.max(1)) - least;
    let all: u64 = pieces.iter().map(weight).sum();
    let rest = count - least * pieces.len() as u64;
    let (mut before, mut weights) = (0, 0);
    let share = |piece: &u32| {
        weights += weight(piece);
        // Counts and texts have caps by which this stays far below what the type holds.
        let until = (rest * weights).checked_div(all).unwrap_or(0);
        let share = until - std::mem::replace(&mut before, until) + least;
        u32::try_from(share).unwrap_or(u32::MAX)
    };
    pieces.iter().map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::gather::{Close, Terms};
    use crate::analysis::measure::Statistic;
    use crate::analysis::measures::Figure;
    use crate::analysis::testing::{ended, figure, record, stats};
    use crate::model::{OutputTokens, TokenSource};

    /// The mean `token_itl` of `record` in ms, whose pieces have `pieces` tokens, and the peak.
    fn figures(record: RequestRecord, pieces: &[u32]) -> (f64, Figure) {
        let records = [record];
        let requests = ended(&records).map(|ended| Ended { pieces: Some(pieces), ..ended });
        let stats = stats(METRIC, requests, &Terms::default(), Close::default());
        let mean = figure(&stats, Measure::Of(Statistic::Mean, Series::TokenItl)).number().unwrap();
        ((mean * 1e6).round() / 1e6, figure(&stats, Measure::PeakOutputTokens))
    }

    fn counted(count: u64) -> OutputTokens {
        OutputTokens { count, source: TokenSource::Server }
    }

    #[test]
    fn gaps_are_shared_where_events_hold_several_tokens() {
        let mut several = record(0, &[100, 400, 1000], &["a", " b c d", " e f"]);
        assert!(!Ended::of(&several).asks_pieces(), "as many tokens as events");
        assert_eq!(figures(several.clone(), &[1, 3, 2]), (450.0, Figure::Real(2.0)));
        several.output_tokens = Some(counted(6));
        assert!(Ended::of(&several).asks_pieces());
        assert_eq!(figures(several, &[1, 3, 2]), (180.0, Figure::Real(4.0)));
    }

    #[test]
    fn pieces_share_what_was_counted() {
        for (pieces, count, want) in [
            (&[1, 3, 2][..], 6, &[1, 3, 2][..]),
            (&[2, 6, 4], 6, &[1, 3, 2]),
            (&[1, 1, 1], 6, &[1, 1, 1]),
            (&[1, 5, 1], 5, &[1, 3, 1]),
            (&[1, 1, 1, 1], 2, &[0, 1, 0, 1]),
            (&[1, 1], 0, &[0, 0]),
        ] {
            assert_eq!(shared(pieces, count), want, "{pieces:?} {count}");
        }
        // A character in each event: two of them make a token, whose gap is from the token before.
        let mut letters = record(0, &[100, 200, 300, 400], &["a", "b", "c", "d"]);
        letters.output_tokens = Some(counted(2));
        assert_eq!(figures(letters, &[1, 1, 1, 1]), (150.0, Figure::Real(2.0)));
    }

    #[test]
    fn running_counts_of_the_server_go_before_pieces() {
        let mut running = record(0, &[100, 400, 1000], &["a", " b c d", " e f"]);
        running.output_tokens = Some(counted(9));
        running.events.counted = vec![2, 0, 6];
        assert!(!Ended::of(&running).asks_pieces(), "not to be counted once more");
        assert_eq!(running.itl().collect::<Vec<_>>(), [0.3, 0.6], "an entry for each event");
        assert_eq!(figures(running, &[1, 3, 2]), (100.0, Figure::Real(6.0)));
    }

    #[test]
    fn counts_of_the_server_are_taken_as_they_are() {
        let mut told = record(0, &[100, 400], &["a", "b c d"]);
        told.events.tokens = vec![1, 3];
        told.events.text_ends = Vec::new();
        assert!(!Ended::of(&told).asks_pieces());
        assert_eq!(figures(told, &[]), (100.0, Figure::Real(4.0)));
    }
}
