//! `rbench vllm bench serve` against a scripted server: its bodies, its table, its result file.

use std::path::Path;

use expect_test::expect;
use serde_json::Value;

use crate::support::rbench::{Rbench, Run};
use crate::support::server::Script;
use crate::support::wire;

/// A run of two requests against `url` with `more` flags.
fn bench(url: &str, more: &[&str]) -> Rbench {
    let load = ["--model", "some/tiny", "--tokenizer", "rbench-bundled", "--num-prompts", "2"];
    Rbench::new(["vllm", "bench", "serve", "--base-url", url])
        .args(load)
        .args(["--random-input-len", "8", "--random-output-len", "4"])
        .args(more)
}

/// `text` with every number that a run measures as `N`, and without spaces at line ends.
fn shape(table: &str) -> String {
    let shown = |line: &str| match line.split_once(":  ") {
        Some((label, value)) if value.contains('.') => format!("{label}: N\n"),
        Some((label, value)) => format!("{label}: {}\n", value.trim()),
        None => format!("{}\n", line.trim_end()),
    };
    table.lines().map(shown).collect()
}

fn read(run: &Run, name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(run.path(name)).unwrap()).unwrap()
}

/// The only JSON file that a run left.
fn result(run: &Run) -> (String, Value) {
    let files = run.files();
    let names: Vec<&String> = files
        .iter()
        .filter(|name| Path::new(name).extension().is_some_and(|ending| ending == "json"))
        .collect();
    let [name] = names[..] else { panic!("{files:?}") };
    (name.clone(), read(run, name))
}

#[test]
fn the_table_has_the_rows_of_vllm() {
    let server = Script::new(wire::good).start();
    let run = bench(&server.url(), &["--percentile-metrics", "ttft,tpot,itl,e2el"]).run().exits(0);
    let (_, table) = run.stdout.split_once("============ Serving").unwrap();
    expect![[r#"
        ============ Serving Benchmark Result ============
        Successful requests: 2
        Failed requests: 0
        Benchmark duration (s): N
        Total input tokens: 16
        Total generated tokens: 8
        Request throughput (req/s): N
        Output token throughput (tok/s): N
        Peak output token throughput (tok/s): N
        Peak concurrent requests: N
        Total token throughput (tok/s): N
        ---------------Time to First Token----------------
        Mean TTFT (ms): N
        Median TTFT (ms): N
        P99 TTFT (ms): N
        -----Time per Output Token (excl. 1st token)------
        Mean TPOT (ms): N
        Median TPOT (ms): N
        P99 TPOT (ms): N
        ---------------Inter-token Latency----------------
        Mean ITL (ms): N
        Median ITL (ms): N
        P99 ITL (ms): N
        ----------------End-to-end Latency----------------
        Mean E2EL (ms): N
        Median E2EL (ms): N
        P99 E2EL (ms): N
        ==================================================
    "#]]
    .assert_eq(&shape(&format!("============ Serving{table}")));
    assert!(run.files().iter().all(|name| !name.contains("json")), "{:?}", run.files());
}

#[test]
fn the_result_has_the_keys_of_vllm() {
    let server = Script::new(wire::good).start();
    let run = bench(&server.url(), &["--backend", "openai-chat", "--save-result"])
        .args([
            "--metric-percentiles",
            "50,99.9",
            "--metadata",
            "gpu=h100",
            "--max-concurrency",
            "2",
        ])
        .args(["--result-dir", "results", "--result-filename", "r.json"])
        .run()
        .exits(0);
    let result: Value = read(&run, "results/r.json");
    let shown = |(key, value): (&String, &Value)| {
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(number) if number.is_f64() => "float",
            Value::Number(_) => "int",
            Value::String(_) => "str",
            Value::Array(_) => "list",
            Value::Object(_) => "dict",
        };
        format!("{key}: {kind}\n")
    };
    let shown: String = result.as_object().unwrap().iter().map(shown).collect();
    expect![[r#"
        date: str
        endpoint_type: str
        backend: str
        label: str
        model_id: str
        tokenizer_id: str
        num_prompts: int
        gpu: str
        request_rate: str
        burstiness: float
        max_concurrency: int
        duration: float
        completed: int
        failed: int
        total_input_tokens: int
        total_output_tokens: int
        request_throughput: float
        request_goodput: null
        output_throughput: float
        total_token_throughput: float
        latencies: list
        queue_times: list
        max_output_tokens_per_s: float
        max_concurrent_requests: int
        rtfx: float
        mean_ttft_ms: float
        median_ttft_ms: float
        std_ttft_ms: float
        p50_ttft_ms: float
        p99.9_ttft_ms: float
        mean_tpot_ms: float
        median_tpot_ms: float
        std_tpot_ms: float
        p50_tpot_ms: float
        p99.9_tpot_ms: float
        mean_itl_ms: float
        median_itl_ms: float
        std_itl_ms: float
        p50_itl_ms: float
        p99.9_itl_ms: float
        rbench: dict
    "#]]
    .assert_eq(&shown);
    assert_eq!((&result["completed"], &result["failed"]), (&2.into(), &0.into()));
    assert_eq!(result["total_output_tokens"], result["rbench"]["total_output_tokens_retokenized"]);
    let detailed = bench(&server.url(), &["--save-result", "--save-detailed"]).run().exits(0);
    let (name, detailed) = self::result(&detailed);
    let date = name.strip_prefix("openai-infqps-tiny-").unwrap();
    assert_eq!(date.len(), "20260102-030405.json".len(), "{name}");
    for key in [
        "input_lens",
        "output_lens",
        "ttfts",
        "itls",
        "latencies",
        "start_times",
        "queue_times",
        "generated_texts",
        "errors",
    ] {
        assert_eq!(detailed[key].as_array().unwrap().len(), 2, "{key}");
    }
}

#[test]
fn bodies_have_no_defaults_of_another_client() {
    for (backend, path, limit) in [
        ("openai", "/v1/completions", "max_tokens"),
        ("openai-chat", "/v1/chat/completions", "max_completion_tokens"),
    ] {
        let server = Script::new(wire::good).start();
        drop(bench(&server.url(), &["--backend", backend]).run().exits(0));
        let requests = server.requests_to(path);
        assert_eq!(requests.len(), 2, "neither warm-up nor a look for the server");
        let body = requests[0].json();
        let object = body.as_object().unwrap();
        for key in ["temperature", "best_of", "top_p"] {
            assert!(!object.contains_key(key), "{body}");
        }
        assert_eq!((&body[limit], &body["ignore_eos"]), (&4.into(), &true.into()), "{body}");
        assert_eq!(body["stream_options"]["include_usage"], true, "{body}");
    }
}

#[test]
fn lengths_lie_around_their_means() {
    let server = Script::new(wire::good).start();
    let spread = ["--num-prompts", "40", "--random_range_ratio", "0.5"];
    drop(bench(&server.url(), &spread).run().exits(0));
    let asked: Vec<u64> = server
        .requests_to("/v1/completions")
        .iter()
        .map(|request| request.json()["max_tokens"].as_u64().unwrap())
        .collect();
    assert_eq!((asked.iter().min(), asked.iter().max()), (Some(&2), Some(&6)), "{asked:?}");
}

#[test]
fn what_is_not_there_yet_is_refused_by_name() {
    for (flags, said) in [
        (&["--burstiness", "0.5"][..], "--burstiness"),
        (&["--ramp-up-strategy", "linear"], "--ramp-up-strategy"),
        (&["--dataset-name", "sharegpt"], "--dataset-name"),
        (&["--backend", "openai-audio"], "--backend"),
        (&["--percentile-metrics", "client_queue_time"], "--percentile-metrics"),
        (&["--endpoint", "/v1/chat/completions"], "--endpoint"),
        (&["--random-range-ratio", "1"], "--random-range-ratio"),
    ] {
        drop(bench("http://127.0.0.1:9", flags).run().exits(2).says(&[said]));
    }
}
