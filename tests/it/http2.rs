//! Load over HTTP/2: when it is spoken, what comes over it, what breaks.

use h2::Reason;
use serde_json::Value;

use crate::support::certificates::{Authority, Speaks};
use crate::support::http2::{Acts, Http2, field, frame, good, raw};
use crate::support::proxy::Proxy;
use crate::support::rbench::{Rbench, Run};
use crate::support::server::{Answer, Request, Script};
use crate::support::wire::{self, WORDS, Wire};

const HOST: &[&str] = &["127.0.0.1", "localhost"];

/// A load that asks nothing around it, so that the server sees nothing else.
const ALONE: &[&str] = &["--ready-check-timeout-sec", "0", "--model", "m"];

/// A load without TLS to a server that speaks HTTP/2 alone.
fn forced(backend: &str, url: &str) -> Rbench {
    Rbench::load(backend, url).args(["--http-version", "2"])
}

/// The kinds of failures, and how often there was each, with the first one's message.
fn failures(run: &Run) -> Vec<(String, u64, String)> {
    let all = run.result()["rbench"]["failures"].as_array().unwrap().clone();
    let text = |failure: &Value, key: &str| failure[key].as_str().unwrap_or_default().to_owned();
    all.iter().map(|f| (text(f, "kind"), f["count"].as_u64().unwrap(), f.to_string())).collect()
}

#[test]
fn streams_come_without_tls() {
    for backend in ["sglang", "vllm-chat", "vllm"] {
        let server = Http2::start(good);
        let run = forced(backend, server.url())
            .args(["--header", "X-A=1"])
            .args(["--max-concurrency", "2", "--num-prompts", "12"])
            .run()
            .exits(0)
            .prints_a_table();
        let result = run.result();
        assert_eq!(result["completed"], 12, "{result:#}");
        assert_eq!(result["generated_texts"][7], WORDS.concat());
        assert_eq!(result["total_output_tokens"], 48);
        assert!(result["mean_ttft_ms"].as_f64().unwrap() > 0.0, "{result:#}");
        assert_eq!(run.row("Connections over HTTP/2:"), Some("2"));
        assert_eq!(result["rbench"]["config"]["http_version"], "2");
        let client = &result["rbench"]["client"];
        assert_eq!(client["http2_connections"], 2, "{client:#}");
        if client["clock"] == "kernel" {
            assert_eq!(client["unstamped_reads"], 0, "{client:#}");
        }
        // One request at a time on each, and several one after the other.
        assert_eq!(server.connections(), 2);
        for request in server.inference() {
            let length = request.body.len().to_string();
            assert_eq!(request.header("content-length"), Some(length.as_str()));
            assert_eq!(request.header(":authority"), server.url().strip_prefix("http://"));
            assert_eq!(request.header("x-a"), Some("1"));
            assert_eq!(request.header("connection"), None);
            assert!(request.json().is_object());
        }
    }
}

#[test]
fn all_commands_speak_it() {
    let server = Http2::start(|request| match request.path.as_str() {
        "/reset_prefix_cache" => Acts::new().head(200, &[]).data("done").end(),
        _ => good(request),
    });
    let load = |command: &str| {
        Rbench::new([command, "--base-url", server.url(), "--http-version", "2"])
            .args(["--tokenizer", "rbench-bundled", "--dataset-name", "random-ids"])
            .args(["--backend", "vllm"])
    };
    let words = ["--num-prompts", "2", "--random-input-len", "8", "--random-output-len", "4"];
    let run = load("offline").args(words).run().exits(0);
    assert!(run.stdout.contains("Successful requests"), "{run:?}");
    let words = ["--batch-size", "1", "--input-len", "8", "--output-len", "4"];
    let _ = load("one-batch").args(words).run().exits(0);

    // What is recorded is told again.
    let run = forced("vllm", server.url()).args(["--records", "r.jsonl"]).run().exits(0);
    let records = std::fs::read_to_string(run.path("r.jsonl")).unwrap();
    let told = Rbench::new(["report", "r.jsonl"]).file("r.jsonl", records).run().exits(0);
    assert_eq!(told.row("Connections over HTTP/2:"), Some("3"));
}

#[test]
fn servers_that_offer_it_alone_are_found_out() {
    let authority = Authority::new();
    let identity = authority.vouch_for(HOST);
    let load = |url: &str| {
        Rbench::load("vllm", url).file("ca.pem", authority.pem()).args(["--cacert", "ca.pem"])
    };
    let speaks = |protocols| Speaks { protocols, ..Speaks::with(&identity) }.config();
    for words in [&[][..], &["--http-version", "auto"], &["--http-version", "2"]] {
        let server = Http2::start_tls(speaks(&["h2"]), good);
        let run = load(server.url()).args(words).args(["--num-prompts", "9"]).run().exits(0);
        let result = run.result();
        assert_eq!(result["completed"], 9);
        assert_eq!(result["generated_texts"][4], WORDS.concat());
        let client = &result["rbench"]["client"];
        assert_eq!(client["http2_connections"], 9, "{client:#}");
        assert!(client["tls_ms"]["p50"].as_f64().unwrap() > 0.0, "{client:#}");
        if client["clock"] == "kernel" {
            assert_eq!(client["unstamped_reads"], 0, "{client:#}");
        }
    }
    // Without connections ahead the first request finds out.
    let server = Http2::start_tls(speaks(&["h2"]), good);
    let words = ["--connection-per-request", "--max-concurrency", "1"];
    let run = load(server.url()).args(words).args(ALONE).run().exits(0);
    assert_eq!(run.result()["completed"], 3);
    assert_eq!(server.connections(), 3);

    // Each server is spoken to as it wants.
    let two = Http2::start_tls(speaks(&["h2"]), good);
    let one = Script::new(wire::good).start_tls(speaks(&["http/1.1"]));
    let run = load(two.url()).args(["--base-url", &one.url(), "--num-prompts", "6"]).run().exits(0);
    assert_eq!(run.result()["completed"], 6);
    assert_eq!((two.inference().len(), one.inference().len()), (3, 3));
    assert_eq!(run.result()["rbench"]["client"]["http2_connections"], 3);

    // Who speaks both is spoken to in HTTP/1.1.
    for words in [&[][..], &["--http-version", "1.1"]] {
        let server = Script::new(wire::good).start_tls(speaks(&["http/1.1", "h2"]));
        let run = load(&server.url()).args(words).run().exits(0);
        assert_eq!(run.result()["completed"], 3);
        let client = &run.result()["rbench"]["client"];
        assert!(client.get("http2_connections").is_none(), "{client:#}");
        assert_eq!(run.row("Connections over HTTP/2:"), None);
    }
}

#[test]
fn a_version_that_is_forced_is_not_left() {
    let authority = Authority::new();
    let identity = authority.vouch_for(HOST);
    let load = |url: &str, version: &str| {
        Rbench::load("vllm", url).file("ca.pem", authority.pem()).args([
            "--cacert",
            "ca.pem",
            "--http-version",
            version,
        ])
    };
    let speaks = |protocols| Speaks { protocols, ..Speaks::with(&identity) }.config();
    let one = Script::new(|_| Answer::not_found()).whatever().start_tls(speaks(&["http/1.1"]));
    let two = Http2::start_tls(speaks(&["h2"]), good);
    for (url, version) in [(one.url(), "2"), (two.url().to_owned(), "1.1")] {
        let told = ["does not speak the version of HTTP", "--http-version"];
        let run = load(&url, version).args(ALONE).run().exits(1).says(&told);
        let all = failures(&run);
        assert_eq!((all[0].0.as_str(), all[0].1), ("tls", 3), "{all:?}");
        let _ = load(&url, version).run().exits(1).prints_nothing().says(&told);
    }
}

#[test]
fn servers_without_tls_are_not_guessed_at() {
    let server = Http2::start(good);
    let run = Rbench::load("vllm", server.url())
        .args(["--ready-check-timeout-sec", "1"])
        .run()
        .exits(1)
        .prints_nothing();
    let _ = run.says(&["say so with --http-version 2"]);
    // What the load gets is the greeting of such a server, or nothing.
    let url = raw(frame(4, 0, 0, &[]), |_| (Vec::new(), Vec::new()));
    let run = Rbench::load("vllm", &url).args(ALONE).arg("--connection-per-request").run().exits(1);
    let all = failures(&run);
    assert_eq!(all[0].0, "malformed", "{all:?}");
    assert!(all[0].2.contains("--http-version 2"), "{all:?}");

    // And the other way around.
    let server = Script::new(|_| Answer::not_found()).whatever().start();
    let run = forced("vllm", &server.url()).args(ALONE).run().exits(1);
    let all = failures(&run);
    assert_eq!((all[0].0.as_str(), all[0].1), ("connect", 3), "{all:?}");
    let run = forced("vllm", &server.url()).args(["--ready-check-timeout-sec", "1"]).run();
    let _ = run.exits(1).says(&["leave --http-version 2 out"]);
}

#[test]
fn unix_sockets_and_proxies() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("engine.sock");
    let server = Http2::start_unix(&path, good);
    let run = forced("vllm", server.url()).run().exits(0);
    assert_eq!(run.result()["completed"], 3);
    assert!(server.inference().iter().all(|r| r.header(":authority") == Some("localhost")));

    // Through a way to the server, which has to be opened again when the server refuses HTTP/1.1.
    let authority = Authority::new();
    let identity = authority.vouch_for(&["localhost"]);
    let speaks = Speaks { protocols: &["h2"], ..Speaks::with(&identity) };
    let server = Http2::start_tls(speaks.config(), good);
    let field = "proxy-authorization: Basic bWU6czNjcmV0\r\n";
    let proxy = Proxy::start(field);
    let run = Rbench::load("vllm", &format!("https://localhost:{}", server.port()))
        .file("ca.pem", authority.pem())
        .args(["--cacert", "ca.pem"])
        .env("HTTPS_PROXY", format!("http://me:s3cret@127.0.0.1:{}", proxy.port()))
        .run()
        .exits(0);
    assert_eq!(run.result()["completed"], 3);
    assert!(server.inference().iter().all(|r| r.header("proxy-authorization").is_none()));

    // A proxy that reads the requests speaks HTTP/1.1.
    let run = forced("vllm", "http://engine.invalid")
        .env("HTTP_PROXY", "http://me:s3cret@127.0.0.1:1")
        .run()
        .exits(2)
        .prints_nothing()
        .says(&["--http-version 2", "http://127.0.0.1:1", "--no-proxy"]);
    assert!(!run.stderr.contains("s3cret"), "{run:?}");

    let run = Rbench::aimed(["--mock", "--http-version", "2"]).run().exits(2).prints_nothing();
    let _ = run.says(&["--http-version 2 does not apply to --mock"]);
}

#[test]
fn much_goes_both_ways() {
    let answer = |request: &Request| {
        assert!(request.body.len() > 100_000, "{}", request.body.len());
        let word = "word ".repeat(200_000);
        // Frames of all lengths; events are cut anywhere.
        let bytes = Wire::Completions.events(&[&word, "end"]).concat().into_bytes();
        let pieces = bytes.chunks(70_001).map(<[u8]>::to_vec);
        pieces.fold(Acts::new().events(), Acts::data).trailers()
    };
    let authority = Authority::new();
    let identity = authority.vouch_for(HOST);
    let speaks = Speaks { protocols: &["h2"], ..Speaks::with(&identity) };
    for server in [Http2::start(answer), Http2::start_tls(speaks.config(), answer)] {
        let mut load = forced("vllm", server.url());
        if server.url().starts_with("https") {
            load = load.file("ca.pem", authority.pem()).args(["--cacert", "ca.pem"]);
        }
        let run = load.args(["--random-input-len", "40000"]).run().exits(0);
        assert_eq!(run.result()["completed"], 3);
        assert_eq!(run.result()["generated_texts"][1].as_str().unwrap().len(), 1_000_003);
        assert!(run.result()["rbench"]["client"]["bytes"].as_u64().unwrap() > 3_000_000);
    }

    let words: Vec<String> = (0..2000).map(|n| format!(" {n}")).collect();
    let text = words.concat();
    let server = Http2::start(move |_| {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        Acts::stream(Wire::Completions.events(&words))
    });
    let run = forced("vllm", server.url()).arg("--connection-per-request").run().exits(0);
    assert_eq!(run.result()["generated_texts"][2], text);
    assert_eq!(run.result()["total_output_tokens"], 6000);
    assert_eq!(server.connections(), 3);
}

#[test]
fn connections_that_are_to_end_are_not_used_again() {
    let server = Http2::start(|request| match request.nth % 3 {
        // With the response under way, and after it.
        0 => Acts::new().events().go_away().data(Wire::Completions.events(WORDS).concat()).end(),
        1 => good(request).go_away(),
        _ => good(request),
    });
    let run = forced("vllm", server.url())
        .args(["--max-concurrency", "1", "--num-prompts", "9"])
        .run()
        .exits(0);
    assert_eq!(run.result()["completed"], 9);
    assert!((6..=7).contains(&server.connections()), "{}", server.connections());
}

#[test]
fn who_turns_requests_away_is_asked_again() {
    let server = Http2::start(|request| match request.nth {
        0 | 1 => Acts::new().head(503, &[("retry-after", "0")]).data("busy").end(),
        _ => good(request),
    });
    let words = ["--retries", "3", "--max-concurrency", "1"];
    let run = forced("vllm", server.url()).args(words).run().exits(0);
    assert_eq!(run.result()["completed"], 3);
    assert_eq!(server.inference().len(), 5);

    let server = Http2::start(|_| Acts::new().head(429, &[]).data("too many").end());
    let run = forced("vllm", server.url()).run().exits(1);
    let all = failures(&run);
    assert_eq!((all[0].0.as_str(), all[0].1), ("http_status", 3), "{all:?}");
    assert!(all[0].2.contains("HTTP status 429") && all[0].2.contains("too many"), "{all:?}");
}

/// What breaks, what the server does, and the kind and words of the failure.
type Broken =
    (&'static str, Box<dyn Fn(&Request) -> Acts + Send + Sync>, &'static str, &'static str);

#[test]
fn what_breaks_is_told_apart() {
    let begun = || Acts::new().events().data(Wire::Completions.events(WORDS)[0].clone());
    let long = "x".repeat(9000);
    let cases: Vec<Broken> = vec![
        (
            "a reset",
            Box::new(move |_| begun().reset(Reason::INTERNAL_ERROR)),
            "early_end",
            "INTERNAL_ERROR",
        ),
        (
            "a reset without a reason",
            Box::new(move |_| begun().reset(Reason::NO_ERROR)),
            "early_end",
            "NO_ERROR",
        ),
        (
            "a reset before the head",
            Box::new(|_| Acts::new().reset(Reason::REFUSED_STREAM)),
            "transport",
            "REFUSED_STREAM",
        ),
        (
            "an end of the connection",
            Box::new(move |_| begun().give_up(Reason::ENHANCE_YOUR_CALM)),
            "early_end",
            // Who tells it first, the stream or the connection, is the server's library's to say.
            "",
        ),
        ("an end before all was said", Box::new(move |_| begun().end()), "early_end", ""),
        (
            "an encoding",
            Box::new(|_| {
                Acts::new().head(200, &[("content-encoding", "br")]).data(*b"\x0b\x02\x80").end()
            }),
            "malformed",
            "br",
        ),
        (
            "a redirect",
            Box::new(|_| Acts::new().head(307, &[("location", "https://u:p@h/x?k=v")]).end()),
            "http_status",
            "leads to https://h/x",
        ),
        (
            "a long head",
            Box::new(move |_| {
                let fields: Vec<_> = (0..8).map(|_| ("x", long.as_str())).collect();
                Acts::new().head(200, &fields).end()
            }),
            "malformed",
            "64 KiB",
        ),
        (
            "too many fields",
            Box::new(|_| Acts::new().head(200, &[("x", "y"); 200]).end()),
            "malformed",
            "128 fields",
        ),
        (
            "interim responses without end",
            Box::new(|_| (0..200).fold(Acts::new(), |acts, _| acts.head(103, &[])).events().end()),
            "malformed",
            "interim",
        ),
        (
            "a length that is not kept",
            Box::new(|_| Acts::new().head(200, &[("content-length", "9")]).data("x").end()),
            "malformed",
            "rules of HTTP/2",
        ),
    ];
    for (what, acts, kind, says) in cases {
        let server = Http2::start(move |request| match request.nth {
            0 => acts(request),
            _ => good(request),
        });
        let run = forced("vllm", server.url()).args(["--max-concurrency", "1"]).run().exits(0);
        assert_eq!(run.result()["completed"], 2, "{what}");
        let all = failures(&run);
        assert_eq!((all.len(), all[0].0.as_str(), all[0].1), (1, kind, 1), "{what}: {all:?}");
        assert!(all[0].2.contains(says) && !all[0].2.contains("u:p"), "{what}: {all:?}");
        // Whatever was left of it went with its connection.
        let more = if kind == "http_status" { 1..=2 } else { 2..=2 };
        assert!(more.contains(&server.connections()), "{what}: {}", server.connections());
    }
    // Interim responses in their number are none of our business.
    let server = Http2::start(|_| {
        let events = Wire::Completions.events(WORDS).concat();
        (0..99).fold(Acts::new(), |acts, _| acts.head(103, &[])).events().data(events).end()
    });
    assert_eq!(forced("vllm", server.url()).run().exits(0).result()["completed"], 3);
}

/// What a server does, its greeting, its answer as for [`raw`], and the kind of the failure.
type Hostile =
    (&'static str, Vec<u8>, Box<dyn Fn(u32) -> (Vec<u8>, Vec<u8>) + Send + Sync>, &'static str);

#[test]
fn hostile_servers_take_nothing_from_the_client() {
    const HEADERS: u8 = 1;
    const CONTINUATION: u8 = 9;
    /// `:status: 200`.
    const OK: &[u8] = &[0x88];
    let settings = || frame(4, 0, 0, &[]);
    let filler = || field("x-filler", &"y".repeat(100)).repeat(100);
    let cases: Vec<Hostile> = vec![
        (
            "frames of a head without end",
            settings(),
            Box::new(move |id| (frame(HEADERS, 0, id, OK), frame(CONTINUATION, 0, id, &filler()))),
            "malformed",
        ),
        (
            "empty frames of a head without end",
            settings(),
            Box::new(|id| (frame(HEADERS, 0, id, OK), frame(CONTINUATION, 0, id, &[]))),
            "malformed",
        ),
        (
            "a frame that is too long",
            settings(),
            Box::new(|id| (frame(HEADERS, 4, id, OK), frame(0, 0, id, &vec![b'x'; 60_000]))),
            "malformed",
        ),
        (
            "data on another stream",
            settings(),
            Box::new(|id| {
                ([frame(HEADERS, 4, id, OK), frame(0, 0, id + 2, b"x")].concat(), Vec::new())
            }),
            "malformed",
        ),
        (
            "a stream that is pushed",
            settings(),
            Box::new(|id| (frame(5, 4, id, &[0, 0, 0, 2, 0x82, 0x86, 0x84]), Vec::new())),
            "malformed",
        ),
        (
            "a head that cannot be decoded",
            settings(),
            Box::new(|id| (frame(HEADERS, 4, id, &[0xff; 20]), Vec::new())),
            "malformed",
        ),
        ("bytes at random", settings(), Box::new(|_| (Vec::new(), vec![0xa5; 1000])), "malformed"),
        (
            "empty frames of data",
            settings(),
            Box::new(|id| (frame(HEADERS, 4, id, OK), frame(0, 0, id, &[]))),
            "malformed",
        ),
        (
            "pings without end",
            settings(),
            Box::new(|_| (Vec::new(), frame(6, 0, 0, &[7; 8]).repeat(100))),
            "transport",
        ),
        (
            "settings without end",
            settings(),
            Box::new(|_| (Vec::new(), frame(4, 0, 0, &[]).repeat(100))),
            "transport",
        ),
        (
            "frames of nobody knows what",
            settings(),
            Box::new(|id| (Vec::new(), frame(0xcc, 0, id, &[1; 1000]))),
            "request_timeout",
        ),
        (
            "another greeting",
            frame(6, 0, 0, &[7; 8]),
            Box::new(|_| (Vec::new(), Vec::new())),
            "connect",
        ),
        (
            "words",
            b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(),
            Box::new(|_| (Vec::new(), Vec::new())),
            "connect",
        ),
        (
            "a greeting that has no end",
            vec![0, 64, 1, 4, 0, 0, 0, 0, 0],
            Box::new(|_| (Vec::new(), Vec::new())),
            "connect",
        ),
    ];
    for (what, greeting, answer, kind) in cases {
        let url = raw(greeting, answer);
        let limit = if kind == "request_timeout" { "500ms" } else { "20s" };
        let run = forced("vllm", &url)
            .args(ALONE)
            .args(["--num-prompts", "2", "--request-timeout", limit])
            .run()
            .exits(1);
        let all = failures(&run);
        assert_eq!((all[0].0.as_str(), all[0].1), (kind, 2), "{what}: {all:?}");
    }
}

#[test]
fn time_limits_hold() {
    // Somebody listens and says nothing, or takes no requests.
    for greeting in [Vec::new(), frame(4, 0, 0, &[0, 3, 0, 0, 0, 0])] {
        let url = raw(greeting, |_| (Vec::new(), Vec::new()));
        let words = ["--connect-timeout", "100ms", "--connection-per-request"];
        let run = forced("vllm", &url).args(ALONE).args(words).run().exits(1);
        let all = failures(&run);
        assert_eq!((all[0].0.as_str(), all[0].1), ("connect_timeout", 3), "{all:?}");
    }

    let server = Http2::start(|request| match request.nth {
        0 => Acts::new().hang(),
        1 => Acts::new().events().data(Wire::Completions.events(WORDS)[0].clone()).hang(),
        _ => good(request),
    });
    let run = forced("vllm", server.url())
        .args([
            "--max-concurrency",
            "1",
            "--first-token-timeout",
            "200ms",
            "--idle-timeout",
            "200ms",
        ])
        .run()
        .exits(0);
    let mut kinds: Vec<String> = failures(&run).into_iter().map(|failure| failure.0).collect();
    kinds.sort();
    assert_eq!(kinds, ["first_token_timeout", "idle_timeout"]);
    // What was given up took its connection with it.
    assert_eq!(server.connections(), 3);
}
