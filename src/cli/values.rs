//! Values that flags take, read and checked.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Serialize;
use serde_json::{Map, Value};

use super::client::LONGEST;

/// A word of `--header`. Its value may be a key and is not shown, and neither is a word that is no header:
/// it may be a key that was typed in another form.
#[derive(Clone, PartialEq, Eq)]
pub enum Header {
    /// `KEY=VALUE` with neither side empty.
    Pair {
        /// The key.
        name: String,
        /// The value.
        value: String,
    },
    /// Anything else.
    Malformed,
}

impl Header {
    fn shown(&self) -> String {
        match self {
            Self::Pair { name, .. } => format!("{name}=***"),
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
        Ok(match text.split_once('=') {
            // What has nothing but `=` after it is the end of a key in base64.
            Some((name, value))
                if !name.is_empty() && !value.trim_matches('=').trim().is_empty() =>
            {
                Self::Pair { name: name.to_owned(), value: value.to_owned() }
            }
            _ => Self::Malformed,
        })
    }
}

pub(super) fn header_names<S: serde::Serializer>(
    headers: &[Header],
    out: S,
) -> Result<S::Ok, S::Error> {
    out.collect_seq(headers.iter().map(Header::shown))
}

/// A JSON object.
#[derive(Debug, Clone, PartialEq, Serialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Seconds(pub f64);

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim().parse::<f64>() {
            Ok(seconds) if seconds > 0.0 && seconds <= LONGEST.as_secs_f64() => Ok(Self(seconds)),
            _ => Err("must be a number of seconds above 0, at most 10 years".to_owned()),
        }
    }
}

pub(super) fn whole<T: FromStr>(text: &str) -> Result<T, String> {
    text.trim().parse().map_err(|_| "must be a whole number, 0 or more".to_owned())
}

pub(super) fn count(text: &str) -> Result<usize, String> {
    match text.trim().parse::<usize>() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err("must be a whole number above 0".to_owned()),
    }
}

pub(super) fn temperature(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(t) if t.is_finite() && t >= 0.0 => Ok(t),
        _ => Err("must be a number of 0 or more".to_owned()),
    }
}

pub(super) fn probability(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(p) if p > 0.0 && p <= 1.0 => Ok(p),
        _ => Err("must be a number above 0 and at most 1".to_owned()),
    }
}

/// Writes a path as text; what of it is no text is replaced, so that no other key of a result is lost with it.
#[expect(clippy::ref_option, reason = "the signature that serde calls")]
pub(super) fn path<S: serde::Serializer>(
    path: &Option<PathBuf>,
    out: S,
) -> Result<S::Ok, S::Error> {
    path.as_deref().map(Path::to_string_lossy).serialize(out)
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
