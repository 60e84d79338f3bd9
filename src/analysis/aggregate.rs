//! `--low-memory`: of a request that has ended nothing is kept but what it adds to sums.
//!
//! Records come one after the other in the order in which requests end, and are gone then: what is needed of a run does
//! not grow with its requests.

use std::collections::HashMap;

use crate::analysis::account::Account;
use crate::analysis::metric::{Ended, Gathering, Shares, Terms, asks_pieces};
use crate::engine::outbox::Inbox;
use crate::engine::system::Charge;
use crate::model::{OutputTokens, PlannedRequest, RequestRecord, TokenSource, VisionSource};
use crate::secrets::Secrets;
use crate::workload::conversation::{self, Said};
use crate::workload::tokenizer::Tokenizer;

/// How records are aggregated.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// What was planned, for what the rounds of conversations ask, and for what will not have been sent.
    pub plan: &'a [PlannedRequest],
    /// Counts the texts.
    pub tokenizer: &'a Tokenizer,
    /// What may be printed nowhere.
    pub secrets: &'a Secrets,
    /// Whether answers have tokens.
    pub generates: bool,
    /// What the metrics are to gather.
    pub terms: Terms<'a>,
    /// The servers that the load is spread over.
    pub endpoints: &'a [String],
    /// Where image tokens come from as far as is known, if there are images.
    pub vision: Option<VisionSource>,
}

/// The sums.
#[derive(Debug)]
pub struct Sums {
    /// For the figures.
    pub metrics: Gathering,
    /// For the rest of the report.
    pub account: Account,
    /// Records of what was planned and never sent.
    pub unsent: Vec<RequestRecord>,
}

/// Folds what comes, each with the memory that it takes, until nothing can come any more.
pub fn aggregate(records: &mut Inbox<(RequestRecord, Option<Charge>)>, rules: Rules<'_>) -> Sums {
    let mut aggregate = Aggregator::new(rules);
    while let Ok((record, charge)) = records.recv() {
        aggregate.take(record);
        drop(charge);
        records.done();
    }
    aggregate.finish()
}

/// Records on their way into sums.
#[derive(Debug)]
pub struct Aggregator<'a> {
    rules: Rules<'a>,
    metrics: Gathering,
    account: Account,
    /// Rounds of each request of the plan that have come.
    rounds: Vec<usize>,
    /// What was said so far in the conversations that go on.
    said: HashMap<usize, Said>,
}

impl<'a> Aggregator<'a> {
    /// Without a record yet.
    pub fn new(rules: Rules<'a>) -> Self {
        Self {
            rules,
            metrics: Gathering::new(&rules.terms),
            account: Account::new(rules.endpoints, rules.vision),
            rounds: vec![0; rules.plan.len()],
            said: HashMap::new(),
        }
    }

    /// Adds `record` to the sums. Rounds of a conversation come in their order.
    pub fn take(&mut self, mut record: RequestRecord) {
        let Rules { tokenizer, generates, terms, secrets, .. } = self.rules;
        secrets.take_out_of_record(&mut record);
        self.set_prompt_length(&mut record);
        if let Some(rounds) = self.rounds.get_mut(record.index) {
            *rounds += 1;
        }
        let retokenized = retokenize(&mut record, tokenizer, generates);
        let pieces = pieces(&record, terms.shares, tokenizer);
        let ended = Ended { record: &record, retokenized, pieces: pieces.as_deref() };
        self.metrics.add(&ended);
        self.account.add(&record);
    }

    /// The sums of all that came and of what was never sent.
    pub fn finish(mut self) -> Sums {
        let mut unsent = Vec::new();
        for (request, known) in self.rules.plan.iter().zip(std::mem::take(&mut self.rounds)) {
            for round in known..request.rounds() {
                unsent.push(RequestRecord { round, ..RequestRecord::unsent(request) });
            }
        }
        for record in &unsent {
            self.take(record.clone());
        }
        Sums { metrics: self.metrics, account: self.account, unsent }
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

/// Counts the texts of `record` again; if it completed and nobody counted its tokens, it takes the best count there is.
pub fn retokenize(record: &mut RequestRecord, tokenizer: &Tokenizer, generates: bool) -> u64 {
    if !record.completed() || !generates {
        return 0;
    }
    let count = record.texts().map(|text| tokenizer.count(text) as u64).sum();
    if record.output_tokens.is_none() {
        record.output_tokens = Some(estimate(record, count));
    }
    count
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

/// Tokens of each piece of text of `record`, at least 1, if a metric asks for them.
pub fn pieces(record: &RequestRecord, shares: Shares, tokenizer: &Tokenizer) -> Option<Vec<u32>> {
    // A server is not asked for each piece of its answers.
    let is_asked = tokenizer.is_local()
        && record.completed()
        && (shares != Shares::Never || asks_pieces(record));
    let count = |piece: &str| u32::try_from(tokenizer.count(piece).max(1)).unwrap_or(u32::MAX);
    is_asked.then(|| record.pieces().map(count).collect())
}
