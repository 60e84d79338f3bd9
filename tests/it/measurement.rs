//! The block on the measurement, and what `--strict` makes of it.

use std::time::Duration;

use serde_json::json;

use crate::support::rbench::{LOAD, MEASUREMENT, Process, Rbench, Run, WELL};
use crate::support::server::{Answer, Script, Server};
use crate::support::wire::{self, DONE, WORDS, Wire, event};

fn run(server: &Server, flags: &[&str]) -> Run {
    Rbench::load("vllm", &server.url()).args(["--model", "tiny"]).args(flags).run()
}

/// The load of [`run`] with what is on by default.
fn load(server: &Server) -> Rbench {
    let load = LOAD.split(|word| *word == "--verbose").next().unwrap();
    let server = ["serve", "--backend", "vllm", "--model", "tiny", "--base-url", &server.url()];
    Rbench::new(server).args(load)
}

#[test]
fn the_block_comes_before_the_table_unless_it_is_not_wanted() {
    let server = Script::new(wire::good).start();
    let with = run(&server, &[]).exits(0).prints_a_table();
    let (block, table) = with.stdout.split_once("\n\n").unwrap();
    assert!(block.starts_with(MEASUREMENT) && block.ends_with('='), "{with:?}");
    assert!(table.starts_with("============ Serving Benchmark Result"), "{with:?}");
    assert_eq!(with.row("Failed requests:"), None);
    assert_eq!(with.row("Requests planned:"), Some("3 (3 sent, 0 not sent)"));
    assert_eq!(with.row("Requests sent:"), Some("3 (3 ok, 0 failed, 0 cancelled)"));
    assert_eq!(with.row("Self-checks:"), Some("5 of 5 passed"));
    let own = &with.result()["rbench"];
    assert_eq!(own["ledger"]["sent"], 3);
    assert_eq!(own["client"]["events"], 3 * WORDS.len());
    let without = load(&server).arg("--quiet-extras").run().exits(0).prints_a_table();
    assert!(!without.stdout.contains("Measurement"), "{without:?}");
    assert_eq!(without.result()["rbench"]["ledger"], own["ledger"]);
}

#[test]
fn failures_are_in_the_ledger() {
    let server = Script::new(|request| {
        if request.nth == 1 {
            Answer::body("500 Oops", "text/plain", "")
        } else {
            wire::good(request)
        }
    })
    .start();
    let run = run(&server, &[]).exits(0);
    let first = run.stdout.lines().nth(1).unwrap();
    assert_eq!(first, format!("{:<40} 1 (33.3 %)", "Failed requests:"), "{run:#?}");
    assert_eq!(run.row("Requests sent:"), Some("3 (2 ok, 1 failed, 0 cancelled)"));
}

/// Where all is well one line says so, and it stays on stdout above the table.
#[test]
fn a_good_measurement_takes_one_line() {
    let server = Script::new(wire::good).start();
    let run = load(&server).run().exits(0).prints_a_table();
    let first = run.stdout.lines().next().unwrap();
    assert!(first.starts_with(WELL) && first.ends_with(')'), "{run:#?}");
    assert!(first.contains("5 self-checks passed, client not the bottleneck, "), "{first}");
    let rows = load(&server).arg("--verbose").run().exits(0).prints_a_table();
    assert!(rows.stdout.starts_with(MEASUREMENT), "{rows:#?}");
}

/// A run that lost requests is no success, and loses nothing of its result.
#[test]
fn failures_are_an_exit_code() {
    let failing = |nth: usize| {
        Script::new(move |request| {
            if request.nth == nth {
                Answer::body("500 Oops", "text/plain", "")
            } else {
                wire::good(request)
            }
        })
        .start()
    };
    let told = "1 of 3 requests failed, more than the 1% of --allow-failed";
    let run =
        load(&failing(1)).run().exits(1).prints_a_table().says(&[told, "HTTP status 500 Oops"]);
    assert_eq!(run.result()["completed"], 2, "the result is stored all the same");
    assert!(run.stdout.starts_with(MEASUREMENT), "{run:#?}");
    for (allowed, code) in [("1", 0), ("40%", 0), ("0", 1), ("33%", 1)] {
        drop(load(&failing(2)).args(["--allow-failed", allowed]).run().exits(code));
    }
    let many = ["--num-prompts", "100"];
    drop(load(&failing(50)).args(many).run().exits(0).prints_a_table());
    drop(load(&failing(50)).args(many).args(["--allow-failed", "0"]).run().exits(1));
}

/// Nothing is said of a client that measured nothing.
#[test]
fn there_is_no_verdict_where_nothing_succeeded() {
    let server = Script::new(|_| Answer::body("500 Oops", "text/plain", "")).start();
    let run = load(&server).args(["--request-rate", "1000"]).run().exits(1);
    assert_eq!((run.row("Client:"), run.row("  Reason:")), (None, None), "{run:#?}");
    assert_eq!(run.row("Failed requests:"), Some("3 (100.0 %)"));
    assert_eq!(run.result()["rbench"]["verdict"]["client_ok"], json!(null));
}

#[test]
fn a_check_that_fails_is_told_and_is_an_exit_code_under_strict() {
    // Four events with output, and one token by the count at the end.
    let usage = json!({"choices": [], "usage": {"prompt_tokens": 8, "completion_tokens": 1}});
    let events = || {
        let mut events: Vec<String> =
            (0..WORDS.len()).map(|n| event(&Wire::Completions.token(WORDS, n))).collect();
        events.push(event(&Wire::Completions.closing(WORDS)[0]));
        events.extend([event(&usage), DONE.to_owned()]);
        events
    };
    let events = events();
    let server = Script::new(move |_| Answer::stream(&events)).start();
    let lax = run(&server, &[]).exits(0).prints_a_table();
    assert_eq!(lax.row("Self-checks:"), Some("4 of 5 passed"));
    let violation = "the server reports impossible token counts (tokens)";
    assert_eq!(lax.row("  Failed:"), Some(violation));
    let strict = run(&server, &["--strict"])
        .exits(4)
        .prints_a_table()
        .says(&["--strict: the measurement is not valid", "check `tokens` failed"]);
    assert_eq!(strict.result()["completed"], 3, "the result is stored all the same");
}

#[test]
fn a_client_that_was_the_limit_is_an_exit_code_under_strict() {
    let run = |strict: &[&str]| {
        let process = Process::default();
        let stopped = process.clone();
        let server = Script::new(move |request| {
            if request.nth == 0 {
                stopped.stop_for(Duration::from_millis(300));
            }
            wire::good(request).after(Answer::new().pause(400))
        })
        .start();
        Rbench::load("vllm", &server.url())
            .args(["--model", "tiny"])
            .args(strict)
            .known_as(&process)
            .run()
    };
    let lax = run(&[]).exits(0).prints_a_table();
    let affected = lax.row("Client:").unwrap();
    assert!(affected.starts_with("LIMITED THE RUN, affects TTFT from scheduled time"), "{lax:#?}");
    assert!(lax.row("  Reason:").unwrap().starts_with("the client did not run for"), "{lax:#?}");
    let strict = run(&["--strict"])
        .exits(4)
        .prints_a_table()
        .says(&["--strict: the measurement is not valid: "]);
    assert_eq!(strict.result()["completed"], 3, "the result is stored all the same");
}

#[test]
fn tokens_of_an_event_are_by_the_servers_running_count() {
    let run = |continuous: bool| {
        let options = json!({"include_usage": true, "continuous_usage_stats": continuous});
        let body = json!({"stream_options": options}).to_string();
        let server = Script::new(|request| {
            // Each event brings three tokens, in a word that the local tokenizer may see otherwise.
            let each = request.json()["stream_options"]["continuous_usage_stats"] == true;
            let usage = |n: usize| json!({"prompt_tokens": 8, "completion_tokens": 3 * n});
            let token = |n| {
                let mut data = Wire::Completions.token(WORDS, n);
                data["usage"] = if each { usage(n + 1) } else { json!(null) };
                event(&data)
            };
            let mut events: Vec<String> = (0..WORDS.len()).map(token).collect();
            events.push(event(&Wire::Completions.closing(WORDS)[0]));
            events.push(event(&json!({"choices": [], "usage": usage(WORDS.len())})));
            events.push(DONE.to_owned());
            Answer::stream(&events)
        })
        .start();
        let run = run(&server, &["--extra-request-body", &body]).exits(0).prints_a_table();
        assert_eq!(run.result()["total_output_tokens"], 3 * 3 * WORDS.len());
        let own = &run.result()["rbench"];
        own["peak_output_tokens_per_s"].as_f64().unwrap()
    };
    // All of the three answers come within one second.
    assert!((run(true) - 36.0).abs() < 1e-9);
    assert!(run(false) < 36.0, "the local tokenizer sees fewer");
}

#[test]
fn what_counts_as_a_stall_is_the_users_to_say() {
    let share = |threshold: &str| {
        let run = Rbench::new(["serve", "--mock", "--num-prompts", "2"])
            .args(["--output-file", "out.jsonl", "--stall-threshold", threshold])
            .run()
            .exits(0);
        run.result()["rbench"]["stalled_share"].as_f64().unwrap()
    };
    assert!(share("0") > 0.4, "the engine pauses between tokens");
    assert!(share("1h") < 0.1);
}
