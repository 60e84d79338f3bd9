//! The last line of a run, and back.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::End;
use super::header::clock;
use super::line::Ns;
use crate::engine::system::Spent;
use crate::health::{Health, Lag, LagSecond, Machine, Times, WorkerHealth};

/// The line as it is written.
#[derive(Serialize, Deserialize)]
pub(super) struct EndLine {
    /// Rows of the run.
    rbench_end: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    partial: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    memory: Option<Memory>,
    clock: String,
    threads: Vec<Worker>,
    #[serde(default)]
    machine: MachineLine,
    server_info_time_ns: Ns,
    server_info: Option<Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    failed_calls: Vec<String>,
}

/// What the machine kept from the client.
#[derive(Default, Serialize, Deserialize)]
struct MachineLine {
    stops: u64,
    stopped_ns: Ns,
    longest_stop_ns: Ns,
    slept_ns: Ns,
    steal: Option<f64>,
    throttled: Option<f64>,
}

impl From<Machine> for MachineLine {
    fn from(machine: Machine) -> Self {
        let Machine { stops, stopped, longest_stop, slept, steal, throttled } = machine;
        Self {
            stops,
            stopped_ns: stopped.into(),
            longest_stop_ns: longest_stop.into(),
            slept_ns: slept.into(),
            steal,
            throttled,
        }
    }
}

impl From<MachineLine> for Machine {
    fn from(line: MachineLine) -> Self {
        Self {
            stops: line.stops,
            stopped: line.stopped_ns.into(),
            longest_stop: line.longest_stop_ns.into(),
            slept: line.slept_ns.into(),
            steal: line.steal,
            throttled: line.throttled,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Memory {
    budget_bytes: u64,
    cut: u64,
    uncounted: u64,
}

#[derive(Serialize, Deserialize)]
struct Worker {
    reads: u64,
    unstamped: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    held: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    gathered: u64,
    #[serde(default)]
    held_longest_ns: Ns,
    events: u64,
    merged: u64,
    bytes: u64,
    connections_ahead: u64,
    connections: u64,
    /// Absent where all speak HTTP/1.1.
    #[serde(default, skip_serializing_if = "is_zero")]
    http2_connections: u64,
    window_ns: Ns,
    pauses: u64,
    in_flight_ns: Ns,
    #[serde(default)]
    unseen_ns: Ns,
    cpu_ns: Ns,
    run_delay_ns: Option<Ns>,
    wall_ns: Ns,
    clock_error_ns: u64,
    clock_moved_ns: u64,
    /// Pairs of a time in ns and how many had it; so are the next two.
    connecting: Vec<(u64, u64)>,
    tls: Vec<(u64, u64)>,
    /// Absent where there always was what connections need.
    #[serde(default, skip_serializing_if = "is_zero")]
    exhausted: u64,
    /// Absent where nothing was left waiting.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    left_waiting: Vec<(u64, u64)>,
    lag: Vec<(u64, u64)>,
    /// Second, reads, p50, p99 and max in ns.
    lag_seconds: Vec<[u64; 5]>,
}

impl EndLine {
    /// The line of a run with `rows` rows.
    pub(super) fn new(end: &End, rows: u64) -> Self {
        Self {
            rbench_end: rows,
            partial: end.partial.clone(),
            memory: end.memory.map(|Spent { most, cut, uncounted }| Memory {
                budget_bytes: most,
                cut,
                uncounted,
            }),
            clock: end.health.clock.name().to_owned(),
            threads: end.health.workers.iter().map(worker).collect(),
            machine: end.health.machine.into(),
            server_info_time_ns: end.server_info_time.into(),
            server_info: end.server_info.clone(),
            failed_calls: end.failed_calls.clone(),
        }
    }

    /// Rows of the run.
    pub(super) fn rows(&self) -> u64 {
        self.rbench_end
    }

    /// Returns what the line tells.
    ///
    /// # Errors
    /// If it does not fit together; the message says how.
    pub(super) fn end(self) -> Result<End, String> {
        let clock = clock(&self.clock)?;
        Ok(End {
            health: Health {
                clock,
                workers: self.threads.into_iter().map(health).collect(),
                machine: self.machine.into(),
            },
            server_info: self.server_info,
            server_info_time: self.server_info_time_ns.into(),
            failed_calls: self.failed_calls,
            partial: self.partial,
            memory: self.memory.map(|memory| Spent {
                most: memory.budget_bytes,
                cut: memory.cut,
                uncounted: memory.uncounted,
            }),
        })
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands on references")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

fn worker(health: &WorkerHealth) -> Worker {
    // Every field is named, so that a new one is not forgotten here.
    let WorkerHealth {
        lag,
        reads,
        unstamped,
        held,
        gathered,
        held_longest,
        events,
        merged,
        bytes,
        connections_ahead,
        connections,
        http2_connections,
        connecting,
        tls,
        left_waiting,
        exhausted,
        window,
        pauses,
        in_flight,
        unseen,
        cpu,
        run_delay,
        wall,
        clock_error_ns,
        clock_moved_ns,
    } = health;
    let second = |second: &LagSecond| {
        [second.second, second.reads, second.p50_ns, second.p99_ns, second.max_ns]
    };
    Worker {
        reads: *reads,
        unstamped: *unstamped,
        held: *held,
        gathered: *gathered,
        held_longest_ns: (*held_longest).into(),
        events: *events,
        merged: *merged,
        bytes: *bytes,
        connections_ahead: *connections_ahead,
        connections: *connections,
        http2_connections: *http2_connections,
        window_ns: (*window).into(),
        pauses: *pauses,
        in_flight_ns: (*in_flight).into(),
        unseen_ns: (*unseen).into(),
        cpu_ns: (*cpu).into(),
        run_delay_ns: run_delay.map(Ns::from),
        wall_ns: (*wall).into(),
        clock_error_ns: *clock_error_ns,
        clock_moved_ns: *clock_moved_ns,
        connecting: connecting.counts(),
        tls: tls.counts(),
        left_waiting: left_waiting.counts(),
        exhausted: *exhausted,
        lag: lag.counts(),
        lag_seconds: lag.seconds.iter().map(second).collect(),
    }
}

fn health(worker: Worker) -> WorkerHealth {
    let second = |[second, reads, p50_ns, p99_ns, max_ns]: [u64; 5]| LagSecond {
        second,
        reads,
        p50_ns,
        p99_ns,
        max_ns,
    };
    WorkerHealth {
        lag: Lag::from_parts(&worker.lag, worker.lag_seconds.into_iter().map(second).collect()),
        reads: worker.reads,
        unstamped: worker.unstamped,
        held: worker.held,
        gathered: worker.gathered,
        held_longest: worker.held_longest_ns.into(),
        events: worker.events,
        merged: worker.merged,
        bytes: worker.bytes,
        connections_ahead: worker.connections_ahead,
        connections: worker.connections,
        http2_connections: worker.http2_connections,
        connecting: Times::from_counts(&worker.connecting),
        tls: Times::from_counts(&worker.tls),
        exhausted: worker.exhausted,
        left_waiting: Times::from_counts(&worker.left_waiting),
        window: worker.window_ns.into(),
        pauses: worker.pauses,
        in_flight: worker.in_flight_ns.into(),
        unseen: worker.unseen_ns.into(),
        cpu: worker.cpu_ns.into(),
        run_delay: worker.run_delay_ns.map(Into::into),
        wall: worker.wall_ns.into(),
        clock_error_ns: worker.clock_error_ns,
        clock_moved_ns: worker.clock_moved_ns,
    }
}
