//! Servers that rbench starts: how they end, and what is shown of them.

use std::net::TcpListener;

use crate::launch::{Leash, all_gone};
use crate::support::rbench::Rbench;

/// Why a server that was launched ended; `first` is what stands before its own command.
fn ended(first: &str, then: &str) -> String {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mock = format!("{} mock --ttft 1ms --itl 1ms --port {port}", env!("CARGO_BIN_EXE_rbench"));
    // A server that takes it for a crash if its child is asked to end before it has done so.
    let server = format!(
        "(trap 'touch early; exit' TERM; while :; do sleep 0.02; done) & child=$!; {mock} & mock=$!
         trap 'sleep 0.2; test -e early && echo crash >how || echo calm >how; kill $child $mock; exit' TERM
         wait"
    );
    let run = Rbench::load("sglang", &format!("http://127.0.0.1:{port}"))
        .file("server.sh", server)
        .args(["--launch", &format!("{first}sh server.sh{then}")])
        .run()
        .exits(0);
    std::fs::read_to_string(run.path("how")).unwrap_or_default()
}

#[test]
fn a_launched_server_is_asked_to_end_before_what_it_started() {
    // The server in place of the shell, below it, and below a shell that runs more than one thing.
    for (first, then) in [("exec ", ""), ("", ""), ("true; ", "; true"), ("sh -c '", "; true'")] {
        assert_eq!(ended(first, then), "calm\n", "{first}{then}");
    }
}

#[test]
fn nothing_of_a_launched_server_outlives_the_processes_that_watch_it() {
    // With what left the group of the server, and what lost its parent.
    let leash = Leash::new();
    let watched = leash.watch();
    let then = "setsid sleep 1000 & (setsid sh -c 'sleep 1000 & sleep 1000' &)
        cat /proc/$PPID/comm >name; kill -9 $PPID; sleep 1000";
    let run = Rbench::load("sglang", "http://127.0.0.1:9")
        .args(["--launch", &leash.command(then)])
        .run()
        .exits(1)
        .says(&["the process that watches it was ended"]);
    all_gone(&watched);
    // Who kills all processes of one name does not mean it.
    let name = std::fs::read_to_string(run.path("name")).unwrap();
    assert_eq!(name, "launch-guard\n");
    // Both are killed: the server itself is asked to end.
    let leash = Leash::new();
    let watched = leash.watch();
    let path = leash.path();
    let then = format!(
        "exec 9>{}; guard=$PPID; read -r _ _ _ rbench _ </proc/$guard/stat; kill -9 $rbench $guard; exec sleep 1000",
        path.display()
    );
    let run = Rbench::load("sglang", "http://127.0.0.1:9").args(["--launch", &then]).run();
    assert_eq!(run.code, None, "{run:#?}");
    all_gone(&watched);
}

#[test]
fn the_end_of_a_log_is_short_whatever_its_lines() {
    for log in [&[][..], &["--launch-log", "server.log"]] {
        let run = Rbench::load("sglang", "http://127.0.0.1:9")
            .args(["--launch", "head -c 3000000 /dev/zero | tr '\\0' x; echo the end; exit 3"])
            .args(log)
            .run()
            .exits(1)
            .says(&["xthe end", "exit status: 3"]);
        assert!(run.stderr.len() < 10_000, "{}", run.stderr.len());
    }
}
