//! What the table and the result of a run have in common.

use serde_json::Value;

use crate::analysis::Analysis;
use crate::analysis::measure::{Measure, Percent};
use crate::analysis::metric::Figure;
use crate::model::RequestRecord;

/// Requests that did not complete.
pub(super) fn failed(report: &Analysis<'_>) -> u64 {
    let ledger = &report.audit.ledger;
    ledger.failed + ledger.cancelled + ledger.never_sent
}

/// The percentiles that the run asks for.
pub(super) fn percentiles(report: &Analysis<'_>) -> Vec<Percent> {
    let asked = report.metadata.percentiles();
    if asked.is_empty() { vec![Percent::whole(99)] } else { asked }
}

/// Prompt tokens of completed requests that generate nothing: as the server counted them, where it did.
pub(super) fn input_tokens(report: &Analysis<'_>) -> u64 {
    match report.figure(Measure::ServerInputTokens) {
        Figure::Count(tokens) if tokens > 0 => tokens,
        _ => match report.figure(Measure::InputTokens) {
            Figure::Count(tokens) => tokens,
            _ => 0,
        },
    }
}

/// Inputs of completed requests: texts that are embedded, documents that are ranked.
pub(super) fn sequences(report: &Analysis<'_>) -> u64 {
    let config = &report.metadata.config;
    let number = |key, or| config.get(key).and_then(Value::as_u64).unwrap_or(or);
    let (batch, all) = (number("random_batch_size", 1), number("num_prompts", 0));
    let flag = |key| config.get(key).and_then(Value::as_bool).unwrap_or(false);
    // A query that is embedded takes the place of a document.
    let queries = u64::from(report.metadata.dataset_name == "random-rerank" && flag("no_reranker"));
    if batch == 1 {
        return match report.figure(Measure::Completed) {
            Figure::Count(completed) => completed,
            _ => 0,
        };
    }
    let of = |record: &RequestRecord| {
        let before = (record.index as u64).saturating_mul(batch);
        batch.min(all.saturating_sub(before)).saturating_sub(queries)
    };
    report.records.iter().filter(|record| record.completed()).map(of).sum()
}

/// A total of the run in each second of it.
pub(super) fn per_second(report: &Analysis<'_>, total: f64) -> Value {
    let duration = report.figure(Measure::Duration).number().filter(|seconds| *seconds > 0.0);
    duration.map_or(Value::Null, |seconds| (total / seconds).into())
}

/// A number with two decimals.
pub(super) fn shown_real(number: Option<f64>) -> String {
    number.map_or_else(|| "n/a".to_owned(), |x| format!("{x:.2}"))
}
