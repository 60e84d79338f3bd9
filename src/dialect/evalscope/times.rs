//! The times and the prompt tokens of a request as EvalScope defines them.

use std::time::Duration;

use crate::analysis::counts::Ended;
use crate::model::RequestRecord;

/// When a request ended: at its last output, so that an event with counts alone adds nothing; one without output, or
/// one that failed, when it was over.
pub(super) fn end(record: &RequestRecord) -> Option<Duration> {
    let output = record.events.at_ns.iter().max().map(|&ns| Duration::from_nanos(ns));
    output.filter(|_| record.completed()).or(record.done)
}

/// Time from send to the last output.
pub(super) fn latency(record: &RequestRecord) -> Option<Duration> {
    Some(end(record)?.saturating_sub(record.sent?))
}

/// Prompt tokens as the server counted them, or else the local tokenizer.
pub(super) fn input(request: &Ended<'_>) -> u64 {
    request.record.server_prompt_tokens.unwrap_or(request.counts.prompt as u64)
}
