//! Intervals of the figures of one run, in the block and in the object `rbench`.

use crate::support::rbench::{RESULT, Rbench};
use crate::support::server::Script;
use crate::support::wire;

#[test]
fn a_run_too_short_for_a_percentile_says_what_it_needs() {
    let server = Script::new(wire::good).start();
    let run = Rbench::load("vllm", &server.url())
        .args([
            "--model",
            "tiny",
            "--num-prompts",
            "120",
            "--verbose",
            "--records",
            "records.jsonl",
        ])
        .run()
        .exits(0)
        .prints_a_table();
    let (block, table) = run.stdout.split_once("Serving Benchmark Result").unwrap();
    let row =
        |label: &str| block.lines().find(|line| line.trim_start().starts_with(label)).unwrap();
    assert!(row("Intervals of 95 %:").contains("within this run"), "{block}");
    let ttft = row("TTFT, mean/p50/p99 (ms):");
    assert!(ttft.contains('[') && ttft.contains("/ n/a (needs "), "{ttft}");
    assert!(row("TTFT from scheduled time (ms):").contains("p99 n/a (needs "), "{block}");
    // The compatible table has every percentile.
    assert!(!table.contains("needs"), "{table}");

    let result = run.result();
    let confidence = &result["rbench"]["confidence"];
    assert_eq!(confidence["level"], 0.95);
    assert_eq!(confidence["scope"], "within this run");
    for key in ["mean_ttft_ms", "mean_itl_ms", "mean_e2e_latency_ms", "request_throughput"] {
        let ends = &confidence["intervals"][key];
        let value = result[key].as_f64().unwrap();
        assert!(ends[0].as_f64() <= Some(value) && ends[1].as_f64() >= Some(value), "{key} {ends}");
    }
    assert!(confidence["intervals"]["success"][0].as_f64() > Some(0.8), "{confidence}");
    assert!(confidence["needs_requests"]["p99_ttft_ms"].as_u64() > Some(100), "{confidence}");
    assert!(confidence["intervals"]["p99_ttft_ms"].is_null(), "{confidence}");

    // Records give the same.
    let records = std::fs::read(run.path("records.jsonl")).unwrap();
    let again = Rbench::new(["report", "records.jsonl", "--output-file", RESULT])
        .file("records.jsonl", records)
        .run()
        .exits(0)
        .result();
    assert_eq!(again["rbench"]["confidence"], *confidence);
}

#[test]
fn counted_samples_have_no_intervals() {
    let server = Script::new(wire::good).start();
    let run = Rbench::plain_load("vllm", &server.url())
        .args(["--model", "tiny", "--num-prompts", "40", "--verbose", "--low-memory"])
        .run()
        .exits(0)
        .prints_a_table();
    assert!(!run.stdout.contains("Intervals"), "{run:?}");
    assert!(run.result()["rbench"]["confidence"].is_null());
}
