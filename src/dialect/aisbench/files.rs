//! The files of a run: the tables as CSV and JSON, and the requests.

use serde_json::{Map, Value, json};

use super::figures::Figures;
use super::flags::Layout;
use super::table;
use super::times::{end, input, latency, ttft};
use crate::analysis::counts::Ended;
use crate::model::{Outcome, PlannedRequest, RequestRecord};

/// The first table as CSV.
pub fn csv(stages: &[Figures], layout: Layout) -> String {
    let rows = std::iter::once(table::header()).chain(table::parameters(stages, layout));
    rows.map(|row| row.join(",") + "\r\n").collect()
}

/// The second table: each metric, and its value at each stage with its unit; `own` is the key `rbench`.
pub fn common(stages: &[Figures], layout: Layout, own: Value) -> Value {
    let mut all = Map::new();
    for stage in stages {
        for (label, value) in table::common(stage, layout) {
            let entry = all.entry(label).or_insert_with(|| Value::Object(Map::new()));
            // Counts and plain numbers are no strings.
            let value = serde_json::from_str(&value).unwrap_or(Value::String(value));
            if let Value::Object(stages) = entry {
                stages.insert(stage.stage.name().to_owned(), value);
            }
        }
    }
    all.insert("rbench".to_owned(), own);
    all.into()
}

/// What was asked, as its body says it.
fn asked(plan: &[PlannedRequest], record: &RequestRecord) -> Value {
    let body =
        plan.get(record.index).and_then(|one| serde_json::from_slice::<Value>(&one.body).ok());
    let body = body.unwrap_or_default();
    [&body["messages"], &body["prompt"]]
        .into_iter()
        .find(|v| !v.is_null())
        .cloned()
        .unwrap_or_default()
}

/// One line for each request: what was asked and answered, its counts, and its times in s from the start of the run.
pub fn details<'a>(plan: &[PlannedRequest], requests: impl Iterator<Item = Ended<'a>>) -> String {
    let seconds = |at: Option<std::time::Duration>| at.map(|at| at.as_secs_f64());
    let line = |request: Ended<'_>| {
        let record = request.record;
        let times: Vec<f64> = record
            .events
            .at_ns
            .iter()
            .map(|&ns| std::time::Duration::from_nanos(ns).as_secs_f64())
            .collect();
        let value = json!({
            "id": record.index,
            "turn_id": record.round,
            "success": record.completed(),
            "error_info": error(record),
            "input": asked(plan, record),
            "prediction": record.text,
            "input_tokens": input(&request),
            "output_tokens": request.counts.output.map(|tokens| tokens.count),
            "due": record.due.as_secs_f64(),
            "start_time": seconds(record.sent),
            "end_time": seconds(end(record)),
            "latency": latency(record),
            "ttft": ttft(record),
            "time_points": times,
        });
        value.to_string() + "\n"
    };
    requests.map(line).collect()
}

/// One line for each request that failed; empty if none did.
pub fn failed(plan: &[PlannedRequest], records: &[RequestRecord]) -> String {
    let failed = records.iter().filter(|record| !record.completed());
    let line = |record: &RequestRecord| {
        let failure = record.failure();
        let value = json!({
            "id": record.index,
            "input": asked(plan, record),
            "error_info": error(record),
            "kind": failure.as_ref().map(|failure| failure.kind.name()),
            "status": failure.as_ref().and_then(|failure| failure.status),
            "body": failure.as_ref().and_then(|failure| failure.excerpt.clone()),
        });
        value.to_string() + "\n"
    };
    failed.map(line).collect()
}

/// What went wrong with a request; empty if nothing did.
fn error(record: &RequestRecord) -> String {
    match &record.outcome {
        Outcome::Completed => String::new(),
        Outcome::NotSent => "not sent".to_owned(),
        Outcome::Cancelled(_) => "cancelled: the run was ended".to_owned(),
        Outcome::Failed(failure) => failure.message.clone(),
    }
}
