//! Rows and due times become requests with their bodies ready; nothing is decided after this.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::{Conversation, PlannedRequest, Prompt, Row};
use crate::protocol::backend::{Common, Protocol, Request};
use crate::workload::lengths::Drawn;

/// What the requests of a run were made to be, by which the run can be judged.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Planned {
    /// The lengths that were drawn, if they were.
    pub lengths: Drawn,
    /// What the server's prefix cache is to have of the prompts, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<PlannedCache>,
}

/// What a prefix cache that is empty before the run, and has room for all of it, has of the prompts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedCache {
    /// Tokens of all prompts.
    pub prompt_tokens: u64,
    /// Those of them that are in the cache when their prompt is sent, if the prompts are sent one after the other.
    pub cached_tokens: u64,
    /// Others that are there if the warm-up sends the first prompt and the cache is not emptied after it.
    pub warm_up_tokens: u64,
}

impl PlannedCache {
    /// The share of the prompt tokens that is cached; 0 without a token.
    pub fn rate(&self) -> f64 {
        if self.prompt_tokens == 0 {
            return 0.0;
        }
        self.cached_tokens as f64 / self.prompt_tokens as f64
    }

    /// The share with what the warm-up brought.
    pub fn most(&self) -> f64 {
        let cached_tokens = self.cached_tokens + self.warm_up_tokens;
        Self { cached_tokens, ..*self }.rate()
    }
}

/// Turns messages into the text that a server without chat messages is sent.
pub type Render = Arc<dyn Fn(&[Value]) -> String + Send + Sync>;

/// How rows become bodies.
#[derive(Clone)]
pub struct Encoder {
    /// The wire protocol.
    pub protocol: &'static dyn Protocol,
    /// What all requests have in common.
    pub common: Arc<Common>,
    /// How conversations become text, where the protocol takes no messages.
    pub render: Option<Render>,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").field("protocol", &self.protocol).finish_non_exhaustive()
    }
}

impl Encoder {
    fn body(&self, row: &Row) -> Bytes {
        Bytes::from(self.protocol.encode(&Request { row, common: &self.common }))
    }

    /// Messages as the protocol takes them.
    fn messages(&self, messages: Vec<Value>) -> Prompt {
        match &self.render {
            Some(render) => Prompt::Text(render(&messages)),
            None => Prompt::Messages(messages),
        }
    }

    /// The row with the first round of its conversation as its prompt.
    fn first_round(&self, row: &Row) -> Row {
        match &row.prompt {
            Prompt::Rounds(rounds) => Row {
                prompt: self.messages(rounds.first().cloned().unwrap_or_default()),
                ..row.clone()
            },
            _ => row.clone(),
        }
    }
}

/// Encodes `rows` on all cores; request *i* is due at `due[i]`. Both have the same length.
///
/// Each row is dropped when its body is there: images are not held twice.
pub fn build(rows: Vec<Row>, due: &[Duration], encoder: &Encoder) -> Arc<[PlannedRequest]> {
    rows.into_par_iter()
        .zip(due)
        .enumerate()
        .map(|(index, (row, &due))| {
            let conversation = conversation(&row, encoder);
            let asked = Request { row: &row, common: &encoder.common }.asked();
            let body = match conversation {
                Some(_) => encoder.body(&encoder.first_round(&row)),
                None => encoder.body(&row),
            };
            PlannedRequest {
                index,
                due,
                body,
                prompt_len: row.prompt_len,
                vision_len: row.vision_len,
                routing_key: row.routing_key,
                output_len: row.output_len,
                asked,
                conversation,
            }
        })
        .collect::<Vec<_>>()
        .into()
}

/// The conversation that a row begins, if it does.
fn conversation(row: &Row, encoder: &Encoder) -> Option<Arc<Conversation>> {
    let Prompt::Rounds(rounds) = &row.prompt else { return None };
    // The messages are replaced in each round; what else the row has is kept.
    let rest = Row { prompt: Prompt::Messages(Vec::new()), ..row.clone() };
    let encoder = encoder.clone();
    let encode =
        move |messages| encoder.body(&Row { prompt: encoder.messages(messages), ..rest.clone() });
    Some(Arc::new(Conversation { rounds: rounds.clone(), encode: Box::new(encode) }))
}

/// Longest output of a warm-up request, in tokens.
const WARMUP_OUTPUT: usize = 32;

/// `n` copies of the first row, all due at once, with a short output and without keys of its own;
/// of a conversation the first round.
pub fn warmup(row: &Row, n: usize, encoder: &Encoder) -> Arc<[PlannedRequest]> {
    let row = Row {
        output_len: row.output_len.min(WARMUP_OUTPUT),
        extra: Map::new(),
        routing_key: None,
        ..encoder.first_round(row)
    };
    build(vec![row; n], &vec![Duration::ZERO; n], encoder)
}
