//! Waiting for what the system has run out of: a file descriptor or a local port for one more connection.
//!
//! A request that finds none waits in line until one is free, as it would for any connection, and fails when
//! `--connect-timeout` has passed.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use nix::errno::Errno;

use super::Worker;
use crate::engine::in_flight::InFlight;
use crate::model::{Failure, FailureKind, Phase};

/// How often it is tried again while no connection of this thread is closed.
const AGAIN: Duration = Duration::from_millis(20);

/// What there is none of, and what to do about it.
pub(super) type Shortage = (&'static str, &'static str);

const DESCRIPTORS: Shortage =
    ("file descriptor", "raise the limit (ulimit -n), or set --max-concurrency to less");
const PORTS: Shortage = (
    "local port",
    "set --max-concurrency to less, name more addresses of the server, or widen net.ipv4.ip_local_port_range",
);
const MEMORY: Shortage = ("memory for a socket", "set --max-concurrency to less");

/// Requests that wait in line.
#[derive(Debug, Default)]
pub(super) struct Line {
    requests: VecDeque<(Box<InFlight>, Shortage)>,
    /// When the first is tried again at the latest.
    again: Duration,
    /// Connections of this thread when it was tried last.
    links: usize,
}

impl Line {
    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// When the first is tried again at the latest, if there is one.
    pub(super) fn again(&self) -> Option<Duration> {
        (!self.is_empty()).then_some(self.again)
    }
}

impl Worker {
    /// What `error`, of opening a connection, says that there is none of.
    pub(super) fn shortage(&self, error: &io::Error) -> Option<Shortage> {
        match Errno::from_raw(error.raw_os_error()?) {
            Errno::EMFILE | Errno::ENFILE => Some(DESCRIPTORS),
            Errno::ENOBUFS | Errno::ENOMEM => Some(MEMORY),
            // Said of addresses as well that this machine cannot reach at all.
            Errno::EADDRNOTAVAIL if !self.health.connecting.is_empty() => Some(PORTS),
            _ => None,
        }
    }

    /// Closes a connection that is idle, to any server; whether there was one.
    pub(super) fn close_idle(&mut self) -> bool {
        let key = self.idle.iter_mut().find_map(Vec::pop);
        key.is_some_and(|key| self.links.try_remove(key).is_some())
    }

    /// Puts a request at the end of the line.
    pub(super) fn line_up(&mut self, in_flight: Box<InFlight>, shortage: Shortage) {
        self.health.exhausted += 1;
        if self.line.is_empty() {
            self.line.again = self.clock.now() + AGAIN;
            self.line.links = self.links.len();
        }
        self.line.requests.push_back((in_flight, shortage));
    }

    /// Has a request wait behind those in line, if there is a line.
    pub(super) fn wait_in_line(&mut self, in_flight: Box<InFlight>) -> Option<Box<InFlight>> {
        match self.line.requests.back() {
            Some(&(_, shortage)) => {
                self.line_up(in_flight, shortage);
                None
            }
            None => Some(in_flight),
        }
    }

    /// Tries again to open connections for those in line, if that may go well now.
    pub(super) fn connect_again(&mut self) {
        let now = self.clock.now();
        let Line { requests, again, links } = &self.line;
        if requests.is_empty() || (now < *again && self.links.len() >= *links) {
            return;
        }
        let mut line = std::mem::take(&mut self.line.requests);
        while let Some((in_flight, shortage)) = line.pop_front() {
            if let Some(failure) = self.shared.options.limits.passed(in_flight.waiting(), now) {
                let failure = explain(in_flight.locate(failure), shortage);
                self.conclude(in_flight, &failure);
                continue;
            }
            let endpoint = in_flight.endpoint;
            if let Err((Some(in_flight), failure)) = self.connect(Some(in_flight), endpoint, 0) {
                self.conclude(in_flight, &failure);
            }
            if let Some(first) = self.line.requests.pop_front() {
                // Counted already.
                self.health.exhausted -= 1;
                line.push_front(first);
                break;
            }
        }
        line.append(&mut self.line.requests);
        self.line = Line { requests: line, again: now + AGAIN, links: self.links.len() };
    }

    /// Gives up those in line, since the run is to end.
    pub(super) fn give_up_line(&mut self) {
        let now = self.clock.now();
        for (in_flight, _) in std::mem::take(&mut self.line.requests) {
            self.give_up(in_flight, now);
        }
    }
}

/// Names what there was none of in a failure to open a connection in time.
fn explain(failure: Failure, (what, advice): Shortage) -> Failure {
    if failure.kind != FailureKind::ConnectTimeout {
        return failure;
    }
    let message = format!("{}, for want of a {what}: {advice}", failure.message);
    Failure::new(FailureKind::Exhausted, Phase::Connect, message)
}
