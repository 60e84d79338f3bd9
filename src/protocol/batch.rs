//! One request that holds a whole batch of prompts: its body, and the figures of what came back for each of them.
//!
//! The load's own engine sends it, as it sends all requests; a prompt of it is a completion of the record.

mod answer;
mod body;
mod progress;

use std::time::Duration;

pub use self::answer::answer;
pub use self::body::{Ask, prefixes, request};
pub use self::progress::{Progress, Window};
pub use super::backend::Wire;
use crate::model::TokenSource;

/// Most prompts of a batch: more have no index in the answer.
pub const MOST: usize = u16::MAX as usize;

/// What one case of a benchmark asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Prompts in the request.
    pub batch_size: usize,
    /// Tokens of each prompt; their mean, rounded down, where they differ.
    pub input_len: usize,
    /// Tokens asked for, for each prompt.
    pub output_len: usize,
}

/// What came back.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// From sending to the first output of the prompt that got it last.
    pub last_ttft: Duration,
    /// From sending to the last event of the response.
    pub latency: Duration,
    /// Generated tokens.
    pub output_tokens: u64,
    /// Who counted them.
    pub source: TokenSource,
    /// How many of them were there at `last_ttft`.
    pub output_tokens_before: f64,
    /// Prompts whose answer ended before the length asked for; `None` where the server tells no counts.
    pub early_stops: Option<u64>,
    /// Instants after `last_ttft` at which tokens came.
    pub later_arrivals: u64,
    /// The stretch in which every prompt was being answered.
    pub window: Option<Window>,
    /// Prompt tokens by the server's count.
    pub prompt_tokens: Option<u64>,
    /// Prompt tokens that the server took from its prefix cache.
    pub cached_tokens: Option<u64>,
}

/// The figures of one case.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// What was asked for.
    pub shape: Shape,
    /// Prompt tokens, over all prompts.
    pub input_tokens: u64,
    /// What came back.
    pub answer: Answer,
    /// The throughput that the server measured last, in tokens/s, if it tells.
    pub last_generation_throughput: Option<f64>,
    /// What the server tells of speculative decoding.
    pub accept_length: Option<f64>,
}

impl Case {
    /// Prompt tokens over the time to the last prompt's first output, in tokens/s.
    pub fn input_throughput(&self) -> Option<f64> {
        per_second(self.input_tokens as f64, self.answer.last_ttft)
    }

    /// Tokens that came after every prompt had its first output, over the time since then, in tokens/s;
    /// nothing if all came at once, whose time is none of theirs.
    pub fn output_throughput(&self) -> Option<f64> {
        if self.came_at_once() {
            return None;
        }
        let tokens = self.answer.output_tokens as f64 - self.answer.output_tokens_before;
        per_second(tokens.max(0.0), self.rest())
    }

    /// Returns whether no token of longer answers came after the last prompt had its first.
    pub fn came_at_once(&self) -> bool {
        self.shape.output_len > 1 && self.answer.later_arrivals == 0
    }

    /// All output tokens over that same time, in tokens/s: too high, as some came before.
    pub fn reference_output_throughput(&self) -> Option<f64> {
        per_second(self.answer.output_tokens as f64, self.rest())
    }

    /// Input and output tokens over the latency, in tokens/s.
    pub fn overall_throughput(&self) -> Option<f64> {
        per_second((self.input_tokens + self.answer.output_tokens) as f64, self.answer.latency)
    }

    /// The share of prompt tokens that the server took from its prefix cache, by its own counts.
    pub fn cache_hit_rate(&self) -> Option<f64> {
        let (cached, all) = (self.answer.cached_tokens?, self.answer.prompt_tokens?);
        (all > 0).then(|| cached as f64 / all as f64)
    }

    /// Tokens that were asked for.
    pub fn requested(&self) -> u64 {
        (self.shape.batch_size as u64).saturating_mul(self.shape.output_len as u64)
    }

    /// From the last prompt's first output to the end.
    fn rest(&self) -> Duration {
        self.answer.latency.saturating_sub(self.answer.last_ttft)
    }
}

/// `tokens` over `time`; nothing if that took no time.
fn per_second(tokens: f64, time: Duration) -> Option<f64> {
    (!time.is_zero()).then(|| tokens / time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures() {
        let case = Case {
            shape: Shape { batch_size: 4, input_len: 100, output_len: 11 },
            input_tokens: 400,
            answer: Answer {
                last_ttft: Duration::from_millis(500),
                latency: Duration::from_millis(2500),
                output_tokens: 44,
                source: TokenSource::Server,
                output_tokens_before: 4.0,
                early_stops: Some(0),
                later_arrivals: 10,
                window: None,
                prompt_tokens: Some(400),
                cached_tokens: Some(100),
            },
            last_generation_throughput: None,
            accept_length: None,
        };
        assert_eq!(case.input_throughput(), Some(800.0));
        assert_eq!(case.output_throughput(), Some(20.0));
        assert_eq!(case.reference_output_throughput(), Some(22.0));
        assert_eq!(case.overall_throughput(), Some(177.6));
        assert_eq!(case.cache_hit_rate(), Some(0.25));
        assert_eq!(case.requested(), 44);
        let mut piece = case.clone();
        piece.answer.later_arrivals = 0;
        assert_eq!(piece.output_throughput(), None);
        piece.shape.output_len = 1;
        assert!(piece.output_throughput().is_some());
        let mut whole = case;
        whole.answer.latency = whole.answer.last_ttft;
        assert_eq!(whole.output_throughput(), None);
    }
}
