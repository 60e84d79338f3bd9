//! Prompt and output tokens of completed requests, which several metrics need.

use super::counts::Ended;
use super::gather::Run;

/// Sums over completed requests.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TokenSums {
    input: u64,
    output: u64,
}

impl TokenSums {
    /// Adds the tokens of `request`, if it completed.
    pub(super) fn add(&mut self, request: &Ended<'_>) {
        if request.completed().is_some() {
            self.input += request.counts.prompt as u64;
            self.output += request.output();
        }
    }

    /// Adds the sums of `other`.
    pub(super) fn merge(&mut self, other: Self) {
        self.input += other.input;
        self.output += other.output;
    }

    /// Prompt tokens, images included.
    pub(super) fn input(&self, run: &Run) -> u64 {
        self.input + run.close.vision_tokens
    }

    /// Output tokens.
    pub(super) fn output(&self) -> u64 {
        self.output
    }
}
