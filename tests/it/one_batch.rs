//! Batches of prompts, each in one request: `rbench one-batch`.

use serde_json::{Value, json};

use crate::support::rbench::{Rbench, Run};
use crate::support::server::{Answer, Request, Script};

fn one_batch(url: &str) -> Rbench {
    Rbench::new(["one-batch", "--base-url", url, "--tokenizer", "rbench-bundled"])
        .args(["--dataset-name", "random-ids"])
}

/// What a good server of either kind streams for a batch: each prompt's tokens in turn, one an event.
pub(crate) fn good(request: &Request) -> Answer {
    let body = request.json();
    let native = request.path == "/generate";
    let prompts = body[if native { "input_ids" } else { "prompt" }].as_array().unwrap();
    let most =
        if native { &body["sampling_params"]["max_new_tokens"] } else { &body["max_tokens"] };
    let most = most.as_u64().unwrap();
    if body["stream"] == false {
        return Answer::json(&json!({}));
    }
    let mut events = Vec::new();
    for n in 1..=most {
        for (i, prompt) in prompts.iter().enumerate() {
            let len = prompt.as_array().unwrap().len();
            events.push(if native {
                let reason = (n == most).then(|| json!({"type": "length", "length": n}));
                json!({"text": "a", "index": i, "meta_info": {"completion_tokens": n,
                    "finish_reason": reason, "prompt_tokens": len, "cached_tokens": len / 2}})
            } else {
                let reason = (n == most).then_some("length");
                json!({"choices": [{"index": i, "text": "a", "finish_reason": reason}]})
            });
        }
    }
    if !native {
        let total = most * prompts.len() as u64;
        events.push(
            json!({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": total}}),
        );
    }
    let events = events.iter().map(|event| format!("data: {event}\n\n"));
    Answer::stream(events.chain(["data: [DONE]\n\n".to_owned()]))
}

/// A server that empties its cache when asked to.
pub(crate) fn server(inference: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Script {
    let done = |_: &Request| Answer::body("200 OK", "text/plain", "done");
    Script::new(inference).on("/flush_cache", done).on("/reset_prefix_cache", done)
}

fn info(state: Value) -> impl Fn(&Request) -> Answer + Send + Sync + 'static {
    move |_| Answer::json(&json!({"tp_size": 2, "internal_states": [state]}))
}

fn results(run: &Run) -> Vec<Value> {
    let text = std::fs::read_to_string(run.path("result.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn each_case_is_one_request_after_an_emptied_cache() {
    let state = json!({"last_gen_throughput": 50.0, "avg_spec_accept_length": 2.5});
    let server = server(good).on("/server_info", info(state)).start();
    let run = one_batch(&server.url())
        .args(["--batch-size", "2", "3", "--input-len", "8", "16", "--output-len", "4"])
        .args(["--show-report", "--run-name", "nightly"])
        .run()
        .exits(0)
        .says(&["warm-up done: batch size 2", "warm-up done: batch size 3"]);
    // Two warm-ups and four cases.
    let calls: Vec<String> = server
        .calls()
        .into_iter()
        .filter(|call| call.contains("flush") || call.contains("generate"))
        .collect();
    assert_eq!(calls.len(), 12, "{calls:?}");
    for pair in calls.chunks(2) {
        assert!(pair[0].contains("/flush_cache") && pair[1].contains("/generate"), "{calls:?}");
    }
    let requests = server.requests_to("/generate");
    let sizes: Vec<(usize, usize, u64)> = requests
        .iter()
        .map(|request| {
            let body = request.json();
            assert_eq!(body["stream"], true);
            assert_eq!(body["sampling_params"]["ignore_eos"], true);
            let prompts = body["input_ids"].as_array().unwrap();
            let most = body["sampling_params"]["max_new_tokens"].as_u64().unwrap();
            (prompts.len(), prompts[0].as_array().unwrap().len(), most)
        })
        .collect();
    assert_eq!(sizes, [(2, 1024, 16), (3, 1024, 16), (2, 8, 4), (2, 16, 4), (3, 8, 4), (3, 16, 4)]);
    let lines = results(&run);
    assert_eq!(lines.len(), 4);
    let keys: Vec<&str> = lines[0].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "run_name",
            "batch_size",
            "input_len",
            "output_len",
            "latency",
            "input_throughput",
            "output_throughput",
            "overall_throughput",
            "last_ttft",
            "last_gen_throughput",
            "acc_length",
            "total_output_tokens",
            "num_early_stopped",
            "steady_state_output_throughput",
            "steady_state_window_s",
            "cache_hit_rate",
            "rbench",
        ]
    );
    let line = &lines[3];
    assert_eq!(line["run_name"], "nightly");
    assert_eq!((&line["batch_size"], &line["input_len"]), (&json!(3), &json!(16)));
    assert_eq!((&line["total_output_tokens"], &line["num_early_stopped"]), (&json!(12), &json!(0)));
    assert_eq!((&line["last_gen_throughput"], &line["acc_length"]), (&json!(50.0), &json!(2.5)));
    assert_eq!(line["cache_hit_rate"], 0.5);
    assert_eq!(line["rbench"]["input_tokens"], 48);
    let shown: Vec<&str> =
        run.stdout.lines().take(10).map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(
        shown,
        [
            "batch size",
            "input_len",
            "output_len",
            "latency",
            "input throughput",
            "output throughput",
            "last_ttft",
            "last generation throughput",
            "acc_length",
            "cache hit rate",
        ]
    );
    assert!(
        run.stdout.contains("\nInput lens: 8, 16. Output lens: 4.\n| batch size |"),
        "{run:#?}"
    );
    assert_eq!(run.stdout.lines().filter(|line| line.starts_with('|')).count(), 6);
}

#[test]
fn batches_of_vllm() {
    let server = server(good).start();
    let run = one_batch(&server.url())
        .args(["--backend", "vllm", "--batch-size", "2", "--input-len", "8", "--skip-warmup"])
        .args(["--output-len", "3", "--return-logprob"])
        .run()
        .exits(0);
    let requests = server.requests_to("/v1/completions");
    assert_eq!(requests.len(), 1);
    let body = requests[0].json();
    assert_eq!(body["prompt"].as_array().unwrap().len(), 2);
    assert_eq!((&body["max_tokens"], &body["logprobs"]), (&json!(3), &json!(1)));
    assert_eq!(server.requests_to("/reset_prefix_cache").len(), 1);
    let line = &results(&run)[0];
    assert_eq!(line["total_output_tokens"], 6);
    for key in ["last_gen_throughput", "acc_length", "num_early_stopped", "cache_hit_rate"] {
        assert_eq!(line[key], Value::Null, "{key}");
    }
}

#[test]
fn prefixes_are_cached_and_prompts_have_lengths_in_turn() {
    let server = server(good).start();
    let run = one_batch(&server.url())
        .args(["--batch-size", "3", "--input-len-list", "4,8", "--cache-hit-rate", "0.5"])
        .args(["--skip-warmup", "--lora-name", "a", "b", "--lora-request", "distinct"])
        .run()
        .exits(0);
    let lens = |request: &Request| -> Vec<usize> {
        let body = request.json();
        let prompts = body["input_ids"].as_array().unwrap();
        prompts.iter().map(|ids| ids.as_array().unwrap().len()).collect()
    };
    let requests = server.requests_to("/generate");
    let all: Vec<Vec<usize>> = requests.iter().map(lens).collect();
    assert_eq!(all, [[2, 4, 2], [4, 8, 4]]);
    assert_eq!(requests[0].json()["stream"], false);
    assert_eq!(requests[1].json()["lora_path"], json!(["a", "b", "a"]));
    assert_eq!(results(&run)[0]["input_len"], 5);
}

#[test]
fn every_request_has_the_prompt_of_a_file() {
    let server = server(good).start();
    let run = Rbench::new(["one-batch", "--base-url", &server.url()])
        .file("prompt.txt", "one two three")
        .args(["--local-tok", "rbench-bundled", "--fixed-prompt", "prompt.txt"])
        .args(["--batch-size", "2", "--skip-warmup", "--fake-prefill"])
        .run()
        .exits(0);
    let body = server.requests_to("/generate")[0].json();
    assert_eq!(body["input_ids"][0], body["input_ids"][1]);
    assert_eq!(body["bootstrap_room"], 0);
    let line = &results(&run)[0];
    assert_eq!(line["input_len"], body["input_ids"][0].as_array().unwrap().len());
    assert_eq!(line["rbench"]["dataset_name"], "fixed-prompt-file");
}

#[test]
fn what_a_server_has_no_room_for_is_left_out() {
    let state = json!({"effective_max_running_requests_per_dp": 2, "dp_size": 2,
        "memory_usage": {"token_capacity": 100}});
    let run = |flags: &[&str], code: i32| {
        let server = server(good).on("/server_info", info(state.clone())).start();
        let run = one_batch(&server.url())
            .args(["--skip-warmup", "--batch-size", "4", "5", "--input-len", "8", "40"])
            .args(["--output-len", "2"])
            .args(flags)
            .run()
            .exits(code);
        let pairs: Vec<(Value, Value)> = results(&run)
            .into_iter()
            .map(|line| (line["batch_size"].clone(), line["input_len"].clone()))
            .collect();
        (run, pairs)
    };
    let (first, pairs) = run(&[], 0);
    assert_eq!(pairs, [(4.into(), 8.into())]);
    let _ = first.says(&["at most 4 requests", "needs 168 tokens", "room for 100"]);
    let (all, pairs) = run(&["--enable-multi-batch", "--skip-token-capacity-check"], 0);
    assert_eq!(pairs.len(), 4);
    let _ = all.says(&["does nothing for batch size 4", "leaves only the overall throughput"]);
    let server = Script::control_only().on("/server_info", info(state)).start();
    let _ = one_batch(&server.url())
        .args(["--batch-size", "9"])
        .run()
        .exits(1)
        .prints_nothing()
        .says(&["no batch was sent", "--enable-multi-batch"]);
}

#[test]
fn answers_that_are_none_end_the_run() {
    for (answer, says) in [
        (Answer::body("500 Internal Server Error", "text/plain", "out of memory"), "out of memory"),
        (Answer::stream(["data: {\"error\": \"bad\"}\n\n"]), "bad"),
        (Answer::stream(["data: [DONE]\n\n"]), "the response held no generated token"),
    ] {
        let server = server(move |_| answer.clone()).start();
        let run = one_batch(&server.url())
            .args(["--batch-size", "2", "--input-len", "4", "--skip-warmup"])
            .run()
            .exits(1)
            .prints_nothing()
            .says(&["the batch of 2 prompts of 4 tokens failed", says]);
        assert_eq!(run.files(), [""; 0]);
    }
}

#[test]
fn the_engine_inside_answers_batches() {
    let run = Rbench::new(["one-batch", "--mock", "--dataset-name", "random-ids", "--skip-warmup"])
        .args(["--batch-size", "3", "300", "--input-len", "8", "--output-len", "5"])
        .run()
        .exits(0)
        .says(&["batch size 300", "at most 256 requests"]);
    let lines = results(&run);
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["total_output_tokens"], 15);
    assert_eq!(lines[0]["rbench"]["server_input_tokens"], 24);
    let latency = lines[0]["latency"].as_f64().unwrap();
    let ttft = lines[0]["last_ttft"].as_f64().unwrap();
    assert!(ttft >= 0.019 && latency >= 0.059 && ttft < latency, "{lines:?}");
    let prompts = ["generated-shared-prefix", "sharegpt", "random"];
    for name in prompts {
        let run = Rbench::new(["one-batch", "--mock", "--dataset-name", name, "--skip-warmup"])
            .args(["--dataset-path", "rbench-bundled", "--batch-size", "2"])
            .args(["--gsp-system-prompt-len", "16", "--gsp-question-len", "8"])
            .args(["--gsp-output-len", "3", "--output-len", "3"])
            .run()
            .exits(0);
        let line = &results(&run)[0];
        assert_eq!(line["total_output_tokens"], 6, "{name}");
        assert_eq!(line["rbench"]["server_input_tokens"], line["rbench"]["input_tokens"], "{name}");
    }
}

#[test]
fn answers_may_end_early_if_they_are_let() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mock = format!(
        "exec {} mock --ttft 1ms --itl 1ms --stop-after 4 --port {port}",
        env!("CARGO_BIN_EXE_rbench")
    );
    let run = one_batch(&format!("http://127.0.0.1:{port}"))
        .args(["--launch", &mock, "--skip-warmup", "--batch-size", "2", "--input-len", "4"])
        .args(["--disable-ignore-eos", "--output-len", "9"])
        .run()
        .exits(0);
    assert!(run.stdout.contains("total output tokens: 8 (requested 18)"), "{run:#?}");
    assert!(run.stdout.contains("early-stopped requests: 2/2"), "{run:#?}");
    assert_eq!(results(&run)[0]["num_early_stopped"], 2);
}

#[test]
fn flags_that_do_not_go_together_are_refused_by_name() {
    for (words, says) in [
        (&["--batch-size", "0"][..], &["--batch-size", "above 0"][..]),
        (&["--backend", "trt"], &["--backend", "sglang, vllm"]),
        (&["--dataset-name", "mmmu"], &["--dataset-name", "random-ids"]),
        (&["--cache-hit-rate", "1.5"], &["--cache-hit-rate", "from 0 to 1"]),
        (&["--input-len-list", "4,0"], &["--input-len-list", "above 0"]),
        (&["--input-len-list", "4", "--input-len", "4"], &["--input-len-list", "--input-len"]),
        (&["--backend", "vllm", "--parallel-batch"], &["--parallel-batch", "vllm"]),
        (&["--backend", "vllm", "--disable-ignore-eos"], &["--disable-ignore-eos", "vllm"]),
        (&["--backend", "vllm", "--fake-prefill"], &["--fake-prefill", "vllm"]),
        (&["--disable-ignore-eos", "--fake-prefill"], &["--fake-prefill"]),
        (&["--apply-chat-template"], &["--apply-chat-template", "random-ids"]),
        (&["--dataset-name", "custom"], &["custom", "--dataset-path"]),
        (&["--dataset-name", "sharegpt", "--input-len", "4", "5"], &["--input-len", "sharegpt"]),
        (&["--profile-by-stage"], &["--profile-by-stage", "--profile"]),
        (&["--pydantic-result-filename", "absent/x"], &["--pydantic-result-filename absent/x"]),
        (&["--server-args-for-metrics", "--tp"], &["--pydantic-result-filename"]),
        (&["--cost-per-gpu-hour", "3"], &["--show-report"]),
        (&["--result-filename", "absent/x"], &["--result-filename absent/x"]),
    ] {
        let run = one_batch("http://127.0.0.1:9").args(words).run().exits(2);
        let run = run.prints_nothing().says(says);
        assert!(run.files().is_empty(), "{run:#?}");
    }
}

/// A run of one batch of two prompts of 8 tokens, 4 tokens each, against a server that streams `events`.
fn batch_of(backend: &str, events: Vec<String>) -> Run {
    let server = server(move |_| Answer::stream(events.clone())).start();
    one_batch(&server.url())
        .args(["--backend", backend, "--batch-size", "2", "--input-len", "8", "--output-len", "4"])
        .args(["--skip-warmup", "--records", "r.jsonl"])
        .run()
}

/// The events of two prompts that get four tokens each, `change` being made to the text of each.
fn events(backend: &str, change: impl Fn(String) -> String) -> Vec<String> {
    let native = backend == "sglang";
    let mut events = Vec::new();
    for n in 1..=4_usize {
        for index in 0..2 {
            let text = if native { " the".repeat(n) } else { " the".to_owned() };
            let reason = (n == 4).then_some("length");
            events.push(if native {
                let reason = reason.map(|reason| json!({"type": reason}));
                json!({"text": text, "index": index, "meta_info": {"finish_reason": reason,
                    "completion_tokens": n, "prompt_tokens": 8, "cached_tokens": 2}})
            } else {
                json!({"choices": [{"index": index, "text": text, "finish_reason": reason}]})
            });
        }
    }
    if !native {
        let usage = json!({"prompt_tokens": 16, "completion_tokens": 8});
        events.push(json!({"choices": [], "usage": usage}));
    }
    let events = events.iter().map(|event| format!("data: {}\n\n", change(event.to_string())));
    events.chain(["data: [DONE]\n\n".to_owned()]).collect()
}

#[test]
fn odd_fields_fail_no_batch() {
    for (backend, from, to) in [
        ("sglang", "\"completion_tokens\":4", "\"completion_tokens\":4.0"),
        ("sglang", "\"prompt_tokens\":8", "\"prompt_tokens\":\"8\""),
        ("sglang", "\"index\":1", "\"index\":\"1\""),
        ("sglang", "\"index\":0", "\"index\":9,\"index\":0"),
        ("sglang", "\"cached_tokens\":2", "\"cached_tokens\":2,\"x\":-Infinity"),
        ("sglang", "\"finish_reason\":null", "\"finish_reason\":\"\""),
        ("vllm", "\"text\":\" the\"", "\"text\":[{\"type\":\"text\",\"text\":\" the\"}]"),
        ("vllm", "\"text\":\" the\"", "\"text\":\"\\ud83d\""),
        ("vllm", "\"finish_reason\":null", "\"finish_reason\":\"none\",\"logprobs\":NaN"),
        ("vllm", "\"completion_tokens\":8", "\"completion_tokens\":8.0,\"details\":[]"),
    ] {
        let stream = events(backend, |event| event.replace(from, to));
        assert_ne!(stream, events(backend, |event| event), "{from}");
        let run = batch_of(backend, stream).exits(0);
        let line = &results(&run)[0];
        assert_eq!(line["total_output_tokens"], 8, "{to}: {line}");
        assert_eq!(line["rbench"]["output_token_source"], "server", "{to}");
        assert_eq!(line["rbench"]["server_input_tokens"], 16, "{to}");
    }
    let mut stream = events("vllm", |event| event);
    stream.insert(1, "data: null\n\n".to_owned());
    stream.insert(1, ": ping\n\n".to_owned());
    assert_eq!(results(&batch_of("vllm", stream).exits(0))[0]["total_output_tokens"], 8);
}

#[test]
fn impossible_counts_of_a_batch_are_used_nowhere() {
    // The bundled tokenizer counts the text.
    for (backend, from, to) in [
        ("sglang", "\"completion_tokens\":4", "\"completion_tokens\":1000000"),
        ("sglang", "\"completion_tokens\":4", "\"completion_tokens\":1"),
        ("vllm", "\"completion_tokens\":8", "\"completion_tokens\":0"),
        ("vllm", "\"completion_tokens\":8", "\"completion_tokens\":1000000"),
    ] {
        let run = batch_of(backend, events(backend, |event| event.replace(from, to)));
        let run = run.exits(0).says(&["not sound", "`tokens` failed", "no usable count"]);
        let line = &results(&run)[0];
        assert_eq!(line["total_output_tokens"], 8, "{to}: {line}");
        assert_eq!(line["rbench"]["output_token_source"], "retokenized", "{to}");
        assert_eq!(line["steady_state_output_throughput"], Value::Null, "{to}");
    }
    let cached = |event: String| event.replace("\"cached_tokens\":2", "\"cached_tokens\":16000000");
    let run = batch_of("sglang", events("sglang", cached)).exits(0).says(&["cached tokens"]);
    assert_eq!(results(&run)[0]["cache_hit_rate"], Value::Null);
    // Without any count the text is counted, and that is said.
    let stream = events("vllm", |event| event.replace("usage", "unused"));
    let run = batch_of("vllm", stream).exits(0).says(&["the local tokenizer counted their text"]);
    assert_eq!(results(&run)[0]["rbench"]["output_token_source"], "retokenized");
}

#[test]
fn batches_are_recorded_and_reported_again() {
    let run = batch_of("sglang", events("sglang", |event| event)).exits(0);
    let text = std::fs::read_to_string(run.path("r.jsonl")).unwrap();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        (&rows[0]["command"], &rows[0]["config"]["batch_size"]),
        (&json!("one-batch"), &json!(2))
    );
    assert_eq!((&rows[1]["outcome"], &rows[1]["early_stops"]), (&json!("completed"), &json!(0)));
    assert_eq!(rows[1]["input_tokens"], 16);
    let again = Rbench::new(["report", "r.jsonl", "--output-file", "again.jsonl"])
        .file("r.jsonl", &text)
        .run()
        .exits(0);
    assert_eq!(again.stdout, run.stdout);
    let line: Value =
        serde_json::from_str(&std::fs::read_to_string(again.path("again.jsonl")).unwrap()).unwrap();
    let mut first = results(&run)[0].clone();
    first["rbench"]["date"] = line["rbench"]["date"].clone();
    assert_eq!(line, first);
    // A batch that failed has its reason on disk.
    let run = batch_of("sglang", events("sglang", |event| event)[..5].to_vec()).exits(1);
    let text = std::fs::read_to_string(run.path("r.jsonl")).unwrap();
    let row: Value = serde_json::from_str(text.lines().nth(1).unwrap()).unwrap();
    assert_eq!((&row["outcome"], &row["failure"]["kind"]), (&json!("failed"), &json!("early_end")));
    let _ = Rbench::new(["report", "r.jsonl"])
        .file("r.jsonl", &text)
        .run()
        .exits(1)
        .says(&["the batch did not complete", "finish reason"]);
}

#[test]
fn tokens_without_text_are_counted_prompt_by_prompt() {
    // One prompt has special tokens alone.
    let silent = |event: String| {
        if event.contains("\"index\":1") { event.replace(" the", "") } else { event }
    };
    let run = batch_of("sglang", events("sglang", silent)).exits(0);
    assert_eq!(results(&run)[0]["total_output_tokens"], 8);
}

#[test]
fn a_batch_of_one_takes_any_index() {
    let stream: Vec<String> = (1..=4_u64)
        .map(|n| {
            let reason = (n == 4).then_some("length");
            let choice = json!({"index": n, "text": " the", "finish_reason": reason});
            format!("data: {}\n\n", json!({"choices": [choice]}))
        })
        .chain(["data: [DONE]\n\n".to_owned()])
        .collect();
    let server = server(move |_| Answer::stream(stream.clone())).start();
    let run = one_batch(&server.url())
        .args(["--backend", "vllm", "--input-len", "8", "--output-len", "4", "--skip-warmup"])
        .run()
        .exits(0);
    assert_eq!(results(&run)[0]["total_output_tokens"], 4);
}

#[test]
fn batches_of_real_text_have_exact_lengths() {
    let server = server(good).start();
    let run = one_batch(&server.url())
        .args(["--dataset-name", "corpus", "--skip-warmup", "--batch-size", "3"])
        .args(["--input-len", "40", "--output-len", "2"])
        .run();
    drop(run.exits(0));
    let [request] = &server.requests_to("/generate")[..] else { panic!("not one batch") };
    let body = request.json();
    let prompts = body["input_ids"].as_array().unwrap();
    let tokenizer = crate::datasets::bundled();
    let texts: Vec<String> = prompts
        .iter()
        .map(|ids| {
            let ids = ids.as_array().unwrap().iter();
            let ids: Vec<u32> =
                ids.map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect();
            assert_eq!(ids.len(), 40);
            tokenizer.decode(&ids)
        })
        .collect();
    let inside = std::str::from_utf8(rbench::workload::bundled::CONVERSATIONS).unwrap();
    for text in texts {
        let word =
            text.split(|c: char| !c.is_ascii_alphabetic()).max_by_key(|word| word.len()).unwrap();
        assert!(word.len() > 4 && inside.contains(word), "{text}");
    }
}
