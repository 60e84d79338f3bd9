//! The flags of the client itself: how it sends, reads and tells the time.

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const CLIENT: &str = "Client";

/// Where arrival times come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClockChoice {
    /// The kernel, when it receives the data
    Kernel,
    /// This program, when it reads them
    User,
}

/// The flags.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
#[group(skip)]
pub struct ClientArgs {
    /// Source of arrival times [default: kernel, where it has them]
    #[arg(long, value_name = "SOURCE", hide_possible_values = true, help_heading = CLIENT)]
    pub clock: Option<ClockChoice>,
    /// Coalescing window: how long data may wait to be read together, such as 200us; 0 reads at once. Kernel
    /// timestamps do not change with it [default: 500us]
    #[arg(long, value_name = "TIME", value_parser = read_batch, help_heading = CLIENT)]
    #[serde(serialize_with = "some_seconds::serialize", deserialize_with = "read_batch_seconds")]
    pub read_batch: Option<Duration>,
    /// Do not spin before a due time: saves CPU time, and sends later
    #[arg(long, help_heading = CLIENT)]
    pub no_spin: bool,
    /// Count requests with a gap between two events longer than this as stalled
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration, help_heading = CLIENT)]
    #[serde(with = "seconds")]
    pub stall_threshold: Duration,
    /// Print no block on the measurement before the table
    #[arg(long, help_heading = CLIENT)]
    pub quiet_extras: bool,
    /// Exit with 4 if the client was the limit, or a check of the measurement fails
    #[arg(long, help_heading = CLIENT)]
    pub strict: bool,
    /// Open a connection for each request instead of keeping them
    #[arg(long, help_heading = CLIENT)]
    pub connection_per_request: bool,
}

/// Longest time that a flag takes.
pub(super) const LONGEST: Duration = Duration::from_hours(10 * 365 * 24);

/// A length of time with its unit, such as `200us`, `1ms` or `10m`; 0 needs no unit.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let expected = || "expected a number with a unit, such as 200us, 1ms, 30s or 10m".to_owned();
    let signed: jiff::SignedDuration = text.parse().map_err(|_| expected())?;
    match Duration::try_from(signed) {
        Ok(duration) if duration <= LONGEST => Ok(duration),
        Ok(_) => Err("must be at most 10 years".to_owned()),
        Err(_) => Err(expected()),
    }
}

/// The value of `--read-batch`: nothing is read meanwhile, so a long one would hold up the load.
fn read_batch(text: &str) -> Result<Duration, String> {
    is_read_batch(duration(text)?)
}

fn is_read_batch(length: Duration) -> Result<Duration, String> {
    if length > Duration::from_secs(1) { Err("must be at most 1s".to_owned()) } else { Ok(length) }
}

fn read_batch_seconds<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Duration>, D::Error> {
    some_seconds::deserialize(input)?.map(is_read_batch).transpose().map_err(de::Error::custom)
}

/// A length of time as a number of seconds, in results and configurations.
pub(super) mod seconds {
    use super::{Deserialize, Deserializer, Duration, Serializer, de, of_seconds};

    pub(in crate::cli) fn serialize<S: Serializer>(
        duration: &Duration,
        out: S,
    ) -> Result<S::Ok, S::Error> {
        out.serialize_f64(duration.as_secs_f64())
    }

    pub(in crate::cli) fn deserialize<'de, D: Deserializer<'de>>(
        input: D,
    ) -> Result<Duration, D::Error> {
        of_seconds(f64::deserialize(input)?).map_err(de::Error::custom)
    }
}

/// The same where there may be none.
pub(super) mod some_seconds {
    use super::{Deserialize, Deserializer, Duration, Serialize, Serializer, de, of_seconds};

    #[expect(clippy::ref_option, reason = "the signature that serde calls")]
    pub(in crate::cli) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        out: S,
    ) -> Result<S::Ok, S::Error> {
        duration.map(|duration| duration.as_secs_f64()).serialize(out)
    }

    pub(in crate::cli) fn deserialize<'de, D: Deserializer<'de>>(
        input: D,
    ) -> Result<Option<Duration>, D::Error> {
        let seconds = Option::<f64>::deserialize(input)?;
        seconds.map(of_seconds).transpose().map_err(de::Error::custom)
    }
}

fn of_seconds(seconds: f64) -> Result<Duration, String> {
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if duration <= LONGEST => Ok(duration),
        _ => Err("must be a number of seconds from 0 to 10 years".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time() {
        let us = Duration::from_micros;
        for (text, want) in [
            ("0", Duration::ZERO),
            ("200us", us(200)),
            ("200µs", us(200)),
            ("1ms", us(1000)),
            ("1.5s", us(1_500_000)),
            ("10m", us(600_000_000)),
            ("1h30m", us(5_400_000_000)),
        ] {
            assert_eq!(duration(text), Ok(want), "{text}");
        }
        for text in ["", "5", "999999h", "584542046090y", "-1s", "soon", "1 parsec"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
