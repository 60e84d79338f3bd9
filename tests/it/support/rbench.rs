//! A run of the program in an empty environment and a folder of its own.
//!
//! Nothing of the developer's machine gets in: no home, no proxy, no key, no terminal, no cache of models.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Once, OnceLock, mpsc};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use serde_json::Value;
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

/// A run that takes longer hangs. Far above what a loaded machine needs.
const PATIENCE: Duration = Duration::from_secs(30);

/// Has programs end at SIGHUP also where the tests run under `nohup`, whose deaf ear is inherited: what has a handler
/// is as at first in a new program.
fn hangups_are_heard() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        // The handler stays when its stream is gone.
        drop(signal(SignalKind::hangup()).unwrap());
    });
}

/// The result file of [`Rbench::load`].
pub(crate) const RESULT: &str = "out.jsonl";

/// The program, about to be run.
#[must_use = "nothing runs until `run`"]
pub(crate) struct Rbench {
    command: Command,
    folder: TempDir,
    stdout: Stdio,
    process: Process,
}

/// A running program, for scripts that send it signals.
#[derive(Debug, Clone, Default)]
pub(crate) struct Process(Arc<OnceLock<Pid>>);

impl Process {
    /// Sends a signal, as soon as the program runs.
    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(*self.0.wait(), signal).unwrap();
    }

    /// Has it stand still from now on for a time.
    pub(crate) fn stop_for(&self, time: Duration) {
        self.signal(Signal::STOP);
        let process = self.clone();
        std::thread::spawn(move || {
            // Nobody ever sends: how long it stands still is what is tested.
            let (_nobody, nothing) = mpsc::channel::<()>();
            let _ = nothing.recv_timeout(time);
            process.signal(Signal::CONT);
        });
    }
}

impl Rbench {
    /// The program with `words`.
    pub(crate) fn new<T: AsRef<OsStr>>(words: impl IntoIterator<Item = T>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rbench"));
        command.args(words);
        Self::with(command)
    }

    /// The program with `words`, started by a shell after `first`, such as `ulimit`.
    pub(crate) fn in_shell<T: AsRef<OsStr>>(
        first: &str,
        words: impl IntoIterator<Item = T>,
    ) -> Self {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &format!("{first}; exec \"$0\" \"$@\"")]);
        command.arg(env!("CARGO_BIN_EXE_rbench")).args(words);
        Self::with(command)
    }

    fn with(mut command: Command) -> Self {
        hangups_are_heard();
        let folder = tempfile::tempdir().unwrap();
        command.env_clear().current_dir(folder.path()).stdin(Stdio::null());
        for (name, value) in [
            ("HOME", folder.path().as_os_str()),
            ("HF_HOME", folder.path().as_os_str()),
            ("HF_HUB_OFFLINE", OsStr::new("1")),
            ("TZ", OsStr::new("UTC")),
            // The width of help texts.
            ("COLUMNS", OsStr::new("100")),
        ] {
            command.env(name, value);
        }
        // Where a build that measures coverage is to write.
        if let Some(path) = std::env::var_os("LLVM_PROFILE_FILE") {
            command.env("LLVM_PROFILE_FILE", path);
        }
        Self { command, folder, stdout: Stdio::piped(), process: Process::default() }
    }

    /// A small load of 3 requests with 8 tokens in and 4 out, without a warm-up, that leaves details in [`RESULT`].
    /// Flags that are added repeat those of before, of which the last counts.
    pub(crate) fn load(backend: &str, url: &str) -> Self {
        Self::plain_load(backend, url).arg("--output-details")
    }

    /// The same load without details in the result.
    pub(crate) fn plain_load(backend: &str, url: &str) -> Self {
        Self::new(["serve", "--backend", backend, "--base-url", url]).args(LOAD)
    }

    /// The same load, to be aimed by the caller.
    pub(crate) fn aimed<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        Self::new(["serve"]).args(words).args(LOAD).arg("--output-details")
    }

    pub(crate) fn arg(mut self, word: impl AsRef<OsStr>) -> Self {
        self.command.arg(word);
        self
    }

    pub(crate) fn args<T: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = T>) -> Self {
        self.command.args(words);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Writes a file into the folder where the program runs.
    pub(crate) fn file(self, name: &str, text: impl AsRef<[u8]>) -> Self {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    /// Sets who may read a file of that folder.
    pub(crate) fn set_mode(&self, name: &str, mode: std::fs::Permissions) {
        std::fs::set_permissions(self.folder.path().join(name), mode).unwrap();
    }

    /// Gives the program another standard output, which is not captured then.
    pub(crate) fn stdout(mut self, stdout: impl Into<Stdio>) -> Self {
        self.stdout = stdout.into();
        self
    }

    /// Has `process` stand for the program once it runs.
    pub(crate) fn known_as(mut self, process: &Process) -> Self {
        self.process = process.clone();
        self
    }

    /// Runs it and kills it with SIGKILL as soon as `when` returns, which is told the folder where it runs.
    pub(crate) fn killed(mut self, when: impl FnOnce(&Path)) -> Run {
        let words: Vec<OsString> = self.command.get_args().map(OsStr::to_owned).collect();
        let mut child = self.command.stdout(self.stdout).stderr(Stdio::piped()).spawn().unwrap();
        when(self.folder.path());
        child.kill().unwrap();
        // What it said until then fits into the pipes.
        let output = child.wait_with_output().unwrap();
        let [stdout, stderr] =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        Run { words, stdout, stderr, code: output.status.code(), folder: self.folder }
    }

    /// Runs it to its end.
    pub(crate) fn run(mut self) -> Run {
        let words: Vec<OsString> = self.command.get_args().map(OsStr::to_owned).collect();
        let mut child = self.command.stdout(self.stdout).stderr(Stdio::piped()).spawn().unwrap();
        self.process.0.set(Pid::from_child(&child)).unwrap();
        let (tell, told) = mpsc::channel();
        let mut streams: Vec<(usize, Box<dyn Read + Send>)> = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            streams.push((0, Box::new(stdout)));
        }
        streams.push((1, Box::new(child.stderr.take().unwrap())));
        let wanted = streams.len();
        for (which, mut stream) in streams {
            let tell = tell.clone();
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                let _ = stream.read_to_end(&mut bytes);
                // The receiver is gone if the run took too long.
                let _ = tell.send((which, bytes));
            });
        }
        let mut texts = [String::new(), String::new()];
        for _ in 0..wanted {
            let Ok((which, bytes)) = told.recv_timeout(PATIENCE) else {
                child.kill().unwrap();
                child.wait().unwrap();
                let said: Vec<_> = told.try_iter().map(|(_, bytes)| bytes).collect();
                let said = String::from_utf8_lossy(&said.concat()).into_owned();
                panic!("rbench {words:?} did not end; it said: {said}{}", texts.concat());
            };
            texts[which] = String::from_utf8(bytes).unwrap();
        }
        let status = child.wait().unwrap();
        let [stdout, stderr] = texts;
        let run = Run { words, stdout, stderr, code: status.code(), folder: self.folder };
        assert!(!run.stderr.contains("panicked"), "rbench panicked: {run:?}");
        run
    }
}

/// The first line of the block on the measurement.
pub(crate) const MEASUREMENT: &str = "================== Measurement ===================\n";

/// The words of [`Rbench::load`].
pub(crate) const LOAD: &[&str] = &[
    "--tokenizer",
    "rbench-bundled",
    "--dataset-name",
    "random-ids",
    "--random-input-len",
    "8",
    "--random-output-len",
    "4",
    "--random-range-ratio",
    "1",
    "--num-prompts",
    "3",
    "--warmup-requests",
    "0",
    "--output-file",
    RESULT,
    // Most tests are about rows and failures, and these have tests of their own.
    "--verbose",
    "--allow-failed",
    "100%",
];

/// The beginning of the block where all is well.
pub(crate) const WELL: &str = "Measurement: ok (";

/// What became of it.
#[derive(Debug)]
#[must_use = "a run is to be checked"]
pub(crate) struct Run {
    #[expect(dead_code, reason = "shown when a check fails")]
    words: Vec<OsString>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    folder: TempDir,
}

impl Run {
    /// Checks the exit code.
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// Checks that stderr has each of `texts`.
    pub(crate) fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.stderr.contains(text), "no {text:?} in stderr of {self:#?}");
        }
        self
    }

    /// Checks that stdout holds one table, maybe the block before it, and nothing else.
    pub(crate) fn prints_a_table(self) -> Self {
        let (block, table) = self.stdout.split_at(self.stdout.find("\n\n").map_or(0, |at| at + 1));
        let is_block =
            block.is_empty() || block.starts_with(MEASUREMENT) || block.starts_with(WELL);
        let lines: Vec<&str> = table.lines().collect();
        let is_table = matches!(
            lines[..],
            ["", "============ Serving Benchmark Result ============", .., end]
                if end.len() == 50 && end.bytes().all(|byte| byte == b'=')
        );
        let is_row = |line: &&str| line.len() >= 50;
        let mut rows = block.lines().chain(lines[1..].iter().copied());
        assert!(is_block && is_table && rows.all(|row| is_row(&row)), "no table alone: {self:#?}");
        self
    }

    /// Checks that stdout is empty.
    pub(crate) fn prints_nothing(self) -> Self {
        assert_eq!(self.stdout, "", "{self:#?}");
        self
    }

    /// The value of a row of the table.
    pub(crate) fn row(&self, label: &str) -> Option<&str> {
        let line = self.stdout.lines().find(|line| line.starts_with(label))?;
        Some(line[label.len()..].trim())
    }

    /// Path of a file in the folder where it ran.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Names of the files in the folder where it ran.
    pub(crate) fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// The text of [`RESULT`].
    pub(crate) fn result_text(&self) -> String {
        std::fs::read_to_string(self.path(RESULT))
            .unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// The only line of [`RESULT`].
    pub(crate) fn result(&self) -> Value {
        let text = self.result_text();
        assert!(text.ends_with('\n') && text.lines().count() == 1, "not one line: {text}");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}
