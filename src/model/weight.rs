//! What a record weighs in memory, and what is left of one whose answer is too heavy.

use super::{Failure, FailureKind, Outcome, Phase, RequestRecord, TokenEvents};

impl RequestRecord {
    /// Bytes of memory that it has beside its own size.
    pub fn heap(&self) -> usize {
        let texts = std::iter::once(&self.text).chain(&self.other_texts);
        texts.map(String::capacity).sum::<usize>() + self.events.heap()
    }

    /// What is left of a record whose answer cannot be kept until it is counted: a request that was sent, and has
    /// failed if it had not before.
    #[must_use]
    pub fn uncounted(self) -> Self {
        let outcome = match self.outcome {
            Outcome::Completed => Outcome::Failed(Failure {
                status: Some(200),
                ..Failure::new(
                    FailureKind::Memory,
                    Phase::Stream,
                    "the answer arrived, and answers were counted more slowly than they came",
                )
            }),
            other => other,
        };
        Self {
            outcome,
            events: TokenEvents::default(),
            text: String::new(),
            other_texts: Vec::new(),
            cached: None,
            output_tokens: None,
            ..self
        }
    }

    /// A copy without what can be long: of the events the first is left, of the text its first `chars` characters.
    #[must_use]
    pub fn brief(&self, chars: usize) -> Self {
        let TokenEvents { at_ns, tokens, .. } = &self.events;
        Self {
            outcome: self.outcome.clone(),
            events: TokenEvents {
                at_ns: at_ns.iter().take(1).copied().collect(),
                tokens: tokens.iter().take(1).copied().collect(),
                ..TokenEvents::default()
            },
            text: self.text.chars().take(chars).collect(),
            other_texts: Vec::new(),
            cached: self.cached.clone(),
            impossible: self.impossible.clone(),
            ..*self
        }
    }
}
