//! Runs that are ended before their plan is done: by signals, by too many failures; and requests that take too long.

use std::net::TcpListener;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::rbench::{MEASUREMENT, Process, Rbench};
use crate::support::server::{Answer, Script};
use crate::support::wire::{self, Wire};

/// Scheduled, sent, never sent, completed, failed, cancelled.
fn ledger(result: &Value) -> [u64; 6] {
    let ledger = &result["rbench"]["ledger"];
    ["scheduled", "sent", "never_sent", "completed", "failed", "cancelled"]
        .map(|key| ledger[key].as_u64().unwrap())
}

#[test]
fn a_signal_ends_a_run_whose_results_are_told() {
    for (signal, name, code, keeps) in [
        (Signal::INT, "SIGINT", 130, "--output-details"),
        (Signal::TERM, "SIGTERM", 143, "--output-details"),
        (Signal::INT, "SIGINT", 130, "--low-memory"),
    ] {
        let process = Process::default();
        let seen = process.clone();
        let server = Script::new(move |request| {
            if request.nth < 2 {
                return wire::good(request);
            }
            seen.signal(signal);
            Answer::events().chunk(wire::event(&Wire::Native.token(&["a"], 0))).hang()
        })
        .start();
        let run = Rbench::plain_load("sglang", &server.url())
            .args(["--num-prompts", "5", "--max-concurrency", "1", "--grace", "0"])
            .args(["--records", "r.jsonl", keeps])
            .known_as(&process)
            .run()
            .exits(code)
            .says(&["interrupted: nothing more is sent", "cancelled"]);
        // A row of each request, those that were not sent included, and the first and the last line.
        let records = std::fs::read_to_string(run.path("r.jsonl")).unwrap();
        assert_eq!(records.lines().count(), 1 + 5 + 1, "{records}");
        let (first, rest) = run.stdout.split_once('\n').unwrap();
        assert_eq!(first, format!("PARTIAL RESULT: interrupted by {name}"));
        assert!(rest.starts_with(MEASUREMENT), "{rest}");
        assert!(rest.contains("\n\n============ Serving Benchmark Result"), "{rest}");
        assert_eq!(run.row("Successful requests:"), Some("2"));
        let result = run.result();
        assert_eq!(result["partial"], true);
        assert_eq!(result["rbench"]["partial_reason"], format!("interrupted by {name}"));
        assert_eq!(ledger(&result), [5, 3, 2, 2, 0, 1]);
        assert_eq!(result["rbench"]["failures"][0]["kind"], "cancelled");
        if keeps == "--output-details" {
            assert_eq!(result["errors"][2], "cancelled: the run was ended");
            assert_eq!(result["errors"][3], "not sent");
        }
        let checks = result["rbench"]["checks"].as_array().unwrap();
        assert!(checks.iter().all(|check| check["passed"] == true), "{checks:#?}");
    }
}

#[test]
fn what_is_in_flight_may_end_within_the_grace() {
    let process = Process::default();
    let seen = process.clone();
    let server = Script::new(move |request| {
        if request.nth == 1 {
            seen.signal(Signal::INT);
        }
        let answer = Answer::stream(Wire::Native.events(&["a", "b"]));
        answer.after(Answer::new().pause(50))
    })
    .start();
    let run = Rbench::load("sglang", &server.url())
        .args(["--num-prompts", "500", "--max-concurrency", "1", "--grace", "20s"])
        .known_as(&process)
        .run()
        .exits(130);
    let [scheduled, sent, never_sent, completed, failed, cancelled] = ledger(&run.result());
    assert_eq!((scheduled, failed, cancelled), (500, 0, 0));
    assert!(sent >= 2 && sent == completed && never_sent == 500 - sent && never_sent > 0);
}

#[test]
fn a_run_by_time_is_partial_even_if_all_that_was_sent_ended() {
    let process = Process::default();
    let seen = process.clone();
    let server = Script::new(move |request| {
        if request.nth == 4 {
            seen.signal(Signal::INT);
        }
        wire::good(request)
    })
    .start();
    let run = Rbench::load("sglang", &server.url())
        .args(["--duration", "10m", "--request-rate", "20", "--grace", "20s"])
        .known_as(&process)
        .run()
        .exits(130);
    let result = run.result();
    assert_eq!(result["partial"], true);
    let [scheduled, sent, never_sent, completed, ..] = ledger(&result);
    assert!(sent >= 5 && [scheduled, completed] == [sent; 2] && never_sent == 0, "{result:#}");
}

#[test]
fn conversations_end_with_the_run() {
    let process = Process::default();
    let seen = process.clone();
    let server = Script::new(move |request| {
        if request.nth == 1 {
            seen.signal(Signal::INT);
            return Answer::new().hang();
        }
        wire::good(request)
    })
    .start();
    let turn =
        |text: &str| json!({"messages": [{"role": "user", "content": text}], "prompt_tokens": 1});
    let agents = json!({"conversations": [[turn("a"), turn("b"), turn("c"), turn("d")]]});
    let run = Rbench::load("vllm-chat", &server.url())
        .file("agents.json", agents.to_string())
        .args(["--dataset-name", "agentic-trace", "--dataset-path", "agents.json"])
        .args(["--num-prompts", "1", "--grace", "0"])
        .known_as(&process)
        .run()
        .exits(130);
    assert_eq!(ledger(&run.result()), [4, 2, 2, 1, 0, 1]);
}

#[test]
fn a_second_signal_ends_at_once() {
    let process = Process::default();
    let seen = process.clone();
    let server = Script::new(move |_| {
        seen.signal(Signal::INT);
        seen.signal(Signal::TERM);
        Answer::new().hang()
    })
    .start();
    let run = Rbench::load("sglang", &server.url())
        .args(["--num-prompts", "1", "--grace", "10m"])
        .known_as(&process)
        .run();
    // Whichever was seen first.
    assert!(matches!(run.code, Some(130 | 143)), "{run:?}");
    // What was recorded is left.
    assert_eq!(run.prints_nothing().files(), ["out.jsonl.records"]);
}

#[test]
fn a_signal_before_the_run_ends_the_program() {
    let process = Process::default();
    let seen = process.clone();
    let server = Script::new(move |_| {
        seen.signal(Signal::INT);
        Answer::new().hang()
    })
    .start();
    let in_warm_up = Rbench::load("sglang", &server.url()).args(["--warmup-requests", "1"]);
    let run = in_warm_up.known_as(&process).run().exits(130).says(&["interrupted"]);
    assert_eq!(run.prints_nothing().files(), Vec::<String>::new());

    let process = Process::default();
    let seen = process.clone();
    let server = Script::control_only()
        .on("/v1/models", move |_| {
            seen.signal(Signal::TERM);
            Answer::new().hang()
        })
        .start();
    let run = Rbench::load("sglang", &server.url()).known_as(&process).run().exits(143);
    assert_eq!(run.prints_nothing().files(), Vec::<String>::new());
}

#[test]
fn a_signal_while_results_are_told_waits_for_them() {
    let process = Process::default();
    let seen = process.clone();
    let server = Script::new(wire::good)
        .on("/server_info", move |_| {
            seen.signal(Signal::INT);
            Answer::not_found()
        })
        .start();
    let run = Rbench::load("sglang", &server.url())
        .known_as(&process)
        .run()
        .exits(130)
        .says(&["ends when the results are told"])
        .prints_a_table();
    let result = run.result();
    assert_eq!(ledger(&result), [3, 3, 0, 3, 0, 0]);
    assert_eq!(result.get("partial"), None);
}

#[test]
fn a_warm_up_that_is_refused_ends_the_program() {
    for (status, refused) in
        [("401 No", true), ("403 No", true), ("404 No", true), ("422 No", true), ("500 No", false)]
    {
        let server = Script::new(move |request| match request.nth {
            1 => Answer::body(status, "text/plain", "no"),
            _ => wire::good(request),
        })
        .start();
        let run = Rbench::load("sglang", &server.url()).args(["--warmup-requests", "3"]).run();
        let run = run.exits(i32::from(refused));
        assert_eq!(server.inference().len(), if refused { 3 } else { 6 }, "{run:?}");
        assert_eq!(run.files().is_empty(), refused);
    }
}

#[test]
fn too_many_failures_end_the_run() {
    for (most, failing, want, code) in [
        ("3", 10, [10, 4, 6, 0, 4, 0], 1),
        ("20%", 10, [10, 3, 7, 0, 3, 0], 1),
        ("0", 2, [10, 1, 9, 0, 1, 0], 1),
        ("3", 3, [10, 10, 0, 7, 3, 0], 0),
    ] {
        let server = Script::new(move |request| match request.nth {
            n if n < failing => Answer::body("500 Oops", "text/plain", "broken"),
            _ => wire::good(request),
        })
        .start();
        let run = Rbench::load("sglang", &server.url())
            .args(["--num-prompts", "10", "--max-concurrency", "1", "--max-errors", most])
            .run()
            .exits(code);
        let result = run.result();
        assert_eq!(ledger(&result), want, "{most}");
        assert_eq!(result.get("partial"), (code == 1).then_some(&json!(true)), "{most}");
    }
}

#[test]
fn a_run_that_survives_on_paper_tells_why_it_ended() {
    let server = Script::new(|request| match request.nth {
        0 => wire::good(request),
        _ => Answer::body("500 Oops", "text/plain", "broken"),
    })
    .start();
    let run = Rbench::load("sglang", &server.url())
        .args(["--num-prompts", "5", "--max-concurrency", "1", "--max-errors", "1"])
        .run()
        .exits(1)
        .says(&["the run was ended: more than 1 request failed (--max-errors)"]);
    assert_eq!(ledger(&run.result()), [5, 3, 2, 1, 2, 0]);
}

#[test]
fn failures_of_the_warm_up_are_not_counted_against_the_run() {
    let server = Script::new(|request| match request.nth {
        1 => Answer::body("500 Oops", "text/plain", "broken"),
        _ => wire::good(request),
    })
    .start();
    let run = Rbench::load("sglang", &server.url())
        .args(["--warmup-requests", "3", "--max-errors", "0"])
        .run()
        .exits(0);
    assert_eq!(ledger(&run.result()), [3, 3, 0, 3, 0, 0]);
}

/// An answer that is never complete, made from an event.
type Bad = fn(String) -> Answer;

#[test]
fn requests_that_take_too_long_fail_and_the_others_do_not() {
    let token = || wire::event(&Wire::Native.token(&["a"], 0));

    let cases: &[(&str, &str, &str, Bad)] = &[
        ("--first-token-timeout", "first_token_timeout", "headers", |_| Answer::new().hang()),
        ("--first-token-timeout", "first_token_timeout", "first_token", |_| {
            Answer::events().hang()
        }),
        ("--idle-timeout", "idle_timeout", "stream", |token| Answer::events().chunk(token).hang()),
        ("--request-timeout", "request_timeout", "stream", |token| {
            (0..500).fold(Answer::events(), |answer, _| answer.chunk(&token).pause(20))
        }),
    ];
    for &(flag, kind, phase, bad) in cases {
        let server = Script::new(move |request| match request.nth {
            1 => bad(token()),
            _ => wire::good(request),
        })
        .start();
        let run = Rbench::load("sglang", &server.url()).args([flag, "300ms"]).run().exits(0);
        let result = run.result();
        assert_eq!(ledger(&result), [3, 3, 0, 2, 1, 0], "{flag}");
        let failure = &result["rbench"]["failures"][0];
        assert_eq!((&failure["kind"], &failure["phase"]), (&json!(kind), &json!(phase)));
        assert!(failure["message"].as_str().unwrap().contains(flag), "{failure}");
    }
}

#[test]
fn a_handshake_without_an_end_is_given_up() {
    // The kernel makes connections that nobody accepts.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let run = Rbench::load("sglang", &url)
        .args(["--model", "m", "--ready-check-timeout-sec", "0", "--insecure"])
        .args(["--connect-timeout", "200ms"])
        .run()
        .exits(1);
    let result = run.result();
    assert_eq!(ledger(&result), [3, 3, 0, 0, 3, 0]);
    let failure = &result["rbench"]["failures"][0];
    assert_eq!(
        (&failure["kind"], &failure["phase"]),
        (&json!("connect_timeout"), &json!("connect"))
    );
}
