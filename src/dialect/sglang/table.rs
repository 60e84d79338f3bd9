//! The "Serving Benchmark Result" table: a list of rows, each with its releases, its label, its figure and its condition.

use super::super::release::{ALL, Releases, Version, between, except, since, until};
use super::rows::{WIDTH, heading, line, value};
use super::{V0_4_1, V0_4_6, V0_5_1, V0_5_6, V0_5_8, V0_5_10, V0_5_15, V0_5_23, sections};
use crate::analysis::Analysis;
use crate::analysis::measure::Measure::{self, Of};
use crate::analysis::measure::Series::{E2e, Itl, Tpot, Ttft};
use crate::analysis::measure::Statistic as S;
use crate::analysis::metric::Figure;
use crate::dialect;
use crate::workload::arrival::Rate;

/// When a row is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    /// Not for embeddings; releases before 0.5.10 know no such difference.
    Generates,
    /// For datasets with images.
    Images,
    /// The figure is there and is not 0.
    NotZero,
}

/// What a row is.
#[derive(Debug, Clone, Copy)]
enum Row {
    /// A heading between dashes.
    Heading(&'static str, When),
    /// A label and a fact of the run.
    Fact(&'static str, fn(&Analysis<'_>) -> String),
    /// A label and a figure: whole, or with two decimals.
    Stat(&'static str, Measure, When),
    /// Lines that depend on what was asked for, maybe none.
    Section(fn(&Analysis<'_>) -> String),
}

use Row::{Fact, Heading, Section, Stat};
use When::{Always, Generates, Images, NotZero};

/// The releases with rows on objectives, and those with rows on the prefix cache.
const GOODPUT: Releases = since(V0_5_23);
const CACHE: Releases = since(V0_5_15);

/// Whether the table of `version` has a part.
pub(super) fn has(section: dialect::Section, version: Version) -> bool {
    let releases = match section {
        dialect::Section::Goodput => GOODPUT,
        dialect::Section::Cache => CACHE,
    };
    releases.contain(version)
}

/// The rows in their order.
const ROWS: &[(Releases, Row)] = &[
    (ALL, Fact("Backend:", |report| report.metadata.backend.to_owned())),
    (ALL, Fact("Traffic request rate:", rate)),
    (between(V0_4_1, V0_4_6), Fact("Max reqeuest concurrency:", limit)),
    (since(V0_5_1), Fact("Max request concurrency:", limit)),
    (ALL, Stat("Successful requests:", Measure::Completed, Always)),
    (ALL, Stat("Benchmark duration (s):", Measure::Duration, Always)),
    (ALL, Stat("Total input tokens:", Measure::InputTokens, Always)),
    (since(V0_5_6), Stat("Total input text tokens:", Measure::InputTextTokens, Always)),
    (
        between(V0_5_6, V0_5_6),
        Stat("Total input vision tokens:", Measure::InputVisionTokens, Always),
    ),
    (since(V0_5_8), Stat("Total input vision tokens:", Measure::InputVisionTokens, Images)),
    (ALL, Stat("Total generated tokens:", Measure::OutputTokens, Generates)),
    (ALL, Stat("Total generated tokens (retokenized):", Measure::RetokenizedTokens, Generates)),
    (ALL, Stat("Request throughput (req/s):", Measure::RequestThroughput, Always)),
    (ALL, Stat("Input token throughput (tok/s):", Measure::InputThroughput, Always)),
    (ALL, Stat("Output token throughput (tok/s):", Measure::OutputThroughput, Generates)),
    (
        since(V0_5_6),
        Stat("Peak output token throughput (tok/s):", Measure::MaxOutputTokens, Generates),
    ),
    (since(V0_5_6), Stat("Peak concurrent requests:", Measure::MaxConcurrentRequests, Always)),
    (since(V0_4_1), Stat("Total token throughput (tok/s):", Measure::TotalThroughput, Generates)),
    (since(V0_4_6), Stat("Concurrency:", Measure::Concurrency, Always)),
    (since(V0_4_6), Stat("Accept length:", Measure::AcceptLength, NotZero)),
    (GOODPUT, Section(sections::goodput)),
    (ALL, Heading("End-to-End Latency", Always)),
    (ALL, Stat("Mean E2E Latency (ms):", Of(S::Mean, E2e), Always)),
    (ALL, Stat("Median E2E Latency (ms):", Of(S::MEDIAN, E2e), Always)),
    (since(V0_5_8), Stat("P90 E2E Latency (ms):", Of(S::P90, E2e), Always)),
    (since(V0_5_15), Stat("P95 E2E Latency (ms):", Of(S::P95, E2e), Always)),
    (since(V0_5_8), Stat("P99 E2E Latency (ms):", Of(S::P99, E2e), Always)),
    (ALL, Heading("Time to First Token", Generates)),
    (ALL, Stat("Mean TTFT (ms):", Of(S::Mean, Ttft), Generates)),
    (ALL, Stat("Median TTFT (ms):", Of(S::MEDIAN, Ttft), Generates)),
    (since(V0_5_15), Stat("P90 TTFT (ms):", Of(S::P90, Ttft), Generates)),
    (since(V0_5_15), Stat("P95 TTFT (ms):", Of(S::P95, Ttft), Generates)),
    (ALL, Stat("P99 TTFT (ms):", Of(S::P99, Ttft), Generates)),
    (except(V0_4_6, V0_5_1), Heading("Time per Output Token (excl. 1st token)", Generates)),
    (except(V0_4_6, V0_5_1), Stat("Mean TPOT (ms):", Of(S::Mean, Tpot), Generates)),
    (except(V0_4_6, V0_5_1), Stat("Median TPOT (ms):", Of(S::MEDIAN, Tpot), Generates)),
    (since(V0_5_15), Stat("P90 TPOT (ms):", Of(S::P90, Tpot), Generates)),
    (since(V0_5_15), Stat("P95 TPOT (ms):", Of(S::P95, Tpot), Generates)),
    (except(V0_4_6, V0_5_1), Stat("P99 TPOT (ms):", Of(S::P99, Tpot), Generates)),
    (until(V0_4_1), Heading("Inter-token Latency", Generates)),
    (since(V0_4_6), Heading("Inter-Token Latency", Generates)),
    (ALL, Stat("Mean ITL (ms):", Of(S::Mean, Itl), Generates)),
    (ALL, Stat("Median ITL (ms):", Of(S::MEDIAN, Itl), Generates)),
    (since(V0_5_15), Stat("P90 ITL (ms):", Of(S::P90, Itl), Generates)),
    (since(V0_4_6), Stat("P95 ITL (ms):", Of(S::P95, Itl), Generates)),
    (ALL, Stat("P99 ITL (ms):", Of(S::P99, Itl), Generates)),
    (since(V0_4_6), Stat("Max ITL (ms):", Of(S::Max, Itl), Generates)),
    (CACHE, Section(sections::cache)),
];

/// The rows of `version`.
fn rows(version: Version) -> impl Iterator<Item = Row> {
    ROWS.iter().filter(move |(releases, _)| releases.contain(version)).map(|(_, row)| *row)
}

/// The measures of the rows of `version`.
pub(super) fn measures(version: Version) -> impl Iterator<Item = Measure> {
    rows(version).filter_map(|row| match row {
        Stat(_, measure, _) => Some(measure),
        Heading(..) | Fact(..) | Section(_) => None,
    })
}

/// The rate as Python prints it.
fn rate(report: &Analysis<'_>) -> String {
    match report.metadata.rate {
        Rate::Unlimited => "inf".to_owned(),
        Rate::PerSecond(rate) => python_float(rate),
        Rate::Trace => "trace".to_owned(),
    }
}

fn limit(report: &Analysis<'_>) -> String {
    report.metadata.max_concurrency.map_or_else(|| "not set".to_owned(), |n| n.to_string())
}

/// The table of `version`, beginning with an empty line.
pub(super) fn render(report: &Analysis<'_>, version: Version) -> String {
    let mut out = format!("\n{:=^WIDTH$}\n", " Serving Benchmark Result ");
    let shown = |when: When, figure: Figure| match when {
        Always => true,
        Generates => report.metadata.generates || version < V0_5_10,
        Images => ["image", "mmmu"].contains(&report.metadata.dataset_name.as_str()),
        NotZero => figure.number().is_some_and(|x| x != 0.0),
    };
    for row in rows(version) {
        let (label, value) = match row {
            Heading(text, when) => {
                if shown(when, Figure::Absent) {
                    out += &heading(text);
                }
                continue;
            }
            Section(lines) => {
                out += &lines(report);
                continue;
            }
            Fact(label, fact) => (label, fact(report)),
            Stat(label, measure, when) => {
                let figure = report.figure(measure);
                if !shown(when, figure) {
                    continue;
                }
                (label, value(figure))
            }
        };
        out += &line(label, &value);
    }
    out + &format!("{:=^WIDTH$}\n", "")
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
