//! The records of the dashboard of `PyTorch`: one for each latency.

use serde_json::{Value, json};

use super::result;
use crate::analysis::Analysis;
use crate::output::json;

/// Latencies that the dashboard has, and their statistics.
const LATENCIES: [&str; 3] = ["ttft", "tpot", "itl"];
const STATISTICS: [&str; 4] = ["mean", "median", "std", "p99"];

/// Keys of a result that are too long for it.
const LEFT_OUT: [&str; 4] = ["ttfts", "itls", "generated_texts", "errors"];

/// The list of records, on one line without a line end.
pub(super) fn records(report: &Analysis<'_>) -> String {
    let (keys, _) = result::keys(report, false);
    let names = || LATENCIES.iter().flat_map(|of| STATISTICS.map(|what| format!("{what}_{of}_ms")));
    let is_extra = |key: &str| !LEFT_OUT.contains(&key) && !names().any(|name| name == key);
    let extra: Value = keys
        .iter()
        .filter(|(key, _)| is_extra(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let args = Value::Object(report.metadata.config.clone());
    let record = |name: String| {
        let value = keys.get(&name)?;
        Some(json!({
            "benchmark": {"name": "vLLM benchmark", "extra_info": {"args": args}},
            "model": {"name": report.metadata.model},
            "metric": {"name": name, "benchmark_values": [value], "extra_info": extra},
        }))
    };
    json::line(&names().filter_map(record).collect())
}
