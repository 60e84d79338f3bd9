//! Rows and due times become requests with their bodies ready; nothing is decided after this.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rayon::prelude::*;

use crate::backend::{Common, Protocol};
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
            body: Bytes::from(protocol.encode(&row.prompt, row.output_len, common)),
            prompt_len: row.prompt_len,
            output_len: row.output_len,
        })
        .collect::<Vec<_>>()
        .into()
}

/// Longest output of a warm-up request, in tokens.
const WARMUP_OUTPUT: usize = 32;

/// `n` copies of the first row, all due at once, with a short output.
pub fn warmup(
    row: &Row,
    n: usize,
    protocol: &'static dyn Protocol,
    common: &Common,
) -> Arc<[PlannedRequest]> {
    let row = Row { output_len: row.output_len.min(WARMUP_OUTPUT), ..row.clone() };
    build(&vec![row; n], &vec![Duration::ZERO; n], protocol, common)
}
