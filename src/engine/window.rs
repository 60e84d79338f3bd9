//! How long a thread lets data wait so that one wake-up reads many sockets.
//!
//! Only with the kernel's stamps, which make the wait harmless to arrival times, with one exception:
//! of events that one read gives together only the last has its own time. So the window shrinks when that happens.

use std::time::Duration;

/// The longest window unless the user says otherwise.
pub const DEFAULT: Duration = Duration::from_micros(500);

/// Windows shorter than this save nothing.
const SHORTEST: Duration = Duration::from_micros(50);

/// Reads between two looks at what the window does.
const READS: u32 = 512;

/// The window of one thread.
#[derive(Debug)]
pub(super) struct Window {
    longest: Duration,
    current: Duration,
    reads: u32,
    merged: u32,
}

impl Window {
    /// A window of at most `longest`; zero reads at once.
    pub(super) fn new(longest: Duration) -> Self {
        Self { longest, current: longest, reads: 0, merged: 0 }
    }

    /// Returns how long to wait.
    pub(super) fn length(&self) -> Duration {
        self.current
    }

    /// A read gave `events` events with output.
    pub(super) fn read(&mut self, events: usize) {
        self.reads += 1;
        self.merged += u32::from(events > 1);
        if self.reads < READS {
            return;
        }
        // More than one read in 64 blurs: halve. Less than one in 512: try a longer one.
        if self.merged > READS / 64 {
            self.current /= 2;
            if self.current < SHORTEST {
                self.current = Duration::ZERO;
            }
        } else if self.merged <= 1 {
            self.current = (self.current * 2).max(SHORTEST).min(self.longest);
        }
        (self.reads, self.merged) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(window: &mut Window, events: usize, reads: usize) -> Duration {
        for _ in 0..reads {
            window.read(events);
        }
        window.length()
    }

    #[test]
    fn shrinks_while_reads_give_several_events_and_grows_again() {
        let mut window = Window::new(DEFAULT);
        assert_eq!(after(&mut window, 1, 5120), DEFAULT);
        assert_eq!(after(&mut window, 2, 512), DEFAULT / 2);
        assert_eq!(after(&mut window, 2, 5120), Duration::ZERO);
        assert_eq!(after(&mut window, 1, 512), SHORTEST);
        assert_eq!(after(&mut window, 0, 5120), DEFAULT);
    }

    #[test]
    fn zero_stays_zero() {
        let mut window = Window::new(Duration::ZERO);
        assert_eq!(after(&mut window, 1, 5000), Duration::ZERO);
    }
}
