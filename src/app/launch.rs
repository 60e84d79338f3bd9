//! A server that rbench starts, and ends again whatever happens.
//!
//! Between the two stands a process of [`supervise`](super::supervise), which ends the server when this end of its
//! standard input is closed: by [`Supervisor::stop`], or by the system when this process dies.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::sync::watch;

use super::signals::{OnSignal, Signals};
use super::supervise::{ENDED, NAME, STARTED};
use super::{calls, processes};
use crate::config::Launch;
use crate::engine::system;
use crate::error::{Error, Kind};
use crate::output::terminal::Ui;

/// How much of a server's output is kept, in bytes.
const KEPT: usize = 64 << 10;

/// How many lines of it are shown.
const SHOWN: usize = 40;

/// How much of a line is shown, in characters.
const LONGEST: usize = 1000;

/// How long output may still come after all processes have ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A running server; dropping ends it, and waits until it has ended.
pub(super) struct Launched {
    supervisor: Arc<Supervisor>,
    state: watch::Receiver<State>,
    output: Output,
}

/// What is known of the server's process.
#[derive(Debug, Clone, Default)]
struct State {
    /// Its process group.
    group: Option<Pid>,
    /// How it ended by itself.
    ended: Option<String>,
}

/// Where its output is.
enum Output {
    /// The end of it, and a word when there is no more.
    Memory(Arc<Mutex<VecDeque<u8>>>, Mutex<mpsc::Receiver<()>>),
    File(PathBuf),
}

/// The process in between.
struct Supervisor(Mutex<Option<(Child, Option<ChildStdin>)>>);

impl Supervisor {
    /// Ends the server and waits until it has ended; does nothing if that was done.
    fn stop(&self, state: &watch::Receiver<State>) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((mut child, input)) = held.take() else { return };
        drop(input);
        if child.wait().is_ok_and(|status| status.success()) {
            return;
        }
        // Somebody has killed the process that was to do it, and its children are this one's now.
        kill(state);
        // It may be done within the runtime of others.
        std::thread::scope(|scope| {
            let _ = scope.spawn(|| calls::run(processes::end_adopted())).join();
        });
    }
}

/// Kills the server's process group.
fn kill(state: &watch::Receiver<State>) {
    if let Some(group) = state.borrow().group {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

impl Launched {
    /// Starts the server, and has `signals` end it that would leave it behind.
    ///
    /// # Errors
    /// If no process can be started, or the log cannot be written.
    pub(super) fn start(launch: &Launch, signals: &Signals, ui: Ui) -> Result<Self, Error> {
        let failed = |error: std::io::Error| system::cannot_start("the server of --launch", error);
        let log = launch.log.as_deref().map(create).transpose()?;
        let (tell, state) = watch::channel(State::default());
        let supervisor = Arc::new(Supervisor(Mutex::new(None)));
        // Signals are caught before there is something that they could leave behind.
        let (stopped, at_once) = ((supervisor.clone(), state.clone()), state.clone());
        let on = OnSignal {
            says: "interrupted: ending the server that was launched; a second signal kills it",
            first: Box::new(move || stopped.0.stop(&stopped.1)),
            again: Box::new(move || kill(&at_once)),
        };
        signals.tidy(on);
        processes::adopt_orphans();
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command
            .arg0(NAME)
            .arg("supervise")
            .args(["--grace", &launch.grace.as_secs_f64().to_string(), "--", &launch.command])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log.map_or_else(Stdio::piped, Stdio::from))
            // A Ctrl-C is for this process, which tells the other.
            .process_group(0);
        let mut child = command.spawn().map_err(failed)?;
        // Without the threads that follow it the server ends here: the input of its supervisor is closed with it.
        if let Some(reports) = child.stdout.take() {
            let follow = move || follow(BufReader::new(reports), &tell);
            thread::Builder::new().name("rbench-launch".into()).spawn(follow).map_err(failed)?;
        }
        let output = match (child.stderr.take(), &launch.log) {
            (Some(stderr), _) => keep(stderr).map_err(failed)?,
            (None, Some(path)) => Output::File(path.clone()),
            (None, None) => Output::File(PathBuf::new()),
        };
        let input = child.stdin.take();
        let held = Some((child, input));
        *supervisor.0.lock().unwrap_or_else(PoisonError::into_inner) = held;
        ui.status("server launched");
        Ok(Self { supervisor, state, output })
    }

    /// Waits until the server has ended by itself; says how.
    pub(super) async fn ended(&self) -> String {
        let mut state = self.state.clone();
        let ended = state.wait_for(|state| state.ended.is_some()).await;
        match ended.ok().and_then(|state| state.ended.clone()) {
            Some(how) => how,
            None => "nobody saw how".to_owned(),
        }
    }

    /// Ends the server and shows the end of what it said.
    pub(super) fn show_output(&self, ui: Ui) {
        self.supervisor.stop(&self.state);
        let bytes = match &self.output {
            Output::Memory(kept, closed) => {
                // All writers have ended; what they wrote may still be on its way.
                let closed = closed.lock().unwrap_or_else(PoisonError::into_inner);
                let _ = closed.recv_timeout(LAST_WORDS);
                let kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.iter().copied().collect()
            }
            Output::File(path) => last_of(path).unwrap_or_default(),
        };
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        if lines.is_empty() {
            ui.report("the server said nothing");
            return;
        }
        ui.report("the last that the server said:");
        for line in &lines[lines.len().saturating_sub(SHOWN)..] {
            // Of a progress bar the last state is shown.
            let shown = line.rsplit('\r').find(|state| !state.is_empty()).unwrap_or_default();
            ui.report(&format!("  {}", end_of(shown)));
        }
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        self.supervisor.stop(&self.state);
    }
}

/// The last [`KEPT`] bytes of a log; none of what is no file.
fn last_of(path: &Path) -> std::io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Ok(Vec::new());
    }
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(KEPT as u64)))?;
    let mut bytes = Vec::new();
    file.take(KEPT as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The end of a line that is too long to be shown.
fn end_of(line: &str) -> std::borrow::Cow<'_, str> {
    match line.char_indices().rev().nth(LONGEST) {
        Some((at, _)) => format!("...{}", &line[at..]).into(),
        None => line.into(),
    }
}

/// Makes an empty log.
fn create(path: &Path) -> Result<File, Error> {
    File::create(path).map_err(|error| {
        Error::new(Kind::Usage, format!("--launch-log {}: cannot be written", path.display()))
            .because(error)
    })
}

/// Reads what the process in between reports.
fn follow(reports: impl BufRead, tell: &watch::Sender<State>) {
    for line in reports.lines().map_while(Result::ok) {
        tell.send_modify(|state| {
            if let Some(id) = line.strip_prefix(STARTED) {
                state.group = id.parse().ok().and_then(Pid::from_raw);
            } else if let Some(how) = line.strip_prefix(ENDED) {
                state.ended = Some(how.to_owned());
            }
        });
    }
    // It reports nothing more, so nobody knows better.
    tell.send_modify(|state| {
        let why = match state.group {
            None => "it could not be started",
            Some(_) => "the process that watches it was ended",
        };
        state.ended.get_or_insert_with(|| why.to_owned());
    });
}

/// Reads output to its end and keeps the last of it, so that the server never waits for a reader.
fn keep(mut stream: impl Read + Send + 'static) -> std::io::Result<Output> {
    let kept = Arc::new(Mutex::new(VecDeque::with_capacity(KEPT)));
    let (close, closed) = mpsc::channel();
    let into = kept.clone();
    thread::Builder::new().name("rbench-output".into()).spawn(move || {
        let mut piece = [0; 8 << 10];
        while let Ok(n @ 1..) = stream.read(&mut piece) {
            let mut kept = into.lock().unwrap_or_else(PoisonError::into_inner);
            let excess = (kept.len() + n).saturating_sub(KEPT);
            kept.drain(..excess);
            kept.extend(&piece[..n]);
        }
        // The receiver may be gone.
        let _ = close.send(());
    })?;
    Ok(Output::Memory(kept, Mutex::new(closed)))
}
