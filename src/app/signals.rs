//! What SIGINT and SIGTERM do: something is tidied up, and the program ends with 128 + the signal's number.

use std::sync::atomic::{AtomicU8, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use crate::error::{Error, Kind};
use crate::ui::Ui;

/// The number of the signal that came first, 0 before.
static CAUGHT: AtomicU8 = AtomicU8::new(0);

/// The exit code of a program that was interrupted, if this one was.
pub(super) fn exit_code() -> Option<u8> {
    let number = CAUGHT.load(Ordering::SeqCst);
    (number > 0).then_some(128 + number)
}

/// Goes on only if no signal came.
///
/// # Errors
/// If one did; the program is about to end then.
pub(super) fn check() -> Result<(), Error> {
    match exit_code() {
        None => Ok(()),
        Some(_) => Err(Error::new(Kind::System, "interrupted")),
    }
}

/// What is to be done when a signal comes.
pub(super) struct OnSignal {
    /// What is said then.
    pub(super) says: &'static str,
    /// Tidies up; the program ends when it returns.
    pub(super) first: Box<dyn FnOnce() + Send>,
    /// Called when another signal comes meanwhile; makes `first` hurry.
    pub(super) again: Box<dyn FnOnce() + Send>,
}

/// Catches signals from now on, for as long as the program runs.
///
/// # Errors
/// If the handlers or the thread that waits for them can not be made.
pub(super) fn catch(on: OnSignal, ui: Ui) -> Result<(), Error> {
    let failed = |error| Error::new(Kind::System, "can not wait for signals").because(error);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    // Handlers are in place before this function returns.
    let (mut interrupts, mut terminations) = {
        let _inside = runtime.enter();
        (
            signal(SignalKind::interrupt()).map_err(failed)?,
            signal(SignalKind::terminate()).map_err(failed)?,
        )
    };
    let wait = move || {
        let mut next = || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupts.recv() => SignalKind::interrupt(),
                    _ = terminations.recv() => SignalKind::terminate(),
                }
            })
        };
        let number = u8::try_from(next().as_raw_value()).unwrap_or(0);
        CAUGHT.store(number, Ordering::SeqCst);
        ui.status(on.says);
        let first = on.first;
        std::thread::spawn(move || {
            first();
            end(number);
        });
        next();
        (on.again)();
    };
    let thread = std::thread::Builder::new().name("rbench-signals".into()).spawn(wait);
    thread.map(drop).map_err(failed)
}

/// Ends the program, whatever its other threads do.
#[expect(clippy::exit, reason = "the load may go on for hours, and nobody waits for it any more")]
fn end(number: u8) {
    std::process::exit(i32::from(128 + number));
}
