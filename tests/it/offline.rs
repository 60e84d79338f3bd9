//! Throughput alone: `rbench offline`.

use expect_test::expect;
use serde_json::{Value, json};

use crate::support::rbench::{RESULT, Rbench};
use crate::support::server::{Answer, Script};
use crate::support::wire;

/// 4 requests of 8 tokens in and 4 out against `url`.
fn offline(url: &str) -> Rbench {
    Rbench::new(["offline", "--base-url", url, "--tokenizer", "rbench-bundled"])
        .args(["--dataset-name", "random-ids", "--random-input", "8", "--random-output", "4"])
        .args(["--random-range-ratio", "1", "--num-prompts", "4"])
}

fn state(state: &Value) -> Answer {
    Answer::json(&json!({"internal_states": [state]}))
}

/// The table with figures that hang on the clock replaced by `#`, and `|` at the end of each line.
fn table(stdout: &str) -> String {
    let hangs = |line: &&str| line.contains("duration") || line.contains("put (");
    stdout
        .lines()
        .map(|line| match (hangs(&line), line.split_at_checked(41)) {
            (true, Some((label, value))) if value.contains('.') && !label.starts_with("Last") => {
                assert!(value.trim_end().parse::<f64>().unwrap() >= 0.0, "{line}");
                assert!(value.len() >= 10, "{line}");
                format!("{label}#|\n")
            }
            _ => format!("{line}|\n"),
        })
        .collect()
}

#[test]
fn everything_is_sent_at_once_after_a_warm_up_and_told_in_a_table() {
    let server = Script::new(wire::good)
        .on("/server_info", |_| state(&json!({"last_gen_throughput": 1234.5})))
        .start();
    let run = offline(&server.url()).args(["--result-filename", RESULT]).run().exits(0);
    expect![[r#"
        |
        ====== Offline Throughput Benchmark Result =======|
        Backend:                                 sglang    |
        Successful requests:                     4         |
        Benchmark duration (s):                  #|
        Total input tokens:                      32        |
        Total generated tokens:                  16        |
        Last generation throughput (tok/s):      1234.50   |
        Request throughput (req/s):              #|
        Input token throughput (tok/s):          #|
        Output token throughput (tok/s):         #|
        Total token throughput (tok/s):          #|
        ==================================================|
    "#]]
    .assert_eq(&table(&run.stdout));
    let requests = server.inference();
    assert_eq!(requests.len(), 8);
    for (i, request) in requests.iter().enumerate() {
        let body = request.json();
        let asked = if i < 4 { 16 } else { 4 };
        assert_eq!(body["sampling_params"]["max_new_tokens"], asked);
        assert_eq!(body["sampling_params"]["temperature"], 0.0);
        assert_eq!(body["stream"], false);
    }
    let result = run.result();
    let keys: Vec<&String> = result.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "backend",
            "successful_requests",
            "total_latency",
            "total_input_tokens",
            "total_output_tokens",
            "request_throughput",
            "input_throughput",
            "output_throughput",
            "total_throughput",
            "last_gen_throughput",
            "rbench",
        ]
    );
    assert_eq!(result["successful_requests"], 4);
    assert_eq!(result["total_input_tokens"], 32);
    assert_eq!(result["total_output_tokens"], 16);
    assert_eq!(result["last_gen_throughput"], 1234.5);
}

#[test]
fn what_a_server_does_not_tell_is_not_made_up() {
    let server = Script::new(wire::good).on("/server_info", |_| state(&json!({}))).start();
    let run = offline(&server.url())
        .args(["--skip-warmup", "--output-file", RESULT, "--backend", "sglang-oai"])
        .run()
        .exits(0);
    assert_eq!(run.row("Last generation throughput (tok/s):"), Some("n/a"));
    assert_eq!(run.result()["last_gen_throughput"], Value::Null);
    assert_eq!(server.inference().len(), 4);
}

#[test]
fn nothing_is_written_unless_asked_for_and_no_more_are_open_than_allowed() {
    let server = Script::new(wire::good).start();
    let run = offline(&server.url())
        .args(["--skip-warmup", "--max-concurrency", "1", "--num-prompts", "6"])
        .run()
        .exits(0);
    assert_eq!(run.files(), [""; 0]);
    assert_eq!((server.peak(), server.inference().len()), (1, 6));
}

#[test]
fn datasets_have_their_flags() {
    let run = Rbench::new(["offline", "--mock", "--num-prompts", "6"])
        .args(["--dataset-name", "generated-shared-prefix", "--gsp-num-groups", "2"])
        .args(["--gsp-prompts-per-group", "3", "--gsp-system-prompt-len", "16"])
        .args(["--gsp-question-len", "8", "--gsp-output-len", "3"])
        .run()
        .exits(0);
    assert_eq!(run.row("Successful requests:"), Some("6"));
    assert_eq!(run.row("Total generated tokens:"), Some("18"));
    let run = Rbench::new(["offline", "--mock", "--num-prompts", "3"])
        .args(["--sharegpt-output-len", "5"])
        .run()
        .exits(0);
    assert_eq!(run.row("Total generated tokens:"), Some("15"));
}

#[test]
fn traces_have_times_of_their_own() {
    let trace = r#"{"timestamp": 0, "input_length": 8, "output_length": 4, "hash_ids": [1]}"#;
    let _ = Rbench::new(["offline", "--mock", "--num-prompts", "1"])
        .file("trace.jsonl", trace)
        .args(["--dataset-name", "mooncake", "--dataset-path", "trace.jsonl"])
        .run()
        .exits(2)
        .prints_nothing()
        .says(&["--dataset-name mooncake", "rbench offline"]);
}

#[test]
fn failures_are_told() {
    let refuse = |_: &_| Answer::body("400 Bad Request", "text/plain", "too long");
    let server = Script::new(refuse).start();
    let _ = offline(&server.url())
        .run()
        .exits(1)
        .prints_nothing()
        .says(&["the warm-up request", "too long"]);
    let run = offline(&server.url()).arg("--skip-warmup").run().exits(1);
    assert_eq!(run.row("Successful requests:"), Some("0"));
    let _ = run.says(&["4 of 4 requests failed", "first body: too long", "all 4 requests failed"]);
}

#[test]
fn flags_without_a_meaning_are_refused_by_name() {
    for (words, says) in [
        (&["--request-rate", "5"][..], &["--request-rate", "rbench offline", "at once"][..]),
        (&["--goodput", "ttft:5"], &["--goodput", "rbench serve"]),
        (&["--warmup-requests", "0"], &["--warmup-requests"]),
        (&["--multi"], &["--multi"]),
        (&["--do-not-exit"], &["--do-not-exit"]),
        (&["--backend", "engine"], &["--backend", "sglang"]),
        (
            &["--result-filename", "a", "--output-file", "b"],
            &["--result-filename", "--output-file"],
        ),
        (&["--result-filename", "absent/a"], &["--result-filename absent/a"]),
    ] {
        let run = offline("http://127.0.0.1:9").args(words).run().exits(2);
        let run = run.prints_nothing().says(says);
        assert!(run.files().is_empty(), "{run:#?}");
    }
}
