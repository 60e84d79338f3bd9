//! The flags that say how long random prompts and answers are, and the draw of lengths.

use std::str::FromStr;

use clap::Args;
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::rng;

/// Heading of the flags that this dataset shares with others.
pub(super) const HEADING: &str = "Dataset: random, random-ids, image, mmmu";

/// How long prompts and answers are.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
#[group(skip)]
#[expect(clippy::struct_field_names, reason = "the names of the flags and of the result keys")]
pub(super) struct Opts {
    /// Prompt tokens, at most; images not counted
    #[arg(long, value_name = "TOKENS", default_value_t = 1024, value_parser = tokens, help_heading = HEADING)]
    pub(super) random_input_len: usize,
    /// Output tokens, at most; 0 for embeddings
    #[arg(long, value_name = "TOKENS", default_value_t = 1024, value_parser = tokens, help_heading = HEADING)]
    pub(super) random_output_len: usize,
    /// Lengths are uniform in [RATIO x length, length]; 1 makes them fixed
    #[arg(long, value_name = "RATIO", default_value_t = Ratio(0.0), help_heading = HEADING)]
    pub(super) random_range_ratio: Ratio,
}

impl Opts {
    /// Tokens of a prompt, on average.
    pub(super) fn mean_input(&self) -> usize {
        let full = self.random_input_len;
        shortest(full, self.random_range_ratio).midpoint(full)
    }
}

/// A number of tokens.
pub(super) fn tokens(text: &str) -> Result<usize, String> {
    text.trim().parse().map_err(|_| "must be a whole number of tokens, 0 or more".to_owned())
}

/// A share in 0..=1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64")]
pub(super) struct Ratio(pub(super) f64);

impl FromStr for Ratio {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::try_from(text.trim().parse::<f64>().unwrap_or(f64::NAN))
    }
}

impl TryFrom<f64> for Ratio {
    type Error = String;

    fn try_from(ratio: f64) -> Result<Self, String> {
        if (0.0..=1.0).contains(&ratio) {
            return Ok(Self(ratio));
        }
        Err("must be a number from 0 to 1: the shortest length as a share of the longest"
            .to_owned())
    }
}

impl std::fmt::Display for Ratio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Length `index` of the consumer `name`: uniform over the whole numbers in [max(floor(full × ratio), 1), full],
/// or 0 if `full` is.
pub(super) fn draw(full: usize, ratio: Ratio, seed: u64, name: &str, index: usize) -> usize {
    if full == 0 {
        return 0;
    }
    rng::stream(seed, name, index as u64).random_range(shortest(full, ratio)..=full)
}

/// The shortest length that can be drawn.
pub(super) fn shortest(full: usize, ratio: Ratio) -> usize {
    // A product of a length and a share lies in 0..=full.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded")]
    let low = (full as f64 * ratio.0).floor() as usize;
    low.clamp(full.min(1), full)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ratios_are_checked_at_the_edge() {
        for bad in ["1.5", "-0.1", "nan", "inf", "x"] {
            assert!(bad.parse::<Ratio>().is_err(), "{bad}");
        }
        assert_eq!("0.5".parse(), Ok(Ratio(0.5)));
    }

    proptest! {
        /// Forall lengths and ratios: draws stay in the interval, a ratio of 1 fixes them, and they repeat.
        #[test]
        fn draws_stay_in_the_interval(full in 0_usize..5000, ratio in 0.0_f64..=1.0, seed: u64, index in 0_usize..1000) {
            let got = draw(full, Ratio(ratio), seed, "x", index);
            prop_assert!(got <= full && got as f64 >= (full as f64 * ratio).floor());
            prop_assert!(full == 0 || got >= 1);
            prop_assert_eq!(draw(full, Ratio(1.0), seed, "x", index), full);
            prop_assert_eq!(draw(full, Ratio(ratio), seed, "x", index), got);
        }
    }

    #[test]
    fn both_ends_are_reached() {
        let draws: Vec<usize> = (0..200).map(|i| draw(4, Ratio(0.5), 1, "x", i)).collect();
        assert_eq!((draws.iter().min(), draws.iter().max()), (Some(&2), Some(&4)));
    }
}
