//! Brings a file to the disk on a thread of its own: what a killed program has written is kept anyway, and a disk that
//! takes seconds holds back no row.

use std::fs::File;
use std::io;
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// The thread.
#[derive(Debug)]
pub(super) struct Syncer {
    ask: SyncSender<()>,
    thread: JoinHandle<()>,
    /// Why the disk did not take the file, if it did not.
    failed: Arc<Mutex<Option<String>>>,
}

impl Syncer {
    /// One for `file`.
    ///
    /// # Errors
    /// If the system has no further descriptor or thread.
    pub(super) fn start(file: &File) -> io::Result<Self> {
        let file = file.try_clone()?;
        // One that is under way, and one that follows it.
        let (ask, asked) = mpsc::sync_channel::<()>(1);
        let failed = Arc::new(Mutex::new(None));
        let said = failed.clone();
        let sync = move || {
            for () in asked {
                if let Err(error) = file.sync_data() {
                    *said.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
                }
            }
        };
        let thread = std::thread::Builder::new().name("rbench-sync".into()).spawn(sync)?;
        Ok(Self { ask, thread, failed })
    }

    /// Begins to bring what was written until now to the disk; does not wait for that.
    pub(super) fn ask(&self) {
        // If that is full, one is to begin that has all of it.
        let _ = self.ask.try_send(());
    }

    /// Returns whether the disk took all so far.
    ///
    /// # Errors
    /// If it did not; the message says why.
    pub(super) fn last(&self) -> Result<(), String> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone().map_or(Ok(()), Err)
    }

    /// Waits until all that was asked for is done.
    ///
    /// # Errors
    /// As for [`Self::last`].
    pub(super) fn finish(self) -> Result<(), String> {
        let Self { ask, thread, failed } = self;
        drop(ask);
        // A thread that panicked has a defect, and the file what was written to it.
        let _ = thread.join();
        failed.lock().unwrap_or_else(PoisonError::into_inner).clone().map_or(Ok(()), Err)
    }
}
