//! The connections of the load: what a kept one loses, and how many there are.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use h2::Reason;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::support::certificates::{Authority, Speaks};
use crate::support::http2::{Acts, Http2, field, frame, raw};
use crate::support::proxy::Proxy;
use crate::support::rbench::{LOAD, Process, Rbench, Run};
use crate::support::server::{Answer, Refusing, Request, Script, Server};
use crate::support::wire::{WORDS, Wire};

/// A load that asks nothing around it.
const ALONE: &[&str] = &["--ready-check-timeout-sec", "0", "--model", "m"];

fn good() -> Answer {
    Answer::stream(Wire::Completions.events(WORDS))
}

/// What comes in the place of a good answer.
type End = fn(Answer) -> Answer;

/// Good answers, but for the second request over each connection, which gets `end` in place of any byte of an answer.
///
/// One request at a time: the second and the fourth that are seen come over kept connections.
fn forgetful(end: End) -> Script {
    Script::new(move |request| if request.nth % 2 == 1 { end(Answer::new()) } else { good() })
}

/// How a connection can end.
const ENDS: &[(&str, End)] =
    &[("close", Answer::close), ("reset", Answer::reset), ("cut", Answer::cut)];

/// A load of three requests, one after the other.
fn one_by_one(url: &str) -> Rbench {
    Rbench::load("vllm", url).args(["--max-concurrency", "1"])
}

/// Checks what the records of a run can break.
fn checks_pass(what: &str, own: &Value) {
    for check in own["checks"].as_array().unwrap() {
        // Little's law has its troubles on a machine that is busy with other tests.
        assert!(check["passed"] == true || check["name"] == "little", "{what}: {own:#}");
    }
}

/// Checks a run of [`one_by_one`] whose kept connections were closed twice: nothing is lost, and that is counted.
fn check_resent(what: &str, run: &Run, seen: &[Request]) {
    let result = run.result();
    assert_eq!(result["completed"], 3, "{what}: {run:#?}");
    assert_eq!(seen.len(), 5, "{what}");
    assert_eq!((&seen[1].body, &seen[3].body), (&seen[2].body, &seen[4].body), "{what}");
    let own = &result["rbench"];
    assert_eq!(
        (&own["ledger"]["resent"], &own["ledger"]["sent"]),
        (&json!(2), &json!(3)),
        "{what}"
    );
    assert_eq!((&own["resent_requests"], &own["retry_attempts"]), (&json!(2), &json!(0)), "{what}");
    assert!(run.row("Resent after a lost connection:").unwrap().starts_with("2 ("), "{what}");
    checks_pass(what, own);
    // Latencies begin with the second send; the cost of the first is beside it, and the parts fit together.
    let of = |key: &str, i: usize| own[key][i].as_f64();
    for i in 0..3 {
        let (sent, cost, connect) =
            (of("sent_s", i).unwrap(), of("resent_s", i), of("connect_s", i));
        assert_eq!((cost.is_some(), connect.is_some()), (i > 0, i > 0), "{what}: {own:#}");
        let begun = sent - cost.unwrap_or(0.0) - connect.unwrap_or(0.0);
        assert!(begun >= of("released_s", i).unwrap() - 1e-6, "{what}: {own:#}");
    }
}

#[test]
fn a_request_whose_kept_connection_ends_before_any_byte_is_sent_once_more_over_a_new_one() {
    for &(how, end) in ENDS {
        let server = forgetful(end).start();
        check_resent(how, &one_by_one(&server.url()).run().exits(0), &server.inference());
        // Each connection has one answer and one loss, and what was lost went over a new one.
        assert_eq!(server.connections(), 3, "{how}");
    }
    let folder = tempfile::tempdir().unwrap();
    let server = forgetful(Answer::close).start_unix(&folder.path().join("s"));
    let run = one_by_one(&server.url()).run().exits(0);
    check_resent("a Unix socket", &run, &server.inference());

    let proxy = forgetful(Answer::close).start();
    let run = one_by_one("http://engine.invalid:81")
        .args(ALONE)
        .env("HTTP_PROXY", format!("http://127.0.0.1:{}", proxy.port()))
        .run()
        .exits(0);
    let mut seen = proxy.inference();
    seen.retain(|request| request.method == "POST");
    check_resent("a proxy", &run, &seen);

    // The request cannot even be written.
    let run = one_by_one(&deaf_after_the_first())
        .args(ALONE)
        .args(["--num-prompts", "2", "--random-input-len", "400000"])
        .run()
        .exits(0);
    assert_eq!(run.result()["completed"], 2);
    assert_eq!(run.result()["rbench"]["ledger"]["resent"], 1);
}

#[test]
fn so_it_is_over_tls() {
    let authority = Authority::new();
    let identity = authority.vouch_for(&["127.0.0.1", "localhost"]);
    let start = |end| forgetful(end).start_tls(Speaks::with(&identity).config());
    let load =
        |url: &str| one_by_one(url).file("ca.pem", authority.pem()).args(["--cacert", "ca.pem"]);
    for &(how, end) in ENDS {
        let server = start(end);
        check_resent(how, &load(&server.url()).run().exits(0), &server.inference());
    }
    let (server, proxy) = (start(Answer::close), Proxy::start(""));
    let run = load(&server.url())
        .env("HTTPS_PROXY", format!("http://127.0.0.1:{}", proxy.port()))
        .run()
        .exits(0);
    check_resent("a way through a proxy", &run, &server.inference());
}

/// A server that answers the first request over each connection, and resets the connection at the beginning of the next.
fn deaf_after_the_first() -> String {
    fn serve(mut stream: TcpStream) -> std::io::Result<()> {
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            seen.extend(byte);
        }
        let head = String::from_utf8(seen).unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut body = (&mut stream).take(length.parse().unwrap());
        std::io::copy(&mut body, &mut std::io::sink())?;
        let body = Wire::Completions.events(WORDS).concat();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n";
        write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len())?;
        stream.read_exact(&mut [0])
        // What is left unread makes the end a reset.
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            std::thread::spawn(move || drop(serve(stream)));
        }
    });
    url
}

#[test]
fn over_http2_what_the_server_never_looked_at_is_sent_once_more() {
    type Lost = fn() -> Acts;
    let server = Http2::start(|request| match request.nth % 2 {
        1 => Acts::new().reset(Reason::REFUSED_STREAM),
        _ => Acts::stream(Wire::Completions.events(WORDS)),
    });
    let run = one_by_one(server.url()).args(["--http-version", "2"]).run().exits(0);
    check_resent("a refused stream", &run, &server.inference());

    // The second request over each connection has the stream 3.
    let last =
        |id: u32, reason: u8| frame(7, 0, 0, &[&id.to_be_bytes()[..], &[0, 0, 0, reason]].concat());
    for (what, lost) in [
        ("the end of the connection", Vec::new()),
        ("no further streams", last(1, 0)),
        ("too many streams", last(1, 11)),
    ] {
        let url = raw(frame(4, 0, 0, &[]), move |id| match id {
            1 => {
                let body = Wire::Completions.events(WORDS).concat();
                let head = [&[0x88][..], &field("content-type", "text/event-stream")].concat();
                let bytes = [frame(1, 4, id, &head), frame(0, 1, id, body.as_bytes())].concat();
                (bytes, Vec::new())
            }
            _ => (lost.clone(), Vec::new()),
        });
        let run = one_by_one(&url).args(["--http-version", "2"]).args(ALONE).run().exits(0);
        assert_eq!(run.result()["completed"], 3, "{what}: {run:#?}");
        assert_eq!(run.result()["rbench"]["ledger"]["resent"], 2, "{what}");
    }

    // These have looked at the request.
    let seen: &[(&str, Lost)] = &[
        ("a reset for another reason", || Acts::new().reset(Reason::INTERNAL_ERROR)),
        ("an interim response", || Acts::new().head(103, &[]).reset(Reason::REFUSED_STREAM)),
        ("an end that counts the request in", || Acts::new().give_up(Reason::NO_ERROR)),
    ];
    for (what, end) in seen {
        let server = Http2::start(move |request| match request.nth {
            1 => end(),
            _ => Acts::stream(Wire::Completions.events(WORDS)),
        });
        let run = one_by_one(server.url()).args(["--http-version", "2"]).run().exits(0);
        assert_eq!(run.result()["completed"], 2, "{what}");
        assert_eq!(server.inference().len(), 3, "{what}");
    }
}

#[test]
fn nothing_is_sent_once_more_after_a_byte_of_the_answer_or_over_a_new_connection() {
    let begun: &[(&str, End)] = &[
        ("a byte", |answer| answer.raw("H").close()),
        ("an interim response", |answer| answer.raw("HTTP/1.1 100 Continue\r\n\r\n").close()),
        ("a head", |answer| answer.raw("HTTP/1.1 200 OK\r\n\r\n").reset()),
        ("a status", |answer| answer.raw("HTTP/1.1 500 No\r\ncontent-length: 3\r\n\r\n").close()),
        ("half an event", |_| Answer::events().chunk("data: {").close()),
    ];
    for (what, end) in begun {
        let end = *end;
        let server =
            Script::new(move |request| if request.nth == 1 { end(Answer::new()) } else { good() })
                .start();
        let run = one_by_one(&server.url()).run().exits(0);
        assert_eq!(server.inference().len(), 3, "{what}");
        let own = &run.result()["rbench"];
        assert_eq!((&own["ledger"]["failed"], &own["ledger"]["resent"]), (&json!(1), &json!(null)));
        assert_eq!(run.row("Resent after a lost connection:"), None, "{what}");
        checks_pass(what, own);
    }
    // The second one is lost twice, and fails; the third one finds no kept connection.
    let server =
        Script::new(|request| if request.nth > 0 { Answer::new().close() } else { good() }).start();
    let run = one_by_one(&server.url()).run().exits(0);
    assert_eq!(server.inference().len(), 4);
    let own = &run.result()["rbench"];
    assert_eq!((&own["ledger"]["failed"], &own["ledger"]["resent"]), (&json!(2), &json!(1)));
    assert_eq!(own["failures"][0]["kind"], "transport");
    checks_pass("lost twice", own);
    // Without kept connections nothing is stale.
    let server = forgetful(Answer::close).start();
    let run = one_by_one(&server.url()).arg("--connection-per-request").run().exits(0);
    assert_eq!(server.inference().len(), 3);
    assert_eq!(run.result()["completed"], 2);
}

#[test]
fn what_is_sent_once_more_is_no_retry() {
    // Lost, turned away over the new connection, good over another one: one retry is enough for that.
    for retries in ["1", "0"] {
        let server = Script::new(|request| match request.nth {
            1 => Answer::new().close(),
            2 => Answer::head("503 Busy", &["content-length: 0", "retry-after: 0"]),
            _ => good(),
        })
        .start();
        let run = one_by_one(&server.url())
            .args([
                "--retries",
                retries,
                "--records",
                "run.records",
                "--failed-file",
                "failed.jsonl",
            ])
            .run()
            .exits(0);
        let result = run.result();
        let own = &result["rbench"];
        assert_eq!(own["ledger"]["resent"], 1, "{own:#}");
        assert_eq!(own["ledger"]["failed"], u64::from(retries == "0"), "{own:#}");
        assert_eq!(own["retry_attempts"], u64::from(retries == "1"), "{own:#}");
        checks_pass(retries, own);
        // Records tell the same.
        let report = Rbench::new(["report"]).arg(run.path("run.records")).run().exits(0);
        assert_eq!(report.stdout, run.stdout, "{retries}");
        let failed = std::fs::read_to_string(run.path("failed.jsonl")).unwrap();
        assert_eq!(failed.contains("\"resent_s\":0.0"), retries == "0", "{failed}");
    }
}

#[test]
fn losses_are_the_same_with_little_memory_and_in_conversations() {
    let server = forgetful(Answer::close).start();
    let run = Rbench::plain_load("vllm", &server.url())
        .args(["--max-concurrency", "1", "--low-memory", "--records", "run.records"])
        .run()
        .exits(0);
    assert_eq!(run.result()["completed"], 3);
    assert_eq!(run.result()["rbench"]["ledger"]["resent"], 2);
    assert_eq!(run.result()["rbench"]["resent_requests"], 2);
    let line = std::fs::read_to_string(run.path("run.records")).unwrap();
    assert_eq!(line.matches("\"resent_ns\":").count(), 2, "{line}");

    // Each round after the first goes over the connection of the one before.
    let round = |text: &str| json!({"messages": [{"role": "user", "content": text}]});
    let trace = json!({"conversations": [[round("one"), round("two"), round("three")]]});
    let server = Script::new(|request| match request.nth % 2 {
        1 => Answer::new().close(),
        _ => Answer::stream(Wire::Chat.events(WORDS)),
    })
    .start();
    let run = Rbench::load("vllm-chat", &server.url())
        .file("trace.json", trace.to_string())
        .args(["--dataset-name", "agentic-trace", "--dataset-path", "trace.json"])
        .args(["--num-prompts", "1", "--sharegpt-output-len", "4"])
        .run()
        .exits(0);
    assert_eq!(run.result()["completed"], 3);
    assert_eq!(run.result()["rbench"]["ledger"]["resent"], 2);
    assert_eq!(server.inference().len(), 5);
    checks_pass("conversations", &run.result()["rbench"]);
}

#[test]
fn a_connection_is_not_used_for_longer_than_the_server_says_that_it_keeps_it() {
    // Named times that are over at once, that are not, and none that is understood.
    for (keeps, connections) in [
        ("timeout=0", 3),
        ("max=5, Timeout=0", 3),
        ("timeout=5, max=100", 1),
        ("timeout=soon", 1),
        ("timeout=18446744073709551615", 1),
    ] {
        let server = Script::new(move |_| {
            let keeps = format!("keep-alive: {keeps}");
            let fields = ["content-type: text/event-stream", "transfer-encoding: chunked", &keeps];
            let events = Wire::Completions.events(WORDS);
            events.iter().fold(Answer::head("200 OK", &fields), Answer::chunk).end()
        })
        .start();
        let run = one_by_one(&server.url()).run().exits(0);
        assert_eq!(run.result()["completed"], 3);
        assert_eq!(server.connections(), connections, "{keeps}");
    }
}

/// A server with one worker, which serves a connection until that is closed, and takes `ms` for an answer.
fn one_worker(ms: u64) -> Server {
    let gone = |_: &Request| Answer::not_found().close();
    Script::new(move |_| good().after(Answer::new().pause(ms)))
        .one_worker()
        .on("/v1/models", gone)
        .on("/server_info", gone)
        .start()
}

#[test]
fn no_connection_is_kept_while_others_wait_for_the_worker_that_serves_it() {
    let client = |run: &Run| run.result()["rbench"]["client"].clone();
    // At a rate nothing is opened before it is needed.
    let run = Rbench::load("vllm", &one_worker(0).url())
        .args(ALONE)
        .args(["--request-rate", "100"])
        .run()
        .exits(0);
    assert_eq!(run.result()["completed"], 3);
    assert!(client(&run)["connections_ahead"].as_u64().unwrap() <= 1, "{run:#?}");

    // A burst: what has its answer and nothing to send makes room. The server would wait for ever.
    let run = Rbench::load("vllm", &one_worker(0).url())
        .args(ALONE)
        .args(["--num-prompts", "5", "--worker-threads", "2"])
        .run()
        .exits(0);
    assert_eq!(run.result()["completed"], 5);

    // More in flight than workers: each has its turn, and the run says what was waited for.
    let run = Rbench::load("vllm", &one_worker(30).url())
        .args(ALONE)
        .args(["--num-prompts", "20", "--max-concurrency", "2"])
        .run()
        .exits(0);
    assert_eq!(run.result()["completed"], 20);
    let told = client(&run)["left_waiting_ms"].clone();
    assert!(told["max"].as_f64().unwrap() >= 100.0, "{told}");
    let limits = run.result()["rbench"]["verdict"]["limits"].to_string();
    assert!(limits.contains("while it answered over other connections"), "{limits}");

    // As many as there are workers, or answers at their own pace: nothing is closed, and nothing is said.
    let run = Rbench::load("vllm", &one_worker(5).url())
        .args(ALONE)
        .args(["--num-prompts", "20", "--max-concurrency", "1"])
        .run()
        .exits(0);
    assert_eq!(client(&run)["connections"], 0);
    // The first answer comes with the last, at whatever pace the others come.
    let last = Arc::new(Barrier::new(2));
    let server = Script::new(move |request| match request.nth {
        0 | 39 => good().after(Answer::new().meet(&last)),
        _ => good().after(Answer::new().pause(10)),
    })
    .start();
    let run = Rbench::load("vllm", &server.url())
        .args(["--num-prompts", "40", "--max-concurrency", "2"])
        .run()
        .exits(0);
    assert_eq!(run.result()["completed"], 40);
    assert_eq!(client(&run)["left_waiting_ms"], Value::Null);
}

/// The rows of requests in the records of a run.
fn rows(run: &Run) -> Vec<Value> {
    let text = std::fs::read_to_string(run.path("run.records")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|row| row["index"].is_u64()).collect()
}

#[test]
fn an_attempt_counts_when_it_is_made() {
    // The run ends while another attempt is planned: after the first one, and after the second.
    for (made, retry_after) in [(1, ["600", "600"]), (2, ["0", "600"])] {
        let process = Process::default();
        let seen = process.clone();
        let server = Script::new(move |request| {
            let nth = request.nth;
            if nth + 1 == made {
                seen.signal(Signal::INT);
            }
            let again = format!("retry-after: {}", retry_after[nth.min(1)]);
            Answer::head("429 Busy", &["content-length: 0", &again])
        })
        .start();
        let run = one_by_one(&server.url())
            .args(["--num-prompts", "1", "--retries", "3", "--records", "run.records"])
            .known_as(&process)
            .run()
            .exits(130);
        let row = &rows(&run)[0];
        assert_eq!(row["outcome"], "failed", "{row}");
        assert_eq!(row["attempts"].as_u64().unwrap_or(1), made as u64, "{row}");
        assert_eq!(row["first_sent_ns"].is_u64(), made > 1, "{row}");
        assert_eq!(row["failure"]["status"], 429, "{row}");
        let own = &run.result()["rbench"];
        assert_eq!(own["retry_attempts"], made as u64 - 1);
        checks_pass("an early end", own);
    }
    // So it is where nobody listens, and with the servers that were asked.
    let process = Process::default();
    let (nobody, seen) = (Refusing::new(), process.clone());
    let server = Script::new(move |_| {
        seen.signal(Signal::INT);
        good()
    })
    .start();
    let urls = ["--base-url", &nobody.url(), "--base-url", &server.url()];
    let run =
        Rbench::aimed([["--backend", "vllm"], [urls[0], urls[1]], [urls[2], urls[3]]].concat())
            .args(ALONE)
            .args(["--num-prompts", "2", "--retries", "3", "--records", "run.records"])
            .known_as(&process)
            .run()
            .exits(130);
    let rows = rows(&run);
    let row = rows.iter().find(|row| row["outcome"] == "failed").unwrap();
    assert_eq!(row["failure"]["kind"], "connect_refused", "{row}");
    assert_eq!((&row["attempts"], &row["endpoint"]), (&Value::Null, &Value::Null), "{row}");
    checks_pass("nobody there", &run.result()["rbench"]);
}

#[test]
fn a_request_waits_for_a_descriptor_and_says_so() {
    let load = |pause: u64, words: &[&str]| {
        let server = Script::new(move |_| good().after(Answer::new().pause(pause))).start();
        let url = server.url();
        Rbench::in_shell("ulimit -n 80", ["serve", "--backend", "vllm", "--base-url", &url])
            .args(LOAD)
            .args(["--num-prompts", "160", "--request-rate", "100000"])
            .args(words)
            .run()
    };
    let run = load(50, &[]).exits(0);
    let own = &run.result()["rbench"];
    assert_eq!(own["ledger"]["completed"], 160, "{run:#?}");
    assert!(own["waited_for_connection"].as_u64().unwrap() > 20, "{own:#}");
    let limits = own["verdict"]["limits"].to_string();
    assert!(limits.contains("waited for a file descriptor or local port"), "{limits}");
    checks_pass("waits", own);

    let run = load(1500, &["--connect-timeout", "300ms"]).exits(0);
    let failures = &run.result()["rbench"]["failures"];
    assert_eq!(
        (&failures[0]["kind"], &failures[0]["phase"]),
        (&json!("exhausted"), &json!("connect"))
    );
    let says = failures[0]["message"].as_str().unwrap();
    assert!(says.contains("for want of a file descriptor") && says.contains("ulimit -n"), "{says}");
    assert_eq!(failures.as_array().unwrap().len(), 1, "{failures}");
}

#[test]
fn fields_about_the_connection_are_refused_and_not_dropped() {
    for name in [
        "Connection",
        "content-length",
        "Keep-Alive",
        "proxy-connection",
        "TE",
        "transfer-encoding",
        "Upgrade",
    ] {
        let header = format!("{name}=s3cret");
        let run = Rbench::load("vllm", "http://127.0.0.1:9").args(["--header", &header]).run();
        let run = run.exits(2).says(&[&format!("--header {}: ", name.to_lowercase())]);
        assert!(!run.stderr.contains("s3cret"), "{run:#?}");
    }
}

#[test]
fn a_key_that_is_not_text_is_refused_and_not_left_out() {
    let odd = OsStr::from_bytes(b"s3cret\xff");
    for name in [
        "OPENAI_API_KEY",
        "API_KEY",
        "HTTP_PROXY",
        "https_proxy",
        "HF_TOKEN",
        "MODELSCOPE_API_TOKEN",
    ] {
        let run = Rbench::load("vllm", "http://127.0.0.1:9").env(name, odd).run().exits(2);
        let run = run.says(&[&format!("{name} is not UTF-8")]);
        assert!(!run.stderr.contains("s3cret"), "{run:#?}");
    }
    let run = Rbench::new(["mock", "--port", "0"]).env("RBENCH_MOCK_API_KEY", odd).run().exits(1);
    let _ = run.says(&["RBENCH_MOCK_API_KEY: it is not UTF-8"]);
}
