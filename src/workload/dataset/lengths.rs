//! The flags that say how long random prompts and answers are, and the draw of lengths.

use std::str::FromStr;

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::workload::lengths::{Distribution, Drawn, Lengths, Summary};

/// Heading of the flags that this dataset shares with others.
pub(super) const HEADING: &str = "Dataset: random, random-ids, image, mmmu";

/// How long prompts and answers are.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
#[group(skip)]
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
    #[command(flatten)]
    #[serde(flatten)]
    pub(super) distributions: Distributions,
}

/// Distributions of lengths, in the place of other flags.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
#[group(skip)]
pub(super) struct Distributions {
    /// Distribution of prompt tokens, such as 'lognormal(mean=512,cv=0.8,min=16,max=4096)'
    #[arg(long, value_name = "LENGTHS", help_heading = DRAWN, conflicts_with_all = ["random_input_len", "gsp_question_len"])]
    pub(super) input_len_dist: Option<Distribution>,
    /// Distribution of output tokens: N, uniform, normal, lognormal, zipf, percentages or empirical(FILE)
    #[arg(long, value_name = "LENGTHS", help_heading = DRAWN, conflicts_with_all = ["random_output_len", "gsp_output_len"])]
    pub(super) output_len_dist: Option<Distribution>,
}

/// Heading of the flags for distributions.
const DRAWN: &str = "Dataset: drawn lengths";

/// The flags for distributions.
pub(super) const FLAGS: [&str; 2] = ["input-len-dist", "output-len-dist"];

impl Opts {
    /// The distribution of prompt lengths.
    fn input(&self) -> Distribution {
        let Self { random_input_len: full, random_range_ratio: ratio, .. } = self;
        self.distributions.input_len_dist.clone().unwrap_or_else(|| ranged(*full, *ratio))
    }

    /// The distribution of output lengths.
    fn output(&self) -> Distribution {
        let Self { random_output_len: full, random_range_ratio: ratio, .. } = self;
        self.distributions.output_len_dist.clone().unwrap_or_else(|| ranged(*full, *ratio))
    }

    /// Tokens of a prompt, on average.
    pub(super) fn mean_input(&self) -> usize {
        self.input().mean()
    }

    /// What draws prompt and output lengths for these consumers of the seed.
    ///
    /// # Errors
    /// If a file of lengths cannot be used.
    pub(super) fn draws(
        &self,
        input: &'static str,
        output: &'static str,
    ) -> Result<(Draws, Draws), Error> {
        Ok((Draws::of(self.input(), input)?, Draws::of(self.output(), output)?))
    }
}

/// The distribution of lengths that are uniform from a share of `full` to all of it.
pub(super) fn ranged(full: usize, ratio: Ratio) -> Distribution {
    Distribution::uniform(shortest(full, ratio), full)
}

/// Draws the lengths of rows.
#[derive(Debug)]
pub(super) struct Draws {
    distribution: Distribution,
    pub(super) lengths: Lengths,
    consumer: &'static str,
}

impl Draws {
    /// From a distribution; `consumer` names what draws from the seed.
    ///
    /// # Errors
    /// If its file cannot be used.
    pub(super) fn of(distribution: Distribution, consumer: &'static str) -> Result<Self, Error> {
        let lengths = distribution.lengths()?;
        Ok(Self { distribution, lengths, consumer })
    }

    /// The length of row `i`.
    pub(super) fn at(&self, seed: u64, i: usize) -> usize {
        self.lengths.draw(seed, self.consumer, i)
    }

    /// What lengths of this distribution are like.
    pub(super) fn summary(&self, lengths: impl Iterator<Item = usize>) -> Option<Summary> {
        Summary::of(&self.distribution, lengths)
    }
}

/// The lengths that `n` rows have by these draws of prompts and answers.
pub(super) fn drawn((input, output): &(Draws, Draws), seed: u64, n: usize) -> Drawn {
    Drawn {
        input: input.summary((0..n).map(|i| input.at(seed, i))),
        output: output.summary((0..n).map(|i| output.at(seed, i))),
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
            let draw = |ratio| Draws::of(ranged(full, Ratio(ratio)), "x").unwrap().at(seed, index);
            let got = draw(ratio);
            prop_assert!(got <= full && got as f64 >= (full as f64 * ratio).floor());
            prop_assert!(full == 0 || got >= 1);
            prop_assert_eq!(draw(1.0), full);
            prop_assert_eq!(draw(ratio), got);
        }
    }

    #[test]
    fn both_ends_are_reached() {
        let all = Draws::of(ranged(4, Ratio(0.5)), "x").unwrap();
        let draws: Vec<usize> = (0..200).map(|i| all.at(1, i)).collect();
        assert_eq!((draws.iter().min(), draws.iter().max()), (Some(&2), Some(&4)));
    }
}
