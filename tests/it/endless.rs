//! `--duration`: runs by time, whose prompts go around.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::rbench::{Rbench, Run};
use crate::support::server::{Answer, Request, Script};
use crate::support::wire::{self, WORDS, Wire};

#[test]
fn prompts_go_around_with_a_salt() {
    let server = Script::new(wire::good).start();
    let line = |i| {
        format!(
            "{{\"conversations\": [{{\"content\": \"question {i}\"}}, {{\"content\": \"one two three four\"}}]}}\n"
        )
    };
    let data: String = (0..3).map(line).collect();
    let run = Rbench::load("vllm", &server.url())
        .file("q.jsonl", data)
        .args(["--dataset-name", "custom", "--dataset-path", "q.jsonl", "--num-prompts", "3"])
        .args(["--duration", "400ms", "--max-concurrency", "1"])
        .run()
        .exits(0)
        .prints_a_table();
    let sent = server.inference();
    let prompts: Vec<String> =
        sent.iter().map(|request| request.json()["prompt"].as_str().unwrap().to_owned()).collect();
    assert!(prompts.len() > 6, "{prompts:?}");
    for (i, prompt) in prompts.iter().enumerate() {
        let salt = prompt.strip_suffix(&prompts[i % 3]).unwrap();
        assert_eq!(salt.len(), if i < 3 { 0 } else { 9 }, "{prompt}");
        // One salt for all prompts of a round.
        assert_eq!(salt, &prompts[i / 3 * 3][..salt.len()]);
    }
    let distinct: BTreeSet<&String> = prompts.iter().collect();
    assert_eq!(distinct.len(), prompts.len());
    let result = run.result();
    let ledger = &result["rbench"]["ledger"];
    assert_eq!(ledger["scheduled"], json!(prompts.len()));
    assert_eq!(result["completed"], json!(prompts.len()));
    assert_eq!(result.get("partial"), None);
    assert_eq!(result["rbench"]["config"]["duration"], 0.4);
    let checks = result["rbench"]["checks"].as_array().unwrap();
    assert!(checks.iter().all(|check| check["passed"] == true), "{checks:#?}");
}

#[test]
fn due_times_go_on_where_those_of_a_count_would_end() {
    let due = |words: &[&str]| -> Vec<f64> {
        let server = Script::new(wire::good).start();
        let run = Rbench::load("sglang", &server.url())
            .args(["--request-rate", "40", "--seed", "7"])
            .args(words)
            .run()
            .exits(0);
        let due = run.result()["rbench"]["due_s"].clone();
        due.as_array().unwrap().iter().filter_map(Value::as_f64).collect()
    };
    let by_time = due(&["--num-prompts", "4", "--duration", "500ms"]);
    let by_count = due(&["--num-prompts", "12"]);
    assert!(by_time.len() > 8 && by_time.iter().all(|&due| due < 0.5), "{by_time:?}");
    let both = by_time.len().min(by_count.len());
    assert_eq!(by_time[..both], by_count[..both]);
}

#[test]
fn what_does_not_go_around_is_refused() {
    let server = Script::control_only().start();
    for (words, says) in [
        (&[][..], "nothing limits it"),
        (&["--max-concurrency", "1", "--max-errors", "5%"], "--max-errors 5%"),
        (&["--max-concurrency", "1", "--duration", "0"], "--duration 0"),
        (
            &[
                "--max-concurrency",
                "1",
                "--backend",
                "vllm-chat",
                "--dataset-name",
                "agentic-trace",
                "--dataset-path",
                "a.json",
            ],
            "whose rows are conversations",
        ),
        (
            &[
                "--max-concurrency",
                "1",
                "--dataset-name",
                "mooncake",
                "--dataset-path",
                "t.jsonl",
                "--backend",
                "vllm-chat",
            ],
            "times of their own",
        ),
    ] {
        let run = Rbench::load("sglang", &server.url())
            .file("a.json", r#"{"conversations": [[{"messages": [{"role": "user", "content": "a"}]}]]}"#)
            .file("t.jsonl", "{\"timestamp\": 0, \"input_length\": 8, \"output_length\": 4, \"hash_ids\": [0]}\n")
            .args(["--num-prompts", "1", "--duration", "1s"])
            .args(words)
            .run()
            .exits(2);
        let _ = run.says(&[says]);
    }
}

/// Keys whose values are not those of the run before: times, and what the process did.
fn comparable(result: &Value) -> (BTreeSet<String>, BTreeSet<String>, Vec<Value>) {
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect();
    let counts = [
        "completed",
        "total_output_tokens",
        "total_output_tokens_retokenized",
        "total_input_tokens",
    ];
    let counts = counts.iter().map(|key| result[key].clone()).chain([
        result["rbench"]["ledger"].clone(),
        result["rbench"]["failures"].clone(),
        result["rbench"]["output_token_source"].clone(),
    ]);
    (keys(result), keys(&result["rbench"]), counts.collect())
}

/// The third of twelve requests fails.
fn one_fails(request: &Request) -> Answer {
    if request.nth == 2 {
        return Answer::not_found();
    }
    // What comes apart has gaps.
    let apart = |answer: Answer, event: String| answer.pause(3).chunk(event);
    Wire::of(&request.path).events(WORDS).into_iter().fold(Answer::events(), apart).end()
}

/// A run against a server of its own.
fn run_of_twelve(words: &[&str]) -> Run {
    let server = Script::new(one_fails).start();
    Rbench::plain_load("vllm", &server.url())
        .args(["--num-prompts", "12", "--max-concurrency", "1"])
        .args(words)
        .run()
        .exits(0)
        .prints_a_table()
}

#[test]
fn a_run_that_keeps_little_tells_the_same() {
    let whole = run_of_twelve(&[]);
    let little = run_of_twelve(&["--low-memory", "--records", "r.jsonl"]);
    let labels = |run: &Run| -> Vec<String> {
        // What comes before is about the machine.
        let (_, table) = run.stdout.split_once("\n\n").unwrap();
        table.lines().map(|line| line.chars().take(40).collect()).collect()
    };
    assert_eq!(labels(&whole), labels(&little));
    let (of_whole, of_little) = (comparable(&whole.result()), comparable(&little.result()));
    assert_eq!(of_whole.2, of_little.2);
    let mut of_records = of_whole.1;
    // Intervals need the requests.
    assert!(of_records.remove("confidence"));
    assert_eq!((of_whole.0, of_records), (of_little.0, of_little.1));
    let checks = &little.result()["rbench"]["checks"];
    assert!(checks.as_array().unwrap().iter().all(|check| check["passed"] == true), "{checks:#}");
    for key in ["mean_itl_ms", "p99_itl_ms", "max_output_tokens_per_s"] {
        assert!(little.result()[key].as_f64().unwrap() > 0.0, "{key}");
    }
    // Details are in the records, from which a report has all of them.
    let records = std::fs::read_to_string(little.path("r.jsonl")).unwrap();
    let report =
        Rbench::new(["report", "r.jsonl", "--output-file", "again.jsonl", "--output-details"])
            .file("r.jsonl", records)
            .run()
            .exits(0);
    let again: Value =
        serde_json::from_str(&std::fs::read_to_string(report.path("again.jsonl")).unwrap())
            .unwrap();
    assert_eq!(comparable(&again).2, of_little.2);
    assert!(again["itls"][0].as_array().is_some_and(|gaps| !gaps.is_empty()));
    let close = |key: &str| {
        let [a, b] = [&again, &little.result()].map(|line| line[key].as_f64().unwrap());
        assert!((a - b).abs() <= a * 1e-3 + 1e-6, "{key}: {a} {b}");
    };
    for key in
        ["mean_itl_ms", "median_itl_ms", "std_itl_ms", "p99_itl_ms", "mean_ttft_ms", "p99_tpot_ms"]
    {
        close(key);
    }
}

#[test]
fn what_needs_all_events_does_not_go_with_keeping_little() {
    let server = Script::untouched().start();
    for words in [
        &["--output-details"][..],
        &["--plot-throughput"],
        &["--steady-state-concurrency-ratio", "0.8"],
    ] {
        let run = Rbench::new(["serve", "--backend", "vllm", "--base-url", &server.url()]);
        let run = run.arg("--low-memory").args(words).run().exits(2).prints_nothing();
        let _ = run.says(&[words[0], "--low-memory keeps none", "--records FILE"]);
    }
}

#[test]
fn a_run_by_time_can_keep_little() {
    let run = run_of_twelve(&["--low-memory", "--duration", "500ms", "--num-prompts", "3"]);
    let result = run.result();
    let completed = result["completed"].as_u64().unwrap();
    assert!(completed > 3, "{completed}");
    let checks = result["rbench"]["checks"].as_array().unwrap();
    assert!(checks.iter().all(|check| check["passed"] == true), "{checks:#?}");
}
