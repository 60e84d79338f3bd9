//! Servers that rbench starts: they are waited for, and nothing of them is left, whatever happens.

use std::io::Read;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::rbench::{RESULT, Rbench};
use crate::support::server::Script;

/// A pipe with a name that processes of a server hold open, so that its end tells that all of them are gone.
pub(crate) struct Leash {
    folder: TempDir,
}

impl Leash {
    pub(crate) fn new() -> Self {
        let leash = Self { folder: tempfile::tempdir().unwrap() };
        for name in ["leash", "go"] {
            assert!(
                Command::new("mkfifo")
                    .arg(leash.folder.path().join(name))
                    .status()
                    .unwrap()
                    .success()
            );
        }
        leash
    }

    /// Path of the pipe that is held.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("leash")
    }

    /// Path of a pipe whose first line says that a signal may be sent.
    pub(crate) fn go(&self) -> PathBuf {
        self.folder.path().join("go")
    }

    /// Waits in the background until the pipe has been opened and then closed by all.
    pub(crate) fn watch(&self) -> mpsc::Receiver<()> {
        let (tell, told) = mpsc::channel();
        let path = self.path();
        std::thread::spawn(move || {
            let mut pipe = std::fs::File::open(path).unwrap();
            pipe.read_to_end(&mut Vec::new()).unwrap();
            let _ = tell.send(());
        });
        told
    }

    /// A server's command: it holds the pipe, leaves it to a child of its own as well, and goes on with `then`.
    pub(crate) fn command(&self, then: &str) -> String {
        format!("exec 9>{}; sleep 1000 & {then}", self.path().display())
    }
}

/// Checks that all who held the pipe are gone.
pub(crate) fn all_gone(watched: &mpsc::Receiver<()>) {
    watched.recv_timeout(Duration::from_secs(20)).expect("a process of the server is left");
}

/// A port that was free a moment ago.
fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn mock(port: u16) -> String {
    format!("{} mock --ttft 1ms --itl 1ms --port {port}", env!("CARGO_BIN_EXE_rbench"))
}

#[test]
fn a_server_is_started_measured_and_ended_with_its_children() {
    let (leash, port) = (Leash::new(), port());
    let watched = leash.watch();
    let run = Rbench::load("sglang", &format!("http://127.0.0.1:{port}"))
        .args(["--launch", &leash.command(&mock(port))])
        .run()
        .exits(0)
        .prints_a_table()
        .says(&["server launched"]);
    all_gone(&watched);
    let config = &run.result()["rbench"]["config"];
    assert_eq!(config["launched"], true);
    assert_eq!(config["ready_check_timeout_sec"], 1800);
    assert_eq!(config.get("launch"), None);
}

#[test]
fn what_a_server_said_is_in_its_log() {
    let port = port();
    let run = Rbench::load("sglang", &format!("http://127.0.0.1:{port}"))
        .args([
            "--launch",
            &format!("echo on stdout; {}", mock(port)),
            "--launch-log",
            "server.log",
        ])
        .run()
        .exits(0);
    let log = std::fs::read_to_string(run.path("server.log")).unwrap();
    assert!(log.starts_with("on stdout\n") && log.contains("listening on"), "{log}");
}

#[test]
fn a_server_that_ends_early_is_told_at_once_with_what_it_said() {
    for (log, kept) in [(&[][..], 0), (&["--launch-log", "server.log"], 1)] {
        let leash = Leash::new();
        let watched = leash.watch();
        let run = Rbench::load("sglang", "http://127.0.0.1:9")
            .args(["--launch", &leash.command("echo no memory >&2; exit 3")])
            .args(log)
            .run()
            .exits(1)
            .prints_nothing()
            .says(&["ended before it was ready", "exit status: 3", "  no memory"]);
        all_gone(&watched);
        assert_eq!(run.files().len(), kept, "{run:#?}");
    }
    let _ = Rbench::load("sglang", "http://127.0.0.1:9")
        .args(["--launch", "/absent/server"])
        .run()
        .exits(1)
        .says(&["exit status: 127", "/absent/server"]);
}

#[test]
fn a_server_is_ended_when_a_later_step_fails() {
    let (leash, port) = (Leash::new(), port());
    let watched = leash.watch();
    let _ = Rbench::load("sglang", &format!("http://127.0.0.1:{port}"))
        .args(["--launch", &leash.command(&mock(port)), "--tokenizer", "absent.json"])
        .run()
        .exits(1)
        .says(&["absent.json"]);
    all_gone(&watched);
}

#[test]
fn a_server_that_ends_during_the_run_is_told_of() {
    let (leash, port) = (Leash::new(), port());
    let go = leash.go();
    // It ends when the first request comes in.
    let server = mock(port).replace("--ttft 1ms", &format!("--ttft 30s --bodies {}", go.display()));
    let then = format!("{server} & read line <{}; echo broken; kill -9 $!; exit 7", go.display());
    for command in ["serve", "offline", "one-batch"] {
        let watched = leash.watch();
        let run = Rbench::new([command, "--base-url", &format!("http://127.0.0.1:{port}")])
            .args(["--launch", &leash.command(&then), "--dataset-name", "random-ids"])
            .args(["--tokenizer", "rbench-bundled"])
            .run()
            .exits(1);
        let _ = run.says(&["ended during the run: exit status: 7", "  broken"]);
        all_gone(&watched);
    }
}

#[test]
fn a_server_that_is_never_ready_is_ended() {
    let leash = Leash::new();
    let watched = leash.watch();
    let _ = Rbench::load("sglang", "http://127.0.0.1:9")
        .args(["--launch", &leash.command("echo loading; wait")])
        .args(["--ready-check-timeout-sec", "1"])
        .run()
        .exits(1)
        .says(&["did not become ready within 1 s", "  loading"]);
    all_gone(&watched);
}

#[test]
fn a_server_that_does_not_end_when_asked_is_killed() {
    let (leash, port) = (Leash::new(), port());
    let watched = leash.watch();
    let command = format!("trap '' TERM; {}; {}", leash.command(&mock(port)), "wait");
    let _ = Rbench::load("sglang", &format!("http://127.0.0.1:{port}"))
        .args(["--launch", &command, "--launch-grace-sec", "0.1"])
        .run()
        .exits(0);
    all_gone(&watched);
}

#[test]
fn a_process_that_left_the_group_is_ended_too() {
    let (leash, port) = (Leash::new(), port());
    let watched = leash.watch();
    let command = leash.command(&format!("setsid sleep 1000 & {}", mock(port)));
    let _ = Rbench::load("sglang", &format!("http://127.0.0.1:{port}"))
        .args(["--launch", &command])
        .run()
        .exits(0);
    all_gone(&watched);
}

#[test]
fn signals_end_the_server_first() {
    for (signal, code) in [("INT", Some(130)), ("TERM", Some(143)), ("KILL", None)] {
        let leash = Leash::new();
        let watched = leash.watch();
        let go = leash.go();
        // The shell becomes rbench, with the same id.
        let first = format!("( read line <{}; kill -{signal} $$ ) &", go.display());
        let command = leash.command(&format!("echo go >{}; wait", go.display()));
        let run = Rbench::in_shell(&format!("{first} true"), ["serve", "--backend", "sglang"])
            .args(["--base-url", "http://127.0.0.1:9", "--launch", &command])
            .run();
        assert_eq!(run.code, code, "{signal}: {run:#?}");
        if code.is_some() {
            let run = run.prints_nothing().says(&["interrupted"]);
            assert!(!run.stderr.contains("\nerror:"), "{run:#?}");
        }
        all_gone(&watched);
    }
}

#[test]
fn a_server_that_is_there_already_is_not_measured_by_mistake() {
    let server = Script::control_only().start();
    let _ = Rbench::load("sglang", &server.url())
        .args(["--launch", "echo started >started"])
        .run()
        .exits(2)
        .says(&["--launch", "answers", "already"]);
    assert_eq!(server.inference().len(), 0);
}

#[test]
fn flags_that_do_not_go_with_a_launch() {
    for (words, says) in [
        (&["--launch-log", "x"][..], &["--launch-log", "--launch"][..]),
        (&["--launch-grace-sec", "1"], &["--launch-grace-sec", "--launch"]),
        (&["--launch", " "], &["--launch", "empty"]),
        (&["--launch", "x", "--ready-check-timeout-sec", "0"], &["--ready-check-timeout-sec 0"]),
        (&["--launch", "x", "--mock"], &["--launch", "--mock"]),
        (&["--launch", "x", "--launch-log", "absent/log"], &["--launch-log absent/log"]),
    ] {
        let run = Rbench::new(["serve", "--output-file", RESULT]).args(words).run().exits(2);
        let run = run.prints_nothing().says(says);
        assert!(run.files().is_empty(), "{run:#?}");
    }
}
