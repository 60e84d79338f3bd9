//! The "Serving Benchmark Result" table.

use super::totals::{self, failed, percentiles, shown_real};
use super::{METRICS, Metric, counters, selected};
use crate::analysis::Analysis;
use crate::analysis::measure::{Measure, Statistic};
use crate::analysis::metric::Figure;
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
    Fact(&'static str, fn(&Analysis<'_>) -> Option<String>),
    /// The row of a run that generates tokens.
    Generated(&'static Row),
}

use Row::{Fact, Generated, Maybe, Real, Stat};

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
    Fact("Total input tokens:", |report| {
        Some(if report.metadata.generates {
            shown(report.figure(Measure::InputTokens))
        } else {
            totals::input_tokens(report).to_string()
        })
    }),
    Generated(&Stat("Total generated tokens:", Measure::OutputTokens)),
    Stat("Request throughput (req/s):", Measure::RequestThroughput),
    Fact("Input throughput (inputs/s):", |report| {
        let inputs = totals::sequences(report) as f64;
        let rate = totals::per_second(report, inputs).as_f64();
        (!report.metadata.generates).then(|| shown_real(rate))
    }),
    Generated(&Maybe("Request goodput (req/s):", Measure::RequestGoodput)),
    Generated(&Stat("Output token throughput (tok/s):", Measure::OutputThroughput)),
    Generated(&Stat("Peak output token throughput (tok/s):", Measure::MaxOutputTokens)),
    Generated(&Real("Peak concurrent requests:", Measure::MaxConcurrentRequests)),
    Generated(&Stat("Total token throughput (tok/s):", Measure::TotalThroughput)),
    Fact("Total token throughput (tok/s):", |report| {
        let tokens = totals::input_tokens(report) as f64;
        let rate = totals::per_second(report, tokens).as_f64();
        (!report.metadata.generates).then(|| shown_real(rate))
    }),
];

/// The measures of the rows.
pub(super) fn measures() -> impl Iterator<Item = Measure> {
    let rows = ROWS.iter().filter_map(|row| match *row {
        Stat(_, measure) | Maybe(_, measure) | Real(_, measure) => Some(measure),
        Generated(Stat(_, measure) | Maybe(_, measure) | Real(_, measure)) => Some(*measure),
        Fact(..) | Generated(_) => None,
    });
    let of = |statistic| move |&(_, series, ..): &Metric| Measure::Of(statistic, series);
    let series = || METRICS.iter();
    let means = series().map(of(Statistic::Mean));
    let medians = series().map(of(Statistic::MEDIAN));
    rows.chain([Measure::InputTokens]).chain(means).chain(medians)
}

/// The table.
pub(super) fn render(report: &Analysis<'_>) -> String {
    let mut out = format!("{:=^WIDTH$}\n", " Serving Benchmark Result ");
    for row in ROWS {
        let row: &Row = match *row {
            Generated(_) if !report.metadata.generates => continue,
            Generated(generated) => generated,
            _ => row,
        };
        let shown = match *row {
            Stat(label, measure) => Some((label, shown(report.figure(measure)))),
            Maybe(label, measure) => match report.figure(measure) {
                Figure::Absent => None,
                figure => Some((label, shown(figure))),
            },
            Real(label, measure) => Some((label, real(report.figure(measure)))),
            Fact(label, fact) => fact(report).map(|value| (label, value)),
            Generated(_) => None,
        };
        if let Some((label, value)) = shown {
            out += &line(label, &value);
        }
    }
    if let Some((title, rows)) = counters::probes(report) {
        out += &block(title, &rows);
    }
    for &(_, series, name, title) in selected(&report.metadata) {
        let of = |statistic| real(report.figure(Measure::Of(statistic, series)));
        let mut rows = vec![
            (format!("Mean {name} (ms):"), of(Statistic::Mean)),
            (format!("Median {name} (ms):"), of(Statistic::MEDIAN)),
        ];
        rows.extend(percentiles(report).into_iter().map(|percent| {
            (format!("P{percent} {name} (ms):"), of(Statistic::Percentile(percent)))
        }));
        out += &block(title, &rows);
    }
    if let Some((title, rows)) = counters::block(report) {
        out += &block(title, &rows);
    }
    out + &"=".repeat(WIDTH) + "\n"
}

/// A row.
fn line(label: &str, value: &str) -> String {
    format!("{label:<40} {value:<10}\n")
}

/// A block of rows under a title.
fn block(title: &str, rows: &[(String, String)]) -> String {
    let rows: String = rows.iter().map(|(label, value)| line(label, value)).collect();
    format!("{title:-^WIDTH$}\n{rows}")
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
    shown_real(figure.number())
}
