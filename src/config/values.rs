//! Values of a run's configuration that are more than numbers and texts, and how they are read and written.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// Longest time that a configuration takes.
pub const LONGEST: Duration = Duration::from_hours(10 * 365 * 24);

/// A word of `--header`. Its value may be a key and is not shown, and neither is a word that is no header:
/// it may be a key that was typed in another form.
#[derive(Clone, PartialEq, Eq)]
pub enum Header {
    /// `KEY=VALUE`, or `KEY: VALUE`, with neither side empty.
    Pair {
        /// The key.
        name: String,
        /// The value.
        value: String,
    },
    /// A header whose value a variable of the environment has.
    FromEnv {
        /// The key.
        name: String,
        /// The variable.
        variable: String,
    },
    /// Anything else.
    Malformed,
}

impl Header {
    /// The header as results have it, without its value.
    pub fn shown(&self) -> String {
        match self {
            Self::Pair { name, .. } | Self::FromEnv { name, .. } => format!("{name}=***"),
            Self::Malformed => "***".to_owned(),
        }
    }
}

impl std::fmt::Debug for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown())
    }
}

impl FromStr for Header {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // As curl writes it: no name of a header has a colon in it.
        let (parts, is_line) = match text.find(['=', ':']).map(|at| text.split_at(at)) {
            Some((name, rest)) if rest.starts_with(':') => (Some((name, &rest[1..])), true),
            _ => (text.split_once('='), false),
        };
        Ok(match parts {
            // What has nothing but `=` after it is the end of a key in base64.
            Some((name, value))
                if !name.is_empty() && !value.trim_matches('=').trim().is_empty() =>
            {
                let value = if is_line { value.trim() } else { value };
                Self::Pair { name: name.to_owned(), value: value.to_owned() }
            }
            _ => Self::Malformed,
        })
    }
}

/// A header as a configuration has it: the environment has its value, which may be a key.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderLine {
    name: String,
    /// The variable of the environment.
    env: String,
}

/// Writes headers for a configuration, each with the name of a variable in the place of its value.
pub(super) fn headers<S: Serializer>(headers: &[Header], out: S) -> Result<S::Ok, S::Error> {
    let mut lines: Vec<HeaderLine> = Vec::new();
    for header in headers {
        let (name, variable) = match header {
            Header::FromEnv { name, variable } => (name, variable.clone()),
            Header::Pair { name, .. } => (name, variable_for(name)),
            Header::Malformed => continue,
        };
        let same =
            lines.iter().filter(|line| line.env.trim_end_matches(char::is_numeric) == variable);
        let env = match same.count() {
            0 => variable,
            n => format!("{variable}_{}", n + 1),
        };
        lines.push(HeaderLine { name: name.clone(), env });
    }
    lines.serialize(out)
}

/// The variable of the environment that is to have the value of the header `name`.
fn variable_for(name: &str) -> String {
    let upper = name.to_ascii_uppercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    format!("RBENCH_HEADER_{upper}")
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let HeaderLine { name, env } = HeaderLine::deserialize(input)?;
        Ok(Self::FromEnv { name, variable: env })
    }
}

/// A JSON object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Object(pub Map<String, Value>);

impl FromStr for Object {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match serde_json::from_str(text) {
            Ok(Value::Object(map)) => Ok(Self(map)),
            Ok(other) => {
                let kind = match other {
                    Value::Array(_) => "an array",
                    Value::String(_) => "a string",
                    Value::Number(_) => "a number",
                    Value::Bool(_) => "a boolean",
                    _ => "null",
                };
                Err(format!("must be a JSON object such as {{\"top_p\": 0.9}}, and is {kind}"))
            }
            Err(error) => Err(format!("must be a JSON object such as {{\"top_p\": 0.9}}: {error}")),
        }
    }
}

/// A time above 0, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64")]
pub struct Seconds(pub f64);

impl TryFrom<f64> for Seconds {
    type Error = String;

    fn try_from(seconds: f64) -> Result<Self, String> {
        if seconds > 0.0 && seconds <= LONGEST.as_secs_f64() {
            return Ok(Self(seconds));
        }
        Err("must be a number of seconds above 0, at most 10 years".to_owned())
    }
}

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::try_from(text.trim().parse().unwrap_or(f64::NAN))
    }
}

/// Takes a whole number above 0.
///
/// # Errors
/// If it is 0.
pub fn is_count(n: usize) -> Result<usize, String> {
    if n > 0 { Ok(n) } else { Err("must be a whole number above 0".to_owned()) }
}

/// Takes a temperature.
///
/// # Errors
/// If it is no number of 0 or more.
pub fn is_temperature(t: f64) -> Result<f64, String> {
    if t.is_finite() && t >= 0.0 { Ok(t) } else { Err("must be a number of 0 or more".to_owned()) }
}

/// Takes a probability above 0.
///
/// # Errors
/// If it is no number above 0 and at most 1.
pub fn is_probability(p: f64) -> Result<f64, String> {
    if p > 0.0 && p <= 1.0 {
        Ok(p)
    } else {
        Err("must be a number above 0 and at most 1".to_owned())
    }
}

/// Reads a value of a configuration, which `check` accepts as it does that of the flag.
fn checked<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    input: D,
    check: fn(T) -> Result<T, String>,
) -> Result<T, D::Error> {
    check(T::deserialize(input)?).map_err(Error::custom)
}

/// As [`checked`], of a value that may be absent.
fn some_checked<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    input: D,
    check: fn(T) -> Result<T, String>,
) -> Result<Option<T>, D::Error> {
    Option::<T>::deserialize(input)?.map(check).transpose().map_err(Error::custom)
}

pub(super) fn above_zero<'de, D: Deserializer<'de>>(input: D) -> Result<usize, D::Error> {
    checked(input, is_count)
}

pub(super) fn some_above_zero<'de, D: Deserializer<'de>>(
    input: D,
) -> Result<Option<usize>, D::Error> {
    some_checked(input, is_count)
}

pub(super) fn some_temperature<'de, D: Deserializer<'de>>(
    input: D,
) -> Result<Option<f64>, D::Error> {
    some_checked(input, is_temperature)
}

pub(super) fn a_probability<'de, D: Deserializer<'de>>(input: D) -> Result<f64, D::Error> {
    checked(input, is_probability)
}

pub(super) fn some_probability<'de, D: Deserializer<'de>>(
    input: D,
) -> Result<Option<f64>, D::Error> {
    some_checked(input, is_probability)
}

pub(super) fn from_minus_one<'de, D: Deserializer<'de>>(input: D) -> Result<i64, D::Error> {
    checked(input, |n: i64| if n >= -1 { Ok(n) } else { Err("must be -1 or more".to_owned()) })
}

/// Writes a path as text; what of it is no text is replaced, so that no other key of a result is lost with it.
#[expect(clippy::ref_option, reason = "the signature that serde calls")]
pub(super) fn path<S: Serializer>(path: &Option<PathBuf>, out: S) -> Result<S::Ok, S::Error> {
    path.as_deref().map(Path::to_string_lossy).serialize(out)
}

/// Takes a coalescing window: nothing is read meanwhile, so a long one would hold up the load.
///
/// # Errors
/// If it is longer than a second.
pub fn is_read_batch(length: Duration) -> Result<Duration, String> {
    if length > Duration::from_secs(1) { Err("must be at most 1s".to_owned()) } else { Ok(length) }
}

pub(super) fn read_batch<'de, D: Deserializer<'de>>(
    input: D,
) -> Result<Option<Duration>, D::Error> {
    some_seconds::deserialize(input)?.map(is_read_batch).transpose().map_err(Error::custom)
}

fn of_seconds(seconds: f64) -> Result<Duration, String> {
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if duration <= LONGEST => Ok(duration),
        _ => Err("must be a number of seconds from 0 to 10 years".to_owned()),
    }
}

/// A length of time as a number of seconds, in results and configurations.
pub(super) mod seconds {
    use super::{Deserialize, Deserializer, Duration, Error as _, Serializer, of_seconds};

    pub(in crate::config) fn serialize<S: Serializer>(
        duration: &Duration,
        out: S,
    ) -> Result<S::Ok, S::Error> {
        out.serialize_f64(duration.as_secs_f64())
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        input: D,
    ) -> Result<Duration, D::Error> {
        of_seconds(f64::deserialize(input)?).map_err(D::Error::custom)
    }
}

/// The same where there may be none.
pub(super) mod some_seconds {
    use super::{
        Deserialize, Deserializer, Duration, Error as _, Serialize, Serializer, of_seconds,
    };

    #[expect(clippy::ref_option, reason = "the signature that serde calls")]
    pub(in crate::config) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        out: S,
    ) -> Result<S::Ok, S::Error> {
        duration.map(|duration| duration.as_secs_f64()).serialize(out)
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        input: D,
    ) -> Result<Option<Duration>, D::Error> {
        let seconds = Option::<f64>::deserialize(input)?;
        seconds.map(of_seconds).transpose().map_err(D::Error::custom)
    }
}

/// A switch whose key names the opposite, such as `disable_stream`.
pub(super) mod off {
    use super::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
    pub(in crate::config) fn serialize<S: Serializer>(
        on: &bool,
        out: S,
    ) -> Result<S::Ok, S::Error> {
        out.serialize_bool(!on)
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        input: D,
    ) -> Result<bool, D::Error> {
        bool::deserialize(input).map(|off| !off)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_not_shown() {
        let header: Header = "Authorization=Bearer=x".parse().unwrap();
        let pair = Header::Pair { name: "Authorization".into(), value: "Bearer=x".into() };
        assert_eq!(header, pair);
        assert_eq!(format!("{header:?}"), "Authorization=***");
        for bad in ["plain", "=x", "x=", "x==", "x= "] {
            assert_eq!(bad.parse(), Ok(Header::Malformed), "{bad}");
        }
    }
}
