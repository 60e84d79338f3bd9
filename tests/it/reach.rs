//! Other ways to a server than the network itself: proxies of the environment, and Unix sockets.

use crate::support::certificates::{Authority, Speaks};
use crate::support::proxy::Proxy;
use crate::support::rbench::{RESULT, Rbench, Run};
use crate::support::server::{Answer, Request, Script};
use crate::support::wire::{self, WORDS, Wire};

/// The password in the proxy's URL, and what becomes of it on the wire.
const PASSWORD: &str = "s3cret";
const FIELD: &str = "proxy-authorization: Basic bWU6czNjcmV0\r\n";

/// Checks that the password stays where it belongs.
fn keeps_the_password(run: &Run) {
    let result = std::fs::read_to_string(run.path(RESULT)).unwrap_or_default();
    for text in [&run.stderr, &run.stdout, &result] {
        assert!(!text.contains(PASSWORD) && !text.contains("bWU6"), "{text}");
    }
}

fn good(_: &Request) -> Answer {
    Answer::stream(Wire::Completions.events(WORDS))
}

#[test]
fn a_proxy_gets_the_whole_url_of_plain_requests() {
    let proxy = Script::new(good)
        .on("http://engine.invalid:81/v1/models", |_| {
            Answer::json(&serde_json::json!({"data": [{"id": "tiny"}]}))
        })
        .on("http://engine.invalid:81/server_info", |_| Answer::not_found())
        .start();
    let url = format!("http://me:{PASSWORD}@127.0.0.1:{}", proxy.port());
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
        let before = proxy.inference().len();
        let run = Rbench::load("vllm", "http://engine.invalid:81").env(name, &url).run().exits(0);
        let shown = format!("http://127.0.0.1:{}", proxy.port());
        let run = run.says(&[&format!("the load goes through the proxy {shown}\n")]);
        assert_eq!(run.result()["completed"], 3);
        assert_eq!(run.result()["rbench"]["config"]["proxy"], shown);
        keeps_the_password(&run);
        let requests = &proxy.inference()[before..];
        assert_eq!(requests.len(), 3);
        for request in requests {
            assert_eq!(request.path, "http://engine.invalid:81/v1/completions");
            assert_eq!(request.header("host"), Some("engine.invalid:81"));
            assert_eq!(request.header("proxy-authorization"), Some("Basic bWU6czNjcmV0"));
        }
    }
}

#[test]
fn a_proxy_opens_a_way_to_servers_with_tls() {
    let authority = Authority::new();
    let identity = authority.vouch_for(&["localhost"]);
    let server = Script::new(wire::good).start_tls(Speaks::with(&identity).config());
    let proxy = Proxy::start(FIELD);
    let target = format!("https://localhost:{}", server.port());
    let load = |password: &str| {
        Rbench::load("vllm", &target)
            .file("ca.pem", authority.pem())
            .args(["--cacert", "ca.pem"])
            .env("HTTPS_PROXY", format!("http://me:{password}@127.0.0.1:{}", proxy.port()))
    };
    let run = load(PASSWORD).run().exits(0).says(&["the load goes through the proxy"]);
    keeps_the_password(&run);
    let result = run.result();
    assert_eq!(result["completed"], 3);
    assert_eq!(result["rbench"]["client"]["connections_ahead"], 3);
    let heads = proxy.heads();
    let connect = format!("CONNECT localhost:{} HTTP/1.1\r\n", server.port());
    assert!(heads.len() >= 4 && heads.iter().all(|head| head.starts_with(&connect)), "{heads:?}");
    // What was said to the server was said to it alone.
    assert!(server.inference().iter().all(|r| r.header("proxy-authorization").is_none()));

    let words = ["--ready-check-timeout-sec", "0", "--model", "m"];
    let run = load("wrong").args(words).run().exits(1);
    let run = run.says(&["the proxy does not open a way", "407", "user:password@"]);
    let failure = &run.result()["rbench"]["failures"][0];
    assert_eq!(failure["kind"], "connect");
    assert_eq!(failure["count"], 3);
}

#[test]
fn proxies_can_be_left_out() {
    // Nobody listens there.
    let nobody = "http://127.0.0.1:1";
    let server = Script::new(wire::good).start();
    for (words, name, value) in [
        (&["--no-proxy"][..], "NO_PROXY", ""),
        (&[], "NO_PROXY", "127.0.0.0/8"),
        (&[], "no_proxy", "*"),
        // Only for the other scheme.
        (&[], "HTTP_PROXY", ""),
    ] {
        let run = Rbench::load("vllm", &server.url())
            .env("HTTP_PROXY", nobody)
            .env("HTTPS_PROXY", nobody)
            .env(name, value)
            .args(words)
            .run()
            .exits(0);
        assert!(!run.stderr.contains("proxy"), "{run:?}");
        assert!(run.result()["rbench"]["config"].get("proxy").is_none());
    }
    // The engine of --mock is on this machine.
    let run = Rbench::aimed(["--mock"]).env("ALL_PROXY", nobody).run().exits(0);
    assert_eq!(run.result()["completed"], 3);
}

#[test]
fn other_kinds_of_proxies_are_refused() {
    let server = Script::untouched().start();
    let run = Rbench::load("vllm", &server.url())
        .env("ALL_PROXY", format!("socks5://me:{PASSWORD}@127.0.0.1:1"))
        .run()
        .exits(2)
        .prints_nothing()
        .says(&["socks5://127.0.0.1:1", "http proxies only", "--no-proxy"]);
    keeps_the_password(&run);
}

#[test]
fn a_unix_socket_is_a_server_without_stamps() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("engine.sock");
    let server = Script::new(wire::good).start_unix(&path);
    let run = Rbench::load("vllm", &server.url())
        // Not for a socket.
        .env("ALL_PROXY", "http://127.0.0.1:1")
        .args(["--num-prompts", "6", "--max-concurrency", "2"])
        .run()
        .exits(0)
        .says(&["the kernel does not stamp data of Unix sockets"]);
    assert!(server.calls().contains(&"GET /v1/models".to_owned()));
    assert!(server.inference().iter().all(|request| request.header("host") == Some("localhost")));
    assert!(server.connections() <= 2);
    let result = run.result();
    assert_eq!(result["completed"], 6);
    assert_eq!(result["generated_texts"][0], WORDS.concat());
    let client = &result["rbench"]["client"];
    assert_eq!(client["clock"], "user");
    assert_eq!(client["unstamped_reads"], client["reads"]);
    assert_eq!(client["tls_ms"], serde_json::Value::Null);
    assert!(client["connect_ms"]["max"].as_f64().is_some());
    assert_eq!(result["rbench"]["config"]["base_url"], server.url());
}

#[test]
fn a_unix_socket_with_a_short_queue_gets_all_requests() {
    let folder = tempfile::tempdir().unwrap();
    let server = Script::new(wire::good).start_unix_with(&folder.path().join("engine.sock"), 1);
    let run = Rbench::load("vllm", &server.url()).args(["--num-prompts", "60"]).run().exits(0);
    assert_eq!(run.result()["completed"], 60);
}

#[test]
fn other_commands_go_the_same_ways() {
    let words = ["--tokenizer", "rbench-bundled", "--input-len", "8", "--output-len", "4"];
    let batch = |url: &str| {
        let words = ["one-batch", "--skip-warmup", "--base-url", url].into_iter().chain(words);
        Rbench::new(words).args(["--dataset-name", "random-ids"])
    };
    let script = || {
        Script::new(|_| Answer::stream(Wire::Native.events(WORDS)))
            .on("/flush_cache", |_| Answer::body("200 OK", "text/plain", ""))
    };
    let folder = tempfile::tempdir().unwrap();
    let server = script().start_unix(&folder.path().join("engine.sock"));
    let _ = batch(&server.url()).run().exits(0);

    let authority = Authority::new();
    let identity = authority.vouch_for(&["127.0.0.1"]);
    let server = script().start_tls(Speaks::with(&identity).config());
    let load = || batch(&server.url()).file("ca.pem", authority.pem());
    let _ = load().args(["--cacert", "ca.pem"]).run().exits(0);
    let _ = load().run().exits(1);

    let server = Script::new(wire::good).start_tls(Speaks::with(&identity).config());
    let _ = Rbench::new(["offline", "--backend", "vllm", "--base-url", &server.url()])
        .args(["--tokenizer", "rbench-bundled", "--dataset-name", "random-ids"])
        .args(["--random-input-len", "8", "--random-output-len", "4", "--num-prompts", "3"])
        .file("ca.pem", authority.pem())
        .args(["--cacert", "ca.pem"])
        .run()
        .exits(0);
}

#[test]
fn what_does_not_go_together_with_a_unix_socket() {
    let load = |words: &[&str]| {
        Rbench::load("vllm", "unix:/nowhere.sock")
            .args(["--ready-check-timeout-sec", "0", "--model", "m"])
            .args(words)
            .run()
    };
    for words in [
        &["--clock", "kernel"][..],
        &["--cert", "a", "--key", "b"],
        &["--profile", "--pd-separated", "--profile-decode-url", "http://127.0.0.1:1"],
    ] {
        let run = load(words).exits(2).prints_nothing();
        assert!(words.iter().any(|word| run.stderr.contains(word)), "{run:?}");
    }
    let _ = Rbench::load("vllm", "unix:").run().exits(2).says(&["unix:/run/engine.sock"]);
    let run = load(&[]).exits(1);
    assert_eq!(run.result()["rbench"]["failures"][0]["kind"], "connect");
}
