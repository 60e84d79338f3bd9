//! TensorRT-LLM behind Triton: `POST /v2/models/ensemble/generate_stream`.
//!
//! No usage is reported and no end is marked; each event is one token, even if its text is empty.

use serde::Deserialize;
use serde_json::Value;

use super::wire::{self, Text, Told};
use super::{Backend, Common, DecodeError, Decoder, Delta, Flush, Protocol, Step};
use crate::model::Prompt;

/// An id that no vocabulary reaches, so that generation does not stop.
const NO_END_ID: u64 = 1_048_576;

pub(super) const BACKEND: Backend = Backend {
    name: "",
    protocol: &GenerateStream,
    port: 8000,
    path: "/v2/models/ensemble/generate_stream",
    accepts_ids: false,
    lists_models: false,
    can_disable_stream: false,
    flush: Flush::Plain,
    splits_itl: false,
    refused: None,
};

#[derive(Debug)]
struct GenerateStream;

impl Protocol for GenerateStream {
    fn encode(&self, prompt: &Prompt, output_len: usize, common: &Common) -> Vec<u8> {
        let mut body = wire::object([
            ("accumulate_tokens", true.into()),
            ("text_input", wire::prompt_value(prompt)),
            ("temperature", 0.000_001.into()),
            ("top_p", 1.0.into()),
            ("max_tokens", output_len.into()),
            ("stream", true.into()),
        ]);
        if common.ignore_eos {
            body.insert("min_length".into(), output_len.into());
            body.insert("end_id".into(), NO_END_ID.into());
        }
        wire::finish_body(body, common)
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(Reader)
    }
}

#[derive(Debug)]
struct Reader;

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    text_output: Option<Text<'a>>,
    error: Option<Told>,
    #[serde(borrow)]
    object: Option<Text<'a>>,
    message: Option<Value>,
}

impl Decoder for Reader {
    fn event<'a>(&mut self, data: &'a [u8]) -> Result<Delta<'a>, DecodeError> {
        let chunk: Chunk<'a> = wire::parse(data)?;
        wire::refuse_error(chunk.error, chunk.object.as_ref().map(|text| &*text.0), chunk.message)?;
        let step = if chunk.text_output.is_some() { Step::One } else { Step::None };
        Ok(Delta { text: wire::text(chunk.text_output), step, ..Delta::default() })
    }

    fn body<'a>(&mut self, body: &'a [u8]) -> Result<Delta<'a>, DecodeError> {
        self.event(body)
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::Map;

    use super::*;

    #[test]
    fn bodies() {
        let mut common =
            Common { model: "m".into(), stream: true, ignore_eos: true, extra: Map::new() };
        let body = |common: &Common| {
            String::from_utf8(GenerateStream.encode(&Prompt::Text("hi".into()), 8, common)).unwrap()
        };
        expect![[r#"{"accumulate_tokens":true,"text_input":"hi","temperature":1e-6,"top_p":1.0,"max_tokens":8,"stream":true,"min_length":8,"end_id":1048576}"#]]
        .assert_eq(&body(&common));
        common.ignore_eos = false;
        expect![[r#"{"accumulate_tokens":true,"text_input":"hi","temperature":1e-6,"top_p":1.0,"max_tokens":8,"stream":true}"#]]
        .assert_eq(&body(&common));
    }

    #[test]
    fn an_empty_piece_is_a_token() {
        let delta = Reader.event(br#"{"model_name":"ensemble","text_output":""}"#).unwrap();
        assert_eq!((delta.step, &*delta.text), (Step::One, ""));
    }
}
