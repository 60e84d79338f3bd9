//! How long is waited for what, and what a run survives.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::client::{duration, seconds};

const LIMITS: &str = "Failures and time limits";

/// The flags.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
#[group(skip)]
pub struct TimeoutArgs {
    /// Longest wait for a connection, through proxies and with TLS; 0 waits as long as it takes
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = duration, help_heading = LIMITS)]
    #[serde(with = "seconds")]
    pub connect_timeout: Duration,
    /// Longest wait for the first output after a request was sent; 0 as above
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration, help_heading = LIMITS)]
    #[serde(with = "seconds")]
    pub first_token_timeout: Duration,
    /// Longest wait between two events of a stream; 0 as above
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration, help_heading = LIMITS)]
    #[serde(with = "seconds")]
    pub idle_timeout: Duration,
    /// Longest time for a whole request; 0 as above
    #[arg(long, value_name = "TIME", default_value = "6h", value_parser = duration, help_heading = LIMITS)]
    #[serde(with = "seconds")]
    pub request_timeout: Duration,
    /// End the run when more requests than this have failed: a number, or a share of all requests such as 5%
    #[arg(long, value_name = "N|P%", help_heading = LIMITS)]
    pub max_errors: Option<MaxErrors>,
    /// Send a request again up to N times if its connection was refused or the answer was 429 or 503, when Retry-After says so; else after 0.5 s, 1 s, 2 s, ...
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = LIMITS)]
    pub retries: u32,
    /// How long requests in flight may go on when the run is ended early, by a signal or --max-errors
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration, help_heading = LIMITS)]
    #[serde(with = "seconds")]
    pub grace: Duration,
}

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
