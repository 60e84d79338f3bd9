//! Ranking documents for a query: `POST /v1/rerank`.
//!
//! The first text of a prompt is the query, the others are the documents.

use serde::de::IgnoredAny;

use super::wire::lenient::{First, objects};
use super::wire::{self, Usage};
use super::{Backend, DecodeError, Decoder, Delta, End, Part, Protocol, Request, embeddings};
use crate::model::Prompt;

pub(super) const BACKEND: Backend =
    Backend { protocol: &Rerank, path: "/v1/rerank", ..embeddings::BACKEND };

#[derive(Debug)]
struct Rerank;

impl Protocol for Rerank {
    fn encode(&self, request: &Request<'_>) -> Vec<u8> {
        let Request { row, common } = *request;
        let (query, documents) = match &row.prompt {
            Prompt::Texts(texts) => {
                texts.split_first().map_or(("", &[][..]), |(query, rest)| (query.as_str(), rest))
            }
            Prompt::Text(text) => (text.as_str(), &[][..]),
            Prompt::Ids(_) | Prompt::Messages(_) | Prompt::Rounds(_) => ("", &[][..]),
        };
        let mut body = wire::object([
            ("model", common.model.as_str().into()),
            ("query", query.into()),
            ("documents", documents.into()),
            ("truncate_prompt_tokens", (-1).into()),
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

#[derive(Debug)]
struct Reader;

objects! {
    struct Answer {
        results: First<IgnoredAny>,
        usage: Usage,
    } else complaint
}

impl Decoder for Reader {
    fn event<'a>(&mut self, data: &'a [u8]) -> Result<Delta<'a>, DecodeError> {
        self.body(data)
    }

    fn body<'a>(&mut self, body: &'a [u8]) -> Result<Delta<'a>, DecodeError> {
        wire::repairing(body, |body| {
            let Answer { results, usage, complaint } = wire::parse(body, "a ranking")?;
            complaint.refuse(results.0.is_some())?;
            if results.0.is_none() {
                let what = "answer ranks no document in `results`".to_owned();
                return Err(DecodeError::Malformed(what));
            }
            let part = Part { end: End::Finished, ..Part::default() };
            let prompt_tokens = usage.prompt_tokens.0.or(usage.total_tokens.0);
            Ok(Delta { part, prompt_tokens, ..Delta::default() })
        })
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
        let texts = ["q", "a", "b"].map(str::to_owned).to_vec();
        let row = Row::new(Prompt::Texts(texts), 3, 0);
        let body = Rerank.encode(&Request { row: &row, common: &common });
        expect![[r#"{"model":"m","query":"q","documents":["a","b"],"truncate_prompt_tokens":-1}"#]]
            .assert_eq(&String::from_utf8(body).unwrap());
    }

    #[test]
    fn answers() {
        let good = br#"{"results":[{"index":0,"relevance_score":0.5}],"usage":{"total_tokens":9}}"#;
        assert_eq!(Reader.body(good).unwrap().prompt_tokens, Some(9));
        assert!(matches!(Reader.body(br#"{"results":[]}"#), Err(DecodeError::Malformed(_))));
        let error = Reader.body(br#"{"error":{"message":"no such model"}}"#).unwrap_err();
        assert_eq!(error, DecodeError::Server("no such model".into()));
    }
}
