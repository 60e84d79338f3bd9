//! What figures need of the events of completed requests, where neither the events nor the texts are kept.
//!
//! The definitions are those of the metrics beside this, but for one thing: the seconds of the peaks are counted from
//! the start of the run, since which request will have been the first to be sent and complete is not known before
//! the end.

use std::time::Duration;

use super::peak::token_times;
use super::stall::worst_gap;
use super::token_itl::{best, event_tokens};
use crate::model::RequestRecord;
use crate::stats::Tally;

/// Sums over the events of completed requests; latencies in ms.
#[derive(Debug, Clone)]
pub struct Folded {
    stall_threshold: Duration,
    itl: Tally,
    /// The same with gaps shared by retokenized pieces, where the backend may call for it.
    split_itl: Option<Tally>,
    pub(super) event_itl: Tally,
    pub(super) token_itl: Tally,
    pub(super) worst_gap: Tally,
    /// Requests with a gap above the threshold.
    pub(super) stalled: u64,
    /// Tokens by the table's count.
    pub(super) tokens_by_second: BySecond,
    /// Tokens by the best count.
    pub(super) counted_by_second: BySecond,
    /// Tokens of all texts by the local tokenizer.
    pub(super) retokenized: u64,
}

/// Counts of each second since the start of a run.
#[derive(Debug, Clone, Default)]
pub(super) struct BySecond(Vec<u64>);

impl BySecond {
    fn add(&mut self, second: u64, n: u64) {
        let Ok(second) = usize::try_from(second) else { return };
        if second >= self.0.len() {
            self.0.resize(second + 1, 0);
        }
        self.0[second] += n;
    }

    /// The highest of them.
    pub(super) fn most(&self) -> u64 {
        self.0.iter().copied().max().unwrap_or(0)
    }
}

impl Folded {
    /// Nothing yet; a gap above `stall_threshold` is a stall, and `splits_itl` says whether gaps may be shared by
    /// retokenized pieces.
    pub fn new(stall_threshold: Duration, splits_itl: bool) -> Self {
        Self {
            stall_threshold,
            itl: Tally::default(),
            split_itl: splits_itl.then(Tally::default),
            event_itl: Tally::default(),
            token_itl: Tally::default(),
            worst_gap: Tally::default(),
            stalled: 0,
            tokens_by_second: BySecond::default(),
            counted_by_second: BySecond::default(),
            retokenized: 0,
        }
    }

    /// The ITL of the table, by whether the server told of speculative decoding.
    pub(super) fn itl(&self, accept_length: Option<f64>) -> &Tally {
        self.split_itl
            .as_ref()
            .filter(|_| accept_length.is_some_and(|a| a > 0.0))
            .unwrap_or(&self.itl)
    }

    /// Adds `record`, whose texts have `retokenized` tokens, if it completed. `count` is a tokenizer's count of a text.
    pub fn add(&mut self, record: &RequestRecord, retokenized: u64, count: impl Fn(&str) -> usize) {
        if !record.completed() {
            return;
        }
        self.retokenized += retokenized;
        let retokenized = event_tokens(record, &count);
        let tokens_of = best(record, retokenized.as_deref());
        let pieces: Vec<&str> =
            if self.split_itl.is_some() { record.pieces().collect() } else { Vec::new() };
        for gap in record.events.gaps() {
            let ms = gap.length().as_secs_f64() * 1e3;
            let share = |tally: &mut Tally, k: u64| tally.add(ms / k.max(1) as f64, k);
            share(&mut self.event_itl, 1);
            share(&mut self.itl, gap.tokens.into());
            share(
                &mut self.token_itl,
                tokens_of.get(gap.event).copied().unwrap_or(gap.tokens).into(),
            );
            if let Some(split) = &mut self.split_itl {
                let tokens = pieces.get(gap.event).map_or(1, |piece| count(piece).max(1));
                share(split, tokens as u64);
            }
        }
        if let Some(worst) = worst_gap(record) {
            self.worst_gap.add(worst.as_secs_f64() * 1e3, 1);
            self.stalled += u64::from(worst > self.stall_threshold);
        }
        for at in token_times(record) {
            // Offsets within a run are small and not negative.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded")]
            self.tokens_by_second.add(at as u64, 1);
        }
        for (&at, &tokens) in record.events.at_ns.iter().zip(tokens_of) {
            self.counted_by_second.add(Duration::from_nanos(at).as_secs(), tokens.into());
        }
    }
}
