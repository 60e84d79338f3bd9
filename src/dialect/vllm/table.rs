//! The "Serving Benchmark Result" table.

use super::{METRICS, selected};
use crate::analysis::measure::{Measure, Percent, Statistic};
use crate::analysis::metric::Figure;
use crate::analysis::report::Report;
use crate::workload::arrival::Rate;

/// Width of headings and of the rule at the end.
const WIDTH: usize = 50;

/// What a row shows.
#[derive(Debug, Clone, Copy)]
enum Row {
    /// A measure: whole, or with two decimals.
    Stat(&'static str, Measure),
    /// A measure that the table has only where there is one.
    Maybe(&'static str, Measure),
    /// A measure with two decimals, also where it is whole.
    Real(&'static str, Measure),
    /// What the run was, where that is known.
    Fact(&'static str, fn(&Report<'_>) -> Option<String>),
}

use Row::{Fact, Maybe, Real, Stat};

/// The rows before the blocks of latencies.
const ROWS: &[Row] = &[
    Stat("Successful requests:", Measure::Completed),
    Fact("Failed requests:", |report| Some(failed(report).to_string())),
    Fact("Maximum request concurrency:", |report| {
        report.metadata.max_concurrency.map(|n| n.to_string())
    }),
    Fact("Request rate configured (RPS):", |report| match report.metadata.rate {
        Rate::PerSecond(rate) => Some(format!("{rate:.2}")),
        Rate::Unlimited | Rate::Trace => None,
    }),
    Stat("Benchmark duration (s):", Measure::Duration),
    Stat("Total input tokens:", Measure::InputTokens),
    Stat("Total generated tokens:", Measure::OutputTokens),
    Stat("Request throughput (req/s):", Measure::RequestThroughput),
    Maybe("Request goodput (req/s):", Measure::RequestGoodput),
    Stat("Output token throughput (tok/s):", Measure::OutputThroughput),
    Stat("Peak output token throughput (tok/s):", Measure::MaxOutputTokens),
    Real("Peak concurrent requests:", Measure::MaxConcurrentRequests),
    Stat("Total token throughput (tok/s):", Measure::TotalThroughput),
];

/// Requests that did not complete.
pub(super) fn failed(report: &Report<'_>) -> u64 {
    let ledger = &report.audit.ledger;
    ledger.failed + ledger.cancelled + ledger.never_sent
}

/// The measures of the rows.
pub(super) fn measures() -> impl Iterator<Item = Measure> {
    let rows = ROWS.iter().filter_map(|row| match *row {
        Stat(_, measure) | Maybe(_, measure) | Real(_, measure) => Some(measure),
        Fact(..) => None,
    });
    let means = METRICS.iter().map(|(_, series, ..)| Measure::Of(Statistic::Mean, *series));
    let medians = METRICS.iter().map(|(_, series, ..)| Measure::Of(Statistic::MEDIAN, *series));
    rows.chain(means).chain(medians)
}

/// The table.
pub(super) fn render(report: &Report<'_>) -> String {
    let mut out = format!("{:=^WIDTH$}\n", " Serving Benchmark Result ");
    let mut line = |label: &str, value: String| out += &format!("{label:<40} {value:<10}\n");
    for row in ROWS {
        match *row {
            Stat(label, measure) => line(label, shown(report.figure(measure))),
            Maybe(label, measure) => match report.figure(measure) {
                Figure::Absent => {}
                figure => line(label, shown(figure)),
            },
            Real(label, measure) => line(label, real(report.figure(measure))),
            Fact(label, fact) => {
                if let Some(value) = fact(report) {
                    line(label, value);
                }
            }
        }
    }
    for &(_, series, name, title) in selected(&report.metadata) {
        let of = |statistic| real(report.figure(Measure::Of(statistic, series)));
        out += &format!("{title:-^WIDTH$}\n");
        let mut line = |label: String, value: String| out += &format!("{label:<40} {value:<10}\n");
        line(format!("Mean {name} (ms):"), of(Statistic::Mean));
        line(format!("Median {name} (ms):"), of(Statistic::MEDIAN));
        for percent in percentiles(report) {
            line(format!("P{percent} {name} (ms):"), of(Statistic::Percentile(percent)));
        }
    }
    out + &"=".repeat(WIDTH) + "\n"
}

/// The percentiles that the run asks for.
pub(super) fn percentiles(report: &Report<'_>) -> Vec<Percent> {
    let asked = report.metadata.percentiles();
    if asked.is_empty() { vec![Percent::whole(99)] } else { asked }
}

/// A figure: whole, or with two decimals; `n/a` where there was nothing to compute it from.
fn shown(figure: Figure) -> String {
    match figure {
        Figure::Count(n) => n.to_string(),
        figure => real(figure),
    }
}

/// A figure with two decimals.
fn real(figure: Figure) -> String {
    figure.number().map_or_else(|| "n/a".to_owned(), |x| format!("{x:.2}"))
}
