//! Many runs by one command: `rbench sweep`, and `--multi` of older releases.

use std::collections::HashSet;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::rbench::{Process, RESULT, Rbench};
use crate::support::server::{Answer, Request, Script, Server};
use crate::support::wire;

/// A sweep over `server` with 3 requests a point and no warm-up, whose results go to `folder`.
fn sweep(server: &Server, folder: &Path) -> Rbench {
    Rbench::new(["sweep", "--backend", "vllm", "--base-url", &server.url()])
        .args(["--tokenizer", "rbench-bundled", "--dataset-name", "random-ids"])
        .args(["--random-input-len", "8", "--random-output-len", "4", "--random-range-ratio", "1"])
        .args(["--num-prompts", "3", "--warmup-requests", "0"])
        .arg("--output-dir")
        .arg(folder)
}

/// The lines of the summary as pairs of a column and its value.
fn summary(folder: &Path) -> Vec<Vec<(String, String)>> {
    let mut reader = csv::Reader::from_path(folder.join("summary.csv")).unwrap();
    let head = reader.headers().unwrap().clone();
    let row = |row: csv::StringRecord| {
        head.iter().zip(&row).map(|(name, cell)| (name.to_owned(), cell.to_owned())).collect()
    };
    reader.records().map(|record| row(record.unwrap())).collect()
}

/// The cells of a column.
fn column(folder: &Path, name: &str) -> Vec<String> {
    let of = |row: Vec<(String, String)>| row.into_iter().find(|(head, _)| head == name);
    let cell = |row| of(row).unwrap_or_else(|| panic!("no column {name}")).1;
    summary(folder).into_iter().map(cell).collect()
}

fn json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path);
    serde_json::from_str(&text.unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        .unwrap()
}

/// What became of each point, in the order of the names of their folders.
fn points(folder: &Path) -> Vec<Value> {
    let entries = std::fs::read_dir(folder.join("points")).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path().join("point.json")).collect();
    paths.sort();
    paths.iter().filter(|path| path.exists()).map(|path| json(path)).collect()
}

/// How many tokens the requests ask for, in the order of their arrival.
fn asked(server: &Server) -> Vec<u64> {
    server
        .inference()
        .iter()
        .map(|request| request.json()["max_tokens"].as_u64().unwrap())
        .collect()
}

#[test]
fn each_combination_is_a_point_with_prompts_of_its_own_after_one_wave() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let server = Script::new(wire::good).start();
    let run = Rbench::new(["sweep", "--backend", "vllm", "--base-url", &server.url()])
        .args(["--tokenizer", "rbench-bundled", "--dataset-name", "random-ids"])
        .args(["--random-input-len", "8", "--random-output-len=4,6", "--random-range-ratio", "1"])
        .args(["--max-concurrency", "1..3", "--num-prompts", "2x", "--gpus", "2"])
        .args(["--slo", "success>=50%", "--slo-on", "point"])
        .arg("--output-dir")
        .arg(&out)
        .run()
        .exits(0)
        .says(&["run 1 of 6", "run 6 of 6", "6 done"]);
    // Two prompts for each place of the cap, and before them as many as fit under it.
    assert_eq!(server.inference().len(), 2 * (1 + 2 + 3) * (2 + 1));
    let bodies: Vec<String> =
        server.inference().iter().map(|r| r.json()["prompt"].to_string()).collect();
    assert_eq!(bodies.iter().collect::<HashSet<_>>().len(), bodies.len(), "{bodies:?}");
    let at = |name| column(&out, name).join(" ");
    assert_eq!(at("random_output_len"), "4 4 4 6 6 6");
    assert_eq!(at("max_concurrency"), "1 2 3 1 2 3");
    assert_eq!(at("completed"), "2 4 6 2 4 6");
    assert_eq!(at("state"), ["done"; 6].join(" "));
    assert_eq!(at("objectives: success>=50%"), ["met"; 6].join(" "));
    let numbers = |name| -> Vec<f64> {
        column(&out, name).iter().map(|cell| cell.parse().unwrap()).collect()
    };
    for (each, all) in numbers("output_throughput_per_gpu").iter().zip(numbers("output_throughput"))
    {
        assert!((each * 2.0 - all).abs() < 1e-6, "{each} {all}");
    }
    let table: Vec<&str> = run.stdout.lines().collect();
    assert!(table[0].contains("random-output-len  max-concurrency"), "{table:?}");
    // Below the rows stands why figures are not to be trusted, on a machine that is busy.
    let rows = table.iter().filter(|line| line.contains("   done  ")).count();
    assert_eq!(rows, 6, "{table:?}");
    let manifest = json(&out.join("sweep.json"));
    let digests: HashSet<&str> = manifest["points"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["digest"].as_str().unwrap())
        .collect();
    assert_eq!(digests.len(), 6);
    assert_eq!(manifest["axes"][1]["values"].as_array().unwrap().len(), 3);
    assert_eq!(manifest["config"]["random_input_len"], 8);
    let lines = std::fs::read_to_string(out.join("results.jsonl")).unwrap();
    let of = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        (line["random_output_len"].as_u64().unwrap(), line["max_concurrency"].as_u64().unwrap())
    };
    let lines: Vec<_> = lines.lines().map(of).collect();
    assert_eq!(lines, [(4, 1), (4, 2), (4, 3), (6, 1), (6, 2), (6, 3)]);
    for point in manifest["points"].as_array().unwrap() {
        let path = out.join("points").join(point["name"].as_str().unwrap()).join("records.jsonl");
        let rows = std::fs::read_to_string(path).unwrap().lines().count() as u64;
        assert_eq!(rows, 2 + point["num_prompts"].as_u64().unwrap());
    }
}

#[test]
fn values_vary_together_and_runs_interleave() {
    let folder = tempfile::tempdir().unwrap();
    let server = Script::new(wire::good).start();
    let lens = ["--random-output-len", "4,5,6", "--max-concurrency", "1..3:1"];
    let _ = sweep(&server, &folder.path().join("given"))
        .args(lens)
        .args(["--zip", "--order", "given", "--repeat", "2"])
        .run()
        .exits(0);
    let mut seen = asked(&server);
    seen.dedup();
    assert_eq!(seen, [4, 5, 6, 4, 5, 6]);
    let given = folder.path().join("given");
    assert_eq!(column(&given, "max_concurrency").join(" "), "1 1 2 2 3 3");
    assert_eq!(column(&given, "run").join(" "), "1 2 1 2 1 2");
    let prompts: HashSet<String> = server.inference().iter().map(|r| r.body.clone()).collect();
    assert_eq!(prompts.len(), 18);
    // Another order, and the same one each time.
    let order = |name: &str| {
        let server = Script::new(wire::good).start();
        let _ = sweep(&server, &folder.path().join(name))
            .args(["--random-output-len", "4..11:1", "--same-prompts"])
            .run()
            .exits(0);
        let prompts: HashSet<String> =
            server.inference().iter().map(|r| r.json()["prompt"].to_string()).collect();
        assert_eq!(prompts.len(), 3);
        let mut seen = asked(&server);
        seen.dedup();
        seen
    };
    let one = order("one");
    assert!(one.len() == 8 && !one.is_sorted(), "{one:?}");
    assert_eq!(one, order("two"));
    for (args, says) in [
        (&["--zip", "--random-output-len", "4,5", "--max-concurrency", "1,2,3"][..], "--zip"),
        (&["--max-concurrency", "4..1"], "ends before it begins"),
        (&["--max-concurrency", "1,two"], "two"),
        (&["--num-prompts", "2x"], "--max-concurrency"),
        (&["--output-file", "x.jsonl"], "--output-dir"),
        (&["--multi"], "--request-rate takes a list"),
        (&["--max-concurrency", "1..200:1", "--random-output-len", "1..200:1"], "10000 points"),
    ] {
        let run = sweep(&server, &folder.path().join("wrong")).args(args).run();
        let _ = run.exits(2).prints_nothing().says(&[says]);
    }
    let run = sweep(&server, &given).args(lens).run();
    let _ = run.exits(2).prints_nothing().says(&["there is a sweep already", "--resume"]);
}

#[test]
fn a_sweep_that_is_killed_goes_on_without_repeating_a_point() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let (tell, told) = mpsc::channel();
    // In the middle of the third point a request is never answered.
    let server = Script::new(move |request| {
        if request.nth != 7 {
            return wire::good(request);
        }
        tell.send(()).unwrap();
        Answer::events().hang()
    })
    .start();
    let points_of = |run: Rbench| {
        run.args(["--random-output-len", "4,5,6,7", "--max-concurrency", "1", "--order", "given"])
            .arg("--salt")
    };
    let killed = points_of(sweep(&server, &out)).killed(|_| {
        told.recv_timeout(Duration::from_secs(30)).expect("the sweep stands still");
    });
    assert_eq!(killed.code, None, "{killed:?}");
    let done: Vec<Value> =
        points(&out).iter().map(|point| point["values"]["random-output-len"].clone()).collect();
    assert_eq!(done, ["4", "5"]);
    let before = std::fs::read_to_string(out.join("results.jsonl")).unwrap();
    let _ = points_of(sweep(&server, &out))
        .arg("--resume")
        .run()
        .exits(0)
        .says(&["2 of 4 runs are there already", "4 done"]);
    let seen: Vec<u64> = asked(&server)[8..].to_vec();
    assert_eq!(seen, [6, 6, 6, 7, 7, 7]);
    let after = std::fs::read_to_string(out.join("results.jsonl")).unwrap();
    assert!(after.starts_with(&before) && after.lines().count() == 4, "{after}");
    assert_eq!(column(&out, "completed").join(" "), "3 3 3 3");
    // Another configuration is another point, and nothing is left to do for the same one.
    let _ = points_of(sweep(&server, &out))
        .args(["--resume", "--top-p", "0.5"])
        .run()
        .exits(0)
        .says(&["run 1 of 4"]);
    let sent = server.inference().len();
    let run = points_of(sweep(&server, &out))
        .args(["--resume", "--slo", "p99_ttft<10s", "--slo-on", "point"])
        .run()
        .exits(0);
    assert_eq!(server.inference().len(), sent);
    assert_eq!(run.stdout.matches(" met").count(), 4, "{}", run.stdout);
}

#[test]
fn a_point_that_fails_is_a_row_and_runs_again() {
    let folder = tempfile::tempdir().unwrap();
    let fails = |request: &Request| {
        if request.json()["max_tokens"] == 5 && request.nth < 9 {
            return Answer::body("500 Internal Server Error", "text/plain", "no room");
        }
        wire::good(request)
    };
    let server = Script::new(fails).start();
    let points = ["--random-output-len", "4,5,6", "--order", "given"];
    let run = sweep(&server, folder.path()).args(points).run().exits(1).says(&[
        "1 of 3 runs failed: random-output-len 5",
        "2 done, 1 failed",
        "--resume",
    ]);
    assert!(run.stdout.contains("random-output-len 5: "), "{}", run.stdout);
    assert_eq!(column(folder.path(), "state").join(" "), "done failed done");
    let run = sweep(&server, folder.path()).args(points).arg("--resume").run().exits(0);
    assert_eq!(asked(&server)[9..], [5, 5, 5]);
    assert_eq!(column(folder.path(), "state").join(" "), "done done done");
    assert!(!run.stdout.contains("failed"), "{}", run.stdout);
}

#[test]
fn a_signal_ends_a_sweep_and_keeps_what_was_measured() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::default();
    let seen = process.clone();
    let server = Script::new(move |request| {
        if request.nth != 4 {
            return wire::good(request);
        }
        seen.signal(Signal::INT);
        Answer::events().hang()
    })
    .start();
    let points = [
        "--random-output-len",
        "4,5,6",
        "--max-concurrency",
        "1",
        "--order",
        "given",
        "--grace",
        "0",
    ];
    let run = sweep(&server, folder.path()).args(points).known_as(&process).run().exits(130);
    assert_eq!(column(folder.path(), "state").join(" "), "done partial pending");
    assert_eq!(column(folder.path(), "completed").join(" "), "3 1 ");
    assert!(run.stdout.contains("partial"), "{}", run.stdout);
    let _ = sweep(&server, folder.path()).args(points).arg("--resume").run().exits(0);
    assert_eq!(column(folder.path(), "completed").join(" "), "3 3 3");
    assert_eq!(asked(&server)[5..], [5, 5, 5, 6, 6, 6]);
}

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

#[test]
fn a_server_is_started_once_for_each_value_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (starts, out) = (folder.path().join("starts"), folder.path().join("out"));
    let (program, port) = (env!("CARGO_BIN_EXE_rbench"), port.to_string());
    let launch = format!(
        "echo {{n}} >> {}; exec {program} mock --port {port} --ttft 1ms --itl 0ms --model model-{{n}}",
        starts.display()
    );
    let sweep = |more: &[&str]| {
        Rbench::new(["sweep", "--backend", "vllm", "--host", "127.0.0.1", "--port", &port])
            .args(["--tokenizer", "rbench-bundled", "--dataset-name", "random-ids"])
            .args(["--random-input-len", "8", "--random-output-len", "4", "--num-prompts", "3"])
            .args(["--launch", &launch, "--max-concurrency", "1,2,3", "--output-dir"])
            .arg(&out)
            .args(more)
            .run()
    };
    let run = sweep(&["--vary", "n=7,8"]).exits(0).says(&["6 done"]);
    let mut started: Vec<String> =
        std::fs::read_to_string(&starts).unwrap().lines().map(str::to_owned).collect();
    started.sort();
    assert_eq!(started, ["7", "8"], "{run:?}");
    assert_eq!(column(&out, "n").join(" "), "7 8 7 8 7 8");
    let lines = std::fs::read_to_string(out.join("results.jsonl")).unwrap();
    let models: Vec<String> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["rbench"]["model"].to_string())
        .collect();
    assert_eq!(models.iter().filter(|model| *model == "\"model-7\"").count(), 3, "{models:?}");
    assert_eq!(models.iter().filter(|model| *model == "\"model-8\"").count(), 3, "{models:?}");
    let _ = sweep(&["--vary", "tp=1,2"]).exits(2).says(&["--launch has no {tp}"]);
    let _ = sweep(&["--vary", "1,2"]).exits(2).says(&["NAME=LIST"]);
}
