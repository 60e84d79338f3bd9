//! `rbench compare --history`: the series of past runs.

use std::path::{Path, PathBuf};

use super::super::save;
use super::{by_load, doubts, metrics, reading, summaries};
use crate::analysis::comparison::{self, FEWEST, Row, Rule, Sampled, Verdict};
use crate::analysis::statistics::Difference;
use crate::cli::compare::CompareArgs;
use crate::error::{Error, Kind};
use crate::output::history::{History, Load, csv, json, markdown, table};
use crate::output::terminal::Ui;

/// The series of the runs in `folder`; `load` has the names of the flags that decide what is sent.
///
/// # Errors
/// If a file cannot be used, or a rule of `rules` is broken.
pub(super) fn history(
    args: &CompareArgs,
    folder: &Path,
    load: &[String],
    rules: &[Rule],
    ui: Ui,
) -> Result<(), Error> {
    save::check("--csv", args.csv.as_deref())?;
    let mut runs = reading::read(folder, load)?;
    in_order(&mut runs);
    let mut left_out = Vec::new();
    runs.retain(|run| {
        let doubts = doubts(run);
        let is_used = doubts.is_empty() || args.allow_client_limited;
        if !is_used {
            left_out.push(format!("left out: {}", doubts.join("; ")));
        }
        is_used
    });
    let metrics = metrics(args, rules);
    let loads: Vec<Load<'_>> = by_load(&runs)
        .into_values()
        .map(|runs| {
            let series = comparison::history(&runs, &metrics, args.min_effect);
            Load { runs, series }
        })
        .collect();
    if let Some(path) = &args.csv {
        write_csv(path, &loads)?;
    }
    let rows: Vec<Row> =
        loads.iter().flat_map(|load| &load.series).map(|one| row(one, args)).collect();
    let rows: Vec<&Row> = rows.iter().collect();
    let whole = comparison::whole(&rows);
    let failures: Vec<String> =
        rules.iter().filter_map(|rule| rule.broken_by(&rows, whole)).collect();
    let message = format!("the last {} runs failed: {}", args.recent, failures.join("; "));
    let is_failed = !failures.is_empty();
    let history = History { folder, loads, left_out, recent: args.recent, whole, failures };
    let text = if args.json { json(&history) + "\n" } else { table(&history) };
    summaries(args, &markdown(&history))?;
    ui.data(&text)
        .map_err(|error| Error::new(Kind::System, "cannot write to stdout").because(error))?;
    if is_failed { Err(Error::new(Kind::Gate, message)) } else { Ok(()) }
}

/// Sorts runs by the time at which they began, if that is known of all; else they stay as they were read.
fn in_order(runs: &mut [Sampled]) {
    let began = |run: &Sampled| -> Option<jiff::Timestamp> { run.date.as_ref()?.parse().ok() };
    if runs.iter().all(|run| began(run).is_some()) {
        runs.sort_by_key(|run| began(run));
    }
}

/// What the last runs of a series say, as rules see it.
fn row(series: &comparison::Series, args: &CompareArgs) -> Row {
    let known = series.values.iter().flatten().count();
    let row = |base, new, difference, verdict| Row {
        metric: series.metric,
        base,
        new,
        difference,
        p: difference.and_then(|difference: Difference| difference.p),
        verdict,
    };
    let Some(change) = series.alarm(args.recent) else {
        let verdict = if known < FEWEST {
            Verdict::Undecided(Some(FEWEST as u64))
        } else {
            Verdict::Unchanged
        };
        return row(f64::NAN, f64::NAN, None, verdict);
    };
    let difference = Difference { change: series.size(&change), interval: None, p: Some(change.p) };
    let verdict = if series.is_worse(&change) { Verdict::Regression } else { Verdict::Improvement };
    row(change.before, change.after, Some(difference), verdict)
}

/// Writes the series of the only load.
fn write_csv(path: &PathBuf, loads: &[Load<'_>]) -> Result<(), Error> {
    let [load] = loads else {
        let message =
            format!("--csv: there are {} loads, and a file has the series of one", loads.len());
        return Err(Error::new(Kind::Input, message).hint("give a folder with runs of one load"));
    };
    let failed = || Error::new(Kind::System, format!("cannot write {}", path.display()));
    let text = csv(load).map_err(|error| failed().because(error))?;
    std::fs::write(path, text).map_err(|error| failed().because(error))
}
