//! Series of past runs as a table, as JSON, as Markdown, and as the CSV that Apache Otava reads.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::comparison::{escaped, figure};
use super::json;
use crate::analysis::comparison::{Compared, FEWEST, Sampled, Series, Whole};
use crate::analysis::statistics::{Change, Scale};

/// The runs of one load.
#[derive(Debug)]
pub struct Load<'a> {
    /// The runs, in the order of time.
    pub runs: Vec<&'a Sampled>,
    /// Their metrics.
    pub series: Vec<Series>,
}

/// The history in a folder.
#[derive(Debug)]
pub struct History<'a> {
    /// The folder.
    pub folder: &'a Path,
    /// Each load.
    pub loads: Vec<Load<'a>>,
    /// Runs that are left out, and why.
    pub left_out: Vec<String>,
    /// A change that began within so many runs is news.
    pub recent: usize,
    /// The verdict on the last runs.
    pub whole: Whole,
    /// What failed, and why.
    pub failures: Vec<String>,
}

/// A share or a number of points with its unit.
fn percent(metric: Compared, share: f64, digits: usize) -> String {
    let unit = if metric.scale() == Scale::Absolute { "pt" } else { "%" };
    format!("{:.digits$} {unit}", share * 1e2)
}

/// A change in a few words.
fn described(load: &Load<'_>, series: &Series, change: &Change) -> String {
    let size = series.size(change);
    let sign = if size < 0.0 { "" } else { "+" };
    let run = load.runs[change.at];
    let date = run.date.as_deref().map(|date| format!(", {date}")).unwrap_or_default();
    let way = if series.is_worse(change) { "worse" } else { "better" };
    format!(
        "{way} by {sign}{} from run {} of {} on ({}{date}), p {:.4}",
        percent(series.metric, size, 1),
        change.at + 1,
        load.runs.len(),
        run.name,
        change.p
    )
}

/// The flags of a load, if there are several.
fn named(history: &History<'_>, load: &Load<'_>) -> String {
    let runs = format!("{} runs", load.runs.len());
    let (Some(first), true) = (load.runs.first(), history.loads.len() > 1) else { return runs };
    let differs = |key: &&String| {
        let value = first.load.get(*key);
        history.loads.iter().any(|other| other.runs.iter().any(|run| run.load.get(*key) != value))
    };
    let flags: Vec<String> =
        first.load.keys().filter(differs).map(|key| format!("{key} {}", first.load[key])).collect();
    format!("{runs} of {}", flags.join(", "))
}

/// What has to be known before the figures.
fn notes(history: &History<'_>) -> Vec<String> {
    let mut notes = history.left_out.clone();
    if history.loads.iter().any(|load| load.runs.len() < FEWEST) {
        notes.push(format!("a series of fewer than {FEWEST} runs shows no change"));
    }
    notes
}

/// The table, with a line end after each line.
pub fn table(history: &History<'_>) -> String {
    let mut text = format!("History: {}\n", history.folder.display());
    for note in notes(history) {
        // Writing to a string does not fail.
        let _ = writeln!(text, "Note: {note}");
    }
    for load in &history.loads {
        let _ = writeln!(text, "\n{}", named(history, load));
        let _ = writeln!(
            text,
            "{:<24} {:>10} {:>10} {:>16}  changes",
            "metric", "last", "noise", "3 runs show"
        );
        for series in &load.series {
            let last = series.values.iter().rev().find_map(|value| *value).unwrap_or(f64::NAN);
            let share = |share: Option<f64>| {
                share.map_or("n/a".to_owned(), |share| percent(series.metric, share, 2))
            };
            let _ = writeln!(
                text,
                "{:<24} {:>10} {:>10} {:>16}  {}",
                series.metric.to_string(),
                figure(series.metric, last),
                share(series.noise),
                share(series.detectable),
                series.changes.len()
            );
            for change in &series.changes {
                let news = if change.at + history.recent >= load.runs.len() { "  NEW" } else { "" };
                let _ = writeln!(text, "  {}{news}", described(load, series, change));
            }
        }
    }
    let _ =
        writeln!(text, "\nVerdict: {} in the last {} runs", history.whole.name(), history.recent);
    for failure in &history.failures {
        let _ = writeln!(text, "Failed: {failure}");
    }
    text
}

/// The history as one line of JSON, without a line end.
pub fn json(history: &History<'_>) -> String {
    let load = |load: &Load<'_>| {
        let series = |series: &Series| {
            let change = |change: &Change| {
                json!({
                    "run": change.at,
                    "before": change.before,
                    "after": change.after,
                    "change": series.size(change),
                    "p": change.p,
                    "worse": series.is_worse(change),
                    "recent": change.at + history.recent >= load.runs.len(),
                })
            };
            json!({
                "metric": series.metric.to_string(),
                "values": series.values,
                "noise": series.noise,
                "detectable": series.detectable,
                "changes": series.changes.iter().map(change).collect::<Vec<_>>(),
            })
        };
        json!({
            "load": load.runs.first().map(|run| Value::from(run.load.clone())),
            "runs": load.runs.iter().map(|run| json!({"name": run.name, "date": run.date})).collect::<Vec<_>>(),
            "metrics": load.series.iter().map(series).collect::<Vec<_>>(),
        })
    };
    json::line(&json!({
        "history": history.folder.display().to_string(),
        "verdict": history.whole.name(),
        "failures": history.failures,
        "notes": notes(history),
        "loads": history.loads.iter().map(load).collect::<Vec<_>>(),
    }))
}

/// The history as a section of Markdown.
pub fn markdown(history: &History<'_>) -> String {
    let title = escaped(&history.folder.display().to_string());
    let mut text = format!("### rbench: history in {title}\n\n{}\n\n", history.whole.name());
    for note in notes(history) {
        text += &format!("- {}\n", escaped(&note));
    }
    for load in &history.loads {
        for series in &load.series {
            for change in &series.changes {
                let what = escaped(&described(load, series, change));
                text += &format!("- {}: {what}\n", series.metric);
            }
        }
    }
    for failure in &history.failures {
        text += &format!("\n**Failed:** {}\n", escaped(failure));
    }
    text.push('\n');
    text
}

/// The series of one load as CSV for Apache Otava: the time, the run, and each metric that all runs have.
///
/// # Errors
/// If a value cannot be written, which does not happen in memory.
pub fn csv(load: &Load<'_>) -> Result<String, csv::Error> {
    let whole: Vec<&Series> =
        load.series.iter().filter(|series| series.values.iter().all(Option::is_some)).collect();
    let mut writer = csv::Writer::from_writer(Vec::new());
    let names = whole.iter().map(|series| series.metric.to_string());
    writer.write_record(["time".to_owned(), "run".to_owned()].into_iter().chain(names))?;
    for (i, run) in load.runs.iter().enumerate() {
        let values = whole
            .iter()
            .map(|series| series.values[i].map_or(String::new(), |value| value.to_string()));
        let first = [run.date.clone().unwrap_or_default(), run.name.clone()];
        writer.write_record(first.into_iter().chain(values))?;
    }
    let bytes = writer.into_inner().map_err(csv::IntoInnerError::into_error)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
