//! The distribution of samples, which are kept, or counted where nobody can keep them all.

use super::{Tally, mean, nth, rank, squares};

/// How a percentile is taken from samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Interpolates between the two samples around rank q/100 · (n − 1), as numpy does by default.
    Linear,
    /// Takes the smallest sample that at least q percent of the samples do not exceed: rank ⌈q/100 · n⌉ from 1.
    NearestRank,
    /// Takes the sample after q percent of the samples: rank ⌊q/100 · n⌋ from 0, the last one at most.
    Next,
    /// Takes the sample below rank q/100 · (n − 1).
    Lower,
    /// Takes the sample above rank q/100 · (n − 1).
    Higher,
}

impl Method {
    /// The rank from 0 of the sample at or below percentile `q` of `last + 1` samples, and how far the percentile
    /// lies on the way to the next one.
    pub(super) fn rank(self, q: f64, last: u64) -> (u64, f64) {
        let (below, share) = rank(q, last);
        match self {
            Self::Linear => (below, share),
            Self::Lower => (below, 0.0),
            Self::Higher => (if share > 0.0 { below + 1 } else { below }, 0.0),
            Self::Next => {
                // What rounding takes from a whole rank must not lead to the sample before.
                let rank = (q / 100.0).clamp(0.0, 1.0) * (last as f64 + 1.0);
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "bounded"
                )]
                let from_zero = (rank * (1.0 + f64::EPSILON)).floor() as u64;
                (from_zero.min(last), 0.0)
            }
            Self::NearestRank => {
                let n = last as f64 + 1.0;
                // What rounding adds to a whole rank must not lead to the next sample.
                let rank = ((q / 100.0).clamp(0.0, 1.0) * n * (1.0 - f64::EPSILON)).ceil();
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "bounded"
                )]
                let from_one = rank.max(1.0) as u64;
                ((from_one - 1).min(last), 0.0)
            }
        }
    }
}

/// Samples of 0 or more.
///
/// Whether they are kept or counted is a property of the store and changes no call: counted samples give percentiles
/// to [`Tally::ERROR`], and everything else to the rounding of floats.
#[derive(Debug, Clone)]
pub struct Distribution(Store);

#[derive(Debug, Clone)]
enum Store {
    /// All of them.
    Kept(Vec<f64>),
    /// How many were about as large as what.
    Counted(Tally),
}

use Store::{Counted, Kept};

impl Distribution {
    /// No sample yet; `keeps` says whether samples are kept.
    pub fn new(keeps: bool) -> Self {
        Self(if keeps { Kept(Vec::new()) } else { Counted(Tally::default()) })
    }

    /// Adds `value`.
    pub fn add(&mut self, value: f64) {
        self.add_times(value, 1);
    }

    /// Adds `value` so many times.
    pub fn add_times(&mut self, value: f64, times: u64) {
        match &mut self.0 {
            Kept(all) => {
                let times = usize::try_from(times).unwrap_or(usize::MAX);
                all.extend(std::iter::repeat_n(value, times));
            }
            Counted(tally) => tally.add(value, times),
        }
    }

    /// Adds the samples of `other`. Samples stay kept if both stores keep them, and are counted otherwise.
    pub fn merge(&mut self, other: Self) {
        match (&mut self.0, other.0) {
            (Kept(all), Kept(more)) => all.extend(more),
            (Counted(tally), Counted(more)) => tally.merge(&more),
            (Counted(tally), Kept(more)) => tally.add_all(&more),
            (Kept(all), Counted(mut tally)) => {
                tally.add_all(all);
                self.0 = Counted(tally);
            }
        }
    }

    /// The same samples, counted and no longer kept.
    #[must_use]
    pub fn counted(self) -> Self {
        let mut counted = Self::new(false);
        counted.merge(self);
        counted
    }

    /// Number of samples.
    pub fn len(&self) -> u64 {
        match &self.0 {
            Kept(all) => all.len() as u64,
            Counted(tally) => tally.len(),
        }
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Arithmetic mean, `None` without samples.
    pub fn mean(&self) -> Option<f64> {
        match &self.0 {
            Kept(all) => mean(all),
            Counted(tally) => tally.mean(),
        }
    }

    /// Population standard deviation (divisor n), `None` without samples.
    pub fn std(&self) -> Option<f64> {
        let [std, _] = self.deviations();
        std
    }

    /// Sample standard deviation (divisor n − 1), `None` with fewer than two samples.
    pub fn sample_std(&self) -> Option<f64> {
        let [_, sample_std] = self.deviations();
        sample_std
    }

    /// Both standard deviations, [`Self::std`] and [`Self::sample_std`], for the cost of one.
    pub fn deviations(&self) -> [Option<f64>; 2] {
        let (squares, n) = (self.squares(), self.len());
        [n, n.saturating_sub(1)]
            .map(|divisor| (divisor > 0).then(|| (squares / divisor as f64).sqrt()))
    }

    /// The sum of squared distances from the mean.
    fn squares(&self) -> f64 {
        match &self.0 {
            Kept(all) => squares(all),
            Counted(tally) => tally.squares(),
        }
    }

    /// Smallest sample, `None` without samples.
    pub fn min(&self) -> Option<f64> {
        match &self.0 {
            Kept(all) => all.iter().copied().min_by(f64::total_cmp),
            Counted(tally) => tally.min(),
        }
    }

    /// Largest sample, `None` without samples.
    pub fn max(&self) -> Option<f64> {
        match &self.0 {
            Kept(all) => all.iter().copied().max_by(f64::total_cmp),
            Counted(tally) => tally.max(),
        }
    }

    /// Percentile `q` in 0..=100 by `method`, `None` without samples. Changes the order of kept samples, which costs
    /// less than a sort.
    pub fn percentile(&mut self, q: f64, method: Method) -> Option<f64> {
        let [percentile] = self.percentiles([q], method);
        percentile
    }

    /// The percentiles `qs`, which rise, at the cost of hardly more than one; see [`Self::percentile`].
    pub fn percentiles<const N: usize>(
        &mut self,
        qs: [f64; N],
        method: Method,
    ) -> [Option<f64>; N] {
        let Some(last) = self.len().checked_sub(1) else { return [None; N] };
        match &mut self.0 {
            Kept(all) => {
                // Whatever lies before this position is no larger than what lies after it.
                let mut done = 0;
                qs.map(|q| nth(all, &mut done, method.rank(q, last)))
            }
            Counted(tally) => qs.map(|q| tally.at(method.rank(q, last))),
        }
    }

    /// The samples as a histogram in the V2 format of `HdrHistogram`, compressed and in base64, as its tools read it.
    /// Its values are in millionths of the samples' unit, so in ns for samples in ms; three digits of each are kept.
    pub fn hdr(&self) -> String {
        match &self.0 {
            Kept(all) => {
                let mut tally = Tally::default();
                tally.add_all(all);
                tally.hdr()
            }
            Counted(tally) => tally.hdr(),
        }
    }
}

impl Distribution {
    /// Reads what [`Self::hdr`] has written, as counted samples; `None` if it is no such histogram.
    pub fn from_hdr(text: &str) -> Option<Self> {
        Tally::from_hdr(text).map(|tally| Self(Counted(tally)))
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;
    use proptest::prelude::*;

    use super::*;

    const METHODS: [Method; 5] =
        [Method::Linear, Method::NearestRank, Method::Next, Method::Lower, Method::Higher];

    fn of(samples: &[f64], keeps: bool) -> Distribution {
        let mut distribution = Distribution::new(keeps);
        for &value in samples {
            distribution.add(value);
        }
        distribution
    }

    /// A percentile from sorted samples by the definitions of numpy.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "ranks")]
    fn reference(samples: &[f64], q: f64, method: Method) -> f64 {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        let exact = q / 100.0 * (n - 1) as f64;
        let (below, above) = (sorted[exact.floor() as usize], sorted[exact.ceil() as usize]);
        match method {
            Method::Linear => below + (above - below) * exact.fract(),
            Method::Lower => below,
            Method::Higher => above,
            Method::Next => {
                let before = |i: &usize| (*i + 1) as f64 * 100.0 > q * n as f64 * (1.0 + 1e-12);
                (0..n).find(before).map_or(sorted[n - 1], |i| sorted[i])
            }
            Method::NearestRank => {
                let enough = |&&x: &&f64| {
                    let no_larger = sorted.iter().filter(|&&y| y <= x).count();
                    no_larger as f64 * 100.0 >= q * n as f64 * (1.0 - 1e-12)
                };
                *sorted.iter().find(enough).unwrap()
            }
        }
    }

    fn close(got: Option<f64>, want: Option<f64>, most: f64) -> bool {
        match (got, want) {
            (Some(got), Some(want)) => (got - want).abs() <= most,
            (got, want) => got == want,
        }
    }

    /// Samples from nothing to an hour in ms.
    fn samples(least: usize) -> impl Strategy<Value = Vec<f64>> {
        let one = prop_oneof![Just(0.0), 1e-3..1.0, 1.0..100.0, 1e2..3.6e6];
        prop::collection::vec(one, least..120)
    }

    /// The figures that take no percentile.
    fn moments(one: &Distribution) -> [Option<f64>; 5] {
        [one.mean(), one.std(), one.sample_std(), one.min(), one.max()]
    }

    #[test]
    fn nothing_has_no_figures() {
        for keeps in [true, false] {
            let mut none = Distribution::new(keeps);
            assert_eq!(moments(&none), [None; 5]);
            assert!(METHODS.iter().all(|&method| none.percentile(50.0, method).is_none()));
            let one = of(&[3.0], keeps);
            assert_eq!(moments(&one), [Some(3.0), Some(0.0), None, Some(3.0), Some(3.0)]);
        }
    }

    #[test]
    fn whole_ranks_stay_whole() {
        let samples: Vec<f64> = (1..=10).map(f64::from).collect();
        for (q, linear, nearest) in [
            (0.0, 1.0, 1.0),
            (10.0, 1.9, 1.0),
            (30.0, 3.7, 3.0),
            (70.0, 7.3, 7.0),
            (100.0, 10.0, 10.0),
        ] {
            let mut kept = of(&samples, true);
            assert!(close(kept.percentile(q, Method::Linear), Some(linear), 1e-9), "{q}");
            assert_eq!(kept.percentile(q, Method::NearestRank), Some(nearest), "{q}");
        }
    }

    proptest! {
        /// Forall samples and percentiles, by each method: what is picked out is what a sort gives.
        #[test]
        fn percentiles_are_those_of_a_plain_reference(
            samples in samples(1),
            mut qs in prop::array::uniform4(0.0..=100.0_f64),
        ) {
            qs.sort_unstable_by(f64::total_cmp);
            for method in METHODS {
                let got = of(&samples, true).percentiles(qs, method);
                for (got, q) in got.into_iter().zip(qs) {
                    let want = reference(&samples, q, method);
                    prop_assert!(close(got, Some(want), want * 1e-9), "{:?} p{}: {:?} {}", method, q, got, want);
                }
            }
        }

        /// Forall samples: kept and counted give the same, percentiles within the stated error.
        #[test]
        fn kept_and_counted_agree(samples in samples(0), q in 0.0..=100.0_f64) {
            let (mut kept, mut counted) = (of(&samples, true), of(&samples, false));
            let largest = kept.max().unwrap_or_default();
            prop_assert_eq!(kept.len(), counted.len());
            prop_assert_eq!((kept.min(), kept.max()), (counted.min(), counted.max()));
            for (a, b) in moments(&kept).into_iter().zip(moments(&counted)) {
                prop_assert!(close(b, a, largest * 1e-6));
            }
            for method in METHODS {
                let (a, b) = (kept.percentile(q, method), counted.percentile(q, method));
                let most = (a.unwrap_or_default() * Tally::ERROR).max(Tally::STEP);
                prop_assert!(close(b, a, most), "{:?} p{}: {:?} {:?}", method, q, b, a);
            }
        }

        /// Forall parts, each kept or counted: merged they give what the whole gives.
        #[test]
        fn merged_parts_are_the_whole(
            parts in prop::collection::vec((samples(0), any::<bool>()), 1..5),
            q in 0.0..=100.0_f64,
        ) {
            let all: Vec<f64> = parts.iter().flat_map(|(samples, _)| samples.clone()).collect();
            let mut merged = parts.iter().map(|(samples, keeps)| of(samples, *keeps)).reduce(|mut a, b| {
                a.merge(b);
                a
            }).unwrap();
            let is_kept = parts.iter().all(|(_, keeps)| *keeps);
            let mut whole = of(&all, is_kept);
            let largest = whole.max().unwrap_or_default();
            prop_assert_eq!(merged.len(), whole.len());
            prop_assert_eq!((merged.min(), merged.max()), (whole.min(), whole.max()));
            for (a, b) in moments(&whole).into_iter().zip(moments(&merged)) {
                prop_assert!(close(b, a, largest * 1e-6));
            }
            for method in METHODS {
                prop_assert_eq!(merged.percentile(q, method), whole.percentile(q, method));
            }
        }

        /// Forall samples, kept or counted: the export reads back with as many samples and their sizes.
        #[test]
        fn exported_histograms_read_back(samples in samples(0), keeps: bool) {
            let exported = STANDARD.decode(of(&samples, keeps).hdr()).unwrap();
            let read: Histogram<u64> = Deserializer::new().deserialize(&mut exported.as_slice()).unwrap();
            prop_assert_eq!(read.len(), samples.len() as u64);
            let again = Distribution::from_hdr(&of(&samples, keeps).hdr()).unwrap();
            prop_assert_eq!(again.len(), samples.len() as u64);
            let largest = samples.iter().copied().fold(0.0, f64::max);
            let most = (largest * Tally::ERROR).max(Tally::STEP);
            prop_assert!(close(again.max(), (!samples.is_empty()).then_some(largest), most));
            let got = read.max() as f64 * Tally::STEP;
            prop_assert!((got - largest).abs() <= (largest * Tally::ERROR).max(Tally::STEP), "{} {}", got, largest);
        }
    }
}
