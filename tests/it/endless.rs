//! `--duration`: runs by time, whose prompts go around.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::rbench::Rbench;
use crate::support::server::Script;
use crate::support::wire;

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
