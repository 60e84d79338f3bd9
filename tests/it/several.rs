//! Requests for several completions: `n` in the body of each.

use std::time::Duration;

use proptest::prelude::*;
use rbench::model::{Outcome, PlannedRequest, RequestRecord};
use rbench::protocol::backend::Backend;
use rbench::protocol::response::{Collector, Expect, Framing};
use serde_json::{Value, json};

use crate::support::rbench::{RESULT, Rbench};
use crate::support::server::{Answer, Request, Script};
use crate::support::wire::{DONE, Wire, event};

/// Backends that can ask for several completions, and their protocols.
const BACKENDS: &[(&str, Wire)] = &[
    ("sglang", Wire::Native),
    ("sglang-oai", Wire::Completions),
    ("sglang-oai-chat", Wire::Chat),
    ("vllm", Wire::Completions),
    ("vllm-chat", Wire::Chat),
];

// -- Interleaving ----------------------------------------------------------------------------------------------------

/// Event number `n` of completion `i`, which says `words`.
fn token(wire: Wire, words: &[&str], n: usize, i: usize) -> Value {
    indexed(wire, wire.token(words, n), i)
}

/// `event` as one of completion `i`.
fn indexed(wire: Wire, mut event: Value, i: usize) -> Value {
    match wire {
        Wire::Native => event["index"] = i.into(),
        _ => event["choices"][0]["index"] = i.into(),
    }
    event
}

/// The record of events with their arrivals in ms.
fn collect(backend: &str, events: &[(u64, String)]) -> RequestRecord {
    let decoder = Backend::find(backend).unwrap().protocol.decoder();
    let mut collector = Collector::new(decoder, Framing::Events, Expect::Tokens);
    let mut record = RequestRecord::unsent(&PlannedRequest {
        index: 0,
        due: Duration::ZERO,
        body: bytes::Bytes::new(),
        prompt_len: 8,
        output_len: 4,
        conversation: None,
        asked: rbench::model::Asked::default(),
        vision_len: 0,
        routing_key: None,
    });
    let mut feed = || {
        for (at, event) in events {
            collector.chunk(event.as_bytes(), Duration::from_millis(*at))?;
        }
        collector.finish(events.last().map_or(Duration::ZERO, |(at, _)| Duration::from_millis(*at)))
    };
    record.sent = Some(Duration::ZERO);
    record.outcome = match feed() {
        Ok(()) => Outcome::Completed,
        Err(failure) => Outcome::Failed(failure),
    };
    collector.store(&mut record);
    record
}

/// The events of completion `i`: a word at each of `at`, and the finish reason with the last of them.
fn completion(wire: Wire, i: usize, at: &[u64]) -> Vec<(u64, Value)> {
    let words: Vec<String> = (0..at.len()).map(|n| format!(" w{i}-{n}")).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let tokens = at.iter().enumerate().map(|(n, &at)| (at, token(wire, &words, n, i)));
    let finish = wire.closing(&words).swap_remove(0);
    tokens.chain([(at[at.len() - 1], indexed(wire, finish, i))]).collect()
}

fn record_of(backend: &str, mut events: Vec<(u64, Value)>) -> RequestRecord {
    // Stable, so that the events of one completion stay in order.
    events.sort_by_key(|&(at, _)| at);
    let mut events: Vec<(u64, String)> =
        events.iter().map(|(at, data)| (*at, event(data))).collect();
    let end = events.last().map_or(0, |&(at, _)| at);
    events.push((end, DONE.to_owned()));
    collect(backend, &events)
}

proptest! {
    /// Forall arrivals of some completions: what is known of all of them together is what is known of each alone.
    #[test]
    fn interleaved_completions_are_read_as_if_each_came_alone(
        gaps in prop::collection::vec(prop::collection::vec(1_u64..50, 1..8), 1..6),
    ) {
        let arrivals: Vec<Vec<u64>> = gaps
            .iter()
            .map(|gaps| gaps.iter().scan(0, |at, gap| { *at += gap; Some(*at) }).collect())
            .collect();
        for (backend, wire) in BACKENDS {
            let all = arrivals.iter().enumerate().flat_map(|(i, at)| completion(*wire, i, at));
            let all = record_of(backend, all.collect());
            let each: Vec<RequestRecord> =
                arrivals.iter().map(|at| record_of(backend, completion(*wire, 0, at))).collect();
            prop_assert_eq!(&all.outcome, &Outcome::Completed);
            prop_assert_eq!(all.completions(), each.len());
            let tokens: u64 = each.iter().map(RequestRecord::output_count).sum();
            prop_assert_eq!(all.output_count(), tokens);
            prop_assert_eq!(all.ttft(), each.iter().filter_map(RequestRecord::ttft).min());
            prop_assert_eq!(all.e2e(), each.iter().filter_map(RequestRecord::e2e).max());
            let mut itl: Vec<f64> = all.itl().collect();
            let mut apart: Vec<f64> = each.iter().flat_map(RequestRecord::itl).collect();
            itl.sort_by(f64::total_cmp);
            apart.sort_by(f64::total_cmp);
            prop_assert_eq!(itl, apart);
            for (i, (text, record)) in all.texts().zip(&each).enumerate() {
                prop_assert_eq!(text, record.text.replace(" w0-", &format!(" w{i}-")));
            }
        }
    }
}

// -- The program -----------------------------------------------------------------------------------------------------

/// The server's answer of three completions of 1, 2 and 3 words.
fn three(request: &Request) -> Answer {
    let wire = Wire::of(&request.path);
    let body = request.json();
    let asked = if wire == Wire::Native { &body["sampling_params"]["n"] } else { &body["n"] };
    assert_eq!(*asked, 3, "{body}");
    assert_eq!(body["best_of"], Value::Null, "{body}");
    let lengths = [1_u64, 2, 3];
    if body["stream"] == true {
        let parts = lengths.iter().enumerate();
        let mut events: Vec<(u64, Value)> = parts
            .flat_map(|(i, &len)| completion(wire, i, &(0..len).collect::<Vec<_>>()))
            .collect();
        events.sort_by_key(|&(at, _)| at);
        let mut events: Vec<String> = events.iter().map(|(_, data)| event(data)).collect();
        if wire != Wire::Native {
            let usage = json!({"prompt_tokens": 8, "completion_tokens": 6, "total_tokens": 14});
            events.push(event(&json!({"id": "c", "choices": [], "usage": usage})));
        }
        events.push(DONE.to_owned());
        return Answer::stream(events);
    }
    let texts = ["w", "w w", "w w w"].iter().zip(lengths);
    if wire == Wire::Native {
        return Answer::json(&texts.map(|(text, len)| wire.whole(text, Some(len))).collect());
    }
    let choices: Vec<Value> = texts
        .enumerate()
        .map(|(i, (text, _))| {
            let mut choice = wire.whole(text, None)["choices"][0].take();
            choice["index"] = i.into();
            choice
        })
        .collect();
    let mut answer = wire.whole("", Some(6));
    answer["choices"] = choices.into();
    Answer::json(&answer)
}

#[test]
fn tokens_of_all_completions_are_counted() {
    for (backend, _) in BACKENDS {
        for stream in [true, false] {
            let server = Script::new(three).start();
            let mut run = Rbench::load(backend, &server.url()).args([
                "--model",
                "tiny",
                "--extra-request-body",
                r#"{"n": 3}"#,
            ]);
            if !stream {
                run = run.arg("--disable-stream");
            }
            let run = run.run().exits(0).prints_a_table();
            let result = run.result();
            let name = format!("{backend}, stream {stream}");
            assert_eq!(run.row("Total generated tokens:"), Some("18"), "{name}");
            assert_eq!(result["output_lens"], json!([6, 6, 6]), "{name}");
            assert_eq!(result["rbench"]["output_token_source"], json!({"server": 3}), "{name}");
            // Gaps: none in the first completion, one in the second, two in the third.
            let gaps: Vec<usize> = result["itls"]
                .as_array()
                .unwrap()
                .iter()
                .map(|gaps| gaps.as_array().unwrap().len())
                .collect();
            assert_eq!(gaps, if stream { [3, 3, 3] } else { [0, 0, 0] }, "{name}");
            let texts = result["rbench"]["completion_texts"][2].as_array().unwrap();
            assert_eq!(texts.len(), 3, "{name}");
            assert_eq!(result["generated_texts"][2], texts[0], "{name}");
        }
    }
}

#[test]
fn a_completion_without_an_end_fails_its_request() {
    for (backend, wire) in BACKENDS {
        let wire = *wire;
        let server = Script::new(move |_| {
            let mut events: Vec<String> =
                completion(wire, 0, &[0, 1]).iter().map(|(_, data)| event(data)).collect();
            events.insert(1, event(&token(wire, &["x"], 0, 1)));
            events.push(DONE.to_owned());
            Answer::stream(events)
        })
        .start();
        let run = Rbench::load(backend, &server.url())
            .args(["--model", "tiny", "--extra-request-body", r#"{"n": 2}"#])
            .run()
            .exits(1)
            .says(&["each completion"]);
        assert_eq!(run.result()["rbench"]["failures"][0]["kind"], "early_end", "{backend}");
        assert_eq!(run.files(), [RESULT]);
    }
}

#[test]
fn the_simulated_engine_makes_several_completions() {
    for backend in ["sglang", "sglang-oai", "sglang-oai-chat", "vllm", "truss"] {
        for stream in [true, false] {
            let mut run = Rbench::aimed(["--mock"]).args([
                "--backend",
                backend,
                "--extra-request-body",
                r#"{"n": 3}"#,
            ]);
            if !stream {
                run = run.arg("--disable-stream");
            }
            let run = run.run().exits(0).prints_a_table();
            let name = format!("{backend}, stream {stream}");
            let result = run.result();
            assert_eq!(result["completed"], 3, "{name}");
            assert_eq!(result["output_lens"], json!([12, 12, 12]), "{name}");
            let gaps = result["itls"][0].as_array().unwrap().len();
            assert_eq!(gaps, if stream { 9 } else { 0 }, "{name}");
            let texts = result["rbench"]["completion_texts"][0].as_array().unwrap();
            assert!(texts.len() == 3 && texts[0] != texts[1], "{name}: {texts:?}");
        }
    }
}
