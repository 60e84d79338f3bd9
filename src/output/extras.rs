//! What rbench tells beyond any other client: a block before the table, and objects in the JSONL line.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::analysis::Analysis;
use crate::analysis::audit::Finding;
use crate::analysis::measure::{Measure, Series, Statistic};
use crate::analysis::metric::{Figure, PerEndpoint};
use crate::engine::system::Spent;
use crate::model::TokenSource;

/// Width of the rules and of the labels, as in the table after it.
const WIDTH: usize = 50;
const LABEL: usize = 40;

/// The statistics of lines with three figures.
const MEAN_P50_P99: [Statistic; 3] = [Statistic::Mean, Statistic::MEDIAN, Statistic::P99];
const P50_P99_MAX: [Statistic; 3] = [Statistic::MEDIAN, Statistic::P99, Statistic::Max];

/// The block, with a line end after each line.
pub fn block(report: &Analysis<'_>) -> String {
    let audit = &report.audit;
    let ledger = &audit.ledger;
    let mut text = String::new();
    let mut line = |label: &str, value: String| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{label:<LABEL$} {value:<10}");
    };
    if ledger.unfinished == 0 {
        line(
            "Scheduled = sent + never sent:",
            format!("{} = {} + {}", ledger.scheduled, ledger.sent, ledger.never_sent),
        );
    } else {
        line(
            "Scheduled = sent + never sent + unknown:",
            format!(
                "{} = {} + {} + {}",
                ledger.scheduled, ledger.sent, ledger.never_sent, ledger.unfinished
            ),
        );
    }
    line(
        "Sent = completed + failed + cancelled:",
        format!(
            "{} = {} + {} + {}",
            ledger.sent, ledger.completed, ledger.failed, ledger.cancelled
        ),
    );
    if report.figure(Measure::RetriedRequests).number().is_some_and(|retried| retried > 0.0) {
        let count = |measure| report.figure(measure).number().unwrap_or(0.0);
        line(
            "Sent again, requests / times:",
            format!("{} / {}", count(Measure::RetriedRequests), count(Measure::RetryAttempts)),
        );
    }
    if ledger.resent > 0 {
        let most =
            report.figure(Measure::Of(Statistic::Max, Series::ResendCost)).number().unwrap_or(0.0);
        line("Sent once more, requests / max ms:", format!("{} / {most:.2}", ledger.resent));
    }
    if report.token_sources.iter().any(|(source, _)| *source != TokenSource::Server) {
        let sources = report.token_sources.iter();
        let sources: Vec<String> =
            sources.map(|(source, n)| format!("{n} {}", source.name())).collect();
        line("Output tokens counted by:", sources.join(", "));
    }
    if let Some(Spent { most, cut, uncounted }) = report.memory {
        line("Memory for answers spent (MiB):", (most >> 20).to_string());
        line("  Answers cut / not counted:", format!("{cut} / {uncounted}"));
    }
    let rate =
        |rate: Option<f64>| rate.map_or("all at once".to_owned(), |rate| format!("{rate:.2}"));
    line(
        "Offered / achieved rate (req/s):",
        format!("{} / {}", rate(audit.offered_rate), rate(audit.achieved_rate)),
    );
    let mut three = |label: &str, statistics: [Statistic; 3], series| {
        let figures = statistics.map(|statistic| report.figure(Measure::Of(statistic, series)));
        if figures[0] != Figure::Absent {
            let shown = |figure: Figure| figure.number().map(|x| format!("{x:.2}"));
            let shown = figures.map(|figure| shown(figure).unwrap_or_else(|| "n/a".to_owned()));
            line(label, shown.join(" / "));
        }
    };
    three("TTFT from due, mean/p50/p99 (ms):", MEAN_P50_P99, Series::TtftFromDue);
    three("E2E from due, mean/p50/p99 (ms):", MEAN_P50_P99, Series::E2eFromDue);
    three("Held by the cap, p50/p99/max (ms):", P50_P99_MAX, Series::QueueTime);
    three("Send lateness, p50/p99/max (ms):", P50_P99_MAX, Series::SendLateness);
    three("Connection waits, p50/p99/max (ms):", P50_P99_MAX, Series::ConnectTime);
    if report.metadata.generates {
        three("ITL per token, mean/p50/p99 (ms):", MEAN_P50_P99, Series::TokenItl);
        three("Worst gap, p50/p99/max (ms):", P50_P99_MAX, Series::WorstGap);
    }
    for one in &report.endpoints {
        let ms = |ms: Option<f64>| ms.map_or("n/a".to_owned(), |ms| format!("{ms:.2}"));
        let PerEndpoint { name, sent, completed, failed, ttft_ms, e2e_ms, .. } = one;
        line("Server:", name.clone());
        line("  Sent / completed / failed:", format!("{sent} / {completed} / {failed}"));
        if report.metadata.generates {
            line("  TTFT, p50/p99 (ms):", ttft_ms.map(ms).join(" / "));
        }
        line("  E2E latency, p50/p99 (ms):", e2e_ms.map(ms).join(" / "));
    }
    line("Arrival times from:", format!("the {} clock", report.health.clock.name()));
    let http2 = report.health.sum(|worker| worker.http2_connections);
    if http2 > 0 {
        line("Connections over HTTP/2:", http2.to_string());
    }
    let lag = report.health.lag();
    if !lag.is_empty() {
        let ms = |ns: u64| ns as f64 / 1e6;
        let [p50, p99, max] = [lag.quantile_ns(0.5), lag.quantile_ns(0.99), lag.max_ns()].map(ms);
        line("Read later by, p50/p99/max (ms):", format!("{p50:.2} / {p99:.2} / {max:.2}"));
    }
    if let Some(events_per_s) = report.headroom.events_per_s {
        let ceiling = report.headroom.ceiling.as_ref().zip(report.headroom.factor());
        let ceiling = ceiling.map_or("not known".to_owned(), |(ceiling, factor)| {
            format!("{:.0}, headroom {factor:.1}", ceiling.events_per_s)
        });
        line("Busiest second / ceiling (events/s):", format!("{events_per_s:.0} / {ceiling}"));
    }
    let failed: Vec<&str> =
        audit.checks.iter().filter(|check| !check.passed).map(|check| check.name).collect();
    line(
        "Checks:",
        if failed.is_empty() {
            format!("{} passed", audit.checks.len())
        } else {
            format!("FAILED: {}", failed.join(", "))
        },
    );
    for check in audit.checks.iter().filter(|check| !check.passed) {
        line(&format!("  {}:", check.name), check.detail.clone());
    }
    if audit.limits.is_empty() {
        line("Verdict:", "client ok".to_owned());
    }
    let limits = audit.limits.iter().map(|limit| ("Verdict: client was the limit:", limit));
    for (label, found) in limits.chain(audit.notes.iter().map(|note| ("Note:", note))) {
        line(label, found.evidence.clone());
        line("", found.advice.to_owned());
    }
    let title = " Measurement ";
    format!("{title:=^WIDTH$}\n{text}{:=<WIDTH$}\n", "")
}

/// The objects of the JSONL line, by their keys.
pub fn keys(report: &Analysis<'_>) -> Map<String, Value> {
    let audit = &report.audit;
    let ledger = &audit.ledger;
    let checks = audit
        .checks
        .iter()
        .map(|check| json!({"name": check.name, "passed": check.passed, "detail": check.detail}));
    let found = |findings: &[Finding]| -> Vec<Value> {
        let one = |found: &Finding| json!({"evidence": found.evidence, "advice": found.advice});
        findings.iter().map(one).collect()
    };
    let mut keys = Map::new();
    if let Some(why) = &report.partial {
        keys.insert("partial_reason".into(), why.clone().into());
    }
    if !report.failed_calls.is_empty() {
        keys.insert("failed_calls".into(), report.failed_calls.clone().into());
    }
    let mut counts = json!({
        "scheduled": ledger.scheduled,
        "sent": ledger.sent,
        "never_sent": ledger.never_sent,
        "completed": ledger.completed,
        "failed": ledger.failed,
        "cancelled": ledger.cancelled,
    });
    if ledger.unfinished > 0 {
        counts["unfinished"] = ledger.unfinished.into();
    }
    if ledger.resent > 0 {
        counts["resent"] = ledger.resent.into();
    }
    keys.insert("ledger".into(), counts);
    if let Some(Spent { most, cut, uncounted }) = report.memory {
        let memory = json!({"budget_bytes": most, "cut": cut, "not_counted": uncounted});
        keys.insert("memory".into(), memory);
    }
    if !report.endpoints.is_empty() {
        let one = |one: &PerEndpoint| {
            json!({
                "url": one.name,
                "sent": one.sent,
                "completed": one.completed,
                "failed": one.failed,
                "output_tokens": one.output_tokens,
                "median_ttft_ms": one.ttft_ms[0],
                "p99_ttft_ms": one.ttft_ms[1],
                "median_e2e_latency_ms": one.e2e_ms[0],
                "p99_e2e_latency_ms": one.e2e_ms[1],
            })
        };
        keys.insert("endpoints".into(), report.endpoints.iter().map(one).collect());
    }
    keys.insert("offered_rate".into(), audit.offered_rate.into());
    keys.insert("achieved_rate".into(), audit.achieved_rate.into());
    keys.insert("checks".into(), checks.collect());
    keys.insert(
        "verdict".into(),
        json!({"client_ok": audit.limits.is_empty(), "limits": found(&audit.limits)}),
    );
    if !audit.notes.is_empty() {
        keys.insert("notes".into(), found(&audit.notes).into());
    }
    keys
}
