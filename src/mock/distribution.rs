//! How long a simulated step takes: a parsed distribution of durations.
//!
//! Knows text and random numbers, nothing of requests or servers.

use std::str::FromStr;
use std::time::Duration;

use rand::{Rng, RngExt};
use rand_distr::{Exp1, StandardNormal};
use thiserror::Error;

/// The longest single draw, in seconds; it bounds what a heavy tail can ask of the timer.
const LONGEST_DRAW: f64 = 86_400.0;

/// The forms that [`Distribution`] accepts, as named in its errors.
const FORMS: &str = "20ms (or 20, 1.5s, 500us), uniform:10ms-30ms, normal:20ms,5ms, \
                     exponential:20ms or lognormal:20ms,0.5";

/// A distribution of durations, read from text such as `normal:20ms,5ms`.
///
/// All parameters are kept in seconds, except for the shape of the log-normal form.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distribution {
    /// Always the same duration: `20ms`.
    Constant {
        /// The duration.
        value: f64,
    },
    /// Evenly spread between two bounds: `uniform:10ms-30ms`.
    Uniform {
        /// The lower bound, included.
        low: f64,
        /// The upper bound, included.
        high: f64,
    },
    /// Normal, with draws below zero raised to zero: `normal:20ms,5ms`.
    Normal {
        /// The mean before clipping.
        mean: f64,
        /// The standard deviation before clipping.
        deviation: f64,
    },
    /// Exponential: `exponential:20ms`.
    Exponential {
        /// The mean.
        mean: f64,
    },
    /// Log-normal: `lognormal:20ms,0.5`.
    LogNormal {
        /// The median.
        median: f64,
        /// The standard deviation of the natural logarithm, without a unit.
        sigma: f64,
    },
}

impl Distribution {
    /// Draws one duration, between zero and one day.
    ///
    /// A constant takes nothing from `rng`.
    pub fn draw(&self, rng: &mut impl Rng) -> Duration {
        let seconds = match *self {
            Self::Constant { value } => value,
            Self::Uniform { low, high } => rng.random_range(low..=high),
            Self::Normal { mean, deviation } => {
                mean + deviation * rng.sample::<f64, _>(StandardNormal)
            }
            Self::Exponential { mean } => mean * rng.sample::<f64, _>(Exp1),
            Self::LogNormal { median, sigma } => {
                median * (sigma * rng.sample::<f64, _>(StandardNormal)).exp()
            }
        };
        Duration::from_secs_f64(seconds.clamp(0.0, LONGEST_DRAW))
    }
}

/// Why a text is not a [`Distribution`].
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ParseError {
    /// The word before the colon names no distribution.
    #[error("unknown distribution; accepted forms: {FORMS}")]
    UnknownForm {
        /// The word as typed.
        name: String,
    },
    /// A distribution has the wrong number of parameters.
    #[error("`{name}` takes {expected}; accepted forms: {FORMS}")]
    Parameters {
        /// The distribution.
        name: &'static str,
        /// What should follow its colon.
        expected: &'static str,
    },
    /// A duration cannot be read.
    #[error("not a duration; accepted forms: {FORMS}")]
    Duration {
        /// The text as typed.
        text: String,
    },
    /// A plain number cannot be read.
    #[error("not a number; accepted forms: {FORMS}")]
    Number {
        /// The text as typed.
        text: String,
    },
    /// The bounds of a uniform distribution are the wrong way round.
    #[error("the lower bound `{low}` is above the upper bound `{high}`")]
    Bounds {
        /// The lower bound as typed.
        low: String,
        /// The upper bound as typed.
        high: String,
    },
}

impl FromStr for Distribution {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let text = text.trim();
        let Some((name, parameters)) = text.split_once(':') else {
            return Ok(Self::Constant { value: seconds(text)? });
        };
        match name.trim() {
            "constant" => Ok(Self::Constant { value: seconds(parameters)? }),
            "uniform" => {
                let (low, high) = pair(parameters, '-', "uniform", "two bounds, LOW-HIGH")?;
                let bounds = (seconds(low)?, seconds(high)?);
                if bounds.0 > bounds.1 {
                    return Err(ParseError::Bounds { low: low.to_owned(), high: high.to_owned() });
                }
                Ok(Self::Uniform { low: bounds.0, high: bounds.1 })
            }
            "normal" => {
                let (mean, deviation) =
                    pair(parameters, ',', "normal", "a mean and a deviation, MEAN,SD")?;
                Ok(Self::Normal { mean: seconds(mean)?, deviation: seconds(deviation)? })
            }
            "exponential" => Ok(Self::Exponential { mean: seconds(parameters)? }),
            "lognormal" => {
                let (median, sigma) =
                    pair(parameters, ',', "lognormal", "a median and a shape, MEDIAN,SIGMA")?;
                let shape =
                    number(sigma).ok_or_else(|| ParseError::Number { text: sigma.to_owned() })?;
                Ok(Self::LogNormal { median: seconds(median)?, sigma: shape })
            }
            other => Err(ParseError::UnknownForm { name: other.to_owned() }),
        }
    }
}

/// Splits `parameters` in two at `separator`.
fn pair<'a>(
    parameters: &'a str,
    separator: char,
    name: &'static str,
    expected: &'static str,
) -> Result<(&'a str, &'a str), ParseError> {
    let (first, second) =
        parameters.split_once(separator).ok_or(ParseError::Parameters { name, expected })?;
    Ok((first.trim(), second.trim()))
}

/// Reads a duration in seconds; a bare number counts milliseconds.
fn seconds(text: &str) -> Result<f64, ParseError> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == 'µ');
    let unit = match &text[digits.len()..] {
        "" | "ms" => 1e3,
        "s" => 1.0,
        "us" | "µs" => 1e6,
        _ => return Err(ParseError::Duration { text: text.to_owned() }),
    };
    // Dividing keeps decimal fractions exact to the nanosecond, where a factor such as 1e-3
    // would not.
    number(digits.trim_end())
        .map(|value| value / unit)
        .ok_or_else(|| ParseError::Duration { text: text.to_owned() })
}

/// Reads a finite number of zero or more, in digits with an optional decimal point.
fn number(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if plain { text.parse().ok().filter(|value: &f64| value.is_finite()) } else { None }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::ChaCha8Rng;

    use super::*;

    #[test]
    fn every_accepted_form_is_read() {
        let cases = [
            ("20ms", Distribution::Constant { value: 0.02 }),
            ("20", Distribution::Constant { value: 0.02 }),
            ("0", Distribution::Constant { value: 0.0 }),
            (" 1.5s ", Distribution::Constant { value: 1.5 }),
            ("500us", Distribution::Constant { value: 0.0005 }),
            ("500 µs", Distribution::Constant { value: 0.0005 }),
            ("constant:7", Distribution::Constant { value: 0.007 }),
            ("uniform:10ms-30ms", Distribution::Uniform { low: 0.01, high: 0.03 }),
            ("uniform:10-0.03s", Distribution::Uniform { low: 0.01, high: 0.03 }),
            ("uniform:5-5", Distribution::Uniform { low: 0.005, high: 0.005 }),
            ("normal:20ms,5ms", Distribution::Normal { mean: 0.02, deviation: 0.005 }),
            ("exponential:20ms", Distribution::Exponential { mean: 0.02 }),
            ("lognormal:20ms, 0.5", Distribution::LogNormal { median: 0.02, sigma: 0.5 }),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_wrong_form_is_refused_with_the_accepted_ones() {
        let cases = [
            ("", "not a duration"),
            ("ms", "not a duration"),
            ("-20ms", "not a duration"),
            ("20m", "not a duration"),
            ("inf", "not a duration"),
            ("1e3", "not a duration"),
            ("1.2.3s", "not a duration"),
            ("gamma:20ms", "unknown distribution"),
            ("uniform:10ms", "`uniform` takes two bounds, LOW-HIGH"),
            ("normal:10ms", "`normal` takes a mean and a deviation, MEAN,SD"),
            ("lognormal:10ms", "`lognormal` takes a median and a shape, MEDIAN,SIGMA"),
            ("lognormal:10ms,5ms", "not a number"),
        ];
        for (text, start) in cases {
            let message = text.parse::<Distribution>().unwrap_err().to_string();
            assert!(message.starts_with(start), "{text}: {message}");
            assert!(message.contains("uniform:10ms-30ms"), "{text}: {message}");
        }
        let message = "uniform:30ms-10ms".parse::<Distribution>().unwrap_err().to_string();
        assert_eq!(message, "the lower bound `30ms` is above the upper bound `10ms`");
    }

    #[test]
    fn draws_have_the_stated_centre() {
        let cases = [
            ("20ms", 0.020),
            ("uniform:10ms-30ms", 0.020),
            ("normal:20ms,5ms", 0.020),
            ("exponential:20ms", 0.020),
            // The mean of a log-normal is its median times exp(sigma² / 2).
            ("lognormal:20ms,0.5", 0.020 * 0.125_f64.exp()),
        ];
        for (text, mean) in cases {
            let distribution: Distribution = text.parse().unwrap();
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            let n_draws = 20_000;
            let sum: f64 = (0..n_draws).map(|_| distribution.draw(&mut rng).as_secs_f64()).sum();
            let found = sum / f64::from(n_draws);
            assert!((found / mean - 1.0).abs() < 0.03, "{text}: {found}");
        }
    }

    #[test]
    fn normal_draws_are_never_negative() {
        let distribution: Distribution = "normal:1ms,100ms".parse().unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let zeros = (0..1000).filter(|_| distribution.draw(&mut rng).is_zero()).count();
        assert!((400..600).contains(&zeros), "{zeros}");
    }
}
