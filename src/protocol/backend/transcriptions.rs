//! Transcriptions of audio: `POST /v1/audio/transcriptions`, a form with a WAV file whose answer is streamed.

use serde_json::Value;

use super::chat::Reader;
use super::wire;
use super::{Backend, Decoder, Protocol, Request, chat};
use crate::model::Row;

pub(super) const BACKEND: Backend = Backend {
    protocol: &Transcriptions,
    path: "/v1/audio/transcriptions",
    accepts_messages: false,
    takes: super::Takes { logprobs: false, images: false, ..chat::BACKEND.takes },
    can_disable_stream: false,
    ..chat::BACKEND
};

/// What stands between the parts of a form; no WAV file of a benchmark holds it.
const BOUNDARY: &str = "rbench-7d1f3a9c52e84b06-form";

#[derive(Debug)]
struct Transcriptions;

impl Protocol for Transcriptions {
    fn encode(&self, request: &Request<'_>) -> Vec<u8> {
        let Request { row, common } = *request;
        let mut fields = wire::object([
            ("model", common.model.as_str().into()),
            ("max_completion_tokens", row.output_len.into()),
            ("stream", true.into()),
            ("language", "en".into()),
            ("stream_include_usage", true.into()),
            ("stream_continuous_usage_stats", true.into()),
        ]);
        wire::merge(&mut fields, request);
        if let Some(adapter) = row.lora.as_deref() {
            fields.insert("model".into(), adapter.into());
        }
        form(row, fields)
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(Reader)
    }

    fn content_type(&self) -> &'static str {
        "multipart/form-data; boundary=rbench-7d1f3a9c52e84b06-form"
    }
}

/// A form of `fields` and the audio of `row`.
fn form(row: &Row, fields: serde_json::Map<String, Value>) -> Vec<u8> {
    let audio: &[u8] = row.audio.as_deref().unwrap_or_default();
    let mut body = Vec::with_capacity(audio.len() + 1024);
    for (name, value) in fields {
        let value = match value {
            Value::String(text) => text,
            // As the reference's form has them.
            Value::Bool(true) => "True".to_owned(),
            Value::Bool(false) => "False".to_owned(),
            other => other.to_string(),
        };
        let head = format!("--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{name}\"");
        body.extend_from_slice(format!("{head}\r\n\r\n{value}\r\n").as_bytes());
    }
    let head = format!(
        "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"file\"; filename=\"audio.wav\"\r\ncontent-type: audio/wav\r\n\r\n"
    );
    body.extend_from_slice(head.as_bytes());
    body.extend_from_slice(audio);
    body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::backend::testing::{common, row};

    #[test]
    fn a_form_has_the_file_and_the_fields() {
        let common = common(true);
        let row = Row { audio: Some(b"RIFF".as_slice().into()), ..row() };
        let body = Transcriptions.encode(&Request { row: &row, common: &common });
        let body = String::from_utf8(body).unwrap();
        assert!(Transcriptions.content_type().ends_with(BOUNDARY));
        assert!(body.contains("name=\"stream\"\r\n\r\nTrue\r\n"), "{body}");
        assert!(body.contains("name=\"max_completion_tokens\"\r\n\r\n8\r\n"), "{body}");
        assert!(body.contains("content-type: audio/wav\r\n\r\nRIFF\r\n--"), "{body}");
        assert!(body.ends_with("-form--\r\n") && !body.contains("temperature"), "{body}");
    }
}
