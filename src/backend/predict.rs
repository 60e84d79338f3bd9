//! Baseten's Truss: `POST /v1/models/model:predict`, which answers as completions do.

use super::{Backend, Common, Decoder, Flush, Protocol, completions, wire};
use crate::model::Prompt;

pub(super) const BACKEND: Backend = Backend {
    name: "",
    protocol: &Predict,
    port: 8080,
    path: "/v1/models/model:predict",
    accepts_ids: false,
    lists_models: false,
    can_disable_stream: true,
    flush: Flush::Plain,
    splits_itl: false,
    refused: None,
};

#[derive(Debug)]
struct Predict;

impl Protocol for Predict {
    fn encode(&self, prompt: &Prompt, output_len: usize, common: &Common) -> Vec<u8> {
        let body = wire::object([
            ("model", common.model.as_str().into()),
            ("prompt", wire::prompt_value(prompt)),
            ("temperature", 0.0.into()),
            ("best_of", 1.into()),
            ("max_tokens", output_len.into()),
            ("stream", common.stream.into()),
            ("ignore_eos", common.ignore_eos.into()),
        ]);
        wire::finish_body(body, common)
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(completions::Reader)
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::Map;

    use super::*;

    #[test]
    fn bodies() {
        let common =
            Common { model: "m".into(), stream: true, ignore_eos: true, extra: Map::new() };
        let body = Predict.encode(&Prompt::Text("hi".into()), 8, &common);
        expect![[r#"{"model":"m","prompt":"hi","temperature":0.0,"best_of":1,"max_tokens":8,"stream":true,"ignore_eos":true}"#]]
        .assert_eq(&String::from_utf8(body).unwrap());
    }
}
