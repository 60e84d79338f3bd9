//! Waiting: for sockets, for due times, and on purpose.

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
                    let longest = self.longest_wait();
                    let whole = left.saturating_sub(SPIN).min(longest).as_millis();
                    Duration::from_millis(u64::try_from(whole).unwrap_or(1))
                }
            }
            _ => self.longest_wait(),
        };
        self.poll(events, timeout);
    }

    /// Looks at the sockets without waiting.
    pub(super) fn look(&mut self, events: &mut Events) {
        self.poll(events, Duration::ZERO);
    }

    fn poll(&mut self, events: &mut Events, timeout: Duration) {
        if let Err(error) = self.poll.poll(events, Some(timeout))
            && error.kind() != io::ErrorKind::Interrupted
        {
            // Nothing can be learnt of the sockets now: not worth a loop without a pause.
            std::thread::yield_now();
        }
    }

    /// Waits for a due time that is less than about a millisecond away.
    pub(super) fn wait_precisely(&self, due: Duration) {
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

    /// Lets data gather, so that the next look at the poll finds several sockets; whether that was worth it.
    pub(super) fn pause(&mut self) -> bool {
        let mut length = self.window.length();
        if self.next == Claim::Full || self.next == Claim::Until(Duration::ZERO) {
            // Ends gate sends: the wait takes off at most a thousandth of the load.
            let (requests, sum) = self.ended;
            length = if requests == 0 { length } else { length.min(sum / requests / 1000) };
        }
        if let Claim::Until(due) = self.next {
            length = length.min(due.saturating_sub(self.clock.now()).saturating_sub(SPIN * 2));
        }
        if length < Duration::from_micros(20) || !self.coalescing.wanted() {
            return false;
        }
        self.health.pauses += 1;
        std::thread::sleep(length);
        true
    }
}
