//! The bytes of an answer in each protocol.
//!
//! Pure: it is told what to say and how long the request took, and reads no clock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde_json::json;

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
    prompt_tokens: u64,
    finish: Finish,
    /// Tokens of reasoning so far.
    reasoning: u64,
    /// The text so far, escaped for JSON; kept only where events repeat the text before them.
    escaped: String,
}

/// What a [`Writer`] says about its request.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) protocol: Protocol,
    pub(super) request: u64,
    pub(super) created: u64,
    pub(super) model: Arc<str>,
    pub(super) usage: UsageEvents,
    pub(super) prompt_tokens: u64,
    pub(super) finish: Finish,
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
            reasoning: 0,
            escaped: String::new(),
        }
    }

    /// Appends the events for one step, whose new text is `piece`, to `events`.
    ///
    /// `elapsed` is the time since the request came in.
    pub(super) fn step(
        &mut self,
        step: &Step,
        piece: &str,
        elapsed: Duration,
        events: &mut VecDeque<Bytes>,
    ) {
        if step.reasoning {
            self.reasoning = step.produced;
        }
        let finish = step.last.then_some(self.finish);
        match self.protocol {
            Protocol::Generate => {
                push_escaped(&mut self.escaped, piece);
                events.push_back(self.generate_event(step.produced, finish, elapsed));
            }
            Protocol::Triton => events.push_back(triton_event(piece)),
            Protocol::Completions => {
                let choice = TextChoice {
                    index: 0,
                    text: piece,
                    logprobs: None,
                    finish_reason: finish.map(Finish::name),
                };
                events.push_back(self.chunk("text_completion", [choice], step.produced));
            }
            Protocol::Chat => {
                if step.produced == step.tokens {
                    let delta =
                        Delta { role: Some("assistant"), content: Some(""), ..Delta::default() };
                    events.push_back(self.chat_chunk(delta, None, 0));
                }
                let delta = if step.reasoning {
                    Delta { reasoning_content: Some(piece), ..Delta::default() }
                } else {
                    Delta { content: Some(piece), ..Delta::default() }
                };
                events.push_back(self.chat_chunk(delta, finish, step.produced));
            }
        }
        if step.last {
            self.end(step.produced, events);
        }
    }

    /// The answer in one piece, for a request that does not stream.
    pub(super) fn whole(
        &mut self,
        reasoning: (&str, u64),
        text: &str,
        produced: u64,
        elapsed: Duration,
    ) -> Vec<u8> {
        self.reasoning = reasoning.1;
        let (object, choice) = match self.protocol {
            Protocol::Generate | Protocol::Triton => {
                push_escaped(&mut self.escaped, text);
                let mut body = Vec::with_capacity(self.escaped.len() + EVENT_BYTES);
                self.push_generate(&mut body, produced, Some(self.finish), elapsed);
                return body;
            }
            Protocol::Completions => (
                "text_completion",
                json!({
                    "index": 0, "text": text, "logprobs": null, "finish_reason": self.finish.name(),
                }),
            ),
            Protocol::Chat => {
                let mut message = json!({"role": "assistant", "content": text});
                if reasoning.1 > 0 {
                    message["reasoning_content"] = json!(reasoning.0);
                }
                (
                    "chat.completion",
                    json!({
                        "index": 0, "message": message, "logprobs": null,
                        "finish_reason": self.finish.name(),
                    }),
                )
            }
        };
        let mut body = Vec::new();
        push_json(&mut body, &self.response(object, [choice], Some(self.usage(produced))));
        body
    }

    /// The events after the last token.
    fn end(&self, produced: u64, events: &mut VecDeque<Bytes>) {
        let object = match self.protocol {
            Protocol::Triton => return,
            Protocol::Generate => return events.push_back(DONE),
            Protocol::Completions => "text_completion",
            Protocol::Chat => "chat.completion.chunk",
        };
        if self.usage != UsageEvents::None {
            let none: [TextChoice<'_>; 0] = [];
            events.push_back(event(&self.response(object, none, Some(self.usage(produced)))));
        }
        events.push_back(DONE);
    }

    fn generate_event(&self, produced: u64, finish: Option<Finish>, elapsed: Duration) -> Bytes {
        let mut out = Vec::with_capacity(self.escaped.len() + EVENT_BYTES);
        out.extend_from_slice(b"data: ");
        self.push_generate(&mut out, produced, finish, elapsed);
        out.extend_from_slice(b"\n\n");
        Bytes::from(out)
    }

    /// Appends the object with the whole text so far, which is copied and not escaped again.
    fn push_generate(
        &self,
        out: &mut Vec<u8>,
        produced: u64,
        finish: Option<Finish>,
        elapsed: Duration,
    ) {
        let finish_reason = finish.map(|finish| match finish {
            Finish::Length => FinishReason::Length { length: produced },
            Finish::Stop => FinishReason::Stop { matched: 0 },
        });
        out.extend_from_slice(br#"{"text":""#);
        out.extend_from_slice(self.escaped.as_bytes());
        out.extend_from_slice(br#"","meta_info":"#);
        push_json(
            out,
            &MetaInfo {
                id: &self.id,
                finish_reason,
                prompt_tokens: self.prompt_tokens,
                completion_tokens: produced,
                cached_tokens: 0,
                e2e_latency: finish.map(|_| elapsed.as_secs_f64()),
            },
        );
        out.push(b'}');
    }

    fn chat_chunk(&self, delta: Delta<'_>, finish: Option<Finish>, produced: u64) -> Bytes {
        let choice =
            ChatChoice { index: 0, delta, logprobs: None, finish_reason: finish.map(Finish::name) };
        self.chunk("chat.completion.chunk", [choice], produced)
    }

    fn chunk<C: Serialize>(&self, object: &'static str, choices: [C; 1], produced: u64) -> Bytes {
        let usage = (self.usage == UsageEvents::Each).then(|| self.usage(produced));
        event(&self.response(object, choices, usage))
    }

    fn response<C>(
        &self,
        object: &'static str,
        choices: C,
        usage: Option<Usage>,
    ) -> Response<'_, C> {
        Response { id: &self.id, object, created: self.created, model: &self.model, choices, usage }
    }

    fn usage(&self, produced: u64) -> Usage {
        let reasoning = (self.reasoning > 0).then_some(self.reasoning);
        Usage {
            prompt_tokens: self.prompt_tokens,
            completion_tokens: produced,
            total_tokens: self.prompt_tokens + produced,
            completion_tokens_details: reasoning
                .map(|reasoning_tokens| UsageDetails { reasoning_tokens }),
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
    index: u32,
    text: &'a str,
    logprobs: Option<()>,
    finish_reason: Option<&'static str>,
}

#[derive(Serialize)]
struct ChatChoice<'a> {
    index: u32,
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
            writer.step(&step, piece, Duration::from_secs(step.produced), &mut events);
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
            prompt_tokens: 3,
            finish,
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
        let check = |protocol, reasoning, expected: Expect| {
            let mut writer = writer(protocol, UsageEvents::None, Finish::Stop);
            let body = writer.whole(reasoning, " a\"", 2, Duration::from_secs(2));
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
