//! What rbench sends: paths, heads and bodies, and what it keeps to itself.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use crate::support::rbench::{Rbench, Run};
use crate::support::server::{Answer, Refusing, Request, Script, Server};
use crate::support::wire;

/// The backends that can be used, and whether they can answer in one piece.
const BACKENDS: &[(&str, bool)] = &[
    ("sglang", true),
    ("sglang-native", true),
    ("sglang-oai", true),
    ("sglang-oai-chat", true),
    ("sglang-embedding", true),
    ("vllm", true),
    ("vllm-chat", true),
    ("vllm-embedding", true),
    ("lmdeploy", true),
    ("lmdeploy-chat", true),
    ("trt", false),
    ("truss", true),
];

/// A conversation whose question is the prompt, so that bodies do not hang on what is drawn.
const TALK: &str = r#"[{"conversations": [
    {"from": "human", "value": "What is the capital of \"Côte d'Ivoire\"?"},
    {"from": "gpt", "value": "It is Yamoussoukro, whatever people say."}
]}]"#;

/// One request with a known prompt.
fn one(backend: &str, server: &Server) -> Rbench {
    Rbench::load(backend, &server.url())
        .args(["--dataset-name", "sharegpt", "--dataset-path", "talk.json"])
        .args(["--sharegpt-output-len", "5", "--num-prompts", "1", "--model", "tiny"])
        .file("talk.json", TALK)
}

/// The only request that a run sends.
fn sent(backend: &str, flags: &[&str]) -> Request {
    let server = Script::new(wire::good).start();
    let _ = one(backend, &server).args(flags).run().exits(0).prints_a_table();
    let [request] = <[Request; 1]>::try_from(server.inference()).unwrap();
    request
}

fn check(cases: &[(&str, &[&str])], golden: &Expect) {
    let mut text = String::new();
    for (backend, flags) in cases {
        let request = sent(backend, flags);
        assert_eq!(request.header("content-type"), Some("application/json"));
        let flags = flags.join(" ");
        text += &format!("{backend}: {} {} {flags}", request.method, request.path);
        text = text.trim_end().to_owned() + "\n";
        text += &format!("  {}\n", request.body);
    }
    golden.assert_eq(&text);
}

#[test]
fn a_stream_is_asked_for() {
    let cases: Vec<(&str, &[&str])> = BACKENDS.iter().map(|&(name, _)| (name, &[][..])).collect();
    check(
        &cases,
        &expect![[r#"
        sglang: POST /generate
          {"text":"What is the capital of \"Côte d'Ivoire\"?","sampling_params":{"temperature":0.0,"max_new_tokens":5,"ignore_eos":true},"stream":true,"lora_path":null,"return_logprob":false,"return_routed_experts":false,"logprob_start_len":-1}
        sglang-native: POST /generate
          {"text":"What is the capital of \"Côte d'Ivoire\"?","sampling_params":{"temperature":0.0,"max_new_tokens":5,"ignore_eos":true},"stream":true,"lora_path":null,"return_logprob":false,"return_routed_experts":false,"logprob_start_len":-1}
        sglang-oai: POST /v1/completions
          {"model":"tiny","prompt":"What is the capital of \"Côte d'Ivoire\"?","best_of":1,"max_tokens":5,"stream":true,"temperature":0.0,"ignore_eos":true,"stream_options":{"include_usage":true}}
        sglang-oai-chat: POST /v1/chat/completions
          {"model":"tiny","messages":[{"role":"user","content":"What is the capital of \"Côte d'Ivoire\"?"}],"max_completion_tokens":5,"stream":true,"temperature":0.0,"ignore_eos":true,"stream_options":{"include_usage":true}}
        sglang-embedding: POST /v1/embeddings
          {"input":"What is the capital of \"Côte d'Ivoire\"?","model":"tiny"}
        vllm: POST /v1/completions
          {"model":"tiny","prompt":"What is the capital of \"Côte d'Ivoire\"?","best_of":1,"max_tokens":5,"stream":true,"temperature":0.0,"ignore_eos":true,"stream_options":{"include_usage":true}}
        vllm-chat: POST /v1/chat/completions
          {"model":"tiny","messages":[{"role":"user","content":"What is the capital of \"Côte d'Ivoire\"?"}],"max_completion_tokens":5,"stream":true,"temperature":0.0,"ignore_eos":true,"stream_options":{"include_usage":true}}
        vllm-embedding: POST /v1/embeddings
          {"input":"What is the capital of \"Côte d'Ivoire\"?","model":"tiny"}
        lmdeploy: POST /v1/completions
          {"model":"tiny","prompt":"What is the capital of \"Côte d'Ivoire\"?","best_of":1,"max_tokens":5,"stream":true,"temperature":0.0,"ignore_eos":true,"stream_options":{"include_usage":true}}
        lmdeploy-chat: POST /v1/chat/completions
          {"model":"tiny","messages":[{"role":"user","content":"What is the capital of \"Côte d'Ivoire\"?"}],"max_completion_tokens":5,"stream":true,"temperature":0.0,"ignore_eos":true,"stream_options":{"include_usage":true}}
        trt: POST /v2/models/ensemble/generate_stream
          {"accumulate_tokens":true,"text_input":"What is the capital of \"Côte d'Ivoire\"?","temperature":1e-6,"top_p":1.0,"max_tokens":5,"stream":true,"min_length":5,"end_id":1048576}
        truss: POST /v1/models/model:predict
          {"model":"tiny","prompt":"What is the capital of \"Côte d'Ivoire\"?","temperature":0.0,"best_of":1,"max_tokens":5,"stream":true,"ignore_eos":true}
    "#]],
    );
}

#[test]
fn a_whole_answer_is_asked_for() {
    let flags: &[&str] = &["--disable-stream"];
    let cases: Vec<(&str, &[&str])> =
        BACKENDS.iter().filter(|(_, whole)| *whole).map(|&(name, _)| (name, flags)).collect();
    check(
        &cases,
        &expect![[r#"
        sglang: POST /generate --disable-stream
          {"text":"What is the capital of \"Côte d'Ivoire\"?","sampling_params":{"temperature":0.0,"max_new_tokens":5,"ignore_eos":true},"stream":false,"lora_path":null,"return_logprob":false,"return_routed_experts":false,"logprob_start_len":-1}
        sglang-native: POST /generate --disable-stream
          {"text":"What is the capital of \"Côte d'Ivoire\"?","sampling_params":{"temperature":0.0,"max_new_tokens":5,"ignore_eos":true},"stream":false,"lora_path":null,"return_logprob":false,"return_routed_experts":false,"logprob_start_len":-1}
        sglang-oai: POST /v1/completions --disable-stream
          {"model":"tiny","prompt":"What is the capital of \"Côte d'Ivoire\"?","best_of":1,"max_tokens":5,"stream":false,"temperature":0.0,"ignore_eos":true}
        sglang-oai-chat: POST /v1/chat/completions --disable-stream
          {"model":"tiny","messages":[{"role":"user","content":"What is the capital of \"Côte d'Ivoire\"?"}],"max_completion_tokens":5,"stream":false,"temperature":0.0,"ignore_eos":true}
        sglang-embedding: POST /v1/embeddings --disable-stream
          {"input":"What is the capital of \"Côte d'Ivoire\"?","model":"tiny"}
        vllm: POST /v1/completions --disable-stream
          {"model":"tiny","prompt":"What is the capital of \"Côte d'Ivoire\"?","best_of":1,"max_tokens":5,"stream":false,"temperature":0.0,"ignore_eos":true}
        vllm-chat: POST /v1/chat/completions --disable-stream
          {"model":"tiny","messages":[{"role":"user","content":"What is the capital of \"Côte d'Ivoire\"?"}],"max_completion_tokens":5,"stream":false,"temperature":0.0,"ignore_eos":true}
        vllm-embedding: POST /v1/embeddings --disable-stream
          {"input":"What is the capital of \"Côte d'Ivoire\"?","model":"tiny"}
        lmdeploy: POST /v1/completions --disable-stream
          {"model":"tiny","prompt":"What is the capital of \"Côte d'Ivoire\"?","best_of":1,"max_tokens":5,"stream":false,"temperature":0.0,"ignore_eos":true}
        lmdeploy-chat: POST /v1/chat/completions --disable-stream
          {"model":"tiny","messages":[{"role":"user","content":"What is the capital of \"Côte d'Ivoire\"?"}],"max_completion_tokens":5,"stream":false,"temperature":0.0,"ignore_eos":true}
        truss: POST /v1/models/model:predict --disable-stream
          {"model":"tiny","prompt":"What is the capital of \"Côte d'Ivoire\"?","temperature":0.0,"best_of":1,"max_tokens":5,"stream":false,"ignore_eos":true}
    "#]],
    );
}

#[test]
fn generation_may_end_early() {
    let flags: &[&str] = &["--disable-ignore-eos"];
    let cases: Vec<(&str, &[&str])> =
        ["sglang", "vllm", "vllm-chat", "trt", "truss"].map(|name| (name, flags)).to_vec();
    check(
        &cases,
        &expect![[r#"
            sglang: POST /generate --disable-ignore-eos
              {"text":"What is the capital of \"Côte d'Ivoire\"?","sampling_params":{"temperature":0.0,"max_new_tokens":5,"ignore_eos":false},"stream":true,"lora_path":null,"return_logprob":false,"return_routed_experts":false,"logprob_start_len":-1}
            vllm: POST /v1/completions --disable-ignore-eos
              {"model":"tiny","prompt":"What is the capital of \"Côte d'Ivoire\"?","best_of":1,"max_tokens":5,"stream":true,"temperature":0.0,"stream_options":{"include_usage":true}}
            vllm-chat: POST /v1/chat/completions --disable-ignore-eos
              {"model":"tiny","messages":[{"role":"user","content":"What is the capital of \"Côte d'Ivoire\"?"}],"max_completion_tokens":5,"stream":true,"temperature":0.0,"stream_options":{"include_usage":true}}
            trt: POST /v2/models/ensemble/generate_stream --disable-ignore-eos
              {"accumulate_tokens":true,"text_input":"What is the capital of \"Côte d'Ivoire\"?","temperature":1e-6,"top_p":1.0,"max_tokens":5,"stream":true}
            truss: POST /v1/models/model:predict --disable-ignore-eos
              {"model":"tiny","prompt":"What is the capital of \"Côte d'Ivoire\"?","temperature":0.0,"best_of":1,"max_tokens":5,"stream":true}
        "#]],
    );
}

#[test]
fn keys_of_the_user_win() {
    let extra: &[&str] = &[
        "--extra-request-body",
        r#"{"temperature": 0.7, "max_tokens": 3, "top_p": 0.5, "nested": {"a": [1, null]}}"#,
    ];
    let sampling: &[&str] =
        &["--extra-request-body", r#"{"sampling_params": {"temperature": 0.5}, "priority": 2}"#];
    let no_stream: &[&str] = &["--extra-request-body", r#"{"stream": false}"#];
    let usage: &[&str] =
        &["--extra-request-body", r#"{"stream_options": {"continuous_usage_stats": true}}"#];
    let ends: &[&str] = &[
        "--disable-ignore-eos",
        "--extra-request-body",
        r#"{"min_length": 2, "ignore_eos": true}"#,
    ];
    check(
        &[
            ("sglang", sampling),
            ("vllm", extra),
            ("vllm", no_stream),
            ("vllm-chat", extra),
            ("vllm-chat", usage),
            ("vllm-embedding", extra),
            ("vllm-chat", ends),
            ("trt", ends),
            ("truss", extra),
        ],
        &expect![[r#"
            sglang: POST /generate --extra-request-body {"sampling_params": {"temperature": 0.5}, "priority": 2}
              {"text":"What is the capital of \"Côte d'Ivoire\"?","sampling_params":{"temperature":0.5},"stream":true,"lora_path":null,"return_logprob":false,"return_routed_experts":false,"logprob_start_len":-1,"priority":2}
            vllm: POST /v1/completions --extra-request-body {"temperature": 0.7, "max_tokens": 3, "top_p": 0.5, "nested": {"a": [1, null]}}
              {"model":"tiny","prompt":"What is the capital of \"Côte d'Ivoire\"?","best_of":1,"max_tokens":3,"stream":true,"ignore_eos":true,"stream_options":{"include_usage":true},"temperature":0.7,"top_p":0.5,"nested":{"a":[1,null]}}
            vllm: POST /v1/completions --extra-request-body {"stream": false}
              {"model":"tiny","prompt":"What is the capital of \"Côte d'Ivoire\"?","best_of":1,"max_tokens":5,"stream":false,"temperature":0.0,"ignore_eos":true}
            vllm-chat: POST /v1/chat/completions --extra-request-body {"temperature": 0.7, "max_tokens": 3, "top_p": 0.5, "nested": {"a": [1, null]}}
              {"model":"tiny","messages":[{"role":"user","content":"What is the capital of \"Côte d'Ivoire\"?"}],"max_completion_tokens":5,"stream":true,"ignore_eos":true,"stream_options":{"include_usage":true},"temperature":0.7,"max_tokens":3,"top_p":0.5,"nested":{"a":[1,null]}}
            vllm-chat: POST /v1/chat/completions --extra-request-body {"stream_options": {"continuous_usage_stats": true}}
              {"model":"tiny","messages":[{"role":"user","content":"What is the capital of \"Côte d'Ivoire\"?"}],"max_completion_tokens":5,"stream":true,"temperature":0.0,"ignore_eos":true,"stream_options":{"continuous_usage_stats":true}}
            vllm-embedding: POST /v1/embeddings --extra-request-body {"temperature": 0.7, "max_tokens": 3, "top_p": 0.5, "nested": {"a": [1, null]}}
              {"input":"What is the capital of \"Côte d'Ivoire\"?","model":"tiny","temperature":0.7,"max_tokens":3,"top_p":0.5,"nested":{"a":[1,null]}}
            vllm-chat: POST /v1/chat/completions --disable-ignore-eos --extra-request-body {"min_length": 2, "ignore_eos": true}
              {"model":"tiny","messages":[{"role":"user","content":"What is the capital of \"Côte d'Ivoire\"?"}],"max_completion_tokens":5,"stream":true,"temperature":0.0,"stream_options":{"include_usage":true},"min_length":2,"ignore_eos":true}
            trt: POST /v2/models/ensemble/generate_stream --disable-ignore-eos --extra-request-body {"min_length": 2, "ignore_eos": true}
              {"accumulate_tokens":true,"text_input":"What is the capital of \"Côte d'Ivoire\"?","temperature":1e-6,"top_p":1.0,"max_tokens":5,"stream":true,"min_length":2,"ignore_eos":true}
            truss: POST /v1/models/model:predict --extra-request-body {"temperature": 0.7, "max_tokens": 3, "top_p": 0.5, "nested": {"a": [1, null]}}
              {"model":"tiny","prompt":"What is the capital of \"Côte d'Ivoire\"?","temperature":0.7,"best_of":1,"max_tokens":3,"stream":true,"ignore_eos":true,"top_p":0.5,"nested":{"a":[1,null]}}
        "#]],
    );
}

#[test]
fn names_of_models() {
    for backend in ["vllm", "vllm-chat", "vllm-embedding", "truss"] {
        assert_eq!(sent(backend, &["--model", "m"]).json()["model"], "m", "{backend}");
        let flags = &["--model", "m", "--served-model-name", "n"];
        assert_eq!(sent(backend, flags).json()["model"], "n", "{backend}");
    }
}

#[test]
fn prompts_as_token_ids() {
    let server = Script::new(wire::good).start();
    let _ = Rbench::load("sglang", &server.url()).arg("--tokenize-prompt").run().exits(0);
    for request in server.inference() {
        let body = request.json();
        let ids = body["input_ids"].as_array().unwrap();
        assert!(ids.len() == 8 && ids.iter().all(Value::is_u64), "{body}");
        assert!(body.get("text").is_none(), "{body}");
    }
}

#[test]
fn heads_of_requests() {
    struct Case {
        env: &'static [(&'static str, &'static str)],
        flags: &'static [&'static str],
        /// `Authorization` of the load.
        load: Option<&'static str>,
        /// `Authorization` of the calls around it.
        control: Option<&'static str>,
    }
    const BEARER: (&str, &str) = ("OPENAI_API_KEY", "sk-1");
    const PLAIN: (&str, &str) = ("API_KEY", "Token 2");
    let cases = [
        Case { env: &[], flags: &[], load: None, control: None },
        Case {
            env: &[BEARER],
            flags: &[],
            load: Some("Bearer sk-1"),
            control: Some("Bearer sk-1"),
        },
        Case { env: &[PLAIN], flags: &[], load: Some("Token 2"), control: Some("Token 2") },
        Case {
            env: &[BEARER, PLAIN],
            flags: &[],
            load: Some("Bearer sk-1"),
            control: Some("Bearer sk-1"),
        },
        Case {
            env: &[("OPENAI_API_KEY", ""), PLAIN],
            flags: &[],
            load: Some("Token 2"),
            control: Some("Token 2"),
        },
        Case {
            env: &[BEARER],
            flags: &["--header", "authorization=Basic=3=", "x-a=1"],
            load: Some("Basic=3="),
            control: Some("Bearer sk-1"),
        },
        Case {
            env: &[],
            flags: &["--header", "x-a=0", "--header", "x-a=1", "Content-Type=application/json"],
            load: None,
            control: None,
        },
    ];
    for Case { env, flags, load, control } in cases {
        // SGLang's client sends none of them to trt.
        for backend in ["sglang", "vllm-chat", "trt"] {
            let server = Script::new(wire::good).start();
            let run =
                env.iter().fold(one(backend, &server), |run, (name, value)| run.env(name, value));
            let _ = run.args(flags).run().exits(0);
            let what = format!("{backend} {env:?} {flags:?}");
            let [request] = <[Request; 1]>::try_from(server.inference()).unwrap();
            assert_eq!(request.header("authorization"), load, "{what}");
            assert_eq!(request.header("content-type"), Some("application/json"), "{what}");
            let wanted = (!flags.is_empty()).then_some("1");
            assert_eq!(request.header("x-a"), wanted, "{what}");
            let [info] = <[Request; 1]>::try_from(server.requests_to("/server_info")).unwrap();
            assert_eq!(info.header("authorization"), control, "{what}");
            assert_eq!(info.header("x-a"), None, "{what}");
            // Whatever asks for compression measures how fast it is undone.
            assert_eq!(request.header("accept-encoding"), None, "{what}");
        }
    }
}

#[test]
fn slashes_at_the_end_of_the_url_are_not_doubled() {
    let prefixed = Script::new(|request| {
        assert_eq!(request.path, "/proxy/generate");
        Answer::stream(wire::Wire::Native.events(wire::WORDS))
    })
    .on("/proxy/v1/models", |_| Answer::json(&json!({"data": [{"id": "tiny"}]})))
    .on("/proxy/server_info", |_| Answer::not_found())
    .start();
    let _ = Rbench::load("sglang", &format!("{}/proxy/", prefixed.url())).run().exits(0);
    for slashes in ["", "/", "//"] {
        let server = Script::new(wire::good).start();
        let run = Rbench::load("sglang", &format!("{}{slashes}", server.url())).run();
        let _ = run.exits(0);
        let mut calls = server.calls();
        calls.dedup();
        assert_eq!(calls, ["GET /v1/models", "POST /generate", "GET /server_info"]);
    }
}

#[test]
fn hosts_are_names_and_addresses_of_both_kinds() {
    let server = Script::new(wire::good).start();
    let port = server.port().to_string();
    for host in ["127.0.0.1", "localhost"] {
        let run = Rbench::aimed(["--host", host, "--port", &port]).run().exits(0);
        assert_eq!(run.result()["rbench"]["config"]["base_url"], format!("http://{host}:{port}"));
    }
    // Some build machines have no IPv6.
    let Some(server) = Script::new(wire::good).start_v6() else { return };
    let port = server.port().to_string();
    for host in ["::1", "[::1]"] {
        let run = Rbench::aimed(["--host", host, "--port", &port]).run().exits(0);
        assert_eq!(run.result()["rbench"]["config"]["base_url"], format!("http://[::1]:{port}"));
    }
    assert_eq!(server.inference()[0].header("host"), Some(&*format!("[::1]:{port}")));
}

/// Everything that a run has shown, its result file included.
fn shown(run: &Run) -> String {
    let file = std::fs::read_to_string(run.path("out.jsonl")).unwrap_or_default();
    [&*run.stdout, &run.stderr, &file].concat()
}

#[test]
fn user_names_and_passwords_of_the_url_are_sent_and_not_shown() {
    let with_user = |url: &str| url.replace("http://", "http://alice:s3cr3t@");
    let hidden = |run: &Run| {
        let shown = shown(run);
        assert!(!shown.contains("s3cr3t") && !shown.contains("alice"), "{shown}");
        assert!(shown.contains("***@127.0.0.1"), "{shown}");
    };

    let server = Script::new(wire::good).start();
    let run = Rbench::load("sglang", &with_user(&server.url())).run().exits(0);
    hidden(&run);
    for path in ["/v1/models", "/generate", "/server_info"] {
        let request = &server.requests_to(path)[0];
        assert_eq!(request.header("authorization"), Some("Basic YWxpY2U6czNjcjN0"), "{path}");
    }

    let failing = Script::new(|_| Answer::new().close()).start();
    hidden(&Rbench::load("sglang", &with_user(&failing.url())).run().exits(1));

    let refusing = Refusing::new();
    let run = Rbench::load("sglang", &with_user(&refusing.url()))
        .args(["--ready-check-timeout-sec", "1"])
        .run();
    hidden(&run.exits(1));
    let run = Rbench::load("sglang", &with_user(&refusing.url()))
        .args(["--ready-check-timeout-sec", "0", "--model", "tiny"])
        .run();
    hidden(&run.exits(1));
}

#[test]
fn keys_are_shown_nowhere() {
    for status in ["200 OK", "401 Unauthorized", "500 Internal Server Error"] {
        let server = Script::new(move |request| match status {
            "200 OK" => wire::good(request),
            _ => Answer::body(status, "text/plain", "no"),
        })
        .start();
        for warmup in ["0", "1"] {
            let run = Rbench::load("vllm", &server.url())
                .args(["--header", "X-Key=hunter2", "X-Other=hunter3"])
                .args(["--warmup-requests", warmup])
                .env("OPENAI_API_KEY", "sk-hunter4")
                .env("API_KEY", "hunter5")
                .env("HF_TOKEN", "hf_hunter6")
                .run();
            assert_eq!(run.code, Some(i32::from(status != "200 OK")), "{run:#?}");
            assert!(!shown(&run).contains("hunter"), "{run:#?}");
        }
    }
    // A word that is no header may be a key with the form mistyped.
    let run = Rbench::aimed(["--header", "X-Key hunter2"]).run().exits(2);
    assert!(!shown(&run).contains("hunter"), "{run:#?}");
    // Keys that no header can hold.
    for (name, key) in [("OPENAI_API_KEY", "hunter\n2"), ("API_KEY", "hunter\u{7f}2")] {
        let run = Rbench::aimed([]).env(name, key).run().exits(2).says(&[name]);
        assert!(!shown(&run).contains("hunter"), "{run:#?}");
    }
}
