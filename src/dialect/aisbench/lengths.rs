//! Distributions of lengths, as scenarios write them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::workload::lengths::{LONGEST, Law, Lengths};

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

/// Longest values of Zipf's distribution that are told apart: what is above is cut to the upper end anyway.
const RANKS: usize = 1_000_000_000;

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
                held(Law::Normal(mean, variance.sqrt()), least, most)
            }
            "zipf" => {
                let alpha = number("Alpha")?;
                if !(alpha > 1.0 && alpha <= 10.0) || least == most {
                    return Err(
                        "Params: Alpha must be above 1 and at most 10, and MinValue below MaxValue"
                            .to_owned(),
                    );
                }
                held(Law::Zipf { alpha, first: 1, ranks: RANKS }, least, most)
            }
            _ => held(Law::Uniform, least, most),
        }
    }
}

/// Lengths by a law, held between two ends.
fn held(law: Law, least: usize, most: usize) -> Result<Lengths, String> {
    Lengths::new(law, least, most).map_err(|what| format!("Params: {what}"))
}

/// A length of 0 or more.
fn whole(x: f64) -> Result<usize, String> {
    if !(0.0..=LONGEST as f64).contains(&x) {
        return Err(format!("Params: {x} is no length"));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded")]
    Ok(x as usize)
}

/// A list of lengths with their shares.
fn shares(list: Option<&Value>) -> Result<Lengths, String> {
    let wrong = || "expected a list of [length, share] whose shares sum up to 1".to_owned();
    let pair = |pair: &Value| {
        let (length, share) = (pair.get(0)?.as_u64()?, pair.get(1)?.as_f64()?);
        let length =
            usize::try_from(length).ok().filter(|length| (1..=LONGEST).contains(length))?;
        (share >= 0.0).then_some((length, share))
    };
    let list = list.and_then(Value::as_array).ok_or_else(wrong)?;
    let pairs: Option<Vec<(usize, f64)>> = list.iter().map(pair).collect();
    let pairs = pairs.filter(|pairs| {
        let sum: f64 = pairs.iter().map(|(_, share)| share).sum();
        (sum - 1.0).abs() < 1e-6
    });
    Lengths::new(Law::Shares(pairs.ok_or_else(wrong)?), 1, LONGEST)
}

/// The lengths of answers to rows of a file.
///
/// # Errors
/// If the parameters are not those of the method.
pub(super) fn of_file(method: &str, params: &Map<String, Value>) -> Result<Lengths, String> {
    match method {
        "percentage" => shares(params.get("percentage_distribute")),
        "uniform" => {
            let number = |key: &str| {
                let number = params.get(key).and_then(Value::as_u64);
                number
                    .and_then(|n| usize::try_from(n).ok())
                    .ok_or_else(|| format!("{key} must be a whole number"))
            };
            let (least, most) = (number("min_value")?, number("max_value")?);
            if least == 0 || least > most {
                return Err("min_value must be above 0 and not above max_value".to_owned());
            }
            Lengths::new(Law::Uniform, least, most)
        }
        other => Err(format!("method {other} must be uniform or percentage")),
    }
}

/// The length of row `i`, at least 1; `consumer` names what draws from `seed`.
pub(super) fn draw(lengths: &Lengths, seed: u64, consumer: &str, i: usize) -> usize {
    lengths.draw(seed, consumer, i).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn method(text: &str) -> Result<Lengths, String> {
        serde_json::from_str::<Method>(text).map_err(|error| error.to_string())?.lengths()
    }

    fn drawn(text: &str) -> Vec<usize> {
        let lengths = method(text).unwrap();
        (0..4000).map(|i| draw(&lengths, 1, "test", i)).collect()
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
