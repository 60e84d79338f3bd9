//! The simulated engine of `--mock` and of the self-test: this program once more, in a process of its own.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::engine::system;
use crate::error::{Error, Kind};

/// What the engine says before its address.
pub(super) const LISTENING: &str = "listening on ";

/// A running engine; ends when dropped, and when this process dies.
#[derive(Debug)]
pub(super) struct Engine {
    child: Child,
    /// The engine ends when this does.
    input: Option<ChildStdin>,
    url: String,
}

impl Engine {
    /// Starts an engine that draws with `seed` on a free port and waits until it listens.
    ///
    /// # Errors
    /// If it does not start; the message has what it said.
    pub(super) fn start(seed: u64) -> Result<Self, Error> {
        Self::start_with(&["--seed", &seed.to_string()])
    }

    /// Starts an engine with the options `words` on a free port, and waits until it listens.
    ///
    /// # Errors
    /// If it does not start; the message has what it said.
    pub(super) fn start_with(words: &[&str]) -> Result<Self, Error> {
        let fail = |what: &str| {
            Error::new(Kind::System, format!("cannot start the simulated engine: {what}"))
        };
        let program = std::env::current_exe()
            .map_err(|error| fail("no path of this program").because(error))?;
        let mut command = Command::new(program);
        command
            .args(["mock", "--host", "127.0.0.1", "--port", "0", "--exit-with-stdin"])
            .args(words)
            // A key is for servers of the user's; this one takes all.
            .env_remove("RBENCH_MOCK_API_KEY")
            // A Ctrl-C is for this process, which still reads what is in flight.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child =
            command.spawn().map_err(|error| fail("the process did not start").because(error))?;
        let input = child.stdin.take();
        let mut said = String::new();
        let mut url = None;
        let mut reading = Ok(());
        if let Some(stderr) = child.stderr.take() {
            let mut lines = BufReader::new(stderr).lines();
            for line in lines.by_ref().map_while(Result::ok) {
                if let Some(address) = line.strip_prefix(LISTENING) {
                    url = Some(address.to_owned());
                    break;
                }
                said.push_str(&line);
                said.push(' ');
            }
            // Read on, so that the engine never waits for a reader.
            let read_on = move || lines.map_while(Result::ok).for_each(drop);
            reading =
                std::thread::Builder::new().name("rbench-engine".into()).spawn(read_on).map(drop);
        }
        let mut engine = Self { child, input, url: String::new() };
        reading.map_err(|error| {
            system::cannot_start("the thread that reads the engine's output", error)
        })?;
        match url {
            Some(url) => {
                engine.url = url;
                Ok(engine)
            }
            None => Err(fail(said.trim())),
        }
    }

    /// The number of its process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets it end in its own time: it writes out what it has to.
    ///
    /// # Errors
    /// If it fails.
    pub(super) fn end(mut self) -> Result<(), Error> {
        drop(self.input.take());
        let fail = |what: String| {
            Error::new(Kind::System, format!("the simulated engine did not end well: {what}"))
        };
        match self.child.wait() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(fail(status.to_string())),
            Err(error) => Err(fail(error.to_string())),
        }
    }

    /// Its base URL.
    pub(super) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        drop(self.input.take());
        // It may have ended by itself, and nobody is left to read of a failure.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
