//! `rbench merge`: several runs of one load together.

use serde_json::Value;

use crate::support::rbench::{RESULT, Rbench, Run};
use crate::support::server::Script;
use crate::support::wire;

/// The records and the result line of a run of `prompts` requests.
fn run(prompts: &str, seed: &str) -> (String, String) {
    let server = Script::new(wire::good).start();
    let run = Rbench::plain_load("vllm", &server.url())
        .args(["--model", "tiny", "--num-prompts", prompts, "--seed", seed])
        .args(["--records", "records.jsonl"])
        .run()
        .exits(0);
    (std::fs::read_to_string(run.path("records.jsonl")).unwrap(), run.result_text())
}

/// The metrics of `run` by their names.
fn metric<'a>(value: &'a Value, name: &str) -> &'a Value {
    let metrics = value["metrics"].as_array().unwrap();
    metrics.iter().find(|row| row["metric"] == name).unwrap_or_else(|| panic!("no {name}: {value}"))
}

fn json(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"))
}

#[test]
fn percentiles_are_those_of_the_pool_whatever_they_come_from() {
    let ((first, line), (second, other)) = (run("20", "1"), run("20", "2"));
    let merge = |a: &str, b: &str| {
        let run = Rbench::new(["merge", "a.jsonl", "b.jsonl", "--json", "--allow-client-limited"])
            .file("a.jsonl", a)
            .file("b.jsonl", b)
            .run()
            .exits(0);
        json(&run)
    };
    let records = merge(&first, &second);
    let lines = merge(&line, &other);
    for name in ["median_ttft_ms", "p90_itl_ms", "p99_e2e_latency_ms"] {
        let (exact, pooled) = (metric(&records, name), metric(&lines, name));
        assert_eq!(
            (&exact["from"], &pooled["from"]),
            (&"pooled requests".into(), &"pooled histograms".into())
        );
        let (exact, pooled) = (exact["value"].as_f64().unwrap(), pooled["value"].as_f64().unwrap());
        assert!((exact - pooled).abs() <= exact * 1e-3 + 1e-6, "{name}: {exact} {pooled}");
    }
    let median = metric(&records, "median_ttft_ms");
    assert!(median["interval"][0].as_f64() <= median["value"].as_f64(), "{median}");
    // All 40 requests over the time of both runs.
    let line: Value = serde_json::from_str(&line).unwrap();
    let other: Value = serde_json::from_str(&other).unwrap();
    let seconds = line["duration"].as_f64().unwrap() + other["duration"].as_f64().unwrap();
    let rate = metric(&records, "request_throughput")["value"].as_f64().unwrap();
    assert!((rate - 40.0 / seconds).abs() < 1e-6 * rate, "{rate} {seconds}");
    assert_eq!(metric(&records, "success")["value"], 1.0);
    assert!(records["notes"].to_string().contains("seed: 1, 2"), "{records}");
}

#[test]
fn a_run_counts_once() {
    let (records, line) = run("3", "1");
    for (a, b) in [(&records, &records), (&line, &line), (&records, &line)] {
        let run = Rbench::new(["merge", "a.jsonl", "b.jsonl", "--allow-client-limited"])
            .file("a.jsonl", a)
            .file("b.jsonl", b)
            .run();
        let _ = run.exits(1).says(&["a.jsonl", "b.jsonl", "are the same run"]);
    }
    // A folder with both files of a run has one run.
    let run = Rbench::new(["merge", "runs", "--json", "--allow-client-limited"])
        .file("runs/out.jsonl", &line)
        .file("runs/records.jsonl", &records)
        .run()
        .exits(0);
    let merged = json(&run);
    assert_eq!(metric(&merged, "median_ttft_ms")["from"], "pooled requests");
    let seconds = serde_json::from_str::<Value>(&line).unwrap()["duration"].as_f64().unwrap();
    let rate = metric(&merged, "request_throughput")["value"].as_f64().unwrap();
    assert!((rate - 3.0 / seconds).abs() < 1e-6 * rate, "{rate} {seconds}");
}

/// Prompts that no run before had are drawn like others.
#[test]
fn runs_with_new_salts_are_alike() {
    let server = Script::new(wire::good).start();
    let records = || {
        let run = Rbench::plain_load("vllm", &server.url())
            .args(["--dataset-name", "random-ids", "--num-prompts", "3", "--salt"])
            .args(["--records", "records.jsonl"])
            .run()
            .exits(0);
        std::fs::read_to_string(run.path("records.jsonl")).unwrap()
    };
    let run = Rbench::new(["merge", "a.jsonl", "b.jsonl", "--allow-client-limited"])
        .file("a.jsonl", records())
        .file("b.jsonl", records())
        .run()
        .exits(0);
    assert!(run.stdout.contains("pooled requests"), "{}", run.stdout);
}

#[test]
fn unlike_runs_are_refused() {
    let ((first, _), (second, _)) = (run("3", "1"), run("4", "1"));
    let merge = |words: &[&str]| {
        Rbench::new(["merge", "a.jsonl", "b.jsonl", "--allow-client-limited"])
            .args(words)
            .file("a.jsonl", &first)
            .file("b.jsonl", &second)
            .run()
    };
    let _ = merge(&[]).exits(1).says(&["2 loads", "num_prompts: 3 -> 4", "--ignore FLAG"]);
    let run = merge(&["--ignore", "num_prompts"]).exits(0);
    assert!(run.stdout.contains("pooled requests"), "{}", run.stdout);
    let _ = merge(&["--ignore", "nothing"]).exits(2).says(&["--ignore nothing"]);
}

#[test]
fn results_carry_histograms_that_read_back() {
    let server = Script::new(wire::good).start();
    let run = Rbench::plain_load("vllm", &server.url()).args(["--model", "tiny"]).run().exits(0);
    let histograms = run.result()["rbench"]["histograms"].clone();
    assert_eq!(histograms["unit"], "ns");
    for key in ["ttft", "tpot", "itl", "e2e_latency"] {
        assert!(histograms[key].as_str().unwrap().starts_with("HISTF"), "{key}: {histograms}");
    }
    assert!(run.files().contains(&RESULT.to_owned()));
}
