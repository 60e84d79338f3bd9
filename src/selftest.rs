//! What a self-test found: how far the client's times are from those in a server's own log, and how much it can read.
//!
//! Plain figures; `app` makes the runs.

pub mod compare;
pub mod show;

use std::time::Duration;

use self::compare::Compared;
use crate::analysis::ceiling::{Ceiling, Host};
use crate::health::{ClockSource, Health};
use crate::model::RequestRecord;

/// Below this share of the events that the load asks for, something held the run up.
const HELD_UP: f64 = 0.9;

/// From this share of its CPU time on, a thread was the limit.
const BUSY: f64 = 0.85;

/// What a run of the self-test was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To see errors.
    Errors,
    /// To see errors while other threads want the same cores.
    BusyErrors,
    /// To find the most events per second.
    Events,
    /// To find the most streams at once.
    Streams,
}

impl Purpose {
    /// The purpose as one word for files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::BusyErrors => "busy_errors",
            Self::Events => "events",
            Self::Streams => "streams",
        }
    }
}

/// One run: what it asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Setup {
    /// What it is for.
    pub purpose: Purpose,
    /// Streams, all begun at once.
    pub streams: usize,
    /// Events of each.
    pub events: usize,
    /// Time between two events of a stream, and before the first.
    pub itl: Duration,
    /// Where arrival times come from.
    pub clock: ClockSource,
    /// Threads that do nothing but use the CPU meanwhile.
    pub busy: usize,
}

impl Setup {
    /// Events per second that it asks for.
    pub fn offered_per_s(&self) -> f64 {
        self.streams as f64 / self.itl.as_secs_f64()
    }
}

/// What held a run up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Nothing: all that was asked for came.
    Load,
    /// A thread of the client had no CPU time left.
    Client,
    /// The threads of the server had none.
    Server,
    /// Neither, so both waited for cores, or for the kernel.
    Cores,
}

impl Limit {
    /// The limit as one word for files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Client => "client",
            Self::Server => "server",
            Self::Cores => "cores",
        }
    }
}

/// Times from arrival to read, in µs.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LagUs {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

/// One run: what came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// What was asked for.
    pub setup: Setup,
    /// Where arrival times came from in fact.
    pub clock: ClockSource,
    /// Events with output.
    pub events: usize,
    /// Events with output per second, from the first arrival to the last; 0 if there are less than two.
    pub events_per_s: f64,
    /// The client's times beside the server's.
    pub compared: Compared,
    /// CPU time of the busiest thread of the client over the length of the run.
    pub client_cpu: f64,
    /// CPU time of all threads of the client per event, in µs.
    pub client_us_per_event: Option<f64>,
    /// The longest time that a thread of the client could have worked and had no CPU, over the length of the run.
    pub client_run_delay: Option<f64>,
    /// CPU time of the server over the length of the run and its threads, if the system tells.
    pub server_cpu: Option<f64>,
    /// Times from arrival to read; `None` without the kernel's clock.
    pub lag: Option<LagUs>,
    /// Events that share their arrival time with a later event of the same response.
    pub merged: u64,
    /// Reads without a time of the kernel's.
    pub unstamped: u64,
}

impl Case {
    /// The figures of a run with these records.
    ///
    /// `server_cpu` is the CPU time that the server used in the run, over its threads.
    pub fn new(
        setup: Setup,
        records: &[RequestRecord],
        health: &Health,
        compared: Compared,
        server_cpu: Option<Duration>,
    ) -> Self {
        let at = || records.iter().flat_map(|record| record.events.at_ns.iter().copied());
        let span = at().max().unwrap_or(0) - at().min().unwrap_or(0);
        let events = at().count();
        let wall = health.workers.iter().map(|worker| worker.wall).max().unwrap_or_default();
        let share = |part: Duration| {
            if wall.is_zero() { 0.0 } else { part.as_secs_f64() / wall.as_secs_f64() }
        };
        let cpu: Duration = health.workers.iter().map(|worker| worker.cpu).sum();
        let lag = health.lag();
        let us = |ns: u64| ns as f64 / 1e3;
        Self {
            clock: health.clock,
            events,
            events_per_s: if span > 0 { events as f64 / (span as f64 / 1e9) } else { 0.0 },
            compared,
            client_cpu: share(
                health.workers.iter().map(|worker| worker.cpu).max().unwrap_or_default(),
            ),
            client_us_per_event: (events > 0).then(|| cpu.as_secs_f64() * 1e6 / events as f64),
            client_run_delay: health
                .workers
                .iter()
                .filter_map(|worker| worker.run_delay)
                .max()
                .map(share),
            server_cpu: server_cpu.map(share),
            lag: (!lag.is_empty()).then(|| LagUs {
                p50: us(lag.quantile_ns(0.5)),
                p99: us(lag.quantile_ns(0.99)),
                max: us(lag.max_ns()),
            }),
            merged: health.sum(|worker| worker.merged),
            unstamped: health.sum(|worker| worker.unstamped),
            setup,
        }
    }

    /// What held it up.
    pub fn limit(&self) -> Limit {
        let server = self.server_cpu.unwrap_or(0.0);
        if self.events_per_s >= HELD_UP * self.setup.offered_per_s() {
            Limit::Load
        } else if self.client_cpu.max(server) < BUSY {
            Limit::Cores
        } else if self.client_cpu >= server {
            Limit::Client
        } else {
            Limit::Server
        }
    }

    /// Events per second that this host might reach, going by the CPU time that these took.
    pub fn reachable_per_s(&self) -> f64 {
        self.events_per_s / self.client_cpu.max(self.server_cpu.unwrap_or(0.0)).max(0.01)
    }

    /// Whether all went well.
    pub fn clean(&self) -> bool {
        self.compared.failed == 0 && self.compared.unmatched == 0 && self.events > 0
    }

    /// The largest of the 99th percentiles of its errors, in µs.
    pub fn worst_us(&self) -> Option<f64> {
        let errors = self.compared.errors.as_ref()?;
        Some(errors.ttft.p99.max(errors.itl.p99).max(errors.e2e.p99))
    }
}

/// Everything that a self-test found.
#[derive(Debug, Clone, PartialEq)]
pub struct Findings {
    /// The machine and the program.
    pub host: Host,
    /// When, in RFC 3339.
    pub date: String,
    /// Threads of the client.
    pub client_threads: usize,
    /// Threads of the server.
    pub server_threads: usize,
    /// The runs in their order.
    pub cases: Vec<Case>,
}

impl Findings {
    /// The run with the most events per second, others that want the cores apart.
    pub fn fastest(&self) -> Option<&Case> {
        let able = |case: &&Case| case.setup.busy == 0 && case.clock == self.clock();
        self.cases
            .iter()
            .filter(able)
            .filter(|case| case.clean())
            .max_by(|a, b| a.events_per_s.total_cmp(&b.events_per_s))
    }

    /// The clock that a run takes unless told otherwise.
    pub fn clock(&self) -> ClockSource {
        let kernel = |case: &Case| case.clock == ClockSource::Kernel;
        if self.cases.iter().any(kernel) { ClockSource::Kernel } else { ClockSource::User }
    }

    /// What held the events back: in the fastest run or, if that gave all it was asked for, in the next larger one,
    /// which brought no more.
    pub fn limit(&self) -> Limit {
        let Some(fastest) = self.fastest() else { return Limit::Load };
        let larger = |case: &&Case| {
            matches!(case.setup.purpose, Purpose::Errors | Purpose::Events)
                && case.clock == fastest.clock
                && case.setup.streams > fastest.setup.streams
        };
        match fastest.limit() {
            Limit::Load => self
                .cases
                .iter()
                .filter(larger)
                .min_by_key(|case| case.setup.streams)
                .map_or(Limit::Load, Case::limit),
            limit => limit,
        }
    }

    /// Most streams at once of which none failed.
    pub fn streams(&self) -> usize {
        let clean = self.cases.iter().filter(|case| case.clean());
        clean.map(|case| case.setup.streams).max().unwrap_or(0)
    }

    /// The ceilings; `None` if no run went well.
    pub fn ceiling(&self) -> Option<Ceiling> {
        let fastest = self.fastest().filter(|case| case.events_per_s > 0.0)?;
        Some(Ceiling {
            host: self.host.clone(),
            date: self.date.clone(),
            worker_threads: self.client_threads,
            events_per_s: fastest.events_per_s,
            events_at_streams: fastest.setup.streams,
            limit: self.limit().name().to_owned(),
            streams: self.streams(),
        })
    }

    /// The largest 99th percentile of the errors with the clock of a usual run, in µs, the search for the ceilings apart.
    pub fn worst_us(&self) -> Option<f64> {
        self.cases
            .iter()
            .filter(|case| matches!(case.setup.purpose, Purpose::Errors | Purpose::BusyErrors))
            .filter(|case| case.clock == self.clock())
            .filter_map(Case::worst_us)
            .max_by(f64::total_cmp)
    }
}

#[cfg(test)]
mod tests;
