//! Samples that are counted and not kept.

use hdrhistogram::Histogram;

/// Samples of 0 or more that are not kept: how many were about as large as what.
///
/// Number, mean, deviation and maximum are exact, to the rounding of floats.
/// Percentiles are of the same definition as those of [`super::Sorted`], and off by at most [`Tally::ERROR`] of their value
/// or [`Tally::STEP`], whichever is more.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// In steps; made with the first sample.
    sizes: Option<Histogram<u64>>,
    count: u64,
    sum: f64,
    /// Running mean and sum of squared distances from it: sums of squares would lose the digits that matter.
    mean: f64,
    squares: f64,
    max: f64,
}

impl Tally {
    /// How far a percentile may be off, as a share of its value.
    pub const ERROR: f64 = 1e-3;

    /// The smallest difference between samples that is told apart.
    pub const STEP: f64 = 1e-6;

    /// Digits of a sample that are kept.
    const DIGITS: u8 = 3;

    /// Adds `value` so many times.
    pub fn add(&mut self, value: f64, times: u64) {
        if times == 0 {
            return;
        }
        let n = times as f64;
        self.count += times;
        self.sum += value * n;
        self.max = self.max.max(value);
        let from_mean = value - self.mean;
        self.mean += from_mean * n / self.count as f64;
        self.squares += n * from_mean * (value - self.mean);
        if self.sizes.is_none() {
            // Fails only for digits that no histogram has.
            self.sizes = Histogram::new(Self::DIGITS).ok();
        }
        if let Some(sizes) = &mut self.sizes {
            // What is too large becomes the largest, and what is below 0 becomes 0.
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "saturates"
            )]
            let steps = (value / Self::STEP).round() as u64;
            // It grows by itself, and fails only beyond what a machine can hold.
            let _ = sizes.record_n(steps.min(u64::MAX >> 1), times);
        }
    }

    /// Number of samples.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Arithmetic mean, `None` without samples.
    pub fn mean(&self) -> Option<f64> {
        (!self.is_empty()).then(|| self.sum / self.count as f64)
    }

    /// Population standard deviation (divisor n), `None` without samples.
    pub fn std(&self) -> Option<f64> {
        (!self.is_empty()).then(|| (self.squares / self.count as f64).max(0.0).sqrt())
    }

    /// Percentile `q` in 0..=100, as [`super::Sorted::percentile`].
    pub fn percentile(&self, q: f64) -> Option<f64> {
        let last = self.count.checked_sub(1)?;
        let rank = (q / 100.0).clamp(0.0, 1.0) * last as f64;
        // `rank` lies in 0..=last, so the cast neither wraps nor cuts.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded")]
        let below = rank.floor() as u64;
        let (low, high) = (self.nth(below)?, self.nth((below + 1).min(last))?);
        Some(low + (high - low) * (rank - below as f64))
    }

    /// The sample of that rank, from 0.
    fn nth(&self, rank: u64) -> Option<f64> {
        if rank + 1 >= self.count {
            return self.max();
        }
        let sizes = self.sizes.as_ref()?;
        let mut passed = 0;
        let reached = sizes.iter_recorded().find(|size| {
            passed += size.count_at_value();
            passed > rank
        })?;
        // Samples between two sizes are told as the one in the middle.
        let steps = sizes.median_equivalent(reached.value_iterated_to());
        Some((steps as f64 * Self::STEP).min(self.max))
    }

    /// Largest sample.
    pub fn max(&self) -> Option<f64> {
        (!self.is_empty()).then_some(self.max)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::analysis::stats::Sorted;

    #[test]
    fn nothing_has_no_figures() {
        let none = Tally::default();
        assert_eq!(
            (none.mean(), none.std(), none.percentile(50.0), none.max()),
            (None, None, None, None)
        );
    }

    proptest! {
        /// Forall samples from a microsecond to an hour in ms: counted or sorted, the figures are the same.
        #[test]
        fn counting_samples_is_as_good_as_keeping_them(
            samples in prop::collection::vec((prop_oneof![Just(0.0), 1e-3..1.0, 1.0..100.0, 1e2..3.6e6], 1_u64..5), 1..200),
            q in 0.0..100.0,
        ) {
            let mut tally = Tally::default();
            let mut all = Vec::new();
            for &(value, times) in &samples {
                tally.add(value, times);
                all.extend((0..times).map(|_| value));
            }
            let sorted = Sorted::new(all);
            let close = |got: Option<f64>, want: Option<f64>| {
                let (got, want) = (got.unwrap(), want.unwrap());
                // Equal samples have a deviation of rounding alone.
                (got - want).abs() <= want.abs() * 1e-9 + sorted.max().unwrap() * 1e-9
            };
            prop_assert_eq!(tally.len(), sorted.len() as u64);
            prop_assert_eq!(tally.max(), sorted.max());
            prop_assert!(close(tally.mean(), sorted.mean()));
            prop_assert!((tally.std().unwrap() - sorted.std().unwrap()).abs() <= sorted.max().unwrap() * 1e-6);
            for q in [q, 0.0, 50.0, 90.0, 99.0, 100.0] {
                let (got, want) = (tally.percentile(q).unwrap(), sorted.percentile(q).unwrap());
                prop_assert!((got - want).abs() <= (want * Tally::ERROR).max(Tally::STEP), "p{}: {} {}", q, got, want);
            }
        }
    }
}
