//! The course of a run: what is asked before, between and after, and what ends it.

use std::sync::Arc;

use expect_test::expect;
use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::support::rbench::{RESULT, Rbench};
use crate::support::server::{Answer, MODEL, Refusing, Request, Script};
use crate::support::wire::{self, WORDS, Wire};

/// An answer that is not what was hoped for.
fn status(status: &'static str, body: &'static str) -> Answer {
    Answer::body(status, "text/plain", body)
}

fn models(list: &Value) -> impl Fn(&Request) -> Answer + use<> {
    let answer = Answer::json(&json!({"object": "list", "data": list}));
    move |_| answer.clone()
}

#[test]
fn calls_come_in_order() {
    let cases: &[(&str, &str)] = &[
        ("sglang", "POST /flush_cache?timeout=7.5"),
        ("sglang-oai", "POST /flush_cache?timeout=7.5"),
        ("vllm", "POST /reset_prefix_cache"),
        ("vllm-chat", "POST /reset_prefix_cache"),
        ("lmdeploy", "POST /flush_cache"),
        ("trt", "POST /flush_cache"),
        ("truss", "POST /flush_cache"),
    ];
    for (backend, flush) in cases {
        let server = Script::new(wire::good)
            .on("/flush_cache", |_| status("200 OK", "emptied"))
            .on("/reset_prefix_cache", |_| status("200 OK", ""))
            .start();
        let run = Rbench::load(backend, &server.url())
            .args(["--warmup-requests", "2", "--num-prompts", "1"])
            .args(["--flush-cache", "--flush-cache-timeout", "7.5", "--model", "tiny"])
            .run();
        let _ = run.exits(0).prints_a_table();
        let load = server.inference()[0].path.clone();
        let look = if ["trt", "truss"].contains(backend) { "/" } else { "/v1/models" };
        let load = &*format!("POST {load}");
        let look = &*format!("GET {look}");
        assert_eq!(server.calls(), [look, load, load, flush, load, "GET /server_info"]);
    }
}

#[test]
fn a_cache_that_is_not_emptied_ends_the_run() {
    for (backend, path, hint) in [
        ("sglang", "/flush_cache", "busy"),
        ("vllm", "/reset_prefix_cache", "VLLM_SERVER_DEV_MODE"),
    ] {
        let server = Script::control_only()
            .on(path, |_| status("400 Bad Request", "busy with 3 requests"))
            .start();
        let run = Rbench::load(backend, &server.url()).arg("--flush-cache").run();
        let run = run.exits(1).prints_nothing();
        let _ = run.says(&["--flush-cache", path, "400", "busy with 3 requests", hint]);
    }
}

#[test]
fn a_server_that_starts_late_is_waited_for() {
    let server = Script::new(wire::good)
        .on("/v1/models", |request| match request.nth {
            0 => status("503 Service Unavailable", "loading"),
            1 => Answer::new().reset(),
            _ => Answer::json(&json!({"data": [{"id": MODEL}]})),
        })
        .start();
    let _ = Rbench::load("vllm", &server.url()).run().exits(0).prints_a_table();
    assert_eq!(server.requests_to("/v1/models").len(), 3);
}

#[test]
fn a_server_without_a_model_list_is_ready_when_it_answers() {
    let server = Script::new(wire::good)
        .on("/", |request| match request.nth {
            0 => status("503 Service Unavailable", "loading"),
            _ => Answer::not_found(),
        })
        .start();
    let _ = Rbench::load("trt", &server.url()).args(["--model", "m"]).run().exits(0);
    assert_eq!(server.requests_to("/").len(), 2);
}

#[test]
fn a_server_that_never_starts() {
    let refusing = Refusing::new();
    let url = refusing.url();
    let hints = &["did not become ready within 1 s", "--port", "--ready-check-timeout-sec"];
    let run = Rbench::load("sglang", &url).args(["--ready-check-timeout-sec", "1"]).run();
    let _ = run.exits(1).prints_nothing().says(hints).says(&[&url, "refused"]);

    let server =
        Script::control_only().on("/v1/models", |_| status("503 Service Unavailable", "")).start();
    let run = Rbench::load("sglang", &server.url()).args(["--ready-check-timeout-sec", "1"]).run();
    let _ = run.exits(1).prints_nothing().says(hints).says(&[&server.url(), "503"]);
}

#[test]
fn a_key_that_is_refused_is_not_tried_again() {
    let server =
        Script::control_only().on("/v1/models", |_| status("401 Unauthorized", "who?")).start();
    let run = Rbench::load("sglang", &server.url()).run();
    let _ = run.exits(1).prints_nothing().says(&["401", "OPENAI_API_KEY"]);
    assert_eq!(server.calls(), ["GET /v1/models"]);
}

#[test]
fn without_a_check_the_model_list_is_a_help_and_no_more() {
    let server = Script::new(wire::good).on("/v1/models", |_| Answer::not_found()).start();
    let flags = ["--ready-check-timeout-sec", "0", "--model", "m"];
    let _ = Rbench::load("vllm", &server.url()).args(flags).run().exits(0);
    assert_eq!(server.inference()[0].json()["model"], "m");

    let server = Script::control_only().on("/v1/models", |_| Answer::not_found()).start();
    let run = Rbench::load("vllm", &server.url()).args(&flags[..2]).run();
    let _ = run.exits(1).prints_nothing().says(&["--model"]);
    assert_eq!(server.calls(), ["GET /v1/models"]);
}

#[test]
fn the_first_listed_model_is_asked() {
    let server = Script::new(wire::good)
        .on("/v1/models", models(&json!([{"id": "b"}, {"id": "a"}])))
        .start();
    let result = Rbench::load("vllm", &server.url()).run().exits(0).result();
    assert_eq!(server.inference()[0].json()["model"], "b");
    assert_eq!(result["rbench"]["model"], "b");
}

#[test]
fn an_empty_model_list() {
    for list in [json!([]), json!(null), json!([{"object": "model"}])] {
        let server = Script::control_only().on("/v1/models", models(&list)).start();
        let run = Rbench::load("vllm", &server.url()).run();
        let _ = run.exits(1).prints_nothing().says(&["lists no model", "--model"]);

        let server = Script::new(wire::good).on("/v1/models", models(&list)).start();
        let _ = Rbench::load("vllm", &server.url()).args(["--model", "m"]).run().exits(0);
    }
}

/// The tokenizer that is inside the program, as a file.
const TOKENIZER: &[u8] = include_bytes!("../../datasets/tokenizer/tokenizer.json");

/// A load without `--tokenizer`, in a folder that has some.
fn undecided(url: &str) -> Rbench {
    let words = ["serve", "--base-url", url, "--warmup-requests", "0", "--num-prompts", "1"];
    Rbench::new(words)
        .args(["--dataset-name", "random-ids", "--random-input-len", "8"])
        .args(["--random-output-len", "4", "--output-file", RESULT])
        .file("told/tokenizer.json", TOKENIZER)
        .file("root/tokenizer.json", TOKENIZER)
        .file("model/tokenizer.json", TOKENIZER)
        .file("broken/tokenizer.json", "{}")
}

#[test]
fn tokenizers_are_found_by_what_the_server_tells() {
    let cases: &[(Value, Value, &str)] = &[
        (
            json!({"tokenizer_path": "told", "model_path": "root"}),
            json!({"id": "model", "root": "root"}),
            "told",
        ),
        (json!({"model_path": "told"}), json!({"id": "model", "root": "root"}), "told"),
        (
            json!({"tokenizer_path": null, "model_path": ""}),
            json!({"id": "model", "root": "root"}),
            "root",
        ),
        (Value::Null, json!({"id": "model", "root": "root"}), "root"),
        (Value::Null, json!({"id": "model"}), "model"),
        (Value::Null, json!({"id": "model", "root": null}), "model"),
        // What cannot be loaded is passed over.
        (
            json!({"tokenizer_path": "absent", "model_path": "broken"}),
            json!({"id": "model", "root": "/absent"}),
            "model",
        ),
        (json!({"tokenizer_path": "rbench-bundled"}), json!({"id": "model"}), "rbench-bundled"),
    ];
    for (info, listed, want) in cases {
        let answer = if info.is_null() { Answer::not_found() } else { Answer::json(info) };
        let server = Script::new(wire::good)
            .on("/v1/models", models(&json!([listed])))
            .on("/model_info", move |_| answer.clone())
            .start();
        let result = undecided(&server.url()).run().exits(0).result();
        assert_eq!(result["rbench"]["tokenizer"], *want, "{info} {listed}");
    }
}

#[test]
fn a_tokenizer_of_the_user_is_the_only_one_tried() {
    let server = Script::new(wire::good).start();
    let result = undecided(&server.url()).args(["--tokenizer", "told"]).run().exits(0).result();
    assert_eq!(result["rbench"]["tokenizer"], "told");
    assert!(server.requests_to("/model_info").is_empty());

    let server = Script::control_only()
        .on("/model_info", |_| Answer::json(&json!({"tokenizer_path": "told"})))
        .start();
    let run = undecided(&server.url()).args(["--tokenizer", "broken"]).run();
    let _ = run.exits(1).prints_nothing().says(&["broken", "--tokenizer"]);
}

#[test]
fn all_that_was_tried_for_a_tokenizer_is_told() {
    let server = Script::control_only()
        .on("/v1/models", models(&json!([{"id": "acme/model", "root": "/absent/root"}])))
        .on("/model_info", |_| {
            Answer::json(&json!({"tokenizer_path": "broken", "model_path": "acme/told"}))
        })
        .start();
    let run = undecided(&server.url()).run().exits(1).prints_nothing();
    let _ =
        run.says(&["broken", "acme/told", "/absent/root", "acme/model", "hint: pass --tokenizer"]);
}

#[test]
fn a_warm_up_that_fails_ends_the_run() {
    for (answer, hint) in [
        (status("404 Not Found", "no such model: tiny"), "--backend"),
        (status("401 Unauthorized", "no such model: tiny"), "OPENAI_API_KEY"),
        (status("422 Unprocessable Entity", "no such model: tiny"), "--extra-request-body"),
        (status("500 Internal Server Error", "no such model: tiny"), "log"),
        (
            Answer::stream([wire::event(&json!({"error": {"message": "no such model: tiny"}}))]),
            "log",
        ),
    ] {
        let server = Script::new(move |_| answer.clone()).start();
        let run = Rbench::load("vllm", &server.url()).args(["--warmup-requests", "2"]).run();
        let run = run.exits(1).prints_nothing();
        let run = run.says(&["/v1/completions", "no such model: tiny", "hint: ", hint]);
        // Neither load nor result.
        assert_eq!(server.inference().len(), 2, "{run:#?}");
        assert!(!run.files().contains(&RESULT.to_owned()), "{run:#?}");
    }
}

#[test]
fn one_good_warm_up_request_is_enough() {
    let server = Script::new(|request| match request.nth {
        0 => status("500 Internal Server Error", "cold"),
        _ => wire::good(request),
    })
    .start();
    let run = Rbench::load("vllm", &server.url()).args(["--warmup-requests", "2"]).run();
    assert_eq!(run.exits(0).prints_a_table().result()["completed"], 3);
}

#[test]
fn warm_up_requests_are_the_first_request_with_a_short_output() {
    for (asked, warm) in [("100", 32), ("20", 20)] {
        let server = Script::new(wire::good).start();
        let _ = Rbench::load("vllm", &server.url())
            .args(["--warmup-requests", "3", "--num-prompts", "2", "--random-output-len", asked])
            .run()
            .exits(0);
        let bodies: Vec<Value> = server.inference().iter().map(Request::json).collect();
        let (warmup, load) = bodies.split_at(3);
        for body in warmup {
            let mut like = body.clone();
            like["max_tokens"] = asked.parse::<u64>().unwrap().into();
            assert_eq!(body["max_tokens"], warm);
            assert!(load.contains(&like), "{body}");
            assert_eq!(body, &warmup[0]);
        }
        assert_eq!(load.len(), 2);
    }
}

#[test]
fn accept_lengths_of_sglang_servers_are_told() {
    let state = json!({"internal_states": [{"avg_spec_accept_length": 2.5}]});
    let split = json!({"prefill": [{}], "decode": [state]});
    let without = json!({"internal_states": [{}], "version": "1"});
    let cases: &[(&str, &Value, Option<f64>)] = &[
        ("sglang", &state, Some(2.5)),
        ("sglang-oai", &state, Some(2.5)),
        ("sglang-oai-chat", &split, Some(2.5)),
        ("sglang", &without, None),
        ("vllm", &state, None),
        ("lmdeploy", &state, None),
    ];
    for (backend, info, want) in cases {
        let answer = Answer::json(info);
        let server = Script::new(wire::good).on("/server_info", move |_| answer.clone()).start();
        let run = Rbench::load(backend, &server.url()).run().exits(0).prints_a_table();
        let result = run.result();
        assert_eq!(result["accept_length"], json!(want), "{backend}");
        assert_eq!(result["server_info"], **info, "{backend}");
        let shown = want.map(|length| format!("{length:.2}"));
        assert_eq!(run.row("Accept length:"), shown.as_deref(), "{backend}");
    }
}

#[test]
fn gaps_are_shared_by_tokens_where_the_server_guesses_ahead() {
    // The second event holds three words, hence three tokens of the bundled tokenizer.
    let events = Wire::Completions.events(&["one", " two three four"]);
    for (info, gaps) in
        [(json!({"internal_states": [{"avg_spec_accept_length": 3.0}]}), 3), (json!({}), 1)]
    {
        let [first, rest] = [events[0].clone(), events[1..].concat()];
        let info = Answer::json(&info);
        let server =
            Script::new(move |_| Answer::events().chunk(&first).pause(60).chunk(&rest).end())
                .on("/server_info", move |_| info.clone())
                .start();
        let result = Rbench::load("sglang-oai", &server.url()).run().exits(0).result();
        let itl = result["mean_itl_ms"].as_f64().unwrap();
        // One gap a request, however long it came out.
        let raw = result["itls"].as_array().unwrap();
        let sum: f64 = raw.iter().map(|gaps| gaps[0].as_f64().unwrap() * 1e3).sum();
        let want = sum / raw.len() as f64 / f64::from(gaps);
        assert!(want > 0.0 && (itl - want).abs() < 1e-6, "{result:#}");
    }
}

#[test]
fn all_requests_fail() {
    let server = Script::new(|_| status("500 Internal Server Error", "worker died")).start();
    let run = Rbench::load("sglang", &server.url()).run().exits(1).prints_a_table();
    let run = run.says(&[
        "3 of 3 requests failed",
        "http_status",
        "500",
        "worker died",
        "error: all 3 requests failed",
    ]);
    assert_eq!(run.row("Successful requests:"), Some("0"));
    for label in ["Mean E2E Latency (ms):", "P99 TTFT (ms):", "Mean TPOT (ms):", "Max ITL (ms):"] {
        assert_eq!(run.row(label), Some("n/a"), "{run:#?}");
    }
    assert!(!run.stdout.contains("NaN"), "{run:#?}");
    let result = run.result();
    for key in ["mean_ttft_ms", "p99_e2e_latency_ms", "std_tpot_ms", "median_itl_ms"] {
        assert_eq!(result[key], Value::Null, "{key}");
    }
    assert_eq!(result["completed"], 0);
    assert_eq!(result["output_lens"], json!([0, 0, 0]));
    assert_eq!(
        result["rbench"]["ledger"],
        json!({"scheduled": 3, "sent": 3, "never_sent": 0, "completed": 0, "failed": 3, "cancelled": 0})
    );
}

#[test]
fn some_requests_fail() {
    let server = Script::new(|request| match request.nth {
        1 => wire::good(request),
        4 => Answer::new().close(),
        _ => Answer::body(
            "429 Too Many Requests",
            "application/json",
            "{\"detail\":\n  \"slow down\"}",
        ),
    })
    .start();
    let run = Rbench::load("sglang", &server.url())
        .args(["--num-prompts", "5", "--max-concurrency", "1"])
        .run()
        .exits(0)
        .prints_a_table();
    assert_eq!(run.row("Successful requests:"), Some("1"));
    assert_eq!(run.result()["completed"], 1);
    let is_made = |line: &&str| line.contains("prepared in") || line.contains("drawn from");
    let told: Vec<&str> = run.stderr.lines().filter(|line| !is_made(line)).collect();
    let told = told.join("\n").replace(&server.url(), "URL");
    expect![[r#"
        sglang at URL, model tiny
        result appended to out.jsonl
        4 of 5 requests failed:
          count  kind                phase        reason
              3  http_status         headers      HTTP status 429 Too Many Requests
                                                  first body: {"detail": "slow down"}
              1  transport           headers      the connection was closed before the response was complete"#]]
    .assert_eq(&told);
}

#[test]
fn a_run_that_can_not_fit_into_memory_is_refused_before_it_begins() {
    let server = Script::control_only().start();
    let load = || {
        Rbench::load("sglang", &server.url()).args([
            "--num-prompts",
            "100",
            "--random-output-len",
            "4000000000",
        ])
    };
    let run = load().run().exits(1).prints_nothing();
    let _ = run.says(&["MiB for what it finds", "MiB are free", "--low-memory"]);
    drop(server);
    // Answers that may be shorter, or come as a whole, are not refused for what they could be.
    for flag in ["--disable-ignore-eos", "--disable-stream"] {
        let server = Script::new(wire::good).start();
        let _ = Rbench::load("sglang", &server.url())
            .args(["--num-prompts", "100", "--random-output-len", "4000000000", flag])
            .run()
            .exits(0);
    }
}

#[test]
fn no_more_requests_are_open_than_allowed() {
    for threads in ["1", "2"] {
        // None is answered before three are open, so that fewer would hang, and a fourth has time to show.
        let three = Arc::new(Barrier::new(3));
        let server = Script::new(move |_| {
            let wait = Answer::new().meet(&three).pause(20);
            Answer::stream(Wire::Native.events(WORDS)).after(wait)
        })
        .start();
        let run = Rbench::load("sglang", &server.url())
            .args(["--num-prompts", "12", "--max-concurrency", "3", "--worker-threads", threads])
            .run()
            .exits(0)
            .prints_a_table();
        assert_eq!(server.peak(), 3);
        assert_eq!(run.row("Max request concurrency:"), Some("3"));
        let result = run.result();
        assert_eq!((&result["completed"], &result["max_concurrency"]), (&json!(12), &json!(3)));
        assert!(result["max_concurrent_requests"].as_u64().unwrap() <= 3, "{result:#}");
        assert!(result["concurrency"].as_f64().unwrap() <= 3.0, "{result:#}");
    }
}

#[test]
fn without_a_limit_all_requests_are_open_at_once() {
    let all = Arc::new(Barrier::new(20));
    let server = Script::new(move |_| {
        Answer::stream(Wire::Native.events(WORDS)).after(Answer::new().meet(&all))
    })
    .start();
    for limit in [&[][..], &["--max-concurrency", "0"], &["--max-concurrency", "20"]] {
        let run = Rbench::load("sglang", &server.url()).args(["--num-prompts", "20"]);
        let _ = run.args(limit).run().exits(0);
        assert_eq!(server.peak(), 20);
    }
}

#[test]
fn due_times_are_absolute_and_do_not_hang_on_the_server() {
    let due_times = |answer: fn() -> Answer, flags: &[&str]| {
        let server =
            Script::new(move |_| Answer::stream(Wire::Native.events(WORDS)).after(answer()))
                .start();
        let run = Rbench::load("sglang", &server.url())
            .args(["--request-rate", "100", "--num-prompts", "10"])
            .args(flags)
            .run()
            .exits(0)
            .prints_a_table();
        assert_eq!(run.row("Traffic request rate:"), Some("100.0"));
        let result = run.result();
        let seconds = |key: &str| -> Vec<f64> {
            let array = result["rbench"][key].as_array().unwrap();
            array.iter().map(|value| value.as_f64().unwrap()).collect()
        };
        let (due, sent) = (seconds("due_s"), seconds("sent_s"));
        assert!(due[0].abs() < 1e-9 && due.is_sorted() && due[9] > 0.0, "{due:?}");
        assert!(due.iter().zip(&sent).all(|(due, sent)| sent >= due), "{due:?} {sent:?}");
        due
    };
    let fast = due_times(Answer::new, &[]);
    let slow = due_times(|| Answer::new().pause(40), &["--max-concurrency", "1"]);
    assert_eq!(fast, slow);
}

#[test]
fn more_requests_than_descriptors_are_refused_before_anything_is_sent() {
    let limited = |words: &[&str], server: &str| {
        let load = ["serve", "--base-url", server, "--tokenizer", "rbench-bundled"];
        Rbench::in_shell("ulimit -n 256", load)
            .args(["--dataset-name", "random-ids", "--random-input-len", "4"])
            .args(["--random-output-len", "1", "--num-prompts", "300", "--output-file", RESULT])
            .args(words)
            .run()
    };
    let server = Script::untouched().start();
    for words in [
        &[][..],
        &["--max-concurrency", "250"],
        &["--request-rate", "10", "--max-concurrency", "250"],
    ] {
        let run = limited(words, &server.url()).exits(1).prints_nothing();
        let run = run.says(&["256", "--max-concurrency", "ulimit"]);
        assert!(run.files().is_empty(), "{run:#?}");
    }
    let server = Script::new(wire::good).start();
    assert_eq!(
        limited(&["--max-concurrency", "100"], &server.url()).exits(0).result()["completed"],
        300
    );
}

#[test]
fn the_engine_inside_needs_nothing_else() {
    for flags in [
        &["--dataset-name", "random-ids", "--random-input-len", "8", "--random-output-len", "4"][..],
        &[
            "--dataset-name",
            "random",
            "--random-input-len",
            "8",
            "--random-output-len",
            "4",
            "--backend",
            "vllm-chat",
        ],
        &["--sharegpt-output-len", "4", "--backend", "trt"],
        &["--sharegpt-output-len", "4", "--backend", "truss"],
    ] {
        let run = Rbench::new(["serve", "--mock", "--num-prompts", "5"]).args(flags).run();
        let run = run.exits(0).prints_a_table();
        assert_eq!(run.row("Successful requests:"), Some("5"));
        let [file] = <[String; 1]>::try_from(run.files()).unwrap();
        let text = std::fs::read_to_string(run.path(&file)).unwrap();
        let result: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(result["completed"], 5);
        // Backend, date, number of prompts, and lengths or the dataset.
        let (start, end) = (format!("{}_", result["backend"].as_str().unwrap()), file.len());
        assert!(file.starts_with(&start), "{file}");
        let date = &file[start.len()..start.len() + 4];
        assert!(date.bytes().all(|byte| byte.is_ascii_digit()), "{file}");
        let rest = if flags[0] == "--dataset-name" { "_5_8_4.jsonl" } else { "_5_sharegpt.jsonl" };
        assert_eq!(&file[start.len() + 4..end], rest);
    }
}

#[test]
fn results_are_appended() {
    let server = Script::new(wire::good).start();
    let run = Rbench::load("sglang", &server.url()).file(RESULT, "earlier\n").run().exits(0);
    let text = run.result_text();
    let (first, second) = text.split_once('\n').unwrap();
    assert_eq!(first, "earlier");
    assert!(second.starts_with('{') && second.ends_with("}\n"), "{second}");
}

#[test]
fn the_same_seed_sends_the_same_bodies() {
    let bodies = |dataset: &str, seed: &str, threads: &str| {
        let server = Script::new(wire::good).start();
        let _ = Rbench::load("vllm", &server.url())
            .args(["--dataset-name", dataset, "--dataset-path", "rbench-bundled"])
            .args(["--random-range-ratio", "0", "--num-prompts", "12"])
            .args(["--seed", seed, "--worker-threads", threads])
            .run()
            .exits(0);
        let mut bodies: Vec<String> =
            server.inference().into_iter().map(|request| request.body).collect();
        // Connections race to the server.
        bodies.sort();
        bodies
    };
    for dataset in ["random-ids", "random", "sharegpt"] {
        let first = bodies(dataset, "7", "1");
        assert_eq!(first, bodies(dataset, "7", "1"), "{dataset}");
        assert_eq!(first, bodies(dataset, "7", "3"), "{dataset}");
        assert_ne!(first, bodies(dataset, "8", "1"), "{dataset}");
    }
}
