//! Statistics over samples; knows nothing of language models.

mod samples;
mod seconds;
mod tally;

pub use self::samples::Samples;
pub use self::seconds::{BySecond, Touching};
pub use self::tally::Tally;

/// Samples in rising order, for many questions at the cost of one sort.
#[derive(Debug, Clone, Default)]
pub struct Sorted {
    values: Vec<f64>,
}

impl Sorted {
    /// Sorts `values`; the order of NaN is that of [`f64::total_cmp`].
    pub fn new(mut values: Vec<f64>) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        Self { values }
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Arithmetic mean, `None` without samples.
    pub fn mean(&self) -> Option<f64> {
        mean(&self.values)
    }

    /// Population standard deviation (divisor n), `None` without samples.
    pub fn std(&self) -> Option<f64> {
        std(&self.values)
    }

    /// Percentile `q` in 0..=100 by linear interpolation between the closest ranks, rank = q/100 · (n − 1).
    ///
    /// ```
    /// use rbench::analysis::stats::Sorted;
    /// assert_eq!(Sorted::new(vec![4.0, 1.0, 3.0, 2.0]).percentile(90.0), Some(3.7));
    /// ```
    pub fn percentile(&self, q: f64) -> Option<f64> {
        let last = self.values.len().checked_sub(1)?;
        let (below, share) = rank(q, last);
        Some(between(self.values[below], self.values[(below + 1).min(last)], share))
    }

    /// Largest sample.
    pub fn max(&self) -> Option<f64> {
        self.values.last().copied()
    }
}

/// Arithmetic mean, `None` without samples.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Population standard deviation (divisor n), `None` without samples.
pub fn std(values: &[f64]) -> Option<f64> {
    let mean = mean(values)?;
    let squares: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
    Some((squares / values.len() as f64).sqrt())
}

/// The percentiles `qs`, which rise, as [`Sorted::percentile`] has them, without a sort: a few questions about many
/// samples cost a fraction of it. Changes the order of `values`.
pub fn percentiles<const N: usize>(values: &mut [f64], qs: [f64; N]) -> [Option<f64>; N] {
    let Some(last) = values.len().checked_sub(1) else { return [None; N] };
    // Whatever lies before this position is no larger than what lies after it.
    let mut done = 0;
    qs.map(|q| {
        let (below, share) = rank(q, last);
        let rest = &mut values[done..];
        let (_, &mut low, above) = rest.select_nth_unstable_by(below - done, f64::total_cmp);
        let high = above.iter().copied().min_by(f64::total_cmp).unwrap_or(low);
        done = below;
        Some(if share > 0.0 { between(low, high, share) } else { low })
    })
}

/// Position of percentile `q` among `last + 1` samples: the one below, and how far it is to the next.
fn rank(q: f64, last: usize) -> (usize, f64) {
    let rank = (q / 100.0).clamp(0.0, 1.0) * last as f64;
    // `rank` lies in 0..=last, so the cast neither wraps nor cuts.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded")]
    let below = rank.floor() as usize;
    (below, rank - below as f64)
}

fn between(low: f64, high: f64, share: f64) -> f64 {
    // From the nearer end, so that a share of 1 gives `high` to the last bit.
    if share < 0.5 { low + (high - low) * share } else { high - (high - low) * (1.0 - share) }
}

/// Highest number of intervals that overlap at one instant.
///
/// An interval that ends when another starts does not overlap it.
///
/// ```
/// use rbench::analysis::stats::peak_overlap;
/// assert_eq!(peak_overlap(&[(0, 2), (1, 3), (2, 4)]), 2);
/// ```
pub fn peak_overlap(intervals: &[(u64, u64)]) -> usize {
    let mut edges: Vec<(u64, i64)> =
        intervals.iter().flat_map(|&(start, end)| [(start, 1), (end, -1)]).collect();
    // Ends sort before starts at the same instant.
    edges.sort_unstable();
    let (mut now, mut peak) = (0_i64, 0_i64);
    for (_, step) in edges {
        now += step;
        peak = peak.max(now);
    }
    usize::try_from(peak).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Forall samples and rising percentiles: those that are picked out are those of the sorted samples.
        #[test]
        fn picked_as_sorted(
            mut values in prop::collection::vec(-1e6..1e6_f64, 0..60),
            mut qs in prop::array::uniform5(0.0..=100.0_f64),
        ) {
            qs.sort_unstable_by(f64::total_cmp);
            let sorted = Sorted::new(values.clone());
            prop_assert_eq!(percentiles(&mut values, qs), qs.map(|q| sorted.percentile(q)));
        }
    }

    #[test]
    fn the_same_percentile_twice_and_the_ends() {
        let mut values = vec![3.0, 1.0, 2.0];
        let picked = percentiles(&mut values, [0.0, 50.0, 50.0, 100.0, 100.0]);
        assert_eq!(picked, [1.0, 2.0, 2.0, 3.0, 3.0].map(Some));
    }
}
