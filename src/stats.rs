//! Statistics over samples; knows nothing of language models.

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
        (!self.is_empty()).then(|| self.values.iter().sum::<f64>() / self.len() as f64)
    }

    /// Population standard deviation (divisor n), `None` without samples.
    pub fn std(&self) -> Option<f64> {
        let mean = self.mean()?;
        let squares: f64 = self.values.iter().map(|v| (v - mean) * (v - mean)).sum();
        Some((squares / self.len() as f64).sqrt())
    }

    /// Percentile `q` in 0..=100 by linear interpolation between the closest ranks, rank = q/100 · (n − 1).
    ///
    /// ```
    /// use rbench::stats::Sorted;
    /// assert_eq!(Sorted::new(vec![4.0, 1.0, 3.0, 2.0]).percentile(90.0), Some(3.7));
    /// ```
    pub fn percentile(&self, q: f64) -> Option<f64> {
        let last = self.values.len().checked_sub(1)?;
        let rank = (q / 100.0).clamp(0.0, 1.0) * last as f64;
        // `rank` lies in 0..=last, so the cast neither wraps nor cuts.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded")]
        let below = rank.floor() as usize;
        let (low, high) = (self.values[below], self.values[(below + 1).min(last)]);
        let share = rank - below as f64;
        // From the nearer end, so that a share of 1 gives `high` to the last bit.
        Some(if share < 0.5 {
            low + (high - low) * share
        } else {
            high - (high - low) * (1.0 - share)
        })
    }

    /// Largest sample.
    pub fn max(&self) -> Option<f64> {
        self.values.last().copied()
    }
}

/// Highest number of intervals that overlap at one instant.
///
/// An interval that ends when another starts does not overlap it.
///
/// ```
/// use rbench::stats::peak_overlap;
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
