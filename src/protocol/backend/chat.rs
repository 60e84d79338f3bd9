//! OpenAI's chat completions: `POST /v1/chat/completions`.
//!
//! Reasoning (`reasoning_content` or `reasoning`) and tool calls are output like content.

use std::borrow::Cow;
use std::sync::Arc;

use serde::de::{MapAccess, SeqAccess};
use serde_json::{Value, json};

use super::wire::lenient::{Index, Lenient, Seed, Several, Text, Written, objects};
use super::wire::told::Finish;
use super::wire::{self, Sglext, Usage};
use super::{
    Backend, CacheTelling, DecodeError, Decoder, Delta, Flush, Part, Protocol, Request, Step, Takes,
};
use crate::model::{Prompt, Row};

pub(super) const BACKEND: Backend = Backend {
    name: "",
    protocol: &Chat,
    port: 8000,
    path: "/v1/chat/completions",
    accepts_ids: false,
    accepts_messages: true,
    lists_models: true,
    takes: Takes { sampling: true, logprobs: true, native: false, lora: true, images: true },
    cache: CacheTelling::Unasked,
    can_disable_stream: true,
    flush: Flush::Plain,
    splits_itl: false,
    batch: None,
    refused: None,
};

#[derive(Debug)]
struct Chat;

impl Protocol for Chat {
    fn encode(&self, request: &Request<'_>) -> Vec<u8> {
        let Request { row, common } = *request;
        let mut body = wire::object([
            ("model", common.model.as_str().into()),
            ("messages", messages(row, common.style.parts)),
            ("max_completion_tokens", row.output_len.into()),
            ("stream", common.stream.into()),
        ]);
        wire::add_defaults(&mut body, request);
        if common.sampling.return_logprob {
            body.insert("logprobs".into(), true.into());
            if common.sampling.top_logprobs_num > 0 {
                body.insert("top_logprobs".into(), common.sampling.top_logprobs_num.into());
            }
        }
        wire::merge(&mut body, request);
        wire::adapt(&mut body, request);
        wire::bytes(&body)
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(Reader)
    }
}

/// The messages of a row: its own, or one of the user, whose images come before the text; as `parts` the text comes
/// first, and is a part also where it is alone.
pub(super) fn messages(row: &Row, parts: bool) -> Value {
    let content = match &row.prompt {
        Prompt::Messages(_) | Prompt::Rounds(_) => return wire::prompt_value(&row.prompt),
        prompt if row.images.is_empty() && !parts => wire::prompt_value(prompt),
        prompt => {
            let image = |uri: &Arc<str>| json!({"type": "image_url", "image_url": {"url": **uri}});
            let text = json!({"type": "text", "text": wire::prompt_value(prompt)});
            let images = row.images.iter().map(image);
            if parts {
                [text].into_iter().chain(images).collect()
            } else {
                images.chain([text]).collect()
            }
        }
    };
    json!([{"role": "user", "content": content}])
}

/// Reads chat completions.
#[derive(Debug)]
pub(super) struct Reader;

objects! {
    struct Chunk<'a> {
        choices: Several<Choice<'a>>,
        usage: Usage,
        sglext: Sglext,
    } else complaint

    struct Choice<'a> {
        index: Index,
        delta: Message<'a>,
        message: Option<Box<Message<'a>>>,
        finish_reason: Finish,
    } else complaint

    struct Message<'a> {
        content: Text<'a>,
        reasoning_content: Text<'a>,
        reasoning: Text<'a>,
        tool_calls: Calls,
        function_call: Option<Box<Function<'a>>>,
    }

    struct ToolCall<'a> {
        function: Function<'a>,
    }

    struct Function<'a> {
        name: Text<'a>,
        arguments: Written<'a>,
    }
}

/// The names and arguments of a list of tool calls, one after the other.
#[derive(Debug, Default)]
pub(super) struct Calls {
    text: String,
    any: bool,
}

impl Calls {
    /// A call may come with an empty name and empty arguments: it is output all the same.
    fn add(&mut self, function: Function<'_>) {
        self.any = true;
        self.text += &function.name.or_empty();
        self.text += function.arguments.0.as_deref().unwrap_or("");
    }
}

impl<'de> Lenient<'de> for Calls {
    fn list<A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        let mut calls = Self::default();
        while let Some(call) = list.next_element_seed(Seed::<Option<ToolCall<'_>>>::default())? {
            if let Some(call) = call {
                calls.add(call.function);
            }
        }
        Ok(calls)
    }

    fn object<A: MapAccess<'de>>(object: A) -> Result<Self, A::Error> {
        let mut calls = Self::default();
        calls.add(ToolCall::object(object)?.function);
        Ok(calls)
    }
}

impl<'a> Message<'a> {
    /// Reasoning, content and tool calls as one text, and whether there was any output.
    fn output(self) -> (Cow<'a, str>, Step) {
        let Self { content, reasoning_content, reasoning, mut tool_calls, function_call } = self;
        // The way of before there were several.
        if let Some(call) = function_call
            && (call.name.0.is_some() || call.arguments.0.is_some())
        {
            tool_calls.add(*call);
        }
        let reasoning = reasoning_content.if_any().unwrap_or_else(|| reasoning.or_empty());
        let mut text = wire::join(reasoning, content.or_empty());
        let any = !text.is_empty() || tool_calls.any;
        text = wire::join(text, Cow::Owned(tool_calls.text));
        (text, if any { Step::One } else { Step::None })
    }
}

impl<'a> wire::Choice<'a> for Choice<'a> {
    fn part(self, position: u16) -> Result<Part<'a>, DecodeError> {
        self.complaint.refuse(true)?;
        let (text, step) = match (self.delta.output(), self.message) {
            ((_, Step::None), Some(message)) => message.output(),
            (output, _) => output,
        };
        let completion = self.index.0.unwrap_or(position);
        Ok(Part { completion, text, step, end: self.finish_reason.end()?, ..Part::default() })
    }
}

impl Decoder for Reader {
    fn event<'a>(&mut self, data: &'a [u8]) -> Result<Delta<'a>, DecodeError> {
        wire::repairing(data, |data| {
            let chunk: Chunk<'_> = wire::parse(data, "a chat completion")?;
            chunk.complaint.refuse(chunk.choices.first.is_some())?;
            wire::delta(chunk.choices, &chunk.usage, chunk.sglext)
        })
    }

    fn body<'a>(&mut self, body: &'a [u8]) -> Result<Delta<'a>, DecodeError> {
        self.event(body)
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::protocol::backend::End;
    use crate::protocol::backend::testing::{common, row};

    #[test]
    fn bodies() {
        let common = common(false);
        let body = Chat.encode(&Request { row: &row(), common: &common });
        expect![[r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"max_completion_tokens":8,"stream":true,"temperature":0.0,"stream_options":{"include_usage":true}}"#]]
        .assert_eq(&String::from_utf8(body).unwrap());
    }

    #[test]
    fn what_counts_as_output() {
        let cases = [
            (r#"{"role":"assistant","content":""}"#, "", Step::None),
            (r#"{"role":"assistant","content":null}"#, "", Step::None),
            (r#"{"content":"a"}"#, "a", Step::One),
            (r#"{"reasoning_content":"r","content":null}"#, "r", Step::One),
            (r#"{"reasoning":"r"}"#, "r", Step::One),
            (r#"{"reasoning_content":"r","reasoning":"r","content":"c"}"#, "rc", Step::One),
            (
                r#"{"tool_calls":[{"index":0,"function":{"name":"f","arguments":"{}"}}]}"#,
                "f{}",
                Step::One,
            ),
            (r#"{"tool_calls":[]}"#, "", Step::None),
        ];
        for (delta, text, step) in cases {
            let event =
                format!(r#"{{"choices":[{{"index":0,"delta":{delta},"finish_reason":null}}]}}"#);
            let read = Reader.event(event.as_bytes()).unwrap();
            assert_eq!(
                (&*read.part.text, read.part.step, read.part.end),
                (text, step, End::Open),
                "{delta}"
            );
        }
    }

    #[test]
    fn usage_without_choices() {
        let delta = Reader
            .event(br#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":9}}"#)
            .unwrap();
        assert_eq!((delta.prompt_tokens, delta.output_tokens), (Some(3), Some(9)));
    }

    #[test]
    fn whole_answers() {
        let body = br#"{"choices":[{"message":{"role":"assistant","content":"hi there"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#;
        let delta = Reader.body(body).unwrap();
        assert_eq!(
            (&*delta.part.text, delta.part.output_tokens, delta.part.end),
            ("hi there", Some(2), End::Stopped)
        );
    }

    #[test]
    fn several_completions() {
        let event = br#"{"choices":[{"index":3,"delta":{"content":"a"},"finish_reason":null}],"usage":{"completion_tokens":2}}"#;
        let delta = Reader.event(event).unwrap();
        assert_eq!((delta.part.completion, delta.part.output_tokens), (3, Some(2)));
        let body = br#"{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"},{"index":1,"message":{"content":"b"},"finish_reason":"stop"}],"usage":{"completion_tokens":2}}"#;
        let delta = Reader.body(body).unwrap();
        let other = Part {
            completion: 1,
            text: "b".into(),
            step: Step::One,
            end: End::Stopped,
            ..Part::default()
        };
        assert_eq!((&*delta.part.text, delta.output_tokens), ("a", Some(2)));
        assert_eq!(delta.others, [other]);
    }
}
