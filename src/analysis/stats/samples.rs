//! Samples that are kept, or counted where nobody can keep them all.

use super::{Tally, mean, percentiles, std};

/// Samples of 0 or more, all of them or a count of their sizes.
#[derive(Debug, Clone)]
pub enum Samples {
    /// All of them, in the order in which they came.
    Kept(Vec<f64>),
    /// How many were about as large as what.
    Counted(Tally),
}

impl Samples {
    /// None yet; `keeps` says whether they are to be kept.
    pub fn new(keeps: bool) -> Self {
        if keeps { Self::Kept(Vec::new()) } else { Self::Counted(Tally::default()) }
    }

    /// Adds `value`.
    pub fn add(&mut self, value: f64) {
        self.add_times(value, 1);
    }

    /// Adds `value` so many times.
    pub fn add_times(&mut self, value: f64, times: u64) {
        match self {
            Self::Kept(all) => {
                let times = usize::try_from(times).unwrap_or(usize::MAX);
                all.extend(std::iter::repeat_n(value, times));
            }
            Self::Counted(tally) => tally.add(value, times),
        }
    }

    /// Number of samples.
    pub fn len(&self) -> u64 {
        match self {
            Self::Kept(all) => all.len() as u64,
            Self::Counted(tally) => tally.len(),
        }
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Arithmetic mean, `None` without samples.
    pub fn mean(&self) -> Option<f64> {
        match self {
            Self::Kept(all) => mean(all),
            Self::Counted(tally) => tally.mean(),
        }
    }

    /// Population standard deviation (divisor n), `None` without samples.
    pub fn std(&self) -> Option<f64> {
        match self {
            Self::Kept(all) => std(all),
            Self::Counted(tally) => tally.std(),
        }
    }

    /// The percentiles `qs`, which rise, as [`super::Sorted::percentile`] has them; of samples that were counted, as
    /// near to that as [`Tally`] tells. Each is `None` without samples.
    pub fn percentiles<const N: usize>(self, qs: [f64; N]) -> [Option<f64>; N] {
        match self {
            Self::Kept(mut all) => percentiles(&mut all, qs),
            Self::Counted(tally) => qs.map(|q| tally.percentile(q)),
        }
    }
}
