//! SGLang's native endpoint: `POST /generate`.
//!
//! Each event repeats the whole text so far and carries a running count of output tokens.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::wire::{self, CacheDetails, Finish, First, Text, Told};
use super::{
    Backend, CacheTelling, DecodeError, Decoder, Delta, Flush, Protocol, Request, Step, Takes,
    TextMode,
};
use crate::model::Prompt;

pub(super) const BACKEND: Backend = Backend {
    name: "",
    protocol: &Generate,
    port: 30000,
    path: "/generate",
    accepts_ids: false,
    accepts_messages: false,
    lists_models: true,
    takes: Takes { sampling: true, logprobs: true, native: true, lora: true, images: true },
    cache: CacheTelling::Unasked,
    can_disable_stream: true,
    flush: Flush::Plain,
    splits_itl: false,
    refused: None,
};

#[derive(Debug)]
struct Generate;

impl Protocol for Generate {
    fn encode(&self, request: &Request<'_>) -> Vec<u8> {
        let Request { row, common } = *request;
        let sampling = &common.sampling;
        let key = match row.prompt {
            Prompt::Text(_) => "text",
            Prompt::Ids(_) | Prompt::Messages(_) | Prompt::Rounds(_) => "input_ids",
        };
        let mut body = wire::object([
            (key, wire::prompt_value(&row.prompt)),
            (
                "sampling_params",
                json!({
                    "temperature": sampling.temperature.unwrap_or(0.0),
                    "max_new_tokens": row.output_len,
                    "ignore_eos": common.ignore_eos,
                }),
            ),
            ("stream", common.stream.into()),
            ("lora_path", row.lora.as_deref().into()),
            ("return_logprob", sampling.return_logprob.into()),
            ("return_routed_experts", sampling.return_routed_experts.into()),
            ("logprob_start_len", sampling.logprob_start_len.into()),
        ]);
        if sampling.top_p < 1.0 {
            body["sampling_params"]["top_p"] = sampling.top_p.into();
        }
        wire::merge(&mut body, request);
        // These win over the user's keys, as in the reference.
        if sampling.top_logprobs_num > 0 {
            body.insert("top_logprobs_num".into(), sampling.top_logprobs_num.into());
        }
        if !sampling.token_ids_logprob.is_empty() {
            body.insert("token_ids_logprob".into(), sampling.token_ids_logprob.as_slice().into());
        }
        if !row.images.is_empty() {
            body.insert("image_data".into(), wire::images(row));
        }
        wire::bytes(body)
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(Reader)
    }
}

#[derive(Debug)]
struct Reader;

#[derive(Deserialize)]
#[serde(expecting = "an answer of /generate")]
struct Chunk<'a> {
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(default)]
    output_ids: First<IgnoredAny>,
    meta_info: Option<MetaInfo>,
    error: Option<Told>,
    #[serde(borrow)]
    object: Option<Text<'a>>,
    message: Option<Value>,
}

#[derive(Default, Deserialize)]
struct MetaInfo {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    cached_tokens: Option<u64>,
    cached_tokens_details: Option<CacheDetails>,
    #[serde(default)]
    finish_reason: Finish,
}

impl Decoder for Reader {
    fn event<'a>(&mut self, data: &'a [u8]) -> Result<Delta<'a>, DecodeError> {
        let chunk: Chunk<'a> = wire::parse(data)?;
        wire::refuse_error(chunk.error, chunk.object.as_ref().map(|text| &*text.0), chunk.message)?;
        let meta = chunk.meta_info.unwrap_or_default();
        // A server without a detokenizer sends ids instead of text.
        let ids_only = chunk.text.is_none() && chunk.output_ids.0.is_some();
        let text = wire::text(chunk.text);
        let step = if text.is_empty() && !ids_only {
            Step::None
        } else {
            meta.completion_tokens.map_or(Step::One, Step::Total)
        };
        Ok(Delta {
            text,
            mode: TextMode::Replace,
            step,
            output_tokens: meta.completion_tokens,
            prompt_tokens: meta.prompt_tokens,
            cached: wire::cached(meta.cached_tokens, meta.cached_tokens_details),
            end: meta.finish_reason.end()?,
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
    use crate::backend::End;
    use crate::backend::testing::{common, row};
    use crate::model::{CacheTiers, CachedTokens, Row};

    #[test]
    fn bodies() {
        let common = common(true);
        let body = |prompt| {
            let row = Row { prompt, ..row() };
            String::from_utf8(Generate.encode(&Request { row: &row, common: &common })).unwrap()
        };
        expect![[r#"{"text":"hi","sampling_params":{"temperature":0.0,"max_new_tokens":8,"ignore_eos":true},"stream":true,"lora_path":null,"return_logprob":false,"return_routed_experts":false,"logprob_start_len":-1}"#]]
        .assert_eq(&body(Prompt::Text("hi".into())));
        expect![[r#"{"input_ids":[1,2],"sampling_params":{"temperature":0.0,"max_new_tokens":8,"ignore_eos":true},"stream":true,"lora_path":null,"return_logprob":false,"return_routed_experts":false,"logprob_start_len":-1}"#]]
        .assert_eq(&body(Prompt::Ids(vec![1, 2])));
    }

    #[test]
    fn an_adapter_is_a_path() {
        let row = Row { lora: Some("sql".into()), ..row() };
        let body = Generate.encode(&Request { row: &row, common: &common(true) });
        assert!(String::from_utf8(body).unwrap().contains(r#","lora_path":"sql","#));
    }

    #[test]
    fn events() {
        let data = br#"{"text":"a b","output_ids":[],"meta_info":{"id":"x","finish_reason":null,"prompt_tokens":7,"completion_tokens":2}}"#;
        let delta = Reader.event(data).unwrap();
        assert_eq!((&*delta.text, delta.mode), ("a b", TextMode::Replace));
        assert_eq!((delta.step, delta.prompt_tokens), (Step::Total(2), Some(7)));
        assert_eq!(delta.end, End::Open);
        let data = br#"{"output_ids":[5,6],"meta_info":{"finish_reason":{"type":"length","length":2},"completion_tokens":2}}"#;
        let delta = Reader.event(data).unwrap();
        assert_eq!((delta.step, delta.end), (Step::Total(2), End::Finished));
    }

    #[test]
    fn cached_prompt_tokens() {
        let read = |meta: &str| {
            let data = format!(r#"{{"text":"a","meta_info":{{"completion_tokens":1{meta}}}}}"#);
            Reader.event(data.as_bytes()).unwrap().cached
        };
        assert_eq!(read(""), None);
        let plain = Some(CachedTokens { total: 3, tiers: None });
        assert_eq!(read(r#","cached_tokens":3,"cached_tokens_details":null"#), plain);
        let tiers = CacheTiers { device: 2, host: 1, storage: 0, storage_backend: None };
        assert_eq!(
            read(r#","cached_tokens":3,"cached_tokens_details":{"device":2,"host":1}"#),
            Some(CachedTokens { total: 3, tiers: Some(tiers) })
        );
    }

    #[test]
    fn an_abort_is_an_error() {
        let data = br#"{"text":"","meta_info":{"finish_reason":{"type":"abort","message":"out of memory"},"completion_tokens":0}}"#;
        assert_eq!(Reader.event(data), Err(DecodeError::Server("out of memory".into())));
    }
}
