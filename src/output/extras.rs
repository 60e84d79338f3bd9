//! What rbench reports beyond any other client, as objects of the JSONL line.

use serde_json::{Map, Value, json};

use super::confidence;
use crate::analysis::Analysis;
use crate::analysis::audit::Finding;
use crate::analysis::metric::PerEndpoint;
use crate::engine::system::Spent;

/// The shares of prompt tokens that the server's cache was to have and had, where there is something to compare.
pub(super) fn cache(report: &Analysis<'_>) -> Option<(f64, Option<f64>)> {
    let planned = report.metadata.planned.cache?;
    let served = report.audit.cache.rate();
    (served.is_some() || planned.cached_tokens > 0).then(|| (planned.rate(), served))
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
        let one = |found: &Finding| {
            let mut one = json!({"evidence": found.evidence, "advice": found.advice});
            if !found.affects.is_empty() {
                one["affects"] = found.affects.iter().map(|figure| figure.key()).collect();
            }
            one
        };
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
    if let Some((planned, served)) = cache(report) {
        let (plan, audit) = (report.metadata.planned.cache.unwrap_or_default(), &audit.cache);
        let object = json!({
            "planned_rate": planned,
            "planned_tokens": plan.cached_tokens,
            "planned_prompt_tokens": plan.prompt_tokens,
            "served_rate": served,
            "served_tokens": audit.cached_tokens,
            "served_prompt_tokens": audit.prompt_tokens,
            "reported_requests": audit.requests,
        });
        keys.insert("prefix_cache".into(), object);
    }
    keys.insert("offered_rate".into(), audit.offered_rate.into());
    keys.insert("achieved_rate".into(), audit.achieved_rate.into());
    keys.insert("checks".into(), checks.collect());
    keys.insert(
        "verdict".into(),
        // Where nothing completed there is nothing to judge.
        json!({
            "client_ok": (ledger.completed > 0 || ledger.sent == 0).then_some(audit.limits.is_empty()),
            "limits": found(&audit.limits),
        }),
    );
    if let Some(confidence) = confidence::object(report) {
        keys.insert("confidence".into(), confidence);
    }
    if !audit.notes.is_empty() {
        keys.insert("notes".into(), found(&audit.notes).into());
    }
    keys
}
