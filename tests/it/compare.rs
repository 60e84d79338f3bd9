//! `rbench compare`: verdicts, and what is no evidence.

use serde_json::{Value, json};

use crate::support::batching::{Arrivals, Batching, Simulated};
use crate::support::rbench::{Rbench, Run};
use crate::support::server::Script;
use crate::support::wire;

/// A closed loop of 8 requests on a server with as many places.
pub(crate) const LOAD: Batching =
    Batching { arrivals: Arrivals::Closed(8), requests: 600, places: 8, pace: 1.0, between: 0.0 };

/// A result line of `requests`, with samples.
pub(crate) fn line(requests: &[Simulated]) -> Value {
    let seconds = |of: fn(&Simulated) -> f64| -> Value {
        requests.iter().map(|request| of(request) / 1e3).collect()
    };
    let gaps = requests.iter().map(|r| r.gaps.iter().map(|ms| ms / 1e3).collect::<Value>());
    let n = requests.len();
    json!({
        "backend": "sglang",
        "completed": n,
        "concurrency": 8.0,
        "output_throughput": 1000.0,
        "mean_ttft_ms": 20.0,
        "median_ttft_ms": 18.0,
        "ttfts": seconds(|r| r.first - r.sent),
        "itls": gaps.collect::<Value>(),
        "output_lens": requests.iter().map(|r| r.gaps.len() + 1).collect::<Value>(),
        "errors": vec![""; n],
        "rbench": {
            "version": "0.1.0",
            "config": {"request_rate": "inf", "num_prompts": n, "max_concurrency": 8, "port": 1},
            "ledger": {"sent": n},
            "verdict": {"client_ok": true, "limits": []},
            "sent_s": seconds(|r| r.sent),
            "done_s": seconds(|r| r.done),
        },
    })
}

/// The line without its samples.
fn bare(mut line: Value) -> Value {
    for key in ["ttfts", "itls", "output_lens", "errors"] {
        line.as_object_mut().unwrap().shift_remove(key);
    }
    line
}

/// A file of result lines.
pub(crate) fn lines(lines: impl IntoIterator<Item = Value>) -> String {
    lines.into_iter().fold(String::new(), |all, line| all + &line.to_string() + "\n")
}

/// The program with two files of lines.
fn files(base: &str, new: &str) -> Rbench {
    Rbench::new(["compare", "base.jsonl", "new.jsonl"])
        .file("base.jsonl", base)
        .file("new.jsonl", new)
}

fn slower() -> Batching {
    Batching { pace: 1.1, ..LOAD }
}

/// The row of `metric` in the table.
fn row<'a>(run: &'a Run, metric: &str) -> &'a str {
    let row = run.stdout.lines().find(|line| line.starts_with(metric));
    row.unwrap_or_else(|| panic!("no {metric} in {}", run.stdout))
}

#[test]
fn a_slower_server_is_a_regression_and_an_equal_one_is_not() {
    let base = lines([line(&LOAD.run(1))]);
    let run = files(&base, &lines([line(&slower().run(2))])).run().exits(3);
    assert!(row(&run, "median_tpot_ms").contains("regression"), "{}", run.stdout);
    assert!(run.stdout.contains("\nVerdict: regression ("), "{}", run.stdout);
    assert!(run.stderr.contains("the comparison failed: "), "{}", run.stderr);
    let run = files(&base, &lines([line(&LOAD.run(2))])).run().exits(0);
    assert!(!run.stdout.contains("regression"), "{}", run.stdout);
    assert!(run.stdout.contains("a side has one run"), "{}", run.stdout);
    let faster = Batching { pace: 0.9, ..LOAD };
    let run = files(&base, &lines([line(&faster.run(2))])).run().exits(0);
    assert!(run.stdout.contains("\nVerdict: improvement ("), "{}", run.stdout);
}

#[test]
fn rules_decide_what_fails() {
    let (base, new) = (lines([line(&LOAD.run(1))]), lines([line(&slower().run(2))]));
    for (rule, code) in [
        ("median_tpot_ms>+5%", 3),
        ("median_tpot_ms>+30%", 0),
        ("never", 0),
        ("regression", 3),
        ("median_tpot_ms<-5%", 2),
        ("p50_nothing>5%", 2),
    ] {
        let _ = files(&base, &new).args(["--fail-on", rule]).run().exits(code);
    }
    let run = files(&base, &new).args(["--fail-on", "p90_itl>+5%"]).run().exits(3);
    assert!(run.stderr.contains("p90_itl_ms changed by +"), "{}", run.stderr);
}

#[test]
fn unlike_loads_are_not_compared() {
    let base = lines([line(&LOAD.run(1))]);
    let other = Batching { requests: 400, ..LOAD };
    let mut other = line(&other.run(2));
    other["rbench"]["version"] = "0.2.0".into();
    let other = lines([other]);
    let _ = files(&base, &other).run().exits(1).says(&[
        "no load in common",
        "num_prompts: 600 -> 400 changes what is sent",
        "--ignore",
    ]);
    let run = files(&base, &other).args(["--ignore", "num_prompts"]).run().exits(0);
    assert!(run.stdout.contains("the setting differs: version: \"0.1.0\" -> \"0.2.0\""));
    assert!(!run.stdout.contains("port"), "{}", run.stdout);
    let _ = files(&base, &other).args(["--ignore", "tag"]).run().exits(2).says(&["--ignore tag"]);
}

#[test]
fn loads_of_a_sweep_are_compared_each_with_its_own() {
    let at = |rate: u64, load: Batching, seed| {
        let mut line = line(&load.run(seed));
        line["rbench"]["config"]["request_rate"] = rate.into();
        line
    };
    let base = lines([at(4, LOAD, 1), at(8, LOAD, 2), at(16, LOAD, 3)]);
    let new = lines([at(8, slower(), 4), at(4, LOAD, 5)]);
    let run = files(&base, &new).args(["--json", "--metrics", "median_tpot"]).run().exits(3);
    let value: Value = serde_json::from_str(&run.stdout).unwrap();
    let verdicts: Vec<(&Value, &Value)> = value["loads"]
        .as_array()
        .unwrap()
        .iter()
        .map(|load| (&load["load"]["request_rate"], &load["metrics"][0]["verdict"]))
        .collect();
    assert_eq!(verdicts.len(), 2);
    assert!(verdicts.contains(&(&8.into(), &"regression".into())), "{verdicts:?}");
    assert!(verdicts.contains(&(&4.into(), &"unchanged".into())), "{verdicts:?}");
    assert!(run.stdout.contains("1 loads are on one side alone"), "{}", run.stdout);
}

#[test]
fn lines_without_samples_decide_what_they_can() {
    let (one, other) = (bare(line(&LOAD.run(1))), bare(line(&slower().run(2))));
    let run = files(&lines([one.clone()]), &lines([other.clone()])).run().exits(0);
    assert!(row(&run, "median_ttft_ms").contains("percentiles need samples"), "{}", run.stdout);
    assert!(row(&run, "output_throughput").contains("several runs"), "{}", run.stdout);
    assert!(run.stdout.contains("Verdict: inconclusive"), "{}", run.stdout);
    // Of several runs a mean is compared, and a percentile neither averaged nor compared.
    let scaled = |line: &Value, by: f64| {
        let mut line = line.clone();
        line["mean_ttft_ms"] = (20.0 * by).into();
        line
    };
    let side = |by: f64| lines([0.99, 1.0, 1.01].map(|noise| scaled(&one, by * noise)));
    let run = files(&side(1.0), &side(1.3))
        .args(["--metrics", "mean_ttft", "median_ttft"])
        .run()
        .exits(3);
    assert!(row(&run, "mean_ttft_ms").contains("regression"), "{}", run.stdout);
    assert!(row(&run, "median_ttft_ms").contains("n/a"), "{}", run.stdout);
}

#[test]
fn a_client_that_was_the_limit_is_no_evidence() {
    let base = lines([line(&LOAD.run(1))]);
    let mut limited = line(&slower().run(2));
    limited["rbench"]["verdict"] =
        json!({"client_ok": false, "limits": [{"evidence": "requests were sent late"}]});
    let limited = lines([limited]);
    let run = files(&base, &limited).run().exits(0);
    assert!(run.stdout.contains("the client was the limit: requests were sent late"));
    assert!(run.stdout.contains("Verdict: inconclusive (the runs are no evidence)"));
    let _ = files(&base, &limited).args(["--fail-on", "inconclusive"]).run().exits(3);
    let _ = files(&base, &limited).arg("--allow-client-limited").run().exits(3);
}

#[test]
fn runs_that_scatter_are_not_decided_by_one() {
    let wide = Batching { requests: 200, between: 0.05, ..LOAD };
    let side = |first: u64| lines((first..first + 3).map(|seed| line(&wide.run(seed))));
    let run = files(&side(10), &side(20)).args(["--metrics", "median_tpot"]).run();
    assert!(!row(&run, "median_tpot_ms").contains("regression"), "{}", run.stdout);
    assert!(row(&run, "median_tpot_ms").contains("needs"), "{}", run.stdout);
    assert!(run.stdout.contains("3 runs, 600 requests against 3 runs, 600 requests"));
}

#[test]
fn summaries_are_markdown_in_both_files() {
    let (base, new) = (lines([line(&LOAD.run(1))]), lines([line(&slower().run(2))]));
    let run = files(&base, &new)
        .args(["--summary", "summary.md"])
        .env("GITHUB_STEP_SUMMARY", "step.md")
        .file("step.md", "before\n")
        .run()
        .exits(3);
    let summary = std::fs::read_to_string(run.path("summary.md")).unwrap();
    assert!(summary.contains("| median_tpot_ms | ") && summary.contains("| regression |"));
    let step = std::fs::read_to_string(run.path("step.md")).unwrap();
    assert!(step.starts_with("before\n### rbench: "), "{step}");
}

#[test]
fn records_are_compared_too() {
    let server = Script::new(wire::good).start();
    let run = Rbench::plain_load("vllm", &server.url())
        .args(["--records", "records.jsonl"])
        .run()
        .exits(0);
    let recorded = std::fs::read_to_string(run.path("records.jsonl")).unwrap();
    let run = Rbench::new(["compare", "base", "new/records.jsonl"])
        .file("base/records.jsonl", &recorded)
        .file("new/records.jsonl", &recorded)
        .run()
        .exits(0);
    assert!(run.stdout.contains("1 run, 3 requests against 1 run, 3 requests"), "{}", run.stdout);
    assert!(row(&run, "success").contains("100.00 %"), "{}", run.stdout);
    for (name, text, says) in [
        ("empty.jsonl", "", "empty.jsonl has no run"),
        ("other.jsonl", "{}\n", "other.jsonl line 1: there is no key completed"),
    ] {
        let _ = Rbench::new(["compare", name, name]).file(name, text).run().exits(1).says(&[says]);
    }
    let _ = Rbench::new(["compare", "gone", "gone"]).run().exits(1).says(&["cannot read gone"]);
}

/// A folder with a result line of each run: `paces` says how slow the server was.
fn nightly(paces: &[f64]) -> Rbench {
    let mut run = Rbench::new(["compare", "--history", "runs"]);
    for (i, &pace) in paces.iter().enumerate() {
        let seed = i as u64;
        let server = Batching { pace, requests: 400, between: 0.01, ..LOAD };
        let mut line = line(&server.run(seed));
        line["rbench"]["date"] = format!("2026-03-{:02}T04:00:00+00:00", i + 1).into();
        // By name they would have another order.
        run = run.file(&format!("runs/{}.jsonl", 99 - i), lines([line]));
    }
    run
}

#[test]
fn the_history_shows_where_the_level_changed() {
    let steady = nightly(&[1.0; 14]).args(["--metrics", "median_tpot", "success"]).run().exits(0);
    assert!(steady.stdout.contains("14 runs\n"), "{}", steady.stdout);
    assert!(steady.stdout.contains("Verdict: pass in the last 3 runs"), "{}", steady.stdout);
    let paces = [vec![1.0; 12], vec![1.2; 3]].concat();
    let run = nightly(&paces)
        .args(["--metrics", "median_tpot", "success", "--csv", "series.csv"])
        .run()
        .exits(3);
    let change = run.stdout.lines().find(|line| line.contains("worse by +")).unwrap();
    assert!(change.contains("from run 13 of 15 on (runs/87.jsonl line 1, 2026-03-13T"), "{change}");
    assert!(change.ends_with("NEW"), "{change}");
    assert!(run.stdout.contains("Failed: median_tpot_ms got worse by +"), "{}", run.stdout);
    let series = std::fs::read_to_string(run.path("series.csv")).unwrap();
    assert!(
        series.starts_with("time,run,median_tpot_ms,success\n2026-03-01T04:00:00+00:00,runs/99")
    );
    assert_eq!(series.lines().count(), 16);
    // Once it is old, it is no news.
    let paces = [vec![1.0; 8], vec![1.2; 7]].concat();
    let run = nightly(&paces)
        .args(["--metrics", "median_tpot", "--json", "--recent", "1"])
        .run()
        .exits(0);
    let value: Value = serde_json::from_str(&run.stdout).unwrap();
    let series = &value["loads"][0]["metrics"][0];
    assert_eq!(series["changes"][0]["run"], 8, "{value}");
    assert_eq!(series["changes"][0]["recent"], false);
    let noise = series["noise"].as_f64().unwrap();
    assert!((0.002..0.06).contains(&noise), "{noise}");
}

#[test]
fn a_short_history_decides_nothing() {
    let run = nightly(&[1.0, 1.0, 1.5]).args(["--metrics", "median_tpot"]).run().exits(0);
    assert!(run.stdout.contains("fewer than 6 runs"), "{}", run.stdout);
    assert!(run.stdout.contains("Verdict: inconclusive"), "{}", run.stdout);
    let _ = nightly(&[1.0; 3]).args(["--fail-on", "inconclusive"]).run().exits(3);
    let both = Rbench::new(["compare", "base", "new", "--history", "runs"]).run();
    let _ = both.exits(2).says(&["--history"]);
}
