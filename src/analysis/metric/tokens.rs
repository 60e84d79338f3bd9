//! Token totals over completed requests.
//!
//! - `total_input_tokens`: prompt tokens as the dataset counted them, images included; the text and vision tokens are its parts.
//! - `total_output_tokens`: output tokens by the best source of each request, see METHODOLOGY.md.
//! - `total_output_tokens_retokenized`: tokens of the received text by the local tokenizer, without special tokens.
//! - `server_input_tokens`: prompt tokens as the server counted them, absent if it told none.

use super::{Ended, Gather, Metric, Run, Stat, count, real};
use crate::analysis::measure::Measure;

pub(super) const METRIC: Metric =
    Metric { name: "tokens", gather: |_| Box::new(Tokens::default()) };

/// Sums over completed requests.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    input: u64,
    vision: u64,
    output: u64,
    retokenized: u64,
    server_input: Option<u64>,
}

impl Tokens {
    /// Prompt tokens, images included.
    pub(super) fn input(&self, run: &Run) -> u64 {
        self.input + run.close.vision_tokens
    }

    /// Output tokens.
    pub(super) fn output(&self) -> u64 {
        self.output
    }

    /// Adds those of `request`, if it completed.
    pub(super) fn add(&mut self, request: &Ended<'_>) {
        let Some(record) = request.completed() else { return };
        self.input += record.prompt_len as u64;
        self.vision += record.vision_len as u64;
        self.output += record.output_count();
        self.retokenized += request.retokenized;
        if let Some(told) = record.server_prompt_tokens {
            *self.server_input.get_or_insert(0) += told;
        }
    }
}

impl Gather for Tokens {
    fn add(&mut self, request: &Ended<'_>) {
        Self::add(self, request);
    }

    fn stats(self: Box<Self>, run: &Run) -> Vec<Stat> {
        let (input, vision) = (self.input(run), self.vision + run.close.vision_tokens);
        let server = self.server_input.map(|n| count(Measure::ServerInputTokens, n));
        vec![
            count(Measure::InputTokens, input),
            count(Measure::InputTextTokens, input.saturating_sub(vision)),
            count(Measure::InputVisionTokens, vision),
            count(Measure::OutputTokens, self.output),
            count(Measure::RetokenizedTokens, self.retokenized),
            server.unwrap_or_else(|| real(Measure::ServerInputTokens, None)),
        ]
    }
}
