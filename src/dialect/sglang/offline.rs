//! The table and the JSONL line of a run that is after throughput alone.

use serde_json::{Map, Value};

use super::rows::{line as row, value};
use crate::analysis::Analysis;
use crate::analysis::measure::Measure;
use crate::analysis::metric::Figure;
use crate::output::json;
use crate::output::object::{number, own};

/// The table, beginning with an empty line; `last` is the throughput that the server measured last, in tokens/s.
pub(super) fn table(report: &Analysis<'_>, last: Option<f64>) -> String {
    let mut out = format!("\n{:=^50}\n", " Offline Throughput Benchmark Result ");
    out += &row("Backend:", report.metadata.backend);
    for (label, figure) in [
        ("Successful requests:", report.figure(Measure::Completed)),
        ("Benchmark duration (s):", report.figure(Measure::Duration)),
        ("Total input tokens:", report.figure(Measure::InputTokens)),
        ("Total generated tokens:", report.figure(Measure::OutputTokens)),
        ("Last generation throughput (tok/s):", last.map_or(Figure::Absent, Figure::Real)),
        ("Request throughput (req/s):", report.figure(Measure::RequestThroughput)),
        ("Input token throughput (tok/s):", report.figure(Measure::InputThroughput)),
        ("Output token throughput (tok/s):", report.figure(Measure::OutputThroughput)),
        ("Total token throughput (tok/s):", report.figure(Measure::TotalThroughput)),
    ] {
        out += &row(label, &value(figure));
    }
    out + &"=".repeat(50) + "\n"
}

/// Keys of the line and the figures that they tell, in their order.
const KEYS: &[(&str, Measure)] = &[
    ("successful_requests", Measure::Completed),
    ("total_latency", Measure::Duration),
    ("total_input_tokens", Measure::InputTokens),
    ("total_output_tokens", Measure::OutputTokens),
    ("request_throughput", Measure::RequestThroughput),
    ("input_throughput", Measure::InputThroughput),
    ("output_throughput", Measure::OutputThroughput),
    ("total_throughput", Measure::TotalThroughput),
];

/// The measures of the keys, which are those of the rows.
pub(super) fn measures() -> impl Iterator<Item = Measure> {
    KEYS.iter().map(|(_, measure)| *measure)
}

/// The line, with its line end.
pub(super) fn line(report: &Analysis<'_>, last: Option<f64>) -> String {
    let mut line = Map::new();
    line.insert("backend".to_owned(), report.metadata.backend.into());
    for (key, measure) in KEYS {
        line.insert((*key).to_owned(), number(report.figure(*measure)));
    }
    line.insert("last_gen_throughput".to_owned(), last.into());
    let written: Vec<Measure> = measures().collect();
    line.insert("rbench".to_owned(), own(report, &written, false));
    json::line(&Value::Object(line)) + "\n"
}
