//! A channel whose senders never wait and whose backlog is bounded in bytes: what does not fit is left out and counted.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, RecvError, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What both ends know.
#[derive(Debug)]
struct Shared {
    /// Most bytes that may wait; a single thing may be larger, if nothing else waits.
    limit: u64,
    /// Bytes that wait, or are worked on.
    pending: AtomicU64,
    left_out: AtomicU64,
    /// Request and round of what was left out, as far as anybody can still make up for it.
    missed: Mutex<Vec<(usize, usize)>>,
}

/// The end that sends.
pub struct Outbox<T> {
    sender: mpsc::Sender<(T, u64)>,
    shared: Arc<Shared>,
}

/// The end that receives.
#[derive(Debug)]
pub struct Inbox<T> {
    receiver: mpsc::Receiver<(T, u64)>,
    shared: Arc<Shared>,
    /// Bytes that were received and are worked on.
    held: u64,
}

/// What waits between the two ends.
#[derive(Debug, Clone)]
pub struct Backlog(Arc<Shared>);

/// A channel on which at most `limit` bytes wait.
pub fn bounded<T>(limit: u64) -> (Outbox<T>, Inbox<T>) {
    let (sender, receiver) = mpsc::channel();
    let [pending, left_out] = std::array::from_fn(|_| AtomicU64::new(0));
    let missed = Mutex::default();
    let shared = Arc::new(Shared { limit, pending, left_out, missed });
    (Outbox { sender, shared: shared.clone() }, Inbox { receiver, shared, held: 0 })
}

impl<T> Clone for Outbox<T> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), shared: self.shared.clone() }
    }
}

impl<T> fmt::Debug for Outbox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("shared", &self.shared).finish_non_exhaustive()
    }
}

impl<T> Outbox<T> {
    /// Sends what `make` makes, which takes `bytes` bytes; `false` if there is no room, which is counted.
    pub fn offer(&self, bytes: u64, make: impl FnOnce() -> T) -> bool {
        let waiting = self.shared.pending.load(Relaxed);
        if waiting > 0 && waiting.saturating_add(bytes) > self.shared.limit {
            self.shared.left_out.fetch_add(1, Relaxed);
            return false;
        }
        self.push(bytes, make());
        true
    }

    /// Sends `thing`, which takes `bytes` bytes, whatever waits.
    pub fn push(&self, bytes: u64, thing: T) {
        self.shared.pending.fetch_add(bytes, Relaxed);
        if self.sender.send((thing, bytes)).is_err() {
            // Whoever stopped to listen has told why.
            self.shared.pending.fetch_sub(bytes, Relaxed);
        }
    }

    /// Whether a thing of `bytes` bytes has room now.
    pub fn has_room(&self, bytes: u64) -> bool {
        let waiting = self.shared.pending.load(Relaxed);
        waiting == 0 || waiting.saturating_add(bytes) <= self.shared.limit
    }

    /// Notes the request and the round of what was left out.
    pub fn miss(&self, index: usize, round: usize) {
        self.shared.missed.lock().unwrap_or_else(PoisonError::into_inner).push((index, round));
    }
}

impl<T> Inbox<T> {
    fn hold(&mut self, (thing, bytes): (T, u64)) -> T {
        self.held += bytes;
        thing
    }

    /// Waits for the next thing.
    ///
    /// # Errors
    /// If nothing can come any more.
    pub fn recv(&mut self) -> Result<T, RecvError> {
        let got = self.receiver.recv()?;
        Ok(self.hold(got))
    }

    /// The same for `timeout` at most.
    ///
    /// # Errors
    /// If nothing came.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        let got = self.receiver.recv_timeout(timeout)?;
        Ok(self.hold(got))
    }

    /// What has come already.
    ///
    /// # Errors
    /// If nothing has.
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        let got = self.receiver.try_recv()?;
        Ok(self.hold(got))
    }

    /// All that was received is done with: there is room for as much again.
    pub fn done(&mut self) {
        self.shared.pending.fetch_sub(std::mem::take(&mut self.held), Relaxed);
    }

    /// What waits, for somebody else to look at.
    pub fn backlog(&self) -> Backlog {
        Backlog(self.shared.clone())
    }
}

impl Backlog {
    /// Whether everything that was sent is done with.
    pub fn is_empty(&self) -> bool {
        self.0.pending.load(Relaxed) == 0
    }

    /// How many things were left out so far.
    pub fn left_out(&self) -> u64 {
        self.0.left_out.load(Relaxed)
    }

    /// The requests and rounds that were noted as left out.
    pub fn missed(&self) -> Vec<(usize, usize)> {
        std::mem::take(&mut *self.0.missed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_left_out_and_counted() {
        let (outbox, mut inbox) = bounded::<u32>(10);
        let backlog = inbox.backlog();
        // A single thing may be larger than all may be.
        assert!(outbox.offer(50, || 1));
        assert!(!outbox.offer(1, || panic!("made though there is no room")));
        assert_eq!(inbox.recv(), Ok(1));
        // It is worked on.
        assert!(!outbox.offer(1, || 2));
        inbox.done();
        assert!(backlog.is_empty());
        assert!(outbox.offer(4, || 3) && outbox.offer(6, || 4) && !outbox.offer(1, || 5));
        assert!(!outbox.has_room(1));
        outbox.push(7, 6);
        outbox.miss(5, 0);
        let got: Vec<u32> = std::iter::from_fn(|| inbox.try_recv().ok()).collect();
        assert_eq!(got, [3, 4, 6]);
        inbox.done();
        assert_eq!((backlog.left_out(), backlog.is_empty()), (3, true));
        assert_eq!((backlog.missed(), backlog.missed()), (vec![(5, 0)], vec![]));
        drop(outbox);
        assert_eq!(inbox.recv(), Err(RecvError));
    }
}
