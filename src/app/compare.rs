//! `rbench compare`: runs before and after a change, and whether they differ.

mod history;
mod reading;

pub(super) use self::reading::read;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::save;
use crate::analysis::comparison::{self, DEFAULT, Pair, Row, Rule, Sampled, Terms, Whole};
use crate::cli::compare::{CompareArgs, load_flags};
use crate::config;
use crate::error::{Error, Kind};
use crate::output::comparison::{Against, Compared, json, markdown, table};
use crate::output::html;
use crate::output::terminal::Ui;

/// The variable that names a file for the summary of a step, which GitHub sets.
pub(super) const STEP_SUMMARY: &str = "GITHUB_STEP_SUMMARY";

/// Runs of one load, by what was sent.
pub(super) type ByLoad<'a> = BTreeMap<String, Vec<&'a Sampled>>;

/// `rbench compare`.
///
/// # Errors
/// If a file cannot be used, no load is on both sides, or the comparison fails.
pub(super) fn compare(args: &CompareArgs, ui: Ui) -> Result<(), Error> {
    save::check("--summary", args.summary.as_deref())?;
    save::check("--html", args.html.as_deref())?;
    config::files_differ(&[
        ("RECORDS", args.base.as_deref()),
        ("--summary", args.summary.as_deref()),
        ("--csv", args.csv.as_deref()),
        ("--html", args.html.as_deref()),
    ])?;
    let mut load = load_flags();
    check_ignored(&args.ignore, &load)?;
    load.retain(|flag| !args.ignore.contains(flag));
    let rules = if args.fail_on.is_empty() { vec![Rule::Regression] } else { args.fail_on.clone() };
    if let Some(folder) = &args.history {
        return history::history(args, folder, &load, &rules, ui);
    }
    // The flags give one of both.
    let before = args.base.as_deref().unwrap_or_else(|| Path::new(""));
    let terms = Terms {
        metrics: metrics(args, &rules),
        min_effect: args.min_effect,
        tolerance: args.tolerance,
    };
    let base = read(before, &load)?;
    let sides: Result<Vec<Vec<Sampled>>, Error> =
        args.new.iter().map(|path| read(path, &load)).collect();
    let sides = sides?;
    let base_loads = by_load(&base);
    let mut compared = Vec::new();
    for (path, side) in args.new.iter().zip(&sides) {
        let (pairs, unpaired) = pair(&base_loads, &by_load(side));
        if pairs.is_empty() {
            return Err(unlike(before, path, &base, side));
        }
        let rows = comparison::compare(&pairs, &terms);
        compared.push(decide([before, path], pairs, rows, unpaired, &rules, args));
    }
    publish(args, &compared, ui)?;
    let failures: Vec<String> =
        compared.iter().flat_map(|against| against.failures.iter().cloned()).collect();
    if failures.is_empty() {
        return Ok(());
    }
    Err(Error::new(Kind::Gate, format!("the comparison failed: {}", failures.join("; "))))
}

/// Refuses names after `--ignore` that are no flags of a load.
pub(super) fn check_ignored(ignore: &[String], known: &[String]) -> Result<(), Error> {
    let Some(unknown) = ignore.iter().find(|flag| !known.contains(flag)) else {
        return Ok(());
    };
    let message = format!("--ignore {unknown}: no flag of this name decides what is sent");
    Err(Error::new(Kind::Usage, message).hint(format!("there are {}", known.join(", "))))
}

/// What is compared: what is asked for, and what rules are about.
fn metrics(args: &CompareArgs, rules: &[Rule]) -> Vec<comparison::Compared> {
    let asked = if args.metrics.is_empty() { DEFAULT.to_vec() } else { args.metrics.clone() };
    let mut metrics: Vec<comparison::Compared> = Vec::new();
    for metric in asked.into_iter().chain(rules.iter().filter_map(|rule| rule.metric())) {
        if !metrics.contains(&metric) {
            metrics.push(metric);
        }
    }
    metrics
}

pub(super) fn by_load(runs: &[Sampled]) -> ByLoad<'_> {
    let mut groups = ByLoad::new();
    for run in runs {
        // Keys in one order, whatever the order of the file.
        let load: BTreeMap<_, _> = run.load.iter().collect();
        let key = serde_json::to_string(&load).unwrap_or_default();
        groups.entry(key).or_default().push(run);
    }
    groups
}

/// The loads that are on both sides, and how many are on one alone.
fn pair<'a>(before: &ByLoad<'a>, after: &ByLoad<'a>) -> (Vec<Pair<'a>>, usize) {
    let pair = |(key, base): (&String, &Vec<&'a Sampled>)| {
        Some(Pair { base: base.clone(), new: after.get(key)?.clone() })
    };
    let pairs: Vec<Pair<'a>> = before.iter().filter_map(pair).collect();
    let unpaired = before.len() + after.len() - 2 * pairs.len();
    (pairs, unpaired)
}

/// An error that shows how the loads of both sides differ.
fn unlike(base: &Path, path: &Path, before: &[Sampled], after: &[Sampled]) -> Error {
    let message = format!("{} and {} have no load in common", base.display(), path.display());
    let mut error = Error::new(Kind::Input, message);
    if let (Some(a), Some(b)) = (before.first(), after.first()) {
        let differences = crate::output::comparison::differences(&[a], &[b], |run| &run.load);
        for difference in differences {
            error = error.hint(format!("{difference} changes what is sent"));
        }
    }
    error.hint("--ignore FLAG compares runs that differ in it nevertheless")
}

/// The verdict on one file.
fn decide<'a>(
    [base, new]: [&'a Path; 2],
    pairs: Vec<Pair<'a>>,
    rows: Vec<Vec<Row>>,
    unpaired: usize,
    rules: &[Rule],
    args: &'a CompareArgs,
) -> Compared<'a> {
    let runs = || pairs.iter().flat_map(|pair| pair.base.iter().chain(&pair.new));
    let doubts: Vec<String> = runs().flat_map(|run| doubts(run)).collect();
    let is_evidence = doubts.is_empty() || args.allow_client_limited;
    let all: Vec<&Row> = rows.iter().flatten().collect();
    let whole = if is_evidence { comparison::whole(&all) } else { Whole::Inconclusive };
    let applies = |rule: &&Rule| is_evidence || **rule == Rule::Inconclusive;
    let failures =
        rules.iter().filter(applies).filter_map(|rule| rule.broken_by(&all, whole)).collect();
    let against = pairs.into_iter().zip(rows).map(|(pair, rows)| Against { pair, rows }).collect();
    Compared { base, new, against, unpaired, doubts, whole, failures }
}

/// Prints the comparisons, and appends the summaries.
fn publish(args: &CompareArgs, compared: &[Compared<'_>], ui: Ui) -> Result<(), Error> {
    let text = if args.json {
        compared.iter().map(|one| json(one) + "\n").collect()
    } else {
        compared.iter().map(table).collect::<Vec<_>>().join("\n")
    };
    let page: String = compared.iter().map(markdown).collect();
    summaries(args, &page)?;
    if let Some(path) = &args.html {
        save::page(path, &html::compared(compared))?;
        ui.status(&format!("page written to {}", path.display()));
    }
    ui.data(&text)
        .map_err(|error| Error::new(Kind::System, "cannot write to stdout").because(error))
}

/// Why a run is no evidence.
pub(super) fn doubts(run: &Sampled) -> Vec<String> {
    let limits = run.limits.iter().map(|limit| format!("the client was the limit: {limit}"));
    let partial = run.partial.iter().map(|why| format!("the run is partial: {why}"));
    limits.chain(partial).map(|why| format!("{}: {why}", run.name)).collect()
}

/// Appends `page` to the files for summaries.
fn summaries(args: &CompareArgs, page: &str) -> Result<(), Error> {
    let summaries: Vec<PathBuf> = args
        .summary
        .iter()
        .cloned()
        .chain(std::env::var_os(STEP_SUMMARY).map(Into::into))
        .collect();
    for path in summaries.iter().filter(|path| !path.as_os_str().is_empty()) {
        save::append_lines(path, page.as_bytes()).map_err(|error| {
            Error::new(Kind::System, format!("cannot append the summary to {}", path.display()))
                .because(error)
        })?;
    }
    Ok(())
}
