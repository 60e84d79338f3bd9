//! What a run may take of its machine, and how it ends: memory, channels, signals, records.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::rbench::{LOAD, Process, Rbench};
use crate::support::server::{Answer, Script, Server};
use crate::support::wire::{self, Wire};

/// [`Rbench::load`] in a shell after `first`.
fn load_after(first: &str, server: &Server) -> Rbench {
    let url = server.url();
    Rbench::in_shell(first, ["serve", "--backend", "sglang", "--base-url", &url]).args(LOAD)
}

/// Has the program's stderr be a pipe that is full and that nobody reads.
const BLOCKED: &str = "mkfifo held; exec 3<>held; head -c 65536 /dev/zero >&3; exec 2>&3";

#[test]
fn a_signal_acts_before_anything_is_said() {
    for (first, signal, code) in [
        (BLOCKED, Signal::INT, 130),
        (BLOCKED, Signal::TERM, 143),
        (BLOCKED, Signal::HUP, 129),
        (":", Signal::HUP, 129),
    ] {
        let process = Process::default();
        let seen = process.clone();
        let server = Script::new(move |request| {
            if request.nth == 0 {
                return wire::good(request);
            }
            seen.signal(signal);
            Answer::events().chunk(wire::event(&Wire::Native.token(&["a"], 0))).hang()
        })
        .start();
        let run = load_after(first, &server)
            .args(["--max-concurrency", "1", "--grace", "0"])
            .known_as(&process)
            .run()
            .exits(code);
        assert!(run.stdout.starts_with("PARTIAL RESULT: interrupted by SIG"), "{run:?}");
        let result = run.result();
        assert_eq!(result["completed"], 1);
        assert_eq!(result["partial"], true);
        assert_eq!(result["rbench"]["ledger"]["cancelled"], 1);
    }
}

#[test]
fn a_signal_outside_of_a_run_ends_the_program_whoever_reads() {
    for (first, signal, code) in
        [(BLOCKED, Signal::INT, 130), (BLOCKED, Signal::HUP, 129), (":", Signal::TERM, 143)]
    {
        let process = Process::default();
        let seen = process.clone();
        let server = Script::control_only()
            .on("/v1/models", move |_| {
                seen.signal(signal);
                Answer::new().hang()
            })
            .start();
        let run = load_after(first, &server).known_as(&process).run().exits(code);
        let _ = run.prints_nothing();
    }
}

#[test]
fn what_is_ignored_by_nohup_is_ignored() {
    let process = Process::default();
    let seen = process.clone();
    let server = Script::new(move |request| {
        seen.signal(Signal::HUP);
        wire::good(request)
    })
    .start();
    let run = load_after("trap '' HUP", &server).known_as(&process).run().exits(0);
    assert_eq!(run.result()["completed"], 3);
}

#[test]
fn a_file_that_may_grow_no_further_is_a_full_disk() {
    let server = Script::new(wire::good).start();
    // Blocks of 512 bytes.
    let run = load_after("ulimit -f 1", &server).args(["--records", "r.jsonl"]).run();
    let run = run.exits(1).says(&["r.jsonl", "File too large", "cannot append the result"]);
    assert_eq!(run.row("Successful requests:"), Some("3"));
    // What was measured is not lost with the file.
    let line = run.stderr.lines().find(|line| line.starts_with("{\"")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(line).unwrap()["completed"], 3);
}

#[test]
fn results_are_stored_whoever_reads_them() {
    let server = Script::new(wire::good).start();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let run = load_after(":", &server).stdout(writer).run().exits(0);
    assert_eq!(run.result()["completed"], 3);
}

/// A server whose even requests have an answer without end, of which `piece` is repeated; the others are good ones.
fn flooding(piece: &str) -> Server {
    let chunk = format!("{:x}\r\n{piece}\r\n", piece.len());
    Script::new(move |request| match request.nth % 2 {
        0 => Answer::events().flood(&chunk),
        _ => wire::good(request),
    })
    .start()
}

#[test]
fn answers_share_one_budget() {
    let text = |len: usize| {
        wire::event(
            &json!({"choices": [{"index": 0, "text": "a".repeat(len), "finish_reason": null}]}),
        )
    };
    // Far below the caps of a single answer when the memory of all is spent.
    for (what, piece, flags) in [
        ("long texts", text(1 << 16), &[][..]),
        ("many events", text(1).repeat(2000), &["--records", "r.jsonl"]),
        ("what is kept until its end", format!("data: {}", "a".repeat(1 << 16)), &[]),
        ("under --low-memory", text(1 << 14), &["--low-memory"]),
    ] {
        let server = flooding(&piece);
        let url = server.url();
        let words = ["serve", "--backend", "vllm", "--base-url", &url];
        let run = Rbench::in_shell("ulimit -v 600000", words)
            .args(LOAD)
            .args(["--num-prompts", "6"])
            // Without a number of tokens that is asked for only the caps of any answer hold.
            .args(["--extra-request-body", r#"{"max_tokens": null}"#])
            // Each thread reserves addresses, of which there are few here.
            .args(["--progress", "none"])
            .args(flags)
            .run()
            .exits(0);
        let result = run.result();
        assert_eq!(result["completed"], 3, "{what}: {result:#}");
        let failures = result["rbench"]["failures"].as_array().unwrap();
        let cut: u64 = failures
            .iter()
            .filter(|group| group["kind"] == "memory")
            .map(|group| group["count"].as_u64().unwrap())
            .sum();
        let memory = &result["rbench"]["memory"];
        assert!(cut > 0, "{what}: {failures:#?}");
        assert_eq!(memory["cut"], cut, "{what}");
        assert!(memory["budget_bytes"].as_u64().is_some_and(|bytes| bytes < 100 << 20), "{memory}");
        assert!(run.stdout.contains("Answers cut, not counted:"), "{what}: {}", run.stdout);
        let checks = result["rbench"]["checks"].as_array().unwrap();
        assert!(checks.iter().all(|check| check["passed"] == true), "{what}: {checks:#?}");
    }
}

#[test]
fn a_budget_that_was_not_spent_is_not_mentioned() {
    let server = Script::new(wire::good).start();
    let run = load_after(":", &server).run().exits(0);
    assert!(run.result()["rbench"].get("memory").is_none());
    assert!(!run.stdout.contains("Memory for answers"));
}

#[test]
fn what_the_machine_cannot_hold_is_refused_beforehand() {
    let server = Script::untouched().start();
    let billion = "1000000000";
    for (first, words, says) in [
        (":", &["--worker-threads", billion][..], "--worker-threads 1000000000: so many threads"),
        (":", &["--warmup-requests", billion], "--warmup-requests 1000000000: so many need"),
        (":", &["--warmup-requests", "18446744073709551615"], "--warmup-requests"),
        (":", &["--num-prompts", "1000000000000"], "--num-prompts 1000000000000: so many need"),
        ("ulimit -n 6", &[], "the limit of file descriptors is 6"),
        ("ulimit -n 40", &["--worker-threads", "8"], "--worker-threads 8: so many threads need 80"),
    ] {
        let run = load_after(first, &server).args(words).run().exits(1).prints_nothing();
        let run = run.says(&["error: ", says]);
        assert!(!run.stderr.contains("memory allocation"), "{run:?}");
    }
}
