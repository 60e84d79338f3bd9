//! SGLang's nightly runs: the command line that their runner sends to its benchmark of one batch, and the file that it
//! reads afterwards.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::one_batch::{good, server};
use crate::support::rbench::{Rbench, Run};
use crate::support::server::{Answer, Request, Script};

/// A row as the runner loads it: each field with its type, none of them optional that the runner computes with.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    model_path: String,
    run_name: String,
    batch_size: u64,
    input_len: u64,
    output_len: u64,
    latency: f64,
    input_throughput: f64,
    output_throughput: f64,
    overall_throughput: f64,
    last_ttft: f64,
    last_gen_throughput: f64,
    acc_length: f64,
    profile_link_extend: Option<String>,
    profile_link_decode: Option<String>,
    server_args: Option<Vec<String>>,
}

impl Row {
    /// The row of the runner's table in Markdown.
    fn markdown(&self) -> String {
        let accepted =
            if self.acc_length > 0.0 { format!("{:.2}", self.acc_length) } else { "n/a".into() };
        let itl_ms = 1e3 * self.batch_size as f64 / self.output_throughput;
        let cost = |throughput: f64| 1e6 / throughput / 3600.0 * 2.0;
        format!(
            "| {} | {} | {:.2} | {:.2} | {:.2} | {accepted} | {itl_ms:.2} | {:.2} | {:.2} |",
            self.batch_size,
            self.input_len,
            self.latency,
            self.input_throughput,
            self.output_throughput,
            cost(self.input_throughput * 0.7),
            cost(self.output_throughput),
        )
    }
}

const LIST: &str = "results_some_model_1700000000.json";

/// The command line of the runner.
fn command(url: &str, folder: &str) -> Rbench {
    Rbench::new(["one-batch", "--model", "some/model", "--base-url", url])
        .args(["--batch-size", "1", "2", "--input-len", "16", "--output-len", "4"])
        .args(["--show-report", &format!("--pydantic-result-filename={LIST}")])
        .args(["--no-append-to-github-summary", "--trust-remote-code"])
        .args(["--profile", "--profile-by-stage", "--profile-output-dir", folder])
        .args(["--run-name", "mtp"])
        // Where the tokenizer lies is the one thing that a test has to say.
        .args(["--tokenizer", "rbench-bundled", "--dataset-name", "random-ids"])
        .args(["--server-args-for-metrics", "--tp", "8", "--batch-size", "--model-l", "x"])
}

fn rows(run: &Run) -> Vec<Row> {
    serde_json::from_str(&std::fs::read_to_string(run.path(LIST)).unwrap()).unwrap()
}

/// A server that writes traces into the folder that it is asked to.
fn profiled() -> Script {
    let traces = |request: &Request| {
        let body = request.json();
        let folder = body["output_dir"].as_str().unwrap();
        std::fs::create_dir_all(folder).unwrap();
        let prefix = body["profile_prefix"].as_str().unwrap();
        for stage in ["EXTEND", "DECODE"] {
            let name = format!("{folder}/{prefix}-TP-0-{stage}.trace.json.gz");
            std::fs::write(name, "").unwrap();
        }
        Answer::body("200 OK", "text/plain", "Start profiling.\n")
    };
    let state = json!({"last_gen_throughput": 50.0, "avg_spec_accept_length": 2.5});
    server(good)
        .on("/server_info", move |_| {
            Answer::json(&json!({"tp_size": 1, "internal_states": [state]}))
        })
        .on("/start_profile", traces)
        .on("/stop_profile", |_| Answer::body("200 OK", "text/plain", "Stop profiling.\n"))
}

#[test]
fn the_runner_reads_what_its_own_command_line_gives() {
    let folder = tempfile::tempdir().unwrap();
    let traces = folder.path().join("some_model_1700000000");
    let server = profiled().start();
    let run = command(&server.url(), traces.to_str().unwrap())
        .env("GITHUB_STEP_SUMMARY", folder.path().join("summary.md"))
        .run()
        .exits(0);
    let rows = rows(&run);
    assert_eq!(rows.len(), 2);
    for (row, size) in rows.iter().zip([1, 2]) {
        assert_eq!((row.model_path.as_str(), row.run_name.as_str()), ("some/model", "mtp"));
        assert_eq!((row.batch_size, row.input_len, row.output_len), (size, 16, 4));
        assert_eq!((row.last_gen_throughput, row.acc_length), (50.0, 2.5));
        assert!(row.latency > 0.0 && row.last_ttft > 0.0 && row.last_ttft <= row.latency);
        let overall = (size * 20) as f64 / row.latency;
        assert!((row.overall_throughput - overall).abs() < 1e-6 * overall, "{row:?}");
        assert!(row.input_throughput > 0.0);
        for (link, stage) in
            [(&row.profile_link_extend, "EXTEND"), (&row.profile_link_decode, "DECODE")]
        {
            let link = link.as_deref().unwrap();
            assert!(link.starts_with(traces.to_str().unwrap()), "{link}");
            assert!(link.ends_with(&format!("bs-{size}-il-16-TP-0-{stage}.trace.json.gz")));
            assert!(std::fs::exists(link).unwrap());
        }
        // All that follows the flag is the server's, whatever rbench has of that name.
        let words = ["--tp", "8", "--batch-size", "--model-l", "x"].map(str::to_owned);
        assert_eq!(row.server_args.as_deref(), Some(&words[..]));
        assert!(row.markdown().starts_with(&format!("| {size} | 16 | ")), "{}", row.markdown());
    }
    assert!(run.stdout.contains("| profile |") || run.stdout.contains(" profile |"));
    assert!(run.stderr.contains("--trust-remote-code is not needed"), "{}", run.stderr);
    assert!(!folder.path().join("summary.md").exists());
    // Two warm-ups, two batches that are measured, and then two that are profiled.
    let calls: Vec<String> = server
        .calls()
        .into_iter()
        .filter(|call| call.contains("generate") || call.contains("profile"))
        .collect();
    let kinds: Vec<bool> = calls.iter().map(|call| call.contains("generate")).collect();
    let profiled = [false, true, false];
    let wanted = [&[true; 4][..], &profiled, &profiled].concat();
    assert_eq!(kinds, wanted, "{calls:?}");
    let bodies: Vec<Value> =
        server.requests_to("/start_profile").iter().map(Request::json).collect();
    assert_eq!(bodies[0]["num_steps"], 5);
    assert_eq!(bodies[0]["profile_by_stage"], true);
    assert_eq!(bodies[1]["profile_prefix"], "bs-2-il-16");
    // Slow as they are, they are in no result.
    let lines = std::fs::read_to_string(run.path("result.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 2);
}

#[test]
fn what_a_server_does_not_say_is_minus_one_and_no_trace_is_null() {
    let server = server(good).start();
    let run = Rbench::new(["one-batch", "--backend", "vllm", "--model", "m", "--base-url"])
        .arg(server.url())
        .args(["--tokenizer", "rbench-bundled", "--dataset-name", "random-ids", "--skip-warmup"])
        .args(["--input-len", "8", "--output-len", "4", "--pydantic-result-filename", LIST])
        .run()
        .exits(0);
    let [row] = &rows(&run)[..] else { panic!("not one row") };
    assert_eq!((row.last_gen_throughput, row.acc_length), (-1.0, -1.0));
    assert_eq!((&row.profile_link_extend, &row.profile_link_decode), (&None, &None));
    assert_eq!(row.server_args, None);
}

#[test]
fn the_summary_of_a_step_gets_the_table() {
    let folder = tempfile::tempdir().unwrap();
    let summary = folder.path().join("summary.md");
    std::fs::write(&summary, "before\n").unwrap();
    let server = server(good).start();
    let run = Rbench::new(["one-batch", "--model", "m", "--base-url", &server.url()])
        .args(["--tokenizer", "rbench-bundled", "--dataset-name", "random-ids", "--skip-warmup"])
        .args(["--input-len", "8", "--output-len", "4"])
        .env("GITHUB_STEP_SUMMARY", &summary)
        .run();
    drop(run.exits(0));
    let text = std::fs::read_to_string(&summary).unwrap();
    assert!(text.starts_with("before\n### m (default)\n"), "{text}");
    assert!(text.contains("| batch size | input len | latency (s) |"), "{text}");
}

#[test]
fn a_profile_that_fails_leaves_the_results() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(good).on("/start_profile", |_| Answer::not_found()).start();
    let run = command(&server.url(), folder.path().to_str().unwrap()).run().exits(0);
    assert!(run.stderr.contains("did not start"), "{}", run.stderr);
    assert!(rows(&run).iter().all(|row| row.profile_link_extend.is_none()));
}
