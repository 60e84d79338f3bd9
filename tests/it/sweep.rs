//! One run per rate: `--multi` of older releases.

use serde_json::Value;

use crate::support::rbench::{RESULT, Rbench};
use crate::support::server::Script;
use crate::support::wire;

#[test]
fn one_run_per_rate_on_the_same_rows_each_after_a_warm_up() {
    let server = Script::new(wire::good).start();
    let run = Rbench::load("vllm", &server.url())
        .args(["--multi", "--request-rate-range", "200,601,200", "--warmup-requests", "1"])
        .run()
        .exits(0)
        .says(&["--multi of older releases", "run 1 of 3: 200 requests/s", "run 3 of 3"]);
    let lines: Vec<Value> =
        run.result_text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let rates: Vec<f64> = lines.iter().map(|line| line["request_rate"].as_f64().unwrap()).collect();
    assert_eq!(rates, [200.0, 400.0, 600.0]);
    for (line, rate) in lines.iter().zip(rates) {
        assert_eq!(line["rbench"]["config"]["request_rate"], rate);
        assert_eq!(line["completed"], 3);
    }
    assert_eq!(run.stdout.matches("Serving Benchmark Result").count(), 3);
    // 3 rows and a warm-up each, and the same 3 rows in each run.
    let bodies: Vec<String> = server.inference().into_iter().map(|request| request.body).collect();
    assert_eq!(bodies.len(), 12);
    let sorted = |run: usize| {
        let mut bodies = bodies[run * 4..][..4].to_vec();
        bodies.sort();
        bodies
    };
    assert_eq!(sorted(0), sorted(1));
    assert_eq!(sorted(0), sorted(2));
}

#[test]
fn a_list_of_rates_and_a_default_file() {
    let server = Script::new(wire::good).start();
    let run = Rbench::load("vllm", &server.url())
        .args(["--multi", "--request-rate-range", "900,300"])
        .run()
        .exits(0);
    let rates: Vec<Value> = run
        .result_text()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["request_rate"].clone())
        .collect();
    assert_eq!(rates, [900.0, 300.0]);
}

#[test]
fn rows_with_times_of_their_own_have_no_rates() {
    let server = Script::control_only().start();
    let trace = r#"{"timestamp": 0, "input_length": 8, "output_length": 4, "hash_ids": [1]}"#;
    let _ = Rbench::load("vllm", &server.url())
        .file("trace.jsonl", trace)
        .args(["--dataset-name", "mooncake", "--dataset-path", "trace.jsonl"])
        .args(["--multi", "--request-rate-range", "5"])
        .args(["--output-file", RESULT])
        .run()
        .exits(2)
        .prints_nothing()
        .says(&["--multi", "mooncake"]);
}
