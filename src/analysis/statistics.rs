//! Estimates with intervals, from requests that depend on each other and from runs that differ.
//!
//! Requests of one run share batches, queues and caches, so their latencies are not independent. Each estimate is
//! written as a sum over requests in the order of sending, and the variance of that sum is estimated from overlapping
//! batches of neighbouring requests (`batches`). Several runs of a side have a variance between them too; the larger
//! of the two counts. Distributions come from the crate `statrs`.

mod batches;
mod changes;

use std::sync::Arc;

use statrs::distribution::{Beta, ContinuousCDF, Normal, StudentsT};

pub use self::batches::SumVariance;
pub use self::changes::{Change, changes, scatter, shown_by_three};
use crate::analysis::stats::Sorted;

/// Requests of one run in the order of sending: what each adds to a ratio of two sums.
///
/// A mean is the sum of samples over their number, a rate the number of tokens over the time that they took.
pub type Parts = Vec<(f64, f64)>;

/// The samples of a request around a percentile.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Around {
    /// Those below it.
    pub below: f64,
    /// Those below it and at it.
    pub up_to: f64,
    /// All of them.
    pub all: f64,
}

impl Around {
    /// Adds `times` samples of the size `sample` around the percentile `value`.
    pub fn add(&mut self, sample: f64, value: f64, times: f64) {
        self.all += times;
        self.below += if sample < value { times } else { 0.0 };
        self.up_to += if sample <= value { times } else { 0.0 };
    }
}

/// An estimate, and what its interval is made from.
#[derive(Debug, Clone)]
pub struct Estimate {
    /// The figure itself.
    pub value: f64,
    /// Independent pieces of information that the spread rests on.
    freedom: f64,
    spread: Spread,
}

/// How an estimate scatters.
#[derive(Debug, Clone)]
enum Spread {
    /// About normally, with this standard error.
    Normal(f64),
    /// As the share of samples below it does: the interval of a percentile lies between two other percentiles.
    Percentile { share: f64, error: f64, sorted: Arc<Sorted> },
    /// As that of so many independent tries.
    Share(f64),
    /// Nobody knows.
    Unknown,
}

impl Estimate {
    /// An estimate of which nothing but its value is known.
    pub fn bare(value: f64) -> Self {
        Self { value, freedom: 0.0, spread: Spread::Unknown }
    }

    /// The ratio of two sums over all requests of `runs`; `at_least` is the length of a batch in each run.
    ///
    /// `None` without requests.
    pub fn ratio(runs: &[Parts], at_least: &[usize]) -> Option<Self> {
        let (mut parts, mut wholes) = (0.0, 0.0);
        for &(part, whole) in runs.iter().flatten() {
            parts += part;
            wholes += whole;
        }
        if wholes <= 0.0 || wholes.is_nan() {
            return None;
        }
        let value = parts / wholes;
        let influence =
            |run: &Parts| run.iter().map(|(part, whole)| part - value * whole).collect();
        let series: Vec<Vec<f64>> = runs.iter().map(influence).collect();
        let SumVariance { variance, freedom } = SumVariance::of_runs(&series, at_least);
        let error = variance.sqrt() / wholes;
        let spread = if error.is_finite() { Spread::Normal(error) } else { Spread::Unknown };
        Some(Self { value, freedom, spread })
    }

    /// Percentile `q` in 0..=100 of the pooled samples of all requests of `runs`, as [`Self::percentile_of`].
    pub fn percentile(
        q: f64,
        runs: &[Vec<&[f64]>],
        at_least: &[usize],
        sorted: &Arc<Sorted>,
    ) -> Option<Self> {
        let value = sorted.percentile(q)?;
        let around = |samples: &&[f64]| {
            let mut around = Around::default();
            samples.iter().for_each(|&sample| around.add(sample, value, 1.0));
            around
        };
        let runs: Vec<Vec<Around>> =
            runs.iter().map(|run| run.iter().map(around).collect()).collect();
        Self::percentile_of(q, &runs, at_least, sorted)
    }

    /// Percentile `q` in 0..=100 of `sorted`, which has the samples of all requests of `runs`; those have for each
    /// request its samples around the percentile.
    ///
    /// The interval is that of Woodruff (1952): the share of samples below the percentile scatters by a known error,
    /// and the percentiles at both ends of that share's interval are the interval of the percentile.
    pub fn percentile_of(
        q: f64,
        runs: &[Vec<Around>],
        at_least: &[usize],
        sorted: &Arc<Sorted>,
    ) -> Option<Self> {
        let value = sorted.percentile(q)?;
        let all = sorted.len() as f64;
        // Among equal samples the share below is anything from that of the smaller ones to that of the last equal one.
        let of = |counted: fn(&Around) -> f64| {
            let really = runs.iter().flatten().map(counted).sum::<f64>() / all;
            let influence =
                |run: &Vec<Around>| run.iter().map(|one| counted(one) - really * one.all).collect();
            let series: Vec<Vec<f64>> = runs.iter().map(influence).collect();
            SumVariance::of_runs(&series, at_least)
        };
        let (least, most) = (of(|one| one.below), of(|one| one.up_to));
        let SumVariance { variance, freedom } =
            if least.variance > most.variance { least } else { most };
        let error = variance.sqrt() / all;
        let share = q / 100.0;
        let spread = if error.is_finite() {
            Spread::Percentile { share, error, sorted: sorted.clone() }
        } else {
            Spread::Unknown
        };
        Some(Self { value, freedom, spread })
    }

    /// The share of tries that succeeded, in the order of sending.
    pub fn share(runs: &[Vec<bool>], at_least: &[usize]) -> Option<Self> {
        let all = runs.iter().map(Vec::len).sum::<usize>() as f64;
        let good = runs.iter().flatten().filter(|&&good| good).count() as f64;
        if all == 0.0 {
            return None;
        }
        let value = good / all;
        let influence = |run: &Vec<bool>| run.iter().map(|&g| f64::from(g) - value).collect();
        let series: Vec<Vec<f64>> = runs.iter().map(influence).collect();
        let SumVariance { variance, freedom } = SumVariance::of_runs(&series, at_least);
        // Tries that depend on each other count as fewer; where all went alike nothing shows that they do.
        let independent = value * (1.0 - value) / (variance / all / all);
        let tries =
            if independent.is_finite() && independent > 0.0 { independent.min(all) } else { all };
        Some(Self { value, freedom, spread: Spread::Share(tries) })
    }

    /// The estimate from one figure of each run, such as a mean, weighted alike.
    ///
    /// `None` without figures; with one alone its spread is not known.
    pub fn of_figures(figures: &[f64]) -> Option<Self> {
        let n = figures.len() as f64;
        let value = crate::analysis::stats::mean(figures)?;
        if figures.len() < 2 {
            return Some(Self::bare(value));
        }
        let variance = figures.iter().map(|x| (x - value) * (x - value)).sum::<f64>() / (n - 1.0);
        Some(Self { value, freedom: n - 1.0, spread: Spread::Normal((variance / n).sqrt()) })
    }

    /// The two-sided interval that covers the truth with probability `confidence`; an end may be infinite where the
    /// sample does not bound it. `None` if the spread is not known.
    pub fn interval(&self, confidence: f64) -> Option<(f64, f64)> {
        let tail = ((1.0 - confidence) / 2.0).clamp(0.0, 0.5);
        match &self.spread {
            Spread::Unknown => None,
            Spread::Normal(error) => {
                let reach = student(self.freedom, tail) * error;
                Some((self.value - reach, self.value + reach))
            }
            Spread::Percentile { share, error, sorted } => {
                let reach = student(self.freedom, tail) * error;
                // A percentile beyond the first or last sample is not supported by the sample.
                let at = |share: f64, beyond: f64| {
                    let value =
                        (0.0..=1.0).contains(&share).then(|| sorted.percentile(share * 1e2));
                    value.flatten().unwrap_or(beyond)
                };
                let last = 1.0 - 1.0 / sorted.len() as f64;
                let high = share + reach;
                let high = if high > last { f64::INFINITY } else { at(high, f64::INFINITY) };
                // Latencies are at least 0.
                Some((at(share - reach, 0.0).min(self.value), high.max(self.value)))
            }
            Spread::Share(tries) => {
                // Clopper and Pearson (1934).
                let good = self.value * tries;
                let bad = tries - good;
                let low = if good <= 0.0 { 0.0 } else { beta(good, bad + 1.0, tail) };
                let high = if bad <= 0.0 { 1.0 } else { beta(good + 1.0, bad, 1.0 - tail) };
                Some((low, high))
            }
        }
    }

    /// How many times as large the sample has to be so that both ends of the interval of a percentile lie within it;
    /// at most 1 if they do, `None` if that is not known.
    pub fn growth(&self, confidence: f64) -> Option<f64> {
        let Spread::Percentile { share, error, sorted } = &self.spread else { return None };
        let tail = ((1.0 - confidence) / 2.0).clamp(0.0, 0.5);
        let n = sorted.len() as f64;
        // The error shrinks with the root of the sample.
        let is_within = |times: f64| {
            let reach = student(self.freedom * times, tail) * error / times.sqrt();
            share + reach <= 1.0 - 1.0 / (n * times)
        };
        let (mut no, mut yes) = (1.0_f64, 1e9_f64);
        if is_within(no) || !is_within(yes) {
            return is_within(no).then_some(1.0);
        }
        for _ in 0..60 {
            let middle = (no * yes).sqrt();
            if is_within(middle) { yes = middle } else { no = middle }
        }
        Some(yes)
    }

    /// Whether its spread is known.
    pub fn has_interval(&self) -> bool {
        !matches!(self.spread, Spread::Unknown)
    }
}

/// How many independent samples percentile `q` in 0..100 needs so that both ends of its interval lie within them.
pub fn samples_needed(q: f64, confidence: f64) -> Option<f64> {
    let sorted = Arc::new(Sorted::new(vec![0.0]));
    let share = q / 1e2;
    let spread = Spread::Percentile { share, error: (share * (1.0 - share)).sqrt(), sorted };
    // The freedom of one sample fewer than there will be does not matter to samples this large.
    Estimate { value: 0.0, freedom: 1.0, spread }.growth(confidence)
}

/// Spans that overlap at one time, in the mean; each is from its start to its end.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, bounded")]
pub fn overlapping(spans: impl Iterator<Item = (f64, f64)> + Clone) -> usize {
    let spent: f64 = spans.clone().map(|(start, end)| end - start).sum();
    let first = spans.clone().map(|(start, _)| start).fold(f64::INFINITY, f64::min);
    let last = spans.clone().map(|(_, end)| end).fold(0.0, f64::max);
    let mean = spent / (last - first);
    if mean.is_finite() { (mean.ceil() as usize).clamp(1, spans.count().max(1)) } else { 1 }
}

/// What the requests of a run bring over the time that they take: for each of them its share, in the order of their
/// ends, and how long after the one before it ended. `ended` has the ends in s, and what each brought.
pub fn per_time(mut ended: Vec<(f64, f64)>) -> Parts {
    ended.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut before = 0.0;
    let gap = |(done, brought): (f64, f64)| (brought, done - std::mem::replace(&mut before, done));
    ended.into_iter().map(gap).collect()
}

/// From so many degrees of freedom on Student's distribution is the normal one but for a thousandth; the quantiles of
/// `statrs` do not always converge for many more.
const NORMAL: f64 = 1000.0;

/// The point that a value of Student's distribution exceeds with probability `tail`.
fn student(freedom: f64, tail: f64) -> f64 {
    if tail <= 0.0 {
        return f64::INFINITY;
    }
    if freedom > NORMAL {
        return Normal::standard().inverse_cdf(1.0 - tail);
    }
    StudentsT::new(0.0, 1.0, freedom.max(1.0))
        .map_or(f64::INFINITY, |student| student.inverse_cdf(1.0 - tail))
}

/// The point below which a value of a Beta distribution lies with probability `share`.
fn beta(a: f64, b: f64, share: f64) -> f64 {
    Beta::new(a, b).map_or(f64::NAN, |beta| beta.inverse_cdf(share))
}

/// How the difference of two estimates is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// As a share of the first: 0.05 is 5 % more.
    Relative,
    /// As it is.
    Absolute,
}

impl Scale {
    fn apply(self, x: f64) -> f64 {
        match self {
            Self::Relative if x <= 0.0 => f64::NEG_INFINITY,
            Self::Relative => x.ln(),
            Self::Absolute => x,
        }
    }

    fn back(self, difference: f64) -> f64 {
        match self {
            Self::Relative => difference.exp_m1(),
            Self::Absolute => difference,
        }
    }
}

/// The difference between two independent estimates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// The second against the first.
    pub change: f64,
    /// Its 95 % interval; `None` if a spread is not known.
    pub interval: Option<(f64, f64)>,
    /// The probability of a difference this far from none if there is none; `None` likewise.
    pub p: Option<f64>,
}

/// The confidence of the intervals that are shown.
pub const CONFIDENCE: f64 = 0.95;

impl Difference {
    /// That of `new` from `base`. `None` if `base` is 0 and shares of it are asked for.
    ///
    /// The interval is put together from those of both sides by the method of variance estimates recovery (MOVER,
    /// Zou and Donner 2008), which keeps their asymmetry; the probability is the one at which it begins to exclude 0.
    pub fn between(base: &Estimate, new: &Estimate, scale: Scale) -> Option<Self> {
        if scale == Scale::Relative && base.value <= 0.0 {
            return None;
        }
        let change = scale.apply(new.value) - scale.apply(base.value);
        let interval = |confidence| mover(change, base, new, confidence, scale);
        let shown = interval(CONFIDENCE);
        let p = shown.map(|_| {
            // The interval grows with the confidence: bisect for where it reaches 0.
            let excludes =
                |p: f64| interval(1.0 - p).is_some_and(|(low, high)| low > 0.0 || high < 0.0);
            let (mut no, mut yes) = (1e-12_f64.ln(), 0.0_f64);
            if excludes(no.exp()) {
                return no.exp();
            }
            if change == 0.0 || !excludes(0.999_999) {
                return 1.0;
            }
            for _ in 0..40 {
                let middle = f64::midpoint(no, yes);
                if excludes(middle.exp()) { yes = middle } else { no = middle }
            }
            yes.exp()
        });
        Some(Self {
            change: scale.back(change),
            interval: shown.map(|(low, high)| (scale.back(low), scale.back(high))),
            p,
        })
    }
}

/// The interval of the difference `change` on `scale`.
fn mover(
    change: f64,
    base: &Estimate,
    new: &Estimate,
    confidence: f64,
    scale: Scale,
) -> Option<(f64, f64)> {
    let ends = |estimate: &Estimate| {
        let (low, high) = estimate.interval(confidence)?;
        Some((scale.apply(low), scale.apply(estimate.value), scale.apply(high)))
    };
    let (base_low, base, base_high) = ends(base)?;
    let (new_low, new, new_high) = ends(new)?;
    let below = (new - new_low).hypot(base_high - base);
    let above = (new_high - new).hypot(base - base_low);
    Some((change - below, change + above))
}

/// The probabilities `p` adjusted for being many (Holm 1979): each may be held against the level that one alone would.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut adjusted = vec![1.0; p.len()];
    let mut most = 0.0_f64;
    for (place, &index) in order.iter().enumerate() {
        most = most.max(p[index] * (p.len() - place) as f64).min(1.0);
        adjusted[index] = most;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holm_adjusts_as_in_the_textbook() {
        let adjusted = holm(&[0.01, 0.04, 0.03, 0.005]);
        let rounded: Vec<f64> = adjusted.iter().map(|p| (p * 1e6).round() / 1e6).collect();
        assert_eq!(rounded, [0.03, 0.06, 0.06, 0.02]);
        assert!(holm(&[]).is_empty());
    }

    #[test]
    fn a_share_without_a_failure_has_the_bound_of_three_in_n() {
        let all = Estimate::share(&[vec![true; 3000]], &[1]).unwrap();
        let (low, high) = all.interval(0.90).unwrap();
        // The one-sided bound at 95 %: 1 - 0.05^(1/n).
        assert!((low - 0.05_f64.powf(1.0 / 3000.0)).abs() < 1e-9 && high >= 1.0, "{low} {high}");
    }

    #[test]
    fn a_percentile_that_the_sample_does_not_reach_has_no_upper_bound() {
        // Each of 1 to 100 once, in no order: one that rises all along would be one dependent batch.
        let samples: Vec<f64> = (1..=100).map(|i| f64::from(i * 37 % 101)).collect();
        let sorted = Arc::new(Sorted::new(samples.clone()));
        let runs = [samples.iter().map(std::slice::from_ref).collect()];
        let p99 = Estimate::percentile(99.0, &runs, &[1], &sorted).unwrap();
        let (low, high) = p99.interval(0.95).unwrap();
        assert!(low > 90.0 && high.is_infinite(), "{low} {high}");
        let median = Estimate::percentile(50.0, &runs, &[1], &sorted).unwrap();
        let (low, high) = median.interval(0.95).unwrap();
        assert!(low > 20.0 && high < 80.0, "{low} {high}");
    }

    #[test]
    fn runs_that_differ_widen_the_interval() {
        let run = |mean: f64| (0..400).map(|i| (mean + f64::from(i % 7), 1.0)).collect::<Parts>();
        let width = |runs: &[Parts]| {
            let lengths = vec![1; runs.len()];
            let (low, high) = Estimate::ratio(runs, &lengths).unwrap().interval(0.95).unwrap();
            high - low
        };
        assert!(width(&[run(100.0), run(100.0), run(100.0)]) < 1.0);
        assert!(width(&[run(95.0), run(100.0), run(105.0)]) > 10.0);
    }

    #[test]
    fn no_difference_has_probability_one_and_a_large_one_nearly_none() {
        let side = |shift: f64| {
            let run = (0..500).map(|i| (100.0 + shift + f64::from(i * 37 % 11), 1.0)).collect();
            Estimate::ratio(&[run], &[1]).unwrap()
        };
        let same = Difference::between(&side(0.0), &side(0.0), Scale::Relative).unwrap();
        assert_eq!((same.change, same.p), (0.0, Some(1.0)));
        let more = Difference::between(&side(0.0), &side(10.0), Scale::Relative).unwrap();
        assert!(more.p.unwrap() < 1e-6 && more.change > 0.08, "{more:?}");
        let bare = Difference::between(&Estimate::bare(1.0), &side(0.0), Scale::Relative).unwrap();
        assert_eq!((bare.interval, bare.p), (None, None));
    }
}
