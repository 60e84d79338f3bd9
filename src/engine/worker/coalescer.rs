//! Coalesces reads: data may gather for a window, so that one wake-up reads many sockets.

use std::time::Duration;

use super::SPIN;
use crate::engine::coalescing::Coalescing;
use crate::engine::schedule::Claim;
use crate::engine::usage;
use crate::engine::window::Window;
use crate::health::WorkerHealth;

/// Windows shorter than this save nothing.
const SHORTEST: Duration = Duration::from_micros(20);

/// When and for how long one worker coalesces reads.
#[derive(Debug)]
pub(super) struct Coalescer {
    window: Window,
    worth: Coalescing,
    /// Windows that were waited for.
    windows: u64,
    /// Whether one was, since the last look at the sockets.
    has_waited: bool,
}

impl Coalescer {
    /// A coalescer whose windows are `longest` at most.
    pub(super) fn new(longest: Duration) -> Self {
        let worth = Coalescing::new(Duration::ZERO, Duration::ZERO);
        Self { window: Window::new(longest), worth, windows: 0, has_waited: false }
    }

    /// Begins to measure what windows are worth, at `now`.
    pub(super) fn begin(&mut self, now: Duration) {
        self.worth = Coalescing::new(now, usage::cpu());
    }

    /// Notes that a stamped read gave `events` events with output.
    #[inline]
    pub(super) fn read(&mut self, events: usize) {
        self.window.read(events);
    }

    /// Returns whether a window was waited for since the last look at the sockets.
    pub(super) fn has_waited(&self) -> bool {
        self.has_waited
    }

    /// Notes that a look after a window found data on `sockets` sockets.
    pub(super) fn gathered(&mut self, sockets: usize) {
        self.worth.gathered(u16::try_from(sockets).unwrap_or(u16::MAX));
    }

    /// Notes that the worker waits for data.
    pub(super) fn waits(&mut self) {
        self.worth.waits();
    }

    /// Judges at `now` what windows are worth, if it is time; `events` were read in all.
    pub(super) fn judge(&mut self, now: Duration, events: u64) {
        if self.worth.is_over(now) {
            self.worth.judge(now, usage::cpu(), events);
        }
    }

    /// Returns how long to wait from `now` before the next look at the sockets, if at all; `mean` is that of the
    /// requests that have ended, and `next` what may be sent.
    pub(super) fn window(
        &mut self,
        next: Claim,
        mean: Option<Duration>,
        now: impl FnOnce() -> Duration,
    ) -> Option<Duration> {
        let length = self.length(next, mean, now);
        self.has_waited = length >= SHORTEST && self.worth.wanted();
        self.windows += u64::from(self.has_waited);
        self.has_waited.then_some(length)
    }

    /// Notes that the next look at the sockets comes without a window before it.
    pub(super) fn pass(&mut self) {
        self.has_waited = false;
    }

    fn length(
        &self,
        next: Claim,
        mean: Option<Duration>,
        now: impl FnOnce() -> Duration,
    ) -> Duration {
        let mut length = self.window.length();
        if next == Claim::Full || next == Claim::Until(Duration::ZERO) {
            // Ends gate sends: the wait takes off at most a thousandth of the load.
            length = mean.map_or(length, |mean| length.min(mean / 1000));
        }
        if let Claim::Until(due) = next {
            length = length.min(due.saturating_sub(now()).saturating_sub(SPIN * 2));
        }
        length
    }

    /// Reports the window at the end and how many were waited for.
    pub(super) fn report(&self, health: &mut WorkerHealth) {
        health.window = self.window.length();
        health.pauses = self.windows;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_end_before_due_times_and_cost_little_of_the_load() {
        let us = Duration::from_micros;
        let coalescer = Coalescer::new(us(500));
        let length = |next, mean| coalescer.length(next, mean, || us(10_000));
        // Nothing is sent any more, so that only the window bounds it.
        assert_eq!(length(Claim::Over, Some(us(1000))), us(500));
        assert_eq!(length(Claim::Full, None), us(500));
        assert_eq!(length(Claim::Full, Some(us(100_000))), us(100));
        assert_eq!(length(Claim::Full, Some(us(900_000_000))), us(500));
        // The last 200 µs before a due time are left out.
        assert_eq!(length(Claim::Until(us(10_600)), Some(us(1))), us(400));
        assert_eq!(length(Claim::Until(us(10_100)), None), us(0));
        assert_eq!(length(Claim::Until(us(90_000)), None), us(500));
    }

    #[test]
    fn a_window_is_counted_if_it_is_waited_for() {
        let us = Duration::from_micros;
        let mut coalescer = Coalescer::new(us(500));
        assert_eq!(coalescer.window(Claim::Over, None, Duration::default), Some(us(500)));
        assert!(coalescer.has_waited());
        coalescer.pass();
        assert!(!coalescer.has_waited());
        assert_eq!(
            coalescer.window(Claim::Until(us(210)), None, Duration::default),
            None,
            "it is too short"
        );
        assert!(!coalescer.has_waited());
        let mut health = WorkerHealth::default();
        coalescer.report(&mut health);
        assert_eq!((health.window, health.pauses), (us(500), 1));
    }
}
