//! What a server says is read as leniently as its clients read it, and believed within what is possible.

use serde_json::{Value, json};

use crate::streams::{Row, bad, check, good, row};
use crate::support::rbench::{Rbench, Run};
use crate::support::server::{Answer, Script};
use crate::support::wire::{DONE, WORDS, Wire, event};

/// The text of [`WORDS`], which the bundled tokenizer counts as four tokens.
fn text() -> String {
    WORDS.concat()
}

/// A body of this type, with a length and other fields of a head.
fn body(fields: &[&str], body: impl AsRef<[u8]>) -> Answer {
    let length = format!("content-length: {}", body.as_ref().len());
    Answer::head("200 OK", &[fields, &[&*length]].concat()).raw(body)
}

/// The check `tokens` of a run: whether it passed, and what it was judged by.
fn tokens_check(run: &Run) -> (bool, String) {
    let result = run.result();
    let checks = result["rbench"]["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == "tokens").unwrap();
    (check["passed"] == true, check["detail"].as_str().unwrap().to_owned())
}

#[test]
fn bodies_are_read_by_their_bytes_and_not_by_their_heads() {
    for (backend, wire) in
        [("vllm", Wire::Completions), ("vllm-chat", Wire::Chat), ("sglang", Wire::Native)]
    {
        let stream = wire.events(WORDS).concat();
        let whole = wire.whole(&text(), Some(4));
        let lines = stream.replace("data: ", "").replace("\n\n", "\n").replace("[DONE]\n", "");
        let gzip = b"\x1f\x8b\x08\0\0\0\0\0\x02\x03\0\0";
        let events = good(4, "server", &text(), 3);
        let one = good(4, "server", &text(), 0);
        let json = "content-type: application/json";
        let sse = "content-type: text/event-stream";
        let encoded = || bad("malformed", "first_token", "encoded as gzip");
        let rows = vec![
            row("events as JSON", body(&[json], &stream), events.clone()),
            row(
                "events as a web page",
                body(&["content-type: text/html"], &stream),
                events.clone(),
            ),
            row("blank lines before them", body(&[json], format!("\n\n{stream}")), events.clone()),
            row(
                "a comment before them",
                body(&[json], format!(": hi\n\n{stream}")),
                events.clone(),
            ),
            row(
                "a mark of the byte order",
                body(&[json], format!("\u{feff}{stream}")),
                events.clone(),
            ),
            row(
                "a name before the data",
                body(&[json], format!("event: x\n{stream}")),
                events.clone(),
            ),
            row(
                "events as JSON, byte by byte",
                Answer::head("200 OK", &[json, "transfer-encoding: chunked"])
                    .chunk(&stream[..1])
                    .chunk(&stream[1..3])
                    .chunk(&stream[3..])
                    .end(),
                events.clone(),
            ),
            row("one value as events", body(&[sse], whole.to_string()), one.clone()),
            row(
                "one value over lines as events",
                body(&[sse], format!("{whole:#}\n")),
                one.clone(),
            ),
            row("blanks before one value", body(&[sse], format!(" \r\n {whole}")), one),
            row("lines of values as JSON", body(&[json], &lines), events.clone()),
            row("lines of values as events", body(&[sse], &lines), events.clone()),
            row(
                "lines of values in pieces",
                Answer::head("200 OK", &[json, "transfer-encoding: chunked"])
                    .chunk(&lines[..9])
                    .chunk(&lines[9..])
                    .end(),
                events.clone(),
            ),
            row("encoded as none", body(&[sse, "content-encoding: none"], &stream), events.clone()),
            row(
                "encoded as UTF-8",
                body(&[sse, "content-encoding: utf-8"], &stream),
                events.clone(),
            ),
            row(
                "said to be compressed",
                body(&[sse, "content-encoding: gzip"], &stream),
                events.clone(),
            ),
            row("compressed", body(&[sse, "content-encoding: gzip"], gzip), encoded()),
            row("compressed without a word", body(&[sse], gzip), encoded()),
            row(
                "encoded in a way that has no mark",
                body(&[sse, "content-encoding: br"], b"\x0b\x02\x80"),
                bad("malformed", "first_token", "encoded as br"),
            ),
            row(
                "a coding of the transfer that is none",
                body(&[sse, "transfer-encoding: identity"], &stream),
                events.clone(),
            ),
            row(
                "the length twice in one field",
                Answer::head("200 OK", &[&format!("content-length: {0}, {0}", stream.len())])
                    .raw(&stream),
                events,
            ),
        ];
        let _ = check(backend, &[], rows);
    }
}

#[test]
fn one_odd_field_fails_no_answer() {
    let end =
        |n: usize| Wire::Chat.closing(&WORDS[..n]).iter().map(event).collect::<String>() + DONE;
    let chat = |delta: Value| {
        event(&json!({"choices": [{"index": 0, "delta": delta, "finish_reason": null}]}))
    };
    let said = |content: Value| Answer::stream([chat(json!({"content": content})), end(1)]);
    let four = good(4, "server", &text(), 3);
    // Each event of a stream with `from` written as `to`.
    let odd = |wire: Wire, from: &str, to: &str| {
        let stream = wire.events(WORDS).concat();
        let changed = stream.replace(from, to);
        assert_ne!(stream, changed, "{from}");
        Answer::stream([changed])
    };
    let beside = |what, more: &str| {
        row(what, odd(Wire::Chat, "{\"id\"", &format!("{{{more},\"id\"")), four.clone())
    };
    let call = |function: Value| chat(json!({"tool_calls": [{"index": 0, "function": function}]}));
    let mut rows = vec![
        row(
            "a list of parts",
            said(
                json!([{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {}}, "b"]),
            ),
            good(1, "server", "ab", 0),
        ),
        row("one part", said(json!({"type": "text", "text": "a"})), good(1, "server", "a", 0)),
        row("a number", said(json!(42)), good(1, "server", "42", 0)),
        row("a fraction", said(json!(0.5)), good(1, "server", "0.5", 0)),
        row("a truth", said(json!(true)), good(1, "server", "true", 0)),
        row(
            "arguments as an object",
            Answer::stream([call(json!({"name": "f", "arguments": {"x": 1}})), end(1)]),
            good(1, "server", "f{\"x\":1}", 0),
        ),
        row(
            "one call instead of a list",
            Answer::stream([
                chat(json!({"tool_calls": {"function": {"name": "f", "arguments": "{}"}}})),
                end(1),
            ]),
            good(1, "server", "f{}", 0),
        ),
        row(
            "a call in the way of before",
            Answer::stream([
                chat(json!({"content": null, "function_call": {"name": "f", "arguments": "{}"}})),
                end(1),
            ]),
            good(1, "server", "f{}", 0),
        ),
        row(
            "one choice instead of a list",
            Answer::stream([
                event(&json!({"choices": {"delta": {"content": "a"}, "finish_reason": "stop"}})),
                end(1),
            ]),
            good(1, "server", "a", 0),
        ),
        row(
            "a null between events",
            odd(Wire::Chat, "data: {\"id\"", "data: null\n\ndata: {\"id\""),
            four.clone(),
        ),
        row(
            "halves of a pair",
            odd(Wire::Chat, " two", "\\ud83d"),
            good(4, "server", "one\u{fffd} three four", 3),
        ),
        row(
            "no number in a count",
            odd(Wire::Chat, "\"prompt_tokens\":8", "\"prompt_tokens\":NaN"),
            four.clone(),
        ),
        row(
            "counts as fractions",
            odd(Wire::Chat, "\"completion_tokens\":4", "\"completion_tokens\":4.0"),
            four.clone(),
        ),
        row(
            "counts as text",
            odd(Wire::Chat, "\"completion_tokens\":4", "\"completion_tokens\":\"4\""),
            four.clone(),
        ),
        row(
            "counts in powers",
            odd(Wire::Chat, "\"completion_tokens\":4", "\"completion_tokens\":0.4e1"),
            four.clone(),
        ),
        row(
            "a usage that is none",
            odd(Wire::Chat, "\"finish_reason\":null", "\"finish_reason\":null,\"usage\":[]"),
            four.clone(),
        ),
        row("an index as text", odd(Wire::Chat, "\"index\":0", "\"index\":\"0\""), four.clone()),
    ];
    for (what, more) in [
        (
            "a key twice",
            "\"model\":\"a\",\"model\":\"b\",\"usage\":null,\"usage\":null,\"choices\":[],\"error\":null,\"error\":null",
        ),
        ("numbers that are none", "\"logprob\":-Infinity,\"x\":[NaN,{\"y\":Infinity}]"),
        ("half a pair in a key that nobody reads", "\"x\":\"\\udc00\""),
        ("no error", "\"error\":null"),
        ("an error that is false", "\"error\":false"),
        ("an error of nothing", "\"error\":\"\""),
        ("an error without parts", "\"error\":{}"),
        ("an error of success", "\"error\":{\"code\":0,\"message\":\"\"}"),
        ("errors that are none", "\"errors\":[],\"detail\":null,\"code\":200,\"message\":\"ok\""),
        ("an object that is a number", "\"object\":5,\"sglext\":\"x\""),
        ("a base of success", "\"base_resp\":{\"status_code\":0,\"status_msg\":\"\"}"),
    ] {
        rows.push(beside(what, more));
    }
    let _ = check("vllm-chat", &[], rows);

    let lone = |a: &str, b: &str| {
        let two = json!({"choices": [{"text": "T"}]}).to_string();
        format!("data: {}\n\ndata: {}\n\n{}", two.replace('T', a), two.replace('T', b), end(2))
    };
    let _ = check(
        "vllm",
        &[],
        vec![
            row(
                "half a pair in each event",
                Answer::stream([lone("\\ud83d", "\\ude00")]),
                good(2, "server", "\u{fffd}\u{fffd}", 1),
            ),
            row(
                "a text as a number",
                odd(Wire::Completions, "\"one\"", "1"),
                good(4, "server", "1 two three four", 3),
            ),
            row(
                "logprobs without a bound",
                odd(
                    Wire::Completions,
                    "\"logprobs\":null",
                    "\"logprobs\":{\"token_logprobs\":[-Infinity]}",
                ),
                four.clone(),
            ),
            row(
                "a text of before",
                odd(Wire::Completions, "\"text\":", "\"text\":\"x\",\"text\":"),
                four.clone(),
            ),
        ],
    );
    let _ = check(
        "sglang",
        &[],
        vec![
            row(
                "a fraction",
                odd(Wire::Native, "\"prompt_tokens\":8", "\"prompt_tokens\":8.0"),
                four.clone(),
            ),
            row(
                "counts as fractions",
                odd(Wire::Native, "\"completion_tokens\":2", "\"completion_tokens\":2.0"),
                four.clone(),
            ),
            row(
                "half a pair",
                odd(Wire::Native, " two", "\\ud83d"),
                good(4, "server", "one\u{fffd} three four", 3),
            ),
            row(
                "numbers that are none",
                odd(Wire::Native, "\"id\":\"g\"", "\"id\":\"g\",\"x\":[-Infinity,NaN]"),
                four.clone(),
            ),
            row(
                "a key twice",
                odd(Wire::Native, "\"id\":\"g\"", "\"id\":\"g\",\"finish_reason\":5,\"id\":7"),
                four.clone(),
            ),
            row(
                "two texts",
                odd(Wire::Native, "\"text\":", "\"text\":\"x\",\"text\":"),
                four.clone(),
            ),
        ],
    );
    let vector = |from: &str, to: &str| {
        Answer::body(
            "200 OK",
            "application/json",
            &Wire::Embeddings.whole("", None).to_string().replace(from, to),
        )
    };
    let _ = check(
        "vllm-embedding",
        &[],
        vec![
            row("no numbers in a vector", vector("0.5", "NaN"), good(0, "nobody", "", 0)),
            row("a vector as text", vector("[0.5,-0.5]", "\"AAAA\""), good(0, "nobody", "", 0)),
            row(
                "a usage as text",
                vector("{\"prompt_tokens\":8,\"total_tokens\":8}", "\"none\""),
                good(0, "nobody", "", 0),
            ),
            row(
                "no data",
                vector("[{", "null,\"x\":[{"),
                bad("malformed", "first_token", "`data`"),
            ),
        ],
    );
}

#[test]
fn an_error_of_any_shape_is_told_in_the_words_of_the_server() {
    let no = "no cards left";
    let told = || bad("server_error", "first_token", no);
    let json = |what, value: Value| row(what, Answer::json(&value), told());
    let reason = |reason: Value| {
        event(&json!({"choices": [{"index": 0, "text": "", "delta": {}, "finish_reason": reason}]}))
    };
    for (backend, wire) in
        [("vllm", Wire::Completions), ("vllm-chat", Wire::Chat), ("sglang", Wire::Native)]
    {
        let first = event(&wire.token(WORDS, 0));
        let mut rows = vec![
            json("a text", json!({"error": no})),
            json("a message", json!({"error": {"message": no, "type": "x", "code": 400}})),
            json("a code", json!({"error": {"code": no}})),
            json("a type", json!({"error": {"type": no, "message": null}})),
            json("other keys", json!({"error": {"reason": no}})),
            json("a list", json!({"error": [{"message": no}]})),
            json("errors", json!({"errors": [no]})),
            json("an error object", json!({"object": "error", "message": no, "code": 400})),
            json("an error by its type", json!({"type": "error", "message": no})),
            json("a detail", json!({"detail": no})),
            json("a list of details", json!({"detail": [{"loc": ["body"], "msg": no}]})),
            json("a code and a message", json!({"code": 50001, "message": no, "data": null})),
            json("an error message", json!({"error_code": 336_100, "error_msg": no})),
            json(
                "a base of failure",
                json!({"choices": null, "base_resp": {"status_code": 1004, "status_msg": no}}),
            ),
            row(
                "a detail in a stream",
                Answer::stream([&*first, &event(&json!({"detail": no}))]),
                bad("server_error", "stream", no),
            ),
            row(
                "an event of type error",
                Answer::stream([&*format!("event: error\ndata: {}\n\n", json!({"detail": no}))]),
                told(),
            ),
            // In no shape that anybody knows, and so as they are.
            row(
                "a page",
                Answer::body("200 OK", "text/html", &format!("<p>{no}</p>")),
                bad("no_tokens", "first_token", no),
            ),
            row(
                "another object",
                Answer::json(&json!({"outcome": no})),
                bad("no_tokens", "first_token", no),
            ),
            row(
                "another event",
                Answer::stream([event(&json!({"outcome": no})), DONE.to_owned()]),
                bad("no_tokens", "first_token", no),
            ),
        ];
        if wire != Wire::Native {
            rows.extend([
                row("a reason that explains itself", Answer::stream([reason(json!({"type": "abort", "message": no}))]), told()),
                row("another that does", Answer::stream([reason(json!({"type": "x", "message": no}))]), told()),
                row("a reason of failure", Answer::stream([reason(json!("Error"))]), bad("server_error", "first_token", "`Error`")),
                row("a reason given up", Answer::stream([reason(json!("cancelled"))]), bad("server_error", "first_token", "cancelled")),
                row(
                    "an error of a choice",
                    Answer::stream([event(&json!({"choices": [{"error": {"code": 502, "message": no}, "finish_reason": "error"}]}))]),
                    told(),
                ),
            ]);
        }
        // One answer has to be good.
        rows.push(row("none", Answer::stream(wire.events(WORDS)), good(4, "server", &text(), 3)));
        let _ = check(backend, &[], rows);
    }
}

/// Streams of [`WORDS`] on OpenAI's route whose usage is this, where there is one: with each event, and after the last.
fn counted(each: [Option<Value>; 4], last: Option<Value>) -> Answer {
    let mut events: Vec<Value> = (0..4).map(|n| Wire::Completions.token(WORDS, n)).collect();
    for (event, usage) in events.iter_mut().zip(each) {
        if let Some(usage) = usage {
            event["usage"] = usage;
        }
    }
    events.push(Wire::Completions.closing(WORDS)[0].clone());
    events.extend(last.map(|usage| json!({"choices": [], "usage": usage})));
    let events: Vec<String> = events.iter().map(event).collect();
    Answer::stream([&*events.concat(), DONE])
}

#[expect(clippy::unnecessary_wraps, reason = "events without a usage have none")]
fn usage(n: u64) -> Option<Value> {
    Some(json!({"prompt_tokens": 8, "completion_tokens": n}))
}

const NO_USAGE: [Option<Value>; 4] = [None, None, None, None];

#[test]
fn a_count_lies_between_what_was_seen_and_what_can_be() {
    let believed = |what, answer, tokens| row(what, answer, good(tokens, "server", &text(), 3));
    let refused = |what, answer| row(what, answer, good(4, "retokenized", &text(), 3));
    let native = |counts: [u64; 4]| {
        let events = counts.iter().enumerate().map(|(n, &count)| {
            let mut event = Wire::Native.token(WORDS, n);
            event["meta_info"]["completion_tokens"] = count.into();
            if n == 3 {
                event["meta_info"]["finish_reason"] = json!({"type": "length"});
            }
            event
        });
        Answer::stream(events.map(|data| event(&data)).chain([DONE.to_owned()]))
    };
    let run = check(
        "vllm",
        &[],
        vec![
            believed("as many as were seen", counted(NO_USAGE, usage(4)), 4),
            believed("several in an event", counted(NO_USAGE, usage(20)), 20),
            believed("running", counted([usage(1), usage(3), usage(6), usage(9)], usage(9)), 9),
            believed(
                "running, and then no more",
                counted([usage(1), usage(3), usage(6), usage(9)], None),
                9,
            ),
            believed(
                "a place that is filled in at the end",
                counted([usage(0), usage(0), usage(0), usage(0)], usage(4)),
                4,
            ),
        ],
    );
    assert!(tokens_check(&run).0, "{run:#?}");
    let rows = vec![
        refused("none", counted(NO_USAGE, usage(0))),
        refused("fewer than were seen", counted(NO_USAGE, usage(3))),
        refused("more than there can be", counted(NO_USAGE, usage(1_000_000))),
        refused("more than a number", counted(NO_USAGE, usage(u64::MAX))),
        refused("told before the output", counted([usage(7), None, None, None], None)),
        refused("told before some of it", counted([None, None, usage(7), None], None)),
        refused("going back", counted([usage(3), usage(6), usage(9), usage(8)], None)),
        refused(
            "going back at the end",
            counted([usage(3), usage(6), usage(9), usage(9)], usage(5)),
        ),
        row(
            "none in one piece",
            Answer::json(&Wire::Completions.whole(&text(), Some(0))),
            good(4, "retokenized", &text(), 0),
        ),
    ];
    let n = rows.len();
    let run = check("vllm", &[], rows);
    let (passed, detail) = tokens_check(&run);
    assert!(!passed && detail.starts_with(&format!("{n} of {n} requests")), "{detail}");
    assert!(detail.ends_with("such as 0 output tokens of request 0"), "{detail}");
    assert!(
        run.stdout.contains("impossible token counts (tokens)") && run.stdout.contains(&detail),
        "{run:#?}"
    );
    // What is made of counts is within reason as well.
    let rate = run.result()["output_throughput"].as_f64().unwrap();
    assert!(rate < 1e6, "{rate}");
    let rows = vec![
        refused("going back", native([1, 2, 3, 2])),
        refused("a leap", native([1, 1_000_000, 1_000_001, 1_000_002])),
        refused("a leap at the end", native([1, 2, 3, 1_000_000])),
        refused("none beside text", native([0, 0, 0, 0])),
    ];
    assert!(!tokens_check(&check("sglang", &[], rows)).0);
}

#[test]
fn counts_of_the_prompt_lie_within_it() {
    let with = |usage: Value| counted(NO_USAGE, Some(usage));
    let told = |prompt: u64, cached: u64| {
        with(
            json!({"prompt_tokens": prompt, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": cached}}),
        )
    };
    for (answer, prompt, detail) in [
        (told(12, 12), json!([12, 12, 12]), None),
        (told(12, 16_000_000), json!([12, 12, 12]), Some("16000000 cached tokens")),
        (told(16_000_000, 0), json!([8, 8, 8]), Some("16000000 prompt tokens")),
        (told(0, 16_000_000), json!([8, 8, 8]), Some("16000000 cached tokens")),
    ] {
        let server = Script::new(move |_| answer.clone()).start();
        let run = Rbench::load("vllm", &server.url()).arg("--cache-report").run().exits(0);
        let result = run.result();
        assert_eq!(result["input_lens"], prompt, "{detail:?}");
        let hits = result["rbench"]["cache_hit_rate"].as_f64().unwrap_or(0.0);
        assert!((0.0..=1.0).contains(&hits), "{hits}");
        let (passed, told) = tokens_check(&run);
        assert_eq!(passed, detail.is_none(), "{told}");
        assert!(told.contains(detail.unwrap_or("0 of 3")), "{told}");
    }
}

#[test]
fn completions_are_those_that_were_asked_for() {
    // The index is the number of the token.
    for (backend, wire) in [("vllm", Wire::Completions), ("vllm-chat", Wire::Chat)] {
        let numbered = |from: usize| {
            let events = (0..4).map(|n| {
                let mut data = wire.token(WORDS, n);
                data["choices"][0]["index"] = (from + n).into();
                event(&data)
            });
            let closing = wire.closing(WORDS);
            Answer::stream(events.chain(closing.iter().map(event)).chain([DONE.to_owned()]))
        };
        let four = good(4, "server", &text(), 3);
        let rows: Vec<Row> =
            [0, 1, 70_000].map(|from| row("numbered tokens", numbered(from), four.clone())).into();
        let run = check(backend, &[], rows);
        assert!(tokens_check(&run).0, "{run:#?}");
    }
    // Of several the index matters, and one usage of each completion adds up.
    let answer = |index: usize, totals: &[u64]| {
        let mut events = Vec::new();
        for n in 0..4 {
            for i in [0, 1, index] {
                let mut data = Wire::Chat.token(WORDS, n);
                data["choices"][0]["index"] = i.into();
                events.push(event(&data));
            }
        }
        for i in [0, 1, index] {
            let mut data = Wire::Chat.closing(WORDS)[0].clone();
            data["choices"][0]["index"] = i.into();
            events.push(event(&data));
        }
        let usage = |n: &u64| event(&json!({"choices": [], "usage": {"completion_tokens": n}}));
        events.extend(totals.iter().map(usage));
        events.push(DONE.to_owned());
        Answer::stream(events)
    };
    let run = check(
        "vllm-chat",
        &["--extra-request-body", r#"{"n": 3}"#],
        vec![
            row("one total", answer(2, &[12]), good(12, "server", &text(), 9)),
            row("one of each", answer(2, &[4, 4, 4]), good(12, "server", &text(), 9)),
            row("different ones", answer(2, &[4, 6, 5]), good(15, "server", &text(), 9)),
            row("no such completion", answer(3, &[12]), bad("malformed", "stream", "`index`")),
        ],
    );
    assert!(tokens_check(&run).0, "{run:#?}");
}

#[test]
fn a_stream_that_was_cut_is_not_complete() {
    for (backend, wire) in
        [("vllm", Wire::Completions), ("vllm-chat", Wire::Chat), ("sglang", Wire::Native)]
    {
        let three = |reason: Value| -> String {
            (0..3)
                .map(|n| {
                    let mut data = wire.token(WORDS, n);
                    if wire == Wire::Native {
                        data["meta_info"]["finish_reason"] = reason.clone();
                    } else {
                        data["choices"][0]["finish_reason"] = reason.clone();
                    }
                    event(&data)
                })
                .collect()
        };
        let cut = |reason: Value| {
            row("cut", Answer::stream([three(reason)]), bad("early_end", "stream", "finish reason"))
        };
        let whole = Wire::events(wire, WORDS).concat();
        let within = |bytes: usize| {
            let cut = &whole[..whole.len() - bytes];
            row(
                "within an event",
                Answer::stream([cut]),
                bad("early_end", "stream", "within an event"),
            )
        };
        let closing = &whole[whole.find("\"length\"").unwrap()..];
        let rows = vec![
            cut(Value::Null),
            cut(json!("")),
            cut(json!(" ")),
            cut(json!("null")),
            cut(json!("None")),
            cut(json!(false)),
            cut(json!({})),
            within("ONE]\n\n".len()),
            within(closing.len()),
            row("whole", Answer::stream([&whole]), good(4, "server", &text(), 3)),
        ];
        let _ = check(backend, &[], rows);
    }
}

#[test]
fn after_its_end_mark_an_answer_is_whole_and_its_place_is_free() {
    let stream = |wire: Wire| wire.events(WORDS).concat();
    for (backend, wire) in
        [("vllm", Wire::Completions), ("vllm-chat", Wire::Chat), ("sglang", Wire::Native)]
    {
        let whole = good(4, "server", &text(), 3);
        let more = stream(wire);
        let error = event(&json!({"error": "too late"}));
        let open = |after: &str| Answer::events().chunk(stream(wire) + after);
        let rows = vec![
            row("a body that goes on", open("").hang(), whole.clone()),
            row("a body that goes on with nothing", open(": ping\n\n").hang(), whole.clone()),
            row("a body that goes on and on", open("").flood("5\r\n: hi\n\r\n"), whole.clone()),
            row("output after the end", open(&more).end(), whole.clone()),
            row(
                "output after the end, for ever",
                open("").flood(format!("{:x}\r\n{more}\r\n", more.len())),
                whole.clone(),
            ),
            row("an error after the end", open(&error).end(), whole.clone()),
            row("no JSON after the end", open("data: {oops\n\n").end(), whole.clone()),
            row("a broken chunk after the end", open("").raw("zz\r\n"), whole.clone()),
            row("a reset after the end", open("").pause(10).reset(), whole.clone()),
        ];
        // The limits on time play no part: an answer that waits for one of them takes minutes.
        let run = check(backend, &["--idle-timeout", "20s", "--request-timeout", "20s"], rows);
        assert!(tokens_check(&run).0, "{run:#?}");
        let duration = run.result()["duration"].as_f64().unwrap();
        assert!(duration < 10.0, "{duration}");
    }
}

#[test]
fn tokens_that_no_server_counted_are_counted_and_it_is_said() {
    let letters = |text: &str| -> Vec<String> {
        let pieces = text.chars().map(|c| {
            event(&json!({"choices": [{"index": 0, "text": c.to_string(), "finish_reason": null}]}))
        });
        pieces.chain([DONE.to_owned()]).collect()
    };
    let emoji = "🦀🦜🧭🪁🪜".repeat(2);
    let pieces = |text: &str, n: usize| -> Vec<String> {
        let piece = json!({"choices": [{"index": 0, "text": text, "finish_reason": null}]});
        std::iter::repeat_n(event(&piece), n).chain([DONE.to_owned()]).collect()
    };
    let run = check(
        "vllm",
        &[],
        vec![
            row(
                "a letter in each event",
                Answer::stream(letters(&text())),
                good(4, "retokenized", &text(), text().len() - 1),
            ),
            row(
                "all in one event",
                Answer::stream(pieces(&text(), 1)),
                good(4, "retokenized", &text(), 0),
            ),
            // The text has far more tokens than were asked for, so it is not of these tokens.
            row(
                "text of no tokens",
                Answer::stream(pieces(&emoji, 3)),
                good(3, "events", &emoji.repeat(3), 2),
            ),
        ],
    )
    .says(&["no usable count of output tokens for 3 of 3 completed requests"]);
    assert_eq!(run.row("Output tokens counted by:"), Some("1 events, 2 retokenized"), "{run:#?}");
    // Gaps are those of tokens: that of the four words is shared by their letters.
    let run = check(
        "vllm",
        &[],
        vec![row(
            "letters",
            Answer::stream(letters(&text())),
            good(4, "retokenized", &text(), text().len() - 1),
        )],
    );
    assert_eq!(run.result()["rbench"]["peak_output_tokens_per_s"], 4.0, "{run:#?}");
    // Where the server counts, nothing is said.
    let run = check(
        "vllm",
        &[],
        vec![row(
            "counted",
            Answer::stream(Wire::Completions.events(WORDS)),
            good(4, "server", &text(), 3),
        )],
    );
    assert!(!run.stderr.contains("usable count") && run.row("Output tokens counted by:").is_none());
}

#[test]
fn pieces_that_are_alike_are_pieces() {
    let stream = |texts: &[&str], key: &str| {
        let events = texts.iter().zip(1..).map(|(text, count)| {
            let meta = json!({"completion_tokens": count, "prompt_tokens": 8,
                "finish_reason": if count == texts.len() { json!({"type": "length"}) } else { Value::Null }});
            // In another order it is read in another way.
            let text = json!(text);
            event(&json!({"index": 0})).replace('{', &format!("{{{key}")).replace("TEXT", &text.to_string()).replace("META", &meta.to_string())
        });
        Answer::stream(events.chain([DONE.to_owned()]))
    };
    let keys = ["\"text\":TEXT,\"meta_info\":META,", "\"meta_info\":META,\"text\":TEXT,"];
    let rows = keys.iter().flat_map(|key| {
        [
            row(
                "alike",
                stream(&[" the", " the", " the", " the"], key),
                good(4, "server", " the the the the", 3),
            ),
            row("two alike", stream(&["\n", "\n"], key), good(2, "server", "\n\n", 1)),
            row(
                "alike at first",
                stream(&[" the", " the", " cat"], key),
                good(3, "server", " the the cat", 2),
            ),
            row(
                "beginning alike",
                stream(&[" the", " then", " there"], key),
                good(3, "server", " the then there", 2),
            ),
            row("repeated", stream(&["a", "ab", "abc", "abcd"], key), good(4, "server", "abcd", 3)),
            row(
                "repeated without more",
                stream(&["a", "ab", "ab", "abc"], key),
                good(4, "server", "abc", 3),
            ),
        ]
    });
    let _ = check("sglang", &[], rows.collect());
}

#[test]
fn tokens_that_nobody_saw_arrive_have_no_time_per_token() {
    // Special tokens alone: the end is the only instant that is known.
    let silent = json!({"choices": [{"index": 0, "text": "", "finish_reason": "length"}], "usage": {"completion_tokens": 4}});
    let silent = event(&silent) + DONE;
    let events = Wire::Completions.events(WORDS);
    let server = Script::new(move |request| {
        if request.nth == 0 {
            return Answer::stream([&silent]);
        }
        Answer::events().chunk(&events[0]).pause(30).chunk(events[1..].concat()).end()
    })
    .start();
    let run = Rbench::load("vllm", &server.url()).args(["--max-concurrency", "1"]).run().exits(0);
    let result = run.result();
    assert_eq!(result["completed"], 3);
    // The mean of two that have 10 ms each: with a 0 beside them it would be a third less.
    let tpot = result["median_tpot_ms"].as_f64().unwrap();
    let mean = result["mean_tpot_ms"].as_f64().unwrap();
    assert!((mean - tpot).abs() < 1e-6, "{mean} {tpot}");
    assert!(mean >= 10.0, "{mean}");
}

#[test]
fn an_answer_far_beyond_what_was_asked_for_is_cut() {
    let long = "word ".repeat(1 << 16);
    for (backend, wire) in [("vllm", Wire::Completions), ("sglang", Wire::Native)] {
        let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
        let cut = |phase, says| bad("malformed", phase, says);
        let one = |data: Value| chunk(&event(&data));
        let mut rows = vec![
            row(
                "one event",
                Answer::events().raw("ffffffff\r\ndata: ").flood(&long),
                cut("first_token", "bytes in one event"),
            ),
            row(
                "one value",
                Answer::head("200 OK", &["content-type: application/json"])
                    .raw("{\"text\": \"")
                    .flood(&long),
                cut(
                    "first_token",
                    "the answer is cut, being far beyond the 4 tokens that were asked for",
                ),
            ),
        ];
        if wire != Wire::Native {
            rows.extend([
                row(
                    "text",
                    Answer::events().flood(one(wire.token(&[&long], 0))),
                    cut("stream", "more than 1049600 bytes of text"),
                ),
                row(
                    "events",
                    Answer::events().flood(one(wire.token(WORDS, 0)).repeat(64)),
                    cut("stream", "more than 65792 events"),
                ),
            ]);
        }
        rows.push(row(
            "none of it",
            Answer::stream(wire.events(WORDS)),
            good(4, "server", &text(), 3),
        ));
        let _ = check(backend, &[], rows);
    }
}
