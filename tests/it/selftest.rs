//! `rbench selftest`, and what `serve` makes of the ceiling that it leaves.
//!
//! How large errors are depends on who else uses the machine, so nothing here asks.

use rbench::analysis::ceiling::{Ceiling, Host};
use serde_json::{Value, json};

use crate::support::rbench::{Rbench, Run};
use crate::support::server::Script;
use crate::support::wire;

/// A small test that keeps its ceiling in the folder where it runs.
fn small() -> Rbench {
    Rbench::new(["selftest", "--quick", "--streams", "3", "--max-streams", "6"])
        .env("RBENCH_CACHE", "cache")
}

fn lines(run: &Run, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(run.path(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_event_is_held_against_the_log_of_the_server() {
    let run = small().args(["--json", "found.jsonl", "--max-error", "1h"]).run().exits(0);
    for part in ["TTFT", "ITL", "E2E", "\nCeiling: ", "\nStreams: 6 at once, none failed\n"] {
        assert!(run.stdout.contains(part), "{run:#?}");
    }
    let [found] = &lines(&run, "found.jsonl")[..] else { panic!("{run:#?}") };
    let cases = found["cases"].as_array().unwrap();
    let seen: Vec<Value> = cases
        .iter()
        .map(|case| json!([case["purpose"], case["streams"], case["busy_loops"] == 0]))
        .collect();
    let expected = json!([
        ["errors", 3, true],
        ["errors", 3, true],
        ["busy_errors", 3, false],
        ["busy_errors", 3, false],
        ["events", 6, true],
    ]);
    assert_eq!(json!(seen), expected);
    for case in cases {
        let count = |key: &str| case[key].as_u64().unwrap();
        let streams = count("streams");
        assert_eq!((count("matched"), count("failed"), count("unmatched")), (streams, 0, 0));
        assert_eq!(count("events"), streams * count("events_per_stream"), "{case}");
        let n = |of: &str| case["error_us"][of]["n"].as_u64().unwrap();
        assert_eq!((n("ttft"), n("e2e")), (streams, streams), "{case}");
        assert_eq!(n("itl"), count("events") - streams, "{case}");
        // Each answer ends with the counts and the end mark.
        assert_eq!(case["write_us"]["n"].as_u64(), Some(count("events") + 2 * streams), "{case}");
    }
    assert_eq!(found["ceiling"]["streams"], 6);
    let kept: Value =
        serde_json::from_str(&std::fs::read_to_string(run.path("cache/ceiling.json")).unwrap())
            .unwrap();
    assert_eq!(kept, found["ceiling"]);
}

#[test]
fn serve_tells_the_headroom_below_the_last_ceiling() {
    let ceiling = Ceiling {
        host: Host::here(),
        date: "2026-01-02T03:04:05+00:00".to_owned(),
        worker_threads: 1,
        events_per_s: 50_000.0,
        events_at_streams: 2000,
        limit: "server".to_owned(),
        streams: 16_000,
    };
    let kept = serde_json::to_string(&ceiling).unwrap();
    let of_another = kept.replace("\"host\":\"", "\"host\":\"not-");
    let server = Script::new(wire::good).start();
    let client = |file: &str| {
        let run = Rbench::load("sglang", &server.url())
            .args(["--model", "tiny"])
            .env("XDG_CACHE_HOME", "cache")
            .file("cache/rbench/ceiling.json", file)
            .run()
            .exits(0);
        let row = run.stdout.lines().find(|line| line.starts_with("Peak event rate (events/s):"));
        let row = row.unwrap_or_else(|| panic!("{run:#?}")).trim_end().to_owned();
        (run.result()["rbench"]["client"].clone(), row, run.stderr)
    };
    let (known, row, said) = client(&kept);
    assert!(row.contains("(this machine's limit 50000, headroom "), "{row}");
    assert_eq!(known["ceiling_events_per_s"], 50_000.0);
    let events = known["events_per_s"].as_f64().unwrap();
    // The last digit of a float may be lost on its way through the file.
    let headroom = known["headroom"].as_f64().unwrap();
    assert!((headroom * events / 50_000.0 - 1.0).abs() < 1e-9, "{known}");
    assert!(!said.contains("headroom"), "{said}");
    let (other, row, said) = client(&of_another);
    assert!(row.contains("run \"rbench selftest\" once"), "{row}");
    assert_eq!(other["ceiling_events_per_s"], Value::Null);
    assert_eq!(other["headroom"], Value::Null);
    assert!(other["events_per_s"].is_f64() && !said.contains("headroom"), "{other} {said}");
    let (broken, _, said) = client("{");
    assert_eq!(broken["headroom"], Value::Null);
    assert!(said.contains("ceiling.json is no ceiling"), "{said}");
}

#[test]
fn a_bound_of_the_error_is_a_matter_of_the_exit_code() {
    let run = small().args(["--max-error", "1ns"]).run().exits(1).says(&["--max-error", "99th"]);
    assert!(run.stdout.contains("\nCeiling: "), "{run:#?}");
}

#[test]
fn what_can_not_be_tried_is_refused() {
    for (words, says) in [
        (&["--streams", "0"][..], &["--streams", "above 0"][..]),
        (&["--streams", "5,many"], &["--streams", "whole number"]),
        (&["--streams", "5,999999999"], &["--streams 999999999", "descriptors"]),
        (&["--max-streams", "999999999"], &["--max-streams 999999999", "descriptors"]),
        (&["--max-error", "soon"], &["--max-error", "200us"]),
        (&["--worker-threads", "0"], &["--worker-threads", "above 0"]),
        (&["--json", "absent/out"], &["--json absent/out", "folder"]),
    ] {
        // Under a limit, so that there is one to be refused by.
        let words = [&["selftest"], words].concat();
        let _ =
            Rbench::in_shell("ulimit -n 1000", words).run().exits(2).prints_nothing().says(says);
    }
}
