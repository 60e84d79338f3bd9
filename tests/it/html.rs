//! `rbench report --html`: one page that holds everything, whatever servers said.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::compare::{LOAD, line, lines};
use crate::support::batching::Batching;
use crate::support::rbench::{Rbench, Run};
use crate::support::server::{Answer, Request, Script};
use crate::support::wire;

const RECORDS: &str = "records.jsonl";
const PAGE: &str = "page.html";

/// What a hostile server says.
const HOSTILE: &str =
    "</script><script>window.hacked = true</script><!--<script> {{script}} \u{2028}";

/// `rbench report` on the records of `run`, and the page that it writes.
fn page(run: &Run) -> (Run, String) {
    let path = run.path(PAGE);
    let report = Rbench::new(["report"]).arg(run.path(RECORDS)).arg("--html").arg(&path).run();
    let page = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{error}: {report:?}"));
    (report, page)
}

/// What is between `begin` and the `end` that follows it first.
fn between<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    let (_, after) = text.split_once(begin).unwrap_or_else(|| panic!("no {begin}"));
    after.split_once(end).unwrap_or_else(|| panic!("no {end}")).0
}

/// The data of a page, as a browser finds it.
fn data(page: &str) -> Value {
    let text = between(page, r#"<script type="application/json" id="data">"#, "</script>");
    serde_json::from_str(text).unwrap()
}

/// A run of 24 requests, recorded.
fn recorded(answers: fn(&Request) -> Answer) -> Run {
    let server = Script::new(answers).start();
    Rbench::plain_load("vllm", &server.url())
        .args(["--num-prompts", "24", "--request-rate", "400", "--records", RECORDS])
        .run()
}

/// Every fourth request is refused, with a body that is markup.
fn hostile(request: &Request) -> Answer {
    if request.nth % 4 == 1 {
        Answer::body("503 Busy", "text/html", HOSTILE)
    } else {
        wire::good(request)
    }
}

#[test]
fn a_page_has_the_run() {
    let run = recorded(wire::good).exits(0);
    let (report, page) = page(&run);
    let report = report.exits(0).says(&["page written to"]);
    assert_eq!(report.stdout, run.stdout, "the page comes beside what is printed");
    let data = data(&page);
    let of = &data["runs"][0];
    assert_eq!(of["ledger"]["completed"], 24);
    assert_eq!(of["requests"]["of"], 24);
    let requests = &of["requests"];
    for (i, sent) in requests["sent_ms"].as_array().unwrap().iter().enumerate() {
        let [sent, first, done] = [sent, &requests["first_ms"][i], &requests["done_ms"][i]]
            .map(|at| at.as_f64().unwrap());
        assert!(sent <= first && first <= done, "{requests}");
    }
    let sum = |key: &str| -> u64 {
        of["over_time"][key].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).sum()
    };
    assert_eq!([sum("due"), sum("sent"), sum("completed")], [24; 3]);
    let keys: Vec<&Value> = of["latencies"].as_array().unwrap().iter().map(|l| &l["key"]).collect();
    assert_eq!(keys, ["ttft", "tpot", "itl", "e2el"]);
    // The figures of the page are those of the table.
    let ttft = &of["latencies"][0];
    let printed = format!("{:.2}", ttft["p99_ms"].as_f64().unwrap());
    let row = run.stdout.lines().find(|line| line.starts_with("P99 TTFT")).unwrap();
    assert!(row.ends_with(&printed) || row.trim_end().ends_with(&printed), "{row}: {printed}");
    assert_eq!(ttft["samples"], 24);
    assert_eq!(of["offered_rate"].is_number(), of["achieved_rate"].is_number());
}

#[test]
fn a_page_fetches_nothing() {
    let (_, page) = page(&recorded(wire::good).exits(0));
    let policy = between(&page, r#"http-equiv="Content-Security-Policy" content=""#, "\"");
    assert!(policy.starts_with("default-src 'none';"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    for fetches in
        [" src=", " href=", "url(", "@import", "fetch(", "XMLHttpRequest", "import(", "WebSocket("]
    {
        assert!(!page.contains(fetches), "{fetches}");
    }
    // The one address is where the library's source is, in a comment.
    let rest = page.replacen("/*! https://github.com/leeoniya/uPlot (v", "", 1);
    let data = between(&page, r#"id="data">"#, "</script>");
    assert!(!rest.replacen(data, "", 1).contains("://"), "an address");
}

#[test]
fn what_servers_say_stays_text() {
    let run = recorded(hostile).exits(0);
    let (_, page) = page(&run);
    assert_eq!(page.matches("<script").count(), 2, "the data and the script");
    assert_eq!(page.matches("</script").count(), 2);
    assert!(!page.contains("<!--") && !page.contains('\u{2028}'), "a comment or a separator");
    let data = data(&page);
    let failure = &data["runs"][0]["failures"][0];
    assert_eq!(failure["count"], 6);
    let excerpt = failure["excerpt"].as_str().unwrap();
    assert!(excerpt.contains("</script><script>window.hacked"), "{excerpt}");
    // Markup is made of text nowhere.
    let script = page.rsplit("<script>").next().unwrap();
    for made in
        ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"]
    {
        assert!(!script.contains(made), "{made}");
    }
}

#[test]
fn a_run_that_failed_altogether_has_a_page() {
    let run = recorded(|_| Answer::body("500 Oops", "text/plain", HOSTILE));
    let (report, page) = page(&run);
    let _ = report.exits(1);
    let data = data(&page);
    assert_eq!(data["runs"][0]["ledger"]["completed"], 0);
    assert_eq!(data["runs"][0]["latencies"], json!([]));
    assert_eq!(data["runs"][0]["over_time"]["failed"][0]["kind"], "http_status");
}

/// Records of a run of `requests` requests with `tokens` tokens each, as releases without checksums wrote them.
fn long_run(of: &Path, requests: usize, tokens: usize) -> String {
    let small = std::fs::read_to_string(of).unwrap();
    let plain = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().shift_remove("crc32");
        line
    };
    let lines: Vec<&str> = small.lines().collect();
    let (mut header, row, mut end) =
        (plain(lines[0]), plain(lines[1]), plain(lines[lines.len() - 1]));
    header["requests"] = requests.into();
    end["rbench_end"] = requests.into();
    let mut text = format!("{header}\n");
    // Gaps of 10 ms, of which some are long.
    let gap = |i: usize, n: usize| {
        9_000_000
            + (i * 7919 + n * 104_729) % 2_000_000
            + usize::from((i + n).is_multiple_of(997)) * 300_000_000
    };
    for i in 0..requests {
        let due = i * 1_000_000;
        let first = due + 50_000_000 + (i * 31) % 100_000_000;
        let gaps: Vec<usize> =
            std::iter::once(first).chain((1..tokens).map(|n| gap(i, n))).collect();
        let done = gaps.iter().sum::<usize>() + 1000;
        let mut row = row.clone();
        for (key, value) in [
            ("index", json!(i)),
            ("due_ns", json!(due)),
            ("released_ns", json!(due)),
            ("sent_ns", json!(due + 20_000)),
            ("headers_ns", json!(first - 1000)),
            ("done_ns", json!(done)),
            ("gaps_ns", json!(gaps)),
            ("piece_bytes", json!(vec![1; tokens])),
            ("text", json!("a".repeat(tokens))),
            ("output_tokens_asked", json!(tokens)),
            ("output_tokens", json!(tokens)),
        ] {
            row[key] = value;
        }
        row.as_object_mut().unwrap().shift_remove("tokens");
        writeln!(text, "{row}").unwrap();
    }
    text + &end.to_string() + "\n"
}

#[test]
fn a_long_run_has_a_small_page() {
    let run = recorded(wire::good).exits(0);
    let path = run.path(RECORDS);
    let sizes = [1_000, 4_000].map(|requests| {
        std::fs::write(&path, long_run(&run.path(RECORDS), requests, 25)).unwrap();
        let (_, page) = page(&run);
        assert_eq!(data(&page)["runs"][0]["requests"]["of"], requests);
        page.len()
    });
    // What grows with requests ends at 10,000 of them, and nothing grows with tokens.
    let per_request = (sizes[1] - sizes[0]) as f64 / 3_000.0;
    assert!(per_request < 150.0, "{per_request} bytes per request");
    assert!(sizes[1] as f64 + 8_000.0 * per_request < 15e6, "{sizes:?}");
}

#[test]
fn a_comparison_has_a_page() {
    let base = lines([line(&LOAD.run(1))]);
    let new = lines([line(&Batching { pace: 1.1, ..LOAD }.run(2))]);
    let run = Rbench::new(["compare", "base.jsonl", "new.jsonl", "--html", PAGE])
        .file("base.jsonl", base)
        .file("new.jsonl", new)
        .run()
        .exits(3);
    let page = std::fs::read_to_string(run.path(PAGE)).unwrap();
    let comparison = &data(&page)["comparisons"][0];
    assert_eq!(comparison["verdict"], "regression");
    let load = &comparison["loads"][0];
    let rows = load["rows"].as_array().unwrap();
    let tpot = rows.iter().find(|row| row["metric"] == "median_tpot_ms").unwrap();
    assert_eq!(tpot["class"], "worse");
    let [low, change, high] =
        ["low_percent", "change_percent", "high_percent"].map(|key| tpot[key].as_f64().unwrap());
    assert!(0.0 < low && low < change && change < high, "{tpot}");
    let row = run.stdout.lines().find(|line| line.starts_with("median_tpot_ms")).unwrap();
    assert!(row.contains(tpot["interval"].as_str().unwrap()), "{row} {tpot}");
    let labels: Vec<&Value> =
        load["latencies"].as_array().unwrap().iter().map(|one| &one["label"]).collect();
    assert_eq!(labels, ["TTFT", "TPOT", "ITL", "E2E"]);
    for side in ["base", "new"] {
        assert_eq!(load["latencies"][0][side]["samples"], LOAD.requests);
    }
}

#[test]
fn the_folder_of_a_sweep_has_a_page() {
    let run = recorded(wire::good).exits(0);
    let records = std::fs::read_to_string(run.path(RECORDS)).unwrap();
    let point = |name: &str, cap: &str| json!({"name": name, "values": {"--max-concurrency": cap}, "run": 1});
    let manifest = json!({
        "rbench_sweep": 1,
        "axes": [{"flag": "--max-concurrency", "values": ["1", "2", "4"]}],
        "tiers": {"only": ["p99_ttft<500ms"]},
        "gpus": 2,
        "points": [point("a", "1"), point("b", "2"), point("lost", "4")],
    });
    let report = Rbench::new(["report", "sweep", "--quiet-extras", "--html", PAGE])
        .file("sweep/sweep.json", manifest.to_string())
        .file("sweep/points/a/records.jsonl", &records)
        .file("sweep/points/b/records.jsonl", &records)
        .run()
        .exits(0);
    assert_eq!(report.stdout.matches("Successful requests").count(), 2, "{}", report.stdout);
    let page = std::fs::read_to_string(report.path(PAGE)).unwrap();
    let data = data(&page);
    let names: Vec<&Value> = data["runs"].as_array().unwrap().iter().map(|r| &r["name"]).collect();
    assert_eq!(names, ["--max-concurrency 1", "--max-concurrency 2"]);
    let sweep = &data["sweep"];
    assert_eq!([&sweep["points"][0]["name"], &sweep["points"][1]["name"]], names[..]);
    assert_eq!((&sweep["points"].as_array().unwrap().len(), &sweep["gpus"]), (&2, &json!(2)));
    assert_eq!(sweep["slos"][0]["metric"], "p99_ttft_ms");
    assert_eq!(sweep["slos"][0]["limit"], 500.0);

    // A folder without a manifest has its files of records; others are left alone.
    let report = Rbench::new(["report", "runs", "--quiet-extras", "--html", PAGE])
        .file("runs/first.jsonl", &records)
        .file("runs/second.jsonl", &records)
        .file("runs/results.jsonl", "{}\n")
        .run()
        .exits(0);
    let page = std::fs::read_to_string(report.path(PAGE)).unwrap();
    let data = self::data(&page);
    assert_eq!([&data["runs"][0]["name"], &data["runs"][1]["name"]], ["first", "second"]);
    let _ = Rbench::new(["report", "empty"])
        .file("empty/x", "")
        .run()
        .exits(1)
        .says(&["has no file of records"]);
}
