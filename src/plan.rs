//! Rows and due times become requests with their bodies ready; nothing is decided after this.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rayon::prelude::*;
use serde_json::Map;

use crate::backend::{Common, Protocol, Request};
use crate::model::{PlannedRequest, Row};

/// Encodes `rows` on all cores; request *i* is due at `due[i]`. Both have the same length.
pub fn build(
    rows: &[Row],
    due: &[Duration],
    protocol: &'static dyn Protocol,
    common: &Common,
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
        })
        .collect::<Vec<_>>()
        .into()
}

/// Longest output of a warm-up request, in tokens.
const WARMUP_OUTPUT: usize = 32;

/// `n` copies of the first row, all due at once, with a short output and without keys of its own.
pub fn warmup(
    row: &Row,
    n: usize,
    protocol: &'static dyn Protocol,
    common: &Common,
) -> Arc<[PlannedRequest]> {
    let row = Row {
        output_len: row.output_len.min(WARMUP_OUTPUT),
        extra: Map::new(),
        routing_key: None,
        ..row.clone()
    };
    build(&vec![row; n], &vec![Duration::ZERO; n], protocol, common)
}
