//! TensorRT-LLM behind Triton: `POST /v2/models/ensemble/generate_stream`.
//!
//! No usage is reported and no end is marked; each event is one token, even if its text is empty.

use super::wire;
use super::wire::lenient::{Text, objects};
use super::{
    Backend, CacheTelling, DecodeError, Decoder, Delta, Flush, Part, Protocol, Request, Step, Takes,
};

/// An id that no vocabulary reaches, so that generation does not stop.
const NO_END_ID: u64 = 1_048_576;

pub(super) const BACKEND: Backend = Backend {
    name: "",
    protocol: &GenerateStream,
    port: 8000,
    path: "/v2/models/ensemble/generate_stream",
    accepts_ids: false,
    accepts_messages: false,
    lists_models: false,
    takes: Takes { sampling: true, logprobs: false, native: false, lora: false, images: false },
    cache: CacheTelling::Never,
    can_disable_stream: false,
    flush: Flush::Plain,
    splits_itl: false,
    batch: None,
    refused: None,
};

#[derive(Debug)]
struct GenerateStream;

impl Protocol for GenerateStream {
    fn encode(&self, request: &Request<'_>) -> Vec<u8> {
        let Request { row, common } = *request;
        let mut body = wire::object([
            ("accumulate_tokens", true.into()),
            ("text_input", wire::prompt_value(&row.prompt)),
            ("temperature", common.sampling.temperature.unwrap_or(0.000_001).into()),
            ("top_p", common.sampling.top_p.into()),
            ("max_tokens", row.output_len.into()),
            ("stream", true.into()),
        ]);
        if common.ignore_eos {
            body.insert("min_length".into(), row.output_len.into());
            body.insert("end_id".into(), NO_END_ID.into());
        }
        wire::merge(&mut body, request);
        wire::bytes(&body)
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(Reader)
    }
}

#[derive(Debug)]
struct Reader;

objects! {
    struct Chunk<'a> {
        text_output: Text<'a>,
    } else complaint
}

impl Decoder for Reader {
    fn event<'a>(&mut self, data: &'a [u8]) -> Result<Delta<'a>, DecodeError> {
        wire::repairing(data, |data| {
            let Chunk { text_output, complaint } =
                wire::parse(data, "an answer of generate_stream")?;
            complaint.refuse(text_output.0.is_some())?;
            let step = if text_output.0.is_some() { Step::One } else { Step::None };
            let part = Part { text: text_output.or_empty(), step, ..Part::default() };
            Ok(Delta { part, ..Delta::default() })
        })
    }

    fn body<'a>(&mut self, body: &'a [u8]) -> Result<Delta<'a>, DecodeError> {
        self.event(body)
    }

    fn is_token_each(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::protocol::backend::Common;
    use crate::protocol::backend::testing::{common, row};

    #[test]
    fn bodies() {
        let mut common = common(true);
        let body = |common: &Common| {
            String::from_utf8(GenerateStream.encode(&Request { row: &row(), common })).unwrap()
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
        assert_eq!((delta.part.step, &*delta.part.text), (Step::One, ""));
    }
}
