//! Whole runs of flags that reach the server: shared prefixes, adapters, cache reports, flags of older releases.

use std::collections::BTreeSet;

use crate::support::rbench::{RESULT, Rbench};
use crate::support::server::{Request, Script, Server};
use crate::support::wire;

/// A run of a few short shared prefixes, without a warm-up of its own.
fn shared(server: &Server, backend: &str) -> Rbench {
    Rbench::new(["serve", "--backend", backend, "--base-url", &server.url()])
        .args(["--tokenizer", "rbench-bundled", "--dataset-name", "generated-shared-prefix"])
        .args(["--gsp-prompts-per-group", "3", "--gsp-system-prompt-len", "12"])
        .args(["--gsp-question-len", "5", "--gsp-output-len", "4"])
        .args(["--output-file", RESULT, "--output-details", "--disable-tqdm"])
}

#[test]
fn flags_of_older_releases_work_with_a_note() {
    let server = Script::new(wire::good).start();
    let run = shared(&server, "sglang-oai")
        .args(["--gen-num-groups", "2", "--gsp-send-routing-id", "--disable-warmup"])
        .run()
        .exits(0);
    for note in [
        "--gen-num-groups of older releases is now --gsp-num-groups",
        "--gsp-send-routing-id of older releases is now --gsp-send-routing-key",
        "--disable-warmup of older releases is now --warmup-requests 0",
    ] {
        assert!(run.stderr.contains(note), "{}", run.stderr);
    }
    let requests: Vec<Request> = server.inference();
    assert_eq!(requests.len(), 6);
    let keys: BTreeSet<&str> =
        requests.iter().map(|request| request.header("x-smg-routing-key").unwrap()).collect();
    assert_eq!(keys.len(), 2, "{keys:?}");
    let prefixes: BTreeSet<String> = requests
        .iter()
        .map(|request| {
            let body = request.json();
            let (system, _) = body["prompt"].as_str().unwrap().split_once("\n\n").unwrap();
            system.to_owned()
        })
        .collect();
    assert_eq!(prefixes.len(), 2, "{prefixes:?}");
}

#[test]
fn prompts_of_a_shared_prefix_run_are_limited_if_the_user_says_so() {
    let server = Script::new(wire::good).start();
    let run = shared(&server, "vllm")
        .args(["--gsp-num-groups", "2", "--num-prompts", "4", "--warmup-requests", "0"])
        .run()
        .exits(0);
    assert_eq!(run.result()["completed"], 4);
    assert_eq!(server.inference().len(), 4);
}

#[test]
fn adapters_in_turn_after_a_warm_up_of_the_first() {
    let server = Script::new(wire::good).start();
    let run = shared(&server, "sglang-oai")
        .args(["--gsp-num-groups", "1", "--warmup-requests", "1", "--max-concurrency", "1"])
        .args(["--lora-name", "sql", "chat", "--lora-request-distribution", "distinct"])
        .run()
        .exits(0);
    let asked: Vec<(String, String)> = server
        .inference()
        .iter()
        .map(|request| {
            let body = request.json();
            let text = |key: &str| body[key].as_str().unwrap().to_owned();
            (text("model"), text("lora_path"))
        })
        .collect();
    let want = ["sql", "sql", "chat", "sql"].map(|name| (name.to_owned(), name.to_owned()));
    assert_eq!(asked, want);
    let config = &run.result()["rbench"]["config"];
    assert_eq!(config["lora_name"], serde_json::json!(["sql", "chat"]));
    assert_eq!(config["lora_request_distribution"], "distinct");
}

#[test]
fn a_server_that_tells_nothing_of_its_cache_is_named() {
    let server = Script::new(wire::good).start();
    let run = shared(&server, "sglang-oai")
        .args(["--gsp-num-groups", "1", "--warmup-requests", "0", "--cache-report"])
        .run()
        .exits(0);
    assert!(run.stderr.contains("warning: --cache-report: --backend sglang-oai"), "{}", run.stderr);
    assert!(run.stdout.contains("Cache hit rate:                          0.0%\n"));
    let body = server.inference()[0].json();
    assert_eq!(body["return_cached_tokens_details"], true);
    assert_eq!(run.result()["cache_report"]["total_cached_tokens"], 0);
}
