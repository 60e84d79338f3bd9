//! The two tables of a stage.

use super::figures::{Figures, Series, Statistics};
use super::flags::Layout;
use crate::dialect::grid::{Align, FANCY, table};

/// The columns of the first table between its label and its count.
pub(super) const STATISTICS: [&str; 7] = ["Average", "Min", "Max", "Median", "P75", "P90", "P99"];

/// Both tables.
pub fn render(stages: &[Figures], layout: Layout) -> String {
    let mut rows = vec![header()];
    rows.extend(parameters(stages, layout));
    let mut aligns = vec![Align::Left; rows[0].len() - 1];
    aligns.push(Align::Center);
    let mut out = table(&FANCY, &aligns, &rows, 2);
    let cells = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
    let mut rows = vec![cells(["Common Metric", "Stage", "Value"])];
    for stage in stages {
        rows.extend(
            common(stage, layout)
                .into_iter()
                .map(|(label, value)| vec![label.to_owned(), stage.stage.name().to_owned(), value]),
        );
    }
    out += &table(&FANCY, &[Align::Left], &rows, 2);
    out
}

/// The header of the first table.
pub(super) fn header() -> Vec<String> {
    let labels = ["Performance Parameters", "Stage"].into_iter().chain(STATISTICS).chain(["N"]);
    labels.map(str::to_owned).collect()
}

/// The rows of the first table.
pub(super) fn parameters(stages: &[Figures], layout: Layout) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for stage in stages {
        for row in &stage.rows {
            if row.series == Series::PrefillRate && layout == Layout::V3_0 {
                continue;
            }
            let cell = |x: &f64| format!("{}{}", cell(*x, row.unit), row.unit);
            let mut cells = vec![row.label.to_owned(), stage.stage.name().to_owned()];
            let statistics: &Statistics = &row.statistics;
            cells.extend(statistics.iter().map(cell));
            cells.push(row.requests.to_string());
            rows.push(cells);
        }
    }
    rows
}

/// A statistic: times in s to a tenth of a ms, everything else to four decimals.
fn cell(x: f64, unit: &str) -> String {
    let rounded = (x * 1e4).round() / 1e4;
    if unit == " ms" { float((rounded * 1e3 * 1e4).round() / 1e4) } else { float(rounded) }
}

/// As Python writes a float.
fn float(x: f64) -> String {
    format!("{x:?}")
}

/// The rows of the second table.
pub(super) fn common(run: &Figures, layout: Layout) -> Vec<(&'static str, String)> {
    let number = |x: f64| float((x * 1e4).round() / 1e4);
    let per_second = |amount: f64| if run.duration > 0.0 { amount / run.duration } else { 0.0 };
    let rate = |amount: u64, unit: &str| format!("{} {unit}", number(per_second(amount as f64)));
    let mut rows = vec![
        ("Benchmark Duration", format!("{} ms", number(run.duration * 1e3))),
        ("Total Requests", run.total.to_string()),
        ("Failed Requests", (run.total - run.succeeded).to_string()),
        ("Success Requests", run.succeeded.to_string()),
        ("Concurrency", number(run.concurrency)),
        ("Max Concurrency", run.cap.map_or("unlimited".to_owned(), |cap| cap.to_string())),
        ("Request Throughput", rate(run.succeeded, "req/s")),
        ("Total Input Tokens", run.input.to_string()),
    ];
    if let (Some(prefill), Layout::V3_0) = (run.prefill, layout) {
        rows.push(("Prefill Token Throughput", format!("{} token/s", number(prefill))));
    }
    rows.extend([
        ("Total Generated Tokens", run.output.to_string()),
        ("Input Token Throughput", rate(run.input, "token/s")),
        ("Output Token Throughput", rate(run.output, "token/s")),
        ("Total Token Throughput", rate(run.input + run.output, "token/s")),
    ]);
    rows
}
