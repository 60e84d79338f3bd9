//! What SIGINT, SIGTERM and SIGHUP do: a run under way is brought to its end and reported, anything else is tidied up;
//! then the program ends with 128 + the signal's number. A second signal ends it at once.
//!
//! The thread that waits for them acts before anything is said, and has another thread say it: whoever reads stderr may
//! be the reason why a signal is sent.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

use crate::engine::Stop;
use crate::engine::outbox::Backlog;
use crate::error::{Error, Kind};
use crate::output::terminal::Ui;

/// The number of the signal that came first, 0 before.
static CAUGHT: AtomicU8 = AtomicU8::new(0);

/// Whether results are being told, which is waited for.
static REPORTING: AtomicBool = AtomicBool::new(false);

/// The run that is under way.
static RUN: Mutex<Option<Arc<Stop>>> = Mutex::new(None);

/// What is to be written before the program ends.
static WRITTEN: Mutex<Option<Backlog>> = Mutex::new(None);

/// How long the end of the program waits for that.
const WRITTEN_WITHIN: Duration = Duration::from_secs(1);

/// What is tidied up if there is no run.
static TIDY: Mutex<Option<OnSignal>> = Mutex::new(None);

/// What is done before a signal ends the program, whatever else goes on.
static BEFORE_END: Mutex<Option<Box<dyn FnOnce() + Send>>> = Mutex::new(None);

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
    /// Makes a signal end the run by `stop` from now on, and then the program once the results are printed.
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

/// Lets what waits in `backlog` be written before a signal ends the program at once.
pub(super) fn write_first(backlog: Backlog) {
    *lock(&WRITTEN) = Some(backlog);
}

/// Does `on` when a signal comes outside of a run.
pub(super) fn tidy(on: OnSignal) {
    *lock(&TIDY) = Some(on);
}

/// Does `last` before a signal ends the program; it must not take long, and must not print.
pub(super) fn before_end(last: Box<dyn FnOnce() + Send>) {
    *lock(&BEFORE_END) = Some(last);
}

/// Does nothing then.
pub(super) fn nothing_before_end() {
    *lock(&BEFORE_END) = None;
}

/// Catches signals from now on, for as long as the program runs.
///
/// # Errors
/// If the handlers or the thread that waits for them cannot be made.
pub(super) fn catch(ui: Ui) -> Result<(), Error> {
    static ONCE: Once = Once::new();
    let mut result = Ok(());
    ONCE.call_once(|| {
        result = start(ui)
            .map_err(|error| Error::new(Kind::System, "cannot wait for signals").because(error));
    });
    result
}

/// How long the end of the program waits for what is said of it.
const SAID_WITHIN: Duration = Duration::from_millis(200);

/// Makes a file that may grow no further (`ulimit -f`) an error of the write, as a full disk is, and not the end of the
/// program by SIGXFSZ. Where that cannot be had, the system's way stays.
pub(super) fn survive_full_files() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    if let Ok(runtime) = runtime {
        let _inside = runtime.enter();
        // The handler stays when what waits for it is gone.
        let _ = signal(SignalKind::from_raw(Signal::XFSZ.as_raw()));
    }
}

/// Whether whoever started the program had it outlive its terminal, as `nohup` does.
fn ignores_hangups() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (Signal::HUP.as_raw() - 1)) != 0)
}

fn start(ui: Ui) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Handlers are in place before this function returns.
    let (mut interrupts, mut terminations, mut hangups) = {
        let _inside = runtime.enter();
        let hangups = (!ignores_hangups()).then(|| signal(SignalKind::hangup())).transpose()?;
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, hangups)
    };
    let wait = move || {
        let mut next = || {
            runtime.block_on(async {
                let hangup = async {
                    match &mut hangups {
                        Some(hangups) => hangups.recv().await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    _ = interrupts.recv() => SignalKind::interrupt(),
                    _ = terminations.recv() => SignalKind::terminate(),
                    _ = hangup => SignalKind::hangup(),
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
    thread::Builder::new().name("rbench-signals".into()).spawn(wait).map(drop)
}

/// Reacts to the first signal; returns what a second one makes hurry, if the program does not just end then.
fn first(number: u8, ui: Ui) -> Option<Box<dyn FnOnce() + Send>> {
    if let Some(stop) = lock(&RUN).clone() {
        stop.drain(&format!("interrupted by {}", name(number)));
        say(
            ui,
            "interrupted: nothing more is sent, and requests in flight have a moment to end (--grace); a second signal ends all at once",
        );
        return None;
    }
    if REPORTING.load(Ordering::SeqCst) {
        say(ui, "interrupted: ends when the results are told; a second signal ends all at once");
        return None;
    }
    let Some(on) = lock(&TIDY).take() else {
        let said = say(ui, "interrupted");
        // Nothing is to be said any more if the time is over or no thread was left.
        let _ = said.recv_timeout(SAID_WITHIN);
        end(number);
    };
    let tidy = on.first;
    let tidying = thread::Builder::new().name("rbench-tidy".into()).spawn(move || {
        tidy();
        end(number);
    });
    if tidying.is_err() {
        // No thread is left: what was started ends with the program all the same, if less gently.
        end(number);
    }
    say(ui, on.says);
    Some(on.again)
}

/// Says `text` from a thread of its own, which is not waited for; the receiver hears when it was said.
fn say(ui: Ui, text: &'static str) -> mpsc::Receiver<()> {
    let (tell, said) = mpsc::channel();
    let speak = move || {
        ui.status(text);
        // Mostly nobody waits for this.
        let _ = tell.send(());
    };
    // Without a thread nothing is said, and all is done.
    let _ = thread::Builder::new().name("rbench-says".into()).spawn(speak);
    said
}

/// The name of a signal that is caught.
fn name(number: u8) -> &'static str {
    match number {
        1 => "SIGHUP",
        15 => "SIGTERM",
        _ => "SIGINT",
    }
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
    let last = lock(&BEFORE_END).take();
    if let Some(last) = last {
        last();
    }
    if let Some(backlog) = lock(&WRITTEN).take() {
        let asked = Instant::now();
        while !backlog.is_empty() && asked.elapsed() < WRITTEN_WITHIN {
            thread::park_timeout(Duration::from_millis(1));
        }
    }
    std::process::exit(i32::from(128 + number));
}
