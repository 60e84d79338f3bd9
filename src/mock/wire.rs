//! The bytes of an answer in each protocol.
//!
//! Pure: it is told what to say and how long the request took, and reads no clock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};

use super::engine::Step;
use super::request::{Protocol, UsageEvents};

/// Room for a typical event, so that writing one allocates once.
const EVENT_BYTES: usize = 320;

/// The line that ends a stream of SGLang and OpenAI.
const DONE: Bytes = Bytes::from_static(b"data: [DONE]\n\n");

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    /// It had as many tokens as were asked for.
    Length,
    /// The engine stopped earlier.
    Stop,
}

impl Finish {
    fn name(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Stop => "stop",
        }
    }
}

/// Writes the events of one answer, or the answer in one piece.
#[derive(Debug)]
pub(super) struct Writer {
    protocol: Protocol,
    id: String,
    created: u64,
    model: Arc<str>,
    usage: UsageEvents,
    prompt_tokens: Vec<u64>,
    finish: Finish,
    told: Vec<Told>,
    /// Completions that have not ended.
    open: usize,
}

/// What has been told of a completion.
#[derive(Clone, Debug, Default)]
struct Told {
    /// Tokens so far.
    produced: u64,
    /// Tokens of reasoning so far.
    reasoning: u64,
    /// The text so far, escaped for JSON; kept only where events repeat the text before them.
    escaped: String,
}

/// A completion in one piece.
#[derive(Debug, Default)]
pub(super) struct Whole {
    pub(super) reasoning: String,
    pub(super) reasoning_tokens: u64,
    pub(super) text: String,
    /// Tokens of both.
    pub(super) produced: u64,
}

/// What a [`Writer`] says about its request.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) protocol: Protocol,
    pub(super) request: u64,
    pub(super) created: u64,
    pub(super) model: Arc<str>,
    pub(super) usage: UsageEvents,
    /// Tokens of each prompt, at least one; as many completions of each follow each other.
    pub(super) prompt_tokens: Vec<u64>,
    pub(super) finish: Finish,
    pub(super) completions: usize,
}

impl Writer {
    pub(super) fn new(facts: Facts) -> Self {
        let id = match facts.protocol {
            Protocol::Completions => format!("cmpl-{:016x}", facts.request),
            Protocol::Chat => format!("chatcmpl-{:016x}", facts.request),
            Protocol::Generate | Protocol::Triton => format!("{:032x}", facts.request),
        };
        Self {
            protocol: facts.protocol,
            id,
            created: facts.created,
            model: facts.model,
            usage: facts.usage,
            prompt_tokens: facts.prompt_tokens,
            finish: facts.finish,
            told: vec![Told::default(); facts.completions],
            open: facts.completions,
        }
    }

    /// Appends the events for one step of completion `i`, whose new text is `piece`, to `events`.
    ///
    /// `elapsed` is the time since the request came in.
    pub(super) fn step(
        &mut self,
        i: usize,
        step: &Step,
        piece: &str,
        elapsed: Duration,
        events: &mut VecDeque<Bytes>,
    ) {
        if self.protocol == Protocol::Chat && step.produced == step.tokens {
            let role = Delta { role: Some("assistant"), content: Some(""), ..Delta::default() };
            events.push_back(self.chat_chunk(i, role, None));
        }
        let told = &mut self.told[i];
        told.produced = step.produced;
        if step.reasoning {
            told.reasoning = step.produced;
        }
        let finish = step.last.then_some(self.finish);
        match self.protocol {
            Protocol::Generate => {
                push_escaped(&mut told.escaped, piece);
                events.push_back(self.generate_event(i, finish, elapsed));
            }
            Protocol::Triton => events.push_back(triton_event(piece)),
            Protocol::Completions => {
                let choice = TextChoice {
                    index: i,
                    text: piece,
                    logprobs: None,
                    finish_reason: finish.map(Finish::name),
                };
                events.push_back(self.chunk("text_completion", i, choice));
            }
            Protocol::Chat => {
                let delta = if step.reasoning {
                    Delta { reasoning_content: Some(piece), ..Delta::default() }
                } else {
                    Delta { content: Some(piece), ..Delta::default() }
                };
                events.push_back(self.chat_chunk(i, delta, finish));
            }
        }
        if step.last {
            self.open -= 1;
            if self.open == 0 {
                self.end(events);
            }
        }
    }

    /// The answer in one piece, for a request that does not stream.
    pub(super) fn whole(&mut self, wholes: &[Whole], elapsed: Duration) -> Vec<u8> {
        for (told, whole) in self.told.iter_mut().zip(wholes) {
            told.produced = whole.produced;
            told.reasoning = whole.reasoning_tokens;
        }
        let finish = self.finish.name();
        let choices: Vec<Value> = match self.protocol {
            Protocol::Generate | Protocol::Triton => return self.whole_generate(wholes, elapsed),
            Protocol::Completions => wholes
                .iter()
                .enumerate()
                .map(|(i, Whole { text, .. })| {
                    json!({"index": i, "text": text, "logprobs": null, "finish_reason": finish})
                })
                .collect(),
            Protocol::Chat => wholes
                .iter()
                .enumerate()
                .map(|(i, whole)| {
                    let mut message = json!({"role": "assistant", "content": whole.text});
                    if whole.reasoning_tokens > 0 {
                        message["reasoning_content"] = json!(whole.reasoning);
                    }
                    json!({
                        "index": i, "message": message, "logprobs": null, "finish_reason": finish,
                    })
                })
                .collect(),
        };
        let object =
            if self.protocol == Protocol::Chat { "chat.completion" } else { "text_completion" };
        let mut body = Vec::new();
        push_json(&mut body, &self.response(object, choices, Some(self.whole_usage())));
        body
    }

    /// One object, or a list of them for several completions.
    fn whole_generate(&mut self, wholes: &[Whole], elapsed: Duration) -> Vec<u8> {
        let mut body = Vec::new();
        let several = wholes.len() > 1;
        for (i, whole) in wholes.iter().enumerate() {
            push_escaped(&mut self.told[i].escaped, &whole.text);
            if several {
                body.push(if i == 0 { b'[' } else { b',' });
            }
            self.push_generate(&mut body, i, Some(self.finish), elapsed);
            body.push(b'}');
        }
        if several {
            body.push(b']');
        }
        body
    }

    /// The events after the last token.
    fn end(&self, events: &mut VecDeque<Bytes>) {
        let object = match self.protocol {
            Protocol::Triton => return,
            Protocol::Generate => return events.push_back(DONE),
            Protocol::Completions => "text_completion",
            Protocol::Chat => "chat.completion.chunk",
        };
        if self.usage != UsageEvents::None {
            let none: [TextChoice<'_>; 0] = [];
            let usage = Some(self.whole_usage());
            events.push_back(event(&self.response(object, none, usage)));
        }
        events.push_back(DONE);
    }

    fn generate_event(&self, i: usize, finish: Option<Finish>, elapsed: Duration) -> Bytes {
        let mut out = Vec::with_capacity(self.told[i].escaped.len() + EVENT_BYTES);
        out.extend_from_slice(b"data: ");
        self.push_generate(&mut out, i, finish, elapsed);
        if self.told.len() > 1 {
            out.extend_from_slice(b",\"index\":");
            push_json(&mut out, &i);
        }
        out.extend_from_slice(b"}\n\n");
        Bytes::from(out)
    }

    /// Appends the object with the whole text so far, which is copied and not escaped again, without its last brace.
    fn push_generate(
        &self,
        out: &mut Vec<u8>,
        i: usize,
        finish: Option<Finish>,
        elapsed: Duration,
    ) {
        let Told { produced, escaped, .. } = &self.told[i];
        let finish_reason = finish.map(|finish| match finish {
            Finish::Length => FinishReason::Length { length: *produced },
            Finish::Stop => FinishReason::Stop { matched: 0 },
        });
        out.extend_from_slice(br#"{"text":""#);
        out.extend_from_slice(escaped.as_bytes());
        out.extend_from_slice(br#"","meta_info":"#);
        push_json(
            out,
            &MetaInfo {
                id: &self.id,
                finish_reason,
                prompt_tokens: self.prompt_of(i),
                completion_tokens: *produced,
                cached_tokens: 0,
                e2e_latency: finish.map(|_| elapsed.as_secs_f64()),
            },
        );
    }

    fn chat_chunk(&self, i: usize, delta: Delta<'_>, finish: Option<Finish>) -> Bytes {
        let choice =
            ChatChoice { index: i, delta, logprobs: None, finish_reason: finish.map(Finish::name) };
        self.chunk("chat.completion.chunk", i, choice)
    }

    /// An event of completion `i`; usage that goes with it is of that one alone.
    fn chunk<C: Serialize>(&self, object: &'static str, i: usize, choice: C) -> Bytes {
        let usage = (self.usage == UsageEvents::Each)
            .then(|| Self::usage(self.prompt_of(i), std::slice::from_ref(&self.told[i])));
        event(&self.response(object, [choice], usage))
    }

    fn response<C>(
        &self,
        object: &'static str,
        choices: C,
        usage: Option<Usage>,
    ) -> Response<'_, C> {
        Response { id: &self.id, object, created: self.created, model: &self.model, choices, usage }
    }

    /// Tokens of the prompt that completion `i` answers.
    fn prompt_of(&self, i: usize) -> u64 {
        let each = self.told.len() / self.prompt_tokens.len().max(1);
        self.prompt_tokens.get(i / each.max(1)).copied().unwrap_or(0)
    }

    /// Usage over all prompts and completions.
    fn whole_usage(&self) -> Usage {
        Self::usage(self.prompt_tokens.iter().sum(), &self.told)
    }

    /// The usage of the completions in `told`.
    fn usage(prompt_tokens: u64, told: &[Told]) -> Usage {
        let produced: u64 = told.iter().map(|told| told.produced).sum();
        let reasoning_tokens: u64 = told.iter().map(|told| told.reasoning).sum();
        Usage {
            prompt_tokens,
            completion_tokens: produced,
            total_tokens: prompt_tokens + produced,
            completion_tokens_details: (reasoning_tokens > 0)
                .then_some(UsageDetails { reasoning_tokens }),
        }
    }
}

#[derive(Serialize)]
struct Response<'a, C> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: C,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
}

#[derive(Serialize)]
struct TextChoice<'a> {
    index: usize,
    text: &'a str,
    logprobs: Option<()>,
    finish_reason: Option<&'static str>,
}

#[derive(Serialize)]
struct ChatChoice<'a> {
    index: usize,
    delta: Delta<'a>,
    logprobs: Option<()>,
    finish_reason: Option<&'static str>,
}

#[derive(Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_tokens_details: Option<UsageDetails>,
}

#[derive(Serialize)]
struct UsageDetails {
    reasoning_tokens: u64,
}

#[derive(Serialize)]
struct MetaInfo<'a> {
    id: &'a str,
    finish_reason: Option<FinishReason>,
    prompt_tokens: u64,
    completion_tokens: u64,
    cached_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    e2e_latency: Option<f64>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum FinishReason {
    Length { length: u64 },
    Stop { matched: u64 },
}

#[derive(Serialize)]
struct TritonEvent<'a> {
    context_logits: f64,
    cum_log_probs: f64,
    generation_logits: f64,
    model_name: &'static str,
    model_version: &'static str,
    output_log_probs: [f64; 1],
    sequence_end: bool,
    sequence_id: u64,
    sequence_start: bool,
    text_output: &'a str,
}

fn triton_event(piece: &str) -> Bytes {
    event(&TritonEvent {
        context_logits: 0.0,
        cum_log_probs: 0.0,
        generation_logits: 0.0,
        model_name: "ensemble",
        model_version: "1",
        output_log_probs: [0.0],
        sequence_end: false,
        sequence_id: 0,
        sequence_start: false,
        text_output: piece,
    })
}

/// One event of a stream.
fn event(value: &impl Serialize) -> Bytes {
    let mut out = Vec::with_capacity(EVENT_BYTES);
    out.extend_from_slice(b"data: ");
    push_json(&mut out, value);
    out.extend_from_slice(b"\n\n");
    Bytes::from(out)
}

fn push_json(out: &mut Vec<u8>, value: &impl Serialize) {
    // Memory takes any write, and the types above have string keys only.
    let written = serde_json::to_writer(out, value);
    debug_assert!(written.is_ok(), "{written:?}");
}

/// Appends `piece` as it stands inside a JSON string.
fn push_escaped(out: &mut String, piece: &str) {
    if piece.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        out.push_str(piece);
    } else if let Ok(quoted) = serde_json::to_string(piece) {
        out.push_str(&quoted[1..quoted.len() - 1]);
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    /// Writes two events, ` a"` at 1 s and ` b` at 2 s, and compares them.
    fn check(protocol: Protocol, usage: UsageEvents, finish: Finish, expected: &Expect) {
        let mut writer = writer(protocol, usage, finish);
        let mut events = VecDeque::new();
        for (step, piece) in [(step(1, protocol == Protocol::Chat), " a\""), (step(2, false), " b")]
        {
            writer.step(0, &step, piece, Duration::from_secs(step.produced), &mut events);
        }
        let events: Vec<_> = events.iter().flatten().copied().collect();
        expected.assert_eq(&String::from_utf8(events).unwrap().replace("\n\n", "\n"));
    }

    fn writer(protocol: Protocol, usage: UsageEvents, finish: Finish) -> Writer {
        Writer::new(Facts {
            protocol,
            request: 10,
            created: 7,
            model: "m".into(),
            usage,
            prompt_tokens: vec![3],
            finish,
            completions: 1,
        })
    }

    fn step(produced: u64, reasoning: bool) -> Step {
        Step { due: Duration::ZERO, tokens: 1, produced, reasoning, last: produced == 2 }
    }

    #[test]
    fn generate_repeats_the_text_so_far() {
        check(
            Protocol::Generate,
            UsageEvents::None,
            Finish::Length,
            &expect![[r#"
            data: {"text":" a\"","meta_info":{"id":"0000000000000000000000000000000a","finish_reason":null,"prompt_tokens":3,"completion_tokens":1,"cached_tokens":0}}
            data: {"text":" a\" b","meta_info":{"id":"0000000000000000000000000000000a","finish_reason":{"type":"length","length":2},"prompt_tokens":3,"completion_tokens":2,"cached_tokens":0,"e2e_latency":2.0}}
            data: [DONE]
        "#]],
        );
    }

    #[test]
    fn completions_end_with_the_usage_that_was_asked_for() {
        check(
            Protocol::Completions,
            UsageEvents::Final,
            Finish::Stop,
            &expect![[r#"
            data: {"id":"cmpl-000000000000000a","object":"text_completion","created":7,"model":"m","choices":[{"index":0,"text":" a\"","logprobs":null,"finish_reason":null}]}
            data: {"id":"cmpl-000000000000000a","object":"text_completion","created":7,"model":"m","choices":[{"index":0,"text":" b","logprobs":null,"finish_reason":"stop"}]}
            data: {"id":"cmpl-000000000000000a","object":"text_completion","created":7,"model":"m","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}
            data: [DONE]
        "#]],
        );
    }

    #[test]
    fn completions_may_carry_usage_throughout() {
        check(
            Protocol::Completions,
            UsageEvents::Each,
            Finish::Length,
            &expect![[r#"
            data: {"id":"cmpl-000000000000000a","object":"text_completion","created":7,"model":"m","choices":[{"index":0,"text":" a\"","logprobs":null,"finish_reason":null}],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}
            data: {"id":"cmpl-000000000000000a","object":"text_completion","created":7,"model":"m","choices":[{"index":0,"text":" b","logprobs":null,"finish_reason":"length"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}
            data: {"id":"cmpl-000000000000000a","object":"text_completion","created":7,"model":"m","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}
            data: [DONE]
        "#]],
        );
    }

    #[test]
    fn chat_opens_with_the_role_and_tells_reasoning_apart() {
        check(
            Protocol::Chat,
            UsageEvents::Final,
            Finish::Length,
            &expect![[r#"
            data: {"id":"chatcmpl-000000000000000a","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}
            data: {"id":"chatcmpl-000000000000000a","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":{"reasoning_content":" a\""},"logprobs":null,"finish_reason":null}]}
            data: {"id":"chatcmpl-000000000000000a","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":{"content":" b"},"logprobs":null,"finish_reason":"length"}]}
            data: {"id":"chatcmpl-000000000000000a","object":"chat.completion.chunk","created":7,"model":"m","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5,"completion_tokens_details":{"reasoning_tokens":1}}}
            data: [DONE]
        "#]],
        );
    }

    #[test]
    fn triton_sends_pieces_and_no_end_mark() {
        check(
            Protocol::Triton,
            UsageEvents::None,
            Finish::Length,
            &expect![[r#"
            data: {"context_logits":0.0,"cum_log_probs":0.0,"generation_logits":0.0,"model_name":"ensemble","model_version":"1","output_log_probs":[0.0],"sequence_end":false,"sequence_id":0,"sequence_start":false,"text_output":" a\""}
            data: {"context_logits":0.0,"cum_log_probs":0.0,"generation_logits":0.0,"model_name":"ensemble","model_version":"1","output_log_probs":[0.0],"sequence_end":false,"sequence_id":0,"sequence_start":false,"text_output":" b"}
        "#]],
        );
    }

    #[test]
    fn an_answer_in_one_piece_has_text_and_usage() {
        let check = |protocol, reasoning: (&str, u64), expected: Expect| {
            let mut writer = writer(protocol, UsageEvents::None, Finish::Stop);
            let whole = Whole {
                reasoning: reasoning.0.to_owned(),
                reasoning_tokens: reasoning.1,
                text: " a\"".to_owned(),
                produced: 2,
            };
            let body = writer.whole(&[whole], Duration::from_secs(2));
            expected.assert_eq(&String::from_utf8(body).unwrap());
        };
        check(
            Protocol::Generate,
            ("", 0),
            expect![[
                r#"{"text":" a\"","meta_info":{"id":"0000000000000000000000000000000a","finish_reason":{"type":"stop","matched":0},"prompt_tokens":3,"completion_tokens":2,"cached_tokens":0,"e2e_latency":2.0}}"#
            ]],
        );
        check(
            Protocol::Completions,
            ("", 0),
            expect![[
                r#"{"id":"cmpl-000000000000000a","object":"text_completion","created":7,"model":"m","choices":[{"index":0,"text":" a\"","logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#
            ]],
        );
        check(
            Protocol::Chat,
            ("r", 1),
            expect![[
                r#"{"id":"chatcmpl-000000000000000a","object":"chat.completion","created":7,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":" a\"","reasoning_content":"r"},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5,"completion_tokens_details":{"reasoning_tokens":1}}}"#
            ]],
        );
    }
}
