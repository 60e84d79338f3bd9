//! What hostile and broken servers do: each fault is a row, and all of them happen in one run at the same time.
//!
//! Beside each fault runs a good stream that begins before it and ends after it, and has to come out unharmed.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::support::rbench::Rbench;
use crate::support::server::{Answer, Request, Script};
use crate::support::wire::{DONE, WORDS, Wire, event, good};

const WIRE: Wire = Wire::Chat;

/// What a fault does to its request.
#[derive(Debug, Clone, Copy)]
enum Want {
    /// Nothing: it completes with the text of [`WORDS`].
    Good,
    /// It fails with this kind and in this phase, and says this.
    Bad(&'static str, &'static str, &'static str),
}

use Want::{Bad, Good};

struct Fault {
    what: &'static str,
    answer: Answer,
    want: Want,
}

fn fault(what: &'static str, answer: Answer, want: Want) -> Fault {
    Fault { what, answer, want }
}

/// Nothing but a head of events, without a length, and what follows.
fn open(rest: impl AsRef<[u8]>) -> Answer {
    Answer::head("200 OK", &["content-type: text/event-stream"]).raw(rest)
}

/// A chunked body of events with broken chunks after the first event.
fn chunks(rest: impl AsRef<[u8]>) -> Answer {
    Answer::events().chunk(event(&WIRE.token(WORDS, 0))).raw(rest)
}

/// A good stream in which one text takes the place of another.
fn changed(from: &str, to: &str) -> Answer {
    Answer::stream([WIRE.events(WORDS).concat().replace(from, to)])
}

/// An event that holds `json` under a key of no meaning, and the stream after it.
fn beside(json: &str) -> Answer {
    changed("{\"choices\"", &format!("{{\"unknown\":{json},\"choices\""))
}

fn nested(open: &str, inside: &str, close: &str) -> String {
    const DEPTH: usize = 100_000;
    open.repeat(DEPTH) + inside + &close.repeat(DEPTH)
}

/// A request's row, which its message names.
fn row_of(request: &Request) -> usize {
    let body = request.json();
    body["messages"][0]["content"].as_str().unwrap().parse().unwrap()
}

/// Runs all faults at once, each with a good stream beside it.
fn run(faults: Vec<Fault>, shell: &str) {
    let everybody = Arc::new(Barrier::new(2 * faults.len()));
    let events = WIRE.events(WORDS);
    let beside = Answer::events()
        .chunk(&events[0])
        .meet(&everybody)
        .chunk(&events[1])
        .chunk(events[2..].concat())
        .end();
    let wants: Vec<(&str, Want)> = faults.iter().map(|fault| (fault.what, fault.want)).collect();
    let answers: Vec<Answer> = faults
        .into_iter()
        .map(|fault| fault.answer.after(Answer::new().meet(&everybody)))
        .collect();
    let server = Script::new(move |request| match row_of(request) {
        row if row % 2 == 0 => beside.clone(),
        row => answers[row / 2].clone(),
    })
    .start();
    let n = 2 * wants.len();
    let row = |row: usize| json!({"messages": [{"role": "user", "content": row.to_string()}]});
    let rows: Vec<String> = (0..n).map(|n| row(n).to_string()).collect();
    let run =
        Rbench::in_shell(shell, ["serve", "--backend", "vllm-chat", "--base-url", &server.url()])
            .args([
                "--dataset-name",
                "openai",
                "--dataset-path",
                "rows.jsonl",
                "--sharegpt-output-len",
                "4",
                "--allow-failed",
                "100%",
            ])
            .args([
                "--tokenizer",
                "rbench-bundled",
                "--warmup-requests",
                "0",
                "--output-file",
                "out.jsonl",
            ])
            .args(["--output-details", "--num-prompts", &n.to_string()])
            .file("rows.jsonl", rows.join("\n"))
            .run()
            .exits(0)
            .prints_a_table();
    // No fault makes the client ask twice.
    assert_eq!(server.inference().len(), n);
    check(&run.result(), &wants);
}

fn check(result: &Value, wants: &[(&str, Want)]) {
    let text = WORDS.concat();
    let failures = result["rbench"]["failures"].as_array().unwrap();
    let mut wrong = Vec::new();
    for (i, (what, want)) in wants.iter().enumerate() {
        let of = |key: &str, row: usize| result[key][row].clone();
        let good = |row: usize| {
            of("errors", row) == ""
                && of("generated_texts", row) == *text
                && of("output_lens", row) == WORDS.len()
        };
        if !good(2 * i) {
            wrong.push(format!(
                "beside {what}: {} {}",
                of("errors", 2 * i),
                of("generated_texts", 2 * i)
            ));
        }
        let row = 2 * i + 1;
        let error = of("errors", row).as_str().unwrap().to_owned();
        let as_wanted = match want {
            Good => good(row),
            // On a small machine what has no end may have spent the memory of the run before it meets its own cap.
            Bad("malformed", ..) if error.contains("have spent their memory") => true,
            Bad(kind, phase, says) => {
                error.contains(says)
                    && failures.iter().any(|group| {
                        let message = group["message"].as_str().unwrap();
                        group["kind"].as_str().unwrap().starts_with(kind)
                            && group["phase"] == *phase
                            && error.starts_with(message)
                    })
            }
        };
        if !as_wanted {
            wrong.push(format!(
                "{what}: wanted {want:?}, got {error:?}, {}",
                of("generated_texts", row)
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}\nfailures: {failures:#?}");
    let bad = wants.iter().filter(|(_, want)| matches!(want, Bad(..))).count();
    let counted: u64 = failures.iter().map(|group| group["count"].as_u64().unwrap()).sum();
    assert_eq!(counted, bad as u64, "{failures:#?}");
    assert_eq!(result["rbench"]["ledger"]["failed"], bad);
    assert_eq!(result["completed"], 2 * wants.len() - bad);
}

#[test]
fn heads() {
    let stream = WIRE.events(WORDS).concat();
    let good = |first: &str| Answer::new().raw(format!("{first}\r\n\r\n")).raw(&stream).close();
    run(
        vec![
            fault("endless fields", Answer::new().raw("HTTP/1.1 200 OK\r\n").flood("x: y\r\n"), Bad("malformed", "headers", "128 fields")),
            fault("an endless field", Answer::new().raw("HTTP/1.1 200 OK\r\nx: ").flood([b'x'; 999]), Bad("malformed", "headers", "64 KiB")),
            fault("an endless reason", Answer::new().raw("HTTP/1.1 200 ").flood([b'x'; 999]), Bad("malformed", "headers", "64 KiB")),
            fault("endless empty lines", Answer::new().flood("\r\n"), Bad("malformed", "headers", "64 KiB")),
            fault("endless interim responses", Answer::new().flood("HTTP/1.1 100 Continue\r\n\r\n"), Bad("malformed", "headers", "interim")),
            fault("interim responses", Answer::stream([&stream]).after(Answer::new().raw("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n")), Good),
            fault("another protocol", Answer::head("101 Switching Protocols", &["upgrade: websocket"]), Bad("malformed", "headers", "another protocol")),
            fault("HTTP/1.0", good("HTTP/1.0 200 OK"), Good),
            fault("HTTP/1.0 that stays open", Answer::new().raw(format!("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: {}\r\n\r\n{stream}", stream.len())), Good),
            fault("no head", Answer::new().raw("hello\r\n").close(), Bad("malformed", "headers", "not HTTP")),
            fault("HTTP/2", Answer::new().raw(b"\0\0\x12\x04\0\0\0\0\0").close(), Bad("malformed", "headers", "not HTTP")),
            fault("no status", good("HTTP/1.1 OK"), Bad("malformed", "headers", "not HTTP")),
            fault("a status of four digits", good("HTTP/1.1 2000 OK"), Bad("malformed", "headers", "not HTTP")),
            fault("a status that nobody knows", good("HTTP/1.1 999 What"), Bad("http_status", "headers", "999 What")),
            fault("letters of Latin-1 in a field", good("HTTP/1.1 200 OK\r\nserver: caf\u{e9}"), Good),
            fault("control characters in a field", good("HTTP/1.1 200 OK\r\nserver: a\0b"), Bad("malformed", "headers", "not HTTP")),
            fault("a length above all numbers", good("HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999"), Bad("malformed", "headers", "length")),
            fault("a negative length", good("HTTP/1.1 200 OK\r\ncontent-length: -1"), Bad("malformed", "headers", "length")),
            fault("two lengths", good("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2"), Bad("malformed", "headers", "length")),
            fault("a coding that was not asked for", good("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked"), Bad("malformed", "headers", "length")),
            // A kilobyte of this would be a megabyte.
            fault("a compressed body", Answer::head("200 OK", &["content-encoding: gzip", "content-length: 30"]).raw(b"\x1f\x8b\x08\0\0\0\0\0\x02\x03").raw([0; 20]), Bad("malformed", "first_token", "encoded as gzip")),
            fault("a compressed error", Answer::head("500 Oh", &["content-encoding: gzip"]).raw(b"\x1f\x8b\x08\0\xff").close(), Bad("http_status", "headers", "500 Oh")),
            fault("an endless error", Answer::head("500 Oh", &[]).flood("no "), Bad("http_status", "headers", "no no no")),
            fault("no content", Answer::head("204 No Content", &[]), Bad("http_status", "headers", "204")),
            fault("the end within the head", Answer::new().raw("HTTP/1.1 200 OK\r\ncontent-").close(), Bad("transport", "headers", "closed")),
            fault("the end instead of a head", Answer::new().close(), Bad("transport", "headers", "closed")),
            fault("a reset instead of a head", Answer::new().reset(), Bad("transport", "headers", "")),
            fault("a reset within the head", Answer::new().raw("HTTP/1.1 200 OK\r\n").reset(), Bad("transport", "headers", "")),
            fault("a head byte by byte", Answer::stream([&stream]).dripping(), Good),
        ],
        "true",
    );
}

#[test]
fn bodies() {
    let stream = WIRE.events(WORDS).concat();
    let first = event(&WIRE.token(WORDS, 0));
    let with_length = |kind: &str, length: usize, body: &str| {
        let fields = [&*format!("content-type: {kind}"), &format!("content-length: {length}")];
        Answer::head("200 OK", &fields).raw(body)
    };
    let whole = WIRE.whole(&WORDS.concat(), Some(WORDS.len() as u64)).to_string();
    let good_then = |more: &str| Answer::stream([&stream]).raw(more);
    run(
        vec![
            fault(
                "chunks byte by byte",
                Answer::stream(stream.as_bytes().chunks(9)).dripping(),
                Good,
            ),
            fault(
                "the end after the head",
                Answer::events().close(),
                Bad("early_end", "first_token", "closed"),
            ),
            fault(
                "the end after a token",
                chunks("").close(),
                Bad("early_end", "stream", "closed"),
            ),
            fault(
                "a reset after the head",
                Answer::events().pause(50).reset(),
                Bad("early_end", "first_token", ""),
            ),
            // The pause lets the client read what came before: a reset may throw that away.
            fault(
                "a reset after a token",
                chunks("").pause(50).reset(),
                Bad("early_end", "stream", ""),
            ),
            fault(
                "no size of a chunk",
                chunks("zz\r\nab\r\n"),
                Bad("malformed", "stream", "chunked"),
            ),
            fault(
                "a negative size",
                chunks("-5\r\nabcde\r\n"),
                Bad("malformed", "stream", "chunked"),
            ),
            fault(
                "a size above all numbers",
                chunks("fffffffffffffffff\r\n"),
                Bad("malformed", "stream", "chunked"),
            ),
            fault(
                "a huge size",
                chunks("ffffffffffffffff\r\ndata: a").close(),
                Bad("early_end", "stream", "closed"),
            ),
            fault(
                "no line end after a chunk",
                chunks("1\r\n:xx\r\n"),
                Bad("malformed", "stream", "chunked"),
            ),
            fault(
                "a chunk longer than its size",
                chunks("1\r\n:hello\r\n"),
                Bad("malformed", "stream", "chunked"),
            ),
            fault(
                "an endless extension",
                chunks("1;").flood("x=y;"),
                Bad("malformed", "stream", "chunked"),
            ),
            fault(
                "an endless trailer",
                chunks("0\r\n").flood("x: y\r\n"),
                Bad("malformed", "stream", "chunked"),
            ),
            fault("no last chunk", Answer::events().chunk(&stream).close(), Good),
            fault(
                "two answers",
                good_then("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"),
                Good,
            ),
            fault("words after the end", good_then("and that was that"), Good),
            fault(
                "a shorter length than the body",
                with_length("text/event-stream", stream.len(), &(stream.clone() + "data: {}\n\n")),
                Good,
            ),
            fault(
                "a longer length than the body",
                with_length("text/event-stream", 9999, &stream).close(),
                Good,
            ),
            fault(
                "a longer length, without an end mark",
                with_length("text/event-stream", 9999, &first).close(),
                Bad("early_end", "stream", "closed"),
            ),
            fault(
                "an empty body",
                with_length("text/event-stream", 0, ""),
                Bad("no_tokens", "first_token", "empty"),
            ),
            // Content types that do not fit.
            fault("events as plain text", with_length("text/plain", stream.len(), &stream), Good),
            fault(
                "events as bytes",
                with_length("application/octet-stream", stream.len(), &stream),
                Good,
            ),
            fault("events as JSON", with_length("application/json", stream.len(), &stream), Good),
            fault(
                "one answer as events",
                with_length("text/event-stream", whole.len(), &whole),
                Good,
            ),
            fault("one answer as a web page", with_length("text/html", whole.len(), &whole), Good),
            fault(
                "a web page",
                with_length("text/html", 29, "<html>\n<h1>Welcome</h1></html>"),
                Bad("no_tokens", "first_token", "no event"),
            ),
            fault(
                "a picture",
                with_length("image/png", 8, "\u{89}PNG\r\n\x1a\n"),
                Bad("", "first_token", ""),
            ),
            // Texts that are none.
            fault(
                "bytes that are no text",
                Answer::events()
                    .chunk(&first)
                    .chunk(b"data: {\"choices\":[{\"delta\":{\"content\":\"\xff\xfe\"}}]}\n\n"),
                Bad("malformed", "stream", "unicode"),
            ),
            fault("a comment that is no text", open(b": \xff\xfe\n\n").raw(&stream).close(), Good),
            fault("zeros", open([0; 1000]).raw("\n").raw(&stream).close(), Good),
            fault(
                "control characters in JSON",
                changed(" two", "\u{1}"),
                Bad("malformed", "stream", "control character"),
            ),
            // JSON.
            fault("deep lists", beside(&nested("[", "", "]")), Good),
            fault("deep objects", beside(&nested("{\"a\":", "1", "}")), Good),
            fault(
                "a deep list that does not end",
                open("data: ").raw("[".repeat(100_000)).raw("\n\n"),
                Bad("malformed", "first_token", ""),
            ),
            fault(
                "deep choices",
                open("data: {\"choices\":").raw(nested("[", "", "]")).raw("}\n\n").close(),
                Bad("no_tokens", "first_token", "no generated token"),
            ),
            fault(
                "a deep usage",
                open("data: {\"usage\":")
                    .raw(nested("{\"prompt_tokens_details\":", "1", "}"))
                    .raw("}\n\n")
                    .close(),
                Bad("no_tokens", "first_token", "no generated token"),
            ),
            fault(
                "a deep error",
                open("data: {\"error\":").raw(nested("[", "", "]")).raw("}\n\n"),
                Bad("server_error", "first_token", "[[[["),
            ),
            fault(
                "a deep message",
                open("data: {\"error\":{\"message\":").raw(nested("[", "", "]")).raw("}}\n\n"),
                Bad("server_error", "first_token", "[[[["),
            ),
            fault(
                "a deep reason",
                open("data: {\"choices\":[{\"finish_reason\":")
                    .raw(nested("[", "", "]"))
                    .raw("}]}\n\n")
                    .close(),
                Bad("no_tokens", "first_token", "no generated token"),
            ),
            fault(
                "deep tool calls",
                open("data: {\"choices\":[{\"delta\":{\"tool_calls\":")
                    .raw(nested("[", "", "]"))
                    .raw("}}]}\n\n")
                    .close(),
                Bad("no_tokens", "first_token", "no generated token"),
            ),
            fault(
                "a deep answer",
                with_length("application/json", 200_000, &nested("[", "", "]")),
                Bad("no_tokens", "first_token", "[[[["),
            ),
            fault(
                "a long error",
                Answer::stream([event(&json!({"error": {"message": "no ".repeat(1 << 19)}}))]),
                Bad("server_error", "first_token", "no no no"),
            ),
            fault(
                "a long text where a number belongs",
                Answer::stream([event(&json!({"usage": {"prompt_tokens": "x".repeat(1 << 19)}}))]),
                Bad("no_tokens", "first_token", "xxx"),
            ),
            fault(
                "too many choices",
                open("data: {\"choices\":[{}").raw(",{}".repeat(70_000)).raw("]}\n\n"),
                Bad("malformed", "first_token", "65536"),
            ),
            fault("a choice of a high number", changed("\"index\":0", "\"index\":65536"), Good),
            fault(
                "tokens above all numbers",
                changed("\"completion_tokens\":4", "\"completion_tokens\":18446744073709551615"),
                Good,
            ),
            fault(
                "prompt tokens above all numbers",
                changed("\"prompt_tokens\":8", "\"prompt_tokens\":18446744073709551615"),
                Good,
            ),
            fault(
                "fewer tokens than none",
                changed("\"completion_tokens\":4", "\"completion_tokens\":-4"),
                Good,
            ),
            fault(
                "an error in the stream",
                open(error_event()),
                Bad("server_error", "first_token", "too long"),
            ),
            fault(
                "an error after a token",
                open(&first).raw(error_event()).raw(DONE),
                Bad("server_error", "stream", "too long"),
            ),
        ],
        "true",
    );
}

fn error_event() -> String {
    event(&json!({"error": {"message": "prompt too long", "code": 400}}))
}

/// Answers without end, in little memory: the system would refuse more.
#[test]
fn floods() {
    const PIECE: usize = 1 << 18;
    let x = "x".repeat(PIECE);
    let chunk = format!("{PIECE:x}\r\n{x}\r\n");
    let token = event(&json!({"choices": [{"index": 0, "delta": {"content": x}}]}));
    let gigabyte =
        Answer::head("200 OK", &["content-type: text/event-stream", "content-length: 1073741824"]);
    run(
        vec![
            fault(
                "an event without an end",
                open("data: ").flood(&x),
                Bad("malformed", "first_token", "far beyond the 4 tokens that were asked for"),
            ),
            fault(
                "an event without an end, in chunks",
                Answer::events().flood(&chunk),
                Bad("malformed", "first_token", "bytes in one event"),
            ),
            fault(
                "an event of a gigabyte",
                gigabyte.raw(event(&WIRE.token(WORDS, 0))).raw("data: ").flood(&x),
                Bad("malformed", "stream", "bytes in one event"),
            ),
            fault(
                "an event of endless lines",
                open("").flood(format!("data: {x}\n")),
                Bad("malformed", "first_token", "bytes in one event"),
            ),
            fault(
                "an event with an endless name",
                open("event: ").flood(&x),
                Bad("malformed", "first_token", "bytes in one event"),
            ),
            fault(
                "text without an end",
                open("").flood(&token),
                Bad("malformed", "stream", "it has more than 1049600 bytes of text"),
            ),
            fault(
                "an answer without an end",
                Answer::head("200 OK", &["content-type: application/json"]).flood(&x),
                Bad("malformed", "first_token", "far beyond the 4 tokens that were asked for"),
            ),
        ],
        "ulimit -v 2500000",
    );
}

/// An answer that never stops coming, and holds nothing, has an end in its time limit, and keeps nobody else from theirs.
#[test]
fn a_flood_of_nothing() {
    let comment = format!(": {}\n", "x".repeat(1 << 18));
    let server =
        Script::new(
            move |request| {
                if request.nth == 0 { open("").flood(&comment) } else { good(request) }
            },
        )
        .start();
    let run = Rbench::load("vllm-chat", &server.url())
        .args(["--num-prompts", "6", "--max-concurrency", "2", "--request-timeout", "1s"])
        .run()
        .exits(0);
    let result = run.result();
    assert_eq!(result["completed"], 5, "{result:#}");
    assert_eq!(result["rbench"]["failures"][0]["kind"], "request_timeout");
}

/// An answer that comes before the request was read is the answer, even if the connection then breaks.
#[test]
fn early_answers() {
    let answer = Answer::body("413 Payload Too Large", "text/plain", "at most a megabyte");
    let server = Script::new(move |_| answer.clone()).hasty().start();
    let row =
        json!({"messages": [{"role": "user", "content": "hi"}], "filling": "x".repeat(2 << 20)});
    let run = Rbench::load("vllm-chat", &server.url())
        .args(["--dataset-name", "openai", "--dataset-path", "rows.jsonl"])
        .file("rows.jsonl", format!("{row}\n").repeat(3))
        .run()
        .exits(1)
        .says(&["3 of 3 requests failed", "at most a megabyte"]);
    let failures = &run.result()["rbench"]["failures"];
    assert_eq!(failures.as_array().unwrap().len(), 1, "{failures:#}");
    assert_eq!(
        (&failures[0]["kind"], &failures[0]["status"]),
        (&json!("http_status"), &json!(413))
    );
}

/// Connections that are of no use from the beginning.
#[test]
fn greetings() {
    let late = Answer::body("408 Request Timeout", "text/plain", "too late");
    for greeting in [Answer::new().close(), Answer::new().reset(), late.close()] {
        let server = Script::new(|_| Answer::not_found()).greeting(greeting).whatever().start();
        let run =
            Rbench::load("vllm", &server.url()).run().exits(1).says(&["3 of 3 requests failed"]);
        let result = run.result();
        assert_eq!(result["completed"], 0);
        assert_eq!(result["rbench"]["ledger"]["failed"], 3);
    }
}

#[test]
fn redirects_are_not_followed() {
    let other = Script::untouched().start();
    for status in [
        "301 Moved Permanently",
        "302 Found",
        "303 See Other",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ] {
        let place = format!("http://127.0.0.1:{}/v1/completions", other.port());
        let secret = place.replace("://", "://user:hushhush@") + "?key=hushhush";
        let answer = Answer::head(status, &[&format!("location: {secret}"), "content-length: 0"]);
        let server = Script::new(move |_| answer.clone()).start();
        let run = Rbench::load("vllm", &server.url())
            .env("OPENAI_API_KEY", "key-of-the-test")
            .run()
            .exits(1);
        let text = run.result_text() + &run.stderr + &run.stdout;
        let says = format!("HTTP status {status}, which leads to {place} and is not followed");
        assert!(text.contains(&says) && !text.contains("hushhush"), "{text}");
    }
}

/// Calls around the load take little time and memory, whatever they are answered.
#[test]
fn calls_around_the_load() {
    let big = "x".repeat(1 << 18);
    let json = |rest: &str| Answer::head("200 OK", &["content-type: application/json"]).raw(rest);
    for (what, answer, says) in [
        ("endless", json("{\"data\": \"").flood(&big), "answers more than 16 MiB"),
        ("an endless head", Answer::new().raw("HTTP/1.1 200 OK\r\nx: ").flood(&big), ""),
        ("deep", Answer::body("200 OK", "application/json", &nested("[", "", "]")), "not JSON"),
        (
            "no text",
            Answer::new().raw("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n").raw(b"\"\xff\""),
            "not JSON",
        ),
        (
            "compressed",
            Answer::head("200 OK", &["content-encoding: gzip", "content-length: 3"]).raw("abc"),
            "not JSON",
        ),
        ("broken chunks", Answer::events().raw("zz\r\n"), ""),
        ("cut", json("{").close(), "not JSON"),
        ("reset", Answer::new().reset(), ""),
        ("endless refusal", Answer::head("500 Oh", &[]).flood(&big), "500"),
    ] {
        let server = Script::control_only().on("/v1/models", move |_| answer.clone()).start();
        let run = Rbench::in_shell(
            "ulimit -v 2500000",
            ["serve", "--backend", "vllm", "--base-url", &server.url()],
        )
        .args(["--ready-check-timeout-sec", "1", "--tokenizer", "rbench-bundled"])
        .run()
        .exits(1);
        // What is no HTTP is no answer that changes.
        let is_waited_for = run.stderr.contains("did not become ready");
        let is_refused = run.stderr.contains("what the server sent is not HTTP/1.1");
        assert_eq!(is_refused, what == "an endless head", "{run:#?}");
        assert!(is_waited_for != is_refused && run.stderr.contains(says), "{what}: {run:#?}");
    }
    // After the run: what the server says of itself is missing, and nothing else.
    let server =
        Script::new(good).on("/server_info", move |_| json("{\"x\": \"").flood(&big)).start();
    let result = Rbench::load("sglang", &server.url()).run().exits(0).result();
    assert_eq!((&result["completed"], &result["server_info"]), (&json!(3), &Value::Null));
}

#[test]
fn keys_stay_with_the_server() {
    let other = Script::untouched().start();
    let place = format!("http://127.0.0.1:{}/v1/models", other.port());
    let secret = place.replace("://", "://user:hushhush@");
    let answer = Answer::head(
        "307 Temporary Redirect",
        &[&format!("location: {secret}"), "content-length: 0"],
    );
    let server = Script::control_only().on("/v1/models", move |_| answer.clone()).start();
    let run = Rbench::load("vllm", &server.url())
        .args(["--ready-check-timeout-sec", "1"])
        .env("OPENAI_API_KEY", "key-of-the-test")
        .run()
        .exits(1)
        .says(&[&format!("307 Temporary Redirect, which leads to {place} and is not followed")]);
    assert!(!run.stderr.contains("hushhush"), "{run:#?}");

    // On the same server they are followed, some of them.
    let models = json!({"data": [{"id": "tiny"}]});
    let server = Script::new(good)
        .on("/v1/models", |_| {
            Answer::head("307 Temporary Redirect", &["location: /v1/models/", "content-length: 0"])
        })
        .on("/v1/models/", move |_| Answer::json(&models))
        .start();
    let _ = Rbench::load("vllm", &server.url()).run().exits(0);
    let server = Script::control_only()
        .on("/v1/models", |_| {
            Answer::head("302 Found", &["location: /v1/models", "content-length: 0"])
        })
        .start();
    let _ = Rbench::load("vllm", &server.url())
        .args(["--ready-check-timeout-sec", "1"])
        .run()
        .exits(1)
        .says(&["302 Found, which leads to /v1/models"]);
}
