//! Distributions of lengths, in tokens: one grammar and one draw for every source of made-up prompts.
//!
//! ```text
//! 512                                     every length is 512; also fixed(512)
//! uniform(min=128,max=1024)               whole numbers, both ends included
//! normal(mean=512,stdev=128)              or cv=0.25, the standard deviation as a share of the mean
//! lognormal(mean=512,cv=0.8)              mean and standard deviation are those of the lengths
//! zipf(alpha=1.2,min=16,max=4096)         the k-th shortest length has a weight of 1 / k^alpha
//! percentages(128=50,512=30,2048=20)      lengths with their shares, which sum up to 100
//! empirical(lengths.txt)                  drawn from the lengths of a file, one on a line
//! ```
//!
//! `normal`, `lognormal` and `empirical` take `min` and `max` as well; a draw beyond an end has the length of that end.

mod parse;
mod summary;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use rand::RngExt;
use rand_distr::{Distribution as _, LogNormal, Normal, Zipf};
use serde::{Deserialize, Serialize};

pub use self::summary::{Drawn, Summary};
use crate::error::{Error, Kind};
use crate::rng::{self, Stream};

/// Longest length that can be asked for, in tokens.
pub const LONGEST: usize = 100_000_000;

/// A distribution as it is written down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Distribution {
    /// As it was written, without spaces around it.
    text: String,
    law: Written,
}

/// What a distribution says.
#[derive(Debug, Clone, PartialEq)]
enum Written {
    /// All of it.
    Whole(Lengths),
    /// A file with lengths, held between two ends.
    File(PathBuf, usize, usize),
}

impl Distribution {
    /// The distribution of lengths that are uniform from `least` to `most`.
    pub fn uniform(least: usize, most: usize) -> Self {
        let text = if least == most {
            format!("fixed({most})")
        } else {
            format!("uniform(min={least},max={most})")
        };
        Self { text, law: Written::Whole(Lengths::uniform(least, most)) }
    }

    /// The lengths, with what a file has.
    ///
    /// # Errors
    /// If the file cannot be read, or holds something else than lengths.
    pub fn lengths(&self) -> Result<Lengths, Error> {
        match &self.law {
            Written::Whole(lengths) => Ok(lengths.clone()),
            Written::File(path, least, most) => {
                let law = Law::Sample(sample(path)?);
                Ok(Lengths { law, least: *least, most: *most })
            }
        }
    }

    /// The ends of a distribution that goes on beyond them, and is held between the two.
    fn held(&self) -> Option<(usize, usize)> {
        match &self.law {
            Written::Whole(Lengths { law: Law::Normal(..) | Law::LogNormal(..), least, most })
            | Written::File(_, least, most) => Some((*least, *most)),
            Written::Whole(_) => None,
        }
    }

    /// Tokens of a length on average, as far as that is known without a file; held between the ends of the distribution.
    pub fn mean(&self) -> usize {
        match &self.law {
            Written::Whole(lengths) => lengths.mean(),
            Written::File(_, least, _) => *least,
        }
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Distribution {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        Ok(Self { text: text.to_owned(), law: parse::distribution(text)? })
    }
}

impl TryFrom<String> for Distribution {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Distribution> for String {
    fn from(distribution: Distribution) -> Self {
        distribution.text
    }
}

/// Lengths to draw.
#[derive(Debug, Clone, PartialEq)]
pub struct Lengths {
    law: Law,
    least: usize,
    most: usize,
}

/// How lengths are spread.
#[derive(Debug, Clone, PartialEq)]
pub enum Law {
    /// Evenly between the ends.
    Uniform,
    /// Around a mean with a standard deviation.
    Normal(f64, f64),
    /// With this mean and standard deviation, and a long tail of long ones.
    LogNormal(f64, f64),
    /// Rank k has a weight of 1 / k^`alpha`, for `ranks` ranks; the length of rank 1 is `first`, and grows by 1 with each.
    Zipf {
        /// Above 0.
        alpha: f64,
        /// Length of the first rank.
        first: usize,
        /// Number of ranks.
        ranks: usize,
    },
    /// Lengths with their weights.
    Shares(Vec<(usize, f64)>),
    /// Each of these is as likely as any other.
    Sample(Arc<[usize]>),
}

impl Lengths {
    /// Lengths by a law; a draw beyond an end has the length of that end.
    ///
    /// # Errors
    /// If the ends or the parameters of the law cannot be used; the message names the parameter.
    pub fn new(law: Law, least: usize, most: usize) -> Result<Self, String> {
        if least > most {
            return Err(format!("min {least} is above max {most}"));
        }
        if most > LONGEST {
            return Err(format!("a length of {most} is above {LONGEST}"));
        }
        match &law {
            Law::Normal(mean, stdev) | Law::LogNormal(mean, stdev) => {
                let positive = matches!(law, Law::LogNormal(..));
                if !mean.is_finite() || *mean < 0.0 || (positive && *mean == 0.0) {
                    let least = if positive { "above 0" } else { "0 or more" };
                    return Err(format!("mean must be a number {least}"));
                }
                if !stdev.is_finite() || *stdev < 0.0 {
                    return Err("stdev must be a number of 0 or more".to_owned());
                }
            }
            Law::Zipf { alpha, ranks, .. } => {
                if !alpha.is_finite() || *alpha <= 0.0 || *ranks == 0 {
                    return Err("alpha must be a number above 0".to_owned());
                }
            }
            Law::Shares(shares) => {
                let sum: f64 = shares.iter().map(|(_, share)| share).sum();
                if shares.iter().any(|(_, share)| !share.is_finite() || *share < 0.0) || sum <= 0.0
                {
                    return Err("shares must be numbers of 0 or more".to_owned());
                }
            }
            Law::Sample(sample) if sample.is_empty() => {
                return Err("there is no length".to_owned());
            }
            Law::Uniform | Law::Sample(_) => {}
        }
        Ok(Self { law, least, most })
    }

    /// Uniform lengths from `least` to `most`, both included.
    pub fn uniform(least: usize, most: usize) -> Self {
        Self { law: Law::Uniform, least: least.min(most), most }
    }

    /// The shortest length that can be drawn, and the longest.
    pub fn ends(&self) -> (usize, usize) {
        let within = |lengths: &mut dyn Iterator<Item = usize>| {
            let (mut least, mut most) = (usize::MAX, 0);
            for length in lengths {
                (least, most) = (least.min(length), most.max(length));
            }
            (least.clamp(self.least, self.most), most.clamp(self.least, self.most))
        };
        match &self.law {
            Law::Shares(shares) => {
                let drawn = shares.iter().filter(|(_, share)| *share > 0.0);
                within(&mut drawn.map(|(length, _)| *length))
            }
            Law::Sample(sample) => within(&mut sample.iter().copied()),
            _ => (self.least, self.most),
        }
    }

    /// Tokens of a length on average, before draws are held between the ends; that then is held as well.
    fn mean(&self) -> usize {
        let mean = match &self.law {
            Law::Uniform => return self.least.midpoint(self.most),
            Law::Normal(mean, _) | Law::LogNormal(mean, _) => *mean,
            Law::Zipf { .. } => self.least as f64,
            Law::Shares(shares) => {
                let sum: f64 = shares.iter().map(|(_, share)| share).sum();
                shares.iter().map(|(length, share)| *length as f64 * share / sum).sum()
            }
            Law::Sample(sample) => {
                sample.iter().map(|length| *length as f64 / sample.len() as f64).sum()
            }
        };
        self.held(mean)
    }

    /// The length of row `i`; `consumer` names what draws from `seed`.
    pub fn draw(&self, seed: u64, consumer: &str, i: usize) -> usize {
        self.drawn(&mut rng::stream(seed, consumer, i as u64))
    }

    fn drawn(&self, rng: &mut Stream) -> usize {
        match &self.law {
            Law::Uniform => rng.random_range(self.least..=self.most),
            // The parameters were checked, so the laws hold.
            Law::Normal(mean, stdev) => {
                self.held(Normal::new(*mean, *stdev).map_or(*mean, |normal| normal.sample(rng)))
            }
            Law::LogNormal(mean, stdev) => {
                let law = LogNormal::from_mean_cv(*mean, stdev / mean);
                self.held(law.map_or(*mean, |law| law.sample(rng)))
            }
            Law::Zipf { alpha, first, ranks } => {
                let rank = Zipf::new(*ranks as f64, *alpha).map_or(1.0, |law| law.sample(rng));
                self.held(*first as f64 + rank - 1.0)
            }
            Law::Shares(shares) => {
                let sum: f64 = shares.iter().map(|(_, share)| share).sum();
                let mut left = rng.random::<f64>() * sum;
                let mut last = self.least;
                for (length, share) in shares.iter().filter(|(_, share)| *share > 0.0) {
                    (left, last) = (left - share, *length);
                    if left < 0.0 {
                        break;
                    }
                }
                last.clamp(self.least, self.most)
            }
            Law::Sample(sample) => {
                sample[rng.random_range(0..sample.len())].clamp(self.least, self.most)
            }
        }
    }

    /// The nearest whole number between the ends.
    fn held(&self, length: f64) -> usize {
        // Both ends are lengths.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let length = length.round().clamp(self.least as f64, self.most as f64) as usize;
        length
    }
}

/// The lengths of a file: one whole number on a line; blank lines and lines that begin with `#` are left out.
fn sample(path: &Path) -> Result<Arc<[usize]>, Error> {
    const EXPECTED: &str = "expected a whole number of tokens on each line";
    let named = path.display();
    let wrong = |what: String| Error::new(Kind::Input, format!("{named}: {what}")).hint(EXPECTED);
    let text = std::fs::read_to_string(path)
        .map_err(|error| wrong("cannot be read as text".to_owned()).because(error))?;
    let lines = (1..).zip(text.lines().map(str::trim));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let length = |(number, line): (usize, &str)| match line.parse() {
        Ok(length) if length <= LONGEST => Ok(length),
        _ => Err(wrong(format!("line {number} is no length: {line:.40}"))),
    };
    let lengths: Vec<usize> = lines.map(length).collect::<Result<_, _>>()?;
    if lengths.is_empty() {
        return Err(wrong("there is no length in it".to_owned()));
    }
    Ok(lengths.into())
}

#[cfg(test)]
mod tests;
