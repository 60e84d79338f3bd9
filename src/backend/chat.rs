//! OpenAI's chat completions: `POST /v1/chat/completions`.
//!
//! Reasoning (`reasoning_content` or `reasoning`) and tool calls are output like content.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::{Value, json};

use super::wire::{self, Finish, Several, Sglext, Text, Told, Usage, Words};
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
    refused: None,
};

#[derive(Debug)]
struct Chat;

impl Protocol for Chat {
    fn encode(&self, request: &Request<'_>) -> Vec<u8> {
        let Request { row, common } = *request;
        let mut body = wire::object([
            ("model", common.model.as_str().into()),
            ("messages", messages(row)),
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
        wire::adapt(&mut body, row);
        wire::bytes(&body)
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(Reader)
    }
}

/// The messages of a row: its own, or one of the user, whose images come before the text.
fn messages(row: &Row) -> Value {
    let content = match &row.prompt {
        Prompt::Messages(_) | Prompt::Rounds(_) => return wire::prompt_value(&row.prompt),
        prompt if row.images.is_empty() => wire::prompt_value(prompt),
        prompt => {
            let image = |uri: &Arc<str>| json!({"type": "image_url", "image_url": {"url": **uri}});
            let text = json!({"type": "text", "text": wire::prompt_value(prompt)});
            row.images.iter().map(image).chain([text]).collect()
        }
    };
    json!([{"role": "user", "content": content}])
}

#[derive(Debug)]
struct Reader;

#[derive(Deserialize)]
#[serde(expecting = "a chat completion")]
struct Chunk<'a> {
    #[serde(borrow, default)]
    choices: Several<Choice<'a>>,
    usage: Option<Usage>,
    sglext: Option<Sglext>,
    error: Option<Told>,
    #[serde(borrow)]
    object: Option<Text<'a>>,
    message: Option<Words>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    index: Option<u16>,
    #[serde(borrow)]
    delta: Option<Message<'a>>,
    #[serde(borrow)]
    message: Option<Message<'a>>,
    #[serde(default)]
    finish_reason: Finish,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    content: Option<Text<'a>>,
    #[serde(borrow)]
    reasoning_content: Option<Text<'a>>,
    #[serde(borrow)]
    reasoning: Option<Text<'a>>,
    tool_calls: Option<Calls>,
}

/// The names and arguments of a list of tool calls, one after the other.
#[derive(Default)]
struct Calls {
    text: String,
    any: bool,
}

impl<'de> Deserialize<'de> for Calls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Calls;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of tool calls")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Calls, A::Error> {
                let mut calls = Calls::default();
                while let Some(call) = seq.next_element::<ToolCall>()? {
                    // A call may come with an empty name and empty arguments: it is output all the same.
                    calls.any = true;
                    let Some(Function { name, arguments }) = call.function else { continue };
                    calls.text += &name.unwrap_or_default();
                    calls.text += &arguments.unwrap_or_default();
                }
                Ok(calls)
            }
        }
        deserializer.deserialize_seq(List)
    }
}

#[derive(Deserialize)]
struct ToolCall {
    function: Option<Function>,
}

#[derive(Deserialize)]
struct Function {
    name: Option<String>,
    arguments: Option<String>,
}

impl<'a> Message<'a> {
    /// Reasoning, content and tool calls as one text, and whether there was any output.
    fn output(self) -> (Cow<'a, str>, Step) {
        let reasoning = self.reasoning_content.filter(|text| !text.0.is_empty()).or(self.reasoning);
        let mut text = wire::join(wire::text(reasoning), wire::text(self.content));
        let calls = self.tool_calls.unwrap_or_default();
        let any = !text.is_empty() || calls.any;
        text = wire::join(text, Cow::Owned(calls.text));
        (text, if any { Step::One } else { Step::None })
    }
}

impl<'a> wire::Choice<'a> for Choice<'a> {
    fn part(self, position: u16) -> Result<Part<'a>, DecodeError> {
        let message = self.delta.or(self.message);
        let (text, step) = message.map(Message::output).unwrap_or_default();
        let completion = self.index.unwrap_or(position);
        Ok(Part { completion, text, step, end: self.finish_reason.end()?, ..Part::default() })
    }
}

impl Decoder for Reader {
    fn event<'a>(&mut self, data: &'a [u8]) -> Result<Delta<'a>, DecodeError> {
        let chunk: Chunk<'a> = wire::parse(data)?;
        wire::refuse_error(chunk.error, chunk.object.as_ref().map(|text| &*text.0), chunk.message)?;
        wire::delta(chunk.choices, chunk.usage, chunk.sglext)
    }

    fn body<'a>(&mut self, body: &'a [u8]) -> Result<Delta<'a>, DecodeError> {
        self.event(body)
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::backend::End;
    use crate::backend::testing::{common, row};

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
            ("hi there", Some(2), End::Finished)
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
            end: End::Finished,
            ..Part::default()
        };
        assert_eq!((&*delta.part.text, delta.output_tokens), ("a", Some(2)));
        assert_eq!(delta.others, [other]);
    }
}
