//! Load over TLS: what is trusted, what is shown, what breaks.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener};

use serde_json::{Value, json};
use tokio_rustls::rustls::version;

use crate::support::certificates::{Authority, Identity, Speaks, self_signed};
use crate::support::rbench::{Rbench, Run};
use crate::support::server::{Answer, Script, Server};
use crate::support::wire::{self, WORDS, Wire};

const HOST: &[&str] = &["127.0.0.1", "localhost"];

/// A load that trusts `authority`.
fn trusting(backend: &str, server: &Server, authority: &str) -> Rbench {
    Rbench::load(backend, &server.url()).file("ca.pem", authority).args(["--cacert", "ca.pem"])
}

/// The failures of the result.
fn failures(run: &Run) -> Vec<Value> {
    run.result()["rbench"]["failures"].as_array().unwrap().clone()
}

#[test]
fn streams_come_over_tls_with_the_times_of_the_kernel() {
    let authority = Authority::new();
    let identity = authority.vouch_for(HOST);
    for version in [&version::TLS13, &version::TLS12] {
        for backend in ["sglang", "vllm-chat"] {
            let speaks = Speaks { version: Some(version), ..Speaks::with(&identity) };
            let server = Script::new(wire::good).start_tls(speaks.config());
            let run = trusting(backend, &server, &authority.pem()).run().exits(0).prints_a_table();
            let result = run.result();
            assert_eq!(result["completed"], 3);
            assert_eq!(result["generated_texts"][0], WORDS.concat());
            // Tickets that come unasked spend no connection: the three opened ahead are used.
            let client = &result["rbench"]["client"];
            assert_eq!(client["connections_ahead"], 3, "{client:#}");
            assert_eq!(client["connections"], 0, "{client:#}");
            if client["clock"] == "kernel" {
                assert_eq!(client["unstamped_reads"], 0, "{client:#}");
            }
            for times in ["connect_ms", "tls_ms"] {
                let time = |key: &str| client[times][key].as_f64().unwrap();
                assert!(0.0 < time("p50") && time("p50") <= time("p99"), "{client:#}");
                assert!(time("p99") <= time("max"), "{client:#}");
            }
        }
    }
}

#[test]
fn connections_are_used_again() {
    let authority = Authority::new();
    let identity = authority.vouch_for(HOST);
    let server = Script::new(wire::good).start_tls(Speaks::with(&identity).config());
    let run = trusting("vllm", &server, &authority.pem())
        .args(["--max-concurrency", "2", "--num-prompts", "12"])
        .run()
        .exits(0);
    assert_eq!(run.result()["completed"], 12);
    assert!(server.connections() <= 2, "{}", server.connections());
}

#[test]
fn bodies_are_cut_anywhere() {
    let authority = Authority::new();
    let identity = authority.vouch_for(HOST);
    for cut in [1, 7, 100] {
        let server = Script::new(move |_| {
            let bytes = Wire::Completions.events(WORDS).concat().into_bytes();
            let head = Answer::head("200 OK", &["content-type: text/event-stream"]);
            // Each piece is a record of its own.
            bytes.chunks(cut).fold(head, Answer::raw).close()
        })
        .start_tls(Speaks::with(&identity).config());
        let run = trusting("vllm", &server, &authority.pem()).run().exits(0);
        assert_eq!(run.result()["generated_texts"][2], WORDS.concat(), "{cut}");
    }
}

#[test]
fn large_bodies_go_both_ways() {
    let authority = Authority::new();
    let identity = authority.vouch_for(HOST);
    let server = Script::new(|request| {
        assert!(request.body.len() > 50_000, "{}", request.body.len());
        let word = "word ".repeat(200_000);
        Answer::stream(Wire::Completions.events(&[&word, "end"]))
    })
    .start_tls(Speaks::with(&identity).config());
    let run = trusting("vllm", &server, &authority.pem())
        .args(["--random-input-len", "20000"])
        .run()
        .exits(0);
    let result = run.result();
    assert_eq!(result["generated_texts"][1].as_str().unwrap().len(), 1_000_003);
    assert!(result["rbench"]["client"]["bytes"].as_u64().unwrap() > 3_000_000);
}

#[test]
fn many_connections() {
    let authority = Authority::new();
    let identity = authority.vouch_for(HOST);
    let server = Script::new(wire::good).start_tls(Speaks::with(&identity).config());
    let run = trusting("vllm", &server, &authority.pem()).args(["--num-prompts", "200"]).run();
    let result = run.exits(0).result();
    assert_eq!(result["completed"], 200);
    assert_eq!(result["rbench"]["client"]["connections_ahead"], 200);
    assert_eq!(result["rbench"]["client"]["connections"], 0);
}

#[test]
fn an_end_without_the_words_for_it_may_be_a_cut() {
    let authority = Authority::new();
    let identity = authority.vouch_for(HOST);
    let body = |_: &_| {
        let text = Wire::Completions.whole(&WORDS.concat(), Some(4)).to_string();
        Answer::head("200 OK", &["content-type: application/json"]).raw(text)
    };
    let server = Script::new(move |r| body(r).close()).start_tls(Speaks::with(&identity).config());
    let whole = trusting("vllm", &server, &authority.pem()).arg("--disable-stream").run();
    assert_eq!(whole.exits(0).result()["completed"], 3);

    let server = Script::new(move |r| body(r).cut()).start_tls(Speaks::with(&identity).config());
    let cut = trusting("vllm", &server, &authority.pem()).arg("--disable-stream").run().exits(1);
    assert_eq!(failures(&cut)[0]["kind"], "early_end");

    // A stream says itself when it is done.
    let server = Script::new(|_| {
        let head = Answer::head("200 OK", &["content-type: text/event-stream"]);
        head.raw(Wire::Completions.events(WORDS).concat()).cut()
    })
    .start_tls(Speaks::with(&identity).config());
    let done = trusting("vllm", &server, &authority.pem()).run().exits(0);
    assert_eq!(done.result()["completed"], 3);
}

#[test]
fn a_connection_that_breaks_is_a_failure_of_its_request() {
    let authority = Authority::new();
    let identity = authority.vouch_for(HOST);
    let server = Script::new(|request| match request.nth {
        0 => wire::good(request),
        1 => Answer::events().chunk(Wire::Completions.events(WORDS)[0].clone()).reset(),
        _ => Answer::new().cut(),
    })
    .start_tls(Speaks::with(&identity).config());
    let run = trusting("vllm", &server, &authority.pem()).run().exits(0);
    let mut kinds: Vec<_> =
        failures(&run).iter().map(|f| f["kind"].as_str().unwrap().to_owned()).collect();
    kinds.sort();
    assert_eq!(kinds, ["early_end", "transport"]);
}

#[test]
fn servers_that_are_not_trusted_are_not_waited_for() {
    let (authority, other) = (Authority::new(), Authority::named("another"));
    let good = authority.vouch_for(HOST);
    let cases: &[(&Identity, &Authority, &[&str])] = &[
        (&good, &other, &["no known authority", "--cacert"]),
        (
            &authority.vouch_for(&["engine.example"]),
            &authority,
            &["not for 127.0.0.1, but for", "engine.example", "--base-url"],
        ),
        (&authority.vouch_too_late_for(HOST), &authority, &["has expired", "--insecure"]),
    ];
    for (identity, authority, says) in cases {
        let server = Script::untouched().start_tls(Speaks::with(identity).config());
        let run = trusting("vllm", &server, &authority.pem()).run().exits(1).prints_nothing();
        let _ = run.says(says);

        // Without a look before, each request tells it.
        let run = trusting("vllm", &server, &authority.pem())
            .args(["--ready-check-timeout-sec", "0", "--model", "m"])
            .run()
            .exits(1)
            .says(says);
        let failures = failures(&run);
        assert_eq!(failures.len(), 1, "{failures:?}");
        assert_eq!(failures[0]["kind"], "tls");
        assert_eq!(failures[0]["phase"], "connect");
        assert_eq!(failures[0]["count"], 3);
    }
    // The authorities of the system, if there are any, do not know it either.
    let server = Script::untouched().start_tls(Speaks::with(&good).config());
    let run = Rbench::load("vllm", &server.url()).run();
    assert_eq!(run.code, Some(1), "{run:?}");
}

#[test]
fn insecure_trusts_everybody_and_warns() {
    let identity = Authority::new().vouch_too_late_for(&["engine.example"]);
    let server = Script::new(wire::good).start_tls(Speaks::with(&identity).config());
    let run = Rbench::load("vllm", &server.url()).arg("--insecure").run().exits(0);
    assert_eq!(run.says(&["warning: --insecure"]).result()["completed"], 3);
}

#[test]
fn a_certificate_that_a_server_made_for_itself_can_be_named() {
    let identity = self_signed(HOST);
    let server = Script::new(wire::good).start_tls(Speaks::with(&identity).config());
    let run = trusting("vllm", &server, &identity.pem).run().exits(0);
    assert_eq!(run.result()["completed"], 3);

    let elsewhere = self_signed(&["engine.example"]);
    let server = Script::untouched().start_tls(Speaks::with(&elsewhere).config());
    let _ = trusting("vllm", &server, &elsewhere.pem).run().exits(1).says(&["but for"]);
}

#[test]
fn servers_may_want_certificates_of_their_clients() {
    let (authority, clients) = (Authority::new(), Authority::named("of clients"));
    let identity = authority.vouch_for(HOST);
    let client = clients.vouch_for(&["client.example"]);
    let stranger = authority.vouch_for(&["client.example"]);
    for version in [&version::TLS13, &version::TLS12] {
        let speaks = || Speaks {
            clients: Some(&clients),
            version: Some(version),
            ..Speaks::with(&identity)
        };
        let with = |server: &Server, identity: &Identity| {
            trusting("vllm", server, &authority.pem())
                .file("me.pem", &identity.pem)
                .file("me.key", identity.key_pem())
                .args(["--cert", "me.pem", "--key", "me.key"])
        };
        let server = Script::new(wire::good).start_tls(speaks().config());
        assert_eq!(with(&server, &client).run().exits(0).result()["completed"], 3);

        let server = Script::untouched().start_tls(speaks().config());
        let words = ["--ready-check-timeout-sec", "0", "--model", "m"];
        for run in [
            trusting("vllm", &server, &authority.pem()).args(words).run(),
            with(&server, &stranger).args(words).run(),
        ] {
            let run = run.exits(1).says(&["--cert and --key"]);
            let failures = failures(&run);
            assert_eq!(failures[0]["kind"], "tls", "{failures:?}");
            assert_eq!(failures[0]["phase"], "connect", "{failures:?}");
        }
        let run = trusting("vllm", &server, &authority.pem()).run().exits(1).prints_nothing();
        let _ = run.says(&["--cert and --key"]);
    }
}

#[test]
fn what_is_not_tls_is_told() {
    let words = ["--ready-check-timeout-sec", "0", "--model", "m"];
    // What a server without TLS says to the beginning of a handshake.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut byte = [0];
            let _ = stream.read(&mut byte);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
            let _ = stream.shutdown(Shutdown::Write);
            // Until the client goes away, so that what was said arrives.
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
    let run = Rbench::load("vllm", &url).arg("--insecure").args(words).run().exits(1);
    let run = run.says(&["if it speaks plain http, write http://"]);
    assert_eq!(failures(&run)[0]["kind"], "tls");
}

#[test]
fn files_that_can_not_be_used_are_named() {
    let authority = Authority::new();
    let (one, two) = (authority.vouch_for(HOST), authority.vouch_for(HOST));
    let cases: &[(&[&str], &[&str])] = &[
        (&["--cacert", "no.pem"], &["--cacert no.pem: cannot be read"]),
        (&["--cacert", "one.key"], &["--cacert one.key: expected certificates in PEM form"]),
        (&["--cacert", "broken.pem"], &["--cacert broken.pem"]),
        (&["--cert", "no.pem", "--key", "one.key"], &["--cert no.pem: cannot be read"]),
        (&["--cert", "one.pem", "--key", "no.key"], &["--key no.key: cannot be read"]),
        (&["--cert", "one.pem", "--key", "one.pem"], &["--key one.pem: expected a private key"]),
        (
            &["--cert", "one.pem", "--key", "two.key"],
            &["--cert one.pem: --key two.key is not the key"],
        ),
        (&["--cert", "one.pem", "--key", "odd.key"], &["--key odd.key: expected a private key"]),
    ];
    for (words, says) in cases {
        let run = Rbench::load("vllm", "https://127.0.0.1:1")
            .file("one.pem", &one.pem)
            .file("one.key", one.key_pem())
            .file("two.key", two.key_pem())
            .file("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
            .file("odd.key", "-----BEGIN s3cret KEY\ns3cret\n")
            .args(*words)
            .run()
            .exits(1)
            .prints_nothing()
            .says(says);
        let middle = one.key_pem().lines().nth(1).unwrap().to_owned();
        assert!(!run.stderr.contains("s3cret") && !run.stderr.contains(&middle), "{run:?}");
    }
    for (words, says) in [
        (&["--cert", "one.pem"][..], "--key"),
        (&["--key", "one.key"], "--cert"),
        (&["--cacert", "one.pem", "--insecure"], "--insecure"),
    ] {
        let _ =
            Rbench::load("vllm", "https://127.0.0.1:1").args(words).run().exits(2).says(&[says]);
    }
    let identity = ["--cert", "a", "--key", "b"];
    let run = Rbench::load("vllm", "http://127.0.0.1:1").args(identity).run().exits(2);
    let _ = run.says(&["--cert", "does not apply", "https"]);
}

#[test]
fn the_result_has_the_names_of_the_files_and_not_what_is_in_them() {
    let authority = Authority::new();
    let identity = authority.vouch_for(HOST);
    let server = Script::new(wire::good).start_tls(Speaks::with(&identity).config());
    let run = trusting("vllm", &server, &authority.pem())
        .file("me.pem", &identity.pem)
        .file("me.key", identity.key_pem())
        .args(["--cert", "me.pem", "--key", "me.key"])
        .run()
        .exits(0);
    let config = &run.result()["rbench"]["config"];
    assert_eq!(json!([config["cacert"], config["key"]]), json!(["ca.pem", "me.key"]));
    let key = identity.key_pem();
    let middle = key.lines().nth(1).unwrap();
    assert!(!run.result_text().contains(middle) && !run.stderr.contains(middle));
}
