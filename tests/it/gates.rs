//! Objectives of a run: exit codes, and the files for services of continuous integration.

use serde_json::Value;

use crate::support::rbench::Rbench;
use crate::support::server::{Script, Server};
use crate::support::wire;

/// A load of 200 requests.
fn load(server: &Server) -> Rbench {
    Rbench::plain_load("vllm", &server.url()).args([
        "--num-prompts",
        "40",
        "--max-concurrency",
        "4",
    ])
}

#[test]
fn an_objective_that_is_not_met_is_exit_code_3() {
    let server = Script::new(wire::good).start();
    for (objective, on, code, says) in [
        ("median_ttft<60s", "bound", 0, "objective median_ttft_ms<60000ms: met"),
        ("median_ttft<1us", "bound", 3, "median_ttft_ms<0.001ms: not met"),
        ("p99_ttft<60s", "bound", 0, "p99_ttft_ms<60000ms: inconclusive"),
        ("p99_ttft<60s", "point", 0, "p99_ttft_ms<60000ms: met"),
        ("success>=99.9%", "bound", 0, "success>=99.9%: inconclusive"),
        ("success>=99.9%", "point", 0, "success>=99.9%: met"),
        ("success>=90%", "bound", 0, "success>=90%: met"),
    ] {
        let _ = load(&server)
            .args(["--slo", objective, "--slo-on", on])
            .run()
            .exits(code)
            .prints_a_table()
            .says(&[says]);
    }
    let _ = load(&server).args(["--slo", "p99_ttft<60s", "--strict"]).run().exits(4);
    let _ = load(&server).args(["--slo", "success>0.9"]).run().exits(2);
    let _ = load(&server).args(["--slo", "success>=9%", "--print-config"]).run().exits(2);
}

#[test]
fn every_objective_is_judged_and_written() {
    let server = Script::new(wire::good).start();
    let run = load(&server)
        .args(["--slo", "median_ttft<1us", "--slo", "success>=90%", "--slo", "p99_ttft<60s"])
        .args(["--tag", "a<b", "--junit", "junit.xml", "--summary", "summary.md"])
        .args(["--bencher", "bmf.json", "--benchmark-action", "action"])
        .env("GITHUB_STEP_SUMMARY", "step.md")
        .run()
        .exits(3);
    let read = |name: &str| std::fs::read_to_string(run.path(name)).unwrap();
    let junit = read("junit.xml");
    for part in ["tests=\"3\"", "failures=\"1\"", "<skipped", "a&lt;b", "median_ttft_ms&lt;0.001ms"]
    {
        assert!(junit.contains(part), "{part}: {junit}");
    }
    let summary = read("summary.md");
    assert!(summary.contains("| not met |") && summary.contains("| met |"), "{summary}");
    assert_eq!(summary, read("step.md"));
    let bmf: Value = serde_json::from_str(&read("bmf.json")).unwrap();
    let median = &bmf["a<b"]["median_ttft_ms"];
    let value = median["value"].as_f64().unwrap();
    // A bound that the sample does not give is left out.
    assert!(median["lower_value"].as_f64().is_none_or(|low| low <= value), "{bmf}");
    assert!(median["upper_value"].as_f64().is_none_or(|high| value <= high), "{bmf}");
    assert!(bmf["a<b"]["success"]["lower_value"].as_f64().unwrap() > 80.0, "{bmf}");
    // The p99 of 200 requests has no upper bound.
    assert!(bmf["a<b"]["p99_ttft_ms"].get("upper_value").is_none());
    let smaller: Value = serde_json::from_str(&read("action/smaller-is-better.json")).unwrap();
    let bigger: Value = serde_json::from_str(&read("action/bigger-is-better.json")).unwrap();
    assert_eq!(smaller[0]["name"], "a<b median_ttft_ms");
    assert_eq!(smaller[0]["unit"], "ms");
    assert!(bigger.as_array().unwrap().iter().any(|one| one["name"] == "a<b success"));
}

#[test]
fn a_run_without_samples_leaves_objectives_on_bounds_open() {
    let server = Script::new(wire::good).start();
    let _ = load(&server)
        .args(["--low-memory", "--slo", "median_ttft<60s"])
        .run()
        .exits(0)
        .says(&["inconclusive", "no interval"]);
    let _ = load(&server)
        .args(["--low-memory", "--slo", "median_ttft<60s", "--slo-on", "point"])
        .run()
        .exits(0)
        .says(&["median_ttft_ms<60000ms: met"]);
}
