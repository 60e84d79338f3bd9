//! What a server names: files and repositories are followed as far as they can be tokenizers.

use std::process::Command;
use std::sync::Arc;

use rbench::workload::hub::Hub;
use rbench::workload::tokenizer::Tokenizer;
use serde_json::json;

use crate::support::rbench::Rbench;
use crate::support::server::{Answer, MODEL, Script, Server};
use crate::support::wire;

#[test]
fn a_server_names_no_file_of_this_machine_but_a_tokenizer() {
    const TOKENIZER: &[u8] = include_bytes!("../../../datasets/tokenizer/tokenizer.json");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    for (name, bytes) in
        [("good/tokenizer.json", TOKENIZER), ("plain/notes.txt", b"{}"), ("huge/x", b"")]
    {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    // Longer than any tokenizer, and holds nothing.
    let huge = std::fs::File::create(path("huge/tokenizer.json")).unwrap();
    huge.set_len(600 << 20).unwrap();
    for (name, target) in [("device", "/dev/zero"), ("kernel", "/proc/self/environ")] {
        std::fs::create_dir(path(name)).unwrap();
        std::os::unix::fs::symlink(target, path(&format!("{name}/tokenizer.json"))).unwrap();
    }
    std::fs::create_dir(path("pipe")).unwrap();
    let made = Command::new("mkfifo").arg(path("pipe/tokenizer.json")).status().unwrap();
    assert!(made.success());
    // The configuration beside a good tokenizer, where its template would be.
    std::fs::create_dir(path("beside")).unwrap();
    std::fs::write(path("beside/tokenizer.json"), TOKENIZER).unwrap();
    std::os::unix::fs::symlink("/dev/zero", path("beside/tokenizer_config.json")).unwrap();
    for (name, is_good) in [
        ("/dev/zero".to_owned(), false),
        ("/dev/stdin".to_owned(), false),
        ("/proc/self/environ".to_owned(), false),
        ("/proc/self/fd/0".to_owned(), false),
        (path("device"), false),
        (path("device/tokenizer.json"), false),
        (path("kernel"), false),
        (path("pipe"), false),
        (path("pipe/tokenizer.json"), false),
        (path("huge"), false),
        (path("plain/notes.txt"), false),
        (path("absent"), false),
        (path("good"), true),
        (path("good/tokenizer.json"), true),
        (path("beside"), true),
    ] {
        let info = json!({"tokenizer_path": name});
        let server = Script::new(wire::good)
            .whatever()
            .on("/model_info", move |_| Answer::json(&info))
            .start();
        let run = Rbench::new(["serve", "--base-url", &server.url()])
            .args(["--warmup-requests", "0", "--num-prompts", "1", "--output-file", "o.jsonl"])
            .args(["--dataset-name", "random-ids", "--random-input-len", "8"])
            .args(["--random-output-len", "4"])
            .run();
        let run = if is_good { run.exits(0) } else { run.exits(1).says(&["no tokenizer could"]) };
        assert!(is_good || run.stderr.contains(&name), "{run:#?}");
    }
    // A server elsewhere, reached through a proxy of this machine's network: its paths are not ours.
    let info = json!({"tokenizer_path": path("good")});
    let server = Script::control_only()
        .on("http://192.0.2.1:30000/v1/models", |_| Answer::json(&json!({"data": [{"id": "a/b"}]})))
        .on("http://192.0.2.1:30000/model_info", move |_| Answer::json(&info))
        .on("http://192.0.2.1:30000/tokenize", |_| Answer::not_found())
        .start();
    let run = Rbench::new(["serve", "--base-url", "http://192.0.2.1:30000"])
        .args(["--warmup-requests", "0", "--num-prompts", "1", "--dataset-name", "random-ids"])
        .env("HTTP_PROXY", server.url())
        .run()
        .exits(1);
    let _ = run.says(&["a path on the server's machine", "--tokenizer"]);
}

/// A server that counts words, and one token more where special tokens are asked for; its answers have `words`.
fn counting(fails_at: usize) -> Server {
    Script::new(wire::good)
        .whatever()
        .on("/tokenize", move |request| {
            if request.nth >= fails_at {
                return Answer::body("500 Internal Server Error", "text/plain", "no more");
            }
            let body = request.json();
            assert_eq!((&body["prompt"], &body["model"]), (&body["content"], &json!(MODEL)));
            let words = body["prompt"].as_str().unwrap().split_whitespace().count();
            let special = usize::from(body["add_special_tokens"] == true);
            Answer::json(&json!({"count": words + special, "tokens": vec![7; words + special]}))
        })
        .start()
}

#[test]
fn where_no_tokenizer_is_at_hand_the_server_counts() {
    let load = |server: &Server| {
        Rbench::new(["serve", "--backend", "vllm", "--base-url", &server.url()])
            .args(["--warmup-requests", "0", "--output-file", "out.jsonl", "--num-prompts", "2"])
            .args(["--dataset-name", "custom", "--dataset-path", "rows.json"])
            .file(
                "rows.json",
                r#"[
                {"conversations": [{"value": "one two three"}, {"value": "a b c d e"}]},
                {"conversations": [{"value": "four five"}, {"value": "a b"}]}
            ]"#,
            )
    };
    let server = counting(usize::MAX);
    let run = load(&server).run().exits(0).says(&["/tokenize", "no tokenizer could be loaded"]);
    // Prompts with a special token each, answers without.
    assert_eq!(run.row("Total input tokens:"), Some("7"));
    assert_eq!(run.row("Total generated tokens (retokenized):"), Some("8"));
    let asked: u64 =
        server.inference().iter().map(|r| r.json()["max_tokens"].as_u64().unwrap()).sum();
    assert_eq!(asked, 9);
    let result = run.result();
    assert_eq!(result["rbench"]["tokenizer"], format!("{}/tokenize", server.url()));
    // Nobody is asked while the load goes on.
    let calls = server.calls();
    let at = |path: &str| calls.iter().position(|call| call.ends_with(path)).unwrap();
    let last = calls.iter().rposition(|call| call.ends_with("/v1/completions")).unwrap();
    assert!(calls[at("/v1/completions")..=last].iter().all(|call| !call.ends_with("/tokenize")));
    // One that stops counting ends the run before its load, and after it is named.
    let _ = load(&counting(3)).run().exits(1).prints_nothing().says(&["did not count", "no more"]);
    let _ = load(&counting(6)).run().exits(0).says(&["did not count all answers again"]);
    // What takes more than counts is refused.
    for (flags, what) in [
        (&["--dataset-name", "random-ids"][..], "random-ids needs a tokenizer"),
        (&["--low-memory"], "--low-memory needs a tokenizer"),
    ] {
        let run = load(&counting(usize::MAX)).args(flags).run().exits(1).prints_nothing();
        let _ = run.says(&[what, "rbench-bundled", "sharegpt"]);
    }
    // Whoever names a tokenizer gets that or none.
    let server = counting(usize::MAX);
    let _ = load(&server).args(["--tokenizer", "absent.json"]).run().exits(1);
    assert!(server.requests_to("/tokenize").is_empty());
}

#[test]
fn prompts_of_given_text_are_the_same_whoever_counts() {
    let names = ["rbench-bundled".to_owned()];
    let tokenizer = Arc::new(Tokenizer::load(&names, &Hub::from_env(false)).unwrap());
    let bodies = |dataset: &str, flags: &[&str]| {
        let (encoder, decoder) = (tokenizer.clone(), tokenizer.clone());
        let server = Script::new(wire::good)
            .on("/tokenize", move |request| {
                let body = request.json();
                let text = body["prompt"].as_str().unwrap();
                let special = body["add_special_tokens"] == true;
                let ids =
                    if special { encoder.encode_with_special(text) } else { encoder.encode(text) };
                Answer::json(&json!({"tokens": ids}))
            })
            .on("/detokenize", move |request| {
                let ids: Vec<u32> =
                    serde_json::from_value(request.json()["tokens"].clone()).unwrap();
                Answer::json(&json!({"text": decoder.decode(&ids)}))
            })
            .start();
        let run = Rbench::new(["serve", "--backend", "vllm", "--base-url", &server.url()])
            .args(["--warmup-requests", "0", "--num-prompts", "3", "--max-concurrency", "1"])
            .args(["--dataset-name", dataset, "--dataset-path", "rbench-bundled"])
            .args(flags)
            .run()
            .exits(0);
        let bodies: Vec<String> = server.inference().into_iter().map(|r| r.body).collect();
        (bodies, run.row("Total input tokens:").map(str::to_owned))
    };
    for (dataset, flags) in [
        ("sharegpt", &[][..]),
        ("random", &["--random-input-len", "40", "--random-output-len", "4"]),
    ] {
        let local = bodies(dataset, &[flags, &["--tokenizer", "rbench-bundled"]].concat());
        assert_eq!(bodies(dataset, flags), local, "{dataset}");
    }
}
