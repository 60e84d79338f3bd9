//! `rbench vllm bench serve` against a scripted server: its bodies, its table, its result file.

use std::path::Path;

use expect_test::expect;
use serde_json::{Value, json};

use crate::support::rbench::{Rbench, Run};
use crate::support::server::{Answer, Request, Script};
use crate::support::wire;

/// A run of two requests against `url` with `more` flags.
fn bench(url: &str, more: &[&str]) -> Rbench {
    let load = ["--model", "some/tiny", "--tokenizer", "rbench-bundled", "--num-prompts", "2"];
    Rbench::new(["vllm", "bench", "serve", "--base-url", url])
        .args(load)
        .args(["--random-input-len", "8", "--random-output-len", "4"])
        .args(more)
}

/// `text` with every number that a run measures as `N`, and without spaces at line ends.
fn shape(table: &str) -> String {
    let shown = |line: &str| match line.split_once(":  ") {
        Some((label, value)) if value.contains('.') => format!("{label}: N\n"),
        Some((label, value)) => format!("{label}: {}\n", value.trim()),
        None => format!("{}\n", line.trim_end()),
    };
    table.lines().map(shown).collect()
}

fn read(run: &Run, name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(run.path(name)).unwrap()).unwrap()
}

/// The only JSON file that a run left.
fn result(run: &Run) -> (String, Value) {
    let files = run.files();
    let names: Vec<&String> = files
        .iter()
        .filter(|name| Path::new(name).extension().is_some_and(|ending| ending == "json"))
        .collect();
    let [name] = names[..] else { panic!("{files:?}") };
    (name.clone(), read(run, name))
}

#[test]
fn the_table_has_the_rows_of_vllm() {
    let server = Script::new(wire::good).start();
    let run = bench(&server.url(), &["--percentile-metrics", "ttft,tpot,itl,e2el"]).run().exits(0);
    let (_, table) = run.stdout.split_once("============ Serving").unwrap();
    expect![[r#"
        ============ Serving Benchmark Result ============
        Successful requests: 2
        Failed requests: 0
        Benchmark duration (s): N
        Total input tokens: 16
        Total generated tokens: 8
        Request throughput (req/s): N
        Output token throughput (tok/s): N
        Peak output token throughput (tok/s): N
        Peak concurrent requests: N
        Total token throughput (tok/s): N
        ---------------Time to First Token----------------
        Mean TTFT (ms): N
        Median TTFT (ms): N
        P99 TTFT (ms): N
        -----Time per Output Token (excl. 1st token)------
        Mean TPOT (ms): N
        Median TPOT (ms): N
        P99 TPOT (ms): N
        ---------------Inter-token Latency----------------
        Mean ITL (ms): N
        Median ITL (ms): N
        P99 ITL (ms): N
        ----------------End-to-end Latency----------------
        Mean E2EL (ms): N
        Median E2EL (ms): N
        P99 E2EL (ms): N
        ==================================================
    "#]]
    .assert_eq(&shape(&format!("============ Serving{table}")));
    assert!(run.files().iter().all(|name| !name.contains("json")), "{:?}", run.files());
}

#[test]
fn the_result_has_the_keys_of_vllm() {
    let server = Script::new(wire::good).start();
    let run = bench(&server.url(), &["--backend", "openai-chat", "--save-result"])
        .args([
            "--metric-percentiles",
            "50,99.9",
            "--metadata",
            "gpu=h100",
            "--max-concurrency",
            "2",
        ])
        .args(["--result-dir", "results", "--result-filename", "r.json"])
        .run()
        .exits(0);
    let result: Value = read(&run, "results/r.json");
    let shown = |(key, value): (&String, &Value)| {
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(number) if number.is_f64() => "float",
            Value::Number(_) => "int",
            Value::String(_) => "str",
            Value::Array(_) => "list",
            Value::Object(_) => "dict",
        };
        format!("{key}: {kind}\n")
    };
    let shown: String = result.as_object().unwrap().iter().map(shown).collect();
    expect![[r#"
        date: str
        endpoint_type: str
        backend: str
        label: str
        model_id: str
        tokenizer_id: str
        num_prompts: int
        gpu: str
        request_rate: str
        burstiness: float
        max_concurrency: int
        duration: float
        completed: int
        failed: int
        total_input_tokens: int
        total_output_tokens: int
        request_throughput: float
        request_goodput: null
        output_throughput: float
        total_token_throughput: float
        latencies: list
        queue_times: list
        max_output_tokens_per_s: float
        max_concurrent_requests: int
        rtfx: float
        mean_ttft_ms: float
        median_ttft_ms: float
        std_ttft_ms: float
        p50_ttft_ms: float
        p99.9_ttft_ms: float
        mean_tpot_ms: float
        median_tpot_ms: float
        std_tpot_ms: float
        p50_tpot_ms: float
        p99.9_tpot_ms: float
        mean_itl_ms: float
        median_itl_ms: float
        std_itl_ms: float
        p50_itl_ms: float
        p99.9_itl_ms: float
        rbench: dict
    "#]]
    .assert_eq(&shown);
    assert_eq!((&result["completed"], &result["failed"]), (&2.into(), &0.into()));
    assert_eq!(result["total_output_tokens"], result["rbench"]["total_output_tokens_retokenized"]);
    let detailed = bench(&server.url(), &["--save-result", "--save-detailed"]).run().exits(0);
    let (name, detailed) = self::result(&detailed);
    let date = name.strip_prefix("openai-infqps-tiny-").unwrap();
    assert_eq!(date.len(), "20260102-030405.json".len(), "{name}");
    for key in [
        "input_lens",
        "output_lens",
        "ttfts",
        "itls",
        "latencies",
        "start_times",
        "queue_times",
        "generated_texts",
        "errors",
    ] {
        assert_eq!(detailed[key].as_array().unwrap().len(), 2, "{key}");
    }
}

#[test]
fn bodies_have_no_defaults_of_another_client() {
    for (backend, path, limit) in [
        ("openai", "/v1/completions", "max_tokens"),
        ("openai-chat", "/v1/chat/completions", "max_completion_tokens"),
    ] {
        let server = Script::new(wire::good).start();
        drop(bench(&server.url(), &["--backend", backend]).run().exits(0));
        let requests = server.requests_to(path);
        assert_eq!(requests.len(), 2, "neither warm-up nor a look for the server");
        let body = requests[0].json();
        let object = body.as_object().unwrap();
        for key in ["temperature", "best_of", "top_p"] {
            assert!(!object.contains_key(key), "{body}");
        }
        assert_eq!((&body[limit], &body["ignore_eos"]), (&4.into(), &true.into()), "{body}");
        assert_eq!(body["stream_options"]["include_usage"], true, "{body}");
    }
}

#[test]
fn lengths_lie_around_their_means() {
    let server = Script::new(wire::good).start();
    let spread = ["--num-prompts", "40", "--random_range_ratio", "0.5"];
    drop(bench(&server.url(), &spread).run().exits(0));
    let asked: Vec<u64> = server
        .requests_to("/v1/completions")
        .iter()
        .map(|request| request.json()["max_tokens"].as_u64().unwrap())
        .collect();
    assert_eq!((asked.iter().min(), asked.iter().max()), (Some(&2), Some(&6)), "{asked:?}");
}

#[test]
fn what_rbench_does_not_have_is_refused_by_name() {
    for (flags, said) in [
        (&["--skip-tokenizer-init"][..], "--skip-tokenizer-init"),
        (&["--use-beam-search"], "--use-beam-search"),
        (&["--chat-template-kwargs", "{}"], "--chat-template-kwargs"),
        (&["--plot-dataset-stats"], "--plot-dataset-stats"),
        (&["--bfcl-categories", "simple"], "--bfcl-categories"),
        (&["--blazedit-min-distance", "0.1"], "--blazedit-min-distance"),
        (&["--asr-max-audio-len-sec", "3"], "--asr-min-audio-len-sec"),
        (&["--backend", "openai-embeddings-vlm2vec"], "instructions"),
        (&["--tokenizer-mode", "deepseek_v32"], "--tokenizer-mode"),
        (&["--percentile-metrics", "client_queue_time"], "client_queue_time"),
        (&["--endpoint", "/v1/chat/completions", "--backend", "vllm-pooling"], "--endpoint"),
        (&["--random-range-ratio", "1"], "--random-range-ratio"),
        (&["--dataset-name", "sharegpt"], "--dataset-path"),
        (&["--dataset-path", "x"], "--dataset-path"),
        (&["--random-batch-size", "2"], "--random-batch-size"),
        (&["--backend", "vllm-rerank"], "random-rerank"),
        (&["--backend", "openai-embeddings", "--temperature", "0"], "--temperature"),
        (&["--backend", "openai-chat", "--logprobs", "1"], "--logprobs"),
        (&["--self-timed"], "--self-timed"),
        (&["--ramp-up-strategy", "linear"], "--ramp-up-start-rps"),
        (&["--ramp-up-start-rps", "1"], "--ramp-up-strategy"),
        (&["--random-mm-bucket-config", "{(8,8,16): 1.0}", "--dataset-name", "random-mm"], "video"),
    ] {
        drop(bench("http://127.0.0.1:9", flags).run().exits(2).says(&[said]));
    }
}

/// The bodies that requests to `path` had, in the order of their numbers.
fn bodies(server: &crate::support::server::Server, path: &str) -> Vec<Value> {
    let mut requests = server.requests_to(path);
    requests.sort_by_key(|request| {
        let id = request.header("x-request-id").unwrap_or_default();
        id.rsplit_once('-').and_then(|(_, number)| number.parse::<usize>().ok())
    });
    requests.iter().map(Request::json).collect()
}

fn keys(body: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn bodies_have_the_keys_of_vllm() {
    let stream = ["ignore_eos", "model", "stream", "stream_options"];
    let of = |more: &[&'static str]| {
        let mut keys = [&stream[..], more].concat();
        keys.sort_unstable();
        keys
    };
    for (backend, path, want) in [
        ("openai", "/v1/completions", of(&["logprobs", "max_tokens", "prompt"])),
        ("openai-chat", "/v1/chat/completions", of(&["max_completion_tokens", "messages"])),
        (
            "openai-responses",
            "/v1/responses",
            vec!["ignore_eos", "input", "max_output_tokens", "model", "store", "stream"],
        ),
        ("openai-embeddings", "/v1/embeddings", vec!["input", "model"]),
        ("openai-embeddings-chat", "/v1/embeddings", vec!["messages", "model"]),
        ("vllm-pooling", "/pooling", vec!["input", "model", "truncate_prompt_tokens"]),
        ("infinity-embeddings", "/embeddings", vec!["input", "model"]),
    ] {
        let server = Script::new(wire::good).start();
        drop(bench(&server.url(), &["--backend", backend]).run().exits(0));
        let bodies = bodies(&server, path);
        assert_eq!(bodies.len(), 2, "{backend}");
        assert_eq!(keys(&bodies[0]), want, "{backend}");
    }
}

#[test]
fn a_chat_message_is_a_list_of_parts_with_the_text_first() {
    let server = Script::new(wire::good).start();
    let images = ["--backend", "openai-chat", "--dataset-name", "random-mm"];
    let sizes = ["--random-mm-bucket-config", "{(8, 16, 1): 1.0}"];
    drop(bench(&server.url(), &images).args(sizes).run().exits(0));
    let body = &bodies(&server, "/v1/chat/completions")[0];
    let content = body["messages"][0]["content"].as_array().unwrap();
    assert_eq!(content[0]["type"], "text");
    let url = content[1]["image_url"]["url"].as_str().unwrap();
    assert!(url.starts_with("data:image/jpeg;base64,"), "{url}");
}

#[test]
fn batches_and_rankings_have_several_texts() {
    let server = Script::new(wire::good).start();
    let batch = ["--backend", "openai-embeddings", "--random-batch-size", "2"];
    let run = bench(&server.url(), &batch)
        .args(["--num-prompts", "3", "--save-result", "--result-filename", "r.json"])
        .run()
        .exits(0);
    let sent = bodies(&server, "/v1/embeddings");
    let inputs: Vec<usize> =
        sent.iter().map(|body| body["input"].as_array().unwrap().len()).collect();
    assert_eq!(inputs, [2, 1]);
    let result = read(&run, "r.json");
    assert_eq!(result["total_input_sequences"], 3);
    assert_eq!(result["total_input_tokens"], 16, "as the server counts them");
    assert!(run.stdout.contains("Input throughput (inputs/s):"), "{}", run.stdout);
    assert!(!run.stdout.contains("TTFT"), "{}", run.stdout);
    let server = Script::new(wire::good).start();
    let rank = ["--backend", "vllm-rerank", "--dataset-name", "random-rerank"];
    let sizes = ["--random-batch-size", "2", "--num-prompts", "3", "--random-input-len", "20"];
    drop(bench(&server.url(), &rank).args(sizes).run().exits(0));
    let sent = bodies(&server, "/v1/rerank");
    assert_eq!(keys(&sent[0]), ["documents", "model", "query", "truncate_prompt_tokens"]);
    assert_eq!(sent[0]["documents"].as_array().unwrap().len(), 2);
    assert_eq!(sent[0]["query"], sent[1]["query"], "one query for all");
}

#[test]
fn files_of_prompts() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let talk = |q: &str, a: &str| json!({"conversations": [{"value": q}, {"value": a}]});
    let sharegpt = json!([
        talk("Please say what is new in the world today", "There is nothing new under the sun."),
        talk("a", "too short to be of any use here"),
    ]);
    let custom = "{\"prompt\": \"Say one\", \"output_tokens\": 3}\n{\"prompt\": \"Say two\", \"output_tokens\": 5}\n";
    let trace = "{\"timestamp\": 0.0, \"input_length\": 20, \"output_length\": 4, \"hash_ids\": [1, 2]}\n\
                 {\"timestamp\": 0.02, \"input_length\": 24, \"output_length\": 5, \"hash_ids\": [1, 3]}\n";
    let burst = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n\
                 1,ChatGPT,5,5,10,x\n2,GPT-4,9,6,15,x\n3,GPT-4,9,0,9,x\n";
    let table = "question,answer\nWhat is it?,It is a thing of beauty\n";
    let lines = "shall i compare thee\nto a summer day\nthou art more lovely\n";
    let run = |name: &str, path: &str, more: &[&str]| {
        let server = Script::new(wire::good).start();
        let data = ["--dataset-name", name, "--dataset-path", path];
        drop(bench(&server.url(), &data).args(more).run().exits(0));
        bodies(&server, "/v1/completions")
    };
    let path = file("sharegpt.json", &sharegpt.to_string());
    let sent = run("sharegpt", &path, &[]);
    assert_eq!(sent.len(), 2, "rows are used again");
    assert_eq!(sent[0]["prompt"], "Please say what is new in the world today");
    assert!(sent[0].get("ignore_eos").is_none(), "only for made-up prompts");
    assert_eq!(run("sharegpt", &path, &["--no-oversample"]).len(), 1);
    assert_eq!(run("sharegpt", &path, &["--sharegpt-output-len", "9"])[0]["max_tokens"], 9);
    let path = file("custom.jsonl", custom);
    let own = ["--custom-output-len", "-1", "--skip-chat-template", "--disable-shuffle"];
    let sent = run("custom", &path, &own);
    assert_eq!((&sent[0]["prompt"], &sent[0]["max_tokens"]), (&"Say one".into(), &3.into()));
    assert_eq!((&sent[1]["prompt"], &sent[1]["max_tokens"]), (&"Say two".into(), &5.into()));
    let sent = run("timed_trace", &file("trace.jsonl", trace), &[]);
    let ids = |i: usize| sent[i]["prompt"].as_array().unwrap().clone();
    assert_eq!((ids(0).len(), ids(1).len()), (20, 24));
    assert_eq!(ids(0)[..16], ids(1)[..16], "the first block is shared");
    assert_ne!(ids(0)[16..], ids(1)[16..20]);
    assert_eq!((&sent[1]["max_tokens"], &sent[1]["ignore_eos"]), (&5.into(), &true.into()));
    let sent = run("burstgpt", &file("burst.csv", burst), &[]);
    assert_eq!(sent[0]["max_tokens"], 6, "rows of GPT-4 with an answer alone");
    let sent = run("hf", &file("rows.csv", table), &["--skip-chat-template"]);
    assert_eq!(sent[0]["prompt"], "What is it?");
    let sizes =
        ["--sonnet-input-len", "60", "--sonnet-prefix-len", "20", "--sonnet-output-len", "7"];
    let sent = run("sonnet", &file("lines.txt", lines), &sizes);
    assert!(sent[0]["prompt"].as_str().unwrap().contains("shall i compare thee"), "{sent:?}");
    assert_eq!(sent[0]["max_tokens"], 7);
}

#[test]
fn prefixes_are_repeated() {
    let server = Script::new(wire::good).start();
    let sizes = [
        "--dataset-name",
        "prefix_repetition",
        "--prefix-repetition-num-prefixes",
        "2",
        "--prefix-repetition-prefix-len",
        "12",
        "--prefix-repetition-suffix-len",
        "4",
        "--prefix-repetition-output-len",
        "3",
        "--num-prompts",
        "5",
    ];
    drop(bench(&server.url(), &sizes).run().exits(0));
    let sent = bodies(&server, "/v1/completions");
    assert_eq!(sent.len(), 4, "as many for each prefix");
    let beginnings: std::collections::HashSet<&str> =
        sent.iter().map(|body| &body["prompt"].as_str().unwrap()[..12]).collect();
    assert_eq!(beginnings.len(), 2);
    let server = Script::new(wire::good).start();
    drop(bench(&server.url(), &["--random-prefix-len", "9"]).run().exits(0));
    let sent = bodies(&server, "/v1/completions");
    let prompt = |i: usize| sent[i]["prompt"].as_str().unwrap().to_owned();
    assert_eq!(prompt(0)[..12], prompt(1)[..12]);
    assert_ne!(prompt(0), prompt(1));
}

#[test]
fn flags_may_have_dots_and_come_from_a_file() {
    let server = Script::new(wire::good).start();
    let run = Rbench::new(["vllm", "bench", "serve"])
        .file(
            "run.yaml",
            "model: some/tiny\ntokenizer: rbench-bundled\nnum_prompts: 9\nrandom_input_len: 8\n",
        )
        .args(["--config", "run.yaml", "--base_url", &server.url(), "--num-prompts", "1"])
        .args(["--extra-body.chat_template_kwargs.enable_thinking", "false", "--top-k", "4"])
        .args(["--random-output-len", "4", "--temperature", "0.5"])
        .run();
    drop(run.exits(0));
    let sent = bodies(&server, "/v1/completions");
    assert_eq!(sent.len(), 1, "what is typed wins");
    assert_eq!(sent[0]["chat_template_kwargs"], json!({"enable_thinking": false}));
    assert_eq!((&sent[0]["top_k"], &sent[0]["temperature"]), (&4.into(), &0.5.into()));
}

#[test]
fn requests_have_ids() {
    let server = Script::new(wire::good).start();
    drop(bench(&server.url(), &["--request-id-prefix", "mine-"]).run().exits(0));
    let mut ids: Vec<String> = server
        .requests_to("/v1/completions")
        .iter()
        .filter_map(|request| request.header("x-request-id").map(str::to_owned))
        .collect();
    ids.sort();
    assert_eq!(ids, ["mine-0", "mine-1"]);
}

#[test]
fn what_is_sent_before_the_run_caches_nothing_of_it() {
    let server = Script::new(wire::good).start();
    let before = ["--num-warmups", "2", "--ready-check-timeout-sec", "9"];
    drop(bench(&server.url(), &before).run().exits(0));
    let sent = server.requests_to("/v1/completions");
    assert_eq!(sent.len(), 5, "the first request until it is answered, two warm-ups, the run");
    let prompts: std::collections::HashSet<String> = sent
        .iter()
        .map(|request| request.json()["prompt"].as_str().unwrap().chars().take(8).collect())
        .collect();
    assert!(prompts.len() > 3, "each has a beginning of its own: {prompts:?}");
}

#[test]
fn only_what_was_drafted_in_this_run_counts() {
    let scrapes = std::sync::atomic::AtomicU64::new(0);
    let metrics = move |_: &Request| {
        let n = 100 + 10 * scrapes.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let counter = |name: &str, labels: &str, value: u64| {
            format!("vllm:spec_decode_num_{name}_total{{engine=\"0\"{labels}}} {value}\n")
        };
        let text = [
            counter("drafts", "", n),
            counter("draft_tokens", "", 3 * n),
            counter("accepted_tokens", "", 2 * n),
            counter("accepted_tokens_per_pos", ",position=\"0\"", n),
            counter("accepted_tokens_per_pos", ",position=\"1\"", n / 10),
        ];
        Answer::body("200 OK", "text/plain", &text.concat())
    };
    let server = Script::new(wire::good).on("/metrics", metrics).start();
    let run = bench(&server.url(), &["--save-result", "--result-filename", "r.json"]);
    let run = run.run().exits(0);
    let result = read(&run, "r.json");
    assert_eq!(result["spec_decode_num_drafts"], 10);
    assert_eq!(result["spec_decode_draft_tokens"], 30);
    assert_eq!(result["spec_decode_acceptance_length"], 3.0);
    assert_eq!(result["spec_decode_per_position_acceptance_rates"], json!([1.0, 0.1]));
    assert!(run.stdout.contains("---------------Speculative Decoding---------------"));
    assert!(
        run.stdout.contains("  Position 1:                            10.00"),
        "{}",
        run.stdout
    );
}

#[test]
fn a_ramp_is_in_the_name_and_in_the_result() {
    let server = Script::new(wire::good).start();
    let ramp = [
        "--ramp-up-strategy",
        "linear",
        "--ramp-up-start-rps",
        "200",
        "--ramp-up-end-rps",
        "202",
        "--num-prompts",
        "3",
        "--save-result",
        "--burstiness",
        "inf",
        "--max-concurrency",
        "7",
    ];
    let run = bench(&server.url(), &ramp).run().exits(0);
    let (name, result) = self::result(&run);
    assert!(name.starts_with("openai-ramp-up-linear-200qps-202qps-concurrency7-tiny-"), "{name}");
    let rates: Vec<&Value> =
        result["rps_change_events"].as_array().unwrap().iter().map(|e| &e["rps"]).collect();
    assert_eq!(rates, [200.0, 201.0, 202.0]);
    assert_eq!(result["ramp_up_start_rps"], 200);
    assert_eq!((&result["burstiness"], &result["request_rate"]), (&"inf".into(), &"inf".into()));
}

#[test]
fn results_are_appended_and_written_for_the_dashboard_of_pytorch() {
    let server = Script::new(wire::good).start();
    let save = ["--save-result", "--append-result", "--result-filename", "r.json"];
    let run = bench(&server.url(), &save)
        .env("SAVE_TO_PYTORCH_BENCHMARK_FORMAT", "1")
        .file("r.json", "{\"completed\": 1}\n")
        .run()
        .exits(0);
    let text = std::fs::read_to_string(run.path("r.json")).unwrap();
    let objects: Vec<Value> = serde_json::Deserializer::from_str(&text)
        .into_iter::<Value>()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(objects.len(), 2);
    let records = read(&run, "r.pytorch.json");
    let names: Vec<&str> = records
        .as_array()
        .unwrap()
        .iter()
        .map(|record| record["metric"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(names.len(), 12);
    assert!(names.contains(&"p99_itl_ms") && names.contains(&"mean_ttft_ms"), "{names:?}");
    let first = &records[0];
    assert_eq!(first["model"]["name"], "some/tiny");
    assert_eq!(first["metric"]["benchmark_values"][0], objects[1][names[0]]);
    assert_eq!(first["metric"]["extra_info"]["completed"], 2);
    assert_eq!(first["benchmark"]["extra_info"]["args"]["num_prompts"], 2);
}

/// What `InferenceX` makes of a result: times in s, and interactivity.
fn processed(result: &Value) -> serde_json::Map<String, Value> {
    let mut row = serde_json::Map::new();
    for (key, value) in result.as_object().unwrap() {
        let Some(name) = key.strip_suffix("_ms") else { continue };
        let ms = value.as_f64().unwrap();
        row.insert(name.to_owned(), (ms / 1000.0).into());
        if let Some(of) = name.strip_suffix("_tpot") {
            row.insert(format!("{of}_intvty"), (1000.0 / ms).into());
        }
    }
    let number = |key: &str| result[key].as_f64().unwrap();
    row.insert("conc".into(), result["max_concurrency"].as_u64().unwrap().into());
    row.insert("tput_per_gpu".into(), (number("total_token_throughput") / 8.0).into());
    row.insert("output_tput_per_gpu".into(), (number("output_throughput") / 8.0).into());
    let input = number("total_token_throughput") - number("output_throughput");
    row.insert("input_tput_per_gpu".into(), (input / 8.0).into());
    row
}

#[test]
fn the_field_can_read_results() {
    let slowly = |request: &Request| {
        let events = wire::Wire::of(&request.path).events(wire::WORDS);
        events.into_iter().fold(Answer::events(), |all, event| all.chunk(event).pause(2)).end()
    };
    let server = Script::new(slowly).start();
    let run = bench(&server.url(), &["--save-result", "--max-concurrency", "1"])
        .args(["--percentile-metrics", "ttft,tpot,itl,e2el", "--metric-percentiles", "90,99,99.9"])
        .run()
        .exits(0);
    let (_, result) = self::result(&run);
    // InferenceX.
    let row = processed(&result);
    for of in ["ttft", "tpot", "e2el"] {
        for what in ["mean", "median", "p90", "p99", "p99.9"] {
            assert!(row[&format!("{what}_{of}")].as_f64().unwrap() >= 0.0, "{what} {of}");
        }
    }
    assert!(row["median_intvty"].as_f64().unwrap() > 0.0);
    // The nightly ingest and its aggregate: all runs have the same keys, and numbers where a median is taken.
    assert_eq!(result["failed"], 0);
    assert_eq!(result["completed"], result["num_prompts"]);
    for key in ["backend", "model_id", "tokenizer_id"] {
        assert!(result[key].is_string(), "{key}");
    }
    for key in ["max_concurrency", "total_token_throughput", "output_throughput"] {
        assert!(result[key].is_number(), "{key}");
    }
    let again = bench(&server.url(), &["--save-result", "--max-concurrency", "1"])
        .args(["--percentile-metrics", "ttft,tpot,itl,e2el", "--metric-percentiles", "90,99,99.9"])
        .run()
        .exits(0);
    let names =
        |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(names(&self::result(&again).1), names(&result));
    // The converters to Markdown and the comparison.
    for key in ["request_throughput", "total_input_tokens", "total_output_tokens", "duration"] {
        assert!(result[key].is_number(), "{key}");
    }
    for key in ["mean_ttft_ms", "median_tpot_ms", "p99_itl_ms", "std_ttft_ms"] {
        assert!(result[key].is_number(), "{key}");
    }
}

#[test]
fn flags_that_decide_nothing_are_named() {
    let server = Script::new(wire::good).start();
    let more = ["--sonnet-input-len", "9", "--hf_split", "test", "--tokenizer-mode", "slow"];
    let run = bench(&server.url(), &more).run().exits(0);
    for said in [
        "--sonnet-input-len has no effect with --dataset-name random",
        "--hf-split has no effect with --dataset-name random",
        "--tokenizer-mode decides nothing",
    ] {
        assert!(run.stderr.contains(said), "{said}: {}", run.stderr);
    }
    assert!(!run.stderr.contains("--random-input-len has no effect"), "{}", run.stderr);
}

#[test]
fn ids_of_requests_break_no_header() {
    // It is refused before any server is asked.
    let run =
        bench("http://127.0.0.1:9", &["--request-id-prefix", "a\r\nx-evil: 1"]).run().exits(2);
    assert!(run.stderr.contains("--request-id-prefix"), "{}", run.stderr);
}

#[test]
fn a_folder_of_speed_bench_has_a_file_for_each_subset() {
    let server = Script::new(wire::good).start();
    let row = |text: &str| {
        format!(
            "{{\"messages\":[{{\"role\":\"user\",\"content\":\"{text}\"}}],\"category\":\"c\"}}\n"
        )
    };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("qualitative.jsonl"), row("one").repeat(2)).unwrap();
    std::fs::write(folder.path().join("throughput_1k.jsonl"), row("two").repeat(2)).unwrap();
    let path = folder.path().to_str().unwrap();
    let more = ["--dataset-name", "speed_bench", "--dataset-path", path, "--skip-chat-template"];
    for subset in ["qualitative", "throughput_1k"] {
        let run = bench(&server.url(), &more).args(["--speed-bench-dataset-subset", subset]).run();
        assert!(
            run.exits(0).stdout.contains("Successful requests:                     2"),
            "{subset}"
        );
    }
    let requests = server.requests_to("/v1/completions");
    let prompts: Vec<Value> = requests.iter().map(|r| r.json()["prompt"].clone()).collect();
    let count = |word: &str| prompts.iter().filter(|p| p.as_str().unwrap().contains(word)).count();
    assert!(count("one") >= 2 && count("two") >= 2, "{prompts:?}");
}
