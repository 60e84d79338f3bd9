//! The table and the JSONL line of a run that is after throughput alone.

use serde_json::{Map, Value};

use super::line::{number, own};
use super::table::{line as row, value};
use crate::analysis::metric::Figure;
use crate::analysis::report::Report;
use crate::output::json;

/// The table, beginning with an empty line; `last` is the throughput that the server measured last, in tokens/s.
pub(super) fn table(report: &Report<'_>, last: Option<f64>) -> String {
    let mut out = format!("\n{:=^50}\n", " Offline Throughput Benchmark Result ");
    out += &row("Backend:", report.metadata.backend);
    for (label, figure) in [
        ("Successful requests:", report.figure("completed")),
        ("Benchmark duration (s):", report.figure("duration")),
        ("Total input tokens:", report.figure("total_input_tokens")),
        ("Total generated tokens:", report.figure("total_output_tokens")),
        ("Last generation throughput (tok/s):", last.map_or(Figure::Absent, Figure::Real)),
        ("Request throughput (req/s):", report.figure("request_throughput")),
        ("Input token throughput (tok/s):", report.figure("input_throughput")),
        ("Output token throughput (tok/s):", report.figure("output_throughput")),
        ("Total token throughput (tok/s):", report.figure("total_throughput")),
    ] {
        out += &row(label, &value(figure));
    }
    out + &"=".repeat(50) + "\n"
}

/// Keys of the line and the figures that they tell, in their order.
const KEYS: &[(&str, &str)] = &[
    ("successful_requests", "completed"),
    ("total_latency", "duration"),
    ("total_input_tokens", "total_input_tokens"),
    ("total_output_tokens", "total_output_tokens"),
    ("request_throughput", "request_throughput"),
    ("input_throughput", "input_throughput"),
    ("output_throughput", "output_throughput"),
    ("total_throughput", "total_throughput"),
];

/// The line, with its line end.
pub(super) fn line(report: &Report<'_>, last: Option<f64>) -> String {
    let mut line = Map::new();
    line.insert("backend".to_owned(), report.metadata.backend.into());
    for (key, figure) in KEYS {
        line.insert((*key).to_owned(), number(report.figure(figure)));
    }
    line.insert("last_gen_throughput".to_owned(), last.into());
    let written: Vec<&str> = KEYS.iter().map(|(_, figure)| *figure).collect();
    line.insert("rbench".to_owned(), own(report, &written, false));
    json::line(&Value::Object(line)) + "\n"
}
