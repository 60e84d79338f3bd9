//! Flags that add to a run what is not asked for by default.

use serde_json::Value;

use crate::support::rbench::{RESULT, Rbench};
use crate::support::server::{Answer, Script};
use crate::support::wire;

#[test]
fn a_profile_lies_around_the_load_and_nothing_else() {
    let server = Script::new(wire::good)
        .on("/flush_cache", |_| Answer::body("200 OK", "text/plain", ""))
        .on("/start_profile", |_| Answer::body("200 OK", "text/plain", ""))
        .on("/stop_profile", |_| {
            Answer::body("500 Internal Server Error", "text/plain", "no trace")
        })
        .start();
    let run = Rbench::load("sglang", &server.url())
        .args(["--warmup-requests", "1", "--num-prompts", "1", "--model", "tiny", "--flush-cache"])
        .arg("--profile")
        .env("OPENAI_API_KEY", "key")
        .run()
        .exits(0)
        .prints_a_table()
        .says(&["profiler of the server", "warning: the profiler", "no trace"]);
    let expected = [
        "GET /v1/models",
        "POST /generate",
        "POST /flush_cache?timeout=60.0",
        "POST /start_profile",
        "POST /generate",
        "POST /stop_profile",
        "GET /server_info",
    ];
    assert_eq!(server.calls(), expected);
    for path in ["/start_profile", "/stop_profile"] {
        assert_eq!(server.requests_to(path)[0].header("authorization"), Some("Bearer key"));
    }
    assert_eq!(run.files(), [RESULT], "the folder of the traces is the server's");
}

#[test]
fn requests_are_printed_as_lines_of_json_without_keys() {
    for backend in ["sglang", "sglang-oai-chat", "trt"] {
        let server = Script::new(wire::good).start();
        let run = Rbench::load(backend, &server.url())
            .args(["--model", "tiny", "--print-requests", "--header", "x-secret=hidden-1"])
            .env("OPENAI_API_KEY", "hidden-2")
            .run()
            .exits(0)
            .prints_a_table();
        assert!(!run.stderr.contains("hidden"), "{run:?}");
        let lines: Vec<Value> = run
            .stderr
            .lines()
            .filter(|line| line.starts_with('{'))
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        for index in 0..3 {
            let of_it: Vec<&Value> = lines.iter().filter(|line| line["index"] == index).collect();
            let [start, end] = of_it[..] else { panic!("{backend}: {lines:?}") };
            assert_eq!((&start["event"], &end["event"]), (&"start".into(), &"end".into()));
            assert!(start["body"].as_str().unwrap().starts_with('{'), "{start}");
            assert_eq!(end["outcome"], "completed", "{end}");
            assert!(end["time"].as_f64() >= start["time"].as_f64(), "{start} {end}");
        }
        assert_eq!(lines.len(), 6, "{backend}");
    }
}

#[test]
fn all_that_follows_a_run_hears_of_each_request() {
    let server = Script::new(wire::good).start();
    let run = Rbench::plain_load("sglang", &server.url())
        .args(["--model", "tiny", "--num-prompts", "8", "--worker-threads", "2"])
        .args(["--print-requests", "--records", "run.records", "--low-memory"])
        .run()
        .exits(0);
    let count = |text: &str, what: &str| text.matches(what).count();
    assert_eq!(count(&run.stderr, "{\"event\":\"start\""), 8, "{run:?}");
    assert_eq!(count(&run.stderr, "{\"event\":\"end\""), 8, "{run:?}");
    let records = std::fs::read_to_string(run.path("run.records")).unwrap();
    // The run, its requests, its end.
    assert_eq!(records.lines().count(), 10, "{records}");
    assert_eq!(run.result()["completed"], 8);
}

#[test]
fn the_steady_state_follows_the_table_and_has_a_file() {
    let server = Script::new(wire::good).start();
    let run = Rbench::load("sglang", &server.url())
        .args(["--model", "tiny", "--steady-state-concurrency-ratio", "0.5"])
        .args(["--steady-state-output-file", "steady.jsonl"])
        .run()
        .exits(0);
    let (rest, steady) = run.stdout.rsplit_once("\n\n").unwrap();
    let (_, main) = rest.split_once("\n\n").unwrap();
    assert!(main.contains("Serving Benchmark Result") && main.ends_with('='), "{main}");
    assert!(steady.starts_with("============== Steady-State Result ===============\n"), "{steady}");
    let text = std::fs::read_to_string(run.path("steady.jsonl")).unwrap();
    let line: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["concurrency_ratio"], 0.5);
    assert_eq!(run.result()["completed"], 3);
}

#[test]
fn plots_go_to_stderr_without_colour() {
    for (backend, tokens) in [("sglang", true), ("sglang-embedding", false)] {
        let server = Script::new(wire::good).start();
        let run = Rbench::load(backend, &server.url())
            .args(["--model", "tiny", "--plot-throughput"])
            .run()
            .exits(0)
            .prints_a_table()
            .says(&["Requests in flight, in slices of "]);
        assert_eq!(run.stderr.contains("Output tokens per second"), tokens, "{run:?}");
        assert!(!run.stderr.contains('\x1b'), "{run:?}");
    }
}

#[test]
fn a_file_for_the_steady_state_needs_a_ratio() {
    let words = ["--steady-state-output-file", "steady.jsonl"];
    let run = Rbench::aimed(["--base-url", "http://unused.invalid"]).args(words).run();
    let _ = run.exits(2).says(&["--steady-state-output-file", "--steady-state-concurrency-ratio"]);
}

#[test]
fn an_older_table_is_printed_on_request() {
    let server = Script::new(wire::good).start();
    let run = Rbench::load("sglang", &server.url())
        .args(["--model", "tiny", "--table", "sglang@0.4.6", "--jsonl", "sglang@0.2.15"])
        .run()
        .exits(0)
        .prints_a_table();
    assert_eq!(run.row("Max reqeuest concurrency:"), Some("not set"));
    let result = run.result();
    let keys: Vec<&str> = result.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(&keys[..3], ["backend", "dataset_name", "request_rate"]);
}
