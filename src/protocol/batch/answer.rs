//! The figures of one batch, from its record.

use std::time::Duration;

use super::{Answer, Progress, Wire};
use crate::model::{OutputTokens, PerCompletion, RequestRecord, TokenSource};

/// Returns what the answer to a batch of `prompts` prompts was, of which `record` is the completed record with its tokens counted;
/// `None` if a prompt had no output, which completes no batch.
pub fn answer(
    record: &RequestRecord,
    tokens: Option<OutputTokens>,
    wire: Wire,
    prompts: usize,
) -> Option<Answer> {
    let sent = record.sent?;
    let since = |ns: u64| Duration::from_nanos(ns).saturating_sub(sent);
    let progress = progress(record, prompts, since);
    let (last_ttft, before) = progress.all_started()?;
    let tokens = tokens?;
    let is_native = wire == Wire::Generate;
    let is_counted = tokens.source == TokenSource::Server;
    // Text has another number of tokens than events: of those the share stands that came before.
    let before = match tokens.source {
        TokenSource::Retokenized => before * tokens.count as f64 / progress.tokens() as f64,
        TokenSource::Server | TokenSource::Events => before,
    };
    Some(Answer {
        last_ttft,
        latency: record.done?.saturating_sub(sent),
        output_tokens: tokens.count,
        source: tokens.source,
        output_tokens_before: before,
        early_stops: record.early_stops.map(u64::from).filter(|_| is_native),
        later_arrivals: progress.later_arrivals(),
        window: progress.window().filter(|_| is_native && is_counted),
        prompt_tokens: record.server_prompt_tokens,
        // Of several prompts vLLM counts the cached tokens of the first alone.
        cached_tokens: (record.cached.as_ref().map(|cached| cached.total))
            .filter(|_| is_native || prompts == 1),
    })
}

/// Returns how far each prompt was at each event, by the tokens that the events stand for.
fn progress(record: &RequestRecord, prompts: usize, since: impl Fn(u64) -> Duration) -> Progress {
    let events = &record.events;
    let mut last: PerCompletion<usize> = PerCompletion::default();
    for event in 0..events.len() {
        *last.entry(events.completion_of(event)) = event;
    }
    let mut progress = Progress::new(prompts);
    for (event, (&at, &tokens)) in events.at_ns.iter().zip(&events.tokens).enumerate() {
        let completion = events.completion_of(event);
        let prompt = usize::from(completion);
        if prompt < prompts {
            let total = progress.tokens_of(prompt).saturating_add(tokens.into());
            progress.record(prompt, since(at), total, *last.entry(completion) == event);
        }
    }
    progress
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::model::{Asked, Batch, FailureKind, Outcome, PlannedRequest};
    use crate::protocol::backend::Backend;
    use crate::protocol::response::{Collector, Expect, Framing};

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn wire_name(wire: Wire) -> &'static str {
        match wire {
            Wire::Generate => "sglang",
            Wire::Completions => "vllm",
        }
    }

    /// The record of a batch of two prompts that is sent at 5 ms and has an event each 10 ms from 10 ms on.
    fn read(wire: Wire, ignores_stops: bool, events: &[&str]) -> Result<RequestRecord, String> {
        let asked = Asked {
            completions: Some(2),
            tokens: Some(4),
            is_text_alone: true,
            batch: Some(Batch { prompts: 2, ignores_stops }),
        };
        let request = PlannedRequest {
            index: 0,
            due: Duration::ZERO,
            body: Bytes::from_static(b"{}"),
            prompt_len: 10,
            vision_len: 0,
            routing_key: None,
            output_len: 8,
            asked,
            conversation: None,
        };
        let mut record = RequestRecord::unsent(&request);
        record.sent = Some(ms(5));
        let decoder = Backend::find(wire_name(wire)).unwrap().protocol.decoder();
        let mut collector =
            Collector::new(decoder, Framing::Events, Expect::Tokens).answering(asked, 2);
        let mut at = Duration::ZERO;
        let fail = |failure: crate::model::Failure| format!("{:?}: {failure:?}", failure.kind);
        for event in events {
            at += ms(10);
            collector.chunk(format!("data: {event}\n\n").as_bytes(), at).map_err(fail)?;
        }
        collector.finish(at + ms(10)).map_err(fail)?;
        collector.store(&mut record);
        record.outcome = Outcome::Completed;
        Ok(record)
    }

    const FIRST: &str = r#"{"text":"a","index":0,"meta_info":{"completion_tokens":1,"finish_reason":null,"prompt_tokens":5,"cached_tokens":2}}"#;
    const SECOND: &str = r#"{"text":"","index":1,"meta_info":{"completion_tokens":1,"finish_reason":null,"prompt_tokens":5,"cached_tokens":1}}"#;
    const FIRST_ENDS: &str = r#"{"text":"ab","index":0,"meta_info":{"completion_tokens":3,"finish_reason":{"type":"length","length":3},"prompt_tokens":5,"cached_tokens":2}}"#;
    const SECOND_STOPS: &str = r#"{"text":"ab","index":1,"meta_info":{"completion_tokens":2,"finish_reason":{"type":"stop","matched":7},"prompt_tokens":5,"cached_tokens":1}}"#;
    const SECOND_ENDS: &str = r#"{"text":"ab","index":1,"meta_info":{"completion_tokens":3,"finish_reason":{"type":"length","length":3},"prompt_tokens":5,"cached_tokens":1}}"#;

    fn batch(wire: Wire, ignores_stops: bool, events: &[&str]) -> Result<Answer, String> {
        let record = read(wire, ignores_stops, events)?;
        answer(&record, record.output_tokens, wire, 2)
            .ok_or_else(|| format!("no answer of {record:?}"))
    }

    #[test]
    fn streams_of_generate() {
        let events = [FIRST, SECOND, FIRST_ENDS, SECOND_ENDS, "[DONE]"];
        let answer = batch(Wire::Generate, true, &events).unwrap();
        assert_eq!((answer.last_ttft, answer.latency), (ms(15), ms(45)));
        assert_eq!((answer.output_tokens, answer.source), (6, TokenSource::Server));
        assert_eq!(answer.early_stops, Some(0));
        // The counts of both prompts, of which each event has one.
        assert_eq!((answer.prompt_tokens, answer.cached_tokens), (Some(10), Some(3)));
        // 2 of the first at 20 ms, halfway from 1 to 3, and 1 of the second.
        assert!((answer.output_tokens_before - 3.0).abs() < 1e-9, "{answer:?}");
        let window = answer.window.unwrap();
        assert_eq!(window.duration, ms(10));
        let early = [FIRST, SECOND, FIRST_ENDS, SECOND_STOPS];
        let early = batch(Wire::Generate, false, &early).unwrap();
        assert_eq!((early.output_tokens, early.early_stops), (5, Some(1)));
    }

    #[test]
    fn streams_of_completions() {
        let events = [
            r#"{"choices":[{"index":1,"text":"a","finish_reason":null}]}"#,
            r#"{"choices":[{"index":0,"text":"a","finish_reason":null}]}"#,
            r#"{"choices":[{"index":0,"text":"b","finish_reason":"length"},{"index":1,"text":"","finish_reason":"length"}]}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":2}}}"#,
            "[DONE]",
        ];
        let answer = batch(Wire::Completions, true, &events).unwrap();
        assert_eq!((answer.last_ttft, answer.output_tokens), (ms(15), 4));
        assert_eq!((answer.early_stops, answer.window), (None, None));
        assert_eq!((answer.prompt_tokens, answer.cached_tokens), (Some(9), None));
        // Without a count somebody else has to count.
        let uncounted = read(Wire::Completions, true, &events[..3]).unwrap();
        assert_eq!(uncounted.output_tokens, None);
    }

    #[test]
    fn prompt_counts_are_those_of_all_prompts_or_none() {
        let silent = SECOND_ENDS.replace("\"prompt_tokens\":5,", "");
        let second = SECOND.replace("\"prompt_tokens\":5,", "");
        let events = [FIRST, &second, FIRST_ENDS, &silent];
        let answer = batch(Wire::Generate, true, &events).unwrap();
        assert_eq!((answer.prompt_tokens, answer.cached_tokens), (None, Some(3)));
    }

    #[test]
    fn what_is_no_answer() {
        let abort = FIRST.replace("null", r#"{"type":"abort","message":"full"}"#);
        let nan = FIRST.replace("null", r#"{"type":"stop","matched":"NaN happened"}"#);
        let third = FIRST.replace("\"index\":0", "\"index\":2");
        for (ignores_stops, events, kind, says) in [
            (true, &[FIRST][..], FailureKind::EarlyEnd, "finish reason"),
            (true, &[FIRST_ENDS], FailureKind::NoTokens, "of 1 of the prompts: 1"),
            (true, &["[DONE]"], FailureKind::NoTokens, "no generated token"),
            (true, &[FIRST, SECOND, FIRST_ENDS], FailureKind::EarlyEnd, "finish reason"),
            (true, &[SECOND_STOPS], FailureKind::EarlyEnd, "prompt 1 stopped, though ignore_eos"),
            (false, &[&nan], FailureKind::ServerError, "numbers that are none"),
            (false, &[&abort], FailureKind::ServerError, "full"),
            (true, &[&third], FailureKind::Malformed, "one of the 2 completions"),
            (true, &["{"], FailureKind::Malformed, "JSON"),
            (
                true,
                &[r#"{"error":{"message":"out of memory"}}"#],
                FailureKind::ServerError,
                "memory",
            ),
        ] {
            let error = read(Wire::Generate, ignores_stops, events).unwrap_err();
            assert!(error.starts_with(&format!("{kind:?}: ")), "{events:?}: {error}");
            assert!(error.contains(says), "{events:?}: {error}");
        }
    }
}
