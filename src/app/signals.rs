//! What SIGINT and SIGTERM do: a run under way is brought to its end and reported, anything else is tidied up;
//! then the program ends with 128 + the signal's number. A second signal ends it at once.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};

use tokio::signal::unix::{SignalKind, signal};

use crate::dispatch::Stop;
use crate::error::{Error, Kind};
use crate::ui::Ui;

/// The number of the signal that came first, 0 before.
static CAUGHT: AtomicU8 = AtomicU8::new(0);

/// Whether results are being told, which is waited for.
static REPORTING: AtomicBool = AtomicBool::new(false);

/// The run that is under way.
static RUN: Mutex<Option<Arc<Stop>>> = Mutex::new(None);

/// What is tidied up if there is no run.
static TIDY: Mutex<Option<OnSignal>> = Mutex::new(None);

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

/// What is to be done when a signal comes, and no run is under way.
pub(super) struct OnSignal {
    /// What is said then.
    pub(super) says: &'static str,
    /// Tidies up; the program ends when it returns.
    pub(super) first: Box<dyn FnOnce() + Send>,
    /// Called when another signal comes; makes `first` hurry.
    pub(super) again: Box<dyn FnOnce() + Send>,
}

/// A run under way, until dropped.
pub(super) struct Running(());

impl Running {
    /// Has a signal end the run by `stop` from now on, and then the program once the results are told.
    ///
    /// # Errors
    /// If a signal has come already.
    pub(super) fn new(stop: Arc<Stop>) -> Result<Self, Error> {
        *lock(&RUN) = Some(stop);
        let running = Self(());
        check()?;
        Ok(running)
    }

    /// The run is over, and its results are told now.
    pub(super) fn reporting(self) -> Reporting {
        REPORTING.store(true, Ordering::SeqCst);
        drop(self);
        Reporting(())
    }
}

/// Results that are being told, until dropped.
pub(super) struct Reporting(());

impl Drop for Reporting {
    fn drop(&mut self) {
        REPORTING.store(false, Ordering::SeqCst);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        *lock(&RUN) = None;
    }
}

/// Has `on` be done when a signal comes outside of a run.
pub(super) fn tidy(on: OnSignal) {
    *lock(&TIDY) = Some(on);
}

/// Catches signals from now on, for as long as the program runs.
///
/// # Errors
/// If the handlers or the thread that waits for them can not be made.
pub(super) fn catch(ui: Ui) -> Result<(), Error> {
    static ONCE: Once = Once::new();
    let mut result = Ok(());
    ONCE.call_once(|| {
        result = start(ui)
            .map_err(|error| Error::new(Kind::System, "can not wait for signals").because(error));
    });
    result
}

fn start(ui: Ui) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Handlers are in place before this function returns.
    let (mut interrupts, mut terminations) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
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
        let signal = next();
        let number = u8::try_from(signal.as_raw_value()).unwrap_or(0);
        CAUGHT.store(number, Ordering::SeqCst);
        let again = first(number, ui);
        next();
        if let Some(again) = again {
            // What was started before is ended with it.
            again();
        } else {
            end(number);
        }
    };
    std::thread::Builder::new().name("rbench-signals".into()).spawn(wait).map(drop)
}

/// Reacts to the first signal; returns what a second one makes hurry, if the program does not just end then.
fn first(number: u8, ui: Ui) -> Option<Box<dyn FnOnce() + Send>> {
    if let Some(stop) = lock(&RUN).clone() {
        ui.status("interrupted: nothing more is sent, and requests in flight have a moment to end (--grace); a second signal ends all at once");
        let name = if number == 15 { "SIGTERM" } else { "SIGINT" };
        stop.drain(&format!("interrupted by {name}"));
        return None;
    }
    if REPORTING.load(Ordering::SeqCst) {
        ui.status("interrupted: ends when the results are told; a second signal ends all at once");
        return None;
    }
    let Some(on) = lock(&TIDY).take() else {
        ui.status("interrupted");
        end(number);
    };
    ui.status(on.says);
    let tidy = on.first;
    std::thread::spawn(move || {
        tidy();
        end(number);
    });
    Some(on.again)
}

fn lock<T>(mutex: &'static Mutex<T>) -> std::sync::MutexGuard<'static, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the program, whatever its other threads do.
#[expect(
    clippy::exit,
    reason = "what goes on may go on for hours, and nobody waits for it any more"
)]
fn end(number: u8) -> ! {
    std::process::exit(i32::from(128 + number));
}
