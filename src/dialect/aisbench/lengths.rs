//! Distributions of lengths.

use rand::RngExt;
use rand_distr::{Distribution, Normal, Zipf};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::rng::{self, Stream};

/// A distribution as a synthetic dataset names it.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Method {
    /// `uniform`, `gaussian`, `zipf` or `percentage`.
    #[serde(rename = "Method")]
    method: String,
    /// Its parameters.
    #[serde(rename = "Params")]
    params: Map<String, Value>,
}

/// Lengths in tokens.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Lengths {
    /// Between two ends, both included.
    Uniform(u64, u64),
    /// Around a mean, with a variance, held between two ends.
    Gaussian(f64, f64, u64, u64),
    /// The shorter the more frequent, held between two ends.
    Zipf(f64, u64, u64),
    /// Lengths with their shares, which sum up to 1.
    Shares(Vec<(u64, f64)>),
}

/// Longest values of Zipf's distribution that are told apart: what is above is cut to the upper end anyway.
const RANKS: f64 = 1e9;

impl Method {
    /// The lengths.
    ///
    /// # Errors
    /// If the parameters are not those of the method.
    pub(super) fn lengths(&self) -> Result<Lengths, String> {
        let known: &[&str] = match self.method.as_str() {
            "uniform" => &["MinValue", "MaxValue"],
            "gaussian" => &["Mean", "Var", "MinValue", "MaxValue"],
            "zipf" => &["Alpha", "MinValue", "MaxValue"],
            "percentage" => return shares(self.params.get("Distribute")),
            other => {
                return Err(format!(
                    "Method {other} must be uniform, gaussian, zipf or percentage"
                ));
            }
        };
        if let Some(key) = self.params.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(format!("Params: {key} is not one of {}", known.join(", ")));
        }
        let number = |key: &str| {
            let value = self.params.get(key).and_then(Value::as_f64);
            value.filter(|x| x.is_finite()).ok_or_else(|| format!("Params: {key} must be a number"))
        };
        let (least, most) = (whole(number("MinValue")?)?, whole(number("MaxValue")?)?);
        if least > most {
            return Err(format!("Params: MinValue {least} is above MaxValue {most}"));
        }
        match self.method.as_str() {
            "gaussian" => {
                let (mean, variance) = (number("Mean")?, number("Var")?);
                if variance < 0.0 {
                    return Err("Params: Var must be 0 or more".to_owned());
                }
                Ok(Lengths::Gaussian(mean, variance, least, most))
            }
            "zipf" => {
                let alpha = number("Alpha")?;
                if !(alpha > 1.0 && alpha <= 10.0) || least == most {
                    return Err(
                        "Params: Alpha must be above 1 and at most 10, and MinValue below MaxValue"
                            .to_owned(),
                    );
                }
                Ok(Lengths::Zipf(alpha, least, most))
            }
            _ => Ok(Lengths::Uniform(least, most)),
        }
    }
}

/// A length of 0 or more.
fn whole(x: f64) -> Result<u64, String> {
    if !(0.0..=1e9).contains(&x) {
        return Err(format!("Params: {x} is no length"));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded")]
    Ok(x as u64)
}

/// A list of lengths with their shares.
fn shares(list: Option<&Value>) -> Result<Lengths, String> {
    let wrong = || "expected a list of [length, share] whose shares sum up to 1".to_owned();
    let pair = |pair: &Value| {
        let (length, share) = (pair.get(0)?.as_u64()?, pair.get(1)?.as_f64()?);
        (share >= 0.0 && length > 0).then_some((length, share))
    };
    let list = list.and_then(Value::as_array).ok_or_else(wrong)?;
    let pairs: Option<Vec<(u64, f64)>> = list.iter().map(pair).collect();
    let pairs = pairs.filter(|pairs| {
        let sum: f64 = pairs.iter().map(|(_, share)| share).sum();
        (sum - 1.0).abs() < 1e-6
    });
    pairs.map(Lengths::Shares).ok_or_else(wrong)
}

impl Lengths {
    /// The lengths of answers to rows of a file.
    pub(super) fn of_file(method: &str, params: &Map<String, Value>) -> Result<Self, String> {
        match method {
            "percentage" => shares(params.get("percentage_distribute")),
            "uniform" => {
                let number = |key: &str| {
                    params
                        .get(key)
                        .and_then(Value::as_u64)
                        .ok_or_else(|| format!("{key} must be a whole number"))
                };
                let (least, most) = (number("min_value")?, number("max_value")?);
                if least == 0 || least > most {
                    return Err("min_value must be above 0 and not above max_value".to_owned());
                }
                Ok(Self::Uniform(least, most))
            }
            other => Err(format!("method {other} must be uniform or percentage")),
        }
    }

    /// The length of row `i`, at least 1; `consumer` names what draws from `seed`.
    pub(super) fn draw(&self, seed: u64, consumer: &str, i: usize) -> usize {
        let length = self.drawn(&mut rng::stream(seed, consumer, i as u64));
        usize::try_from(length.max(1)).unwrap_or(usize::MAX)
    }

    fn drawn(&self, rng: &mut Stream) -> u64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let held = |x: f64, least: u64, most: u64| x.clamp(least as f64, most as f64) as u64;
        match self {
            Self::Uniform(least, most) => rng.random_range(*least..=*most),
            Self::Gaussian(mean, variance, least, most) => {
                match Normal::new(*mean, variance.sqrt()) {
                    Ok(normal) => held(normal.sample(rng).round(), *least, *most),
                    Err(_) => held(*mean, *least, *most),
                }
            }
            Self::Zipf(alpha, least, most) => match Zipf::new(RANKS, *alpha) {
                Ok(zipf) => held(zipf.sample(rng), *least, *most),
                Err(_) => *least,
            },
            Self::Shares(shares) => {
                let mut left: f64 = rng.random();
                for (length, share) in shares {
                    left -= share;
                    if left < 0.0 {
                        return *length;
                    }
                }
                shares.last().map_or(1, |(length, _)| *length)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn method(text: &str) -> Result<Lengths, String> {
        serde_json::from_str::<Method>(text).map_err(|error| error.to_string())?.lengths()
    }

    fn drawn(text: &str) -> Vec<usize> {
        let lengths = method(text).unwrap();
        (0..4000).map(|i| lengths.draw(1, "test", i)).collect()
    }

    #[test]
    fn lengths_follow_their_distributions() {
        let uniform = drawn(r#"{"Method": "uniform", "Params": {"MinValue": 1, "MaxValue": 200}}"#);
        let mean = uniform.iter().sum::<usize>() as f64 / 4000.0;
        assert!((mean - 100.5).abs() < 4.0, "{mean}");
        assert_eq!((uniform.iter().min(), uniform.iter().max()), (Some(&1), Some(&200)));
        let gaussian = drawn(
            r#"{"Method": "gaussian", "Params": {"Mean": 100, "Var": 200, "MinValue": 1, "MaxValue": 100}}"#,
        );
        let at_end = gaussian.iter().filter(|length| **length == 100).count();
        assert!((1900..2200).contains(&at_end), "{at_end}");
        let zipf =
            drawn(r#"{"Method": "zipf", "Params": {"Alpha": 2, "MinValue": 1, "MaxValue": 50}}"#);
        let ones = zipf.iter().filter(|length| **length == 1).count();
        // 6/π² of all.
        assert!((ones as f64 / 4000.0 - 0.608).abs() < 0.03, "{ones}");
        assert_eq!(zipf.iter().max(), Some(&50));
        let shares =
            drawn(r#"{"Method": "percentage", "Params": {"Distribute": [[8, 0.25], [32, 0.75]]}}"#);
        let short = shares.iter().filter(|length| **length == 8).count();
        assert!((short as f64 / 4000.0 - 0.25).abs() < 0.03, "{short}");
    }

    #[test]
    fn a_seed_gives_the_same_lengths() {
        let text = r#"{"Method": "zipf", "Params": {"Alpha": 1.5, "MinValue": 1, "MaxValue": 50}}"#;
        assert_eq!(drawn(text), drawn(text));
    }

    #[test]
    fn wrong_parameters_are_named() {
        for (text, said) in [
            (r#"{"Method": "normal", "Params": {}}"#, "Method normal"),
            (r#"{"Method": "uniform", "Params": {"MinValue": 2}}"#, "MaxValue"),
            (r#"{"Method": "uniform", "Params": {"MinValue": 2, "MaxValue": 1}}"#, "above"),
            (
                r#"{"Method": "uniform", "Params": {"MinValue": 2, "MaxValue": 4, "Mean": 1}}"#,
                "Mean",
            ),
            (
                r#"{"Method": "zipf", "Params": {"Alpha": 1, "MinValue": 2, "MaxValue": 4}}"#,
                "Alpha",
            ),
            (r#"{"Method": "percentage", "Params": {"Distribute": [[8, 0.5]]}}"#, "sum up to 1"),
        ] {
            let error = method(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
