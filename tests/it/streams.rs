//! What rbench makes of the bytes that servers send, protocol by protocol.
//!
//! A table is one run: request *n* gets the answer of row *n*, one request at a time.
//! So each row also shows that the answers before it, broken ones among them, leave nothing behind.

use serde_json::{Value, json};

use crate::support::rbench::{Rbench, Run};
use crate::support::server::{Answer, Script};
use crate::support::wire::{DONE, WORDS, Wire, event};

/// An answer and what is to become of it.
pub(crate) struct Row {
    what: &'static str,
    answer: Answer,
    want: Want,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Want {
    /// The request completes.
    Good {
        /// Output tokens, and who counted them.
        tokens: u64,
        source: &'static str,
        text: String,
        /// Inter-token latencies that are known.
        gaps: usize,
    },
    /// The request fails.
    Bad {
        kind: &'static str,
        phase: &'static str,
        status: Option<u16>,
        /// Part of the reason.
        says: &'static str,
    },
}

pub(crate) fn good(tokens: u64, source: &'static str, text: &str, gaps: usize) -> Want {
    Want::Good { tokens, source, text: text.to_owned(), gaps }
}

/// A failure inside a response with status 200.
pub(crate) fn bad(kind: &'static str, phase: &'static str, says: &'static str) -> Want {
    Want::Bad { kind, phase, status: Some(200), says }
}

pub(crate) fn row(what: &'static str, answer: Answer, want: Want) -> Row {
    Row { what, answer, want }
}

/// Runs all rows and tells of each that came out otherwise.
pub(crate) fn check(backend: &str, flags: &[&str], rows: Vec<Row>) -> Run {
    let wants: Vec<(&str, Want)> = rows.iter().map(|row| (row.what, row.want.clone())).collect();
    let answers: Vec<Answer> = rows.into_iter().map(|row| row.answer).collect();
    let n = answers.len();
    let server = Script::new(move |request| answers[request.nth].clone()).start();
    let run = Rbench::load(backend, &server.url())
        .args(["--model", "tiny", "--max-concurrency", "1", "--num-prompts", &n.to_string()])
        .args(flags)
        .run()
        .exits(0)
        .prints_a_table();
    // No answer makes the client ask twice.
    assert_eq!(server.inference().len(), n, "{backend}: requests sent");

    let result = run.result();
    let own = &result["rbench"];
    let failures = own["failures"].as_array().unwrap();
    let mut wrong = Vec::new();
    for (i, (what, want)) in wants.iter().enumerate() {
        let error = result["errors"][i].as_str().unwrap();
        let got = if error.is_empty() {
            Want::Good {
                tokens: result["output_lens"][i].as_u64().unwrap(),
                source: leak(&own["output_token_sources"][i]),
                text: result["generated_texts"][i].as_str().unwrap().to_owned(),
                gaps: result["itls"][i].as_array().unwrap().len(),
            }
        } else {
            let Want::Bad { kind, phase, status, says } = want else {
                wrong.push(format!("{what}: failed: {error}"));
                continue;
            };
            let is_it = |group: &Value| {
                group["kind"] == *kind
                    && group["phase"] == *phase
                    && group["status"] == json!(status)
                    && error.starts_with(group["message"].as_str().unwrap())
            };
            if !error.contains(says) || !failures.iter().any(is_it) {
                wrong.push(format!("{what}: wanted {want:?}, got {error:?}"));
            }
            let (length, text) = (&result["output_lens"][i], &result["generated_texts"][i]);
            if *length != 0 || *text != "" {
                wrong.push(format!("{what}: a failure with {length} tokens, {text}"));
            }
            continue;
        };
        if got != *want {
            wrong.push(format!("{what}: wanted {want:?}, got {got:?}"));
        }
    }
    assert!(wrong.is_empty(), "{backend}: {wrong:#?}\nfailures: {failures:#?}");

    let completed = wants.iter().filter(|(_, want)| matches!(want, Want::Good { .. })).count();
    assert_eq!(result["completed"], completed);
    assert_eq!(own["ledger"]["failed"], n - completed);
    let counted: u64 = failures.iter().map(|group| group["count"].as_u64().unwrap()).sum();
    assert_eq!(counted, (n - completed) as u64);
    for source in ["server", "events", "retokenized"] {
        let by = |want: &Want| matches!(want, Want::Good { source: s, .. } if *s == source);
        let wanted = wants.iter().filter(|(_, want)| by(want)).count();
        let told = own["output_token_source"].get(source).and_then(Value::as_u64).unwrap_or(0);
        assert_eq!(told, wanted as u64, "{backend}: requests counted by {source}");
    }
    run
}

/// A word of a result, as long-lived as the ones in the tables.
fn leak(word: &Value) -> &'static str {
    word.as_str().unwrap_or("nobody").to_owned().leak()
}

/// An error inside the stream, in a form that several servers use.
fn error_event() -> String {
    event(&json!({"error": {"message": "prompt too long", "type": "BadRequest", "code": 400}}))
}

/// Rows that hold for every protocol that streams.
fn any_stream(wire: Wire) -> Vec<Row> {
    let events = wire.events(WORDS);
    let text = WORDS.concat();
    let (n, gaps) = (WORDS.len() as u64, WORDS.len() - 1);
    let source = if wire == Wire::Trt { "events" } else { "server" };
    let whole = good(n, source, &text, gaps);
    let stream = events.concat();
    let first = event(&wire.token(WORDS, 0));
    let words = |from: &str, to: &str| Answer::stream([stream.replace(from, to)]);
    let with_length = |length: usize| {
        let length = format!("content-length: {length}");
        Answer::head("200 OK", &["content-type: text/event-stream", &length]).raw(&stream)
    };
    let status = |status: &'static str, code: u16, body: &str, says: &'static str| {
        row(
            status,
            Answer::body(status, "application/json", body),
            Want::Bad { kind: "http_status", phase: "headers", status: Some(code), says },
        )
    };
    let accents = &["é", "漢", "😀"];
    let split: Vec<u8> = wire.events(accents).concat().into_bytes();

    vec![
        row("events as they are meant", Answer::stream(&events), whole.clone()),
        // The ways to cut and to write the same stream.
        row("all events in one write", Answer::stream([&stream]), whole.clone()),
        row("events over many writes", Answer::stream(stream.as_bytes().chunks(7)), whole.clone()),
        row(
            "characters split over writes",
            Answer::stream(split.chunks(1)),
            good(3, source, &accents.concat(), 2),
        ),
        row("CRLF line ends", words("\n", "\r\n"), whole.clone()),
        row("CR line ends", words("\n", "\r"), whole.clone()),
        row("no space after the colon", words("data: ", "data:"), whole.clone()),
        row("comments", words("data: ", ": ping\n\n: ping\ndata: "), whole.clone()),
        row("fields that say nothing", words("data: ", "id: 1\nretry: 9\ndata: "), whole.clone()),
        row(
            "the default event type by name",
            words("data: ", "event: message\ndata: "),
            whole.clone(),
        ),
        row(
            "an event of a type of its own",
            Answer::stream(["event: sglext_ids\ndata: [1, 2]\n\n", &stream]),
            whole.clone(),
        ),
        row("one line end between events", words("\n\n", "\n"), whole.clone()),
        row("no line end after the last event", Answer::stream([stream.trim_end()]), whole.clone()),
        row("a length instead of chunks", with_length(stream.len()), whole.clone()),
        row(
            "neither a length nor chunks",
            Answer::head("200 OK", &["content-type: text/event-stream"]).raw(&stream).close(),
            whole.clone(),
        ),
        row(
            "no content type",
            Answer::head("200 OK", &["transfer-encoding: chunked"]).chunk(&stream).end(),
            whole.clone(),
        ),
        // Errors that the server tells of.
        row(
            "an error event first",
            Answer::stream([&*error_event(), DONE]),
            bad("server_error", "first_token", "prompt too long"),
        ),
        row(
            "an error event after a token",
            Answer::stream([&*first, &error_event()]),
            bad("server_error", "stream", "prompt too long"),
        ),
        row(
            "an error as plain text",
            Answer::stream([&*event(&json!({"error": "out of memory"}))]),
            bad("server_error", "first_token", "out of memory"),
        ),
        row(
            "an error object",
            Answer::stream([&*event(&json!({"object": "error", "message": "no such model"}))]),
            bad("server_error", "first_token", "no such model"),
        ),
        row(
            "an event of type error",
            Answer::stream([&*first, "event: error\ndata: worker died\n\n"]),
            bad("server_error", "stream", "worker died"),
        ),
        status("500 Internal Server Error", 500, r#"{"detail":"worker died"}"#, "worker died"),
        status("404 Not Found", 404, "", "404"),
        status("429 Too Many Requests", 429, "slow down", "slow down"),
        status("201 Created", 201, &stream, "201"),
        row(
            "302 Found, which is not followed",
            Answer::head("302 Found", &["location: /elsewhere", "content-length: 0"]),
            Want::Bad { kind: "http_status", phase: "headers", status: Some(302), says: "302" },
        ),
        // Answers without output.
        row(
            "the end mark alone",
            Answer::stream([DONE]),
            bad("no_tokens", "first_token", "no generated token"),
        ),
        row("an empty body", Answer::stream([""; 0]), bad("no_tokens", "first_token", "empty")),
        row(
            "comments alone",
            Answer::stream([": ping\n\n"]),
            bad("no_tokens", "first_token", "no event"),
        ),
        // Answers that break off.
        row(
            "a line that is no JSON",
            Answer::stream([&*first, "data: {oops\n\n", &stream]),
            bad("malformed", "stream", "{oops"),
        ),
        row(
            "JSON that is no event",
            Answer::stream(["data: 17\n\n", &*stream]),
            bad("malformed", "first_token", "17"),
        ),
        row(
            "the end of the connection inside the body",
            Answer::events().chunk(&first).close(),
            bad("early_end", "stream", ""),
        ),
        row(
            "the end of the connection inside a chunk",
            Answer::events().raw("ff\r\n").raw(&first).close(),
            bad("early_end", "stream", ""),
        ),
        row(
            "the end of the connection before a token",
            Answer::events().close(),
            bad("early_end", "first_token", ""),
        ),
        // The pause lets the client read what came before: a reset may throw that away.
        row(
            "a reset inside the body",
            Answer::events().chunk(&first).pause(30).reset(),
            bad("early_end", "stream", ""),
        ),
        row(
            "a shorter body than its length says",
            Answer::head("200 OK", &["content-type: text/event-stream", "content-length: 9999"])
                .raw(&first)
                .close(),
            bad("early_end", "stream", ""),
        ),
        row(
            "the end of the connection after the last event",
            Answer::events().chunk(&stream).close(),
            // Without an end mark nobody can tell that it was the last.
            if wire == Wire::Trt { bad("early_end", "stream", "") } else { whole.clone() },
        ),
        row(
            "the end of the connection instead of an answer",
            Answer::new().close(),
            Want::Bad { kind: "transport", phase: "headers", status: None, says: "" },
        ),
        row(
            "a reset instead of an answer",
            Answer::new().reset(),
            Want::Bad { kind: "transport", phase: "headers", status: None, says: "" },
        ),
        row(
            "something that is not HTTP",
            Answer::new().raw("SSH-2.0-OpenSSH_9.6\r\n\r\n").close(),
            Want::Bad { kind: "malformed", phase: "headers", status: None, says: "not HTTP" },
        ),
        // A server that does not do as asked.
        row(
            "one JSON body instead of a stream",
            Answer::json(&wire.whole(&text, Some(n))),
            good(n, if wire == Wire::Trt { "retokenized" } else { "server" }, &text, 0),
        ),
        row(
            "one JSON body with an error",
            Answer::json(&json!({"error": {"message": "prompt too long"}})),
            bad("server_error", "first_token", "prompt too long"),
        ),
        // What came before leaves nothing behind.
        row("events as they are meant, at last", Answer::stream(&events), whole),
    ]
}

/// Rows that hold for protocols with a finish reason and an end mark.
fn marked_stream(wire: Wire) -> Vec<Row> {
    let n = WORDS.len();
    let tokens: Vec<String> = (0..n).map(|i| event(&wire.token(WORDS, i))).collect();
    let closing: Vec<String> = wire.closing(WORDS).iter().map(event).collect();
    let whole = |source| good(n as u64, source, &WORDS.concat(), n - 1);
    let told = if wire == Wire::Native { "server" } else { "retokenized" };
    vec![
        row(
            "no finish reason and no end mark",
            Answer::stream(&tokens),
            bad("early_end", "stream", "finish reason"),
        ),
        row(
            "a finish reason and no end mark",
            Answer::stream([&*tokens.concat(), &closing.concat()]),
            whole("server"),
        ),
        row(
            "an end mark and no finish reason",
            Answer::stream([&*tokens.concat(), DONE]),
            whole(told),
        ),
        row("no usage", Answer::stream([&*tokens.concat(), &closing[0], DONE]), whole(told)),
    ]
}

/// Rows that hold for protocols that OpenAI's usage belongs to.
fn usage_rows(wire: Wire) -> Vec<Row> {
    let token = |i: usize| wire.token(WORDS, i);
    let usage = |n: u64| json!({"prompt_tokens": 8, "completion_tokens": n});
    let with_usage = |mut data: Value, n: u64| {
        data["usage"] = usage(n);
        event(&data)
    };
    let closing = wire.closing(WORDS);
    let two = WORDS[..2].concat();
    vec![
        row(
            // More tokens than events: each event may hold several.
            "usage on a line without choices",
            Answer::stream([
                &*event(&token(0)),
                &event(&token(1)),
                &event(&closing[0]),
                &event(&json!({"choices": [], "usage": usage(7)})),
                DONE,
            ]),
            good(7, "server", &two, 1),
        ),
        row(
            "usage on a line with an empty text",
            Answer::stream([
                &*event(&token(0)),
                &event(&token(1)),
                &with_usage(closing[0].clone(), 7),
                DONE,
            ]),
            good(7, "server", &two, 1),
        ),
        row(
            "usage on each line",
            Answer::stream([
                &*with_usage(token(0), 3),
                &with_usage(token(1), 6),
                &with_usage(closing[0].clone(), 7),
                DONE,
            ]),
            good(7, "server", &two, 1),
        ),
        row(
            "usage that is null until the end",
            Answer::stream([
                &*event(&token(0)).replace("\"choices\"", "\"usage\":null,\"choices\""),
                &event(&token(1)),
                &with_usage(closing[0].clone(), 2),
                DONE,
            ]),
            good(2, "server", &two, 1),
        ),
        row(
            // Special tokens have no text.
            "a count of tokens and no text",
            Answer::stream([&*with_usage(closing[0].clone(), 5), DONE]),
            good(5, "server", "", 0),
        ),
        row(
            "no text and a count of none",
            Answer::stream([&*with_usage(closing[0].clone(), 0), DONE]),
            bad("no_tokens", "first_token", "no generated token"),
        ),
        row(
            "generation that the server gives up",
            Answer::stream([
                &*event(&token(0)),
                &event(&closing[0]).replace("\"length\"", "\"abort\""),
                DONE,
            ]),
            bad("server_error", "stream", "abort"),
        ),
    ]
}

#[test]
fn completions_streams() {
    for backend in ["vllm", "truss"] {
        let wire = if backend == "vllm" { Wire::Completions } else { Wire::Truss };
        let rows = [any_stream(wire), marked_stream(wire), usage_rows(wire)];
        let _ = check(backend, &[], rows.into_iter().flatten().collect());
    }
}

#[test]
fn chat_streams() {
    let wire = Wire::Chat;
    let delta = |delta: Value| {
        event(&json!({"choices": [{"index": 0, "delta": delta, "finish_reason": null}]}))
    };
    let end = wire.closing(&WORDS[..2]).iter().map(event).collect::<String>() + DONE;
    let call = |name: Value, arguments: &str| {
        delta(
            json!({"tool_calls": [{"index": 0, "function": {"name": name, "arguments": arguments}}]}),
        )
    };
    let own = vec![
        row(
            "a first event with the role alone",
            Answer::stream([
                &*delta(json!({"role": "assistant", "content": ""})),
                &delta(json!({"content": "a"})),
                &delta(json!({"content": "b"})),
                &end,
            ]),
            good(2, "server", "ab", 1),
        ),
        row(
            "a role with content null",
            Answer::stream([
                &*delta(json!({"role": "assistant", "content": null})),
                &delta(json!({"content": "a"})),
                &end,
            ]),
            good(2, "server", "a", 0),
        ),
        row(
            "calls of tools alone",
            Answer::stream([
                &*call(json!("f"), ""),
                &call(Value::Null, "{\"x\":"),
                &call(Value::Null, "1}"),
                &wire.closing(&WORDS[..3]).iter().map(event).collect::<String>(),
                DONE,
            ]),
            good(3, "server", "f{\"x\":1}", 2),
        ),
        row(
            "reasoning, then an answer",
            Answer::stream([
                &*delta(json!({"reasoning_content": "r", "content": null})),
                &delta(json!({"content": "a"})),
                &end,
            ]),
            good(2, "server", "ra", 1),
        ),
        row(
            "reasoning by its other name",
            Answer::stream([
                &*delta(json!({"reasoning": "r"})),
                &delta(json!({"content": "a"})),
                &end,
            ]),
            good(2, "server", "ra", 1),
        ),
    ];
    let rows = [any_stream(wire), marked_stream(wire), usage_rows(wire), own];
    let _ = check("vllm-chat", &[], rows.into_iter().flatten().collect());
}

#[test]
fn native_streams() {
    let wire = Wire::Native;
    let told = |text: Option<&str>, ids: &[u64], count: u64, reason: Value| {
        let mut data = json!({"output_ids": ids, "meta_info":
            {"finish_reason": reason, "prompt_tokens": 8, "completion_tokens": count}});
        if let Some(text) = text {
            data["text"] = text.into();
        }
        event(&data)
    };
    let open = |text: &str, count| told(Some(text), &[1], count, Value::Null);
    let closed = |text: &str, count| told(Some(text), &[], count, json!({"type": "length"}));
    let own = vec![
        row(
            // The tokens of the first event have no latency of their own: 8 - 5 are left.
            "five tokens in the first event",
            Answer::stream([&*open("abcde", 5), &open("abcdef", 6), &closed("abcdefgh", 8), DONE]),
            good(8, "server", "abcdefgh", 3),
        ),
        row(
            "token ids instead of text",
            Answer::stream([
                &*told(None, &[5], 1, Value::Null),
                &told(None, &[6, 7], 3, json!({"type": "length"})),
                DONE,
            ]),
            good(3, "server", "", 2),
        ),
        row(
            "pieces of text instead of the text so far",
            Answer::stream([&*open("a", 1), &open("b", 2), &closed("c", 3), DONE]),
            good(3, "server", "abc", 2),
        ),
        row(
            "an event that only repeats",
            Answer::stream([&*open("a", 1), &open("a", 1), &closed("ab", 2), DONE]),
            good(2, "server", "ab", 1),
        ),
        row(
            "generation that the server gives up",
            Answer::stream([
                &*open("a", 1),
                &told(Some("a"), &[], 1, json!({"type": "abort", "message": "out of memory"})),
                DONE,
            ]),
            bad("server_error", "stream", "out of memory"),
        ),
        row(
            "no count of tokens",
            Answer::stream([&*event(&json!({"text": "a"})), &event(&json!({"text": "ab"})), DONE]),
            good(1, "retokenized", "ab", 1),
        ),
    ];
    let rows = [any_stream(wire), marked_stream(wire), own];
    let _ = check("sglang", &[], rows.into_iter().flatten().collect());
}

#[test]
fn trt_streams() {
    let piece = |text: &str| event(&json!({"text_output": text}));
    let own = vec![
        row(
            "an empty piece is a token",
            Answer::stream([piece(""), piece("a"), piece("b")]),
            good(3, "events", "ab", 2),
        ),
        row("an end mark", Answer::stream([&*piece("a"), DONE]), good(1, "events", "a", 0)),
    ];
    let _ = check("trt", &[], [any_stream(Wire::Trt), own].into_iter().flatten().collect());
}

#[test]
fn answers_in_one_piece() {
    for (backend, wire) in [
        ("vllm", Wire::Completions),
        ("vllm-chat", Wire::Chat),
        ("sglang", Wire::Native),
        ("truss", Wire::Truss),
    ] {
        let answer = |text: &str, usage| wire.whole(text, usage);
        let text = WORDS.concat();
        let plain = answer(&text, Some(9)).to_string();
        let mut events = wire.events(WORDS);
        if wire != Wire::Native {
            events.remove(WORDS.len() + 1);
        }
        let error =
            |data: Value, says| (Answer::json(&data), bad("server_error", "first_token", says));
        let (object, object_want) =
            error(json!({"object": "error", "message": "no such model"}), "no such model");
        let (told, told_want) = error(json!({"error": {"message": "too long"}}), "too long");
        let _ = check(
            backend,
            &["--disable-stream"],
            vec![
                row(
                    "with usage",
                    Answer::json(&answer(&text, Some(9))),
                    good(9, "server", &text, 0),
                ),
                // The text is of the bundled tokenizer, which counts it here.
                row(
                    "without usage",
                    Answer::json(&answer("a", None)),
                    good(1, "retokenized", "a", 0),
                ),
                row(
                    "over several lines",
                    Answer::body(
                        "200 OK",
                        "application/json",
                        &format!("{:#}", answer("a", Some(2))),
                    ),
                    good(2, "server", "a", 0),
                ),
                row(
                    "in chunks",
                    plain
                        .as_bytes()
                        .chunks(5)
                        .fold(
                            Answer::head(
                                "200 OK",
                                &["content-type: application/json", "transfer-encoding: chunked"],
                            ),
                            Answer::chunk,
                        )
                        .end(),
                    good(9, "server", &text, 0),
                ),
                row(
                    "without a content type",
                    Answer::head("200 OK", &["connection: close"]).raw(&plain).close(),
                    good(9, "server", &text, 0),
                ),
                row(
                    "a stream all the same",
                    Answer::stream(&events),
                    good(4, if wire == Wire::Native { "server" } else { "retokenized" }, &text, 3),
                ),
                row("an error", told, told_want),
                row("an error object", object, object_want),
                row(
                    "an empty body",
                    Answer::body("200 OK", "application/json", ""),
                    bad("no_tokens", "first_token", "empty"),
                ),
                row(
                    "no text and no usage",
                    Answer::json(&answer("", None)),
                    bad("no_tokens", "first_token", "no generated token"),
                ),
                row(
                    "something else than JSON",
                    Answer::body("200 OK", "application/json", "<html>"),
                    bad("malformed", "first_token", "<html>"),
                ),
                row(
                    "a shorter body than its length says",
                    Answer::head(
                        "200 OK",
                        &["content-type: application/json", "content-length: 999"],
                    )
                    .raw(&plain)
                    .close(),
                    bad("early_end", "first_token", ""),
                ),
            ],
        );
    }
}

#[test]
fn embeddings() {
    let wire = Wire::Embeddings;
    let _ = check(
        "vllm-embedding",
        &[],
        vec![
            row("a vector", Answer::json(&wire.whole("", None)), good(0, "nobody", "", 0)),
            row(
                "no vector",
                Answer::json(&json!({"data": []})),
                bad("malformed", "first_token", "no embedding"),
            ),
            row(
                "an error",
                Answer::json(&json!({"error": {"message": "too long"}})),
                bad("server_error", "first_token", "too long"),
            ),
            row(
                "an empty body",
                Answer::body("200 OK", "application/json", ""),
                bad("no_tokens", "first_token", "empty"),
            ),
        ],
    );
}

#[test]
fn a_role_is_not_a_first_token() {
    let role = event(
        &json!({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": null}]}),
    );
    let rest = Wire::Chat.events(&["a"]).concat();
    let server =
        Script::new(move |_| Answer::events().chunk(&role).pause(80).chunk(&rest).end()).start();
    let result = Rbench::load("vllm-chat", &server.url()).run().exits(0).result();
    for ttft in result["ttfts"].as_array().unwrap() {
        assert!(ttft.as_f64().unwrap() >= 0.08, "{result:#}");
    }
}

#[test]
fn latency_ends_with_the_last_event_and_gaps_lie_between_events() {
    let [a, b] = [0, 1].map(|n| event(&Wire::Completions.token(&["a", "b"], n)));
    let rest = Wire::Completions.events(&["a", "b"])[2..].concat();
    let server = Script::new(move |_| {
        Answer::events().chunk(&a).pause(60).chunk(&b).pause(60).chunk(&rest).pause(1500).end()
    })
    .start();
    let result = Rbench::load("vllm", &server.url()).run().exits(0).result();
    for i in 0..3 {
        let at = |key: &str| result["rbench"][key][i].as_f64().unwrap();
        let gaps = result["itls"][i].as_array().unwrap();
        assert_eq!(gaps.len(), 1, "{result:#}");
        let (gap, ttft) = (gaps[0].as_f64().unwrap(), result["ttfts"][i].as_f64().unwrap());
        let latency = at("done_s") - at("sent_s");
        // How long they came out is the machine's doing; that they follow each other is not.
        assert!(gap > 0.0 && latency >= ttft + gap, "{result:#}");
        // The end of the connection is waited for and does not count.
        assert!(latency < 1.5, "{result:#}");
    }
}

#[test]
fn prompt_tokens_of_the_server_are_told_beside_those_of_the_dataset() {
    for (backend, wire) in
        [("vllm", Wire::Completions), ("vllm-chat", Wire::Chat), ("sglang", Wire::Native)]
    {
        let server = Script::new(move |_| {
            let events = wire.events(WORDS).concat();
            Answer::stream([events.replace("\"prompt_tokens\":8", "\"prompt_tokens\":21")])
        })
        .start();
        let result = Rbench::load(backend, &server.url()).run().exits(0).result();
        assert_eq!(result["input_lens"], json!([21, 21, 21]), "{backend}");
        assert_eq!(result["rbench"]["server_input_tokens"], 63, "{backend}");
        assert_eq!(result["total_input_tokens"], 24, "{backend}");
    }
}

#[test]
fn connections_are_used_again() {
    let server = Script::new(|_| Answer::stream(Wire::Native.events(WORDS))).start();
    let run = Rbench::load("sglang", &server.url()).args(["--max-concurrency", "1"]).run();
    let _ = run.exits(0);
    assert_eq!((server.inference().len(), server.connections()), (3, 1));
}
