//! The calls around the load: readiness, caches, profilers, what a server reports of itself, launched servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::rbench::{Process, Rbench, Run};
use crate::support::server::{Answer, Request, Script, Server};
use crate::support::wire::{self, WORDS, Wire};

fn ok(_: &Request) -> Answer {
    Answer::body("200 OK", "text/plain", "done")
}

fn text(status: &str, body: &str) -> Answer {
    Answer::body(status, "text/plain", body)
}

/// A good stream that takes longer than the server below waits for a request.
fn slow(request: &Request) -> Answer {
    let wire = Wire::of(&request.path);
    let events = wire.events(WORDS);
    let (first, rest) = events.split_at(1);
    let begun = Answer::events().chunk(&first[0]).pause(120);
    rest.iter().fold(begun, Answer::chunk).end()
}

/// A server with one thread, which closes connections that wait for 40 ms.
fn single(inference: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Server {
    let state = json!({"avg_spec_accept_length": 2.5, "last_gen_throughput": 77.0});
    let mut script = Script::new(inference).one_worker().idle(40);
    for path in ["/flush_cache", "/reset_prefix_cache", "/start_profile", "/stop_profile"] {
        script = script.on(path, ok);
    }
    script
        .on("/server_info", move |_| Answer::json(&json!({"internal_states": [state]})))
        .on("/metrics", |_| text("200 OK", ""))
        .start()
}

/// What a batch gets from a good server, each prompt's tokens in turn; `cached` tells of the first prompt.
fn batch(request: &Request, pause: u64) -> Answer {
    let body = request.json();
    let native = request.path == "/generate";
    let prompts = body[if native { "input_ids" } else { "prompt" }].as_array().unwrap().len();
    let asked =
        if native { &body["sampling_params"]["max_new_tokens"] } else { &body["max_tokens"] };
    let most = asked.as_u64().unwrap();
    if body["stream"] == false {
        return Answer::json(&json!({}));
    }
    let mut answer = Answer::events();
    for n in 1..=most {
        for i in 0..prompts {
            let event = if native {
                let reason = (n == most).then(|| json!({"type": "length"}));
                json!({"text": "a", "index": i, "meta_info":
                    {"completion_tokens": n, "finish_reason": reason, "prompt_tokens": 8}})
            } else {
                let reason = (n == most).then_some("length");
                json!({"choices": [{"index": i, "text": "a", "finish_reason": reason}]})
            };
            answer = answer.chunk(wire::event(&event));
        }
        answer = if n < most { answer.pause(pause) } else { answer };
    }
    if !native {
        let usage = json!({"prompt_tokens": 8 * prompts, "completion_tokens": most * prompts as u64,
            "prompt_tokens_details": {"cached_tokens": 1}});
        answer = answer.chunk(wire::event(&json!({"choices": [], "usage": usage})));
    }
    answer.chunk(wire::DONE).end()
}

fn one_batch(url: &str) -> Rbench {
    Rbench::new(["one-batch", "--base-url", url, "--tokenizer", "rbench-bundled"]).args([
        "--dataset-name",
        "random-ids",
        "--skip-warmup",
    ])
}

fn lines(run: &Run, file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(run.path(file)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// How often `call` was made.
fn count(server: &Server, call: &str) -> usize {
    server.calls().iter().filter(|made| made.contains(call)).count()
}

#[test]
fn no_call_is_lost_to_a_kept_connection_and_none_is_kept_during_the_load() {
    let load = |url: &str| {
        Rbench::load("sglang", url).args(["--num-prompts", "2", "--max-concurrency", "1"])
    };
    let everything = ["--warmup-requests", "1", "--flush-cache", "--profile"];
    // One run.
    let server = single(slow);
    let run = load(&server.url()).args(everything).run().exits(0);
    assert_eq!(run.row("Accept length:"), Some("2.50"), "{run:#?}");
    assert!(!run.stderr.contains("warning: the"), "{run:#?}");
    assert_eq!(run.result()["rbench"].get("failed_calls"), None);
    for call in ["/flush_cache", "/start_profile", "/stop_profile", "/server_info"] {
        assert_eq!(count(&server, call), 1, "{call}: {:?}", server.calls());
    }
    // Several runs, one after the other.
    let server = single(slow);
    let run = load(&server.url())
        .args(everything)
        .args(["--multi", "--request-rate-range", "50,51,1"])
        .run()
        .exits(0);
    for call in ["/flush_cache", "/stop_profile", "/server_info"] {
        assert_eq!(count(&server, call), run.result_text().lines().count(), "{run:#?}");
    }
    // Several servers.
    let servers = [single(slow), single(slow)];
    let [first, second] = servers.each_ref().map(Server::url);
    let run = Rbench::aimed(["--backend", "sglang", "--base-url", &first, "--base-url", &second])
        .args(["--num-prompts", "2", "--max-concurrency", "1", "--flush-cache"])
        .run()
        .exits(0);
    assert_eq!(servers.each_ref().map(|server| count(server, "/flush_cache")), [1, 1]);
    assert_ne!(run.result()["server_info"], Value::Null, "{run:#?}");
    // Throughput alone.
    let server = single(|request| {
        let answer = wire::good(request);
        answer.after(Answer::new().pause(120))
    });
    let run = Rbench::new(["offline", "--base-url", &server.url(), "--num-prompts", "1"])
        .args(["--tokenizer", "rbench-bundled", "--dataset-name", "random-ids", "--skip-warmup"])
        .args(["--random-input-len", "8", "--random-output-len", "4"])
        .run()
        .exits(0);
    assert_eq!(run.row("Last generation throughput (tok/s):"), Some("77.00"), "{run:#?}");
    // Batches.
    for backend in ["sglang", "vllm"] {
        let server = single(|request| batch(request, 60));
        let run = one_batch(&server.url())
            .args(["--backend", backend, "--batch-size", "1", "2"])
            .args(["--input-len", "8", "--output-len", "3"])
            .run()
            .exits(0);
        assert_eq!(lines(&run, "result.jsonl").len(), 2);
        assert!(!run.stderr.contains("missing"), "{run:#?}");
    }
}

#[test]
fn a_call_after_the_load_that_fails_is_reported() {
    type Reply = fn() -> Answer;
    let html = || text("200 OK", "<html>");
    let cases: [(&str, Reply, Option<&str>); 10] = [
        ("sglang", || Answer::new().reset(), Some("GET /server_info:")),
        (
            "sglang-oai",
            || text("500 Internal Server Error", "boom"),
            Some("500 Internal Server Error: boom"),
        ),
        ("sglang", || text("401 Unauthorized", ""), Some("401")),
        ("sglang", html, Some("not JSON: <html>")),
        ("vllm", || Answer::new().close(), Some("GET /server_info:")),
        // A server that has no such call has lost nothing.
        ("sglang", Answer::not_found, None),
        ("sglang", || text("405 Method Not Allowed", ""), None),
        ("vllm", || text("401 Unauthorized", ""), None),
        ("vllm-chat", || text("500 Internal Server Error", ""), None),
        ("trt", html, None),
    ];
    for (backend, reply, what) in cases {
        let server = Script::new(wire::good).on("/server_info", move |_| reply()).start();
        let run = Rbench::load(backend, &server.url())
            .args(["--model", "m", "--records", "r.jsonl"])
            .run()
            .exits(0)
            .prints_a_table();
        let result = run.result();
        let reported = &result["rbench"]["failed_calls"];
        assert_eq!(run.stderr.contains("figures after the load are missing"), what.is_some());
        let Some(what) = what else {
            assert!(reported.is_null(), "{backend}: {run:#?}");
            continue;
        };
        assert!(run.stderr.contains(what), "{backend}: {run:#?}");
        assert!(reported[0].as_str().is_some_and(|text| text.contains(what)), "{run:#?}");
        let records = std::fs::read(run.path("r.jsonl")).unwrap();
        let again = Rbench::new(["report", "r.jsonl", "--output-file", "out.jsonl"])
            .file("r.jsonl", records)
            .run()
            .exits(0);
        assert_eq!(&again.result()["rbench"]["failed_calls"], reported);
    }
    // The profiler's calls as well.
    let server = Script::new(wire::good)
        .on("/start_profile", ok)
        .on("/stop_profile", |_| Answer::new().reset())
        .start();
    let run = Rbench::load("sglang", &server.url()).arg("--profile").run().exits(0);
    let failed = run.result()["rbench"]["failed_calls"].to_string();
    assert!(failed.contains("did not stop"), "{failed}");
}

#[test]
fn a_profiler_that_may_run_is_stopped_however_the_run_ends() {
    let stops = |server: &Server| count(server, "POST /stop_profile");
    let script = |inference: fn(&Request) -> Answer| {
        Script::new(inference).on("/start_profile", ok).on("/stop_profile", ok)
    };
    // Servers that count no steps, and those that count more of them than the run has.
    for (backend, flags, note) in [
        ("vllm", &["--profile-num-steps", "3"][..], true),
        ("vllm-chat", &["--profile-steps", "3"], true),
        ("lmdeploy", &["--profile-by-stage", "--profile-start-step", "2"], true),
        ("vllm", &[], false),
        ("sglang", &["--profile-num-steps", "1000000"], false),
        ("sglang-oai", &["--profile-steps", "1000000"], false),
    ] {
        let server = script(wire::good).start();
        let run = Rbench::load(backend, &server.url()).arg("--profile").args(flags).run().exits(0);
        assert_eq!(stops(&server), 1, "{backend} {flags:?}");
        assert_eq!(run.stderr.contains("nothing with --backend"), note, "{run:#?}");
    }
    // Nothing succeeds, and the run is given up.
    let server = script(|_| text("500 Internal Server Error", "")).start();
    let _ =
        Rbench::load("vllm", &server.url()).args(["--profile", "--max-errors", "1"]).run().exits(1);
    assert_eq!(stops(&server), 1);
    // A start that brings no answer may have started something.
    let server = Script::new(wire::good)
        .on("/start_profile", |_| Answer::new().reset())
        .on("/stop_profile", ok)
        .start();
    let _ = Rbench::load("sglang", &server.url()).arg("--profile").run().exits(0);
    assert_eq!(stops(&server), 1);
    // What was refused is somebody else's.
    let server = Script::new(wire::good)
        .on("/start_profile", |_| text("400 Bad Request", "in progress"))
        .start();
    let _ = Rbench::load("sglang", &server.url()).arg("--profile").run().exits(0);
    assert_eq!(stops(&server), 0);
    // Separated servers, each by itself.
    let (router, workers) =
        (script(wire::good).start(), [(); 2].map(|()| script(wire::good).whatever().start()));
    let [first, second] = workers.each_ref().map(Server::url);
    let _ = Rbench::load("sglang", &router.url())
        .args(["--profile", "--pd-separated", "--profile-decode-url", &first, &second])
        .args(["--profile-steps", "1000000"])
        .run()
        .exits(0);
    assert_eq!(workers.each_ref().map(stops), [1, 1]);
}

#[test]
fn a_signal_stops_profilers_too() {
    // During the load, one that is given time and two at once; and while the profiler starts.
    for (at, signals) in [
        ("load", &[Signal::INT][..]),
        ("load", &[Signal::INT, Signal::TERM]),
        ("start", &[Signal::INT]),
    ] {
        let process = Process::default();
        let send = {
            let process = process.clone();
            move |here: &str| {
                if here == at {
                    for &signal in signals {
                        process.signal(signal);
                    }
                }
            }
        };
        let starting = send.clone();
        let server = Script::new(move |_| {
            send("load");
            Answer::events().hang()
        })
        .whatever()
        .on("/start_profile", move |request| {
            starting("start");
            ok(request)
        })
        .on("/stop_profile", ok)
        .start();
        let grace = if signals.len() > 1 { "10m" } else { "0" };
        let run = Rbench::load("sglang", &server.url())
            .args(["--num-prompts", "1", "--profile", "--grace", grace])
            .known_as(&process)
            .run();
        // Whichever of two was seen first.
        assert!(matches!(run.code, Some(130 | 143)), "{run:#?}");
        assert_eq!(count(&server, "POST /stop_profile"), 1, "{at} {signals:?}");
    }
}

#[test]
fn a_cache_that_was_not_emptied_everywhere_ends_the_run() {
    let json = |status: &str, body: &str| Answer::body(status, "application/json", body);
    let router = r#"{"status":"partial_success","message":"Cache flush: 0 succeeded, 1 failed","failed":[{"worker":"http://w"}]}"#;
    for (status, body, is_done) in [
        ("200 OK", "", true),
        ("200 OK", "Cache flushed.\nPlease check backend logs", true),
        ("204 No Content", "", true),
        ("200 OK", r#"{"success":true}"#, true),
        ("200 OK", r#"{"status":"success","workers_flushed":2}"#, true),
        ("206 Partial Content", router, false),
        ("206 Partial Content", "", false),
        ("207 Multi-Status", "[]", false),
        ("200 OK", r#"{"success":false,"message":"busy"}"#, false),
        ("200 OK", router, false),
        ("200 OK", r#"{"error":"busy"}"#, false),
        ("200 OK", r#"{"status":"success","workers_flushed":0}"#, false),
        ("307 Temporary Redirect", "", false),
    ] {
        for (backend, path) in [("sglang", "/flush_cache"), ("vllm", "/reset_prefix_cache")] {
            let server =
                Script::new(wire::good).whatever().on(path, move |_| json(status, body)).start();
            let run = Rbench::load(backend, &server.url()).arg("--flush-cache").run();
            if is_done {
                let _ = run.exits(0).says(&["prefix cache emptied"]);
            } else {
                let status = status.split(' ').next().unwrap();
                let _ = run.exits(1).prints_nothing().says(&["--flush-cache", status]);
                assert_eq!(server.inference().len(), 0, "{status} {body}");
            }
        }
    }
}

#[test]
fn an_answer_in_place_of_the_model_list_is_shown_at_once() {
    let there = "waiting up to 1 s for";
    for (status, lasts) in [
        ("401 Unauthorized", true),
        ("403 Forbidden", true),
        ("404 Not Found", true),
        ("410 Gone", true),
        ("302 Found", true),
        ("500 Internal Server Error", false),
        ("200 OK", false),
    ] {
        let reply = move |_: &Request| text(status, "<p>what is this</p>");
        // With the model's name there is nothing to wait for.
        let server = Script::new(wire::good).on("/v1/models", reply).start();
        let run = Rbench::load("vllm", &server.url()).args(["--model", "m"]).run().exits(0);
        let run = run.says(&["does not list its models", "what is this"]);
        assert!(!run.stderr.contains("waiting up to"), "{run:#?}");
        assert_eq!(count(&server, "/v1/models"), 1);
        // Without it, an answer that will not change ends the wait.
        let server = Script::control_only().on("/v1/models", reply).start();
        let run =
            Rbench::load("vllm", &server.url()).args(["--ready-check-timeout-sec", "1"]).run();
        let code = &status[..3];
        let run = run.exits(1).prints_nothing().says(&["what is this", "--model"]);
        if code != "200" {
            assert!(run.stderr.contains(code), "{run:#?}");
        }
        assert_eq!(run.stderr.contains(there), !lasts, "{run:#?}");
        if code == "401" {
            let _ = run.says(&["--api-key-file"]);
        }
    }
    // A server that says it is not ready is waited for in both cases.
    for flags in [&[][..], &["--model", "tiny"]] {
        let server = Script::new(wire::good)
            .on("/v1/models", |request| match request.nth {
                0 => text("503 Service Unavailable", "loading 37 %"),
                _ => Answer::json(&json!({"data": [{"id": "tiny"}]})),
            })
            .start();
        let run = Rbench::load("vllm", &server.url()).args(flags).run().exits(0);
        let _ = run.says(&["waiting up to", "loading 37 %"]);
    }
}

#[test]
fn a_base_url_may_end_with_the_path_of_requests() {
    for (backend, ending) in [
        ("vllm", "/v1"),
        ("vllm", "/v1/"),
        ("vllm", "/v1/completions"),
        ("vllm-chat", "/v1/chat/completions/"),
        ("sglang", "/v1"),
        ("sglang", "/generate"),
    ] {
        let server = Script::new(wire::good).start();
        let url = format!("{}{ending}", server.url());
        let run = Rbench::load(backend, &url).run().exits(0);
        assert_eq!(count(&server, "GET /v1/models"), 1, "{:?}", server.calls());
        assert_eq!(run.result()["rbench"]["config"]["base_url"], server.url());
        let _ = run.says(&["--base-url ends with"]);
    }
}

#[test]
fn the_name_of_a_model_leads_to_its_tokenizer_or_to_a_clear_message() {
    const TOKENIZER: &[u8] = include_bytes!("../../../datasets/tokenizer/tokenizer.json");
    let listing = |models: Value| move |_: &Request| Answer::json(&json!({"data": models}));
    let load = |server: &Server| {
        Rbench::new(["serve", "--backend", "vllm", "--base-url", &server.url()])
            .args(["--warmup-requests", "0", "--num-prompts", "1", "--output-file", "out.jsonl"])
            .args(["--dataset-name", "random-ids", "--random-input-len", "8"])
            .args(["--random-output-len", "4"])
            .file("base/tokenizer.json", TOKENIZER)
            .file("adapter/weights", "")
    };
    // An adapter has no tokenizer of its own; nor is it what is measured unless that is asked for.
    let models = json!([
        {"id": "a1", "root": "adapter", "parent": "tiny"},
        {"id": "tiny", "root": "base", "parent": null},
    ]);
    for (flags, sent) in [(&["--model", "a1"][..], "a1"), (&[], "tiny")] {
        let server = Script::new(wire::good).on("/v1/models", listing(models.clone())).start();
        let result = load(&server).args(flags).run().exits(0).result();
        assert_eq!(result["rbench"]["tokenizer"], "base");
        assert_eq!(server.inference()[0].json()["model"], sent);
    }
    // A router that was not given a name.
    let unknown = json!([{"id": "unknown", "object": "model"}]);
    let server = Script::control_only().on("/v1/models", listing(unknown.clone())).start();
    let run = load(&server).run().exits(1).prints_nothing();
    let _ = run.says(&["\"unknown\"", "router", "pass --model", "--tokenizer"]);
    let server = Script::new(wire::good).on("/v1/models", listing(unknown)).start();
    let run = load(&server).args(["--tokenizer", "base"]).run().exits(0);
    let _ = run.says(&["\"unknown\"", "--model gives another"]);
    // No tokenizer anywhere.
    let server = Script::control_only().start();
    let _ = load(&server).run().exits(1).says(&["--tokenizer rbench-bundled"]);
}

#[test]
fn the_cached_share_of_a_batch_counts_every_prompt() {
    // The counters of a vLLM server: each measured batch adds 8 tokens a prompt, half of them hits.
    let cases: &[(&str, u64, Value)] = &[
        // Others use the server as well, so that nobody knows.
        ("2", 100, Value::Null),
        ("2", 0, json!(0.5)),
        ("4", 0, json!(0.5)),
        // Of one prompt the answer has the count, of 1 token.
        ("1", 100, json!(0.125)),
        ("1", 0, json!(0.5)),
    ];
    for (size, others, want) in cases {
        let seen = Arc::new(AtomicU64::new(1000));
        let counted = seen.clone();
        let others = *others;
        let server = Script::new(move |request| {
            let prompts = request.json()["prompt"].as_array().unwrap().len() as u64;
            if request.json()["stream"] == true {
                seen.fetch_add(8 * prompts + others, Ordering::SeqCst);
            }
            batch(request, 1)
        })
        .on("/reset_prefix_cache", ok)
        .on("/metrics", move |_| {
            let n = counted.load(Ordering::SeqCst);
            let sample = |name: &str, n: u64| {
                let half = n / 2;
                let rest = n - half;
                format!("vllm:prefix_cache_{name}_total{{engine=\"0\"}} {half}.0\nvllm:prefix_cache_{name}_total{{engine=\"1\"}} {rest}.0\n")
            };
            text("200 OK", &(sample("queries", n) + &sample("hits", n / 2)))
        })
        .start();
        let run = one_batch(&server.url())
            .args(["--backend", "vllm", "--batch-size", size, "--input-len", "8"])
            .args(["--output-len", "4", "--cache-hit-rate", "0.9"])
            .run()
            .exits(0);
        assert_eq!(lines(&run, "result.jsonl")[0]["cache_hit_rate"], *want, "{size} {others}");
        // It is far from what was asked for, or not known.
        let _ = run.says(&["cached"]);
    }
}

#[test]
fn a_batch_reads_the_last_of_several_schedulers_and_a_load_the_first() {
    let states = json!({"internal_states": [
        {"avg_spec_accept_length": 2.5, "last_gen_throughput": 77.0},
        {"avg_spec_accept_length": 3.5, "last_gen_throughput": 78.0},
    ]});
    let info = move |_: &Request| Answer::json(&states);
    let server = Script::new(|request| batch(request, 1))
        .on("/flush_cache", ok)
        .on("/server_info", info.clone())
        .start();
    let run = one_batch(&server.url())
        .args(["--batch-size", "2", "--input-len", "8", "--output-len", "4"])
        .run()
        .exits(0);
    let line = &lines(&run, "result.jsonl")[0];
    assert_eq!((&line["acc_length"], &line["last_gen_throughput"]), (&json!(3.5), &json!(78.0)));
    let server = Script::new(wire::good).on("/server_info", info).start();
    let run = Rbench::load("sglang", &server.url()).run().exits(0);
    assert_eq!(run.row("Accept length:"), Some("2.50"));
}

#[test]
fn a_batch_that_fails_ends_no_sweep_and_one_piece_is_no_throughput() {
    let refusing = |request: &Request| {
        let body = request.json();
        let len = body["input_ids"][0].as_array().unwrap().len();
        match len {
            5000 => text("400 Bad Request", "longer than the context"),
            4000 => Answer::events().chunk(wire::event(&json!({"error": "out of memory"}))).end(),
            _ => batch(request, 1),
        }
    };
    let server = Script::new(refusing).on("/flush_cache", ok).start();
    let run = one_batch(&server.url())
        .args(["--batch-size", "1", "--input-len", "5000", "4000", "128", "--output-len", "4"])
        .run()
        .exits(1)
        .says(&["longer than the context", "out of memory", "2 of 3 batches failed"]);
    let measured = lines(&run, "result.jsonl");
    assert_eq!(measured.len(), 1);
    assert_eq!(measured[0]["input_len"], 128);
    // A batch alone is the error.
    let server = Script::new(refusing).on("/flush_cache", ok).start();
    let _ = one_batch(&server.url())
        .args(["--batch-size", "1", "--input-len", "5000", "--output-len", "4"])
        .run()
        .exits(1)
        .says(&["error: the batch of 1 prompts of 5000 tokens failed", "longer than the context"]);
    // All output in one piece, as a proxy that gathers it hands it on.
    let server = Script::new(|_| {
        let event = |n: u64| {
            let reason = (n == 4).then(|| json!({"type": "length"}));
            wire::event(&json!({"text": "a", "index": 0, "meta_info":
                {"completion_tokens": n, "finish_reason": reason, "prompt_tokens": 8}}))
        };
        Answer::stream([(1..=4).map(event).collect::<String>() + wire::DONE])
    })
    .on("/flush_cache", ok)
    .start();
    let run = one_batch(&server.url())
        .args(["--batch-size", "1", "--input-len", "8", "--output-len", "4"])
        .run()
        .exits(0)
        .says(&["all output came at once"]);
    assert_eq!(lines(&run, "result.jsonl")[0]["output_throughput"], Value::Null);
}
