//! Waits: for sockets, for due times, and for a coalescing window.

use std::io;
use std::time::Duration;

use mio::Events;

use super::{SPIN, Worker};
use crate::engine::schedule::Claim;

impl Worker {
    /// Waits until a socket has something, or a request is due.
    pub(super) fn wait(&mut self, events: &mut Events) {
        let timeout = match self.next {
            Claim::Until(due) => {
                let now = self.clock.now();
                let left = due.saturating_sub(now);
                if left <= SPIN + Duration::from_millis(1) {
                    // The poll counts whole milliseconds: what is left is slept and spun.
                    self.wait_precisely(due);
                    Duration::ZERO
                } else {
                    let longest = self.longest_sleep();
                    let whole = left.saturating_sub(SPIN).min(longest).as_millis();
                    Duration::from_millis(u64::try_from(whole).unwrap_or(1))
                }
            }
            _ => self.longest_sleep(),
        };
        self.poll(events, timeout);
    }

    /// Returns how long to sleep at most, for the sake of time limits and of what is to be sent again.
    fn longest_sleep(&self) -> Duration {
        let next = [self.retries.next(), self.line.next()];
        self.limits.longest_sleep(self.clock.now(), next.into_iter().flatten())
    }

    /// Looks at the sockets without waiting.
    pub(super) fn look(&mut self, events: &mut Events) {
        self.poll(events, Duration::ZERO);
    }

    fn poll(&mut self, events: &mut Events, timeout: Duration) {
        if let Err(error) = self.poll.poll(events, Some(timeout))
            && error.kind() != io::ErrorKind::Interrupted
        {
            // Nothing can be learnt of the sockets now: not worth a loop without a break.
            std::thread::yield_now();
        }
    }

    /// Waits for a due time that is less than about a millisecond away.
    fn wait_precisely(&self, due: Duration) {
        let left = due.saturating_sub(self.clock.now());
        if !self.shared.options.spin {
            std::thread::sleep(left);
            return;
        }
        if left > SPIN {
            std::thread::sleep(left.saturating_sub(SPIN));
        }
        while self.clock.now() < due {
            std::hint::spin_loop();
        }
    }

    /// Lets data gather for a coalescing window, if that is worth it.
    pub(super) fn coalesce(&mut self) {
        let mean = self.recorder.mean();
        if let Some(window) = self.coalescer.window(self.next, mean, || self.clock.now()) {
            std::thread::sleep(window);
        }
    }
}
