//! The simulated engine of the program, in a process of its own.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

/// `rbench mock` for as long as this lives.
pub(crate) struct Mock {
    child: Child,
    pub(crate) url: String,
}

impl Mock {
    /// None, in the place of one where nothing is to be sent.
    pub(crate) fn nowhere() -> Self {
        let child = Command::new("true").spawn().unwrap();
        Self { child, url: "http://127.0.0.1:1".into() }
    }

    /// Starts it on a free port.
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_rbench"))
            .args(["mock", "--port", "0"])
            .args(args)
            .env_clear()
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut lines = lines.map(Result::unwrap);
        let url = lines.find_map(|line| Some(line[line.find("http://")?..].trim().to_owned()));
        // Whatever else it says must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url: url.expect("the mock tells its address") }
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
