//! The figures of several runs together, as a table and as JSON.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::comparison::figure;
use super::json;
use crate::analysis::comparison::{Compared, Sampled, Source};
use crate::analysis::statistics::CONFIDENCE;

/// A metric of all runs.
#[derive(Debug)]
pub struct Row {
    /// Which.
    pub metric: Compared,
    /// Its value; `None` where the files have too little for it.
    pub value: Option<f64>,
    /// Its interval, if the runs give one.
    pub interval: Option<(f64, f64)>,
    /// What it was taken from.
    pub source: Source,
}

/// Several runs of one load.
#[derive(Debug)]
pub struct Merged<'a> {
    /// The runs.
    pub runs: &'a [&'a Sampled],
    /// Their metrics.
    pub rows: Vec<Row>,
    /// Why runs are no evidence, where they are merged nevertheless.
    pub doubts: Vec<String>,
}

fn notes(merged: &Merged<'_>) -> Vec<String> {
    let mut notes = merged.doubts.clone();
    let keys: BTreeSet<&String> = merged.runs.iter().flat_map(|run| run.setting.keys()).collect();
    for key in keys {
        let value =
            |run: &&Sampled| run.setting.get(key).map_or("not set".into(), Value::to_string);
        let values: BTreeSet<String> = merged.runs.iter().map(value).collect();
        if values.len() > 1 {
            let values: Vec<String> = values.into_iter().collect();
            notes.push(format!("the setting differs: {key}: {}", values.join(", ")));
        }
    }
    if merged.runs.len() == 1 {
        notes.push("there is one run: intervals hold within it".to_owned());
    }
    notes
}

/// The table, with a line end after each line.
pub fn table(merged: &Merged<'_>) -> String {
    let mut text = String::new();
    for run in merged.runs {
        // Writing to a string does not fail.
        let _ = writeln!(text, "Run:  {}", run.name);
    }
    for note in notes(merged) {
        let _ = writeln!(text, "Note: {note}");
    }
    let level = format!("{:.0} % interval", CONFIDENCE * 1e2);
    let _ = writeln!(text, "\n{:<24} {:>10} {level:>22}  from", "metric", "value");
    for row in &merged.rows {
        let shown = |x: f64| if x.is_finite() { figure(row.metric, x) } else { "?".to_owned() };
        let value = row.value.map_or("n/a".to_owned(), shown);
        let interval = row
            .interval
            .map_or(String::new(), |(low, high)| format!("[{}, {}]", shown(low), shown(high)));
        let _ = writeln!(
            text,
            "{:<24} {value:>10} {interval:>22}  {}",
            row.metric.to_string(),
            row.source.name()
        );
    }
    text
}

/// The figures as one line of JSON, without a line end.
pub fn json(merged: &Merged<'_>) -> String {
    let finite = |x: f64| if x.is_finite() { Value::from(x) } else { Value::Null };
    let row = |row: &Row| {
        json!({
            "metric": row.metric.to_string(),
            "value": row.value.map(finite),
            "interval": row.interval.map(|(low, high)| [finite(low), finite(high)]),
            "from": row.source.name(),
        })
    };
    json::line(&json!({
        "load": merged.runs.first().map(|run| Value::from(run.load.clone())),
        "runs": merged.runs.iter().map(|run| run.name.clone()).collect::<Vec<_>>(),
        "notes": notes(merged),
        "level": CONFIDENCE,
        "metrics": merged.rows.iter().map(row).collect::<Vec<_>>(),
    }))
}
