//! The JSONL line: the keys of a release in its order, then the object `rbench` with what is ours.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::super::release::{ALL, Releases, Version, since};
use super::{V0_4_1, V0_5_6, V0_5_8, V0_5_15, V0_5_23, sections};
use crate::analysis::ceiling::Headroom;
use crate::analysis::metric::Figure;
use crate::analysis::report::Report;
use crate::health::{Health, LagSecond, Machine, Times, WorkerHealth};
use crate::model::{Outcome, RequestRecord};
use crate::output::{extras, json};

/// Where the value of a key comes from.
#[derive(Debug, Clone, Copy)]
enum Key {
    /// A fact of the run.
    Fact(&'static str, fn(&Report<'_>) -> Value),
    /// A flag as it took effect.
    Flag(&'static str),
    /// A figure; they have the names of the keys.
    Stat(&'static str),
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
    (ALL, Stat("total_input_tokens")),
    (ALL, Stat("total_output_tokens")),
    (ALL, Stat("total_output_tokens_retokenized")),
    (ALL, Stat("mean_e2e_latency_ms")),
    (ALL, Stat("median_e2e_latency_ms")),
    (ALL, Stat("median_ttft_ms")),
    (ALL, Stat("median_itl_ms")),
    (ALL, Stat("output_throughput")),
    (ALL, Flag("sharegpt_output_len")),
    (ALL, Flag("random_input_len")),
    (ALL, Flag("random_output_len")),
    (ALL, Flag("random_range_ratio")),
    (ALL, Stat("duration")),
    (ALL, Stat("completed")),
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
    (ALL, Stat("duration")),
    (ALL, Stat("completed")),
    (ALL, Stat("total_input_tokens")),
    (since(V0_5_6), Stat("total_input_text_tokens")),
    (since(V0_5_6), Stat("total_input_vision_tokens")),
    (ALL, Stat("total_output_tokens")),
    (ALL, Stat("total_output_tokens_retokenized")),
    (ALL, Stat("request_throughput")),
    (ALL, Stat("input_throughput")),
    (ALL, Stat("output_throughput")),
    (since(V0_5_6), Stat("total_throughput")),
    (ALL, Stat("mean_e2e_latency_ms")),
    (ALL, Stat("median_e2e_latency_ms")),
    (ALL, Stat("std_e2e_latency_ms")),
    (since(V0_5_8), Stat("p90_e2e_latency_ms")),
    (since(V0_5_15), Stat("p95_e2e_latency_ms")),
    (ALL, Stat("p99_e2e_latency_ms")),
    (ALL, Stat("mean_ttft_ms")),
    (ALL, Stat("median_ttft_ms")),
    (ALL, Stat("std_ttft_ms")),
    (since(V0_5_15), Stat("p90_ttft_ms")),
    (since(V0_5_15), Stat("p95_ttft_ms")),
    (ALL, Stat("p99_ttft_ms")),
    (ALL, Stat("mean_tpot_ms")),
    (ALL, Stat("median_tpot_ms")),
    (ALL, Stat("std_tpot_ms")),
    (since(V0_5_15), Stat("p90_tpot_ms")),
    (since(V0_5_15), Stat("p95_tpot_ms")),
    (ALL, Stat("p99_tpot_ms")),
    (ALL, Stat("mean_itl_ms")),
    (ALL, Stat("median_itl_ms")),
    (ALL, Stat("std_itl_ms")),
    (since(V0_5_15), Stat("p90_itl_ms")),
    (ALL, Stat("p95_itl_ms")),
    (ALL, Stat("p99_itl_ms")),
    (ALL, Stat("concurrency")),
    (ALL, Stat("accept_length")),
    (since(V0_5_6), Stat("max_output_tokens_per_s")),
    (since(V0_5_6), Stat("max_concurrent_requests")),
];

/// Prefix of figures that only say what SGLang's client would have reported.
const REFERENCE: &str = "reference_";

/// The line of `version`, with its line end.
pub(super) fn render(report: &Report<'_>, version: Version, details: bool) -> String {
    let config = &report.metadata.config;
    let mut line = Map::new();
    let mut put = |key: &str, value: Value| line.insert(key.to_owned(), value);
    let mut written = Vec::new();
    let keys = if version <= V0_4_1 { EARLY } else { KEYS };
    for (_, key) in keys.iter().filter(|(releases, _)| releases.contain(version)) {
        match *key {
            Fact(key, fact) => put(key, fact(report)),
            Flag(key) => put(key, config.get(key).cloned().unwrap_or(Value::Null)),
            Stat(key) => {
                written.push(key);
                put(key, number(report.figure(key)))
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
        for (key, values) in arrays(report.records) {
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
        Outcome::Cancelled(_) => "cancelled: the run was ended".to_owned(),
        Outcome::Failed(failure) => match &failure.excerpt {
            Some(excerpt) => format!("{}: {excerpt}", failure.message),
            None => failure.message.clone(),
        },
    }
}

/// The object `rbench`.
pub(super) fn own(report: &Report<'_>, written: &[&str], details: bool) -> Value {
    let metadata = &report.metadata;
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
    put("date", metadata.date.clone().into());
    put("model", metadata.model.clone().into());
    put("tokenizer", metadata.tokenizer.clone().into());
    put("seed", metadata.seed.into());
    put("failures", failures.into());
    put("output_token_source", sources.into());
    for (key, value) in extras::keys(report) {
        put(&key, value);
    }
    if !report.health.workers.is_empty() {
        put("client", client(&report.health, &report.headroom, details));
    }
    if let Some(source) = metadata.vision_source {
        put("vision_token_source", source.name().into());
    }
    let mut reference = Map::new();
    for stat in &report.stats {
        if let Some(key) = stat.key.strip_prefix(REFERENCE) {
            reference.insert(key.to_owned(), number(stat.value));
        } else if !written.contains(&stat.key.as_str()) {
            put(&stat.key, number(stat.value));
        }
    }
    put("reference", reference.into());
    put("config", metadata.config.clone().into());
    if details {
        let seconds = |at: fn(&RequestRecord) -> Option<Duration>| {
            let each = report.records.iter().map(|r| at(r).map(|t| t.as_secs_f64()));
            each.collect::<Vec<_>>().into()
        };
        let sources = report.records.iter().map(|r| r.output_tokens.map(|t| t.source.name()));
        if report.audit.ledger.unfinished > 0 {
            // The place in the arrays is not that in the plan.
            put("index", report.records.iter().map(|r| Value::from(r.index)).collect());
            put("round", report.records.iter().map(|r| Value::from(r.round)).collect());
        }
        put("due_s", seconds(|r| Some(r.due)));
        put("sent_s", seconds(|r| r.sent));
        put("released_s", seconds(|r| Some(r.released)));
        put("connect_s", seconds(|r| r.connect));
        if report.audit.ledger.resent > 0 {
            put("resent_s", seconds(|r| r.resent));
        }
        put("headers_s", seconds(|r| r.headers));
        put("done_s", seconds(|r| r.done));
        put("output_token_sources", sources.collect::<Vec<_>>().into());
        if report.records.iter().any(|r| r.completions() > 1) {
            let texts = |r: &RequestRecord| r.texts().filter(|_| r.completed()).collect::<Value>();
            put("completion_texts", report.records.iter().map(texts).collect());
        }
    }
    own.into()
}

/// How the client kept up.
fn client(health: &Health, headroom: &Headroom, details: bool) -> Value {
    let ms = |ns: u64| ns as f64 / 1e6;
    let lag = health.lag();
    let times = |times: &Times| {
        (!times.is_empty()).then(|| {
            json!({
                "p50": ms(times.quantile_ns(0.5)),
                "p99": ms(times.quantile_ns(0.99)),
                "max": ms(times.max_ns()),
            })
        })
    };
    let longest = |figure: fn(&WorkerHealth) -> Duration| {
        health.workers.iter().map(figure).max().unwrap_or_default().as_secs_f64()
    };
    let share = |part: fn(&WorkerHealth) -> Option<Duration>| -> Option<f64> {
        let worker =
            |worker: &WorkerHealth| Some(part(worker)?.as_secs_f64() / worker.wall.as_secs_f64());
        health.workers.iter().map(worker).try_fold(0.0, |most: f64, share| Some(most.max(share?)))
    };
    let mut client = json!({
        "clock": health.clock.name(),
        "threads": health.workers.len(),
        "reads": health.sum(|worker| worker.reads),
        "events": health.sum(|worker| worker.events),
        "merged_events": health.sum(|worker| worker.merged),
        "unstamped_reads": health.sum(|worker| worker.unstamped),
        "bytes": health.sum(|worker| worker.bytes),
        "events_per_s": headroom.events_per_s,
        "ceiling_events_per_s": headroom.ceiling.as_ref().map(|ceiling| ceiling.events_per_s),
        "headroom": headroom.factor(),
        "connections_ahead": health.sum(|worker| worker.connections_ahead),
        "connections": health.sum(|worker| worker.connections),
        "connect_ms": times(&health.times(|worker| &worker.connecting)),
        "tls_ms": times(&health.times(|worker| &worker.tls)),
        "read_batch_ms": longest(|worker| worker.window) * 1e3,
        "naps": health.sum(|worker| worker.pauses),
        "cpu_share": share(|worker| Some(worker.cpu)),
        "run_delay_share": share(|worker| worker.run_delay),
        "clock_error_us": health.workers.iter().map(|worker| worker.clock_error_ns).max().unwrap_or(0) as f64 / 1e3,
        "clock_moved_us": health.workers.iter().map(|worker| worker.clock_moved_ns).max().unwrap_or(0) as f64 / 1e3,
        "lag_ms": (!lag.is_empty()).then(|| json!({
            "p50": ms(lag.quantile_ns(0.5)),
            "p99": ms(lag.quantile_ns(0.99)),
            "max": ms(lag.max_ns()),
        })),
    });
    if let Some(waits) = times(&health.times(|worker| &worker.left_waiting)) {
        client["left_waiting_ms"] = waits;
    }
    let Machine { stops, stopped, longest_stop, slept, steal, throttled } = health.machine;
    client["stops"] = stops.into();
    client["stopped_s"] = stopped.as_secs_f64().into();
    client["longest_stop_s"] = longest_stop.as_secs_f64().into();
    client["slept_s"] = slept.as_secs_f64().into();
    client["steal_share"] = steal.into();
    client["throttled_share"] = throttled.into();
    client["unseen_ends_s"] =
        health.workers.iter().map(|worker| worker.unseen.as_secs_f64()).sum::<f64>().into();
    client["held_reads"] = health.sum(|worker| worker.held).into();
    client["held_longest_ms"] = (longest(|worker| worker.held_longest) * 1e3).into();
    let http2 = health.sum(|worker| worker.http2_connections);
    if http2 > 0 {
        client["http2_connections"] = http2.into();
    }
    if details {
        let second = |second: &LagSecond| {
            json!([
                second.second,
                second.reads,
                ms(second.p50_ns),
                ms(second.p99_ns),
                ms(second.max_ns)
            ])
        };
        client["lag_seconds"] = lag.seconds.iter().map(second).collect();
    }
    client
}

pub(super) fn number(figure: Figure) -> Value {
    match figure {
        Figure::Count(n) => n.into(),
        Figure::Real(x) => x.into(),
        Figure::Absent => Value::Null,
    }
}
