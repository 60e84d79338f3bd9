//! vLLM's pooling: `POST /pooling`.
//!
//! Vectors or scores of one or several texts; the only latency is the whole request's.

use super::embeddings::Reader;
use super::wire;
use super::{Backend, Decoder, Protocol, Request, embeddings};
use crate::model::Prompt;

pub(super) const BACKEND: Backend =
    Backend { protocol: &Pooling, path: "/pooling", ..embeddings::BACKEND };

#[derive(Debug)]
struct Pooling;

impl Protocol for Pooling {
    fn encode(&self, request: &Request<'_>) -> Vec<u8> {
        let Request { row, common } = *request;
        let key = match row.prompt {
            Prompt::Messages(_) | Prompt::Rounds(_) => "messages",
            Prompt::Text(_) | Prompt::Texts(_) | Prompt::Ids(_) => "input",
        };
        let mut body = wire::object([
            ("model", common.model.as_str().into()),
            // As long as the model allows: prompts that are longer are cut instead of refused.
            ("truncate_prompt_tokens", (-1).into()),
            (key, wire::prompt_value(&row.prompt)),
        ]);
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

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::model::Row;
    use crate::protocol::backend::testing::common;

    #[test]
    fn bodies() {
        let common = common(false);
        let row = Row::new(Prompt::Texts(vec!["a".into(), "b".into()]), 2, 0);
        let body = Pooling.encode(&Request { row: &row, common: &common });
        expect![[r#"{"model":"m","truncate_prompt_tokens":-1,"input":["a","b"]}"#]]
            .assert_eq(&String::from_utf8(body).unwrap());
    }
}
