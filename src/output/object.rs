//! The object `rbench` in the results of every dialect: what rbench has beyond the keys of other tools.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::extras;
use super::names::{Name, name, of_series};
use crate::analysis::ceiling::Headroom;
use crate::analysis::measure::{Measure, Series};
use crate::analysis::metric::Figure;
use crate::analysis::{Analysis, MACHINE};
use crate::health::{Health, LagSecond, Machine, Times, WorkerHealth};
use crate::model::RequestRecord;

/// The object `rbench` of a result, without the measures that are `written` already;
/// `details` adds arrays with one entry per request.
pub fn own(report: &Analysis<'_>, written: &[Measure], details: bool) -> Value {
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
    let drawn = &metadata.planned.lengths;
    if !drawn.is_empty() {
        put("drawn_lengths", json!(drawn));
    }
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
    for stat in &report.measures.stats {
        match name(stat.measure) {
            Some(Name::Reference(key)) => {
                reference.insert(key.to_owned(), number(stat.value));
            }
            Some(Name::Own(key)) if !written.contains(&stat.measure) => {
                put(&key, number(stat.value));
            }
            Some(Name::Own(_)) | None => {}
        }
    }
    put("reference", reference.into());
    let mut histograms = Map::new();
    for series in [Series::Ttft, Series::Tpot, Series::Itl, Series::E2e] {
        if let Some(samples) = report.distribution(series).filter(|samples| !samples.is_empty()) {
            histograms.insert(of_series(series).to_owned(), samples.hdr().into());
        }
    }
    if !histograms.is_empty() {
        histograms.insert("unit".to_owned(), "ns".into());
        put("histograms", histograms.into());
    }
    let mut config = metadata.config.clone();
    if let Some(mut machine) = config.shift_remove(MACHINE) {
        if let Some(gpu) = report.server_info.as_ref().and_then(gpu) {
            machine["server_gpu"] = gpu.into();
        }
        // The program is not a part of it.
        for key in ["commit", "target"] {
            let value = machine.as_object_mut().and_then(|machine| machine.shift_remove(key));
            put(key, value.unwrap_or_default());
        }
        put("machine", machine);
    }
    put("config", config.into());
    if details {
        let seconds = |at: fn(&RequestRecord) -> Option<Duration>| {
            let each = report.records.iter().map(|r| at(r).map(|t| t.as_secs_f64()));
            each.collect::<Vec<_>>().into()
        };
        let sources = report.requests().map(|r| r.counts.output.map(|t| t.source.name()));
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

/// The accelerator that a server reports of itself, under one of the names that servers have for it.
fn gpu(info: &Value) -> Option<&str> {
    ["gpu_name", "device_name", "gpu"].iter().find_map(|key| info.get(key)?.as_str())
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

/// `figure` as JSON; `null` if there was nothing to compute it from.
pub fn number(figure: Figure) -> Value {
    match figure {
        Figure::Count(n) => n.into(),
        Figure::Real(x) => x.into(),
        Figure::Absent => Value::Null,
    }
}
