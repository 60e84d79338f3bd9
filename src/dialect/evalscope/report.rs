//! The report of all runs of a sweep.

use super::advice;
use super::conversation::ROWS;
use super::figures::Figures;
use super::layout::{Layout, number, parallel, rate};
use super::series::{Series, Values};
use crate::dialect::grid::{Align, HEAVY, RULE, table};

/// Characters of the panels.
const WIDTH: usize = 80;

/// What all runs have in common.
#[derive(Debug, Clone)]
pub struct About {
    /// `--model`.
    pub model: String,
    /// `--alias`.
    pub alias: Option<String>,
    /// `--dataset`.
    pub dataset: String,
    /// `--api`.
    pub api: String,
    /// Host and port of the server.
    pub endpoint: String,
    /// The folder of the results.
    pub output: String,
    /// Whether the hand-over between prefill and decode is reported.
    pub handoff: bool,
}

/// The report of `runs`, which are not empty.
pub fn render(about: &About, runs: &[Figures], layout: Layout) -> String {
    if layout == Layout::V0_16 {
        return old(about, runs) + &advice::render(runs);
    }
    let generates = runs.iter().any(|run| run.generates);
    let title = if generates {
        "Performance Test Summary Report"
    } else {
        "Embedding/Rerank Performance Test Summary"
    };
    let mut out = panel(title);
    out += "\nBasic Information:\n";
    out += &basic(about, runs, generates);
    if generates {
        out += &titled("Performance Overview", &overview(runs));
        out += &titled("Per-Request Metrics", &per_request(runs, about.handoff));
        if runs.iter().any(|run| run.traces.is_some()) {
            out += &titled("Per-Trace Metrics", &per_trace(runs));
        }
        out += &titled("Workload Throughput", &workload(runs));
    } else {
        out += &titled("Detailed Performance Metrics", &pooling(runs));
    }
    let advice = advice::render(runs);
    if !advice.is_empty() {
        out += &format!("\n{advice}");
    }
    out
}

fn panel(title: &str) -> String {
    let rule = "─".repeat(WIDTH - 2);
    format!("╭{rule}╮\n│ {title:<0$} │\n╰{rule}╯\n", WIDTH - 4)
}

fn titled(title: &str, table: &str) -> String {
    let width = table.lines().next().map_or(0, |line| line.chars().count());
    format!("\n\n{title:^width$}\n{table}")
}

fn basic(about: &About, runs: &[Figures], generates: bool) -> String {
    const KEY: usize = 21;
    const VALUE: usize = WIDTH - KEY - 7;
    let wall: f64 = runs.iter().map(|run| run.wall).sum();
    let input: u64 = runs.iter().map(|run| run.input).sum();
    let output: u64 = runs.iter().map(|run| run.output).sum();
    let per_second = |tokens: u64| number((wall > 0.0).then(|| tokens as f64 / wall), 2);
    let alias = about.alias.as_ref().map(|alias| ("Alias", alias.clone()));
    let tokens = if generates {
        [
            ("Total Generated", format!("{output:.1} tokens", output = output as f64)),
            ("Avg Output Rate", format!("{} tok/s", per_second(output))),
        ]
    } else {
        [
            ("Total Input Tokens", format!("{input} tokens")),
            ("Avg Input Rate", format!("{} tok/s", per_second(input))),
        ]
    };
    let rows = [("Model", about.model.clone())].into_iter().chain(alias).chain([
        ("Test Dataset", about.dataset.clone()),
        ("API Type", about.api.clone()),
        ("Endpoint", about.endpoint.clone()),
    ]);
    let rows = rows.chain(tokens).chain([
        ("Total Test Time", format!("{} s", number(Some(wall), 2))),
        ("Output Path", about.output.clone()),
    ]);
    let (key, value) = ("─".repeat(KEY + 2), "─".repeat(VALUE + 2));
    let mut out = format!("┌{key}┬{value}┐\n");
    for (label, text) in rows {
        // What does not fit goes on below.
        let chars: Vec<char> = text.chars().collect();
        let mut lines = chars.chunks(VALUE).map(|line| line.iter().collect::<String>());
        let first = lines.next().unwrap_or_default();
        out += &format!("│ {label:<KEY$} │ {first:<VALUE$} │\n");
        for line in lines {
            out += &format!("│ {:<KEY$} │ {line:<VALUE$} │\n", "");
        }
    }
    out + &format!("└{key}┴{value}┘\n")
}

fn header(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{}%", number(Some(value), 1)))
}

fn overview(runs: &[Figures]) -> String {
    let traced = runs.iter().any(|run| run.traces.is_some());
    let mut rows = vec![header(&["Conc.", "Rate", "Num", "RPS", "Gen/s", "Success"])];
    if traced {
        rows[0].push("Traces".to_owned());
    }
    for run in runs {
        let mut row = vec![
            parallel(run.load.parallel, "-"),
            rate(run.load.rate, "-"),
            run.total.to_string(),
            number(run.request_throughput(), 2),
            number(run.output_throughput(), 2),
            percent(run.success_rate()),
        ];
        if traced {
            row.push(run.traces.as_ref().map_or(0, |traces| traces.count).to_string());
        }
        rows.push(row);
    }
    table(&HEAVY, &[Align::Right], &rows, 0)
}

/// The rows of blocks, one block for each run, whose first row has its load.
fn blocks(
    columns: &[&str],
    runs: &[Figures],
    rows_of: impl Fn(&Figures) -> Vec<Vec<String>>,
) -> String {
    let mut rows = vec![header(&["Conc.", "Rate"])];
    rows[0].extend(header(columns));
    for run in runs {
        if rows.len() > 1 {
            rows.push(vec![RULE.to_owned()]);
        }
        for (i, cells) in rows_of(run).into_iter().enumerate() {
            let load = [parallel(run.load.parallel, "-"), rate(run.load.rate, "-")];
            let load = if i == 0 { load } else { Default::default() };
            rows.push(load.into_iter().chain(cells).collect());
        }
    }
    table(&HEAVY, &[Align::Right, Align::Right, Align::Left, Align::Right], &rows, 0)
}

fn per_request(runs: &[Figures], handoff: bool) -> String {
    blocks(&["Metric", "avg", "p50", "p99", "max"], runs, |run| {
        let all = |label: &str, series, decimals| {
            let Values { mean, max, .. } = *run.of_series(series);
            let values = run.of_series(series);
            let cells = [mean, values.median(), values.p99(), max].map(|v| number(v, decimals));
            std::iter::once(label.to_owned()).chain(cells).collect::<Vec<_>>()
        };
        let one = |label: &str, value: String| {
            let none = || "-".to_owned();
            vec![label.to_owned(), value, none(), none(), none()]
        };
        let mut rows = vec![
            all("Latency (s)", Series::Latency, 3),
            all("TTFT (ms)", Series::Ttft, 2),
            all("TPOT (ms)", Series::Tpot, 2),
        ];
        if handoff {
            rows.push(all("Steady ITL (ms)", Series::SteadyItl, 2));
            rows.push(all("PD Handoff Latency (ms)", Series::Handoff, 2));
            rows.push(all("PD Handoff Overhead (ms)", Series::Overhead, 2));
        }
        rows.push(all("Input Tokens", Series::Input, 1));
        rows.push(all("Output Tokens", Series::Output, 1));
        if let Some(traces) = &run.traces {
            rows.push(one("Turns/Req", number(traces.turns, 2)));
            rows.push(one("Cache Hit (%)", percent(traces.cache_hit)));
            rows.push(one("1st-Turn TTFT (ms)", number(traces.first_ttft, 2)));
            rows.push(one("Subseq. TTFT (ms)", number(traces.later_ttft, 2)));
        }
        rows.push(one("Decode toks/s", number(run.decode_rate(), 2)));
        if let Some(speculation) = run.speculation {
            rows.push(one("Decoded Tok/Iter", number(Some(speculation.tokens_per_step), 2)));
            if let Some(accepted) = speculation.accepted {
                rows.push(one("Spec. Accept Rate", number(Some(accepted * 100.0), 2)));
            }
        }
        rows
    })
}

fn per_trace(runs: &[Figures]) -> String {
    blocks(&["Metric", "mean", "p50", "p90", "p99", "max"], runs, |run| {
        let Some(traces) = &run.traces else { return Vec::new() };
        let row = |((label, decimals), values): (&(&str, usize), &Values)| {
            let all = [values.mean, values.median(), values.p90(), values.p99(), values.max];
            let cells = all.map(|value| number(value, *decimals));
            std::iter::once((*label).to_owned()).chain(cells).collect()
        };
        ROWS.iter().zip(&traces.rows).map(row).collect()
    })
}

fn workload(runs: &[Figures]) -> String {
    blocks(&["Metric (tok/s)", "Overall", "Last 30s", "Steady (drop 20%)"], runs, |run| {
        let row = |(label, windows): (&str, [f64; 3])| {
            let cells = windows.map(|rate| number(Some(rate), 2));
            std::iter::once(label.to_owned()).chain(cells).collect()
        };
        run.workload.rows().into_iter().map(row).collect()
    })
}

fn pooling(runs: &[Figures]) -> String {
    let columns = ["Conc.", "Rate", "RPS", "Lat.(s)", "Lat.(s)", "Inp.TPS", "Inp.TPS", "Inp.Tok"];
    let mut rows = vec![header(&columns)];
    rows[0].push("Rate".to_owned());
    let above = ["", "", "", "Avg", "P99", "Avg", "P99", "Avg", "Success"];
    rows.insert(0, header(&above));
    for run in runs {
        let latency = run.of_series(Series::Latency);
        let rates = run.of_series(Series::InputRate);
        rows.push(vec![
            parallel(run.load.parallel, "INF"),
            rate(run.load.rate, "INF"),
            number(run.request_throughput(), 2),
            number(latency.mean, 3),
            number(latency.p99(), 3),
            number(rates.mean, 2),
            number(rates.p99(), 2),
            number(run.of_series(Series::Input).mean, 1),
            percent(run.success_rate()),
        ]);
    }
    two_line_header(&table(&HEAVY, &[Align::Right], &rows, 0))
}

/// A table whose header has a second line, which stands below the rule in `table`.
fn two_line_header(table: &str) -> String {
    let mut lines: Vec<String> = table.lines().map(str::to_owned).collect();
    if lines.len() > 3 {
        lines.swap(2, 3);
        lines[2] = lines[2].replace('│', "┃");
    }
    lines.join("\n") + "\n"
}

/// The summary of 0.16.
fn old(about: &About, runs: &[Figures]) -> String {
    let wall: f64 = runs.iter().map(|run| run.wall).sum();
    let output: u64 = runs.iter().map(|run| run.output).sum();
    let rate = if wall > 0.0 { output as f64 / wall } else { 0.0 };
    let rule = format!("+{}+{}+\n", "-".repeat(19), "-".repeat(24));
    let mut out = format!("Performance Test Summary Report\n\nBasic Information:\n{rule}");
    let tokens = format!("{} tokens", thousands(output));
    for (label, value) in [
        ("Model", about.model.clone()),
        ("Total Generated", tokens),
        ("Total Test Time", format!("{wall:.2} seconds")),
        ("Avg Output Rate", format!("{rate:.2} tokens/sec")),
    ] {
        out += &format!("| {label:<17} | {value:<22} |\n");
    }
    out += &format!("{rule}\nDetailed Performance Metrics\n");
    let widths = [7, 6, 12, 12, 11, 11, 11, 11, 11, 15];
    let rule = widths.map(|width| "-".repeat(width)).join("+");
    let rule = format!("+{rule}+\n");
    out += &rule;
    out += "| Conc. | RPS  | Avg Lat.(s)| P99 Lat.(s)| Gen. Toks/s| Avg TTFT(s)| P99 TTFT(s)| Avg TPOT(s)| P99 TPOT(s)| Success Rate  |\n";
    out += &rule;
    for run in runs {
        let fixed = |value: Option<f64>, unit: f64, decimals: usize| {
            value.map_or("-".to_owned(), |value| format!("{:.decimals$}", value / unit))
        };
        let (latency, ttft) = (run.of_series(Series::Latency), run.of_series(Series::Ttft));
        let tpot = run.of_series(Series::Tpot);
        out += &format!(
            "| {:<5} | {:<4} | {:<10} | {:<10} | {:<10} | {:<9} | {:<9} | {:<9} | {:<9} | {:<13} |\n",
            parallel(run.load.parallel, "-"),
            fixed(run.request_throughput(), 1.0, 2),
            fixed(latency.mean, 1.0, 3),
            fixed(latency.p99(), 1.0, 3),
            fixed(run.output_throughput(), 1.0, 2),
            fixed(ttft.mean, 1e3, 3),
            fixed(ttft.p99(), 1e3, 3),
            fixed(tpot.mean, 1e3, 3),
            fixed(tpot.p99(), 1e3, 3),
            run.success_rate().map_or("-".to_owned(), |rate| format!("{rate:.1}%")),
        );
    }
    out + &rule + "\n"
}

/// A count with one decimal and a comma for each three digits.
fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out + ".0"
}
