//! Tokenizers from repositories: the Hub and ModelScope, stood in for by a server of ours, and what is told without them.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::rbench::{Rbench, Run};
use crate::support::server::{Answer, Refusing, Request, Script, Server};
use crate::support::wire;

fn data(file: &str) -> Vec<u8> {
    let path: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "tests/data/tokenizers", file].iter().collect();
    std::fs::read(path).unwrap()
}

/// An engine that tells of its tokenizer.
fn engine(tokenizer: &'static str) -> Server {
    let info = json!({"tokenizer_path": tokenizer, "model_path": "acme/second"});
    Script::new(wire::good).on("/model_info", move |_| Answer::json(&info)).start()
}

/// A small load on `server` with the tokenizer that the server tells of, or another.
fn load(server: &Server, tokenizer: Option<&str>) -> Rbench {
    let flags = "--dataset-name random-ids --random-input-len 8 --random-output-len 4 --random-range-ratio 1 --num-prompts 3 --warmup-requests 0";
    let run = Rbench::new(["serve", "--backend", "sglang", "--base-url", &server.url()])
        .args(flags.split(' '))
        .env("HF_HUB_OFFLINE", "0")
        .env("HF_TOKEN", "hf_hidden")
        .env("MODELSCOPE_API_TOKEN", "ms_hidden");
    match tokenizer {
        Some(tokenizer) => run.args(["--tokenizer", tokenizer]),
        None => run,
    }
}

/// Runs it, and checks that no token is told.
fn run(rbench: Rbench) -> Run {
    let run = rbench.run();
    assert!(!format!("{run:?}").contains("hidden"), "{run:?}");
    run
}

/// A file as the Hub sends it, and the part of it that is asked for first.
fn hub_file(request: &Request, bytes: &[u8]) -> Answer {
    assert_eq!(request.header("authorization"), Some("Bearer hf_hidden"));
    let part = if request.header("range") == Some("bytes=0-0") { &bytes[..1] } else { bytes };
    let range = format!("content-range: bytes 0-{}/{}", part.len() - 1, bytes.len());
    let length = format!("content-length: {}", part.len());
    let etag = format!("etag: \"{}\"", bytes.len());
    Answer::head("206 Partial Content", &[&range, &length, &etag, "x-repo-commit: c0ffee"])
        .raw(part)
}

#[test]
fn a_repository_with_nothing_but_a_tiktoken_file() {
    let hub = Script::control_only()
        .on("/acme/kimi/resolve/main/tokenizer.json", |_| Answer::not_found())
        .on("/api/models/acme/kimi/revision/main", |_| {
            let files = [".gitattributes", "tiktoken.model", "tokenizer_config.json"];
            let files = files.map(|file| json!({"rfilename": file}));
            Answer::json(&json!({"sha": "c0ffee", "siblings": files}))
        })
        .on("/acme/kimi/resolve/main/tiktoken.model", |request| {
            hub_file(request, &data("ranks.tiktoken"))
        })
        .on("/acme/kimi/resolve/main/tokenizer_config.json", |request| {
            hub_file(request, br#"{"tokenizer_class": "TikTokenTokenizer"}"#)
        })
        .start();
    let server = engine("acme/kimi");
    let run = run(load(&server, None).env("HF_ENDPOINT", hub.url())).exits(0).prints_a_table();
    assert!(run.stdout.contains("Total input tokens:                      24"), "{run:?}");
}

#[test]
fn a_repository_without_a_tokenizer_is_told_of() {
    let hub = Script::control_only()
        .on("/acme/weights/resolve/main/tokenizer.json", |_| Answer::not_found())
        .on("/api/models/acme/weights/revision/main", |_| {
            Answer::json(&json!({"sha": "c0ffee", "siblings": [{"rfilename": "x-q4.gguf"}]}))
        })
        .start();
    let server = Script::control_only().start();
    let run = run(load(&server, Some("acme/weights")).env("HF_ENDPOINT", hub.url()));
    drop(run.exits(1).says(&[
        "acme/weights has no tokenizer of a known format: no tokenizer.json, tokenizer.model, tiktoken.model",
        "a GGUF file of it can be used by its path",
        "--tokenizer PATH",
    ]));
}

#[test]
fn a_model_that_is_on_no_hub_costs_one_question() {
    let hub = Script::control_only()
        .on("/tiny/resolve/main/tokenizer.json", |_| Answer::not_found())
        .on("/api/models/tiny/revision/main", |_| Answer::not_found())
        .start();
    let server = Script::control_only().start();
    let run = run(load(&server, None).env("HF_ENDPOINT", hub.url()));
    let url = format!("{}/tiny/resolve/main/tokenizer.json", hub.url());
    drop(run.exits(1).says(&[
        "tried tiny",
        "no tokenizer.json of tiny",
        &url,
        "404",
        "--tokenizer PATH",
    ]));
    assert_eq!(hub.calls().len(), 2, "{:?}", hub.calls());
}

#[test]
fn who_does_not_answer_is_asked_once_and_not_for_long() {
    // Takes connections and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}", listener.local_addr().unwrap());
    let refusing = Refusing::new();
    for (url, why) in
        [(silent, "did not answer within 0.2 s"), (refusing.url(), "can not be reached")]
    {
        let server = Script::control_only()
            .on("/model_info", |_| {
                Answer::json(&json!({"tokenizer_path": "acme/first", "model_path": "acme/second"}))
            })
            .start();
        for modelscope in ["false", "true"] {
            let run = run(load(&server, None)
                .env("HF_ENDPOINT", &url)
                .env("HF_HUB_ETAG_TIMEOUT", "0.2")
                .env("MODELSCOPE_ENDPOINT", &url)
                .env("VLLM_USE_MODELSCOPE", modelscope));
            let run = run.exits(1).says(&["tried acme/first", &url, "--tokenizer PATH"]);
            if modelscope == "false" {
                drop(run.says(&[why]));
            }
        }
    }
}

/// ModelScope with these files.
fn modelscope(files: &'static [(&'static str, &'static str)]) -> Script {
    let names: Vec<_> =
        files.iter().map(|(name, _)| json!({"Path": name, "Type": "blob"})).collect();
    Script::control_only()
        .on("/api/v1/models/acme/q1.5/repo", move |request| {
            assert_eq!(request.header("authorization"), Some("Bearer ms_hidden"));
            assert_eq!(request.header("cookie"), Some("m_session_id=ms_hidden"));
            let asked = request.path.split("Revision=master&FilePath=").nth(1).unwrap();
            match files.iter().find(|(name, _)| *name == asked) {
                Some((_, file)) => {
                    let text = data(file);
                    let text = std::str::from_utf8(&text).unwrap();
                    Answer::body("200 OK", "application/octet-stream", text)
                }
                None => Answer::not_found(),
            }
        })
        .on("/api/v1/models/acme/q1.5/repo/files", move |_| {
            Answer::json(&json!({"Code": 200, "Data": {"Files": names}}))
        })
}

#[test]
fn models_come_from_modelscope_if_the_environment_says_so() {
    for (variable, value) in [("SGLANG_USE_MODELSCOPE", "True"), ("VLLM_USE_MODELSCOPE", "1")] {
        let hub = modelscope(&[("qwen.tiktoken", "ranks.tiktoken")]).start();
        let server = engine("acme/q1.5");
        let cache = tempfile::TempDir::new().unwrap();
        let with = |rbench: Rbench| {
            run(rbench
                .env(variable, value)
                .env("MODELSCOPE_CACHE", cache.path().to_str().unwrap())
                .env("MODELSCOPE_DOMAIN", hub.url()))
        };
        drop(with(load(&server, None)).exits(0).prints_a_table());
        let calls = hub.calls().len();
        let kept = cache.path().join("models/acme--q1.5/snapshots/master/qwen.tiktoken");
        assert_eq!(std::fs::read(kept).unwrap(), data("ranks.tiktoken"));
        // The second time nobody needs to be asked.
        drop(with(load(&server, None).env("HF_HUB_OFFLINE", "1")).exits(0).prints_a_table());
        assert_eq!(hub.calls().len(), calls, "{:?}", hub.calls());
    }
}

#[test]
fn the_cache_of_older_clients_of_modelscope_is_used() {
    let tokenizer: &Path = "datasets/tokenizer/tokenizer.json".as_ref();
    let tokenizer = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(tokenizer)).unwrap();
    for folder in ["models/acme/q1___5", "hub/models/acme/q1___5", "hub/acme/q1___5"] {
        let server = engine("acme/q1.5");
        let rbench = load(&server, None)
            .file(&format!(".cache/modelscope/{folder}/tokenizer.json"), &tokenizer)
            .env("HF_HUB_OFFLINE", "1")
            .env("SGLANG_USE_MODELSCOPE", "true");
        drop(run(rbench).exits(0).prints_a_table());
    }
}

#[test]
fn what_modelscope_lacks_is_told_with_its_url() {
    let hub = modelscope(&[("config.json", "ranks.tiktoken")]).start();
    let server = Script::control_only().start();
    let rbench = |id| {
        load(&server, Some(id))
            .env("SGLANG_USE_MODELSCOPE", "true")
            .env("MODELSCOPE_ENDPOINT", hub.url())
    };
    drop(run(rbench("acme/q1.5")).exits(1).says(&["acme/q1.5 has no tokenizer of a known format"]));
    drop(
        run(rbench("tiny"))
            .exits(1)
            .says(&["no tokenizer.json of tiny", "ids of ModelScope are OWNER/NAME"]),
    );
    // Nobody was asked for the id that can not be one.
    assert!(hub.calls().iter().all(|call| call.contains("/acme/q1.5/")), "{:?}", hub.calls());
    drop(run(rbench("acme/q1.5").env("HF_HUB_OFFLINE", "1")).exits(1).says(&[
        "no tokenizer.json of acme/q1.5 in the ModelScope cache",
        "HF_HUB_OFFLINE is set",
    ]));
}
