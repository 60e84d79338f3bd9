//! OpenAI's embeddings: `POST /v1/embeddings`.
//!
//! One answer, no tokens: the only latency is the whole request's.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use serde_json::Value;

use super::chat::messages;
use super::wire::lenient::{First, objects};
use super::wire::{self, Usage};
use super::{
    Backend, CacheTelling, DecodeError, Decoder, Delta, End, Flush, Part, Protocol, Request, Takes,
};
use crate::model::{Prompt, Row};

pub(super) const BACKEND: Backend = Backend {
    name: "",
    protocol: &Embeddings { form: Form::Input, clip: false },
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
    batch: None,
    refused: None,
};

/// The same of chat messages.
pub(super) const CHAT: Backend =
    Backend { protocol: &CHAT_FORM, accepts_messages: true, takes: WITH_IMAGES, ..BACKEND };

/// The same of either an image or a text, as CLIP takes it.
pub(super) const CLIP: Backend = Backend {
    protocol: &Embeddings { form: Form::Messages, clip: true },
    accepts_messages: true,
    takes: WITH_IMAGES,
    ..BACKEND
};

/// Infinity's embeddings: an image is the input itself.
pub(super) const INFINITY: Backend = Backend {
    protocol: &Embeddings { form: Form::Modality, clip: false },
    path: "/embeddings",
    takes: WITH_IMAGES,
    ..BACKEND
};

/// The same of either an image or a text.
pub(super) const INFINITY_CLIP: Backend =
    Backend { protocol: &Embeddings { form: Form::Modality, clip: true }, ..INFINITY };

const WITH_IMAGES: Takes = Takes { images: true, ..BACKEND.takes };

const CHAT_FORM: Embeddings = Embeddings { form: Form::Messages, clip: false };

#[derive(Debug)]
struct Embeddings {
    form: Form,
    /// Whether the text is left out beside an image.
    clip: bool,
}

/// How a body holds what is to be embedded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As `input`.
    Input,
    /// As `messages`.
    Messages,
    /// As `input`, an image with its `modality`.
    Modality,
}

impl Embeddings {
    /// The row as it is sent.
    fn shown<'a>(&self, row: &'a Row) -> Cow<'a, Row> {
        if self.clip && !row.images.is_empty() {
            return Cow::Owned(Row { prompt: Prompt::Text(String::new()), ..row.clone() });
        }
        Cow::Borrowed(row)
    }
}

impl Protocol for Embeddings {
    fn encode(&self, request: &Request<'_>) -> Vec<u8> {
        let Request { row, common } = *request;
        let mut body = match self.form {
            Form::Input => wire::object([
                ("input", wire::prompt_value(&row.prompt)),
                ("model", common.model.as_str().into()),
            ]),
            Form::Messages => wire::object([
                ("model", common.model.as_str().into()),
                ("messages", messages(&self.shown(row), common.style.parts)),
            ]),
            Form::Modality => {
                let image = row.images.first().map(|image| Value::from(&**image));
                let model = ("model", common.model.as_str().into());
                match image {
                    Some(image) => {
                        wire::object([model, ("input", image), ("modality", "image".into())])
                    }
                    None => wire::object([model, ("input", wire::prompt_value(&row.prompt))]),
                }
            }
        };
        wire::adapt(&mut body, request);
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

/// Reads embeddings.
#[derive(Debug)]
pub(super) struct Reader;

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
    use serde_json::json;

    use super::*;
    use crate::protocol::backend::testing::{common, row};
    use crate::protocol::backend::{Common, Style};

    #[test]
    fn forms() {
        let common = Common { style: Style::VLLM, ..common(false) };
        let row = Row { images: vec!["data:x".into()], ..row() };
        let all = [&BACKEND, &CHAT, &CLIP, &INFINITY, &INFINITY_CLIP];
        let body = |backend: &&Backend| -> Value {
            let body = backend.protocol.encode(&Request { row: &row, common: &common });
            serde_json::from_slice(&body).unwrap()
        };
        let message = |text: &str| {
            json!([{"role": "user", "content": [
                {"type": "text", "text": text},
                {"type": "image_url", "image_url": {"url": "data:x"}},
            ]}])
        };
        let bodies: Vec<Value> = all.iter().map(body).collect();
        assert_eq!(bodies[0], json!({"input": "hi", "model": "m"}));
        assert_eq!(bodies[1], json!({"model": "m", "messages": message("hi")}));
        assert_eq!(bodies[2], json!({"model": "m", "messages": message("")}));
        let infinity = json!({"model": "m", "input": "data:x", "modality": "image"});
        assert_eq!(bodies[3..], [infinity.clone(), infinity]);
    }

    #[test]
    fn an_answer_without_vectors_is_malformed() {
        let good = br#"{"data":[{"embedding":[0.1]}],"usage":{"prompt_tokens":4}}"#;
        assert_eq!(Reader.body(good).unwrap().prompt_tokens, Some(4));
        assert!(matches!(Reader.body(br#"{"data":[]}"#), Err(DecodeError::Malformed(_))));
        assert!(matches!(Reader.body(b"{}"), Err(DecodeError::Malformed(_))));
    }
}
