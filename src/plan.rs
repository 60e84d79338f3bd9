//! Rows and due times become requests with their bodies ready; nothing is decided after this.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rayon::prelude::*;
use serde_json::Map;

use crate::backend::{Common, Protocol, Request};
use crate::model::{Conversation, PlannedRequest, Prompt, Row};

/// Encodes `rows` on all cores; request *i* is due at `due[i]`. Both have the same length.
pub fn build(
    rows: &[Row],
    due: &[Duration],
    protocol: &'static dyn Protocol,
    common: &Arc<Common>,
) -> Arc<[PlannedRequest]> {
    rows.par_iter()
        .zip(due)
        .enumerate()
        .map(|(index, (row, &due))| PlannedRequest {
            index,
            due,
            body: Bytes::from(protocol.encode(&Request { row, common })),
            prompt_len: row.prompt_len,
            vision_len: row.vision_len,
            routing_key: row.routing_key.clone(),
            output_len: row.output_len,
            conversation: conversation(row, protocol, common),
        })
        .collect::<Vec<_>>()
        .into()
}

/// The conversation that a row begins, if it does.
fn conversation(
    row: &Row,
    protocol: &'static dyn Protocol,
    common: &Arc<Common>,
) -> Option<Arc<Conversation>> {
    let Prompt::Rounds(rounds) = &row.prompt else { return None };
    // The messages are replaced in each round; what else the row has is kept.
    let rest = Row { prompt: Prompt::Messages(Vec::new()), ..row.clone() };
    let common = common.clone();
    let encode = move |messages| {
        let row = Row { prompt: Prompt::Messages(messages), ..rest.clone() };
        Bytes::from(protocol.encode(&Request { row: &row, common: &common }))
    };
    Some(Arc::new(Conversation { rounds: rounds.clone(), encode: Box::new(encode) }))
}

/// Longest output of a warm-up request, in tokens.
const WARMUP_OUTPUT: usize = 32;

/// `n` copies of the first row, all due at once, with a short output and without keys of its own;
/// of a conversation the first round.
pub fn warmup(
    row: &Row,
    n: usize,
    protocol: &'static dyn Protocol,
    common: &Arc<Common>,
) -> Arc<[PlannedRequest]> {
    let prompt = match &row.prompt {
        Prompt::Rounds(rounds) => Prompt::Messages(rounds.first().cloned().unwrap_or_default()),
        prompt => prompt.clone(),
    };
    let row = Row {
        prompt,
        output_len: row.output_len.min(WARMUP_OUTPUT),
        extra: Map::new(),
        routing_key: None,
        ..row.clone()
    };
    build(&vec![row; n], &vec![Duration::ZERO; n], protocol, common)
}
