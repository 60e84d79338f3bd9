//! Reads the stream that answers a batch.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::{Answer, Progress};
use crate::model::MAX_TOKENS;
use crate::protocol::sse;

/// The form of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// `/generate`: an event has the `index` of its prompt and a running count of tokens.
    Generate,
    /// `/v1/completions`: an event has choices with an `index`, and the last one may have counts over all prompts.
    Completions,
}

/// Reads the stream of one batch.
#[derive(Debug)]
pub struct Reader {
    events: sse::Reader,
    state: State,
}

#[derive(Debug)]
struct State {
    wire: Wire,
    n: usize,
    /// Whether answers are to be as long as was asked for.
    ignore_eos: bool,
    progress: Progress,
    early_stops: u64,
    /// Counts of each prompt.
    prompts: Vec<Option<Counts>>,
    /// Counts over all prompts.
    usage: Option<Usage>,
    done: bool,
}

/// Prompt tokens and how many of them were cached.
#[derive(Debug, Clone, Copy)]
struct Counts {
    prompt: Option<u64>,
    cached: Option<u64>,
}

#[derive(Deserialize)]
struct GenerateEvent {
    #[serde(default)]
    index: usize,
    meta_info: MetaInfo,
}

#[derive(Deserialize)]
struct MetaInfo {
    completion_tokens: u64,
    finish_reason: Option<Value>,
    prompt_tokens: Option<u64>,
    cached_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct CompletionsEvent {
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Choice {
    index: usize,
    #[serde(default)]
    text: String,
    finish_reason: Option<Value>,
}

#[derive(Debug, Clone, Deserialize)]
struct Usage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Debug, Clone, Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u64>,
}

impl Reader {
    /// A reader of the answer to `n` prompts, which are to be as long as was asked for if `ignore_eos`.
    pub fn new(wire: Wire, n: usize, ignore_eos: bool) -> Self {
        let state = State {
            wire,
            n,
            ignore_eos,
            progress: Progress::new(n),
            early_stops: 0,
            prompts: vec![None; n],
            usage: None,
            done: false,
        };
        Self { events: sse::Reader::default(), state }
    }

    /// Reads bytes that arrived at `at`, counted from sending.
    ///
    /// # Errors
    /// If the server reports an error, an answer ends as it should not, or an event is not what the protocol says.
    pub fn feed(&mut self, bytes: &[u8], at: Duration) -> Result<(), String> {
        let state = &mut self.state;
        self.events.feed(bytes, &mut |event| state.event(event.data, at))
    }

    /// Ends the stream at `at`.
    ///
    /// # Errors
    /// As [`Self::feed`], and if a prompt has no answer, or one that has not ended.
    pub fn finish(mut self, at: Duration) -> Result<Answer, String> {
        let state = &mut self.state;
        self.events.finish(&mut |event| state.event(event.data, at))?;
        self.state.answer(at)
    }
}

impl State {
    fn event(&mut self, data: &[u8], at: Duration) -> Result<(), String> {
        if data == b"[DONE]" {
            self.done = true;
            return Ok(());
        }
        if data.is_empty() || self.done {
            return Ok(());
        }
        let value: Value = serde_json::from_slice(data)
            .map_err(|error| format!("an event is not JSON ({error}): {}", beginning(data)))?;
        if let Some(error) = value.get("error").filter(|error| !error.is_null()) {
            return Err(format!(
                "the server reports an error: {}",
                beginning(error.to_string().as_bytes())
            ));
        }
        let unread =
            |error| format!("an event has an unexpected form ({error}): {}", beginning(data));
        match self.wire {
            Wire::Generate => {
                let event: GenerateEvent = serde_json::from_value(value).map_err(unread)?;
                self.check_index(event.index)?;
                let meta = event.meta_info;
                believe(
                    [Some(meta.completion_tokens), meta.prompt_tokens, meta.cached_tokens],
                    MAX_TOKENS,
                )?;
                self.prompts[event.index] =
                    Some(Counts { prompt: meta.prompt_tokens, cached: meta.cached_tokens });
                let ends = self.ends(meta.finish_reason.as_ref())?;
                self.progress.record(event.index, at, meta.completion_tokens, ends);
            }
            Wire::Completions => {
                let event: CompletionsEvent = serde_json::from_value(value).map_err(unread)?;
                if let Some(usage) = &event.usage {
                    let details = usage.prompt_tokens_details.as_ref();
                    let cached = details.and_then(|details| details.cached_tokens);
                    let most = MAX_TOKENS.saturating_mul(self.n as u64);
                    believe([usage.completion_tokens, usage.prompt_tokens, cached], most)?;
                }
                self.usage = event.usage.or(self.usage.take());
                for choice in event.choices {
                    self.check_index(choice.index)?;
                    let new = u64::from(!choice.text.is_empty());
                    let tokens = self.progress.tokens_of(choice.index) + new;
                    let ends = self.ends(choice.finish_reason.as_ref())?;
                    self.progress.record(choice.index, at, tokens, ends);
                }
            }
        }
        Ok(())
    }

    fn check_index(&self, index: usize) -> Result<(), String> {
        if index < self.n {
            return Ok(());
        }
        Err(format!("an event is about prompt {index}, and there are {}, from 0 on", self.n))
    }

    /// Whether an answer ends here; an error if it ends in a way that is none.
    fn ends(&mut self, reason: Option<&Value>) -> Result<bool, String> {
        let Some(reason) = reason.filter(|reason| !reason.is_null()) else { return Ok(false) };
        let kind = reason.get("type").unwrap_or(reason).as_str().unwrap_or_default();
        let matched = reason.get("matched").and_then(Value::as_str);
        match kind {
            "length" => Ok(true),
            // SGLang reports numbers that are none in this form.
            "stop" if matched.is_some_and(|text| text.starts_with("NaN")) => {
                Err(format!("the server computed numbers that are none: {reason}"))
            }
            "stop" if self.ignore_eos => {
                Err(format!("an answer ended early although that was to be ignored: {reason}"))
            }
            "stop" => {
                self.early_stops += 1;
                Ok(true)
            }
            _ => Err(format!("an answer ended as it should not: {reason}")),
        }
    }

    fn answer(self, latency: Duration) -> Result<Answer, String> {
        let silent = self.progress.silent();
        if !silent.is_empty() {
            return Err(format!("no output came for {}", named(&silent)));
        }
        let unended = self.progress.unended();
        if !unended.is_empty() {
            return Err(format!("the response ended before the answer to {}", named(&unended)));
        }
        // Every prompt has output by now.
        let (last_ttft, output_tokens_before) =
            self.progress.all_started().unwrap_or((latency, 0.0));
        let usage = self.usage.as_ref();
        let told = usage.and_then(|usage| usage.completion_tokens);
        let native = self.wire == Wire::Generate;
        let sum = |of: fn(&Counts) -> Option<u64>| -> Option<u64> {
            self.prompts.iter().map(|counts| counts.as_ref().and_then(of)).sum()
        };
        let (prompt_tokens, cached_tokens) = if native {
            (sum(|counts| counts.prompt), sum(|counts| counts.cached))
        } else {
            (
                usage.and_then(|usage| usage.prompt_tokens),
                // Of several prompts vLLM counts the cached tokens of the first alone.
                usage
                    .filter(|_| self.n == 1)
                    .and_then(|usage| usage.prompt_tokens_details.as_ref()?.cached_tokens),
            )
        };
        Ok(Answer {
            last_ttft,
            latency,
            output_tokens: told.unwrap_or_else(|| self.progress.tokens()),
            counted: native || told.is_some(),
            output_tokens_before,
            early_stops: native.then_some(self.early_stops),
            later_arrivals: self.progress.later_arrivals(),
            window: self.progress.window().filter(|_| native),
            prompt_tokens,
            cached_tokens,
        })
    }
}

impl From<sse::TooLong> for String {
    fn from(error: sse::TooLong) -> Self {
        error.to_string()
    }
}

/// Refuses counts of tokens that nobody can have, whose sums could overflow.
fn believe(counts: [Option<u64>; 3], most: u64) -> Result<(), String> {
    match counts.into_iter().flatten().max() {
        Some(count) if count > most => {
            Err(format!("the server counts {count} tokens, and more than {most} are not believed"))
        }
        _ => Ok(()),
    }
}

/// Some of the prompts at `indices`, for messages.
fn named(indices: &[usize]) -> String {
    let shown: Vec<String> = indices.iter().take(5).map(ToString::to_string).collect();
    let more = if indices.len() > shown.len() { ", ..." } else { "" };
    format!("{} of the prompts: {}{more}", indices.len(), shown.join(", "))
}

/// The beginning of a text for messages.
fn beginning(data: &[u8]) -> String {
    String::from_utf8_lossy(data).chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Feeds one event each 10 ms and ends 10 ms after the last.
    fn read(wire: Wire, ignore_eos: bool, events: &[&str]) -> Result<Answer, String> {
        let mut reader = Reader::new(wire, 2, ignore_eos);
        let mut at = Duration::ZERO;
        for event in events {
            at += ms(10);
            reader.feed(format!("data: {event}\n\n").as_bytes(), at)?;
        }
        reader.finish(at + ms(10))
    }

    const FIRST: &str = r#"{"text":"a","index":0,"meta_info":{"completion_tokens":1,"finish_reason":null,"prompt_tokens":5,"cached_tokens":2}}"#;
    const SECOND: &str = r#"{"text":"a","index":1,"meta_info":{"completion_tokens":1,"finish_reason":null,"prompt_tokens":5,"cached_tokens":0}}"#;
    const FIRST_ENDS: &str = r#"{"text":"ab","index":0,"meta_info":{"completion_tokens":3,"finish_reason":{"type":"length","length":3},"prompt_tokens":5,"cached_tokens":2}}"#;
    const SECOND_ENDS: &str = r#"{"text":"ab","index":1,"meta_info":{"completion_tokens":2,"finish_reason":{"type":"stop","matched":7},"prompt_tokens":5,"cached_tokens":0}}"#;
    const ENDS: &str = r#"{"text":"ab","index":1,"meta_info":{"completion_tokens":3,"finish_reason":{"type":"length","length":3},"prompt_tokens":5,"cached_tokens":0}}"#;

    #[test]
    fn counts_that_cannot_be() {
        let huge =
            FIRST.replace("\"completion_tokens\":1", "\"completion_tokens\":18446744073709551615");
        let error = read(Wire::Generate, true, &[&huge, &huge]).unwrap_err();
        assert!(error.contains("18446744073709551615 tokens, and more than 16777216"), "{error}");
        let usage = r#"{"choices":[],"usage":{"prompt_tokens":99999999,"completion_tokens":2}}"#;
        let error = read(Wire::Completions, true, &[usage]).unwrap_err();
        assert!(error.contains("99999999 tokens, and more than 33554432"), "{error}");
        // One that falls back begins nothing anew.
        let fallen = FIRST.replace("\"completion_tokens\":1", "\"completion_tokens\":0");
        let read = read(Wire::Generate, true, &[FIRST, &fallen, FIRST, SECOND, FIRST_ENDS, ENDS]);
        assert_eq!(read.unwrap().last_ttft, ms(40));
    }

    #[test]
    fn streams_of_generate() {
        let answer =
            read(Wire::Generate, true, &[FIRST, SECOND, FIRST_ENDS, ENDS, "[DONE]"]).unwrap();
        assert_eq!((answer.last_ttft, answer.latency), (ms(20), ms(60)));
        assert_eq!((answer.output_tokens, answer.counted, answer.early_stops), (6, true, Some(0)));
        assert_eq!((answer.prompt_tokens, answer.cached_tokens), (Some(10), Some(2)));
        // 2 of the first at 20 ms, halfway from 1 to 3, and 1 of the second.
        assert!((answer.output_tokens_before - 3.0).abs() < 1e-9, "{answer:?}");
        let window = answer.window.unwrap();
        assert_eq!(window.duration, ms(10));
        let early = read(Wire::Generate, false, &[FIRST, SECOND, FIRST_ENDS, SECOND_ENDS]).unwrap();
        assert_eq!((early.output_tokens, early.early_stops), (5, Some(1)));
    }

    #[test]
    fn streams_of_completions() {
        let events = [
            r#"{"choices":[{"index":1,"text":"a","finish_reason":null}]}"#,
            r#"{"choices":[{"index":0,"text":"a","finish_reason":null}]}"#,
            r#"{"choices":[{"index":0,"text":"b","finish_reason":"length"},{"index":1,"text":"","finish_reason":"length"}]}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4}}"#,
            "[DONE]",
        ];
        let answer = read(Wire::Completions, true, &events).unwrap();
        assert_eq!((answer.last_ttft, answer.output_tokens, answer.counted), (ms(20), 4, true));
        assert_eq!((answer.early_stops, answer.window), (None, None));
        assert_eq!((answer.prompt_tokens, answer.cached_tokens), (Some(9), None));
        let uncounted = read(Wire::Completions, true, &events[..3]).unwrap();
        assert_eq!((uncounted.output_tokens, uncounted.counted), (3, false));
    }

    #[test]
    fn what_is_no_answer() {
        let abort =
            r#"{"index":0,"meta_info":{"completion_tokens":1,"finish_reason":{"type":"abort"}}}"#;
        let nan = r#"{"index":0,"meta_info":{"completion_tokens":1,"finish_reason":{"type":"stop","matched":"NaN happened"}}}"#;
        let third = r#"{"index":2,"meta_info":{"completion_tokens":1,"finish_reason":null}}"#;
        for (ignore_eos, events, says) in [
            (true, &[FIRST][..], "no output came for 1 of the prompts: 1"),
            (true, &[], "no output came for 2 of the prompts: 0, 1"),
            (true, &[FIRST, SECOND, FIRST_ENDS], "before the answer to 1 of the prompts: 1"),
            (true, &[SECOND_ENDS], "ended early"),
            (false, &[nan], "numbers that are none"),
            (false, &[abort], "ended as it should not"),
            (true, &[third], "prompt 2"),
            (true, &["{"], "not JSON"),
            (true, &[r#"{"index":0}"#], "unexpected form"),
            (true, &[r#"{"error":{"message":"out of memory"}}"#], "out of memory"),
        ] {
            let error = read(Wire::Generate, ignore_eos, events).unwrap_err();
            assert!(error.contains(says), "{events:?}: {error}");
        }
    }
}
