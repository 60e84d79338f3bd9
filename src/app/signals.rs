//! What SIGINT, SIGTERM and SIGHUP do: a run under way is brought to its end and reported, anything else is tidied up;
//! then the program ends with 128 + the signal's number. A second signal ends it at once.
//!
//! The thread that waits for them acts before anything is said, and has another thread say it: whoever reads stderr may
//! be the reason why a signal is sent.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

use crate::engine::Stop;
use crate::engine::outbox::Backlog;
use crate::error::{Error, Kind};
use crate::output::terminal::Ui;

/// How long the end of the program waits for what is to be written.
const WRITTEN_WITHIN: Duration = Duration::from_secs(1);

/// The signals of this process: their handlers belong to it and cannot be given back, and its exit code is that of the
/// one that came, whoever has ended by then.
static CAUGHT: OnceLock<Signals> = OnceLock::new();

/// Whether a signal came, and what is done then. Sessions hold it.
#[derive(Clone, Default)]
pub(super) struct Signals(Arc<State>);

#[derive(Default)]
struct State {
    /// The number of the signal that came first, 0 before.
    number: AtomicU8,
    /// Whether results are being told, which is waited for.
    reporting: AtomicBool,
    /// The run that is under way.
    run: Mutex<Option<Arc<Stop>>>,
    /// What is to be written before the program ends.
    written: Mutex<Option<Backlog>>,
    /// What is tidied up if there is no run.
    tidy: Mutex<Option<OnSignal>>,
    /// What is done before a signal ends the program, whatever else goes on.
    before_end: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

/// The exit code of a program that was interrupted, if this one was.
pub(super) fn exit_code() -> Option<u8> {
    CAUGHT.get().and_then(Signals::exit_code)
}

/// Catches signals from now on, for as long as the program runs.
///
/// # Errors
/// If the handlers or the thread that waits for them cannot be made.
pub(super) fn catch(ui: Ui) -> Result<Signals, Error> {
    if let Some(caught) = CAUGHT.get() {
        return Ok(caught.clone());
    }
    let signals = Signals::default();
    start(signals.clone(), ui)
        .map_err(|error| Error::new(Kind::System, "cannot wait for signals").because(error))?;
    Ok(CAUGHT.get_or_init(|| signals).clone())
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

impl Signals {
    /// The exit code of a program that was interrupted, if this one was.
    pub(super) fn exit_code(&self) -> Option<u8> {
        let number = self.0.number.load(Ordering::SeqCst);
        (number > 0).then_some(128 + number)
    }

    /// Makes a signal end the run by `stop` from now on, and then the program once the results are printed.
    ///
    /// # Errors
    /// If a signal has come already; the program is about to end then.
    pub(super) fn running(&self, stop: Arc<Stop>) -> Result<Running, Error> {
        *lock(&self.0.run) = Some(stop);
        let running = Running(self.clone());
        match self.exit_code() {
            None => Ok(running),
            Some(_) => Err(Error::new(Kind::System, "interrupted")),
        }
    }

    /// Lets what waits in `backlog` be written before a signal ends the program at once.
    pub(super) fn write_first(&self, backlog: Backlog) {
        *lock(&self.0.written) = Some(backlog);
    }

    /// Does `on` when a signal comes outside of a run.
    pub(super) fn tidy(&self, on: OnSignal) {
        *lock(&self.0.tidy) = Some(on);
    }

    /// Does `last` before a signal ends the program; it must not take long, and must not print.
    pub(super) fn before_end(&self, last: Box<dyn FnOnce() + Send>) {
        *lock(&self.0.before_end) = Some(last);
    }

    /// Does nothing then.
    pub(super) fn nothing_before_end(&self) {
        *lock(&self.0.before_end) = None;
    }

    /// Reacts to the first signal; returns what a second one makes hurry, if the program does not just end then.
    fn first(&self, number: u8, ui: Ui) -> Option<Box<dyn FnOnce() + Send>> {
        if let Some(stop) = lock(&self.0.run).clone() {
            stop.drain(&format!("interrupted by {}", name(number)));
            say(
                ui,
                "interrupted: nothing more is sent, and requests in flight have a moment to end (--grace); a second signal ends all at once",
            );
            return None;
        }
        if self.0.reporting.load(Ordering::SeqCst) {
            say(
                ui,
                "interrupted: ends when the results are told; a second signal ends all at once",
            );
            return None;
        }
        let Some(on) = lock(&self.0.tidy).take() else {
            let said = say(ui, "interrupted");
            // Nothing is to be said any more if the time is over or no thread was left.
            let _ = said.recv_timeout(SAID_WITHIN);
            self.end(number);
        };
        let (tidy, signals) = (on.first, self.clone());
        let tidying = thread::Builder::new().name("rbench-tidy".into()).spawn(move || {
            tidy();
            signals.end(number);
        });
        if tidying.is_err() {
            // No thread is left: what was started ends with the program all the same, if less gently.
            self.end(number);
        }
        say(ui, on.says);
        Some(on.again)
    }

    /// Ends the program, whatever its other threads do: that may go on for hours, and nobody waits for it any more.
    fn end(&self, number: u8) -> ! {
        let last = lock(&self.0.before_end).take();
        if let Some(last) = last {
            last();
        }
        if let Some(backlog) = lock(&self.0.written).take() {
            let asked = Instant::now();
            while !backlog.is_empty() && asked.elapsed() < WRITTEN_WITHIN {
                thread::park_timeout(Duration::from_millis(1));
            }
        }
        std::process::exit(i32::from(128 + number));
    }
}

/// A run under way, until dropped.
pub(super) struct Running(Signals);

impl Running {
    /// The run is over, and its results are told now.
    pub(super) fn reporting(self) -> Reporting {
        let signals = self.0.clone();
        signals.0.reporting.store(true, Ordering::SeqCst);
        drop(self);
        Reporting(signals)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        *lock(&self.0.0.run) = None;
    }
}

/// Results that are being told, until dropped.
pub(super) struct Reporting(Signals);

impl Drop for Reporting {
    fn drop(&mut self) {
        self.0.0.reporting.store(false, Ordering::SeqCst);
    }
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

fn start(signals: Signals, ui: Ui) -> std::io::Result<()> {
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
        signals.0.number.store(number, Ordering::SeqCst);
        let again = signals.first(number, ui);
        next();
        if let Some(again) = again {
            // What was started before is ended with it.
            again();
        } else {
            signals.end(number);
        }
    };
    thread::Builder::new().name("rbench-signals".into()).spawn(wait).map(drop)
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
