//! The tables of one run.

use super::conversation::ROWS;
use super::figures::Figures;
use super::layout::{Layout, number, parallel};
use super::series::{PERCENTS, Series};
use crate::dialect::grid::{Align, LIGHT, table};

/// A row of the percentile table: its label, what it is of, and its decimals.
pub(super) type Row = (&'static str, Series, usize);

const LATENCY: &[Row] = &[
    ("Latency (s)", Series::Latency, 3),
    ("TTFT (ms)", Series::Ttft, 2),
    ("ITL (ms)", Series::Itl, 2),
];
const HANDOFF: &[Row] = &[
    ("Steady ITL (ms)", Series::SteadyItl, 2),
    ("PD Handoff Latency (ms)", Series::Handoff, 2),
    ("PD Handoff Overhead (ms)", Series::Overhead, 2),
];
const TOKENS: &[Row] = &[
    ("TPOT (ms)", Series::Tpot, 2),
    ("Input tokens", Series::Input, 2),
    ("Output tokens", Series::Output, 2),
    ("Output (tok/s)", Series::OutputRate, 2),
    ("Total (tok/s)", Series::TotalRate, 2),
    ("Decode (tok/s)", Series::DecodeRate, 2),
];
const POOLING: &[Row] = &[
    ("Latency (s)", Series::Latency, 3),
    ("Input tokens", Series::Input, 2),
    ("Input (tok/s)", Series::InputRate, 2),
];

/// The rows of the percentile table of a run; those of the hand-over if `handoff`.
pub(super) fn rows(generates: bool, handoff: bool) -> Vec<&'static Row> {
    if !generates {
        return POOLING.iter().collect();
    }
    let between: &[Row] = if handoff { HANDOFF } else { &[] };
    LATENCY.iter().chain(between).chain(TOKENS).collect()
}

/// All tables of a run, each with its heading.
pub fn render(run: &Figures, layout: Layout, handoff: bool) -> String {
    let mut out = format!("Benchmarking summary:\n{}\n", summary(run, layout, handoff));
    out += &format!("Percentile results:\n{}", percentiles(run, layout, handoff));
    if layout == Layout::V1_14 {
        if let Some(traces) = &run.traces {
            let heading = format!("\nPer-trace summary ({} traces):\n", traces.count);
            out += &(heading + &per_trace(run));
        }
        let heading = format!("\nWorkload throughput ({} samples):\n", run.workload.points.len());
        out += &(heading + &workload(run));
    }
    out
}

/// The table of two columns.
fn summary(run: &Figures, layout: Layout, handoff: bool) -> String {
    let mut rows = vec![["Metric".to_owned(), "Value".to_owned()].to_vec()];
    let mut put = |label: &str, value: String| rows.push(vec![label.to_owned(), value]);
    let new = layout == Layout::V1_14;
    let average = |label: &str| if new { format!("Avg {label}") } else { label.to_owned() };
    put("── General ──", String::new());
    put("Test Duration (s)", layout.number(run.duration, 2));
    put("Concurrency", parallel(run.load.parallel, "-"));
    put("Request Rate (req/s)", layout.number(Some(run.load.rate.unwrap_or(-1.0)), 2));
    let counts = format!("{} / {} / {}", run.total, run.succeeded, run.failed());
    put("Total / Success / Failed", counts);
    if new && run.streamed > 0 && run.streamed < run.succeeded {
        let counts = format!("{} / {}", run.streamed, run.succeeded - run.streamed);
        put("Stream / Non-Stream", counts);
    }
    put("Req Throughput (req/s)", layout.number(run.request_throughput(), 2));
    put("── Latency ──", String::new());
    put("Avg Latency (s)", layout.number(run.of_series(Series::Latency).mean, 3));
    if run.generates {
        let rows = [LATENCY[1], TOKENS[0], LATENCY[2]].into_iter();
        let more: &[Row] = if handoff { HANDOFF } else { &[] };
        for (label, series, decimals) in rows.chain(more.iter().copied()) {
            put(&average(label), layout.number(run.of_series(series).mean, decimals));
        }
    }
    put("── Tokens ──", String::new());
    put("Avg Input Tokens", layout.number(run.of_series(Series::Input).mean, 1));
    if run.generates {
        put("Avg Output Tokens", layout.number(run.of_series(Series::Output).mean, 1));
        put("Output Throughput (tok/s)", layout.number(run.output_throughput(), 2));
        put("Total Throughput (tok/s)", layout.number(run.total_throughput(), 2));
    } else {
        put("Input Throughput (tok/s)", layout.number(run.input_throughput(), 2));
    }
    if let Some(traces) = &run.traces {
        put("── Multi-turn ──", String::new());
        put("Avg Turns/Request", layout.number(traces.turns, 2));
        if traces.cache_hit.is_some() {
            put("KV Cache Hit Rate (%)", layout.number(traces.cache_hit, 1));
        }
        put("Avg First-Turn TTFT (ms)", layout.number(traces.first_ttft, 2));
        put("Avg Subsequent-Turn TTFT (ms)", layout.number(traces.later_ttft, 2));
    }
    if let Some(speculation) = run.speculation {
        put("── Speculative Decoding ──", String::new());
        let label = average("Decoded Tok/Iter");
        put(&label, layout.number(Some(speculation.tokens_per_step), 2));
        if let Some(accepted) = speculation.accepted {
            put("Spec. Accept Rate", layout.number(Some(accepted * 100.0), 2));
        }
    }
    table(&LIGHT, &[Align::Left, Align::Right], &rows, 0)
}

fn percentiles(run: &Figures, layout: Layout, handoff: bool) -> String {
    let extremes = layout.has_extremes();
    let mut header = vec!["Metric".to_owned()];
    header.extend(extremes.then(|| "min".to_owned()));
    header.extend(PERCENTS.iter().map(|percent| format!("{percent}%")));
    header.extend(extremes.then(|| "max".to_owned()));
    let of_row = |&(label, series, decimals): &Row| {
        let values = run.of_series(series);
        let shown = |value: Option<f64>| layout.number(value, decimals);
        let mut row = vec![label.to_owned()];
        row.extend(extremes.then(|| shown(values.min)));
        row.extend(values.percentiles.iter().map(|value| shown(*value)));
        row.extend(extremes.then(|| shown(values.max)));
        row
    };
    let rows: Vec<Vec<String>> = std::iter::once(header)
        .chain(self::rows(run.generates, handoff).into_iter().map(of_row))
        .collect();
    table(&LIGHT, &[Align::Left, Align::Right], &rows, 0)
}

/// The table of figures per conversation.
fn per_trace(run: &Figures) -> String {
    let header = ["Metric", "mean", "min", "p50", "p90", "p95", "p99", "max"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    let Some(traces) = &run.traces else { return String::new() };
    for ((label, decimals), values) in ROWS.iter().zip(&traces.rows) {
        let [.., p90, p95, p99] = values.percentiles;
        let all = [values.mean, values.min, values.median(), p90, p95, p99, values.max];
        let cells = all.iter().map(|value| number(*value, *decimals));
        rows.push(std::iter::once((*label).to_owned()).chain(cells).collect());
    }
    table(&LIGHT, &[Align::Left, Align::Right], &rows, 0)
}

/// The table of throughput by windows, whose cells have more room.
fn workload(run: &Figures) -> String {
    let header = ["Metric (tok/s)", "  Overall", "  Last 30s", "  Steady (drop 20%)"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for (label, windows) in run.workload.rows() {
        let cells = windows.iter().map(|rate| number(Some(*rate), 2));
        rows.push(std::iter::once(label.to_owned()).chain(cells).collect());
    }
    table(&LIGHT, &[Align::Left, Align::Right], &rows, 0)
}
