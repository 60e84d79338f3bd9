//! `rbench aisbench` against a scripted server: its bodies, its tables, its files.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::rbench::{Rbench, Run};
use crate::support::server::{Answer, Request, Script, Server};
use crate::support::wire;

/// A scenario with a model at `server` that has `model` as further settings, and a dataset.
fn scenario(server: &Server, model: &Value, data: &Value) -> String {
    let mut all = json!({
        "abbr": "stream-chat", "type": "VLLMCustomAPIChat", "path": "rbench-bundled", "model": "some/tiny",
        "host_ip": "127.0.0.1", "host_port": server.port(), "batch_size": 2, "retry": 2, "request_rate": 0,
        "generation_kwargs": {"temperature": 0.01, "ignore_eos": true},
    });
    all.as_object_mut().unwrap().extend(model.as_object().unwrap().clone());
    json!({"models": [all], "datasets": [data]}).to_string()
}

/// The synthetic settings of the document that SGLang's users read, with `n` requests.
fn synthetic(n: usize) -> Value {
    json!({"abbr": "synthetic", "synthetic_config": {
        "Type": "string", "RequestCount": n, "TrustRemoteCode": false,
        "StringConfig": {
            "Input": {"Method": "uniform", "Params": {"MinValue": 8, "MaxValue": 20}},
            "Output": {"Method": "gaussian", "Params": {"Mean": 4, "Var": 2, "MinValue": 1, "MaxValue": 6}},
        },
    }})
}

fn bench(text: &str, more: &[&str]) -> Rbench {
    Rbench::new(["aisbench", "s.json", "-m", "perf", "-w", "out"]).args(more).file("s.json", text)
}

/// The name of the folder of the only run, and a file of its task.
fn file(run: &Run, name: &str) -> String {
    let folder = std::fs::read_dir(run.path("out")).unwrap().next().unwrap().unwrap().path();
    std::fs::read_to_string(folder.join("performances/stream-chat").join(name)).unwrap()
}

#[test]
fn a_synthetic_scenario_has_both_tables_and_all_files() {
    let server = Script::new(wire::good).start();
    let run = bench(&scenario(&server, &json!({}), &synthetic(6)), &[]).run().exits(0);
    let bodies: Vec<Value> =
        server.requests_to("/v1/chat/completions").iter().map(Request::json).collect();
    // One is the warm-up.
    assert_eq!(bodies.len(), 7);
    let keys: BTreeSet<&String> = bodies[3].as_object().unwrap().keys().collect();
    let want = [
        "ignore_eos",
        "max_tokens",
        "messages",
        "model",
        "stream",
        "stream_options",
        "temperature",
    ];
    assert!(keys.iter().eq(&want), "{keys:?}");
    assert!(bodies.iter().all(|body| body["max_tokens"].as_u64().unwrap() <= 6), "{bodies:?}");
    for text in [
        "Performance Results of task [stream-chat/synthetic]:",
        "│ PrefillTokenThroughput",
        "│ Total Requests          │ total   │ 6 ",
    ] {
        assert!(run.stdout.contains(text), "{}", run.stdout);
    }
    assert!(file(&run, "synthetic.csv").starts_with("Performance Parameters,Stage,Average"));
    let common: Value = serde_json::from_str(&file(&run, "synthetic.json")).unwrap();
    assert_eq!(
        (&common["Success Requests"]["total"], &common["Max Concurrency"]["total"]),
        (&json!(6), &json!(2))
    );
    assert_eq!(file(&run, "synthetic_details.jsonl").lines().count(), 6);
    assert!(file(&run, "synthetic_plot.html").contains("var uPlot="));
    assert!(file(&run, "synthetic_records.jsonl").lines().count() >= 6);
}

#[test]
fn a_seed_gives_the_same_prompts() {
    let server = Script::new(wire::good).start();
    for _ in 0..2 {
        drop(
            bench(&scenario(&server, &json!({}), &synthetic(3)), &["--num-warmups", "0"])
                .run()
                .exits(0),
        );
    }
    let prompts: BTreeSet<String> = server
        .requests_to("/v1/chat/completions")
        .iter()
        .map(|request| request.json()["messages"].to_string())
        .collect();
    assert_eq!(prompts.len(), 3);
}

#[test]
fn failures_have_a_file_of_their_own() {
    let answer = |request: &Request| {
        if request.nth.is_multiple_of(2) {
            wire::good(request)
        } else {
            Answer::body("400 Bad", "text/plain", "too long")
        }
    };
    let server = Script::new(answer).start();
    let run = bench(&scenario(&server, &json!({}), &synthetic(4)), &["--num-warmups", "0"])
        .run()
        .exits(0);
    let failed = file(&run, "synthetic_failed.jsonl");
    assert_eq!(failed.lines().count(), 2);
    let first: Value = serde_json::from_str(failed.lines().next().unwrap()).unwrap();
    assert_eq!((&first["status"], &first["body"]), (&json!(400), &json!("too long")));
}

#[test]
fn requests_are_sent_once_without_a_retry() {
    // In AISBench a retry of 0 sends nothing.
    let server = Script::new(wire::good).start();
    let model = json!({"retry": 0});
    drop(bench(&scenario(&server, &model, &synthetic(3)), &["--num-warmups", "0"]).run().exits(0));
    assert_eq!(server.requests_to("/v1/chat/completions").len(), 3);
}

#[test]
fn rows_of_files_have_lengths_of_their_own() {
    let server = Script::new(wire::good).start();
    let rows = "{\"question\": \"one\", \"max_tokens\": 9}\n{\"question\": \"two\"}\n";
    let data = json!({"abbr": "mine", "path": "rows.jsonl", "meta": {
        "request_count": 4,
        "output_config": {"method": "percentage", "params": {"percentage_distribute": [[5, 1.0]]}},
    }});
    let model = json!({"batch_size": 1, "traffic_cfg": {"burstiness": 0}, "request_rate": 100});
    let text = scenario(&server, &model, &data);
    drop(bench(&text, &["--num-warmups", "0"]).file("rows.jsonl", rows).run().exits(0));
    let sent: Vec<(String, u64)> = server
        .requests_to("/v1/chat/completions")
        .iter()
        .map(Request::json)
        .map(|body| {
            let text = body["messages"][0]["content"].as_str().unwrap().to_owned();
            (text, body["max_tokens"].as_u64().unwrap())
        })
        .collect();
    let want = [("one", 9), ("two", 5), ("one", 9), ("two", 5)];
    assert_eq!(sent, want.map(|(text, n)| (text.to_owned(), n)));
}

#[test]
fn what_a_scenario_cannot_have_is_named() {
    let server = Script::untouched().start();
    for (model, data, said) in [
        (json!({"type": "TritonCustomAPI"}), synthetic(1), "TritonCustomAPI"),
        (json!({"batch_size": 0}), synthetic(1), "batch_size"),
        (json!({"colour": 1}), synthetic(1), "colour"),
        (json!({"traffic_cfg": {"ramp_up_strategy": "linear"}}), synthetic(1), "ramp_up_start_rps"),
        (
            json!({"generation_kwargs": {"num_return_sequences": 2}}),
            synthetic(1),
            "num_return_sequences",
        ),
        (json!({}), json!({"abbr": "none"}), "synthetic_config"),
    ] {
        drop(bench(&scenario(&server, &model, &data), &[]).run().exits(2).says(&[said]));
    }
    let text = scenario(&server, &json!({"request_rate": 5}), &synthetic(1));
    drop(bench(&text, &["--pressure"]).run().exits(2).says(&["--pressure with request_rate"]));
    drop(bench(&text, &["--models", "other"]).run().exits(2).says(&["--models other"]));
    drop(bench(&text, &["--spec-decode"]).run().exits(2).says(&["--spec-decode"]));
}

#[test]
fn pressure_lasts_for_its_time() {
    let server = Script::new(wire::good).start();
    let text = scenario(&server, &json!({}), &synthetic(2));
    let run = bench(&text, &["--pressure", "--pressure-time", "1"]).run().exits(0);
    assert!(server.requests_to("/v1/chat/completions").len() > 3);
    assert!(run.stdout.contains("│ Max Concurrency         │ total   │ 2 "), "{}", run.stdout);
}
