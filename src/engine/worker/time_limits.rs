//! When to look at the clock for the sake of time limits: of requests, of bodies that do not end, and of the run's end.

use std::time::Duration;

use super::link::Link;
use super::pool::Pool;
use crate::engine::timeouts::Limits;
use crate::model::Failure;

/// Longest sleep: how often time limits are looked at.
pub(super) const SWEEP: Duration = Duration::from_millis(500);

/// How long the end of a body is waited for whose answer is whole: servers nearly always send it at once, and the
/// connection can then be used again. A body that never ends holds its place under the cap for no longer, and with each
/// that its server does not end in time for half as long, down to the second of the two.
const TRAILING: Duration = Duration::from_millis(100);
const TRAILING_LEAST: Duration = Duration::from_millis(2);

/// The time limits of one worker.
#[derive(Debug)]
pub(super) struct TimeLimits {
    limits: Limits,
    /// How often to look at them.
    interval: Duration,
    /// When they were looked at last.
    swept: Duration,
    /// When what is in flight is given up, once the run is to end.
    deadline: Option<Duration>,
    /// Connections whose answer is whole and whose body has not ended, and until when that is waited for; some of them
    /// have ended since.
    trailing: Vec<(Duration, usize)>,
    /// How long it is waited for, by server.
    trails: Vec<Duration>,
}

impl TimeLimits {
    /// Nothing is in flight yet to any of `servers` servers.
    pub(super) fn new(limits: Limits, servers: usize) -> Self {
        Self {
            limits,
            interval: limits.interval(SWEEP),
            swept: Duration::ZERO,
            deadline: None,
            trailing: Vec::new(),
            trails: vec![TRAILING; servers],
        }
    }

    /// Begins the run at `now`.
    pub(super) fn begin(&mut self, now: Duration) {
        self.swept = now;
    }

    /// Returns whether to look at the limits at `now`; if so, the next look is an interval later.
    pub(super) fn is_due(&mut self, now: Duration) -> bool {
        let is_due = now.saturating_sub(self.swept) >= self.interval;
        if is_due {
            self.swept = now;
        }
        is_due
    }

    /// The connections that have passed a limit at `now`, and the failures of the requests on them.
    pub(super) fn passed(&self, pool: &Pool, now: Duration) -> Vec<(usize, Option<Failure>)> {
        let passed = |(key, link): (usize, &Link)| {
            if let Some(in_flight) = &link.in_flight {
                let failure = self.limits.passed(in_flight.waiting(), now)?;
                return Some((key, Some(in_flight.locate(failure))));
            }
            // Opened for nobody yet.
            let late = self.limits.connect.is_some_and(|limit| link.connection.age() > limit);
            (late && !link.connection.is_open()).then_some((key, None))
        };
        pool.links.iter().filter_map(passed).collect()
    }

    /// Waits, from `now`, for the end of the body on the connection `key` to the server `endpoint`, whose answer is whole.
    pub(super) fn await_end(&mut self, key: usize, endpoint: usize, now: Duration) {
        if !self.trailing.iter().any(|&(_, noted)| noted == key) {
            self.trailing.push((now + self.trails[endpoint], key));
        }
    }

    /// Notes that the server `endpoint` has ended a body.
    #[inline]
    pub(super) fn ended(&mut self, endpoint: usize) {
        self.trails[endpoint] = TRAILING;
    }

    /// Notes that the server `endpoint` has not ended a body in time.
    pub(super) fn not_ended(&mut self, endpoint: usize) {
        let wait = &mut self.trails[endpoint];
        *wait = (*wait / 2).max(TRAILING_LEAST);
    }

    /// The connections on which the end of a body was waited for until `now`; their places may be others' since.
    pub(super) fn take_trailing(&mut self, now: Duration) -> Vec<usize> {
        if self.trailing.is_empty() {
            return Vec::new();
        }
        let over = self.trailing.extract_if(.., |&mut (until, _)| until <= now);
        over.map(|(_, key)| key).collect()
    }

    /// Returns whether the grace of a run that is to end since `now` or before is over.
    pub(super) fn grace_is_over(&mut self, now: Duration) -> bool {
        now >= *self.deadline.get_or_insert(now + self.limits.grace)
    }

    /// Returns how long a worker may sleep at `now` at most, where others are to be looked at by `next`.
    pub(super) fn longest_sleep(
        &self,
        now: Duration,
        next: impl IntoIterator<Item = Duration>,
    ) -> Duration {
        let trailing = self.trailing.iter().map(|&(until, _)| until);
        let next = next.into_iter().chain(trailing).chain(self.deadline).min();
        next.map_or(self.interval, |at| at.saturating_sub(now).min(self.interval))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn limits() -> TimeLimits {
        let limits = Limits { idle: Some(ms(800)), grace: ms(50), ..Limits::default() };
        TimeLimits::new(limits, 2)
    }

    #[test]
    fn limits_are_looked_at_a_quarter_of_the_shortest_apart() {
        let mut limits = limits();
        limits.begin(ms(1000));
        let due = [1100, 1200, 1300, 1400].map(|at| limits.is_due(ms(at)));
        assert_eq!(due, [false, true, false, true]);
        assert_eq!(limits.longest_sleep(ms(1400), []), ms(200));
        assert_eq!(limits.longest_sleep(ms(1400), [ms(1500), ms(1430)]), ms(30));
        assert_eq!(limits.longest_sleep(ms(1400), [ms(1300)]), ms(0));
    }

    #[test]
    fn servers_that_end_no_body_are_waited_for_less_and_less() {
        let mut limits = limits();
        limits.await_end(7, 0, ms(0));
        // It is noted once.
        limits.await_end(7, 0, ms(60));
        assert_eq!(limits.longest_sleep(ms(0), []), TRAILING);
        assert!(limits.take_trailing(ms(99)).is_empty());
        assert_eq!(limits.take_trailing(ms(100)), [7]);
        assert!(limits.take_trailing(ms(1000)).is_empty());
        for _ in 0..20 {
            limits.not_ended(0);
        }
        limits.await_end(8, 0, ms(1000));
        limits.await_end(9, 1, ms(1000));
        assert_eq!(limits.take_trailing(ms(1002)), [8]);
        limits.ended(0);
        limits.await_end(8, 0, ms(2000));
        assert_eq!(limits.longest_sleep(ms(2000), []), ms(0), "9 is late");
        assert_eq!(limits.take_trailing(ms(2099)), [9]);
        assert_eq!(limits.take_trailing(ms(2100)), [8]);
    }

    #[test]
    fn the_grace_begins_once() {
        let mut limits = limits();
        let over = [1000, 1040, 1050].map(|at| limits.grace_is_over(ms(at)));
        assert_eq!(over, [false, false, true]);
        assert_eq!(limits.longest_sleep(ms(1020), []), ms(30));
    }
}
