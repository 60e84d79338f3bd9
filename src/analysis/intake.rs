//! Feeds an aggregate while a run goes on (`--low-memory`).
//!
//! Records come in the order in which requests end, and are gone then: what is needed of a run does not grow with its
//! requests.

use std::collections::HashMap;

use super::aggregate::Aggregate;
use super::counts::{Counter, Ended};
use super::gather::Terms;
use crate::model::{PlannedRequest, RequestRecord, VisionSource};
use crate::workload::conversation::{self, Said};

/// How records are taken in.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// What was planned, for what the rounds of conversations ask, and for what will not have been sent.
    pub plan: &'a [PlannedRequest],
    /// Counts tokens.
    pub counter: Counter<'a>,
    /// What the metrics are to gather.
    pub terms: Terms<'a>,
    /// The servers that the load is spread over.
    pub endpoints: &'a [String],
    /// Where image tokens come from as far as is known, if there are images.
    pub vision: Option<VisionSource>,
}

/// A run that was taken in.
#[derive(Debug)]
pub struct Taken {
    /// All of its requests.
    pub aggregate: Aggregate,
    /// Records of what was planned and never sent.
    pub unsent: Vec<RequestRecord>,
}

/// Records on their way into an aggregate.
#[derive(Debug)]
pub struct Intake<'a> {
    rules: Rules<'a>,
    aggregate: Aggregate,
    /// Rounds of each request of the plan that have come.
    rounds: Vec<usize>,
    /// What was said so far in the conversations that go on.
    said: HashMap<usize, Said>,
}

impl<'a> Intake<'a> {
    /// Without a record yet.
    pub fn new(rules: Rules<'a>) -> Self {
        Self {
            rules,
            aggregate: Aggregate::new(&rules.terms, rules.endpoints, rules.vision),
            rounds: vec![0; rules.plan.len()],
            said: HashMap::new(),
        }
    }

    /// Takes `record` in. Rounds of a conversation come in their order.
    pub fn take(&mut self, record: &RequestRecord) {
        let Rules { plan, counter, terms, .. } = self.rules;
        let new = conversation::asked(plan, record);
        let counts = match &new {
            None => counter.count(record, None),
            Some(new) => {
                counter.count(record, Some((self.said.entry(record.index).or_default(), new)))
            }
        };
        if let Some(rounds) = self.rounds.get_mut(record.index) {
            *rounds += 1;
        }
        if plan.get(record.index).is_none_or(|request| record.round + 1 >= request.rounds()) {
            self.said.remove(&record.index);
        }
        let request = Ended { record, counts, pieces: None };
        let pieces = counter.pieces(&request, terms.shares);
        self.aggregate.add(&Ended { pieces: pieces.as_deref(), ..request });
    }

    /// Takes in what was never sent, and gives all that came.
    pub fn finish(mut self) -> Taken {
        let mut unsent = Vec::new();
        for (request, known) in self.rules.plan.iter().zip(std::mem::take(&mut self.rounds)) {
            for round in known..request.rounds() {
                unsent.push(RequestRecord { round, ..RequestRecord::unsent(request) });
            }
        }
        for record in &unsent {
            self.take(record);
        }
        Taken { aggregate: self.aggregate, unsent }
    }
}
