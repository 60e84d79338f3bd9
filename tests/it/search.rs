//! `rbench sweep --find`: the highest load that meets objectives.

use std::path::Path;

use serde_json::Value;

use crate::support::mock::Mock;
use crate::support::rbench::Rbench;
use crate::support::server::Script;
use crate::support::wire;

/// A search at `url` with requests of 9 output tokens, whose results go to `folder`.
fn search(url: &str, folder: &Path) -> Rbench {
    Rbench::new(["sweep", "--backend", "vllm", "--base-url", url])
        .args(["--tokenizer", "rbench-bundled", "--dataset-name", "random-ids"])
        .args(["--random-input-len", "8", "--random-output-len", "9", "--random-range-ratio", "1"])
        .arg("--output-dir")
        .arg(folder)
}

/// The answers of a search.
fn answers(folder: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join("search.json")).unwrap();
    let all: Value = serde_json::from_str(&text).unwrap();
    all["answers"].as_array().unwrap().clone()
}

/// The engine runs 6 requests at one time, each for 20 + 8 × 10 = 100 ms; a seventh waits for so long.
const ENGINE: &[&str] = &["--max-batch", "6", "--ttft", "20ms", "--itl", "10ms"];

#[test]
fn the_answer_is_what_the_engine_runs_at_one_time() {
    let folder = tempfile::tempdir().unwrap();
    let mock = Mock::start(ENGINE);
    let find = |more: &[&str]| {
        search(&mock.url, folder.path())
            .args([
                "--find",
                "max-concurrency",
                "--max-concurrency",
                "1..64",
                "--num-prompts",
                "4x",
            ])
            // With 24 requests a wait of the seventh is in the tenth of them that is slowest.
            .args(["--tier", "soon:p90_ttft<60ms", "--tier", "late:p90_e2e<350ms"])
            .args(["--slo", "success>=50%", "--slo-on", "point"])
            .args(more)
            .run()
    };
    let run = find(&[]).exits(0);
    let [soon, late] = <[Value; 2]>::try_from(answers(folder.path())).unwrap();
    assert_eq!(
        (&soon["tier"], &soon["load"], &soon["above"]["load"]),
        (&"soon".into(), &6.0.into(), &7.0.into())
    );
    assert!(soon["probes"].as_u64().unwrap() <= 10, "{soon}");
    // Of 3 × 6 requests none waits longer than for two others, of 24 a quarter waits for three.
    let load = late["load"].as_f64().unwrap();
    assert!((18.0..=22.0).contains(&load), "{late}");
    // It begins with what the other tier has measured.
    let probes = |answer: &Value| answer["probes"].as_u64().unwrap();
    assert!(probes(&late) - probes(&soon) <= 7, "{late}");
    assert!(run.stdout.contains("soon: max-concurrency 6 ("), "{}", run.stdout);
    assert!(run.stdout.contains("7 does not"), "{}", run.stdout);
    // Nothing is measured anew, and the answer is the same.
    let again = find(&["--resume"]).exits(0);
    assert_eq!(again.stdout, run.stdout);
    assert!(!again.stderr.contains("warm-up done"), "{}", again.stderr);
}

#[test]
fn a_rate_is_looked_for_below_what_comes_at_once() {
    let folder = tempfile::tempdir().unwrap();
    // One request at a time, for 4 ms: 250 a second at most.
    let mock = Mock::start(&["--max-batch", "1", "--ttft", "4ms", "--itl", "0ms"]);
    let run = search(&mock.url, folder.path())
        .args(["--find", "request-rate", "--num-prompts", "100", "--precision", "30%"])
        .args(["--slo", "median_ttft<40ms", "--slo-on", "point", "--warmup-requests", "1"])
        .run()
        .exits(0)
        .says(&["probe: request-rate inf"]);
    let [answer] = <[Value; 1]>::try_from(answers(folder.path())).unwrap();
    let rate = answer["load"].as_f64().unwrap();
    assert!((50.0..300.0).contains(&rate), "{answer} {}", run.stdout);
}

#[test]
fn what_cannot_be_met_any_more_is_not_measured_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let mock = Mock::start(&["--ttft", "10ms", "--itl", "0ms"]);
    let run = search(&mock.url, folder.path())
        .args(["--find", "max-concurrency", "--max-concurrency", "1..4", "--num-prompts", "100"])
        .args(["--slo", "p90_ttft<1ms", "--warmup-requests", "0"])
        .run()
        .exits(3)
        .says(&["no load meets the objectives: objectives", "3 stopped"]);
    // 10 of 100 may miss it, and 3 × 3 more by chance; the last load is tried twice.
    let mut summary = csv::Reader::from_path(folder.path().join("summary.csv")).unwrap();
    let at = summary.headers().unwrap().iter().position(|name| name == "completed").unwrap();
    let completed: Vec<u64> =
        summary.records().map(|row| row.unwrap()[at].parse().unwrap()).collect();
    assert!(completed.iter().all(|n| (20..100).contains(n)), "{completed:?}");
    assert!(run.stdout.contains("no max-concurrency meets"), "{}", run.stdout);
    let server = Script::new(wire::good).start();
    let _ = search(&server.url(), &folder.path().join("all"))
        .args(["--find", "max-concurrency", "--num-prompts", "2x", "--slo", "p90_ttft<0.001ms"])
        .run()
        .exits(3)
        .says(&["probe: max-concurrency 32, run 1", "probe: max-concurrency 1, run 1"]);
    for (args, says) in [
        (&["--find", "max-concurrency"][..], "needs an objective"),
        (
            &["--find", "max-concurrency", "--max-concurrency", "8", "--slo", "success>=50%"],
            "takes a range",
        ),
        (&["--find", "request-rate", "--repeat", "2", "--slo", "success>=50%"], "--repeat"),
        (&["--find", "concurrency", "--slo", "success>=50%"], "max-concurrency or request-rate"),
        (
            &["--find", "request-rate", "--tier", "a:success>=1%", "--tier", "a:success>=2%"],
            "--tier a",
        ),
        (&["--find", "request-rate", "--tier", "success>=1%"], "NAME:OBJECTIVE"),
        (&["--tier", "a:success>=1%"], "--find"),
    ] {
        let run = search(&server.url(), &folder.path().join("wrong")).args(args).run();
        let _ = run.exits(2).prints_nothing().says(&[says]);
    }
}
