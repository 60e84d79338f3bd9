//! The server over real sockets.

use std::collections::HashSet;

use clap::{CommandFactory, Parser};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::*;

/// Timing options for answers at once.
const FAST: [&str; 4] = ["--ttft", "0", "--itl", "0"];

/// Timing options for answers that never get past their first event.
const STUCK: [&str; 4] = ["--ttft", "0", "--itl", "3600s"];

#[derive(Debug, Parser)]
struct Command {
    #[command(flatten)]
    opts: Opts,
}

fn opts(args: &[&str]) -> Opts {
    let args = ["mock", "--port", "0"].iter().chain(args);
    Command::try_parse_from(args).unwrap().opts
}

/// Starts a server whose words are ` a` to ` z`, and whose prompts have a token for each byte.
async fn start(args: &[&str]) -> SocketAddr {
    let words = ('a'..='z').map(|letter| format!(" {letter}")).collect();
    let vocabulary = Vocabulary { words, exact: true, count: Box::new(str::len) };
    let server = bind(&opts(args), vocabulary).await.unwrap();
    let address = server.address();
    tokio::spawn(server.serve());
    address
}

/// Sends a request and leaves its answer to be read.
async fn send(address: SocketAddr, head: &str, body: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let (request_line, headers) = head.split_once('\n').unwrap_or((head, ""));
    let length = body.len();
    let headers = headers.replace('\n', "\r\n");
    let request = format!(
        "{request_line} HTTP/1.1\r\nhost: mock\r\nconnection: close\r\n\
         content-length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    BufReader::new(stream)
}

/// Reads lines up to the first event of a stream.
async fn first_event(stream: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    while !line.starts_with("data: ") {
        line.clear();
        assert_ne!(stream.read_line(&mut line).await.unwrap(), 0, "the stream ended");
    }
    line
}

/// Sends a request and reads the status and the body of its answer.
async fn ask(address: SocketAddr, head: &str, body: &str) -> (u16, String) {
    let mut text = String::new();
    send(address, head, body).await.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    if !head.contains("transfer-encoding: chunked") {
        return (status, body.to_owned());
    }
    let (mut rest, mut joined) = (body, String::new());
    loop {
        let (size, after) = rest.split_once("\r\n").unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return (status, joined);
        }
        joined.push_str(&after[..size]);
        rest = &after[size + 2..];
    }
}

/// Asks for JSON with a `GET`, or with a `POST` if there is a body.
async fn object(address: SocketAddr, path: &str, body: Option<Value>) -> Value {
    let (status, text) = match body {
        Some(body) => ask(address, &format!("POST {path}"), &body.to_string()).await,
        None => ask(address, &format!("GET {path}"), "").await,
    };
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// Asks for a stream and splits it into its events, the last of which tells if it was `[DONE]`.
async fn events(address: SocketAddr, path: &str, body: Value) -> (Vec<Value>, bool) {
    let (status, text) = ask(address, &format!("POST {path}"), &body.to_string()).await;
    assert_eq!(status, 200, "{text}");
    let mut events: Vec<&str> =
        text.split_terminator("\n\n").map(|event| event.strip_prefix("data: ").unwrap()).collect();
    let done = events.last() == Some(&"[DONE]");
    if done {
        events.pop();
    }
    (events.into_iter().map(|event| serde_json::from_str(event).unwrap()).collect(), done)
}

/// Joins the texts at `pointer` of each event.
fn join(events: &[Value], pointer: &str) -> String {
    events.iter().filter_map(|event| event.pointer(pointer)?.as_str()).collect()
}

/// Tokens in a text of the server: each is a space and a letter.
fn n_tokens(text: &str) -> usize {
    assert!(text.split(' ').skip(1).all(|word| word.len() == 1), "{text}");
    text.len() / 2
}

#[test]
fn the_options_are_well_formed() {
    Command::command().debug_assert();
    let opts = opts(&[]);
    assert_eq!((opts.max_batch.get(), opts.tokens_per_event.get(), opts.seed), (256, 1, 42));
}

#[test]
fn a_wrong_option_is_refused_with_what_is_accepted() {
    let error = Command::try_parse_from(["mock", "--ttft", "soon"]).unwrap_err().to_string();
    assert!(error.contains("not a duration; accepted forms: 20ms"), "{error}");
    let error = Command::try_parse_from(["mock", "--accept-length", "nan"]).unwrap_err();
    assert!(error.to_string().contains("expected a number of zero or more"), "{error}");
}

#[test]
fn a_key_is_not_shown() {
    let shown = format!("{:?}", opts(&["--api-key", "secret"]));
    assert!(shown.contains("ApiKey(***)") && !shown.contains("secret"), "{shown}");
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let address = start(&[]).await;
    let taken = Opts { port: address.port(), ..opts(&[]) };
    let vocabulary = Vocabulary { words: vec![], exact: true, count: Box::new(str::len) };
    let error = bind(&taken, vocabulary).await.unwrap_err();
    assert_eq!(error.to_string(), format!("listen on {address}"));
}

#[tokio::test]
async fn the_server_tells_what_it_is() {
    let address = start(&["--model", "m", "--accept-length", "2.5"]).await;
    let models = object(address, "/v1/models", None).await;
    assert_eq!(models["data"][0]["id"], "m");
    assert_eq!(models["data"][0]["max_model_len"], 32768);
    for path in ["/model_info", "/get_model_info"] {
        let info = object(address, path, None).await;
        let expected = json!({
            "model_path": "m", "tokenizer_path": "rbench-bundled", "is_generation": true,
        });
        assert_eq!(info, expected);
    }
    for path in ["/server_info", "/get_server_info"] {
        let info = object(address, path, None).await;
        let state =
            json!({"effective_max_running_requests_per_dp": 256, "avg_spec_accept_length": 2.5});
        assert_eq!(info["internal_states"], json!([state]));
        assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(info["requests_served"], 0);
    }
    for path in ["/", "/health", "/health_generate"] {
        assert_eq!(ask(address, &format!("GET {path}"), "").await.0, 200, "{path}");
    }
    for path in ["/flush_cache", "/reset_prefix_cache", "/start_profile", "/stop_profile"] {
        assert_eq!(ask(address, &format!("POST {path}"), "").await.0, 200, "{path}");
    }
    let info = object(start(&[]).await, "/server_info", None).await;
    assert_eq!(info["internal_states"], json!([{"effective_max_running_requests_per_dp": 256}]));
}

#[tokio::test]
async fn generate_streams_the_text_so_far() {
    let address = start(&[&FAST[..], &["--tokens-per-event", "3"]].concat()).await;
    let body = json!({"text": "12345", "sampling_params": {"max_new_tokens": 8}, "stream": true});
    let (events, done) = events(address, "/generate", body).await;
    assert!(done);
    let counts: Vec<_> = events
        .iter()
        .map(|event| {
            let text = event["text"].as_str().unwrap();
            (n_tokens(text), event["meta_info"]["completion_tokens"].as_u64().unwrap())
        })
        .collect();
    assert_eq!(counts, [(3, 3), (6, 6), (8, 8)]);
    let last = &events[2];
    assert!(last["text"].as_str().unwrap().starts_with(events[1]["text"].as_str().unwrap()));
    assert_eq!(events[1]["meta_info"]["finish_reason"], Value::Null);
    assert_eq!(events[1]["meta_info"].get("e2e_latency"), None);
    assert_eq!(last["meta_info"]["finish_reason"], json!({"type": "length", "length": 8}));
    assert_eq!(last["meta_info"]["prompt_tokens"], 5);
    assert!(last["meta_info"]["e2e_latency"].as_f64().unwrap() > 0.0);
}

#[tokio::test]
async fn generate_answers_in_one_piece_by_default() {
    let address = start(&FAST).await;
    let answer = object(address, "/generate", Some(json!({"input_ids": [1, 2, 3]}))).await;
    assert_eq!(n_tokens(answer["text"].as_str().unwrap()), 128);
    assert_eq!(answer["meta_info"]["prompt_tokens"], 3);
    assert_eq!(answer["meta_info"]["completion_tokens"], 128);
}

#[tokio::test]
async fn completions_stream_and_count() {
    let address = start(&FAST).await;
    for path in ["/v1/completions", "/v1/models/model:predict"] {
        let body = json!({
            "prompt": "1234", "max_tokens": 5, "stream": true,
            "stream_options": {"include_usage": true},
        });
        let (events, done) = events(address, path, body).await;
        assert!(done);
        assert_eq!(events.len(), 6);
        assert_eq!(n_tokens(&join(&events, "/choices/0/text")), 5);
        assert_eq!(events[3]["choices"][0]["finish_reason"], Value::Null);
        assert_eq!(events[4]["choices"][0]["finish_reason"], "length");
        assert_eq!(events[5]["choices"], json!([]));
        let usage = json!({"prompt_tokens": 4, "completion_tokens": 5, "total_tokens": 9});
        assert_eq!(events[5]["usage"], usage);
    }
    let (events, _) = events(
        address,
        "/v1/completions",
        json!({
            "prompt": [1, 2], "max_tokens": 2, "stream": true,
            "stream_options": {"include_usage": true, "continuous_usage_stats": true},
        }),
    )
    .await;
    let counts: Vec<_> = events.iter().map(|event| &event["usage"]["completion_tokens"]).collect();
    assert_eq!(counts, [1, 2, 2]);
    let answer = object(address, "/v1/completions", Some(json!({"prompt": "1"}))).await;
    assert_eq!(n_tokens(answer["choices"][0]["text"].as_str().unwrap()), 16);
    assert_eq!(answer["usage"]["total_tokens"], 17);
}

#[tokio::test]
async fn several_completions_are_told_apart() {
    let address = start(&FAST).await;
    let extra = |mut body: Value, stream: bool| {
        body["stream"] = stream.into();
        body
    };
    let body = json!({"text": "12", "sampling_params": {"n": 3, "max_new_tokens": 4}});
    let (native, done) = events(address, "/generate", extra(body.clone(), true)).await;
    assert!(done && native.len() == 12);
    let ends = native.iter().filter(|event| !event["meta_info"]["finish_reason"].is_null());
    let mut ends: Vec<(u64, &str)> = ends
        .map(|event| (event["index"].as_u64().unwrap(), event["text"].as_str().unwrap()))
        .collect();
    ends.sort_unstable();
    assert_eq!(ends.iter().map(|&(index, _)| index).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(ends.iter().all(|(_, text)| n_tokens(text) == 4) && ends[0].1 != ends[1].1, "{ends:?}");
    let whole = object(address, "/generate", Some(extra(body, false))).await;
    assert_eq!(whole.as_array().unwrap().len(), 3);
    assert_eq!(whole[2]["meta_info"]["completion_tokens"], 4);

    let usage = json!({"include_usage": true, "continuous_usage_stats": true});
    let body = json!({
        "prompt": "12", "messages": [{"content": "12"}], "n": 2, "max_tokens": 3,
        "stream_options": usage,
    });
    for path in ["/v1/completions", "/v1/chat/completions", "/v1/models/model:predict"] {
        let (events, done) = events(address, path, extra(body.clone(), true)).await;
        let (last, events) = events.split_last().unwrap();
        // The usage of an event is of its choice, that of the end of all.
        for index in 0..2 {
            let counts: Vec<u64> = events
                .iter()
                .filter(|event| event["choices"][0]["index"] == index)
                .map(|event| event["usage"]["completion_tokens"].as_u64().unwrap())
                .collect();
            assert!(counts.is_sorted() && counts.last() == Some(&3), "{path}: {counts:?}");
        }
        let total = json!({"prompt_tokens": 2, "completion_tokens": 6, "total_tokens": 8});
        assert!(done && last["choices"] == json!([]) && last["usage"] == total, "{path}: {last}");
        let whole = object(address, path, Some(extra(body.clone(), false))).await;
        assert_eq!(whole["choices"].as_array().unwrap().len(), 2, "{path}");
        assert_eq!(whole["choices"][1]["index"], 1, "{path}");
        assert_eq!(whole["usage"], total, "{path}");
    }
    assert_eq!(object(address, "/server_info", None).await["requests_served"], 8);
}

#[tokio::test]
async fn chat_opens_with_the_role() {
    let address = start(&[&FAST[..], &["--reasoning-tokens", "2"]].concat()).await;
    let messages = json!([
        {"role": "system", "content": "12"},
        {"role": "user", "content": [{"type": "text", "text": "345"}]},
    ]);
    let body = json!({
        "messages": messages, "max_completion_tokens": 5, "stream": true,
        "stream_options": {"include_usage": true},
    });
    let (events, done) = events(address, "/v1/chat/completions", body).await;
    assert!(done);
    assert_eq!(events.len(), 7);
    assert_eq!(events[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    assert_eq!(n_tokens(&join(&events, "/choices/0/delta/reasoning_content")), 2);
    assert_eq!(n_tokens(&join(&events, "/choices/0/delta/content")), 3);
    assert_eq!(events[5]["choices"][0]["finish_reason"], "length");
    assert_eq!(events[6]["usage"]["prompt_tokens"], 5);
    assert_eq!(events[6]["usage"]["completion_tokens"], 5);

    let body = json!({"messages": messages, "max_tokens": 5});
    let answer = object(address, "/v1/chat/completions", Some(body)).await;
    let message = &answer["choices"][0]["message"];
    assert_eq!(n_tokens(message["reasoning_content"].as_str().unwrap()), 2);
    assert_eq!(n_tokens(message["content"].as_str().unwrap()), 3);
    assert_eq!(answer["usage"]["completion_tokens_details"]["reasoning_tokens"], 2);
}

#[tokio::test]
async fn embeddings_have_one_vector_for_each_input() {
    let address = start(&FAST).await;
    let answer = object(address, "/v1/embeddings", Some(json!({"input": ["12", "3"]}))).await;
    let data = answer["data"].as_array().unwrap();
    assert_eq!(data.len(), 2);
    assert_eq!(data[1]["index"], 1);
    assert_eq!(data[1]["embedding"].as_array().unwrap().len(), 8);
    assert_eq!(answer["usage"], json!({"prompt_tokens": 3, "total_tokens": 3}));
    assert_eq!(object(address, "/server_info", None).await["requests_served"], 1);
}

#[tokio::test]
async fn triton_streams_pieces_without_an_end_mark() {
    let address = start(&FAST).await;
    let body = json!({"text_input": "1", "max_tokens": 4});
    let (events, done) = events(address, "/v2/models/ensemble/generate_stream", body).await;
    assert!(!done);
    assert_eq!(events.len(), 4);
    assert_eq!(n_tokens(&join(&events, "/text_output")), 4);
}

#[tokio::test]
async fn what_cannot_be_served_is_a_json_error() {
    let address = start(&FAST).await;
    let cases = [
        ("GET /nowhere", "", 404, "not_found_error"),
        ("GET /generate", "", 404, "not_found_error"),
        ("POST /generate", "{", 400, "invalid_request_error"),
        ("POST /v1/completions", "{}", 400, "invalid_request_error"),
        ("POST /v1/completions", r#"{"prompt":"a","max_tokens":0}"#, 400, "invalid_request_error"),
        ("POST /v1/embeddings", "{}", 400, "invalid_request_error"),
    ];
    for (head, body, code, kind) in cases {
        let (status, text) = ask(address, head, body).await;
        let error: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(status, code, "{head}");
        assert_eq!(error["error"]["code"], code, "{head}");
        assert_eq!(error["error"]["type"], kind, "{head}");
        assert!(error["error"]["message"].is_string(), "{head}");
    }
    assert_eq!(object(address, "/server_info", None).await["requests_received"], 0);
}

#[tokio::test]
async fn a_key_guards_inference_and_models() {
    let address = start(&[&FAST[..], &["--api-key", "k"]].concat()).await;
    let body = r#"{"text":"a"}"#;
    for (head, body) in [("GET /v1/models", ""), ("POST /generate", body)] {
        for (header, status) in [
            ("", 401),
            ("authorization: Bearer wrong\n", 401),
            ("authorization: k\n", 401),
            ("authorization: Bearer k\n", 200),
        ] {
            let (found, text) = ask(address, &format!("{head}\n{header}"), body).await;
            assert_eq!(found, status, "{head} {header} {text}");
        }
    }
    assert_eq!(ask(address, "GET /health", "").await.0, 200);
}

#[tokio::test]
async fn answers_stop_early_unless_told_to_ignore_it() {
    let address = start(&[&FAST[..], &["--stop-after", "3"]].concat()).await;
    for (ignore_eos, max_tokens, expected, reason) in
        [(false, 9, 3, "stop"), (true, 9, 9, "length"), (false, 3, 3, "length")]
    {
        let body = json!({"prompt": "a", "max_tokens": max_tokens, "ignore_eos": ignore_eos});
        let answer = object(address, "/v1/completions", Some(body)).await;
        assert_eq!(answer["usage"]["completion_tokens"], expected);
        assert_eq!(answer["choices"][0]["finish_reason"], reason);
    }
    let body = json!({"text": "a", "sampling_params": {"ignore_eos": true}});
    let answer = object(address, "/generate", Some(body)).await;
    assert_eq!(answer["meta_info"]["completion_tokens"], 128);
}

#[tokio::test]
async fn a_request_waits_for_a_slot_and_a_lost_client_frees_it() {
    let address = start(&[&STUCK[..], &["--max-batch", "1"]].concat()).await;
    let (head, body) = ("POST /generate", r#"{"text":"a","stream":true}"#);
    let mut first = send(address, head, body).await;
    first_event(&mut first).await;
    let mut second = send(address, head, body).await;
    drop(first);
    first_event(&mut second).await;
    let info = object(address, "/server_info", None).await;
    assert_eq!(info["requests_received"], 2);
    assert_eq!(info["requests_served"], 0);
    assert_eq!(info["running_requests"], 1);
    assert_eq!(info["peak_running_requests"], 1);
}

#[tokio::test]
async fn requests_within_the_batch_run_together() {
    let address = start(&[&STUCK[..], &["--max-batch", "2"]].concat()).await;
    let (head, body) = ("POST /generate", r#"{"text":"a","stream":true}"#);
    let mut first = send(address, head, body).await;
    first_event(&mut first).await;
    let mut second = send(address, head, body).await;
    first_event(&mut second).await;
    assert_eq!(object(address, "/server_info", None).await["peak_running_requests"], 2);
}

#[tokio::test]
async fn many_requests_through_one_slot_are_all_served() {
    let address = start(&[&FAST[..], &["--max-batch", "1"]].concat()).await;
    let body = json!({"text": "a", "sampling_params": {"max_new_tokens": 3}, "stream": true});
    let tasks: Vec<_> =
        (0..20).map(|_| tokio::spawn(events(address, "/generate", body.clone()))).collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().0.len(), 3);
    }
    let info = object(address, "/server_info", None).await;
    assert_eq!(info["requests_served"], 20);
    assert_eq!(info["running_requests"], 0);
    assert_eq!(info["peak_running_requests"], 1);
}

#[tokio::test]
async fn the_same_seed_gives_the_same_answers() {
    let mut texts = Vec::new();
    for (seed, ttft) in [("1", "0"), ("1", "exponential:1us"), ("2", "0")] {
        let address = start(&["--seed", seed, "--ttft", ttft, "--itl", "0"]).await;
        for _ in 0..2 {
            let answer = object(address, "/generate", Some(json!({"text": "a"}))).await;
            texts.push(answer["text"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(texts[..2], texts[2..4]);
    assert_eq!(texts.iter().collect::<HashSet<_>>().len(), 4);
}

#[tokio::test]
async fn requests_are_recorded_without_their_keys() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bodies.jsonl");
    let address = start(&[&FAST[..], &["--bodies", path.to_str().unwrap()]].concat()).await;
    let head = "POST /v1/completions\nauthorization: Bearer secret\n";
    ask(address, head, "{\"prompt\":\n\"a\"}").await;
    ask(address, "POST /v1/embeddings", r#"{"input":"b"}"#).await;
    ask(address, "GET /v1/models", "").await;
    let lines: Vec<Value> = std::fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["path"], "/v1/completions");
    assert_eq!(lines[0]["headers"]["authorization"], "***");
    assert_eq!(lines[0]["headers"]["host"], "mock");
    assert_eq!(lines[0]["body"], json!({"prompt": "a"}));
    assert_eq!(lines[1]["body"], json!({"input": "b"}));
}
