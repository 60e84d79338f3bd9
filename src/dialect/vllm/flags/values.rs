//! Values of flags.

use std::str::FromStr;

use serde_json::Value;

use super::super::METRICS as KNOWN;
use crate::analysis::measure::Percent;
use crate::workload::dataset::Size;

pub(super) fn count(text: &str) -> Result<usize, String> {
    let number = text.trim().parse().ok().filter(|&n| n > 0);
    number.ok_or_else(|| "must be a whole number above 0".to_owned())
}

/// How far lengths of prompts and answers lie from their means at most, as shares of these.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HalfWidths {
    /// Of prompts.
    pub input: f64,
    /// Of answers.
    pub output: f64,
}

impl FromStr for HalfWidths {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            "must be a number from 0 to below 1, the half-width of the range as a share of the mean, or {\"input\": R, \"output\": R}"
                .to_owned()
        };
        let value: Value = serde_json::from_str(text.trim()).map_err(|_| wrong())?;
        let ratio = |value: Option<&Value>| {
            let ratio = value.and_then(Value::as_f64).filter(|ratio| (0.0..1.0).contains(ratio));
            ratio.ok_or_else(wrong)
        };
        match &value {
            Value::Object(both) => {
                Ok(Self { input: ratio(both.get("input"))?, output: ratio(both.get("output"))? })
            }
            one => ratio(Some(one)).map(|both| Self { input: both, output: both }),
        }
    }
}

pub(super) fn percent(text: &str) -> Result<f64, String> {
    let percent = text.trim().parse().ok().and_then(Percent::new);
    percent
        .map(Percent::value)
        .ok_or_else(|| "must be numbers from 0 to 100 with at most three decimals".to_owned())
}

pub(super) fn metrics(text: &str) -> Result<String, String> {
    let names = || KNOWN.iter().map(|(known, ..)| *known);
    match text.split(',').find(|name| !names().any(|known| known == name.trim())) {
        None => Ok(text.to_owned()),
        Some(name) => {
            let all: Vec<&str> = names().collect();
            Err(format!("`{name}` is not one of {}", all.join(", ")))
        }
    }
}

pub(super) fn object(text: &str) -> Result<Value, String> {
    let value = Value::from_str(text).ok().filter(Value::is_object);
    value.ok_or_else(|| "must be a JSON object".to_owned())
}

pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("must be KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

/// The most media of each kind in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Images.
    pub image: usize,
    /// Videos.
    pub video: usize,
}

impl FromStr for Limits {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "must be a JSON object such as {\"image\": 3, \"video\": 0}".to_owned();
        let Value::Object(limits) = Value::from_str(text).map_err(|_| wrong())? else {
            return Err(wrong());
        };
        let of = |name: &str| match limits.get(name) {
            None => Ok(0),
            Some(limit) => limit.as_u64().and_then(|n| usize::try_from(n).ok()).ok_or_else(wrong),
        };
        Ok(Self { image: of("image")?, video: of("video")? })
    }
}

/// Sizes of made-up images with their weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Buckets(pub Vec<(Size, f64)>);

impl FromStr for Buckets {
    type Err = String;

    /// Reads `{(height, width, frames): weight, ...}`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            "must be sizes with their weights, such as {(256, 256, 1): 0.5, (720, 1280, 1): 0.5}"
                .to_owned()
        };
        let inner = text.trim().strip_prefix('{').and_then(|text| text.strip_suffix('}'));
        let mut buckets = Vec::new();
        for part in inner.ok_or_else(wrong)?.split('(').skip(1) {
            let (size, weight) = part.split_once("):").ok_or_else(wrong)?;
            let numbers: Result<Vec<u32>, _> =
                size.split(',').map(|number| number.trim().parse::<u32>()).collect();
            let Ok([height, width, frames]) = numbers.as_deref() else { return Err(wrong()) };
            let weight: f64 =
                weight.trim().trim_end_matches(',').trim().parse().map_err(|_| wrong())?;
            if !(weight >= 0.0 && weight.is_finite()) || *height == 0 || *width == 0 {
                return Err(wrong());
            }
            if weight == 0.0 {
                continue;
            }
            if *frames != 1 {
                return Err(format!(
                    "({height}, {width}, {frames}) is a video, which rbench does not make: give it the weight 0"
                ));
            }
            buckets.push((Size { width: *width, height: *height }, weight));
        }
        if buckets.is_empty() { Err(wrong()) } else { Ok(Self(buckets)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_widths_of_one_or_both() {
        let both = |input, output| Ok(HalfWidths { input, output });
        assert_eq!("0.5".parse(), both(0.5, 0.5));
        assert_eq!(r#"{"input": 0.1, "output": 0}"#.parse(), both(0.1, 0.0));
        for bad in ["1", "-0.1", "x", "{}", r#"{"input": 0.1}"#] {
            assert!(bad.parse::<HalfWidths>().is_err(), "{bad}");
        }
    }

    #[test]
    fn buckets_are_written_as_in_python() {
        let size = |height, width| Size { width, height };
        let read: Buckets =
            "{(256, 256, 1): 0.5, (720, 1280, 1): 0.5, (720, 1280, 16): 0.0}".parse().unwrap();
        assert_eq!(read.0, [(size(256, 256), 0.5), (size(720, 1280), 0.5)]);
        for bad in ["", "{}", "{(1,2): 1}", "{(1,2,16): 1}", "{(0,2,1): 1}", "{(1,2,1): -1}"] {
            assert!(bad.parse::<Buckets>().is_err(), "{bad}");
        }
    }
}
