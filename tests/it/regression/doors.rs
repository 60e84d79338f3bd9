//! What leaves the process: keys in it, and characters that steer a terminal.

use std::os::unix::ffi::OsStrExt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::support::rbench::{Rbench, Run};
use crate::support::server::{Answer, Request, Script};
use crate::support::wire::{self, DONE, WORDS, Wire, event};

/// A key with characters that encoders escape.
const KEY: &str = "Sk/of=the&test+1<2>~x";
/// A password of a pair in a header, and the value of a cookie.
const PASSWORD: &str = "p@ss:of/the-test-2";
const COOKIE: &str = "c00kie/of=the-test-3";

/// `text` as encoders write it.
fn encoded(text: &str) -> Vec<String> {
    let each = |encode: &dyn Fn(char) -> String| text.chars().map(encode).collect::<String>();
    let special = |c: char| !c.is_ascii_alphanumeric();
    let percent = each(&|c| if special(c) { format!("%{:02X}", u32::from(c)) } else { c.into() });
    let html = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let unicode = each(&|c| if special(c) { format!("\\u{:04x}", u32::from(c)) } else { c.into() });
    vec![
        text.to_owned(),
        text.replace('/', "\\/"),
        text.replace('=', "\\u003d").replace('&', "\\u0026").replace('<', "\\u003C"),
        unicode.replace('\\', "\\\\"),
        unicode,
        percent.to_lowercase(),
        percent.replace('%', "%25"),
        text.replace('/', "%2F").replace('&', "%26"),
        percent,
        html.replace('/', "&#x2F;").replace('=', "&#61;"),
        html,
        STANDARD.encode(text),
        STANDARD.encode(format!("Bearer {text}")),
        URL_SAFE_NO_PAD.encode(format!("x{text}y")),
    ]
}

/// All secrets in all encodings, with blanks between.
fn said() -> String {
    [KEY, PASSWORD, COOKIE].into_iter().flat_map(encoded).collect::<Vec<_>>().join(" ")
}

/// Everything that a run wrote, with the name of each place.
fn written(run: &Run) -> Vec<(String, String)> {
    let mut places =
        vec![("stdout".to_owned(), run.stdout.clone()), ("stderr".to_owned(), run.stderr.clone())];
    for file in run.files() {
        let path = run.path(&file);
        if path.is_file() {
            places
                .push((file, String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()));
        }
    }
    places
}

/// `text` at every place where a server can put one into a stream of `/generate`.
fn native(text: &str, closing: bool) -> Value {
    json!({
        "text": text,
        "meta_info": {
            "id": text,
            "finish_reason": if closing { json!({"type": "stop", "matched": text}) } else { Value::Null },
            "prompt_tokens": 8, "completion_tokens": 4, "cached_tokens": 4, "weight_version": text,
            "cached_tokens_details": {"device": 1, "host": 1, "storage": 2, "storage_backend": text},
        },
        text: text,
    })
}

/// A server that says `text` in every field of every answer.
fn parrot(text: &str) -> Script {
    let said = text.to_owned();
    let again = said.clone();
    let info = said.clone();
    let other = said.clone();
    let answer = move |request: &Request| {
        let wire = Wire::of(&request.path);
        let said = said.as_str();
        let header = said.chars().filter(|c| (' '..='~').contains(c)).collect::<String>();
        match request.nth {
            0 => Answer::body("401 Unauthorized", "text/plain", said),
            1 => Answer::body(
                "422 No",
                "application/json",
                &json!({"error": {"message": said, "type": said}}).to_string(),
            ),
            2 => Answer::stream([event(
                &json!({"error": {"message": said, "type": said, "code": said}}),
            )]),
            3 => Answer::stream([format!("data: {}\n\n", said.replace(['\n', '\r'], " "))]),
            4 => Answer::head(
                "302 Found",
                &[&format!("location: http://h/{header}"), "content-length: 0"],
            ),
            5 => Answer::head(
                "200 OK",
                &[&format!("content-encoding: {header}"), "content-length: 0"],
            ),
            _ if request.path == "/generate" => Answer::stream([
                event(&native(said, false)),
                event(&native(said, true)),
                DONE.to_owned(),
            ]),
            _ => Answer::stream([
                event(&wire.token(&[said, " two"], 0)),
                event(&wire.closing(WORDS)[0]),
                DONE.to_owned(),
            ]),
        }
    };
    Script::new(answer)
        .whatever()
        .on("/v1/models", move |_| {
            let said = again.as_str();
            Answer::json(
                &json!({"data": [{"id": said, "root": said, "owned_by": said, said: said}]}),
            )
        })
        .on("/model_info", move |_| {
            Answer::json(&json!({"model_path": other, "tokenizer_path": other}))
        })
        .on("/server_info", move |_| {
            let said = info.as_str();
            Answer::json(&json!({"said": said, said: [said], "internal_states": [{"said": said}]}))
        })
}

fn run(backend: &str, script: Script, words: &[&str]) -> Run {
    let server = script.start();
    Rbench::plain_load(backend, &server.url())
        .env("OPENAI_API_KEY", KEY)
        .args(["--header", &format!("X-Basic=Basic {}", STANDARD.encode(format!("me:{PASSWORD}")))])
        .args(["--header", &format!("Cookie=theme=dark; session={COOKIE}")])
        .args([
            "--num-prompts",
            "8",
            "--max-concurrency",
            "1",
            "--print-requests",
            "--cache-report",
        ])
        .args(["--records", "records.jsonl", "--failed-file", "failed.jsonl", "--tag", KEY])
        .args(["--output-details", "--plot-throughput"])
        .args(words)
        .run()
}

#[test]
fn a_key_leaves_in_no_field_and_no_encoding() {
    let text = said();
    let secrets: Vec<String> = [KEY, PASSWORD, COOKIE].into_iter().flat_map(encoded).collect();
    // What of base64 depends on its neighbours may be left.
    let core = |secret: &str| secret.get(2..secret.len() - 4).unwrap_or(secret).to_owned();
    let cores: Vec<String> = secrets.iter().map(|secret| core(secret)).collect();
    for backend in ["sglang", "sglang-oai-chat", "vllm"] {
        let run = run(backend, parrot(&text), &[]).exits(0);
        for (place, text) in written(&run) {
            for secret in &cores {
                assert!(!text.contains(secret), "{backend}: {place} has {secret}: {text}");
            }
            // What JSON escapes once more.
            let once: String = text.replace("\\\\", "\\").replace("\\\"", "\"");
            assert!(
                cores.iter().all(|secret| !once.contains(secret)),
                "{backend}: {place}: {once}"
            );
        }
        let lines = std::fs::read_to_string(run.path("records.jsonl")).unwrap();
        for line in lines.lines() {
            assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
        }
        let result = run.result();
        assert_eq!(result["completed"], 2, "{result:#}");
        assert!(result["generated_texts"][7].as_str().unwrap().contains("***"), "{result:#}");
    }
}

#[test]
fn every_field_of_records_headers_and_reports_passes_the_door() {
    // Fields are filled by their names in the files themselves, so that a new one is among them.
    let run = run("sglang", parrot("plain words"), &[]).exits(0);
    for file in ["records.jsonl", "failed.jsonl", "out.jsonl"] {
        let text = std::fs::read_to_string(run.path(file)).unwrap();
        for line in text.lines() {
            let mut value: Value = serde_json::from_str(line).unwrap();
            fill(&mut value);
            let mut line = format!("{value}\n").into_bytes();
            // The secrets of this process are those of this test alone.
            let mut secrets = rbench::secrets::Collected::default();
            secrets.key(KEY);
            rbench::output::door::keep_secret(&secrets.done());
            rbench::output::door::json(&mut line, 0);
            let line = String::from_utf8(line).unwrap();
            assert!(!line.contains("of=the"), "{file}: {line}");
            assert!(serde_json::from_str::<Value>(&line).is_ok(), "{file}: {line}");
        }
    }
}

fn fill(value: &mut Value) {
    match value {
        Value::String(text) => *text = format!("a {KEY} b"),
        Value::Array(items) => items.iter_mut().for_each(fill),
        Value::Object(map) => map.values_mut().for_each(fill),
        _ => {}
    }
}

/// What a server says to clear the screen, and to print a line of its own.
const EVIL: &str = "x\u{1b}[2J\u{1b}]0;t\u{7}\r\nClient: not the bottleneck\u{9b}31m\u{85}\u{7f}\u{202e}tail\u{2066}\u{200f}\u{2028}\0end";

#[test]
fn what_a_server_says_steers_no_terminal_and_forges_no_line() {
    let check = |what: &str, run: &Run| {
        for (place, text) in written(run) {
            let steers = |c: char| {
                (c.is_control() && c != '\n')
                    || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
            };
            let found: Vec<char> = text.chars().filter(|c| steers(*c)).collect();
            assert!(found.is_empty(), "{what}: {place} has {found:?}: {text}");
            let forged = text.lines().find(|line| line.starts_with("Client: not the bottleneck"));
            // The line of rbench itself goes on with blanks before its value.
            assert!(forged.is_none(), "{what}: {place}: {text}");
        }
    };
    for backend in ["sglang", "sglang-oai-chat", "vllm"] {
        let run = run(backend, parrot(EVIL), &[]).exits(0);
        assert!(run.stderr.contains("Client: not the bottleneck"), "{run:#?}");
        check(backend, &run);
        if backend == "sglang" {
            assert!(run.stdout.contains("Storage (x\\u001b[2J"), "{run:#?}");
            let result = run.result();
            assert_eq!(result["generated_texts"][7], EVIL, "escapes of JSON lose nothing");
        }
        for line in run.stderr.lines().filter(|line| line.starts_with('{')) {
            assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
        }
    }
    let refusal = |_: &Request| Answer::body("403 Forbidden", "text/plain", EVIL);
    check(
        "a warm-up",
        &run("vllm", Script::new(refusal).whatever(), &["--warmup-requests", "1"]).exits(1),
    );
    check(
        "a flush",
        &run(
            "sglang",
            Script::new(wire::good).whatever().on("/flush_cache", refusal),
            &["--flush-cache"],
        )
        .exits(1),
    );
    // A tokenizer that a server names and nobody has.
    let script = Script::new(wire::good)
        .whatever()
        .on("/model_info", |_| Answer::json(&json!({"tokenizer_path": EVIL, "model_path": EVIL})));
    let server = script.start();
    let found =
        Rbench::new(["serve", "--base-url", &server.url(), "--num-prompts", "1"]).run().exits(1);
    check("a tokenizer", &found);
    let launched =
        Rbench::new(["serve", "--backend", "vllm", "--port", "9", "--host", "127.0.0.1"])
            .args([
                "--launch",
                "printf 'a 10%%\\r a 90%%\\nx\\033[2J\\nClient: not the bottleneck\\n'; exit 1",
            ])
            .args(["--tokenizer", "rbench-bundled"])
            .run()
            .exits(1);
    check("a launched server", &launched);
    let _ = launched.says(&["   a 90%\n", "  x\\u001b[2J\n", "  Client: not the bottleneck\n"]);
}

#[test]
fn a_key_that_is_no_text_is_refused() {
    use std::ffi::OsStr;
    let shell = "export OPENAI_API_KEY=\"$(printf 'sk-of-the-test-\\351')\"".to_string();
    let run = Rbench::in_shell(&shell, [OsStr::from_bytes(b"serve"), OsStr::new("--mock")]).run();
    let run = run.exits(2).says(&["OPENAI_API_KEY is not UTF-8"]);
    assert!(!run.stderr.contains("of-the-test"), "{run:#?}");
}
