//! How long is waited for what, and what a run survives.

use std::time::Duration;

use clap::Args;

use super::client::duration;
use crate::config::Timeouts;
use crate::config::timeouts::MaxErrors;

const LIMITS: &str = "Failures and time limits";

/// The flags.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct TimeoutArgs {
    /// Longest wait for a connection, through proxies and with TLS; 0 waits as long as it takes
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = duration, help_heading = LIMITS)]
    pub connect_timeout: Duration,
    /// Longest wait for the first output after a request was sent; 0 as above
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration, help_heading = LIMITS)]
    pub first_token_timeout: Duration,
    /// Longest wait between two events of a stream; 0 as above
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration, help_heading = LIMITS)]
    pub idle_timeout: Duration,
    /// Longest time for a whole request; 0 as above
    #[arg(long, value_name = "TIME", default_value = "6h", value_parser = duration, help_heading = LIMITS)]
    pub request_timeout: Duration,
    /// End the run when more requests than this have failed: a number, or a share of all requests such as 5%
    #[arg(long, value_name = "N|P%", help_heading = LIMITS)]
    pub max_errors: Option<MaxErrors>,
    /// Send a request again up to N times if its connection was refused or the answer was 429 or 503, when Retry-After says so; else after 0.5 s, 1 s, 2 s, ...
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = LIMITS)]
    pub retries: u32,
    /// How long requests in flight may go on when the run is ended early, by a signal or --max-errors
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration, help_heading = LIMITS)]
    pub grace: Duration,
}

impl From<TimeoutArgs> for Timeouts {
    fn from(args: TimeoutArgs) -> Self {
        let TimeoutArgs {
            connect_timeout,
            first_token_timeout,
            idle_timeout,
            request_timeout,
            max_errors,
            retries,
            grace,
        } = args;
        Self {
            connect_timeout,
            first_token_timeout,
            idle_timeout,
            request_timeout,
            max_errors,
            retries,
            grace,
        }
    }
}
