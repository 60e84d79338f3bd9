//! Servers with fewer workers than there are connections: a worker that serves one connection until it is closed
//! leaves the others waiting, however long, while the requests over its own are answered.
//!
//! To the client a connection that waits so is open, and its request is sent. What shows is that requests which were
//! sent later over kept connections are answered before it. Then a kept connection is closed in place of being kept.
//! If the answer begins at once, the worker had been missing, and the wait is counted. If not, the server has its own
//! reasons to answer others first, and twice as many pass before the next attempt.

use std::collections::VecDeque;
use std::time::Duration;

use slab::Slab;

use super::link::Link;
use crate::health::Times;

/// A request has been passed over when at first so many were answered that were sent after it...
const OVERTAKEN: u32 = 4;

/// ...and it has waited for so long.
const LONG: Duration = Duration::from_millis(100);

/// An answer began at once if no more than so many others ended until then, in less than half of the time before.
const SOON: u32 = 2;

/// Requests to one server that were sent over new connections.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    /// Connection and `sent` of each, in the order in which they were sent; the first has no answer yet,
    /// as far as is known.
    waiting: VecDeque<(usize, Duration)>,
    /// Requests that were sent later than the first over kept connections, and have ended, since the last attempt.
    overtaken: u32,
    /// Attempts in vain for the sake of the first.
    in_vain: u32,
    /// How many those were when a kept connection was closed for the sake of the first, and when that was.
    freed: Option<(u32, Duration)>,
    /// How often that was done.
    tried: u64,
    /// How long those waited for whom it was the remedy.
    waits: Times,
}

impl Crowd {
    /// Notes that a request was sent over a new connection.
    pub(super) fn sent(&mut self, key: usize, sent: Duration) {
        self.waiting.push_back((key, sent));
    }

    /// Notes that the request over `links[key]` is about to end, and judges by that whether the first is passed over.
    pub(super) fn ended(&mut self, key: usize, links: &Slab<Link>) {
        let Some(link) = links.get(key) else { return };
        let Some(sent) = link.in_flight.as_ref().and_then(|in_flight| in_flight.sent) else {
            return;
        };
        while let Some(&(first, since)) = self.waiting.front() {
            let new = links.get(first).filter(|link| !link.is_reused);
            let in_flight = new.and_then(|link| link.in_flight.as_ref());
            let in_flight = in_flight.filter(|in_flight| in_flight.sent == Some(since));
            let headers = in_flight.and_then(|in_flight| in_flight.headers);
            let is_unanswered = new.is_some_and(|link| link.connection.is_unanswered());
            if in_flight.is_none() || headers.is_some() || !is_unanswered {
                if let (Some(headers), Some((before, freed))) = (headers, self.freed)
                    && self.overtaken - before <= SOON
                    && headers.saturating_sub(freed) * 2 <= freed.saturating_sub(since)
                {
                    self.waits.add(headers.saturating_sub(since));
                }
                self.go_on();
                continue;
            }
            if sent <= since {
                return;
            }
            self.overtaken += u32::from(link.is_reused);
            if self.freed.is_some_and(|(before, _)| self.overtaken - before > SOON) {
                (self.overtaken, self.freed) = (0, None);
                self.in_vain += 1;
            }
            return;
        }
    }

    /// Goes on to the next that waits.
    fn go_on(&mut self) {
        self.waiting.pop_front();
        (self.overtaken, self.in_vain, self.freed) = (0, 0, None);
    }

    /// Returns whether a kept connection is to be closed at `now` so that the first that waits can be served; `ends` is
    /// whether nothing is left to send over it.
    pub(super) fn wants_room(&mut self, now: Duration, ends: bool) -> bool {
        let Some(&(_, since)) = self.waiting.front() else { return false };
        let is_long = now.saturating_sub(since) >= LONG;
        let wanted = OVERTAKEN.saturating_mul(1 << self.in_vain.min(16));
        if self.overtaken >= wanted && is_long && self.freed.is_none() {
            self.freed = Some((self.overtaken, now));
            self.tried += 1;
            return true;
        }
        ends
    }

    /// Returns how long requests waited for a worker, unless closing kept connections helped less than every second
    /// time.
    pub(super) fn into_waits(self) -> Times {
        if self.waits.len() * 2 < self.tried { Times::default() } else { self.waits }
    }
}
