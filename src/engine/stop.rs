//! Ending a run before its plan is done: nothing more is sent, and what is in flight has a moment to end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mio::{Registry, Token, Waker};

/// The token of what wakes a thread.
pub(super) const WAKE: Token = Token(usize::MAX);

/// A way to end a run from outside.
#[derive(Debug, Default)]
pub struct Stop {
    draining: AtomicBool,
    why: Mutex<Option<String>>,
    wakers: Mutex<Vec<Waker>>,
}

impl Stop {
    /// One that has ended nothing.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Ends sending; the first reason is kept.
    pub fn drain(&self, why: &str) {
        lock(&self.why).get_or_insert_with(|| why.into());
        self.draining.store(true, Ordering::Release);
        for waker in lock(&self.wakers).iter() {
            // A thread that cannot be woken looks by itself in a moment.
            let _ = waker.wake();
        }
    }

    /// Why the run was ended, if it was.
    pub fn why(&self) -> Option<String> {
        lock(&self.why).clone()
    }

    /// Returns whether nothing more is to be sent.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Wakes the thread of `registry` when the run is ended.
    ///
    /// # Errors
    /// If the system has no way left to do so.
    pub(super) fn watch(&self, registry: &Registry) -> std::io::Result<()> {
        let waker = Waker::new(registry, WAKE)?;
        lock(&self.wakers).push(waker);
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
