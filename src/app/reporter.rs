//! What follows a run: it hears the run's events on a thread of its own, which the load never waits for.

use std::io;
use std::thread::{self, JoinHandle};

use crate::engine::event::{RunEvent, Subscribers, Wants};
use crate::engine::outbox::Inbox;

/// Something that follows a run.
pub(super) trait Reporter {
    /// What is left of it when the run is over.
    type Found;

    /// The name of its thread.
    const THREAD: &'static str;

    /// What it wants to hear.
    const WANTS: Wants;

    /// Takes an event.
    fn hear(&mut self, event: RunEvent);

    /// Ends, as nothing can come any more; `left_out` events found no room.
    fn end(self, left_out: u64) -> Self::Found;
}

/// Gives `reporter` what comes until nothing can come any more.
pub(super) fn follow<R: Reporter>(mut reporter: R, mut events: Inbox<RunEvent>) -> R::Found {
    while let Ok(event) = events.recv() {
        reporter.hear(event);
        events.done();
    }
    reporter.end(events.backlog().left_out())
}

/// Subscribes `reporter`, for which `backlog` bytes of events may wait, and has it follow the run.
/// Its thread ends with the last of `subscribers`.
///
/// # Errors
/// If no thread can be made.
pub(super) fn start<R>(
    reporter: R,
    backlog: u64,
    subscribers: &mut Subscribers,
) -> io::Result<JoinHandle<R::Found>>
where
    R: Reporter<Found: Send> + Send + 'static,
{
    let events = subscribers.subscribe(R::WANTS, backlog);
    thread::Builder::new().name(R::THREAD.into()).spawn(move || follow(reporter, events))
}
