//! OpenAI's embeddings: `POST /v1/embeddings`.
//!
//! One answer, no tokens: the only latency is the whole request's.

use serde::de::IgnoredAny;

use super::wire::lenient::{First, objects};
use super::wire::{self, Usage};
use super::{
    Backend, CacheTelling, DecodeError, Decoder, Delta, End, Flush, Part, Protocol, Request, Takes,
};

pub(super) const BACKEND: Backend = Backend {
    name: "",
    protocol: &Embeddings,
    port: 8000,
    path: "/v1/embeddings",
    accepts_ids: false,
    accepts_messages: false,
    lists_models: true,
    takes: Takes { sampling: false, logprobs: false, native: false, lora: true, images: false },
    cache: CacheTelling::Never,
    can_disable_stream: true,
    flush: Flush::Plain,
    splits_itl: false,
    refused: None,
};

#[derive(Debug)]
struct Embeddings;

impl Protocol for Embeddings {
    fn encode(&self, request: &Request<'_>) -> Vec<u8> {
        let Request { row, common } = *request;
        let mut body = wire::object([
            ("input", wire::prompt_value(&row.prompt)),
            ("model", common.model.as_str().into()),
        ]);
        wire::adapt(&mut body, row);
        wire::merge(&mut body, request);
        wire::bytes(&body)
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(Reader)
    }

    fn generates(&self) -> bool {
        false
    }
}

#[derive(Debug)]
struct Reader;

objects! {
    struct Answer {
        data: First<IgnoredAny>,
        usage: Usage,
    } else complaint
}

impl Decoder for Reader {
    fn event<'a>(&mut self, data: &'a [u8]) -> Result<Delta<'a>, DecodeError> {
        self.body(data)
    }

    fn body<'a>(&mut self, body: &'a [u8]) -> Result<Delta<'a>, DecodeError> {
        wire::repairing(body, |body| {
            let Answer { data, usage, complaint } = wire::parse(body, "an answer with embeddings")?;
            complaint.refuse(data.0.is_some())?;
            if data.0.is_none() {
                let what = "answer holds no embedding in `data`".to_owned();
                return Err(DecodeError::Malformed(what));
            }
            let part = Part { end: End::Finished, ..Part::default() };
            Ok(Delta { part, prompt_tokens: usage.prompt_tokens.0, ..Delta::default() })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_vectors_is_malformed() {
        let good = br#"{"data":[{"embedding":[0.1]}],"usage":{"prompt_tokens":4}}"#;
        assert_eq!(Reader.body(good).unwrap().prompt_tokens, Some(4));
        assert!(matches!(Reader.body(br#"{"data":[]}"#), Err(DecodeError::Malformed(_))));
        assert!(matches!(Reader.body(b"{}"), Err(DecodeError::Malformed(_))));
    }
}
