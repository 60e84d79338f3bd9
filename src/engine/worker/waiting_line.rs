//! Requests that wait for what the system has run out of: a file descriptor or a local port for one more connection.
//!
//! A request that finds none waits in line until one is free, as it would for any connection, and fails when
//! `--connect-timeout` has passed.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use nix::errno::Errno;

use crate::engine::in_flight::InFlight;
use crate::health::WorkerHealth;
use crate::model::{Failure, FailureKind, Phase};

/// How often it is tried again while no connection of this worker is closed.
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

/// Returns what `error`, of opening a connection, says that there is none of; `has_connected` is whether another one
/// was opened.
pub(super) fn shortage(error: &io::Error, has_connected: bool) -> Option<Shortage> {
    match Errno::from_raw(error.raw_os_error()?) {
        Errno::EMFILE | Errno::ENFILE => Some(DESCRIPTORS),
        Errno::ENOBUFS | Errno::ENOMEM => Some(MEMORY),
        // Said of addresses as well that this machine cannot reach at all.
        Errno::EADDRNOTAVAIL if has_connected => Some(PORTS),
        _ => None,
    }
}

/// Names what there was none of in a failure to open a connection in time.
pub(super) fn explain(failure: Failure, (what, advice): Shortage) -> Failure {
    if failure.kind != FailureKind::ConnectTimeout {
        return failure;
    }
    let message = format!("{}, for want of a {what}: {advice}", failure.message);
    Failure::new(FailureKind::Exhausted, Phase::Connect, message)
}

/// Requests that wait in line.
#[derive(Debug, Default)]
pub(super) struct WaitingLine {
    requests: VecDeque<(Box<InFlight>, Shortage)>,
    /// When the first is tried again at the latest.
    again: Duration,
    /// Connections of this worker when it was tried last.
    links: usize,
    /// Requests that have waited.
    joined: u64,
}

impl WaitingLine {
    /// Returns whether no request waits.
    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// When the first is tried again at the latest, if there is one.
    pub(super) fn next(&self) -> Option<Duration> {
        (!self.is_empty()).then_some(self.again)
    }

    /// Puts a request at the end of the line, at `now`, when this worker has `links` connections.
    pub(super) fn join(
        &mut self,
        in_flight: Box<InFlight>,
        shortage: Shortage,
        now: Duration,
        links: usize,
    ) {
        self.joined += 1;
        if self.is_empty() {
            self.again = now + AGAIN;
            self.links = links;
        }
        self.requests.push_back((in_flight, shortage));
    }

    /// Puts a request behind those in line; returns it if there is no line.
    pub(super) fn wait_behind(&mut self, in_flight: Box<InFlight>) -> Option<Box<InFlight>> {
        match self.requests.back() {
            Some(&(_, shortage)) => {
                self.joined += 1;
                self.requests.push_back((in_flight, shortage));
                None
            }
            None => Some(in_flight),
        }
    }

    /// Returns whether the first may find what it waits for at `now`, when this worker has `links` connections.
    pub(super) fn may_move(&self, now: Duration, links: usize) -> bool {
        !self.is_empty() && (now >= self.again || links < self.links)
    }

    /// Takes out all that wait.
    pub(super) fn take(&mut self) -> VecDeque<(Box<InFlight>, Shortage)> {
        std::mem::take(&mut self.requests)
    }

    /// The request that joined a line that [`Self::take`] had emptied, which has waited before.
    pub(super) fn take_back(&mut self) -> Option<(Box<InFlight>, Shortage)> {
        let back = self.requests.pop_front()?;
        self.joined -= 1;
        Some(back)
    }

    /// Puts back, before all that joined since, what [`Self::take`] took and found nothing at `now`, when this worker has
    /// `links` connections.
    pub(super) fn put_back(
        &mut self,
        mut requests: VecDeque<(Box<InFlight>, Shortage)>,
        now: Duration,
        links: usize,
    ) {
        requests.append(&mut self.requests);
        (self.requests, self.again, self.links) = (requests, now + AGAIN, links);
    }

    /// Reports how many requests have waited.
    pub(super) fn report(&self, health: &mut WorkerHealth) {
        health.exhausted = self.joined;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::in_flight::tests::in_flight;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn shortages_are_told_from_other_failures() {
        let of = |errno: Errno, has_connected| {
            shortage(&io::Error::from(errno), has_connected).map(|(what, _)| what)
        };
        assert_eq!(of(Errno::EMFILE, false), Some("file descriptor"));
        assert_eq!(of(Errno::ENOBUFS, false), Some("memory for a socket"));
        assert_eq!(of(Errno::EADDRNOTAVAIL, true), Some("local port"));
        assert_eq!(of(Errno::EADDRNOTAVAIL, false), None, "the address is wrong");
        assert_eq!(of(Errno::ECONNREFUSED, true), None);
    }

    #[test]
    fn requests_keep_their_order_and_count_once() {
        let mut line = WaitingLine::default();
        let alone = line.wait_behind(in_flight(0, ms(0)));
        line.join(alone.unwrap(), DESCRIPTORS, ms(0), 5);
        assert!(line.wait_behind(in_flight(1, ms(0))).is_none());
        assert_eq!(line.next(), Some(AGAIN));
        assert!(!line.may_move(ms(10), 5));
        assert!(line.may_move(ms(10), 4), "a connection was closed");
        assert!(line.may_move(ms(20), 5), "another program may have closed one");
        // The first finds nothing again, and one more comes meanwhile.
        let mut taken = line.take();
        let (first, shortage) = taken.pop_front().unwrap();
        line.join(first, shortage, ms(20), 5);
        taken.push_front(line.take_back().unwrap());
        line.join(in_flight(2, ms(20)), shortage, ms(20), 5);
        line.put_back(taken, ms(20), 5);
        assert_eq!(line.next(), Some(ms(40)));
        let order: Vec<usize> =
            line.take().into_iter().map(|(in_flight, _)| in_flight.request.index).collect();
        assert_eq!(order, [0, 1, 2]);
        let mut health = WorkerHealth::default();
        line.report(&mut health);
        assert_eq!(health.exhausted, 3);
    }
}
