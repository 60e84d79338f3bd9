//! The object of `--save-result`: vLLM's keys in their order, then the object `rbench` with what is ours.

use serde_json::{Map, Value};

use super::totals::{failed, input_tokens, per_second, percentiles, sequences};
use super::{METRICS, counters, selected};
use crate::analysis::counts::Ended;
use crate::analysis::measure::{Measure, Statistic};
use crate::analysis::{Analysis, RunMetadata};
use crate::model::{Outcome, RequestRecord};
use crate::output::json;
use crate::output::names::of_percent;
use crate::output::object::{number, own};
use crate::workload::arrival::Ramp;

/// Where the value of a key comes from.
#[derive(Debug, Clone, Copy)]
enum Key {
    /// What the run was.
    Fact(&'static str, fn(&Analysis<'_>) -> Value),
    /// A figure.
    Stat(&'static str, Measure),
    /// A value of each request, failed ones included.
    Each(&'static str, fn(&Ended<'_>) -> Value),
    /// The same, left out without `--save-detailed`.
    Detail(&'static str, fn(&Ended<'_>) -> Value),
    /// The keys of `--metadata`.
    Metadata,
    /// What the run was, left out where it was not so.
    Perhaps(&'static str, fn(&Analysis<'_>) -> Option<Value>),
}

use Key::{Detail, Each, Fact, Metadata, Perhaps, Stat};

/// The keys of every run, in their order.
const RUN: &[Key] = &[
    Fact("date", |report| date(&report.metadata).into()),
    Fact("endpoint_type", |report| backend(&report.metadata).into()),
    Fact("backend", |report| backend(&report.metadata).into()),
    Fact("label", |report| label(&report.metadata).into()),
    Fact("model_id", |report| report.metadata.model.clone().into()),
    Fact("tokenizer_id", |report| report.metadata.tokenizer.clone().into()),
    Fact("num_prompts", |report| report.metadata.config.get("num_prompts").cloned().into()),
    Metadata,
    Fact("request_rate", |report| serde_json::to_value(report.metadata.rate).unwrap_or_default()),
    Fact("burstiness", |report| {
        report.metadata.config.get("burstiness").cloned().unwrap_or_else(|| 1.0.into())
    }),
    Fact("max_concurrency", |report| report.metadata.max_concurrency.into()),
    Perhaps("ramp_up_strategy", |report| of_ramp(report, "ramp_up_strategy")),
    Perhaps("ramp_up_start_rps", |report| of_ramp(report, "ramp_up_start_rps")),
    Perhaps("ramp_up_end_rps", |report| of_ramp(report, "ramp_up_end_rps")),
    Stat("duration", Measure::Duration),
    Stat("completed", Measure::Completed),
    Fact("failed", |report| failed(report).into()),
];

/// The keys of runs that generate tokens, before those of the selected metrics.
const GENERATION: &[Key] = &[
    Stat("total_input_tokens", Measure::InputTokens),
    Stat("total_output_tokens", Measure::OutputTokens),
    Stat("request_throughput", Measure::RequestThroughput),
    Stat("request_goodput", Measure::RequestGoodput),
    Stat("output_throughput", Measure::OutputThroughput),
    Stat("total_token_throughput", Measure::TotalThroughput),
    Detail("input_lens", |request| request.counts.prompt.into()),
    Detail("output_lens", |request| of_completed(request, |_| request.output().into())),
    Detail("ttfts", |request| seconds(request.record.ttft())),
    Detail("itls", |request| request.record.itl().collect()),
    Each("latencies", |request| of_completed(request, |record| seconds(record.e2e()))),
    Detail("start_times", |request| seconds(request.record.sent)),
    Each("queue_times", queue_time),
    Detail("generated_texts", |request| {
        request.completed().map_or("", |record| record.text.as_str()).into()
    }),
    Detail("errors", |request| error(request.record).into()),
    Stat("max_output_tokens_per_s", Measure::MaxOutputTokens),
    Stat("max_concurrent_requests", Measure::MaxConcurrentRequests),
    // How much longer sounds are than the run: rbench does not know how long they are.
    Fact("rtfx", |report| {
        if report.metadata.dataset_name == "custom_audio" { Value::Null } else { 0.0.into() }
    }),
];

/// The keys of runs that generate nothing.
const POOLING: &[Key] = &[
    Fact("total_input_tokens", |report| input_tokens(report).into()),
    Fact("total_input_sequences", |report| sequences(report).into()),
    Stat("request_throughput", Measure::RequestThroughput),
    Fact("input_sequence_throughput", |report| per_second(report, sequences(report) as f64)),
    Fact("total_token_throughput", |report| per_second(report, input_tokens(report) as f64)),
    Detail("input_lens", |request| {
        request.record.server_prompt_tokens.unwrap_or(request.counts.prompt as u64).into()
    }),
    Each("latencies", |request| of_completed(request, |record| seconds(record.e2e()))),
    Each("queue_times", queue_time),
    Detail("errors", |request| error(request.record).into()),
];

/// A value of the ramp, if there is one.
fn of_ramp(report: &Analysis<'_>, key: &str) -> Option<Value> {
    report.metadata.config.get(key).filter(|value| !value.is_null()).cloned()
}

fn queue_time(request: &Ended<'_>) -> Value {
    seconds(Some(request.record.released.saturating_sub(request.record.due)))
}

/// When the rate of a ramp reached each whole number of requests per second.
fn rate_changes(report: &Analysis<'_>) -> Option<Value> {
    let config = &report.metadata.config;
    let number = |key| config.get(key).and_then(Value::as_f64);
    let strategy = config.get("ramp_up_strategy")?.as_str()?.parse().ok()?;
    let ramp =
        Ramp { strategy, from: number("ramp_up_start_rps")?, to: number("ramp_up_end_rps")? };
    let start: jiff::Zoned = report
        .metadata
        .date
        .parse::<jiff::Timestamp>()
        .ok()?
        .to_zoned(jiff::tz::TimeZone::system());
    let n = report.records.len();
    let mut reached = ramp.from.floor() - 1.0;
    let mut events = Vec::new();
    for (i, record) in report.records.iter().enumerate() {
        let rate = ramp.rate(i, n).floor();
        while reached < rate {
            reached += 1.0;
            let at = start.checked_add(record.due).ok()?;
            let timestamp = at.strftime("%Y-%m-%dT%H:%M:%S%.6f").to_string();
            events.push(serde_json::json!({"rps": reached, "timestamp": timestamp}));
        }
    }
    Some(events.into())
}

/// The statistics of each selected metric, before its percentiles.
const STATISTICS: [(&str, Statistic); 3] =
    [("mean", Statistic::Mean), ("median", Statistic::MEDIAN), ("std", Statistic::Std)];

/// The measures of the keys.
pub(super) fn measures() -> impl Iterator<Item = Measure> {
    let keys = RUN.iter().chain(GENERATION).chain(POOLING).filter_map(|key| match *key {
        Stat(_, measure) => Some(measure),
        Fact(..) | Each(..) | Detail(..) | Perhaps(..) | Metadata => None,
    });
    let of_series = METRICS.iter().flat_map(|&(_, series, ..)| {
        STATISTICS.iter().map(move |&(_, statistic)| Measure::Of(statistic, series))
    });
    keys.chain(of_series)
}

/// The object, on one line without a line end; `details` adds the arrays of `--save-detailed`.
pub(super) fn object(report: &Analysis<'_>, details: bool) -> String {
    let (mut object, written) = keys(report, details);
    object.insert("rbench".to_owned(), own(report, &written, details));
    json::line(&Value::Object(object))
}

/// The keys of vLLM, and the measures that they show.
pub(super) fn keys(report: &Analysis<'_>, details: bool) -> (Map<String, Value>, Vec<Measure>) {
    let mut object = Map::new();
    let mut written = Vec::new();
    let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
    let each = |value: fn(&Ended<'_>) -> Value| report.requests().map(|r| value(&r)).collect();
    let kind = if report.metadata.generates { GENERATION } else { POOLING };
    for key in RUN.iter().chain(kind) {
        match *key {
            Fact(key, fact) => drop(put(key, fact(report))),
            Perhaps(key, fact) => {
                if let Some(value) = fact(report) {
                    put(key, value);
                }
            }
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
    if let Some(events) = rate_changes(report) {
        put("rps_change_events", events);
    }
    for (key, value) in counters::keys(report) {
        put(&key, value);
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
    (object, written)
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
fn of_completed(request: &Ended<'_>, value: impl Fn(&RequestRecord) -> Value) -> Value {
    request.completed().map_or(0.into(), value)
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
