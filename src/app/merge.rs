//! `rbench merge`: the figures of several runs of one load together.

use super::compare::{by_load, check_ignored, doubts, read};
use crate::analysis::comparison::{self, Compared, Sample, Sampled, Source};
use crate::analysis::measure::Percent;
use crate::analysis::statistics::CONFIDENCE;
use crate::cli::compare::load_flags;
use crate::cli::merge::MergeArgs;
use crate::error::{Error, Kind};
use crate::output::comparison::differences;
use crate::output::merged::{Merged, Row, json, table};
use crate::output::terminal::Ui;

/// `rbench merge`.
///
/// # Errors
/// If a file cannot be used, the runs are unlike, or one is no evidence.
pub(super) fn merge(args: &MergeArgs, ui: Ui) -> Result<(), Error> {
    let mut load = load_flags();
    check_ignored(&args.ignore, &load)?;
    load.retain(|flag| !args.ignore.contains(flag));
    let mut runs: Vec<Sampled> = Vec::new();
    for path in &args.files {
        runs.extend(read(path, &load)?);
    }
    for (i, run) in runs.iter().enumerate() {
        if let Some(known) = runs[..i].iter().find(|known| known.is_same_run(run)) {
            let message = format!("{} and {} are the same run", known.name, run.name);
            return Err(Error::new(Kind::Input, message)
                .hint("give each run once, by its records or by its result line"));
        }
    }
    let loads: Vec<Vec<&Sampled>> = by_load(&runs).into_values().collect();
    let [runs] = &loads[..] else { return Err(unlike(&loads)) };
    let doubts: Vec<String> = runs.iter().flat_map(|run| doubts(run)).collect();
    if !doubts.is_empty() && !args.allow_client_limited {
        let message = format!("the runs are no evidence: {}", doubts.join("; "));
        return Err(Error::new(Kind::Input, message)
            .hint("--allow-client-limited merges them nevertheless"));
    }
    let metrics = if args.metrics.is_empty() { defaults() } else { args.metrics.clone() };
    let row = |&metric: &Compared| {
        let estimate = comparison::estimate(runs, metric);
        // Latencies that the load does not have, or percentiles of several runs that nothing gives.
        let estimate = estimate.filter(|estimate| estimate.value.is_finite());
        let interval = estimate.as_ref().and_then(|estimate| estimate.interval(CONFIDENCE));
        Row {
            metric,
            value: estimate.map(|estimate| estimate.value),
            interval,
            source: comparison::source(runs, metric),
        }
    };
    let rows: Vec<Row> =
        metrics.iter().map(row).filter(|row| row.source != Source::Absent).collect();
    let merged = Merged { runs, rows, doubts };
    let text = if args.json { json(&merged) + "\n" } else { table(&merged) };
    ui.data(&text)
        .map_err(|error| Error::new(Kind::System, "cannot write to stdout").because(error))
}

/// What is reported where nothing else is asked for.
fn defaults() -> Vec<Compared> {
    let mut metrics =
        vec![Compared::Success, Compared::RequestThroughput, Compared::OutputThroughput];
    for sample in Sample::ALL {
        metrics.push(Compared::Mean(sample));
        metrics.extend([50, 90, 95, 99].map(|q| Compared::Percentile(Percent::whole(q), sample)));
    }
    metrics
}

/// An error that shows how the loads differ.
fn unlike(loads: &[Vec<&Sampled>]) -> Error {
    let message = format!("the runs are of {} loads, which cannot be merged", loads.len());
    let mut error = Error::new(Kind::Input, message);
    if let [first, second, ..] = loads {
        for difference in differences(first, second, |run| &run.load) {
            error = error.hint(format!("{difference} changes what is sent"));
        }
    }
    error.hint("--ignore FLAG merges runs that differ in it nevertheless")
}
