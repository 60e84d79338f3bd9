//! The JSONL line: the reference's keys in its order, then the object `rbench` with what is ours.

use serde_json::{Map, Value, json};

use super::super::json;
use crate::metric::Figure;
use crate::model::{Outcome, RequestRecord};
use crate::report::Report;

/// Figures between the arguments and the latencies.
const TOTALS: &[&str] = &[
    "duration",
    "completed",
    "total_input_tokens",
    "total_input_text_tokens",
    "total_input_vision_tokens",
    "total_output_tokens",
    "total_output_tokens_retokenized",
    "request_throughput",
    "input_throughput",
    "output_throughput",
    "total_throughput",
];

/// The latencies and their statistics.
const LATENCIES: &[&str] = &["e2e_latency", "ttft", "tpot", "itl"];
const STATISTICS: &[&str] = &["mean", "median", "std", "p90", "p95", "p99"];

/// Figures after the latencies.
const LOAD: &[&str] =
    &["concurrency", "accept_length", "max_output_tokens_per_s", "max_concurrent_requests"];

/// Prefix of figures that only say what SGLang's client would have reported.
const REFERENCE: &str = "reference_";

/// The line, with its line end.
pub(super) fn render(report: &Report<'_>, details: bool) -> String {
    let facts = &report.facts;
    let flag = |key: &str| facts.config.get(key).cloned().unwrap_or(Value::Null);
    let mut line = Map::new();
    let mut put = |key: &str, value: Value| line.insert(key.to_owned(), value);
    put("tag", facts.tag.clone().into());
    put("backend", facts.backend.into());
    put("dataset_name", facts.dataset_name.clone().into());
    put("request_rate", serde_json::to_value(facts.rate).unwrap_or(Value::Null));
    put("max_concurrency", facts.max_concurrency.into());
    put("sharegpt_output_len", flag("sharegpt_output_len"));
    put("random_input_len", flag("random_input_len"));
    put("random_output_len", flag("random_output_len"));
    put("random_range_ratio", flag("random_range_ratio"));
    put("server_info", report.server_info.clone().unwrap_or(Value::Null));
    let latencies = LATENCIES
        .iter()
        .flat_map(|name| STATISTICS.iter().map(move |what| format!("{what}_{name}_ms")));
    let keys: Vec<String> = TOTALS
        .iter()
        .map(ToString::to_string)
        .chain(latencies)
        .chain(LOAD.iter().map(ToString::to_string))
        .collect();
    for key in &keys {
        put(key, number(report.figure(key)));
    }
    if details {
        for (key, values) in arrays(report.records) {
            put(key, values);
        }
    }
    put("rbench", own(report, &keys, details));
    json::line(&Value::Object(line)) + "\n"
}

/// Arrays of the reference with one entry per request, failed ones included.
fn arrays(records: &[RequestRecord]) -> [(&'static str, Value); 6] {
    let each = |value: fn(&RequestRecord) -> Value| records.iter().map(value).collect::<Value>();
    [
        ("input_lens", each(|r| r.server_prompt_tokens.unwrap_or(r.prompt_len as u64).into())),
        ("output_lens", each(|r| if r.completed() { r.output_count().into() } else { 0.into() })),
        ("ttfts", each(|r| r.ttft().map_or(0.0, |t| t.as_secs_f64()).into())),
        ("itls", each(|r| r.itl().collect())),
        (
            "generated_texts",
            each(|r| if r.completed() { r.text.as_str().into() } else { "".into() }),
        ),
        ("errors", each(|r| error(r).into())),
    ]
}

/// What went wrong with a request; empty if nothing did.
fn error(record: &RequestRecord) -> String {
    match &record.outcome {
        Outcome::Completed => String::new(),
        Outcome::NotSent => "not sent".to_owned(),
        Outcome::Failed(failure) => match &failure.excerpt {
            Some(excerpt) => format!("{}: {excerpt}", failure.message),
            None => failure.message.clone(),
        },
    }
}

/// The object `rbench`.
fn own(report: &Report<'_>, written: &[String], details: bool) -> Value {
    let facts = &report.facts;
    let failed = report.records.iter().filter(|r| matches!(r.outcome, Outcome::Failed(_))).count();
    let not_sent = report.records.iter().filter(|r| r.outcome == Outcome::NotSent).count();
    let failures: Vec<Value> = report
        .failures
        .iter()
        .map(|group| {
            json!({
                "kind": group.kind.name(),
                "phase": group.phase.name(),
                "status": group.status,
                "message": group.message,
                "excerpt": group.excerpt,
                "count": group.count,
            })
        })
        .collect();
    let sources: Map<String, Value> = report
        .token_sources
        .iter()
        .map(|(source, n)| (source.name().to_owned(), (*n).into()))
        .collect();
    let mut own = Map::new();
    let mut put = |key: &str, value: Value| own.insert(key.to_owned(), value);
    put("version", env!("CARGO_PKG_VERSION").into());
    put("date", facts.date.clone().into());
    put("model", facts.model.clone().into());
    put("tokenizer", facts.tokenizer.clone().into());
    put("seed", facts.seed.into());
    put(
        "requests",
        json!({
            "scheduled": report.records.len(),
            "completed": report.completed(),
            "failed": failed,
            "not_sent": not_sent,
        }),
    );
    put("failures", failures.into());
    put("output_token_source", sources.into());
    let mut reference = Map::new();
    for stat in &report.stats {
        if let Some(key) = stat.key.strip_prefix(REFERENCE) {
            reference.insert(key.to_owned(), number(stat.value));
        } else if !written.contains(&stat.key) {
            put(&stat.key, number(stat.value));
        }
    }
    put("reference", reference.into());
    put("config", facts.config.clone().into());
    if details {
        let seconds = |at: fn(&RequestRecord) -> Option<std::time::Duration>| {
            let each = report.records.iter().map(|r| at(r).map(|t| t.as_secs_f64()));
            each.collect::<Vec<_>>().into()
        };
        let sources = report.records.iter().map(|r| r.output_tokens.map(|t| t.source.name()));
        put("due_s", seconds(|r| Some(r.due)));
        put("sent_s", seconds(|r| r.sent));
        put("headers_s", seconds(|r| r.headers));
        put("done_s", seconds(|r| r.done));
        put("output_token_sources", sources.collect::<Vec<_>>().into());
    }
    own.into()
}

fn number(figure: Figure) -> Value {
    match figure {
        Figure::Count(n) => n.into(),
        Figure::Real(x) => x.into(),
        Figure::Absent => Value::Null,
    }
}
