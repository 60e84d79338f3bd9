//! The JSONL line: the keys of a release in its order, then the object `rbench` with what is ours.

use serde_json::{Map, Value};

use super::super::release::{ALL, Releases, Version, since};
use super::{V0_4_1, V0_5_6, V0_5_8, V0_5_15, V0_5_23, sections};
use crate::analysis::Analysis;
use crate::analysis::counts::Ended;
use crate::analysis::measure::Measure::{self, Of};
use crate::analysis::measure::Series::{E2e, Itl, Tpot, Ttft};
use crate::analysis::measure::Statistic as S;
use crate::model::{Outcome, RequestRecord};
use crate::output::json;
use crate::output::object::{number, own};

/// Where the value of a key comes from.
#[derive(Debug, Clone, Copy)]
enum Key {
    /// A fact of the run.
    Fact(&'static str, fn(&Analysis<'_>) -> Value),
    /// A flag as it took effect.
    Flag(&'static str),
    /// A figure.
    Stat(&'static str, Measure),
}

use Key::{Fact, Flag, Stat};

const BACKEND: Key = Fact("backend", |report| report.metadata.backend.into());
const DATASET: Key = Fact("dataset_name", |report| report.metadata.dataset_name.clone().into());
const RATE: Key = Fact("request_rate", |report| {
    serde_json::to_value(report.metadata.rate).unwrap_or(Value::Null)
});
const LIMIT: Key = Fact("max_concurrency", |report| report.metadata.max_concurrency.into());

/// The keys up to 0.4.1, in their order.
const EARLY: &[(Releases, Key)] = &[
    (ALL, BACKEND),
    (ALL, DATASET),
    (ALL, RATE),
    (since(V0_4_1), LIMIT),
    (ALL, Stat("total_input_tokens", Measure::InputTokens)),
    (ALL, Stat("total_output_tokens", Measure::OutputTokens)),
    (ALL, Stat("total_output_tokens_retokenized", Measure::RetokenizedTokens)),
    (ALL, Stat("mean_e2e_latency_ms", Of(S::Mean, E2e))),
    (ALL, Stat("median_e2e_latency_ms", Of(S::MEDIAN, E2e))),
    (ALL, Stat("median_ttft_ms", Of(S::MEDIAN, Ttft))),
    (ALL, Stat("median_itl_ms", Of(S::MEDIAN, Itl))),
    (ALL, Stat("output_throughput", Measure::OutputThroughput)),
    (ALL, Flag("sharegpt_output_len")),
    (ALL, Flag("random_input_len")),
    (ALL, Flag("random_output_len")),
    (ALL, Flag("random_range_ratio")),
    (ALL, Stat("duration", Measure::Duration)),
    (ALL, Stat("completed", Measure::Completed)),
];

/// The keys since 0.4.6, in their order.
const KEYS: &[(Releases, Key)] = &[
    (since(V0_5_6), Fact("tag", |report| report.metadata.tag.clone().into())),
    (ALL, BACKEND),
    (ALL, DATASET),
    (ALL, RATE),
    (ALL, LIMIT),
    (ALL, Flag("sharegpt_output_len")),
    (ALL, Flag("random_input_len")),
    (ALL, Flag("random_output_len")),
    (ALL, Flag("random_range_ratio")),
    (since(V0_5_6), Fact("server_info", |report| report.server_info.clone().into())),
    (ALL, Stat("duration", Measure::Duration)),
    (ALL, Stat("completed", Measure::Completed)),
    (ALL, Stat("total_input_tokens", Measure::InputTokens)),
    (since(V0_5_6), Stat("total_input_text_tokens", Measure::InputTextTokens)),
    (since(V0_5_6), Stat("total_input_vision_tokens", Measure::InputVisionTokens)),
    (ALL, Stat("total_output_tokens", Measure::OutputTokens)),
    (ALL, Stat("total_output_tokens_retokenized", Measure::RetokenizedTokens)),
    (ALL, Stat("request_throughput", Measure::RequestThroughput)),
    (ALL, Stat("input_throughput", Measure::InputThroughput)),
    (ALL, Stat("output_throughput", Measure::OutputThroughput)),
    (since(V0_5_6), Stat("total_throughput", Measure::TotalThroughput)),
    (ALL, Stat("mean_e2e_latency_ms", Of(S::Mean, E2e))),
    (ALL, Stat("median_e2e_latency_ms", Of(S::MEDIAN, E2e))),
    (ALL, Stat("std_e2e_latency_ms", Of(S::Std, E2e))),
    (since(V0_5_8), Stat("p90_e2e_latency_ms", Of(S::P90, E2e))),
    (since(V0_5_15), Stat("p95_e2e_latency_ms", Of(S::P95, E2e))),
    (ALL, Stat("p99_e2e_latency_ms", Of(S::P99, E2e))),
    (ALL, Stat("mean_ttft_ms", Of(S::Mean, Ttft))),
    (ALL, Stat("median_ttft_ms", Of(S::MEDIAN, Ttft))),
    (ALL, Stat("std_ttft_ms", Of(S::Std, Ttft))),
    (since(V0_5_15), Stat("p90_ttft_ms", Of(S::P90, Ttft))),
    (since(V0_5_15), Stat("p95_ttft_ms", Of(S::P95, Ttft))),
    (ALL, Stat("p99_ttft_ms", Of(S::P99, Ttft))),
    (ALL, Stat("mean_tpot_ms", Of(S::Mean, Tpot))),
    (ALL, Stat("median_tpot_ms", Of(S::MEDIAN, Tpot))),
    (ALL, Stat("std_tpot_ms", Of(S::Std, Tpot))),
    (since(V0_5_15), Stat("p90_tpot_ms", Of(S::P90, Tpot))),
    (since(V0_5_15), Stat("p95_tpot_ms", Of(S::P95, Tpot))),
    (ALL, Stat("p99_tpot_ms", Of(S::P99, Tpot))),
    (ALL, Stat("mean_itl_ms", Of(S::Mean, Itl))),
    (ALL, Stat("median_itl_ms", Of(S::MEDIAN, Itl))),
    (ALL, Stat("std_itl_ms", Of(S::Std, Itl))),
    (since(V0_5_15), Stat("p90_itl_ms", Of(S::P90, Itl))),
    (ALL, Stat("p95_itl_ms", Of(S::P95, Itl))),
    (ALL, Stat("p99_itl_ms", Of(S::P99, Itl))),
    (ALL, Stat("concurrency", Measure::Concurrency)),
    (ALL, Stat("accept_length", Measure::AcceptLength)),
    (since(V0_5_6), Stat("max_output_tokens_per_s", Measure::MaxOutputTokens)),
    (since(V0_5_6), Stat("max_concurrent_requests", Measure::MaxConcurrentRequests)),
];

/// The keys of `version`.
fn keys(version: Version) -> impl Iterator<Item = Key> {
    let keys = if version <= V0_4_1 { EARLY } else { KEYS };
    keys.iter().filter(move |(releases, _)| releases.contain(version)).map(|(_, key)| *key)
}

/// The measures of the keys of `version`.
pub(super) fn measures(version: Version) -> impl Iterator<Item = Measure> {
    keys(version).filter_map(|key| match key {
        Stat(_, measure) => Some(measure),
        Fact(..) | Flag(_) => None,
    })
}

/// The line of `version`, with its line end.
pub(super) fn render(report: &Analysis<'_>, version: Version, details: bool) -> String {
    let config = &report.metadata.config;
    let mut line = Map::new();
    let mut put = |key: &str, value: Value| line.insert(key.to_owned(), value);
    let mut written = Vec::new();
    for key in keys(version) {
        match key {
            Fact(key, fact) => put(key, fact(report)),
            Flag(key) => put(key, config.get(key).cloned().unwrap_or(Value::Null)),
            Stat(key, measure) => {
                written.push(measure);
                put(key, number(report.figure(measure)))
            }
        };
    }
    if version >= V0_5_23 {
        for (key, value) in sections::goodput_keys(report) {
            put(key, value);
        }
        written.extend(sections::goodput_figures(report));
    }
    let cache = sections::cache_report(report).filter(|_| version >= V0_5_15);
    let cached = cache.is_some();
    if let Some(object) = cache {
        put("cache_report", object);
        written.extend(sections::CACHE_FIGURES);
    }
    if details {
        for (key, values) in arrays(report) {
            put(key, values);
        }
        if cached {
            for (key, values) in sections::cache_arrays(report.records) {
                put(key, values);
            }
        }
    }
    if report.partial.is_some() {
        put("partial", true.into());
    }
    put("rbench", own(report, &written, details));
    json::line(&Value::Object(line)) + "\n"
}

/// Arrays of the reference with one entry per request, failed ones included.
fn arrays(report: &Analysis<'_>) -> [(&'static str, Value); 6] {
    let each =
        |value: fn(&RequestRecord) -> Value| report.records.iter().map(value).collect::<Value>();
    let input = |request: Ended<'_>| {
        request.record.server_prompt_tokens.unwrap_or(request.counts.prompt as u64)
    };
    let output = |request: Ended<'_>| request.completed().map_or(0, |_| request.output());
    [
        ("input_lens", report.requests().map(input).collect()),
        ("output_lens", report.requests().map(output).collect()),
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
        Outcome::Cancelled(_) => "cancelled: the run was ended".to_owned(),
        Outcome::Failed(failure) => match &failure.excerpt {
            Some(excerpt) => format!("{}: {excerpt}", failure.message),
            None => failure.message.clone(),
        },
    }
}
