//! Samples that are counted and not kept.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2DeflateSerializer};

/// Samples of 0 or more that are not kept: how many were about as large as what.
///
/// Number, mean, deviations, minimum and maximum are exact, to the rounding of floats.
/// Percentiles are those of [`super::Method`], and off by at most [`Tally::ERROR`] of their value or [`Tally::STEP`],
/// whichever is more.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// In steps; made with the first sample.
    sizes: Option<Histogram<u64>>,
    count: u64,
    sum: f64,
    /// Running mean and sum of squared distances from it: sums of squares would lose the digits that matter.
    mean: f64,
    squares: f64,
    min: f64,
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
        self.min = if self.count == 0 { value } else { self.min.min(value) };
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

    /// Adds each of `values`.
    pub fn add_all(&mut self, values: &[f64]) {
        for &value in values {
            self.add(value, 1);
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

    /// The sum of squared distances from the mean.
    pub fn squares(&self) -> f64 {
        self.squares.max(0.0)
    }

    /// The sample at a rank from 0, or what lies between it and the next one by a share of the way.
    pub fn at(&self, (below, share): (u64, f64)) -> Option<f64> {
        let last = self.count.checked_sub(1)?;
        let low = self.nth(below)?;
        if share <= 0.0 {
            return Some(low);
        }
        Some(low + (self.nth((below + 1).min(last))? - low) * share)
    }

    /// Adds the samples of `other`.
    pub fn merge(&mut self, other: &Self) {
        if other.is_empty() {
            return;
        }
        if self.is_empty() {
            *self = other.clone();
            return;
        }
        let (ours, theirs) = (self.count as f64, other.count as f64);
        let distance = other.mean - self.mean;
        let all = ours + theirs;
        self.squares += other.squares + distance * distance * ours * theirs / all;
        self.mean += distance * theirs / all;
        self.count += other.count;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        match (&mut self.sizes, &other.sizes) {
            // It grows by itself, and fails only beyond what a machine can hold.
            (Some(sizes), Some(more)) => drop(sizes.add(more)),
            (sizes, more) => sizes.clone_from(more),
        }
    }

    /// The counts in the V2 format of `HdrHistogram`, compressed and in base64; values are in steps.
    pub fn hdr(&self) -> String {
        let mut bytes = Vec::new();
        let none = Histogram::new(Self::DIGITS).ok();
        if let Some(sizes) = self.sizes.as_ref().or(none.as_ref()) {
            // Writing to memory does not fail, nor do counts that a histogram holds.
            let _ = V2DeflateSerializer::new().serialize(sizes, &mut bytes);
        }
        STANDARD.encode(bytes)
    }

    /// Reads what [`Self::hdr`] has written; `None` if it is no such histogram. Every figure of it has the precision of
    /// percentiles.
    pub fn from_hdr(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text).ok()?;
        let read: Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).ok()?;
        let mut tally = Self::default();
        for size in read.iter_recorded() {
            let steps = read.median_equivalent(size.value_iterated_to());
            tally.add(steps as f64 * Self::STEP, size.count_at_value());
        }
        Some(tally)
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
        Some((steps as f64 * Self::STEP).clamp(self.min, self.max))
    }

    /// Smallest sample.
    pub fn min(&self) -> Option<f64> {
        (!self.is_empty()).then_some(self.min)
    }

    /// Largest sample.
    pub fn max(&self) -> Option<f64> {
        (!self.is_empty()).then_some(self.max)
    }
}
