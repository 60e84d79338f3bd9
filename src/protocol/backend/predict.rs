//! Baseten's Truss: `POST /v1/models/model:predict`, which answers as completions do.

use super::{Backend, CacheTelling, Decoder, Flush, Protocol, Request, Takes, completions, wire};

pub(super) const BACKEND: Backend = Backend {
    name: "",
    protocol: &Predict,
    port: 8080,
    path: "/v1/models/model:predict",
    accepts_ids: false,
    accepts_messages: false,
    lists_models: false,
    takes: Takes { sampling: true, logprobs: false, native: false, lora: false, images: false },
    cache: CacheTelling::Never,
    can_disable_stream: true,
    flush: Flush::Plain,
    splits_itl: false,
    batch: None,
    refused: None,
};

#[derive(Debug)]
struct Predict;

impl Protocol for Predict {
    fn encode(&self, request: &Request<'_>) -> Vec<u8> {
        let Request { row, common } = *request;
        let mut body = wire::object([
            ("model", common.model.as_str().into()),
            ("prompt", wire::prompt_value(&row.prompt)),
            ("temperature", common.sampling.temperature.unwrap_or(0.0).into()),
            ("best_of", 1.into()),
            ("max_tokens", row.output_len.into()),
            ("stream", common.stream.into()),
        ]);
        if common.ignore_eos {
            body.insert("ignore_eos".into(), true.into());
        }
        if common.sampling.top_p < 1.0 {
            body.insert("top_p".into(), common.sampling.top_p.into());
        }
        wire::drop_best_of(&mut body, request);
        wire::merge(&mut body, request);
        wire::bytes(&body)
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(completions::Reader)
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::protocol::backend::testing::{common, row};

    #[test]
    fn bodies() {
        let common = common(true);
        let body = Predict.encode(&Request { row: &row(), common: &common });
        expect![[r#"{"model":"m","prompt":"hi","temperature":0.0,"best_of":1,"max_tokens":8,"stream":true,"ignore_eos":true}"#]]
        .assert_eq(&String::from_utf8(body).unwrap());
    }
}
