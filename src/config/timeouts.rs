//! How many failures a run survives.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// How many failures a run survives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MaxErrors {
    /// So many.
    Count(u64),
    /// This share of the requests, in percent.
    Percent(f64),
}

impl MaxErrors {
    /// The number for a run of `requests`.
    pub fn of(self, requests: u64) -> u64 {
        match self {
            Self::Count(n) => n,
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a share of a number of requests, and not negative"
            )]
            Self::Percent(share) => (requests as f64 * share / 100.0).floor() as u64,
        }
    }
}

impl FromStr for MaxErrors {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected a number such as 10, or a share of 0% to 100%".to_owned();
        match text.strip_suffix('%') {
            None => text.parse().map(Self::Count).map_err(|_| expected()),
            Some(share) => match share.parse::<f64>() {
                Ok(share) if (0.0..=100.0).contains(&share) => Ok(Self::Percent(share)),
                _ => Err(expected()),
            },
        }
    }
}

impl fmt::Display for MaxErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(n) => write!(f, "{n}"),
            Self::Percent(share) => write!(f, "{share}%"),
        }
    }
}

impl Serialize for MaxErrors {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MaxErrors {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_shares() {
        for (text, requests, want) in
            [("0", 10, 0), ("7", 10, 7), ("5%", 1000, 50), ("0.1%", 999, 0), ("100%", 3, 3)]
        {
            let parsed: MaxErrors = text.parse().unwrap();
            assert_eq!(parsed.of(requests), want, "{text}");
            assert_eq!(parsed.to_string(), text);
        }
        for text in ["", "-1", "1.5", "101%", "-1%", "NaN%", "%"] {
            assert!(text.parse::<MaxErrors>().is_err(), "{text}");
        }
    }
}
