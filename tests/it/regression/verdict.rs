//! What the report says of a run: the verdict on the client, notes on the answers, messages.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::certificates::{Speaks, self_signed};
use crate::support::rbench::{Process, Rbench, Run};
use crate::support::server::{Answer, Request, Script};
use crate::support::wire::{self, DONE, Wire, event};

/// What the verdict and the notes say, each as one text.
fn found(run: &Run) -> Vec<String> {
    let own = &run.result()["rbench"];
    let of = |list: &Value| list.as_array().cloned().unwrap_or_default();
    let all = of(&own["verdict"]["limits"]).into_iter().chain(of(&own["notes"]));
    all.map(|one| format!("{}: {}", one["evidence"], one["advice"])).collect()
}

#[test]
fn what_does_not_exist_is_neither_judged_nor_printed() {
    type Member<'a> = (&'a str, &'a str, &'a [&'a str], fn(&Request) -> Answer, i32);
    let refused = |_: &Request| Answer::body("500 Oops", "text/plain", "");
    let members: [Member<'_>; 3] = [
        ("embeddings", "vllm-embedding", &["--request-rate", "1000"], wire::good, 0),
        ("a burst", "vllm", &["--num-prompts", "200"], wire::good, 0),
        ("nothing but errors", "vllm", &["--request-rate", "1000"], refused, 1),
    ];
    for (name, backend, flags, answer, code) in members {
        let server = Script::new(answer).start();
        let run = Rbench::load(backend, &server.url())
            .args(["--model", "tiny", "--num-prompts", "30"])
            .args(flags)
            .run()
            .exits(code)
            .prints_a_table();
        let late: Vec<String> =
            found(&run).into_iter().filter(|text| text.contains("were sent late")).collect();
        // A machine that is too busy for the rate makes embeddings late as well.
        assert!(late.is_empty() || name == "embeddings", "{name}: {late:?}");
        let own = &run.result()["rbench"];
        let has_ttft = run.row("TTFT from scheduled time (ms):").is_some();
        assert_eq!(has_ttft, name == "a burst", "{name}");
        assert_eq!(own["mean_ttft_from_due_ms"].is_null(), !has_ttft, "{name}");
        assert_eq!(own["mean_e2e_from_due_ms"].is_null(), code != 0, "{name}");
        let asks = run.stderr.contains("output tokens asked for");
        assert_eq!(asks, name != "embeddings", "{name}: {run:?}");
    }
}

/// A stream of `n` tokens whose usage says so, with `prompt` tokens in the prompt.
fn stream(wire: Wire, n: usize, prompt: usize) -> Vec<String> {
    let words = vec![" word"; n];
    let usage = json!({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": n}});
    let mut events: Vec<String> = (0..n).map(|i| event(&wire.token(&words, i))).collect();
    events.extend([event(&wire.closing(&words)[0]), event(&usage), DONE.to_owned()]);
    events
}

/// An answer with all of a stream in one chunk.
fn in_one(events: &[String]) -> Answer {
    Answer::stream([events.concat()])
}

#[test]
fn answers_that_are_not_what_was_asked_for_are_noted_beside_the_verdict() {
    const COMPLETIONS: Wire = Wire::Completions;
    const CHAT: Wire = Wire::Chat;
    type Member = (
        &'static str,
        &'static str,
        &'static [&'static str],
        fn() -> Answer,
        &'static [&'static str],
    );
    // Each asks for 3 answers of 4 tokens to prompts of 8, unless its flags say otherwise.
    let members: [Member; 13] = [
        ("as asked", "vllm", &[], || Answer::stream(stream(COMPLETIONS, 4, 8)), &[]),
        (
            "longer",
            "vllm",
            &[],
            || Answer::stream(stream(COMPLETIONS, 6, 8)),
            &["asked for 12 output tokens, got 18: 3 of 3 answers are longer"],
        ),
        (
            "shorter",
            "vllm-chat",
            &[],
            || Answer::stream(stream(CHAT, 2, 8)),
            &["asked for 12 output tokens, got 6: 3 of 3 answers are shorter"],
        ),
        (
            "shorter, in whole answers",
            "vllm",
            &["--disable-stream"],
            || Answer::json(&COMPLETIONS.whole("one two", Some(2))),
            &["asked for 12 output tokens, got 6: 3 of 3 answers are shorter"],
        ),
        (
            "may end early",
            "vllm",
            &["--disable-ignore-eos"],
            || Answer::stream(stream(COMPLETIONS, 2, 8)),
            &[],
        ),
        (
            "may end early, by its body",
            "vllm",
            &["--extra-request-body", r#"{"stop": ["x"]}"#],
            || Answer::stream(stream(COMPLETIONS, 2, 8)),
            &[],
        ),
        (
            "another limit",
            "vllm",
            &["--extra-request-body", r#"{"max_tokens": 6}"#],
            || Answer::stream(stream(COMPLETIONS, 6, 8)),
            &[],
        ),
        (
            "a proxy that holds back",
            "vllm",
            &["--random-output-len", "12"],
            || in_one(&stream(COMPLETIONS, 12, 8)),
            &["3 of 3 streams came in one piece"],
        ),
        (
            "a server that does not stream",
            "vllm-chat",
            &["--random-output-len", "12"],
            || Answer::json(&CHAT.whole(&" word".repeat(12), Some(12))),
            &["3 of 3 streams came in one piece"],
        ),
        (
            "no stream was asked for",
            "vllm",
            &["--random-output-len", "12", "--disable-stream"],
            || Answer::json(&COMPLETIONS.whole(&" word".repeat(12), Some(12))),
            &[],
        ),
        (
            "another tokenizer",
            "vllm",
            &["--random-input-len", "100"],
            || Answer::stream(stream(COMPLETIONS, 4, 175)),
            &["input tokens: 300 by the local tokenizer, 525 by the server"],
        ),
        (
            "fewer tokens than were sent",
            "vllm-chat",
            &["--random-input-len", "100"],
            || Answer::stream(stream(CHAT, 4, 60)),
            &["input tokens: 300 by the local tokenizer, 180 by the server"],
        ),
        ("a chat template", "vllm-chat", &[], || Answer::stream(stream(CHAT, 4, 70)), &[]),
    ];
    for (name, backend, flags, answer, notes) in members {
        let server = Script::new(move |_| answer()).start();
        let run = Rbench::load(backend, &server.url())
            .args(["--model", "tiny"])
            .args(flags)
            .run()
            .exits(0)
            .prints_a_table();
        let own = &run.result()["rbench"];
        let noted = own["notes"].as_array().cloned().unwrap_or_default();
        let told: Vec<&str> = noted.iter().filter_map(|one| one["evidence"].as_str()).collect();
        let p99_lag = own["client"]["lag_ms"]["p99"].as_f64().unwrap_or(0.0);
        if name == "a proxy that holds back" && p99_lag > 5.0 {
            // The machine is too busy for it to be known.
            continue;
        }
        assert_eq!(told.len(), notes.len(), "{name}: {told:?}");
        for note in notes {
            assert!(told.iter().any(|told| told.contains(note)), "{name}: {told:?}");
            assert!(run.row("Note:").is_some_and(|row| row.contains(note)), "{name}: {run:#?}");
        }
        assert_eq!(run.row("Note:").is_some(), !notes.is_empty(), "{name}");
    }
}

#[test]
fn certificates_are_refused_in_words() {
    let identity = self_signed(&["127.0.0.1"]);
    let server = Script::untouched().whatever().start_tls(Speaks::with(&identity).config());
    let run = Rbench::load("vllm", &server.url()).run().exits(1);
    assert!(!run.stderr.contains("Other("), "{run:?}");
    let _ = run.says(&["that of an authority, such as `openssl req -x509` makes", "--cacert"]);
}

#[test]
fn a_client_that_stood_still_is_named() {
    const STOP: Duration = Duration::from_millis(500);
    let members: [(&str, &[&str]); 3] = [
        ("a closed loop", &["--max-concurrency", "2"]),
        ("an open loop", &["--request-rate", "40"]),
        ("many at once, one answer slow", &[]),
    ];
    for (name, flags) in members {
        let process = Process::default();
        let stopped = process.clone();
        let server = Script::new(move |request| {
            if request.nth == 3 {
                stopped.stop_for(STOP);
            }
            let first = if request.nth == 3 { 600 } else { 20 };
            wire::good(request).after(Answer::new().pause(first))
        })
        .start();
        let run = Rbench::load("vllm", &server.url())
            .args(["--model", "tiny", "--num-prompts", "12"])
            .args(flags)
            .known_as(&process)
            .run()
            .exits(0)
            .prints_a_table();
        let found = found(&run);
        let is_named = found.iter().any(|text| text.contains("the client did not run for 0."));
        assert!(is_named, "{name}: {found:?}");
        let client = &run.result()["rbench"]["client"];
        let longest = client["longest_stop_s"].as_f64().unwrap();
        // It may have stood still a little less than the signals were apart, which this process measures.
        assert!(longest > 0.4, "{name}: {client:#}");
        // Standing still breaks no law.
        let checks = &run.result()["rbench"]["checks"];
        assert!(checks.as_array().unwrap().iter().all(|one| one["passed"] == true), "{checks:#}");
    }
}
