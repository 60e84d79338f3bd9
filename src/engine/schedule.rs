//! Which request may be sent next, and since when: due times and the cap on requests in flight.
//!
//! Knows neither threads nor clocks: callers say what time it is.

use std::time::Duration;

/// The order of the requests of a plan.
pub struct Schedule {
    /// Due times after `upcoming`, rising.
    due: Box<dyn Iterator<Item = Duration> + Send>,
    /// The due time of the request at `next`.
    upcoming: Option<Duration>,
    next: usize,
    /// When nothing is sent any more.
    until: Duration,
    in_flight: usize,
    cap: usize,
    /// When the last request left while the cap was reached.
    freed: Duration,
}

/// What may be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Send the request at `index`, which could have been sent since `released`.
    Send {
        /// Position in the plan.
        index: usize,
        /// Its due time.
        due: Duration,
        /// Its due time or, if the cap held it back, when the cap let it go.
        released: Duration,
    },
    /// Nothing before this instant.
    Until(Duration),
    /// Nothing before a request in flight ends.
    Full,
    /// Nothing any more.
    Over,
}

impl std::fmt::Debug for Schedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Schedule").field("next", &self.next).finish_non_exhaustive()
    }
}

impl Schedule {
    /// A schedule of requests that are due at `due`, which rises, at most `cap` of them in flight.
    pub fn new(due: Vec<Duration>, cap: Option<usize>) -> Self {
        Self::until(due.into_iter(), Duration::MAX, cap)
    }

    /// The same with due times that need not end, of which those before `until` count; nothing is sent after it.
    pub fn until(
        mut due: impl Iterator<Item = Duration> + Send + 'static,
        until: Duration,
        cap: Option<usize>,
    ) -> Self {
        Self {
            upcoming: due.next(),
            due: Box::new(due),
            next: 0,
            until,
            in_flight: 0,
            cap: cap.unwrap_or(usize::MAX).max(1),
            freed: Duration::ZERO,
        }
    }

    /// Claims the next request if it may be sent at `now`; it is in flight from then on.
    pub fn claim(&mut self, now: Duration) -> Claim {
        let Some(due) = self.upcoming.filter(|&due| due < self.until && now < self.until) else {
            return Claim::Over;
        };
        if self.in_flight >= self.cap {
            return Claim::Full;
        }
        if due > now {
            return Claim::Until(due);
        }
        let index = self.next;
        self.upcoming = self.due.next();
        self.next += 1;
        self.in_flight += 1;
        // Whatever was freed before the request was due did not hold it back.
        Claim::Send { index, due, released: due.max(self.freed) }
    }

    /// A request that was in flight ended at `now`.
    pub fn release(&mut self, now: Duration) {
        if self.in_flight >= self.cap {
            self.freed = now;
        }
        self.in_flight = self.in_flight.saturating_sub(1);
    }
}
