//! The lines of `--failed-file`: one for each request that failed or was given up.

use std::time::Duration;

use serde::Serialize;

use super::line;
use super::row::outcome_name;
use crate::model::RequestRecord;

#[derive(Serialize)]
struct Line<'a> {
    run: &'a str,
    index: usize,
    round: usize,
    outcome: &'static str,
    kind: Option<&'static str>,
    phase: Option<&'static str>,
    status: Option<u16>,
    message: Option<&'a str>,
    excerpt: Option<&'a str>,
    endpoint: usize,
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    resent_s: Option<f64>,
    due_s: f64,
    sent_s: Option<f64>,
    headers_s: Option<f64>,
    first_token_s: Option<f64>,
    done_s: Option<f64>,
    events: usize,
}

/// Returns whether `record` is one of those that the file is for: it was sent, and did not complete.
pub fn belongs(record: &RequestRecord) -> bool {
    !record.completed() && record.sent.is_some()
}

/// Adds the line of `record`, of the run that began at `run` (RFC 3339), to `out`.
///
/// # Errors
/// As writing JSON to memory has, which is none.
pub fn push(out: &mut Vec<u8>, record: &RequestRecord, run: &str) -> std::io::Result<()> {
    let seconds = |at: Option<Duration>| at.map(|at| at.as_secs_f64());
    let failure = record.failure();
    let failure = failure.as_deref();
    line::push(
        out,
        &Line {
            run,
            index: record.index,
            round: record.round,
            outcome: outcome_name(&record.outcome),
            kind: failure.map(|failure| failure.kind.name()),
            phase: failure.map(|failure| failure.phase.name()),
            status: failure.and_then(|failure| failure.status),
            message: failure.map(|failure| failure.message.as_str()),
            excerpt: failure.and_then(|failure| failure.excerpt.as_deref()),
            endpoint: record.endpoint,
            attempts: record.attempts,
            resent_s: seconds(record.resent),
            due_s: record.due.as_secs_f64(),
            sent_s: seconds(record.sent),
            headers_s: seconds(record.headers),
            first_token_s: seconds(record.first_token()),
            done_s: seconds(record.done),
            events: record.events.len(),
        },
    )
}
