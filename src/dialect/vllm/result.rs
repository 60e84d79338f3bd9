//! The object of `--save-result`: vLLM's keys in their order, then the object `rbench` with what is ours.

use serde_json::{Map, Value};

use super::table::{failed, percentiles};
use super::{METRICS, selected};
use crate::analysis::measure::{Measure, Statistic};
use crate::analysis::report::{Report, RunMetadata};
use crate::model::{Outcome, RequestRecord};
use crate::output::json;
use crate::output::names::of_percent;
use crate::output::object::{number, own};

/// Where the value of a key comes from.
#[derive(Debug, Clone, Copy)]
enum Key {
    /// What the run was.
    Fact(&'static str, fn(&Report<'_>) -> Value),
    /// A figure.
    Stat(&'static str, Measure),
    /// A value of each request, failed ones included.
    Each(&'static str, fn(&RequestRecord) -> Value),
    /// The same, left out without `--save-detailed`.
    Detail(&'static str, fn(&RequestRecord) -> Value),
    /// The keys of `--metadata`.
    Metadata,
}

use Key::{Detail, Each, Fact, Metadata, Stat};

/// The keys in their order, before those of the selected metrics.
const KEYS: &[Key] = &[
    Fact("date", |report| date(&report.metadata).into()),
    Fact("endpoint_type", |report| backend(&report.metadata).into()),
    Fact("backend", |report| backend(&report.metadata).into()),
    Fact("label", |report| label(&report.metadata).into()),
    Fact("model_id", |report| report.metadata.model.clone().into()),
    Fact("tokenizer_id", |report| report.metadata.tokenizer.clone().into()),
    Fact("num_prompts", |report| report.metadata.config.get("num_prompts").cloned().into()),
    Metadata,
    Fact("request_rate", |report| serde_json::to_value(report.metadata.rate).unwrap_or_default()),
    Fact("burstiness", |_| 1.0.into()),
    Fact("max_concurrency", |report| report.metadata.max_concurrency.into()),
    Stat("duration", Measure::Duration),
    Stat("completed", Measure::Completed),
    Fact("failed", |report| failed(report).into()),
    Stat("total_input_tokens", Measure::InputTokens),
    Stat("total_output_tokens", Measure::OutputTokens),
    Stat("request_throughput", Measure::RequestThroughput),
    Stat("request_goodput", Measure::RequestGoodput),
    Stat("output_throughput", Measure::OutputThroughput),
    Stat("total_token_throughput", Measure::TotalThroughput),
    Detail("input_lens", |record| record.prompt_len.into()),
    Detail("output_lens", |record| of_completed(record, |record| record.output_count().into())),
    Detail("ttfts", |record| seconds(record.ttft())),
    Detail("itls", |record| record.itl().collect()),
    Each("latencies", |record| of_completed(record, |record| seconds(record.e2e()))),
    Detail("start_times", |record| seconds(record.sent)),
    Each("queue_times", |record| seconds(Some(record.released.saturating_sub(record.due)))),
    Detail("generated_texts", |record| {
        if record.completed() { record.text.as_str().into() } else { "".into() }
    }),
    Detail("errors", |record| error(record).into()),
    Stat("max_output_tokens_per_s", Measure::MaxOutputTokens),
    Stat("max_concurrent_requests", Measure::MaxConcurrentRequests),
    // Requests with audio have one; there are none yet.
    Fact("rtfx", |_| 0.0.into()),
];

/// The statistics of each selected metric, before its percentiles.
const STATISTICS: [(&str, Statistic); 3] =
    [("mean", Statistic::Mean), ("median", Statistic::MEDIAN), ("std", Statistic::Std)];

/// The measures of the keys.
pub(super) fn measures() -> impl Iterator<Item = Measure> {
    let keys = KEYS.iter().filter_map(|key| match *key {
        Stat(_, measure) => Some(measure),
        Fact(..) | Each(..) | Detail(..) | Metadata => None,
    });
    let of_series = METRICS.iter().flat_map(|&(_, series, ..)| {
        STATISTICS.iter().map(move |&(_, statistic)| Measure::Of(statistic, series))
    });
    keys.chain(of_series)
}

/// The object, on one line without a line end; `details` adds the arrays of `--save-detailed`.
pub(super) fn object(report: &Report<'_>, details: bool) -> String {
    let mut object = Map::new();
    let mut written = Vec::new();
    let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
    let each = |value: fn(&RequestRecord) -> Value| report.records.iter().map(value).collect();
    for key in KEYS {
        match *key {
            Fact(key, fact) => drop(put(key, fact(report))),
            Stat(key, measure) => {
                written.push(measure);
                put(key, number(report.figure(measure)));
            }
            Each(key, value) => drop(put(key, each(value))),
            Detail(key, value) => {
                if details {
                    put(key, each(value));
                }
            }
            Metadata => {
                let pairs = report.metadata.config.get("metadata").and_then(Value::as_object);
                for (key, value) in pairs.into_iter().flatten() {
                    put(key, value.clone());
                }
            }
        }
    }
    for &(name, series, ..) in selected(&report.metadata) {
        let percentiles = percentiles(report).into_iter();
        let percentiles = percentiles.map(|p| (of_percent(p), Statistic::Percentile(p)));
        let statistics = STATISTICS.iter().map(|&(what, statistic)| (what.to_owned(), statistic));
        for (what, statistic) in statistics.chain(percentiles) {
            let measure = Measure::Of(statistic, series);
            written.push(measure);
            put(&format!("{what}_{name}_ms"), number(report.figure(measure)));
        }
    }
    put("rbench", own(report, &written, details));
    json::line(&Value::Object(object))
}

/// The start of the run as `20250304-050607`.
pub(super) fn date(metadata: &RunMetadata) -> String {
    let (day, rest) = metadata.date.split_once('T').unwrap_or_default();
    let time: String = rest.chars().take(8).filter(|&c| c != ':').collect();
    format!("{}-{time}", day.replace('-', ""))
}

/// vLLM's name of the backend.
fn backend(metadata: &RunMetadata) -> &str {
    metadata.config.get("backend").and_then(Value::as_str).unwrap_or(metadata.backend)
}

/// `--label`, or the name of the backend.
pub(super) fn label(metadata: &RunMetadata) -> &str {
    let label = metadata.config.get("label").and_then(Value::as_str);
    label.unwrap_or_else(|| backend(metadata))
}

fn seconds(time: Option<std::time::Duration>) -> Value {
    time.map_or(0.0, |time| time.as_secs_f64()).into()
}

/// The value of a completed request; 0 of any other.
fn of_completed(record: &RequestRecord, value: fn(&RequestRecord) -> Value) -> Value {
    if record.completed() { value(record) } else { 0.into() }
}

/// What went wrong with a request; empty if nothing did.
fn error(record: &RequestRecord) -> &str {
    match &record.outcome {
        Outcome::Completed => "",
        Outcome::NotSent => "not sent",
        Outcome::Cancelled(_) => "cancelled: the run was ended",
        Outcome::Failed(failure) => &failure.message,
    }
}
