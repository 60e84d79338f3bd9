//! The times and the prompt tokens of a request as AISBench defines them.

use std::time::Duration;

use crate::analysis::counts::Ended;
use crate::model::RequestRecord;

/// When a request ended: at its last output, so that an event with counts alone adds nothing.
pub(super) fn end(record: &RequestRecord) -> Option<Duration> {
    let output = record.events.at_ns.iter().max().map(|&ns| Duration::from_nanos(ns));
    output.filter(|_| record.completed()).or(record.done)
}

/// Time from send to the last output, in s.
pub(super) fn latency(record: &RequestRecord) -> Option<f64> {
    Some(end(record)?.saturating_sub(record.sent?).as_secs_f64())
}

/// Prompt tokens as the server counted them, or else the local tokenizer.
pub(super) fn input(request: &Ended<'_>) -> u64 {
    request.record.server_prompt_tokens.unwrap_or(request.counts.prompt as u64)
}

/// Gaps between events with output, in s.
pub(super) fn gaps(record: &RequestRecord) -> Vec<f64> {
    record.events.gaps().map(|gap| gap.length().as_secs_f64()).collect()
}

/// Time from send to the first output, in s.
pub(super) fn ttft(record: &RequestRecord) -> Option<f64> {
    record.ttft().map(|ttft| ttft.as_secs_f64())
}
