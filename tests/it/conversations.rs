//! Conversations of several rounds, and the times of traces.

use serde_json::{Value, json};

use crate::support::rbench::Rbench;
use crate::support::server::{Answer, Request, Script};
use crate::support::wire::Wire;

/// Two conversations: one of three rounds, one of one.
fn trace() -> String {
    let user = |text: &str| json!({"role": "user", "content": text});
    let round = |text: &str| json!({"messages": [user(text)]});
    json!({"conversations": [[round("one"), round("two"), round("three")], [round("alone")]]})
        .to_string()
}

fn run(backend: &str, url: &str) -> Rbench {
    Rbench::load(backend, url)
        .file("trace.json", trace())
        .args(["--dataset-name", "agentic-trace", "--dataset-path", "trace.json"])
        .args(["--num-prompts", "2", "--sharegpt-output-len", "4"])
}

fn last_content(request: &Request) -> String {
    let body = request.json();
    let last = body["messages"].as_array().unwrap().last().unwrap().clone();
    last["content"].as_str().unwrap().to_owned()
}

/// Messages of the request whose last one says `text`.
fn messages(requests: &[Request], text: &str) -> Vec<Value> {
    let request = requests.iter().find(|request| last_content(request) == text).unwrap();
    request.json()["messages"].as_array().unwrap().clone()
}

#[test]
fn each_round_carries_the_real_answers_before_it() {
    let server = Script::new(|request| {
        let answer = format!("re {}", last_content(request));
        Answer::stream(Wire::Chat.events(&[&answer]))
    })
    .start();
    let run = run("vllm-chat", &server.url()).run().exits(0);
    let requests = server.inference();
    assert_eq!(requests.len(), 4);
    let told: Vec<(String, String)> = messages(&requests, "three")
        .iter()
        .map(|m| (m["role"].as_str().unwrap().into(), m["content"].as_str().unwrap().into()))
        .collect();
    let want = [
        ("user", "one"),
        ("assistant", "re one"),
        ("user", "two"),
        ("assistant", "re two"),
        ("user", "three"),
    ];
    assert_eq!(told, want.map(|(role, text)| (role.to_owned(), text.to_owned())));
    assert_eq!(messages(&requests, "alone").len(), 1);
    let result = run.result();
    assert_eq!(result["completed"], 4);
    // A round is due when the one before it has ended.
    let [due, sent, done] =
        ["due_s", "sent_s", "done_s"].map(|key| result["rbench"][key].as_array().unwrap().clone());
    assert_eq!(due[0], 0.0);
    for round in 1..3 {
        assert_eq!(due[round], done[round - 1], "{result:#}");
        assert!(sent[round].as_f64() >= due[round].as_f64(), "{result:#}");
    }
    assert_eq!(due[3], 0.0);
}

#[test]
fn a_round_that_failed_is_followed_by_the_next_one() {
    let server = Script::new(|request| match last_content(request).as_str() {
        "two" => Answer::body("500 Internal Server Error", "text/plain", "worker died"),
        text => Answer::stream(Wire::Chat.events(&[text])),
    })
    .start();
    let run = run("sglang-oai-chat", &server.url()).run().exits(0);
    let requests = server.inference();
    assert_eq!(requests.len(), 4);
    assert_eq!(messages(&requests, "three")[3], json!({"role": "assistant", "content": ""}));
    let result = run.result();
    assert_eq!((&result["completed"], &result["output_lens"][1]), (&json!(3), &json!(0)));
}

#[test]
fn endpoints_without_messages_are_sent_the_text_of_the_template() {
    let server = Script::new(|_| Answer::stream(Wire::Native.events(&["yes"]))).start();
    let _ = run("sglang", &server.url()).run().exits(0);
    let texts: Vec<String> = server
        .inference()
        .iter()
        .map(|request| request.json()["text"].as_str().unwrap().to_owned())
        .collect();
    let last = texts.iter().find(|text| text.contains("three")).unwrap();
    let order = ["<|user|>", "one", "<|assistant|>", "yes", "two", "yes", "three", "<|assistant|>"];
    let mut rest = last.as_str();
    for part in order {
        let at = rest.find(part).unwrap_or_else(|| panic!("{part} in {last:?}"));
        rest = &rest[at + part.len()..];
    }
}

#[test]
fn embeddings_have_no_conversations() {
    let server = Script::control_only().start();
    let _ = run("vllm-embedding", &server.url())
        .run()
        .exits(2)
        .says(&["agentic-trace", "vllm-embedding", "vllm-chat"])
        .prints_nothing();
}

#[test]
fn a_trace_is_replayed_at_its_own_times() {
    let line = |ms: u64| json!({"timestamp": ms, "hash_ids": [7], "output_length": 3}).to_string();
    let lines = [5000, 4000, 4200].map(line).join("\n");
    let server = Script::new(|_| Answer::stream(Wire::Completions.events(&["yes"]))).start();
    let run = Rbench::load("vllm", &server.url())
        .file("trace.jsonl", lines)
        .args(["--dataset-name", "mooncake", "--dataset-path", "trace.jsonl"])
        .args(["--mooncake-slowdown-factor", "0.1"])
        .run()
        .exits(0);
    assert_eq!(run.row("Traffic request rate:"), Some("trace"));
    let result = run.result();
    assert_eq!(result["request_rate"], "trace");
    assert_eq!(result["rbench"]["due_s"], json!([0.0, 0.02, 0.1]));
}

#[test]
fn datasets_without_times_can_not_be_replayed() {
    let server = Script::control_only().start();
    let _ = Rbench::load("vllm", &server.url())
        .arg("--use-trace-timestamps")
        .run()
        .exits(2)
        .says(&["--use-trace-timestamps", "random-ids"])
        .prints_nothing();
}
