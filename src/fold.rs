//! `--low-memory`: what is kept of a request that has ended does not grow with its tokens.
//!
//! A record gives its events and texts to sums, one after the other in the order in which requests end, and keeps what
//! has a size known before. Everything that is a matter of requests, such as TTFT, is computed from these as always.

use std::collections::HashMap;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use crate::audit::Streams;
use crate::ceiling::Arrivals;
use crate::conversation::{self, Said};
use crate::metric::Folded;
use crate::model::{
    Outcome, OutputTokens, PlannedRequest, RequestRecord, TokenEvents, TokenSource,
};
use crate::report::Failures;
use crate::tokenizer::Tokenizer;

/// How records are folded.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// What was planned, for what the rounds of conversations ask.
    pub plan: &'a [PlannedRequest],
    /// Counts the texts.
    pub tokenizer: &'a Tokenizer,
    /// Whether answers have tokens.
    pub generates: bool,
    /// Whether gaps may be shared by retokenized pieces.
    pub splits_itl: bool,
    /// A gap longer than this is a stall.
    pub stall_threshold: Duration,
}

/// The sums.
#[derive(Debug)]
pub struct Sums {
    /// For the figures of events.
    pub figures: Folded,
    /// For the checks.
    pub streams: Streams,
    /// For the headroom.
    pub arrivals: Arrivals,
    /// Why requests failed.
    pub failures: Failures,
}

/// Folds what comes until nothing can come any more; returns what is left of the records, in the order in which they
/// came, and the sums.
pub fn fold(records: &Receiver<RequestRecord>, rules: Rules<'_>) -> (Vec<RequestRecord>, Sums) {
    let mut fold = Fold::new(rules);
    let left = records.iter().map(|record| fold.take(record)).collect();
    (left, fold.sums)
}

/// Records on their way into sums.
#[derive(Debug)]
pub struct Fold<'a> {
    rules: Rules<'a>,
    /// The sums.
    pub sums: Sums,
    /// What was said so far in the conversations that go on.
    said: HashMap<usize, Said>,
}

impl<'a> Fold<'a> {
    /// Without a record yet.
    pub fn new(rules: Rules<'a>) -> Self {
        let sums = Sums {
            figures: Folded::new(rules.stall_threshold, rules.splits_itl),
            streams: Streams::default(),
            arrivals: Arrivals::default(),
            failures: Failures::default(),
        };
        Self { rules, sums, said: HashMap::new() }
    }

    /// Adds `record` to the sums, and returns what is left of it. Rounds of a conversation come in their order.
    pub fn take(&mut self, mut record: RequestRecord) -> RequestRecord {
        let Rules { tokenizer, generates, .. } = self.rules;
        self.set_prompt_length(&mut record);
        let retokenized = retokenize(&mut record, tokenizer, generates);
        let Sums { figures, streams, arrivals, failures } = &mut self.sums;
        figures.add(&record, retokenized, |piece| tokenizer.count(piece));
        streams.add(&record);
        arrivals.add(&record);
        if let Some(failure) = record.failure() {
            failures.add(&failure);
        }
        strip(&mut record);
        record
    }

    /// As [`conversation::set_prompt_lengths`], for one round after the other.
    fn set_prompt_length(&mut self, record: &mut RequestRecord) {
        let Rules { plan, tokenizer, .. } = self.rules;
        let Some(new) = conversation::asked(plan, record) else { return };
        self.said.entry(record.index).or_default().round(record, &new, tokenizer);
        if plan.get(record.index).is_none_or(|request| record.round + 1 >= request.rounds()) {
            self.said.remove(&record.index);
        }
    }
}

/// Counts the texts of `record` again; if it completed and nobody counted its tokens, it takes that count.
pub fn retokenize(record: &mut RequestRecord, tokenizer: &Tokenizer, generates: bool) -> u64 {
    if !record.completed() || !generates {
        return 0;
    }
    let count = record.texts().map(|text| tokenizer.count(text) as u64).sum();
    let fallback = OutputTokens { count, source: TokenSource::Retokenized };
    record.output_tokens.get_or_insert(fallback);
    count
}

/// Leaves of the events the first, which is in the latencies of the request, and of the texts their number.
fn strip(record: &mut RequestRecord) {
    let first = record.events.at_ns.first();
    record.events =
        TokenEvents { at_ns: first.copied().into_iter().collect(), ..TokenEvents::default() };
    record.text = String::new();
    for text in &mut record.other_texts {
        *text = String::new();
    }
    if let Outcome::Failed(failure) = &mut record.outcome {
        failure.message = String::new();
        failure.excerpt = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_what_the_methodology_tells() {
        // The record, and the least that an allocator gives for the arrival of the first event.
        let kept = size_of::<RequestRecord>() + 32;
        assert!(kept <= 600, "{kept}");
        assert!(include_str!("../METHODOLOGY.md").contains("about 600 for a record"));
    }
}
