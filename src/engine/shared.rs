//! What the workers of a run share.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::schedule::{Claim, Schedule};
use super::source::Source;
use super::{Balance, Options};
use crate::engine::progress::Progress;
use crate::engine::transport::Endpoint;
use crate::health::ClockSource;

/// What the workers of a run share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) source: Arc<dyn Source>,
    pub(super) schedule: Mutex<Schedule>,
    /// At least one.
    pub(super) servers: Vec<Server>,
    pub(super) progress: Arc<Progress>,
    pub(super) options: Options,
    pub(super) clock: ClockSource,
    /// Requests that failed so far.
    pub(super) failed: AtomicU64,
}

/// A server of the run.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) endpoint: Arc<Endpoint>,
    /// Requests in flight there.
    busy: Busy,
}

/// A count on a cache line of its own: all workers write to it, while each read looks at the endpoint beside it.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Busy(AtomicUsize);

impl Server {
    /// A server that no request is in flight at.
    pub(super) fn new(endpoint: Arc<Endpoint>) -> Self {
        Self { endpoint, busy: Busy::default() }
    }
}

impl Shared {
    /// Returns what may be sent at `now`.
    pub(super) fn claim(&self, now: Duration) -> Claim {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner).claim(now)
    }

    /// Frees the place of a request under the cap, at `now`.
    pub(super) fn release(&self, now: Duration) {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner).release(now);
    }

    /// The index of the server for attempt `attempt`, from 1, of the request at `index`, which enters it.
    pub(super) fn choose(&self, index: usize, attempt: u32) -> usize {
        let busy = |at: &usize| self.servers[*at].busy.0.load(Ordering::Relaxed);
        let turn = index.wrapping_add(attempt as usize - 1) % self.servers.len();
        let chosen = match self.options.balance {
            Balance::RoundRobin => turn,
            // Of several the one whose turn it is, or the next.
            Balance::LeastInFlight => {
                let all = self.servers.len();
                (0..all).map(|i| (turn + i) % all).min_by_key(busy).unwrap_or(turn)
            }
        };
        self.enter(chosen);
        chosen
    }

    /// Counts one request more in flight at the server at `at`.
    pub(super) fn enter(&self, at: usize) {
        self.servers[at].busy.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one request less in flight at the server at `at`.
    pub(super) fn leave(&self, at: usize) {
        self.servers[at].busy.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts a failure, and ends the run if there were too many.
    pub(super) fn count_failure(&self) {
        let failed = self.failed.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(most) = self.options.max_errors
            && failed > most
        {
            let requests = if most == 1 { "request" } else { "requests" };
            self.options.stop.drain(&format!("more than {most} {requests} failed (--max-errors)"));
        }
    }
}
