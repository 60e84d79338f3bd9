//! The places in the running batch, and the counters of what ran.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The slots of the engine; a request beyond them waits in line.
#[derive(Debug)]
pub(super) struct Slots {
    free: Arc<Semaphore>,
    all: usize,
    counters: Arc<Counters>,
}

/// What ran so far.
#[derive(Debug, Default)]
struct Counters {
    received: AtomicU64,
    served: AtomicU64,
    running: AtomicUsize,
    peak: AtomicUsize,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    /// Requests that were accepted, whatever became of them.
    pub(super) received: u64,
    /// Requests that were answered in full.
    pub(super) served: u64,
    /// Requests that hold a slot.
    pub(super) running: usize,
    /// The most requests that held a slot at one time.
    pub(super) peak: usize,
}

/// One slot, given back when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    counters: Arc<Counters>,
    // Dropped after the counter went down in `drop`, so that `peak` never exceeds the slots.
    _permit: Option<OwnedSemaphorePermit>,
}

impl Slots {
    pub(super) fn new(n_slots: usize) -> Self {
        let free = Arc::new(Semaphore::new(n_slots.min(Semaphore::MAX_PERMITS)));
        Self { free, all: n_slots, counters: Arc::default() }
    }

    /// Returns how many there are, free or not.
    pub(super) fn all(&self) -> usize {
        self.all
    }

    /// Numbers a new request, from zero, in order of arrival.
    pub(super) fn number(&self) -> u64 {
        self.counters.received.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes a slot, in order of asking.
    pub(super) async fn take(&self) -> Slot {
        // The semaphore is never closed, so there is always a permit.
        let permit = Arc::clone(&self.free).acquire_owned().await.ok();
        let running = self.counters.running.fetch_add(1, Ordering::Relaxed) + 1;
        self.counters.peak.fetch_max(running, Ordering::Relaxed);
        Slot { counters: Arc::clone(&self.counters), _permit: permit }
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            received: self.counters.received.load(Ordering::Relaxed),
            served: self.counters.served.load(Ordering::Relaxed),
            running: self.counters.running.load(Ordering::Relaxed),
            peak: self.counters.peak.load(Ordering::Relaxed),
        }
    }
}

impl Slot {
    /// Gives the slot back, its request being answered in full.
    pub(super) fn finish(self) {
        self.counters.served.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.counters.running.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slot_is_free_again_once_dropped_or_finished() {
        let slots = Slots::new(2);
        let first = slots.take().await;
        let second = slots.take().await;
        assert_eq!(slots.free.available_permits(), 0);
        drop(first);
        second.finish();
        assert_eq!(slots.free.available_permits(), 2);
        let expected = Counts { received: 0, served: 1, running: 0, peak: 2 };
        assert_eq!(slots.counts(), expected);
    }
}
