//! The table of a race, in Markdown.

use std::time::Duration;

use crate::Case;
use crate::child::Cost;

/// CPU time per event in µs, of a run that had `requests` − 1 requests more than the one it is compared with.
pub(crate) fn per_event(cpu: Duration, requests: usize, out: usize) -> f64 {
    let events = requests.saturating_sub(1).max(1) * out;
    cpu.as_secs_f64() * 1e6 / events as f64
}

/// What is raced on, since the figures are worth nothing without it.
pub(crate) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().map(|load| format!(", load average {load} before"));
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| Some(format!("{}, ", line.split_once(':')?.1.trim())));
    let (model, load) = (model.unwrap_or_default(), load.unwrap_or_default());
    let version = env!("CARGO_PKG_VERSION");
    format!("rbench {version} on {model}{cores} cores{load}\n")
}

/// Rows as cases end.
#[derive(Debug)]
pub(crate) struct Table {
    names: Vec<String>,
    begun: bool,
}

impl Table {
    /// A table with a column for each program, of which the first is the floor.
    pub(crate) fn new(names: Vec<String>) -> Self {
        Self { names, begun: false }
    }

    /// The row of a case, with the head of the table before the first; costs are by program and round.
    pub(crate) fn row(&mut self, case: &Case, costs: &[Vec<Option<Cost>>]) -> String {
        let mut text = String::new();
        if !std::mem::replace(&mut self.begun, true) {
            let others = self.names[1..].join(" | ");
            let lines = "---|".repeat(self.names.len() + 1);
            text = format!("| case | floor, µs per event | {others} |\n|{lines}\n");
        }
        let us = |cost: &Cost| per_event(cost.cpu, case.requests, case.out);
        let Some((floor, others)) = costs.split_first() else { return text };
        let mut cells =
            vec![format!("{}, {} streams × {} tokens", case.name, case.concurrency, case.out)];
        let floors: Vec<f64> = floor.iter().flatten().map(us).collect();
        cells.push(match (median(&floors), memory(floor)) {
            (Some(us), Some(memory)) => format!("{us:.1}, {memory} MiB"),
            _ => "failed".to_owned(),
        });
        for costs in others {
            let ratios: Vec<f64> = costs
                .iter()
                .zip(floor)
                .filter_map(|(cost, floor)| Some(us(cost.as_ref()?) / us(floor.as_ref()?)))
                .collect();
            cells.push(match (median(&ratios), memory(costs)) {
                (Some(ratio), Some(memory)) => {
                    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
                    let most = ratios.iter().copied().fold(0.0, f64::max);
                    format!("×{ratio:.2} ({least:.2}–{most:.2}), {memory} MiB")
                }
                _ => "–".to_owned(),
            });
        }
        text + &format!("| {} |", cells.join(" | "))
    }
}

/// The median of peak memory, in MiB.
fn memory(costs: &[Option<Cost>]) -> Option<String> {
    let costs: Vec<f64> = costs.iter().flatten().map(|cost| cost.memory as f64).collect();
    median(&costs).map(|bytes| format!("{:.0}", bytes / f64::from(1 << 20)))
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[half]),
        _ => Some(f64::midpoint(sorted[half - 1], sorted[half])),
    }
}
