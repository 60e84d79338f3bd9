//! vLLM's `random`: neighbouring tokens from a random place of the vocabulary, of lengths around a mean.

use rand::RngExt;

use crate::error::{Error, Kind};
use crate::rng;
use crate::workload::dataset::{Context, Dataset, Rows, neighbours};

/// The dataset.
#[derive(Debug, Clone, Copy)]
pub struct Random {
    /// Mean length of prompts in tokens.
    pub input: usize,
    /// Mean length of answers in tokens.
    pub output: usize,
    /// How far lengths lie from their means at most, as a share of the mean from 0 to below 1.
    pub half_width: f64,
}

impl Dataset for Random {
    fn load(&self, context: &Context<'_>) -> Result<Rows, Error> {
        // The server adds the tokenizer's special tokens to the text.
        let input = self.input.saturating_sub(context.tokenizer.special_tokens_added());
        if bounds(input, self.half_width).0 == 0 {
            let message =
                format!("--random-input-len {} leaves prompts without a token", self.input);
            return Err(Error::new(Kind::Usage, message).hint("give more tokens"));
        }
        let length = |mean, name, i: usize| {
            let (least, most) = bounds(mean, self.half_width);
            rng::stream(context.seed, name, i as u64).random_range(least..=most)
        };
        let of_row = |i| {
            let output = length(self.output, "vllm/random/output-len", i).max(1);
            (length(input, "vllm/random/input-len", i), output)
        };
        let targets: Vec<(usize, usize)> = (0..context.n).map(of_row).collect();
        neighbours(context, &targets, "vllm/random/opening", "vllm/random/offset")
    }
}

/// The shortest and the longest length around `mean`.
fn bounds(mean: usize, half_width: f64) -> (usize, usize) {
    let mean = mean as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not below 0")]
    let whole = |x: f64| x as usize;
    (whole((mean * (1.0 - half_width)).floor()), whole((mean * (1.0 + half_width)).ceil()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_is_a_half_width() {
        for (mean, half_width, want) in
            [(1024, 0.0, (1024, 1024)), (100, 0.5, (50, 150)), (7, 0.1, (6, 8)), (0, 0.5, (0, 0))]
        {
            assert_eq!(bounds(mean, half_width), want);
        }
    }
}
