//! Ending a run before its plan is done: first nothing more is sent, then what is in flight is given up.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use mio::{Registry, Token, Waker};

const DRAIN: u8 = 1;
const CANCEL: u8 = 2;

/// The token of what wakes a thread.
pub(super) const WAKE: Token = Token(usize::MAX);

/// A way to end a run from outside.
#[derive(Debug, Default)]
pub struct Stop {
    state: AtomicU8,
    why: Mutex<Option<String>>,
    wakers: Mutex<Vec<Waker>>,
}

impl Stop {
    /// One that has ended nothing.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Has nothing more be sent; the first reason is kept.
    pub fn drain(&self, why: &str) {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| why.into());
        self.raise(DRAIN);
    }

    /// Has what is in flight be given up as well.
    pub fn cancel(&self, why: &str) {
        self.drain(why);
        self.raise(CANCEL);
    }

    /// Why the run was ended, if it was.
    pub fn why(&self) -> Option<String> {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether nothing more is to be sent.
    pub fn is_draining(&self) -> bool {
        self.state.load(Ordering::Acquire) >= DRAIN
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.state.load(Ordering::Acquire) >= CANCEL
    }

    /// Has the thread of `registry` be woken when the run is ended.
    ///
    /// # Errors
    /// If the system has no way left to do so.
    pub(super) fn watch(&self, registry: &Registry) -> std::io::Result<()> {
        let waker = Waker::new(registry, WAKE)?;
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner).push(waker);
        Ok(())
    }

    fn raise(&self, state: u8) {
        self.state.fetch_max(state, Ordering::AcqRel);
        for waker in self.wakers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            // A thread that can not be woken looks by itself in a moment.
            let _ = waker.wake();
        }
    }
}
