//! Due times of requests, as offsets from the start of the run.

use std::str::FromStr;
use std::time::Duration;

use rand_distr::{Distribution, Exp1, Gamma};

use crate::rng;

/// How many requests arrive per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rate {
    /// All at once.
    Unlimited,
    /// A Poisson process with this mean rate in requests/s; finite and above 0.
    PerSecond(f64),
    /// When a trace says; not a value of `--request-rate`.
    Trace,
}

/// Lowest rate of requests, in requests/s: one in about twelve days.
const LOWEST: f64 = 1e-6;

/// No due time is later, in s: a hundred years, which clocks and files can hold in ns.
const LATEST: f64 = 100.0 * 365.25 * 86400.0;

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::per_second(text.trim().parse().unwrap_or(f64::NAN))
    }
}

impl Rate {
    /// The rate of so many requests per second.
    fn per_second(rate: f64) -> Result<Self, String> {
        if rate == f64::INFINITY {
            Ok(Self::Unlimited)
        } else if rate.is_finite() && rate >= LOWEST {
            Ok(Self::PerSecond(rate))
        } else {
            Err(format!(
                "must be a number of requests per second above 0, at least {LOWEST}, or `inf` for all at once"
            ))
        }
    }
}

impl serde::Serialize for Rate {
    /// A number, or the string `"inf"`, as JSON has no infinity, or `"trace"`.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Unlimited => serializer.serialize_str("inf"),
            Self::PerSecond(rate) => serializer.serialize_f64(*rate),
            Self::Trace => serializer.serialize_str("trace"),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Rate {
    /// A number, or the string `"inf"`.
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged, expecting = "expected a number of requests per second, or \"inf\"")]
        enum Read {
            Number(f64),
            Text(String),
        }
        let rate = match Read::deserialize(input)? {
            Read::Number(rate) => Self::per_second(rate),
            Read::Text(text) if text == "inf" => Ok(Self::Unlimited),
            Read::Text(_) => Self::per_second(f64::NAN),
        };
        rate.map_err(serde::de::Error::custom)
    }
}

/// Most runs that one range may ask for.
const MOST_RATES: usize = 1000;

/// Rates in requests/s, whole and above 0, for one run each.
///
/// Three numbers are a first rate, an end that is left out, and a step; any other count is a list.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "Vec<i64>")]
pub struct RateRange(Vec<u32>);

impl RateRange {
    /// The rates in their order; at least one.
    pub fn rates(&self) -> impl Iterator<Item = Rate> {
        self.0.iter().map(|&rate| Rate::PerSecond(f64::from(rate)))
    }
}

impl Default for RateRange {
    /// From 2 to 32 in steps of 2.
    fn default() -> Self {
        Self((2..34).step_by(2).collect())
    }
}

impl FromStr for RateRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Result<Vec<i64>, _> =
            text.split(',').map(|number| number.trim().parse::<i64>()).collect();
        let numbers = numbers
            .map_err(|_| "must be whole numbers with commas between them, such as 2,34,2")?;
        let rates = match numbers[..] {
            [_, _, 0] => return Err("the step, which is the third number, must not be 0".into()),
            [start, stop, step] => {
                let next = |rate: &i64| rate.checked_add(step);
                let rates = std::iter::successors(Some(start), next);
                let inside = |rate: &i64| if step > 0 { *rate < stop } else { *rate > stop };
                rates.take_while(inside).take(MOST_RATES + 1).collect()
            }
            _ => numbers,
        };
        Self::try_from(rates)
    }
}

impl TryFrom<Vec<i64>> for RateRange {
    type Error = String;

    fn try_from(rates: Vec<i64>) -> Result<Self, String> {
        if rates.is_empty() {
            return Err("START,STOP,STEP holds no rate: STOP itself is left out".to_owned());
        }
        if rates.len() > MOST_RATES {
            return Err(format!("asks for more than {MOST_RATES} runs"));
        }
        let positive = |&rate: &i64| u32::try_from(rate).ok().filter(|&rate| rate > 0);
        let rates: Option<Vec<u32>> = rates.iter().map(positive).collect();
        rates.map(Self).ok_or_else(|| {
            format!("every rate must be above 0 and at most {} requests per second", u32::MAX)
        })
    }
}

/// How arrivals vary around their rate.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Pattern {
    /// Shape of the gamma distribution of gaps, above 0: 1 is a Poisson process, less comes in bursts, more is more even,
    /// and infinity is one gap for all.
    #[serde(with = "even")]
    pub burstiness: f64,
    /// The rate over the requests, in the place of one rate for all.
    pub ramp: Option<Ramp>,
    /// Whether the first request waits for its gap as well, and all gaps are stretched so that the last of n requests
    /// arrives at n / rate. A ramp is not stretched.
    pub stretched: bool,
}

impl Default for Pattern {
    fn default() -> Self {
        Self { burstiness: 1.0, ramp: None, stretched: false }
    }
}

/// A rate that rises over the requests.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Ramp {
    /// How.
    pub strategy: Strategy,
    /// The rate of the first request in requests/s, above 0.
    pub from: f64,
    /// The rate of the last one.
    pub to: f64,
}

/// How a rate rises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// By the same amount from request to request.
    Linear,
    /// By the same factor.
    Exponential,
}

impl Strategy {
    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Exponential => "exponential",
        }
    }
}

impl FromStr for Strategy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Linear, Self::Exponential];
        let found = all.into_iter().find(|strategy| strategy.name() == text);
        found.ok_or_else(|| "must be linear or exponential".to_owned())
    }
}

impl Ramp {
    /// The rate at request `i` of `n`, in requests/s.
    pub fn rate(&self, i: usize, n: usize) -> f64 {
        let progress = i as f64 / n.saturating_sub(1).max(1) as f64;
        match self.strategy {
            Strategy::Linear => self.from + (self.to - self.from) * progress,
            Strategy::Exponential => self.from * (self.to / self.from).powf(progress),
        }
    }
}

/// Reads the burstiness of arrivals.
///
/// # Errors
/// If it is none.
pub fn burstiness(text: &str) -> Result<f64, String> {
    let shape: f64 = text.trim().parse().unwrap_or(f64::NAN);
    if shape > 0.0 {
        return Ok(shape);
    }
    Err("must be a number above 0, or `inf` for one gap for all".to_owned())
}

/// Reads the rate at an end of a ramp, in requests/s.
///
/// # Errors
/// If it is none.
pub fn ramp_rate(text: &str) -> Result<f64, String> {
    match text.parse()? {
        Rate::PerSecond(rate) => Ok(rate),
        Rate::Unlimited | Rate::Trace => Err("must be a number of requests per second".to_owned()),
    }
}

/// A burstiness in JSON, which has no infinity.
pub mod even {
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes it as a number, or as `"inf"`.
    ///
    /// # Errors
    /// If `out` fails.
    pub fn serialize<S: Serializer>(value: &f64, out: S) -> Result<S::Ok, S::Error> {
        if value.is_finite() { out.serialize_f64(*value) } else { out.serialize_str("inf") }
    }

    /// Reads what [`serialize`] has written.
    ///
    /// # Errors
    /// If it is no burstiness.
    pub fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<f64, D::Error> {
        let text = serde_json::Value::deserialize(input)?.to_string();
        super::burstiness(text.trim_matches('"')).map_err(serde::de::Error::custom)
    }
}

/// Due times of `n` requests in `pattern`, rising, and the gap that would follow the last one.
///
/// Without a ramp and unless the gaps are stretched, the first is at zero, and due time *i* depends on `seed`, `rate` and
/// *i* alone.
pub fn patterned(rate: Rate, pattern: &Pattern, n: usize, seed: u64) -> (Vec<Duration>, Duration) {
    if pattern.ramp.is_none() && !pattern.stretched {
        let mut arrivals = endless(rate, pattern.burstiness, seed);
        let due = arrivals.by_ref().take(n).collect();
        return (due, if n == 0 { Duration::ZERO } else { arrivals.gap() });
    }
    let fixed = match (pattern.ramp, rate) {
        (None, Rate::PerSecond(rate)) => Some(rate),
        (None, Rate::Unlimited | Rate::Trace) => return (vec![Duration::ZERO; n], Duration::ZERO),
        (Some(_), _) => None,
    };
    let mut rng = rng::stream(seed, "arrival", 0);
    let (mut at, mut gap) = (0.0, 0.0);
    let mut due = Vec::with_capacity(n);
    for i in 0..=n {
        let rate =
            fixed.or_else(|| pattern.ramp.map(|ramp| ramp.rate(i.min(n.saturating_sub(1)), n)));
        let mean = rate.map_or(0.0, f64::recip);
        gap = (drawn(pattern.burstiness, &mut rng) * mean).min(LATEST);
        at += gap;
        if i < n {
            due.push(at);
        }
    }
    let factor = match (fixed, due.last()) {
        (Some(rate), Some(&last)) if pattern.stretched && last > 0.0 => n as f64 / rate / last,
        _ => 1.0,
    };
    let seconds = |at: f64| Duration::from_secs_f64((at * factor).min(LATEST));
    (due.into_iter().map(seconds).collect(), if n == 0 { Duration::ZERO } else { seconds(gap) })
}

/// A gap with a mean of 1 from the gamma distribution of this shape.
fn drawn(shape: f64, rng: &mut rng::Stream) -> f64 {
    if (shape - 1.0).abs() < f64::EPSILON {
        return Exp1.sample(rng);
    }
    // Every shape above 0 has a distribution; one so even that it has none is one gap for all.
    Gamma::new(shape, shape.recip()).map_or(1.0, |gamma| gamma.sample(rng))
}

/// Due times without an end and with gaps of this burstiness; the first ones are those of [`patterned`].
pub fn endless(rate: Rate, burstiness: f64, seed: u64) -> Arrivals {
    let rate = match rate {
        Rate::PerSecond(rate) => Some(rate),
        Rate::Unlimited | Rate::Trace => None,
    };
    Arrivals { rate, burstiness, rng: rng::stream(seed, "arrival", 0), at: 0.0, gap: 0.0 }
}

/// Due times without an end, rising, the first at zero.
#[derive(Debug)]
pub struct Arrivals {
    /// In requests/s; all at once without.
    rate: Option<f64>,
    burstiness: f64,
    rng: rng::Stream,
    /// The next one, in s.
    at: f64,
    /// The gap before it, in s.
    gap: f64,
}

impl Arrivals {
    /// The gap between the last due time and the one that would follow.
    fn gap(&self) -> Duration {
        Duration::from_secs_f64(self.gap.min(LATEST))
    }
}

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let due = Duration::from_secs_f64(self.at.min(LATEST));
        if let Some(rate) = self.rate {
            self.gap = drawn(self.burstiness, &mut self.rng) / rate;
            self.at += self.gap;
        }
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn due_times(rate: Rate, n: usize, seed: u64) -> (Vec<Duration>, Duration) {
        patterned(rate, &Pattern::default(), n, seed)
    }

    #[test]
    fn rates_are_checked_at_the_edge() {
        for bad in ["0", "-0", "1e-320", "1e-308", "1e-7", "-1", "nan", "-inf", "", "fast"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
        assert_eq!("inf".parse(), Ok(Rate::Unlimited));
        assert_eq!("Infinity".parse(), Ok(Rate::Unlimited));
        let (due, gap) = due_times(Rate::PerSecond(LOWEST), 100_000, 1);
        assert_eq!(*due.last().unwrap() + gap, Duration::from_secs_f64(LATEST) + gap);
        assert_eq!("7.5".parse(), Ok(Rate::PerSecond(7.5)));
    }

    #[test]
    fn ranges_of_rates() {
        let rates = |text: &str| text.parse::<RateRange>().map(|range| range.0);
        for (text, expected) in [
            ("2,8,2", &[2, 4, 6][..]),
            ("2,9,2", &[2, 4, 6, 8]),
            ("8,2,-3", &[8, 5]),
            ("5", &[5]),
            ("5,1", &[5, 1]),
            (" 1, 2 ,3 ,4", &[1, 2, 3, 4]),
            ("3,4,9", &[3]),
        ] {
            assert_eq!(rates(text), Ok(expected.to_vec()), "{text}");
        }
        assert_eq!(rates("2,34,2").unwrap().len(), 16);
        for (text, says) in [
            ("", "whole numbers"),
            ("1,", "whole numbers"),
            ("1.5,2", "whole numbers"),
            ("inf", "whole numbers"),
            ("1,5,0", "step"),
            ("5,1,1", "no rate"),
            ("0,4,2", "above 0"),
            ("4,-2,-2", "above 0"),
            ("3,-1", "above 0"),
            ("1,100000,1", "more than 1000 runs"),
        ] {
            let error = rates(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn the_mean_gap_is_the_inverse_of_the_rate() {
        let n = 20_000;
        let (due, _) = due_times(Rate::PerSecond(1000.0), n, 1);
        let mean = due[n - 1].as_secs_f64() / (n - 1) as f64;
        assert!((mean * 1000.0 - 1.0).abs() < 0.03, "mean gap {mean}");
    }

    #[test]
    fn gaps_of_every_burstiness_have_the_same_mean() {
        let n = 20_000;
        for (shape, spread) in [(0.25, 2.0), (1.0, 1.0), (4.0, 0.5), (f64::INFINITY, 0.0)] {
            let pattern = Pattern { burstiness: shape, ..Pattern::default() };
            let (due, _) = patterned(Rate::PerSecond(100.0), &pattern, n, 1);
            let gaps: Vec<f64> = due
                .windows(2)
                .map(|two| two[1].saturating_sub(two[0]).as_secs_f64() * 100.0)
                .collect();
            let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
            let variance =
                gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
            assert!((mean - 1.0).abs() < 0.05, "{shape}: {mean}");
            assert!((variance.sqrt() - spread).abs() < 0.1, "{shape}: {}", variance.sqrt());
        }
    }

    #[test]
    fn stretched_gaps_end_where_the_rate_says() {
        for burstiness in [0.5, 1.0, f64::INFINITY] {
            let pattern = Pattern { burstiness, stretched: true, ..Pattern::default() };
            let (due, _) = patterned(Rate::PerSecond(4.0), &pattern, 100, 3);
            assert!(due[0] > Duration::ZERO && due.is_sorted());
            let late = due[99].abs_diff(Duration::from_secs(25));
            assert!(late < Duration::from_micros(1), "{late:?}");
        }
    }

    #[test]
    fn ramps_rise_over_the_requests() {
        let of = |strategy, from| Ramp { strategy, from, to: 10.0 };
        let linear = of(super::Strategy::Linear, 2.0);
        assert!(
            [(0, 2.0), (4, 6.0), (8, 10.0)]
                .iter()
                .all(|&(i, rate)| (linear.rate(i, 9) - rate).abs() < 1e-9)
        );
        let exponential = of(super::Strategy::Exponential, 0.1);
        assert!((exponential.rate(2, 5) - 1.0).abs() < 1e-9);
        assert!((linear.rate(0, 1) - 2.0).abs() < 1e-9);
        let pattern =
            Pattern { burstiness: f64::INFINITY, ramp: Some(linear), ..Pattern::default() };
        let (due, next) = patterned(Rate::Unlimited, &pattern, 9, 1);
        assert_eq!(due[0], Duration::from_millis(500));
        assert!(
            due[8].saturating_sub(due[7]).abs_diff(Duration::from_millis(100))
                < Duration::from_micros(1)
        );
        assert!(next.abs_diff(Duration::from_millis(100)) < Duration::from_micros(1));
        assert!(patterned(Rate::Unlimited, &pattern, 0, 1).0.is_empty());
    }

    proptest! {
        /// Forall seeds, rates and lengths: due times rise from zero, and a longer plan starts with the shorter one.
        #[test]
        fn due_times_rise_and_do_not_depend_on_the_length(seed: u64, rate in 0.01_f64..1e5, n in 1_usize..200) {
            let (long, _) = due_times(Rate::PerSecond(rate), n + 10, seed);
            let (short, next) = due_times(Rate::PerSecond(rate), n, seed);
            prop_assert_eq!(long[0], Duration::ZERO);
            prop_assert!(long.is_sorted());
            prop_assert_eq!(&long[..n], &short[..]);
            let following = short[n - 1] + next;
            prop_assert!(long[n].abs_diff(following) < Duration::from_micros(1));
        }
    }
}
