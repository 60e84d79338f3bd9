//! Writes the lines of `--print-requests` on a thread of its own.

use std::thread::JoinHandle;

use crate::engine::outbox;
use crate::engine::request_log::{Event, Log};
use crate::output::terminal::Ui;
use crate::secrets::Secrets;

/// Bytes of events that wait at most.
const BACKLOG: u64 = 32 << 20;

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
        let (log, mut events) = outbox::bounded::<Event>(BACKLOG);
        let write = move || {
            while let Ok(event) = events.recv() {
                ui.status(&event.line(&secrets));
                events.done();
            }
            let left_out = events.backlog().left_out();
            if left_out > 0 {
                ui.warn(&format!(
                    "--print-requests: {left_out} lines were left out, since stderr was read more slowly than they came"
                ));
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
