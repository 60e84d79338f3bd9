//! OpenAI's responses: `POST /v1/responses`.
//!
//! Text, reasoning and the arguments of calls are output. What an event is stands in it as `type`, as well as in the
//! `event` field of the stream.

use serde::de::{IgnoredAny, MapAccess, SeqAccess};

use super::wire;
use super::wire::lenient::{Count, Key, Lenient, Seed, Text, objects};
use super::wire::told::Complaint;
use super::{
    Backend, CacheTelling, DecodeError, Decoder, Delta, End, Flush, Part, Protocol, Request, Step,
    Takes,
};
use crate::model::CachedTokens;

pub(super) const BACKEND: Backend = Backend {
    name: "",
    protocol: &Responses,
    port: 8000,
    path: "/v1/responses",
    accepts_ids: false,
    accepts_messages: true,
    lists_models: true,
    takes: Takes { sampling: true, logprobs: false, native: false, lora: true, images: false },
    cache: CacheTelling::Unasked,
    can_disable_stream: true,
    flush: Flush::Plain,
    splits_itl: false,
    batch: None,
    refused: None,
};

#[derive(Debug)]
struct Responses;

impl Protocol for Responses {
    fn encode(&self, request: &Request<'_>) -> Vec<u8> {
        let Request { row, common } = *request;
        let mut body = wire::object([
            ("model", common.model.as_str().into()),
            ("input", wire::prompt_value(&row.prompt)),
            ("max_output_tokens", row.output_len.into()),
            ("stream", common.stream.into()),
            // The server is not to keep what nobody will ask for.
            ("store", false.into()),
        ]);
        wire::add_drawing(&mut body, request);
        wire::merge(&mut body, request);
        wire::adapt(&mut body, request);
        wire::bytes(&body)
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(Reader)
    }
}

#[derive(Debug)]
struct Reader;

objects! {
    struct Answer<'a> {
        status: Text<'a>,
        usage: Usage,
        output: Outputs,
    } else complaint

    struct Usage {
        input_tokens: Count,
        output_tokens: Count,
        input_tokens_details: InputDetails,
    }

    struct InputDetails { cached_tokens: Count }

    struct Item<'a> {
        arguments: Text<'a>,
        content: Pieces,
        summary: Pieces,
    }

    struct Piece<'a> { text: Text<'a> }
}

/// An event, or an answer in one piece.
#[derive(Debug, Default)]
pub(super) struct Event<'a> {
    /// Its `type`.
    kind: Text<'a>,
    delta: Text<'a>,
    response: Answer<'a>,
    status: Text<'a>,
    output: Outputs,
    usage: Usage,
    complaint: Complaint,
}

impl<'a> Lenient<'a> for Event<'a> {
    fn object<A: MapAccess<'a>>(mut map: A) -> Result<Self, A::Error> {
        let mut event = Self::default();
        while let Some(Key(key)) = map.next_key()? {
            match &*key {
                "type" => event.kind = map.next_value_seed(Seed::default())?,
                "delta" => event.delta = map.next_value_seed(Seed::default())?,
                "response" => event.response = map.next_value_seed(Seed::default())?,
                "status" => event.status = map.next_value_seed(Seed::default())?,
                "output" => event.output = map.next_value_seed(Seed::default())?,
                "usage" => event.usage = map.next_value_seed(Seed::default())?,
                other if event.complaint.takes(other, &mut map)? => {}
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(event)
    }
}

/// The texts of a list of pieces, one after the other.
#[derive(Debug, Default)]
pub(super) struct Pieces(String);

impl<'de> Lenient<'de> for Pieces {
    fn list<A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        let mut all = String::new();
        let seed = Seed::<Option<Piece<'_>>>::default;
        while let Some(piece) = list.next_element_seed(seed())? {
            all += &piece.map(|piece| piece.text.or_empty()).unwrap_or_default();
        }
        Ok(Self(all))
    }
}

/// The texts of the items of an answer in one piece.
#[derive(Debug, Default)]
pub(super) struct Outputs(String);

impl<'de> Lenient<'de> for Outputs {
    fn list<A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        let mut all = String::new();
        let seed = Seed::<Option<Item<'_>>>::default;
        while let Some(item) = list.next_element_seed(seed())? {
            if let Some(Item { arguments, content, summary }) = item {
                all = all + &summary.0 + &content.0 + &arguments.or_empty();
            }
        }
        Ok(Self(all))
    }
}

/// Types of events whose `delta` is output.
const OUTPUT: [&str; 6] = [
    "response.output_text.delta",
    "response.reasoning_text.delta",
    "response.reasoning_summary_text.delta",
    "response.refusal.delta",
    "response.function_call_arguments.delta",
    "response.mcp_call_arguments.delta",
];

/// The counts of an answer that has ended, after `part`.
fn counted<'a>(usage: &Usage, part: Part<'a>) -> Delta<'a> {
    let cached = usage.input_tokens_details.cached_tokens.0;
    Delta {
        part: Part { output_tokens: usage.output_tokens.0, ..part },
        prompt_tokens: usage.input_tokens.0,
        cached: cached.map(|total| CachedTokens { total, tiers: None }),
        ..Delta::default()
    }
}

/// What `status` says of the end.
fn ended(status: &str) -> Result<End, DecodeError> {
    match status {
        "completed" => Ok(End::Stopped),
        "incomplete" => Ok(End::Finished),
        "failed" | "cancelled" => Err(DecodeError::Server(format!("the response is {status}"))),
        _ => Ok(End::Open),
    }
}

impl Decoder for Reader {
    fn event<'a>(&mut self, data: &'a [u8]) -> Result<Delta<'a>, DecodeError> {
        wire::repairing(data, |data| {
            let event: Event<'_> = wire::parse(data, "an event of a response")?;
            let kind = event.kind.or_empty();
            if kind == "error" {
                // It stands for itself, without a key that says so.
                event.complaint.refuse(false)?;
                return Err(DecodeError::Server("an error without a message".to_owned()));
            }
            event.complaint.refuse(kind.starts_with("response."))?;
            if OUTPUT.contains(&&*kind) {
                let text = event.delta.or_empty();
                let step = if text.is_empty() { Step::None } else { Step::One };
                let part = Part { text, step, end: End::Open, ..Part::default() };
                return Ok(Delta { part, ..Delta::default() });
            }
            match &*kind {
                "response.completed" | "response.incomplete" | "response.failed" => {
                    let Answer { status, usage, output: _, complaint } = event.response;
                    let is_good = kind != "response.failed";
                    complaint.refuse(is_good)?;
                    let end = match (&*status.or_empty(), is_good) {
                        ("", true) => End::Finished,
                        ("", false) => ended("failed")?,
                        (status, _) => ended(status)?,
                    };
                    Ok(counted(&usage, Part { end, ..Part::default() }))
                }
                // An answer in one piece.
                "" if !event.output.0.is_empty() => {
                    let end = ended(&event.status.or_empty())?;
                    let text = event.output.0.into();
                    Ok(counted(
                        &event.usage,
                        Part { text, step: Step::One, end, ..Part::default() },
                    ))
                }
                _ => Ok(Delta {
                    part: Part { end: End::Open, ..Part::default() },
                    ..Delta::default()
                }),
            }
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
    use crate::protocol::backend::testing::{common, row};
    use crate::protocol::backend::{Common, Style};

    #[test]
    fn bodies() {
        let common = Common { style: Style::VLLM, ..common(true) };
        let body = Responses.encode(&Request { row: &row(), common: &common });
        expect![[r#"{"model":"m","input":"hi","max_output_tokens":8,"stream":true,"store":false,"ignore_eos":true}"#]]
        .assert_eq(&String::from_utf8(body).unwrap());
    }

    #[test]
    fn events() {
        let read = |data: &'static str| Reader.event(data.as_bytes());
        let delta = read(r#"{"type":"response.created","response":{"status":"in_progress"}}"#);
        assert_eq!(delta.unwrap().part.step, Step::None);
        for kind in ["output_text", "reasoning_text"] {
            let data = format!(r#"{{"type":"response.{kind}.delta","delta":"a b"}}"#);
            let delta = Reader.event(data.as_bytes()).unwrap();
            assert_eq!((&*delta.part.text, delta.part.step), ("a b", Step::One));
        }
        let delta = read(
            r#"{"type":"response.incomplete","response":{"status":"incomplete","usage":{"input_tokens":3,"output_tokens":9}}}"#,
        )
        .unwrap();
        assert_eq!((delta.prompt_tokens, delta.part.output_tokens), (Some(3), Some(9)));
        assert_eq!(delta.part.end, End::Finished);
    }

    #[test]
    fn failures_are_no_end() {
        for data in [
            r#"{"type":"response.failed","response":{"status":"failed","error":{"message":"full"}}}"#,
            r#"{"type":"response.failed","response":{"status":"failed"}}"#,
            r#"{"type":"error","message":"full"}"#,
            r#"{"error":{"message":"full"}}"#,
        ] {
            assert!(matches!(Reader.event(data.as_bytes()), Err(DecodeError::Server(_))), "{data}");
        }
    }

    #[test]
    fn an_answer_in_one_piece() {
        let body = br#"{"object":"response","status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"hi"}]}],"usage":{"input_tokens":3,"output_tokens":2}}"#;
        let delta = Reader.body(body).unwrap();
        assert_eq!((&*delta.part.text, delta.part.output_tokens), ("hi", Some(2)));
        assert_eq!(delta.part.end, End::Stopped);
    }
}
