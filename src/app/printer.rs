//! Writes the lines of `--print-requests` on a thread of its own.

use std::sync::mpsc;
use std::thread::JoinHandle;

use crate::request_log::{Event, Log};
use crate::secrets::Secrets;
use crate::ui::Ui;

/// The thread; dropping waits until everything is written, so every [`Log`] is to be dropped before.
#[derive(Debug)]
pub(super) struct Printer {
    thread: Option<JoinHandle<()>>,
}

impl Printer {
    /// Starts it; it writes no `secrets`.
    ///
    /// # Errors
    /// If no thread can be made.
    pub(super) fn start(ui: Ui, secrets: Secrets) -> std::io::Result<(Self, Log)> {
        let (log, events) = mpsc::channel::<Event>();
        let write = move || {
            for event in events {
                ui.status(&event.line(&secrets));
            }
        };
        let thread = std::thread::Builder::new().name("rbench-log".into()).spawn(write)?;
        Ok((Self { thread: Some(thread) }, log))
    }
}

impl Drop for Printer {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing left to write.
            let _ = thread.join();
        }
    }
}
