//! The first minutes: forms that people type, machines without a network, servers that are not what they seem.

use std::io::{Read, Write};
use std::net::TcpListener;

use serde_json::json;

use crate::support::rbench::{RESULT, Rbench, Run};
use crate::support::server::{Answer, Refusing, Script, Server};
use crate::support::wire;

/// The least that people type, and few requests.
fn plain(words: &[&str]) -> Rbench {
    Rbench::new(["serve", "--backend", "vllm", "--num-prompts", "3", "--output-file", RESULT])
        .args(words)
}

/// The same with nothing left to look for.
fn supplied(words: &[&str]) -> Rbench {
    plain(&["--model", "m", "--tokenizer", "rbench-bundled", "--dataset-name", "random-ids"])
        .args(["--random-input-len", "8", "--random-output-len", "4", "--warmup-requests", "0"])
        .args(words)
}

fn server() -> Server {
    Script::new(wire::good).start()
}

/// A server whose model nobody has here.
fn unknown_model() -> Server {
    let list = json!({"data": [{"id": "Qwen/Qwen3-8B", "object": "model"}]});
    Script::new(wire::good)
        .on("/v1/models", move |_| Answer::json(&list))
        .on("/tokenize", |_| Answer::not_found())
        .whatever()
        .start()
}

/// What the run did not find is told at once, and the command of the hint works as it stands.
#[test]
fn everything_that_is_missing_is_told_together() {
    let server = unknown_model();
    let url = server.url();
    let run = plain(&["--base-url", &url, "--dataset-name", "sharegpt"]).run().exits(1).says(&[
        "error: neither the tokenizer nor the dataset can be had\n",
        "  because: no tokenizer could be loaded; tried Qwen/Qwen3-8B (",
        "  because: no ShareGPT_V3_unfiltered_cleaned_split.json of ",
    ]);
    let hint = "hint: this works without a download: rbench ";
    let command = run.stderr.lines().find_map(|line| line.strip_prefix(hint)).unwrap();
    assert!(command.ends_with(" --tokenizer rbench-bundled --dataset-name random-ids"), "{run:?}");
    let few = ["--num-prompts", "3", "--random-input-len", "8", "--random-output-len", "4"];
    drop(Rbench::new(command.split(' ')).args(few).run().exits(0).prints_a_table());
}

/// Without a word on the dataset the bundled conversations do, with a warning, and the result says so.
#[test]
fn bundled_conversations_stand_in_for_what_nobody_asked_for() {
    let server = unknown_model();
    let words = ["--base-url", &server.url(), "--tokenizer", "rbench-bundled"];
    let run = plain(&words).run().exits(0).prints_a_table().says(&[
        "warning: the rbench-bundled conversations stand in for --dataset-name sharegpt: no ShareGPT",
    ]);
    assert_eq!(run.result()["rbench"]["config"]["dataset_path"], "rbench-bundled");
    assert_eq!(run.result()["completed"], 3);
    // What was asked for is not replaced.
    let named = plain(&words).args(["--dataset-name", "sharegpt"]).run().exits(1);
    assert!(named.stderr.contains("no ShareGPT_V3"), "{named:?}");
    assert!(!named.stderr.contains("tokenizer could be loaded"), "{named:?}");
}

/// A dataset that needs a file says so before anything else that is missing.
#[test]
fn flags_that_are_missing_are_told_first() {
    let server = unknown_model();
    let words = ["--base-url", &server.url(), "--dataset-name", "custom"];
    let run = plain(&words).run().exits(2);
    assert!(run.stderr.contains("--dataset-name custom needs --dataset-path"), "{run:?}");
    assert!(!run.stderr.contains("tokenizer"), "{run:?}");
}

/// Whatever form the address of a server is typed in, it is the server that is measured.
#[test]
fn addresses_as_people_type_them() {
    let server = server();
    let (url, port) = (server.url(), server.port());
    let shown = format!("vllm at {url}, model m\n");
    let plain = format!("127.0.0.1:{port}");
    let (v1, any) = (format!("{url}/v1"), format!("http://0.0.0.0:{port}/v1/"));
    let port = port.to_string();
    for words in [
        &["--base-url", &plain][..],
        &["--base-url", &v1],
        &["--base-url", &any],
        &["--url", &url],
        &["--url", &plain],
        &["--port", &port],
        &["--host", "0.0.0.0", "--port", &port],
    ] {
        let run = supplied(words).run().exits(0).prints_a_table().says(&[&shown]);
        let notes = run.stderr.matches("/v1, which rbench adds itself").count();
        assert_eq!(notes, usize::from(words[1].contains("v1")), "{run:?}");
        assert!(!run.stderr.contains("0.0.0.0"), "{run:?}");
        assert_eq!(run.result()["rbench"]["config"]["base_url"], url);
    }
}

/// The variable of other clients is read where no flag names a server, for the API that it is of.
#[test]
fn the_environment_may_name_the_server() {
    let (server, other) = (server(), server());
    let url = format!("{}/v1", server.url().replace("http://", "http://me:s3cret@"));
    let with = |words: &[&str]| supplied(words).env("OPENAI_BASE_URL", &url).run();
    let run = with(&[]).exits(0).says(&["OPENAI_BASE_URL names the server: http://***@127.0.0.1:"]);
    assert!(!format!("{run:?}").contains("s3cret"), "{run:?}");
    assert_eq!(server.inference().len(), 3);
    let run = with(&["--base-url", &other.url()]).exits(0);
    assert!(!run.stderr.contains("OPENAI_BASE_URL"), "{run:?}");
    drop(with(&["--port", &other.port().to_string()]).exits(0));
    assert_eq!((server.inference().len(), other.inference().len()), (3, 6));
}

#[test]
fn backends_and_headers_as_other_clients_write_them() {
    for (typed, path) in [("openai", "/v1/completions"), ("openai-chat", "/v1/chat/completions")] {
        let server = server();
        let url = server.url();
        let words = ["--backend", typed, "--base-url", &url];
        let headers = ["--header", "x-plain: a=b", "x-pair=c: d", "x-tight:e"];
        let run = supplied(&words).args(headers).run().exits(0).prints_a_table();
        assert_eq!(server.requests_to(path).len(), 3, "{run:?}");
        let sent = server.inference().remove(0);
        for (name, value) in [("x-plain", "a=b"), ("x-pair", "c: d"), ("x-tight", "e")] {
            assert_eq!(sent.header(name), Some(value));
        }
        assert!(run.result()["backend"].as_str().unwrap().starts_with("vllm"), "{run:?}");
    }
}

/// The run ends at once, long before the time that a server is waited for.
fn ends_at_once(words: &[&str], told: &str) -> Run {
    let run = supplied(&["--ready-check-timeout-sec", "3600"]).args(words).run().exits(1);
    assert!(run.stderr.contains(told), "{told}: {run:#?}");
    run
}

/// The address of a server that has `said` as soon as somebody connects.
fn saying(said: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 1]);
        stream.write_all(said).unwrap();
        // Until the other side has seen it and is gone.
        while stream.read(&mut [0; 1 << 10]).is_ok_and(|read| read > 0) {}
    });
    address
}

/// What answers in another protocol will not answer in this one later.
#[test]
fn what_will_not_change_is_not_waited_for() {
    let plain = format!("https://{}", saying(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
    drop(ends_at_once(&["--base-url", &plain], "write http:// in the place of https://"));
    // An alert of TLS: the message was not expected.
    let encrypted = format!("http://{}", saying(b"\x15\x03\x01\x00\x02\x02\x0a"));
    drop(ends_at_once(&["--base-url", &encrypted], "write https:// in the place of http://"));
    let told = "what the server sent is not HTTP/1.1";
    let run = ends_at_once(&["--base-url", &saying(b"220 mail.example ESMTP\r\n")], told);
    assert!(run.stderr.contains("say so with --http-version 2"), "{run:#?}");

    for (status, told) in [
        ("404 Not Found", "the server gives no list: GET /v1/models answers 404 Not Found"),
        ("401 Unauthorized", "set OPENAI_API_KEY"),
    ] {
        let server = Script::new(wire::good)
            .on("/v1/models", move |_| Answer::body(status, "text/plain", ""))
            .whatever()
            .start();
        let url = server.url();
        let words = ["serve", "--backend", "vllm", "--base-url", &url];
        let run = Rbench::new(words).args(["--ready-check-timeout-sec", "3600"]).run().exits(1);
        assert!(run.stderr.contains(told), "{run:#?}");
    }
}

/// A server that closes connections, as a proxy does whose container starts, is waited for.
#[test]
fn what_may_change_is_waited_for() {
    let refusing = Refusing::new();
    let run = supplied(&["--ready-check-timeout-sec", "1", "--base-url", &refusing.url()]).run();
    drop(run.exits(1).says(&["did not become ready within 1 s"]));
}

/// Without a tokenizer the server's counts are all there is, and they are enough.
#[test]
fn a_server_that_counts_is_enough() {
    let server = unknown_model();
    let words = ["--base-url", &server.url(), "--tokenizer", "none"];
    let run = plain(&words).run().exits(0).prints_a_table().says(&["--tokenizer none: all counts"]);
    let result = run.result();
    let told = result["rbench"]["server_input_tokens"].as_u64().unwrap();
    assert!(told > 0 && result["total_input_tokens"] == told, "{result:#}");
    assert_eq!(result["total_output_tokens_retokenized"], 0);
    assert!(result["total_output_tokens"].as_u64() > Some(0));
    assert_eq!(result["rbench"]["tokenizer"], "none");
    for dataset in ["random-ids", "random"] {
        let run = plain(&words).args(["--dataset-name", dataset]);
        let run = run.args(["--dataset-path", "rbench-bundled"]).run().exits(2);
        assert!(run.stderr.contains("--tokenizer none"), "{run:#?}");
        assert!(server.inference().len() < 8, "{run:#?}");
    }
}
