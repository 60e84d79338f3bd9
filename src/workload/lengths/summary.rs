//! What was drawn.

use serde::{Deserialize, Serialize};

use super::Distribution;

/// The lengths that the requests of a run were given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Drawn {
    /// Of prompts, or of the parts of prompts that have drawn lengths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Summary>,
    /// Of answers, as far as the requests ask for a length.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Summary>,
}

impl Drawn {
    /// Whether no length was drawn.
    pub fn is_empty(&self) -> bool {
        self.input.is_none() && self.output.is_none()
    }

    /// Lines for users, and notes where a distribution was cut off.
    pub fn lines(&self) -> (Vec<String>, Vec<String>) {
        let both = [("input", &self.input), ("output", &self.output)];
        let given = || both.into_iter().filter_map(|(what, one)| Some((what, one.as_ref()?)));
        (
            given().map(|(what, one)| one.line(what)).collect(),
            given().filter_map(|(what, one)| one.note(what)).collect(),
        )
    }
}

/// Lengths in tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The distribution that they were drawn from.
    pub distribution: String,
    /// How many were drawn.
    pub count: usize,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation, of the drawn lengths themselves.
    pub stdev: f64,
    /// The shortest.
    pub min: usize,
    /// The median, by nearest rank, as the percentiles after it.
    pub p50: usize,
    /// 90 % are not longer.
    pub p90: usize,
    /// 99 % are not longer.
    pub p99: usize,
    /// The longest.
    pub max: usize,
    /// How many have the shortest length of the distribution or the longest, where draws are held between the two.
    pub held: usize,
}

/// Share of draws at the ends from which on a distribution is another than its name says.
const MANY: f64 = 0.05;

impl Summary {
    /// The summary of `lengths` that were drawn from `distribution`; `None` without a length.
    pub fn of(distribution: &Distribution, lengths: impl Iterator<Item = usize>) -> Option<Self> {
        let mut sorted: Vec<usize> = lengths.collect();
        sorted.sort_unstable();
        let count = sorted.len();
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let mean = sorted.iter().map(|length| *length as f64).sum::<f64>() / count as f64;
        let squares = sorted.iter().map(|length| (*length as f64 - mean).powi(2));
        let stdev = (squares.sum::<f64>() / count as f64).sqrt();
        let rank = |percent: usize| sorted[(count * percent).div_ceil(100).max(1) - 1];
        let ends = distribution.held();
        let held = ends.map_or(0, |(least, most)| {
            sorted.iter().filter(|length| **length == least || **length == most).count()
        });
        let (p50, p90, p99) = (rank(50), rank(90), rank(99));
        let distribution = distribution.to_string();
        Some(Self { distribution, count, mean, stdev, min, p50, p90, p99, max, held })
    }

    fn line(&self, what: &str) -> String {
        let Self { distribution, mean, min, p50, p99, max, .. } = self;
        format!(
            "{what} lengths drawn from {distribution}: mean {mean:.1}, p50 {p50}, p99 {p99}, from {min} to {max}"
        )
    }

    fn note(&self, what: &str) -> Option<String> {
        let Self { distribution, count, mean, held, .. } = self;
        (*held as f64 > MANY * *count as f64).then(|| {
            format!(
                "{held} of {count} {what} lengths are at an end of {distribution}, which cuts it off: their mean is {mean:.1}"
            )
        })
    }
}
