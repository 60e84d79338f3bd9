//! Token counts of requests that are decided after they have ended, in one place: records stay as they came.
//!
//! - Prompts of conversations depend on the answers before them.
//! - Output tokens that the server did not count are estimated from events and text.
//! - Image tokens may be known to the server alone; [`crate::analysis::vision`] settles them over all requests.

use rayon::prelude::*;

use crate::model::{OutputTokens, RequestRecord, TokenSource};
use crate::workload::conversation::Said;
use crate::workload::tokenizer::Tokenizer;

/// What a request counts for in figures, in tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Prompt tokens, images included.
    pub prompt: usize,
    /// How many of them stand for images.
    pub vision: usize,
    /// Output tokens by the best source; `None` for failures and for responses without output.
    pub output: Option<OutputTokens>,
    /// Tokens of its texts by the local tokenizer; 0 if it failed.
    pub retokenized: u64,
}

impl Counts {
    /// The counts that `record` came with.
    pub fn of(record: &RequestRecord) -> Self {
        Self {
            prompt: record.prompt_len,
            vision: record.vision_len,
            output: record.output_tokens,
            retokenized: 0,
        }
    }
}

/// A request that has ended, with what was found out about it afterwards.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'a> {
    /// The request.
    pub record: &'a RequestRecord,
    /// Its tokens.
    pub counts: Counts,
    /// Tokens of each event's piece of text, at least 1, in the order of the events; if they were counted.
    pub pieces: Option<&'a [u32]>,
}

impl<'a> Ended<'a> {
    /// `record` with the counts that it came with.
    pub fn of(record: &'a RequestRecord) -> Self {
        Self { record, counts: Counts::of(record), pieces: None }
    }

    /// The record of the request if it completed.
    pub fn completed(&self) -> Option<&'a RequestRecord> {
        Some(self.record).filter(|record| record.completed())
    }

    /// Output tokens, 0 where none are known.
    pub fn output(&self) -> u64 {
        self.counts.output.map_or(0, |tokens| tokens.count)
    }

    /// Tokens of a completion after its first, in the mean over the completions of the request:
    /// the divisor of the time per output token. `None` if that is 0 or less, and where no token was seen to arrive:
    /// the one event of an answer of special tokens alone is its end.
    pub fn steps(&self) -> Option<f64> {
        let record = self.record;
        if record.events.len() == 1 && record.texts().all(str::is_empty) {
            return None;
        }
        let steps = self.output() as f64 / record.completions() as f64 - 1.0;
        (steps > 0.0).then_some(steps)
    }

    /// Whether only the tokens of its pieces of text tell how many came with each event: the server did not tell them
    /// with the events, and each being one does not agree with its count.
    pub fn asks_pieces(&self) -> bool {
        let record = self.record;
        let events = record.events.len();
        let told: u64 = record.events.tokens.iter().map(|&k| u64::from(k)).sum();
        record.completed()
            && record.events.text_ends.len() == events
            && record.events.counted.is_empty()
            && told == events as u64
            && self.output() != told
    }
}

/// Whether the gaps of ITL are shared by retokenized pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shares {
    /// They are not.
    Never,
    /// They are.
    Always,
    /// They are if the server will tell an accept length.
    Perhaps,
}

impl Shares {
    /// Whether a backend that `may` share gaps does, where the server has told `accept_length`.
    pub fn of(may: bool, accept_length: Option<f64>) -> Self {
        if may && accept_length.is_some_and(|tokens| tokens > 0.0) {
            Self::Always
        } else {
            Self::Never
        }
    }
}

/// Counts the tokens of requests that have ended.
#[derive(Debug, Clone, Copy)]
pub struct Counter<'a> {
    /// Counts the texts.
    pub tokenizer: &'a Tokenizer,
    /// Whether answers have tokens.
    pub generates: bool,
}

impl Counter<'_> {
    /// The counts of `record`. For a round of a conversation, `round` has the tokens of the rounds before it, which this
    /// updates, and the texts that the round added.
    pub fn count(&self, record: &RequestRecord, round: Option<(&mut Said, &[&str])>) -> Counts {
        let mut counts = Counts::of(record);
        if !self.tokenizer.counts() {
            let told = record.server_prompt_tokens.and_then(|n| usize::try_from(n).ok());
            counts.prompt = told.unwrap_or(0);
            let estimated = record.completed() && self.generates && counts.output.is_none();
            counts.output = counts.output.or_else(|| estimated.then(|| estimate(record, 0)));
            return counts;
        }
        if let Some((said, new)) = round {
            counts.prompt = said.round(record, new, self.tokenizer);
        }
        if record.completed() && self.generates {
            let tokens = record.texts().map(|text| self.tokenizer.count(text) as u64).sum();
            counts.retokenized = tokens;
            counts.output = counts.output.or_else(|| Some(estimate(record, tokens)));
        }
        counts
    }

    /// The counts of each of `records`, which are in the order of the plan, the rounds of a request next to each other
    /// and none missing before another. `asked` gives the texts that a round added to its conversation; `None` if it
    /// is part of none.
    pub fn count_all<'b>(
        &self,
        records: &[RequestRecord],
        asked: impl Fn(&RequestRecord) -> Option<Vec<&'b str>> + Sync,
    ) -> Vec<Counts> {
        let of_request = |rounds: &[RequestRecord]| -> Vec<Counts> {
            let mut said = Said::default();
            let of_round = |record: &RequestRecord| {
                let new = asked(record);
                self.count(record, new.as_deref().map(|new| (&mut said, new)))
            };
            rounds.iter().map(of_round).collect()
        };
        let requests = records.par_chunk_by(|a, b| a.index == b.index);
        requests.flat_map_iter(of_request).collect()
    }

    /// Tokens of each piece of text of `request`, at least 1, if a metric asks for them.
    pub fn pieces(&self, request: &Ended<'_>, shares: Shares) -> Option<Vec<u32>> {
        let record = request.record;
        // A server is not asked for each piece of its answers.
        let is_asked = self.tokenizer.is_local()
            && record.completed()
            && (shares != Shares::Never || request.asks_pieces());
        let count =
            |piece: &str| u32::try_from(self.tokenizer.count(piece).max(1)).unwrap_or(u32::MAX);
        is_asked.then(|| record.pieces().map(count).collect())
    }
}

/// The output tokens of a record that nobody counted, whose texts have `texts` tokens.
///
/// An event may hold several tokens, or a part of one. The text tells better, unless it has more tokens than were asked
/// for: then it is of tokens that text is not encoded to, as random prompts bring forth.
fn estimate(record: &RequestRecord, texts: u64) -> OutputTokens {
    /// Text encodes to about as many tokens as it was made of.
    const SLACK: u64 = 8;
    let events: u64 = record.events.tokens.iter().map(|&n| u64::from(n)).sum();
    let asked = record.output_len.saturating_mul(record.completions()) as u64;
    let most = asked + asked / 4 + SLACK;
    let is_better = texts > 0 && (texts <= most || events > most || record.events.len() <= 1);
    let (count, source) = if is_better || events == 0 {
        (texts, TokenSource::Retokenized)
    } else {
        (events, TokenSource::Events)
    };
    OutputTokens { count, source }
}
