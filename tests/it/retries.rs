//! Requests that the server turns away are sent again, if that is asked for.

use rustix::process::Signal;
use serde_json::json;

use crate::support::rbench::{Process, Rbench};
use crate::support::server::{Answer, Refusing, Script};
use crate::support::wire;

/// An answer that turns a request away for so many seconds.
fn busy(status: &str, seconds: &str) -> Answer {
    Answer::head(status, &["content-length: 4", &format!("retry-after: {seconds}")]).raw("busy")
}

#[test]
fn what_is_turned_away_is_sent_again() {
    for status in ["429 Too Many Requests", "503 Service Unavailable"] {
        let server = Script::new(move |request| match request.nth {
            0 | 1 => busy(status, "0"),
            _ => wire::good(request),
        })
        .start();
        let run = Rbench::load("sglang", &server.url())
            .args(["--retries", "2", "--max-concurrency", "1"])
            .run()
            .exits(0);
        assert_eq!(server.inference().len(), 5);
        assert_eq!(run.row("Requests retried:"), Some("1 (2 attempts more)"));
        let result = run.result();
        assert_eq!(result["completed"], 3);
        let own = &result["rbench"];
        assert_eq!((&own["retried_requests"], &own["retry_attempts"]), (&json!(1), &json!(2)));
        let ms = |key: &str| own[key].as_f64().unwrap();
        assert!(ms("max_e2e_with_retries_ms") >= ms("max_ttft_with_retries_ms"));
        let checks = own["checks"].as_array().unwrap();
        assert!(checks.iter().all(|check| check["passed"] == true), "{checks:#?}");
        // The same request: what it says does not change.
        let sent = server.inference();
        assert!(sent[0].body == sent[1].body && sent[1].body == sent[2].body);
    }
}

#[test]
fn only_so_often_and_only_what_may_go_well_then() {
    for (status, retries, sent) in [
        ("429 Too Many Requests", "1", 6),
        ("429 Too Many Requests", "0", 3),
        ("500 Internal Server Error", "3", 3),
        ("400 Bad Request", "3", 3),
    ] {
        let server = Script::new(move |_| busy(status, "0")).start();
        let run = Rbench::load("sglang", &server.url()).args(["--retries", retries]).run().exits(1);
        assert_eq!(server.inference().len(), sent, "{status}");
        let failures = &run.result()["rbench"]["failures"];
        assert_eq!(
            (&failures[0]["kind"], &failures[0]["count"]),
            (&json!("http_status"), &json!(3))
        );
    }
}

#[test]
fn nothing_is_kept_for_when_its_time_is_over() {
    let server = Script::new(|_| busy("429 Too Many Requests", "600")).start();
    let run = Rbench::load("sglang", &server.url())
        .args(["--retries", "3", "--request-timeout", "5m"])
        .run()
        .exits(1);
    assert_eq!(server.inference().len(), 3);
    assert_eq!(run.result()["rbench"]["failures"][0]["kind"], "http_status");
}

#[test]
fn refused_connections_are_tried_again() {
    let nobody = Refusing::new();
    let run = Rbench::load("sglang", &nobody.url())
        .args(["--model", "m", "--ready-check-timeout-sec", "0", "--retries", "1"])
        .run()
        .exits(1);
    let own = &run.result()["rbench"];
    assert_eq!(own["failures"][0]["kind"], "connect_refused");
    assert_eq!(own["retry_attempts"], 3);
    assert_eq!(own["ledger"]["failed"], 3);
}

#[test]
fn a_run_that_is_ended_does_not_wait_to_send_again() {
    let process = Process::default();
    let seen = process.clone();
    let server = Script::new(move |request| {
        if request.nth == 2 {
            seen.signal(Signal::INT);
        }
        busy("429 Too Many Requests", "600")
    })
    .start();
    let run = Rbench::load("sglang", &server.url())
        .args(["--retries", "1", "--grace", "20s"])
        .known_as(&process)
        .run()
        .exits(130);
    assert_eq!(run.result()["rbench"]["ledger"]["failed"], 3);
}
