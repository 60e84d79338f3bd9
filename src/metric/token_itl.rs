//! ITL per token, whatever the endpoint, and the peak in tokens.
//!
//! - `token_itl`: a gap that brought k tokens counts as k entries of its k-th part.
//!   k is by how much the server's running count rose, where each event has one, else what the local tokenizer finds
//!   in the event's piece of text; where the server counted as many tokens as there are events, each event is one token.
//! - `peak_output_tokens_per_s`: most tokens that arrived in one of the seconds counted from the first send.
//!
//! Where one event is one token both agree with the figures of the table.

use std::time::Duration;

use super::{Ended, Gather, Metric, Run, Stat, distribution, real};
use crate::model::RequestRecord;
use crate::stats::{BySecond, Samples};

pub(super) const METRIC: Metric = Metric {
    name: "token_itl",
    gather: |terms| {
        let (origin, seconds) = (terms.origin, BySecond::default());
        Box::new(TokenItl { origin, ms: terms.samples(), seconds })
    },
};

#[derive(Debug)]
struct TokenItl {
    origin: Duration,
    ms: Samples,
    seconds: BySecond,
}

impl Gather for TokenItl {
    fn add(&mut self, request: &Ended<'_>) {
        let Some(record) = request.completed() else { return };
        let tokens_of = tokens_of(record, request.pieces);
        for gap in record.events.gaps() {
            let tokens = tokens_of.get(gap.event).copied().unwrap_or(gap.tokens);
            let each = gap.length().as_secs_f64() / f64::from(tokens.max(1));
            self.ms.add_times(each * 1e3, tokens.into());
        }
        for (&at, &tokens) in record.events.at_ns.iter().zip(tokens_of) {
            let second = Duration::from_nanos(at).saturating_sub(self.origin).as_secs();
            self.seconds.add(second, tokens);
        }
    }

    fn stats(self: Box<Self>, run: &Run) -> Vec<Stat> {
        let mut stats = distribution(run, "token_itl", self.ms);
        let peak = (run.completed > 0).then(|| self.seconds.most() as f64);
        stats.push(real("peak_output_tokens_per_s", peak));
        stats
    }
}

/// Tokens of each event of `record`, whose pieces of text have `pieces`, if they were counted.
fn tokens_of<'a>(record: &'a RequestRecord, pieces: Option<&'a [u32]>) -> &'a [u32] {
    if !record.events.counted.is_empty() {
        return &record.events.counted;
    }
    pieces.filter(|_| asks_pieces(record)).unwrap_or(&record.events.tokens)
}

/// Whether only the tokens of its pieces of text tell how many came with each event of `record`: the server did not
/// tell them with the events, and each being one does not agree with its count.
pub fn asks_pieces(record: &RequestRecord) -> bool {
    let events = record.events.len();
    let told: u64 = record.events.tokens.iter().map(|&k| u64::from(k)).sum();
    record.completed()
        && record.events.text_ends.len() == events
        && record.events.counted.is_empty()
        && told == events as u64
        && record.output_count() != told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::testing::{ended, figure, record, stats};
    use crate::metric::{Close, Figure, Terms};
    use crate::model::{OutputTokens, TokenSource};

    /// The mean `token_itl` of `record` in ms, whose pieces have `pieces` tokens, and the peak.
    fn figures(record: RequestRecord, pieces: &[u32]) -> (f64, Figure) {
        let records = [record];
        let requests = ended(&records).map(|ended| Ended { pieces: Some(pieces), ..ended });
        let stats = stats(&METRIC, requests, &Terms::default(), Close::default());
        let mean = figure(&stats, "mean_token_itl_ms").number().unwrap();
        ((mean * 1e6).round() / 1e6, figure(&stats, "peak_output_tokens_per_s"))
    }

    fn counted(count: u64) -> OutputTokens {
        OutputTokens { count, source: TokenSource::Server }
    }

    #[test]
    fn gaps_are_shared_where_events_hold_several_tokens() {
        let mut several = record(0, &[100, 400, 1000], &["a", " b c d", " e f"]);
        assert!(!asks_pieces(&several), "as many tokens as events");
        assert_eq!(figures(several.clone(), &[1, 3, 2]), (450.0, Figure::Real(2.0)));
        several.output_tokens = Some(counted(6));
        assert!(asks_pieces(&several));
        assert_eq!(figures(several, &[1, 3, 2]), (180.0, Figure::Real(4.0)));
    }

    #[test]
    fn running_counts_of_the_server_go_before_pieces() {
        let mut running = record(0, &[100, 400, 1000], &["a", " b c d", " e f"]);
        running.output_tokens = Some(counted(9));
        running.events.counted = vec![2, 0, 6];
        assert!(!asks_pieces(&running), "not to be counted once more");
        assert_eq!(running.itl().collect::<Vec<_>>(), [0.3, 0.6], "an entry for each event");
        assert_eq!(figures(running, &[1, 3, 2]), (100.0, Figure::Real(6.0)));
    }

    #[test]
    fn counts_of_the_server_are_taken_as_they_are() {
        let mut told = record(0, &[100, 400], &["a", "b c d"]);
        told.events.tokens = vec![1, 3];
        told.events.text_ends = Vec::new();
        assert!(!asks_pieces(&told));
        assert_eq!(figures(told, &[]), (100.0, Figure::Real(4.0)));
    }
}
