//! The "Serving Benchmark Result" table: a list of rows, each with its label, its figure and its condition.

use std::fmt::Write as _;

use crate::arrival::Rate;
use crate::metric::Figure;
use crate::report::Report;

/// Width of headings and of the rule at the end.
const WIDTH: usize = 50;

/// When a row is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    /// Not for embeddings.
    Generates,
    /// The figure is there and is not 0.
    NotZero,
}

/// What a row is.
#[derive(Debug, Clone, Copy)]
enum Row {
    /// A heading between dashes.
    Heading(&'static str, When),
    /// A label and a fact of the run.
    Fact(&'static str, fn(&Report<'_>) -> String),
    /// A label and a figure: whole, or with two decimals.
    Stat(&'static str, &'static str, When),
}

use Row::{Fact, Heading, Stat};
use When::{Always, Generates, NotZero};

/// The rows in their order.
const ROWS: &[Row] = &[
    Fact("Backend:", |report| report.facts.backend.to_owned()),
    Fact("Traffic request rate:", |report| match report.facts.rate {
        Rate::Unlimited => "inf".to_owned(),
        Rate::PerSecond(rate) => python_float(rate),
        Rate::Trace => "trace".to_owned(),
    }),
    Fact("Max request concurrency:", |report| {
        report.facts.max_concurrency.map_or_else(|| "not set".to_owned(), |n| n.to_string())
    }),
    Stat("Successful requests:", "completed", Always),
    Stat("Benchmark duration (s):", "duration", Always),
    Stat("Total input tokens:", "total_input_tokens", Always),
    Stat("Total input text tokens:", "total_input_text_tokens", Always),
    Stat("Total generated tokens:", "total_output_tokens", Generates),
    Stat("Total generated tokens (retokenized):", "total_output_tokens_retokenized", Generates),
    Stat("Request throughput (req/s):", "request_throughput", Always),
    Stat("Input token throughput (tok/s):", "input_throughput", Always),
    Stat("Output token throughput (tok/s):", "output_throughput", Generates),
    Stat("Peak output token throughput (tok/s):", "max_output_tokens_per_s", Generates),
    Stat("Peak concurrent requests:", "max_concurrent_requests", Always),
    Stat("Total token throughput (tok/s):", "total_throughput", Generates),
    Stat("Concurrency:", "concurrency", Always),
    Stat("Accept length:", "accept_length", NotZero),
    Heading("End-to-End Latency", Always),
    Stat("Mean E2E Latency (ms):", "mean_e2e_latency_ms", Always),
    Stat("Median E2E Latency (ms):", "median_e2e_latency_ms", Always),
    Stat("P90 E2E Latency (ms):", "p90_e2e_latency_ms", Always),
    Stat("P95 E2E Latency (ms):", "p95_e2e_latency_ms", Always),
    Stat("P99 E2E Latency (ms):", "p99_e2e_latency_ms", Always),
    Heading("Time to First Token", Generates),
    Stat("Mean TTFT (ms):", "mean_ttft_ms", Generates),
    Stat("Median TTFT (ms):", "median_ttft_ms", Generates),
    Stat("P90 TTFT (ms):", "p90_ttft_ms", Generates),
    Stat("P95 TTFT (ms):", "p95_ttft_ms", Generates),
    Stat("P99 TTFT (ms):", "p99_ttft_ms", Generates),
    Heading("Time per Output Token (excl. 1st token)", Generates),
    Stat("Mean TPOT (ms):", "mean_tpot_ms", Generates),
    Stat("Median TPOT (ms):", "median_tpot_ms", Generates),
    Stat("P90 TPOT (ms):", "p90_tpot_ms", Generates),
    Stat("P95 TPOT (ms):", "p95_tpot_ms", Generates),
    Stat("P99 TPOT (ms):", "p99_tpot_ms", Generates),
    Heading("Inter-Token Latency", Generates),
    Stat("Mean ITL (ms):", "mean_itl_ms", Generates),
    Stat("Median ITL (ms):", "median_itl_ms", Generates),
    Stat("P90 ITL (ms):", "p90_itl_ms", Generates),
    Stat("P95 ITL (ms):", "p95_itl_ms", Generates),
    Stat("P99 ITL (ms):", "p99_itl_ms", Generates),
    Stat("Max ITL (ms):", "max_itl_ms", Generates),
];

/// The table, beginning with an empty line.
pub(super) fn render(report: &Report<'_>) -> String {
    let mut out = format!("\n{:=^WIDTH$}\n", " Serving Benchmark Result ");
    let shown = |when: When, figure: Figure| match when {
        Always => true,
        Generates => report.facts.generates,
        NotZero => figure.number().is_some_and(|x| x != 0.0),
    };
    for row in ROWS {
        let (label, value) = match *row {
            Heading(text, when) => {
                if shown(when, Figure::Absent) {
                    let _ = writeln!(out, "{text:-^WIDTH$}");
                }
                continue;
            }
            Fact(label, fact) => (label, fact(report)),
            Stat(label, key, when) => {
                let figure = report.figure(key);
                if !shown(when, figure) {
                    continue;
                }
                (label, value(figure))
            }
        };
        // Writing to a string can not fail.
        let _ = writeln!(out, "{label:<40} {value:<10}");
    }
    let _ = writeln!(out, "{:=^WIDTH$}", "");
    out
}

/// A figure as the table shows it; `n/a` where there was nothing to compute it from.
fn value(figure: Figure) -> String {
    match figure {
        Figure::Count(n) => n.to_string(),
        Figure::Real(x) => format!("{x:.2}"),
        Figure::Absent => "n/a".to_owned(),
    }
}

/// A number as Python's `str` gives it: the shortest digits that read back, `50.0`, `1e-05`, `1e+20`.
pub(super) fn python_float(x: f64) -> String {
    let scientific = format!("{x:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = format!("{x}");
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_as_python_writes_them() {
        for (x, text) in [
            (100.0, "100.0"),
            (7.5, "7.5"),
            (0.1, "0.1"),
            (1e-5, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (0.0001, "0.0001"),
            (1e20, "1e+20"),
            (1e16, "1e+16"),
            (123_456_789.0, "123456789.0"),
            (1e15, "1000000000000000.0"),
        ] {
            assert_eq!(python_float(x), text);
        }
    }
}
