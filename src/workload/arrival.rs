//! Due times of requests, as offsets from the start of the run.

use std::str::FromStr;
use std::time::Duration;

use rand_distr::{Distribution, Exp1};

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

/// Due times of `n` requests, rising, the first at zero, and the gap that would follow the last one.
///
/// Due time *i* depends on `seed`, `rate` and *i* alone.
pub fn due_times(rate: Rate, n: usize, seed: u64) -> (Vec<Duration>, Duration) {
    let mut arrivals = endless(rate, seed);
    let due = arrivals.by_ref().take(n).collect();
    (due, if n == 0 { Duration::ZERO } else { arrivals.gap() })
}

/// Due times without an end; the first ones are those of [`due_times`].
pub fn endless(rate: Rate, seed: u64) -> Arrivals {
    let rate = match rate {
        Rate::PerSecond(rate) => Some(rate),
        Rate::Unlimited | Rate::Trace => None,
    };
    Arrivals { rate, rng: rng::stream(seed, "arrival", 0), at: 0.0, gap: 0.0 }
}

/// Due times without an end, rising, the first at zero.
#[derive(Debug)]
pub struct Arrivals {
    /// In requests/s; all at once without.
    rate: Option<f64>,
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
            let draw: f64 = Exp1.sample(&mut self.rng);
            self.gap = draw / rate;
            self.at += self.gap;
        }
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
