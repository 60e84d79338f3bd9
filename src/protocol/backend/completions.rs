//! OpenAI's completions: `POST /v1/completions`.

use serde_json::Value;

use super::wire::lenient::{Index, Several, Text, objects};
use super::wire::told::Finish;
use super::wire::{self, Sglext, Usage};
use super::{
    Backend, CacheTelling, DecodeError, Decoder, Delta, Flush, Part, Protocol, Request, Step, Takes,
};

pub(super) const BACKEND: Backend = Backend {
    name: "",
    protocol: &Completions,
    port: 8000,
    path: "/v1/completions",
    accepts_ids: false,
    accepts_messages: false,
    lists_models: true,
    takes: Takes { sampling: true, logprobs: true, native: false, lora: true, images: false },
    cache: CacheTelling::Unasked,
    can_disable_stream: true,
    flush: Flush::Plain,
    splits_itl: false,
    batch: None,
    refused: None,
};

#[derive(Debug)]
struct Completions;

impl Protocol for Completions {
    fn encode(&self, request: &Request<'_>) -> Vec<u8> {
        let Request { row, common } = *request;
        let mut body = wire::object([
            ("model", common.model.as_str().into()),
            ("prompt", wire::prompt_value(&row.prompt)),
            ("best_of", 1.into()),
            ("max_tokens", row.output_len.into()),
            ("stream", common.stream.into()),
        ]);
        if !common.style.greedy {
            body.shift_remove("best_of");
        }
        if common.style.names_logprobs {
            body.insert("logprobs".into(), Value::Null);
        }
        wire::add_defaults(&mut body, request);
        if common.sampling.return_logprob && common.sampling.top_logprobs_num > 0 {
            body.insert("logprobs".into(), common.sampling.top_logprobs_num.into());
        }
        wire::drop_best_of(&mut body, request);
        wire::merge(&mut body, request);
        wire::adapt(&mut body, request);
        if !row.images.is_empty() {
            body.insert("image_data".into(), wire::images(row));
        }
        wire::bytes(&body)
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(Reader)
    }
}

/// Reads completions; what it knows is in each event.
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
        text: Text<'a>,
        finish_reason: Finish,
    } else complaint
}

impl<'a> wire::Choice<'a> for Choice<'a> {
    fn part(self, position: u16) -> Result<Part<'a>, DecodeError> {
        self.complaint.refuse(true)?;
        let text = self.text.or_empty();
        Ok(Part {
            completion: self.index.0.unwrap_or(position),
            step: if text.is_empty() { Step::None } else { Step::One },
            text,
            end: self.finish_reason.end()?,
            ..Part::default()
        })
    }
}

impl Decoder for Reader {
    fn event<'a>(&mut self, data: &'a [u8]) -> Result<Delta<'a>, DecodeError> {
        wire::repairing(data, |data| {
            let chunk: Chunk<'_> = wire::parse(data, "a completion")?;
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
    use serde_json::json;

    use super::*;
    use crate::model::Row;
    use crate::protocol::backend::testing::{common, row};
    use crate::protocol::backend::{Common, End};

    fn encode(common: &Common) -> String {
        let body = Completions.encode(&Request { row: &row(), common });
        String::from_utf8(body).unwrap()
    }

    #[test]
    fn bodies() {
        expect![[r#"{"model":"m","prompt":"hi","best_of":1,"max_tokens":8,"stream":true,"temperature":0.0,"ignore_eos":true,"stream_options":{"include_usage":true}}"#]]
        .assert_eq(&encode(&common(true)));
        let no_stream = Common { stream: false, ..common(true) };
        expect![[r#"{"model":"m","prompt":"hi","best_of":1,"max_tokens":8,"stream":false,"temperature":0.0,"ignore_eos":true}"#]]
        .assert_eq(&encode(&no_stream));
    }

    #[test]
    fn an_adapter_is_the_model() {
        let extra = json!({"model": "x"});
        let common = Common { extra: extra.as_object().unwrap().clone(), ..common(true) };
        let row = Row { lora: Some("sql".into()), ..row() };
        let body = Completions.encode(&Request { row: &row, common: &common });
        expect![[r#"{"model":"sql","prompt":"hi","best_of":1,"max_tokens":8,"stream":true,"temperature":0.0,"ignore_eos":true,"stream_options":{"include_usage":true},"lora_path":"sql"}"#]]
        .assert_eq(&String::from_utf8(body).unwrap());
    }

    #[test]
    fn what_the_user_sets_wins() {
        let extra = json!({"temperature": 0.7, "stream_options": {}, "max_tokens": 3, "x": 1});
        let common = Common { extra: extra.as_object().unwrap().clone(), ..common(true) };
        expect![[r#"{"model":"m","prompt":"hi","best_of":1,"max_tokens":3,"stream":true,"ignore_eos":true,"temperature":0.7,"stream_options":{},"x":1}"#]]
        .assert_eq(&encode(&common));
    }

    #[test]
    fn events() {
        let read = |data: &'static str| Reader.event(data.as_bytes());
        let delta = read(r#"{"choices":[{"text":"a b","finish_reason":null}]}"#).unwrap();
        assert_eq!(
            (&*delta.part.text, delta.part.step, delta.part.end),
            ("a b", Step::One, End::Open)
        );
        let delta = read(r#"{"choices":[{"text":"","finish_reason":"length"}]}"#).unwrap();
        assert_eq!((delta.part.step, delta.part.end), (Step::None, End::Finished));
        let delta =
            read(r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":9}}"#).unwrap();
        assert_eq!((delta.prompt_tokens, delta.output_tokens), (Some(3), Some(9)));
        assert_eq!(delta.part.end, End::Unmarked);
        assert_eq!(delta.cached, None);
    }

    #[test]
    fn cached_prompt_tokens() {
        let read = |rest: &str| {
            let data = format!(r#"{{"choices":[],{rest}}}"#);
            Reader.event(data.as_bytes()).unwrap().cached.map(|cached| cached.total)
        };
        let usage = |details: &str| {
            read(&format!(r#""usage":{{"prompt_tokens":9,"prompt_tokens_details":{details}}}"#))
        };
        assert_eq!(usage("null"), None);
        assert_eq!(usage(r#"{"audio_tokens":null,"cached_tokens":null}"#), None);
        assert_eq!(usage(r#"{"audio_tokens":null,"cached_tokens":4}"#), Some(4));
        assert_eq!(read(r#""sglext":{"routed_experts":"x"}"#), None);
        let sglext = r#""sglext":{"cached_tokens_details":{"device":5,"host":1}}"#;
        assert_eq!(read(sglext), Some(6));
        assert_eq!(read(&format!(r#"{sglext},"usage":{{"prompt_tokens":9}}"#)), Some(6));
    }

    #[test]
    fn errors_in_every_spelling() {
        for data in [
            r#"{"error":{"message":"too long","type":"BadRequest","code":400}}"#,
            r#"{"error":"too long"}"#,
            r#"{"object":"error","message":"too long","code":400}"#,
            r#"{"choices":[{"text":"","finish_reason":{"type":"abort","message":"too long"}}]}"#,
        ] {
            let error = Reader.event(data.as_bytes()).unwrap_err();
            assert_eq!(error, DecodeError::Server("too long".into()), "{data}");
        }
        assert!(matches!(Reader.event(b"{oops"), Err(DecodeError::Malformed(_))));
    }

    #[test]
    fn several_completions() {
        let read = |data: &'static str| Reader.event(data.as_bytes()).unwrap();
        let delta = read(
            r#"{"choices":[{"index":2,"text":"a","finish_reason":null}],"usage":{"completion_tokens":1}}"#,
        );
        assert_eq!((delta.part.completion, &*delta.part.text), (2, "a"));
        // Beside one choice the count is that one's.
        assert_eq!((delta.part.output_tokens, delta.output_tokens), (Some(1), None));
        assert_eq!(delta.others.capacity(), 0);
        let delta = read(
            r#"{"choices":[{"text":"a","finish_reason":"stop"},{"text":"b","finish_reason":null}],"usage":{"completion_tokens":5}}"#,
        );
        let parts: Vec<_> = std::iter::once(&delta.part)
            .chain(&delta.others)
            .map(|part| (part.completion, &*part.text, part.end, part.output_tokens))
            .collect();
        assert_eq!(parts, [(0, "a", End::Stopped, None), (1, "b", End::Open, None)]);
        assert_eq!(delta.output_tokens, Some(5));
        let aborted = br#"{"choices":[{"index":0,"text":"a"},{"index":1,"text":"","finish_reason":"abort"}]}"#;
        assert!(matches!(Reader.event(aborted), Err(DecodeError::Server(_))));
        for index in ["-1", "70000", "\"a\"", "0.5"] {
            let data = format!(r#"{{"choices":[{{"index":{index},"text":"a"}}]}}"#);
            let part = Reader.event(data.as_bytes()).unwrap().part;
            assert_eq!((part.completion, &*part.text), (u16::MAX, "a"), "{index}");
        }
    }

    #[test]
    fn several_completions_without_a_best_of_below_them() {
        let encode = |extra: serde_json::Value| {
            let extra = extra.as_object().unwrap().clone();
            let body = encode(&Common { extra, ..common(true) });
            let body: serde_json::Value = serde_json::from_str(&body).unwrap();
            (body["n"].clone(), body["best_of"].clone())
        };
        for (extra, n, best_of) in [
            (json!({}), json!(null), json!(1)),
            (json!({"n": 1}), json!(1), json!(1)),
            (json!({"n": 3}), json!(3), json!(null)),
            (json!({"n": 3, "best_of": 4}), json!(3), json!(4)),
        ] {
            assert_eq!(encode(extra), (n, best_of));
        }
    }
}
