//! How the load of a run is put on the server, from the flags.

use std::time::Duration;

use crate::config::{self, ClockChoice, Serve};
use crate::engine::event::Subscribers;
use crate::engine::system::Budget;
use crate::engine::{Balance, Limits, Options, Stop, window};
use crate::health::ClockSource;

/// The options of a run of `requests` requests.
pub(super) fn options(config: &Serve, requests: usize) -> Options {
    let timeouts = &config.timeouts;
    let limit = |limit: Duration| (!limit.is_zero()).then_some(limit);
    Options {
        threads: config.threads,
        max_in_flight: config.max_concurrency,
        subscribers: Subscribers::default(),
        budget: Budget::endless(),
        clock: match config.client.clock {
            Some(ClockChoice::User) => ClockSource::User,
            Some(ClockChoice::Kernel) | None => ClockSource::Kernel,
        },
        read_batch: config.client.read_batch.unwrap_or(window::DEFAULT),
        spin: !config.client.no_spin,
        connection_per_request: config.client.connection_per_request,
        limits: Limits {
            connect: limit(timeouts.connect_timeout),
            first_token: limit(timeouts.first_token_timeout),
            idle: limit(timeouts.idle_timeout),
            request: limit(timeouts.request_timeout),
            grace: timeouts.grace,
        },
        max_errors: timeouts.max_errors.map(|most| most.of(requests as u64)),
        balance: match config.balance {
            config::Balance::RoundRobin => Balance::RoundRobin,
            config::Balance::LeastInFlight => Balance::LeastInFlight,
        },
        retries: timeouts.retries,
        stop: Stop::new(),
    }
}
