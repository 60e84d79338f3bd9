//! Statistics over samples; knows nothing of language models.

mod distribution;
mod seconds;
mod tally;

pub use self::distribution::{Distribution, Method};
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
        let (below, share) = rank(q, last as u64);
        let below = usize::try_from(below).unwrap_or(last);
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
    (!values.is_empty()).then(|| (squares(values) / values.len() as f64).sqrt())
}

/// The sum of squared distances from the mean.
fn squares(values: &[f64]) -> f64 {
    let Some(mean) = mean(values) else { return 0.0 };
    values.iter().map(|v| (v - mean) * (v - mean)).sum()
}

/// The value at `rank` without a sort: a few questions about many samples cost a fraction of it.
///
/// Changes the order of `values`. Ranks rise from call to call: no value before `done` is larger than one after it.
fn nth(values: &mut [f64], done: &mut usize, (below, share): (u64, f64)) -> Option<f64> {
    let below = usize::try_from(below).ok()?;
    let rest = values.get_mut(*done..)?;
    let (_, &mut low, above) = rest.select_nth_unstable_by(below - *done, f64::total_cmp);
    *done = below;
    if share <= 0.0 {
        return Some(low);
    }
    let high = above.iter().copied().min_by(f64::total_cmp).unwrap_or(low);
    Some(between(low, high, share))
}

/// Position of percentile `q` among `last + 1` samples: the one below, and how far it is to the next.
fn rank(q: f64, last: u64) -> (u64, f64) {
    let rank = (q / 100.0).clamp(0.0, 1.0) * last as f64;
    // `rank` lies in 0..=last, so the cast neither wraps nor cuts.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded")]
    let below = rank.floor() as u64;
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
