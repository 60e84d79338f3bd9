//! The flags of the client itself: how it sends, reads and tells the time.

use std::time::Duration;

use clap::Args;

use crate::config::values::{LONGEST, is_read_batch};
use crate::config::{Client, ClockChoice};

const CLIENT: &str = "Client";

/// The flags.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct ClientArgs {
    /// Source of arrival times [default: kernel, where it has them]
    #[arg(long, value_name = "SOURCE", hide_possible_values = true, help_heading = CLIENT)]
    pub clock: Option<ClockChoice>,
    /// Coalescing window: how long data may wait to be read together, such as 200us; 0 reads at once. Kernel
    /// timestamps do not change with it [default: 500us]
    #[arg(long, value_name = "TIME", value_parser = read_batch, help_heading = CLIENT)]
    pub read_batch: Option<Duration>,
    /// Do not spin before a due time: saves CPU time, and sends later
    #[arg(long, help_heading = CLIENT)]
    pub no_spin: bool,
    /// Count requests with a gap between two events longer than this as stalled
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration, help_heading = CLIENT)]
    pub stall_threshold: Duration,
    /// Print no block on the measurement before the table
    #[arg(long, overrides_with = "verbose", help_heading = CLIENT)]
    pub quiet_extras: bool,
    /// Print all rows of the block on the measurement, also where all is well
    #[arg(long, overrides_with = "quiet_extras", help_heading = CLIENT)]
    pub verbose: bool,
    /// Exit with 4 if the client affected a figure, or a self-check of the measurement fails
    #[arg(long, help_heading = CLIENT)]
    pub strict: bool,
    /// Open a connection for each request instead of keeping them
    #[arg(long, help_heading = CLIENT)]
    pub connection_per_request: bool,
}

impl From<ClientArgs> for Client {
    fn from(args: ClientArgs) -> Self {
        let ClientArgs {
            clock,
            read_batch,
            no_spin,
            stall_threshold,
            quiet_extras,
            verbose,
            strict,
            connection_per_request,
        } = args;
        Self {
            clock,
            read_batch,
            no_spin,
            stall_threshold,
            quiet_extras,
            verbose,
            strict,
            connection_per_request,
        }
    }
}

/// A length of time with its unit, such as `200us`, `1ms` or `10m`, or a number of seconds.
///
/// # Errors
/// If it is none, or is longer than 10 years.
pub fn duration(text: &str) -> Result<Duration, String> {
    let expected = || {
        "expected a number with a unit, such as 200us, 1ms, 30s or 10m, or a number of seconds"
            .to_owned()
    };
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let length = match text.parse::<f64>() {
        Ok(seconds) if is_number => {
            return match Duration::try_from_secs_f64(seconds) {
                Ok(duration) if duration <= LONGEST => Ok(duration),
                _ => Err("must be at most 10 years".to_owned()),
            };
        }
        _ => text.parse::<jiff::SignedDuration>().map_err(|_| expected())?,
    };
    match Duration::try_from(length) {
        Ok(duration) if duration <= LONGEST => Ok(duration),
        Ok(_) => Err("must be at most 10 years".to_owned()),
        Err(_) => Err(expected()),
    }
}

/// The value of `--read-batch`: nothing is read meanwhile, so a long one would hold up the load.
fn read_batch(text: &str) -> Result<Duration, String> {
    is_read_batch(duration(text)?)
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
            ("5", us(5_000_000)),
            ("0.25", us(250_000)),
        ] {
            assert_eq!(duration(text), Ok(want), "{text}");
        }
        for text in [
            "",
            ".",
            "-5",
            "5e3",
            "inf",
            "99999999999",
            "999999h",
            "584542046090y",
            "-1s",
            "soon",
            "1 parsec",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
