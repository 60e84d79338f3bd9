//! Token totals over completed requests.
//!
//! - `total_input_tokens`: prompt tokens as the dataset counted them, images included; the text and vision tokens are its parts.
//! - `total_output_tokens`: output tokens by the best source of each request, see METHODOLOGY.md.
//! - `total_output_tokens_retokenized`: tokens of the received text by the local tokenizer, without special tokens.
//! - `server_input_tokens`: prompt tokens as the server counted them, absent if it told none.

use crate::analysis::counts::Ended;
use crate::analysis::gather::{Gather, Metric, Run};
use crate::analysis::measure::Measure;
use crate::analysis::measures::Measures;
use crate::analysis::token_sums::TokenSums;

pub(super) const METRIC: Metric = |_| Box::new(Tokens::default());

/// Sums over completed requests.
#[derive(Debug, Default)]
struct Tokens {
    sums: TokenSums,
    vision: u64,
    retokenized: u64,
    server_input: Option<u64>,
}

impl Gather for Tokens {
    fn add(&mut self, request: &Ended<'_>) {
        self.sums.add(request);
        let Some(record) = request.completed() else { return };
        self.vision += request.counts.vision as u64;
        self.retokenized += request.counts.retokenized;
        if let Some(told) = record.server_prompt_tokens {
            *self.server_input.get_or_insert(0) += told;
        }
    }

    fn merge(&mut self, other: Self) {
        self.sums.merge(other.sums);
        self.vision += other.vision;
        self.retokenized += other.retokenized;
        if let Some(told) = other.server_input {
            *self.server_input.get_or_insert(0) += told;
        }
    }

    fn finish(self, run: &Run, measures: &mut Measures) {
        let (input, vision) = (self.sums.input(run), self.vision + run.close.vision_tokens);
        measures.count(Measure::InputTokens, input);
        measures.count(Measure::InputTextTokens, input.saturating_sub(vision));
        measures.count(Measure::InputVisionTokens, vision);
        measures.count(Measure::OutputTokens, self.sums.output());
        measures.count(Measure::RetokenizedTokens, self.retokenized);
        match self.server_input {
            Some(told) => measures.count(Measure::ServerInputTokens, told),
            None => measures.real(Measure::ServerInputTokens, None),
        }
    }
}
