//! `rbench evalscope perf` against a scripted server: its bodies, its tables, its files.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::rbench::{Rbench, Run};
use crate::support::server::{Answer, Request, Script};
use crate::support::wire;

/// Runs against `url` with `more` flags, whose results lie in `out/run`.
fn perf(url: &str, more: &[&str]) -> Rbench {
    let url = format!("{url}/v1/chat/completions");
    Rbench::new(["evalscope", "perf", "--url", &url, "--model", "some/tiny"])
        .args(["--tokenizer-path", "rbench-bundled", "--sleep-interval", "0"])
        .args(["--outputs-dir", "out", "--no-timestamp", "--name", "run"])
        .args(more)
}

/// The flags of the document that SGLang's users read.
const RANDOM: &[&str] = &[
    "--dataset",
    "random",
    "--max-tokens",
    "4",
    "--min-tokens",
    "4",
    "--prefix-length",
    "0",
    "--min-prompt-length",
    "24",
    "--max-prompt-length",
    "24",
    "--extra-args",
    r#"{"ignore_eos": true}"#,
];

fn read(run: &Run, name: &str) -> Value {
    let path = run.path(&format!("out/run/{name}"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn a_sweep_has_a_run_for_each_load() {
    let server = Script::new(wire::good).start();
    let run = perf(&server.url(), RANDOM)
        .args(["--parallel", "1", "2", "--number", "3", "4"])
        .run()
        .exits(0);
    let body = server.requests_to("/v1/chat/completions")[0].json();
    let messages = body["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 1, "{body}");
    let rest = |body: &Value| {
        let mut body = body.as_object().unwrap().clone();
        body.shift_remove("messages");
        let mut keys: Vec<_> = body.into_iter().collect();
        keys.sort_by(|a, b| a.0.cmp(&b.0));
        Value::from_iter(keys)
    };
    assert_eq!(
        rest(&body),
        json!({
            "ignore_eos": true, "max_tokens": 4, "min_tokens": 4, "model": "some/tiny", "stream": true,
            "stream_options": {"include_usage": true}, "temperature": 0.0,
        })
    );
    assert_eq!(server.requests_to("/v1/chat/completions").len(), 7);
    let summary = read(&run, "parallel_2_number_4/benchmark_summary.json");
    assert_eq!((&summary["Total Requests"], &summary["Concurrency"]), (&4.into(), &2.into()));
    assert_eq!(summary["Avg Output Tokens"], 4.0);
    assert!(summary["rbench"].is_object() && summary["Avg TTFT (ms)"].is_number(), "{summary}");
    let percentiles = read(&run, "parallel_1_number_3/benchmark_percentile.json");
    let names: Vec<&str> = percentiles
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["Percentiles"].as_str().unwrap())
        .collect();
    assert_eq!(names.join(" "), "min 1% 5% 10% 25% 50% 75% 90% 95% 99% max");
    let arguments = read(&run, "parallel_2_number_4/benchmark_args.json");
    assert_eq!((&arguments["parallel"], &arguments["dataset"]), (&2.into(), &"random".into()));
    let report = std::fs::read_to_string(run.path("out/run/performance_summary.txt")).unwrap();
    assert!(run.stdout.ends_with(&report), "{}", run.stdout);
    for text in ["│    1 │    - │   3 │", "│    2 │    - │   4 │", "Performance Recommendations:"]
    {
        assert!(report.contains(text), "{report}");
    }
    let records = std::fs::read_to_string(run.path("out/run/parallel_2_number_4/records.jsonl"));
    assert!(records.unwrap().lines().count() >= 4);
}

#[test]
fn runs_of_a_sweep_have_prompts_of_their_own() {
    let server = Script::new(wire::good).start();
    let loads = ["--parallel", "1", "1", "--number", "2", "2", "--seed", "7"];
    drop(perf(&server.url(), RANDOM).args(loads).run().exits(0));
    let prompts: Vec<Value> = server
        .requests_to("/v1/chat/completions")
        .iter()
        .map(|request| request.json()["messages"].clone())
        .collect();
    assert!(prompts[..2].iter().all(|prompt| !prompts[2..].contains(prompt)), "{prompts:?}");
}

#[test]
fn lists_of_different_lengths_are_refused() {
    for (flags, said) in [
        (&["--parallel", "1", "2", "--number", "3"][..], "--parallel has 2 values"),
        (&["--open-loop", "--number", "3"], "--rate above 0"),
        (&["--rate", "1", "2", "--number", "3"], "--rate takes one rate"),
        (&["--api", "openai_responses"], "--api"),
        (&["--dataset", "swe_smith"], "--dataset"),
        (&["--visualizer", "wandb"], "--visualizer"),
        (&["--scenario", "agentx"], "--scenario"),
        (&["--dataset", "line_by_line"], "--dataset-path"),
        (&["--dataset", "random", "--dataset-args", "{\"x\": 1}"], "--dataset-args"),
        (&["--dataset", "random", "--multi-turn"], "--multi-turn"),
        (&["--dataset", "random", "--no-apply-chat-template"], "--no-apply-chat-template"),
        (&["--dataset", "workload_trace"], "--open-loop"),
        (&["--sla-auto-tune", "--dataset", "random"], "--sla-params"),
        (&["--sla-params", "{\"ttft\": \"<=1\"}"], "--sla-params"),
    ] {
        drop(perf("http://127.0.0.1:9", flags).run().exits(2).says(&[said]));
    }
}

#[test]
fn a_run_without_an_answer_is_no_success() {
    let refuse = |_: &Request| Answer::body("500 Broken", "text/plain", "out of order");
    let server = Script::new(refuse).start();
    let run = perf(&server.url(), RANDOM).args(["--number", "2"]).run().exits(1);
    run.prints_no_sentinels();
}

trait Sentinels {
    fn prints_no_sentinels(self);
}

impl Sentinels for Run {
    /// Fails if a figure stands where there is none.
    fn prints_no_sentinels(self) {
        for text in ["-1000", "nan", "inf"] {
            assert!(!self.stdout.contains(text), "{}", self.stdout);
        }
        assert!(self.stderr.contains("out of order"), "{}", self.stderr);
        let summary = read(&self, "parallel_1_number_2/benchmark_summary.json");
        assert_eq!(
            (&summary["Avg TTFT (ms)"], &summary["Failed Requests"]),
            (&Value::Null, &2.into())
        );
    }
}

#[test]
fn warm_up_requests_are_sent_and_not_counted() {
    let server = Script::new(wire::good).start();
    let run =
        perf(&server.url(), RANDOM).args(["--number", "4", "--warmup-num", "0.5"]).run().exits(0);
    assert_eq!(server.requests_to("/v1/chat/completions").len(), 6);
    assert_eq!(read(&run, "parallel_1_number_4/benchmark_summary.json")["Total Requests"], 4);
}

#[test]
fn rows_of_lines_have_three_forms() {
    let server = Script::new(wire::good).start();
    let lines = "a plain line\n\
        [{\"role\": \"system\", \"content\": \"s\"}, {\"role\": \"user\", \"content\": \"u\"}]\n\
        {\"messages\": [{\"role\": \"user\", \"content\": \"b\"}], \"temperature\": 0.5, \"max_tokens\": 2}\n";
    let flags =
        ["--dataset", "line_by_line", "--dataset-path", "lines.txt", "--max-tokens", "3", "5"];
    drop(
        perf(&server.url(), &flags).file("lines.txt", lines).args(["--number", "3"]).run().exits(0),
    );
    let bodies: Vec<Value> =
        server.requests_to("/v1/chat/completions").iter().map(Request::json).collect();
    assert_eq!(bodies[0]["messages"], json!([{"role": "user", "content": "a plain line"}]));
    assert!((3..=5).contains(&bodies[0]["max_tokens"].as_u64().unwrap()), "{}", bodies[0]);
    assert_eq!(bodies[1]["messages"][0]["role"], "system");
    assert_eq!((&bodies[2]["temperature"], &bodies[2]["max_tokens"]), (&json!(0.5), &json!(2)));
}

#[test]
fn a_trace_is_sent_at_its_times() {
    let server = Script::new(wire::good).start();
    let row = |text: &str, at: &str| {
        format!(
            "{{\"body\": {{\"model\": \"a\", \"messages\": [{{\"role\": \"user\", \"content\": \"{text}\"}}], \"max_tokens\": 2, \"top_p\": 0.5}}, \"timestamp\": {at}, \"completion_tokens\": 3}}\n"
        )
    };
    let trace =
        row("second", "\"2026-01-01T00:00:00.100Z\"") + &row("first", "\"2026-01-01T00:00:00Z\"");
    let flags = [
        "--dataset",
        "workload_trace",
        "--dataset-path",
        "trace.jsonl",
        "--open-loop",
        "--number",
        "2",
        "--dataset-args",
        r#"{"speed": 2, "model_mapping": {"a": "b"}, "match_output_length": true}"#,
    ];
    drop(perf(&server.url(), &flags).file("trace.jsonl", trace).run().exits(0));
    let bodies: Vec<Value> =
        server.requests_to("/v1/chat/completions").iter().map(Request::json).collect();
    let texts: Vec<&Value> = bodies.iter().map(|body| &body["messages"][0]["content"]).collect();
    assert_eq!(texts, ["first", "second"]);
    let body = &bodies[0];
    assert_eq!((&body["model"], &body["top_p"]), (&json!("b"), &json!(0.5)), "{body}");
    assert_eq!((&body["max_tokens"], &body["min_tokens"]), (&json!(3), &json!(3)), "{body}");
}

#[test]
fn conversations_are_played_with_the_servers_answers() {
    let server = Script::new(wire::good).start();
    let lines = r#"[{"role": "user", "content": "one"}, {"role": "assistant", "content": "stored"}, {"role": "user", "content": "two"}]"#;
    let flags = [
        "--dataset",
        "custom_multi_turn",
        "--dataset-path",
        "c.jsonl",
        "--multi-turn",
        "--number",
        "1",
    ];
    let run = perf(&server.url(), &flags).file("c.jsonl", lines).run().exits(0);
    let last = server.requests_to("/v1/chat/completions").last().unwrap().json();
    let said: Vec<&str> = last["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["content"].as_str().unwrap())
        .collect();
    assert_eq!(said, ["one", "one two three four", "two"]);
    assert!(run.stdout.contains("Per-trace summary (1 traces):"), "{}", run.stdout);
    assert_eq!(read(&run, "parallel_1_number_1/trace_summary.json")["n_traces"], 1);
}

#[test]
fn embeddings_have_a_report_of_their_own() {
    let server = Script::new(wire::good).start();
    let url = format!("{}/v1/embeddings", server.url());
    let flags = [
        "--api",
        "openai_embedding",
        "--dataset",
        "random_embedding",
        "--min-prompt-length",
        "8",
        "--max-prompt-length",
        "8",
        "--number",
        "2",
        "--url",
        &url,
    ];
    let run = perf(&server.url(), &flags).run().exits(0);
    let body = server.requests_to("/v1/embeddings")[0].json();
    assert_eq!(body.as_object().unwrap().keys().collect::<Vec<_>>(), ["input", "model"]);
    assert!(run.stdout.contains("Embedding/Rerank Performance Test Summary"), "{}", run.stdout);
}

#[test]
fn images_stand_before_the_text() {
    let server = Script::new(wire::good).start();
    let flags = [
        "--dataset",
        "random_vl",
        "--max-tokens",
        "2",
        "--min-prompt-length",
        "16",
        "--max-prompt-length",
        "16",
        "--image-width",
        "8",
        "--image-height",
        "8",
        "--image-num",
        "2",
        "--number",
        "1",
    ];
    drop(perf(&server.url(), &flags).run().exits(0));
    let body = server.requests_to("/v1/chat/completions")[0].json();
    let parts = body["messages"][0]["content"].as_array().unwrap();
    assert_eq!(parts.len(), 3, "{body}");
    assert!(parts[0]["image_url"]["url"].as_str().unwrap().starts_with("data:image/png;base64,"));
}

#[test]
fn the_highest_load_under_an_objective_is_found() {
    let server = Script::new(wire::good).start();
    let flags = [
        "--sla-auto-tune",
        "--sla-params",
        r#"[{"avg_latency": "<=100s"}, {"avg_ttft": "<0ms"}]"#,
        "--sla-num-runs",
        "1",
        "--sla-upper-bound",
        "2",
        "--sla-number-multiplier",
        "1",
    ];
    let run = perf(&server.url(), RANDOM).args(flags).run().exits(0);
    for text in [
        "│ avg_latency <= 100 s │ 2 ",
        "│ avg_ttft < 0 ms      │ -",
        "best_observed",
        "│ VALID      │ 1:PASS, 2:FAIL",
    ] {
        assert!(run.stdout.contains(text), "{}", run.stdout);
    }
    let summary = read(&run, "sla_summary.json");
    let keys: Vec<&String> = summary.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["parallel_1", "parallel_2"]);
    assert!(run.path("out/run/sla_tuning/sla_parallel_2_run_1/benchmark_summary.json").exists());
}

#[test]
fn a_key_is_sent_and_shown_nowhere() {
    let server = Script::new(wire::good).start();
    let flags = ["--api-key", "sk-very-secret", "--headers", "x-team=blue-secret", "--number", "1"];
    let run = perf(&server.url(), RANDOM).args(flags).run().exits(0);
    let request = server.requests_to("/v1/chat/completions").remove(0);
    assert_eq!(request.header("authorization"), Some("Bearer sk-very-secret"));
    let mut all = run.stdout.clone() + &run.stderr;
    let mut folders = vec![run.path("out")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                all += &String::from_utf8_lossy(&std::fs::read(path).unwrap());
            }
        }
    }
    assert!(!all.contains("very-secret") && !all.contains("blue-secret"), "{all}");
}

#[test]
fn a_load_that_is_listed_again_has_a_folder_of_its_own() {
    let server = Script::new(wire::good).start();
    let run = perf(&server.url(), RANDOM)
        .args(["--parallel", "2", "2", "--number", "3", "3"])
        .run()
        .exits(0);
    for folder in ["parallel_2_number_3", "parallel_2_number_3_2"] {
        assert_eq!(read(&run, &format!("{folder}/benchmark_args.json"))["number"], 3);
        let records = std::fs::read_to_string(run.path(&format!("out/run/{folder}/records.jsonl")));
        assert_eq!(records.unwrap().lines().filter(|line| line.contains("\"index\"")).count(), 3);
    }
}

#[test]
fn a_schedule_ends_when_its_requests_are_due_at_the_rate() {
    let server = Script::new(wire::good).start();
    let run = perf(&server.url(), RANDOM)
        .args(["--rate", "100", "--number", "50", "--open-loop"])
        .run()
        .exits(0);
    let records =
        std::fs::read_to_string(run.path("out/run/rate_100.0_number_50/records.jsonl")).unwrap();
    let due = records.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let last =
        due.filter_map(|row| row["due"].as_f64().or(row["due_ns"].as_f64())).fold(0.0, f64::max);
    assert!((last - 0.5).abs() < 1e-3 || (last - 5e8).abs() < 1e6, "{last}: {records:.600}");
}
