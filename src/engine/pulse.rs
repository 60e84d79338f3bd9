//! Whether the program runs at all: a thread that waits for a moment again and again, and looks how long that took.
//!
//! Reads tell little of it: a closed loop that stands still has no reads to be late.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::quota::Quota;
use super::steal::Steal;
use crate::health::Machine;

/// Length of a moment. Each costs some 40 us, with all that the machine does when a thread wakes: at 20 ms it was 1 % of
/// a run, and this is what stops are seen by that are longer than it and `STOP` together.
const BEAT: Duration = Duration::from_millis(100);

/// A moment that takes longer than it should by this is one in which nothing ran.
const STOP: Duration = Duration::from_millis(50);

/// The thread, and what the machine had told when it began.
#[derive(Debug)]
pub(super) struct Pulse {
    /// Dropped to end it.
    end: Sender<()>,
    thread: JoinHandle<Machine>,
    steal: Option<Steal>,
    quota: Option<Quota>,
}

impl Pulse {
    /// Begins to look.
    ///
    /// # Errors
    /// If there can be no thread for it.
    pub(super) fn start() -> io::Result<Self> {
        let (end, ended) = mpsc::channel::<()>();
        // Taken here: the thread may run for the first time only after a stop.
        let (slept_before, mut begun) = (slept(), Instant::now());
        let look = move || {
            let mut machine = Machine::default();
            while ended.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
                let now = Instant::now();
                let late = (now - begun).saturating_sub(BEAT);
                if late >= STOP {
                    machine.add_stop(late);
                }
                begun = now;
            }
            // What stands still at the very end ends with the wait as well.
            let late = begun.elapsed().saturating_sub(BEAT);
            if late >= STOP {
                machine.add_stop(late);
            }
            machine.slept = slept().saturating_sub(slept_before);
            machine
        };
        let thread = std::thread::Builder::new().name("rbench-pulse".to_owned()).spawn(look)?;
        Ok(Self { end, thread, steal: Steal::now(), quota: Quota::now() })
    }

    /// Stops looking, and returns what was seen.
    pub(super) fn stop(self) -> Machine {
        drop(self.end);
        // It does nothing that could panic.
        let machine = self.thread.join().unwrap_or_default();
        Machine {
            steal: self.steal.zip(Steal::now()).and_then(|(then, now)| now.share_since(then)),
            throttled: self.quota.and_then(|then| Quota::now()?.share_since(&then)),
            ..machine
        }
    }
}

/// Returns how long the machine has slept since it was started; 0 where the system does not tell.
fn slept() -> Duration {
    #[cfg(target_os = "linux")]
    {
        use nix::time::{ClockId, clock_gettime};
        let read = |clock| clock_gettime(clock).map(Duration::from);
        if let (Ok(all), Ok(awake)) =
            (read(ClockId::CLOCK_BOOTTIME), read(ClockId::CLOCK_MONOTONIC))
        {
            return all.saturating_sub(awake);
        }
    }
    Duration::ZERO
}
