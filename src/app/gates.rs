//! Objectives of a run, and the files for services of continuous integration.

use std::path::{Path, PathBuf};

use super::compare::STEP_SUMMARY;
use super::save;
use crate::analysis::Analysis;
use crate::analysis::comparison::{DEFAULT, Direction, Judged, Met, Request, Sampled, estimate};
use crate::config::Gates;
use crate::error::{Error, Kind};
use crate::output::gates::{self, Followed};
use crate::output::junit;
use crate::output::terminal::Ui;

/// Checks before the run that the files can be written after it.
///
/// # Errors
/// If one cannot.
pub(super) fn check(gates: &Gates) -> Result<(), Error> {
    save::check("--junit", gates.junit.as_deref())?;
    save::check("--summary", gates.summary.as_deref())?;
    save::check("--bencher", gates.bencher.as_deref())?;
    let Some(folder) = &gates.action else { return Ok(()) };
    std::fs::create_dir_all(folder).map_err(|error| {
        let message = format!("--benchmark-action {}: cannot be made", folder.display());
        Error::new(Kind::Usage, message).because(error)
    })
}

/// Judges the run by its objectives, and writes what is asked for; with `strict` what is inconclusive is an error.
///
/// # Errors
/// If an objective is not met, or a file cannot be written.
pub(super) fn judge(
    gates: &Gates,
    report: &Analysis<'_>,
    strict: bool,
    ui: Ui,
) -> Result<(), Error> {
    if !gates.asks() {
        return Ok(());
    }
    let run = sampled(report);
    let judged: Vec<Judged> =
        gates.objectives.iter().map(|objective| objective.judge(&[&run], gates.on)).collect();
    for one in &judged {
        ui.report(&format!("objective {}", gates::line(one)));
    }
    let name = name(report);
    write(gates, &name, &judged, &run)?;
    let failed: Vec<String> =
        judged.iter().filter(|one| one.met == Met::No).map(gates::line).collect();
    if !failed.is_empty() {
        return Err(Error::new(Kind::Gate, failed.join("; ")));
    }
    let open: Vec<String> =
        judged.iter().filter(|one| one.met == Met::Open).map(gates::line).collect();
    if open.is_empty() {
        return Ok(());
    }
    if strict {
        return Err(Error::new(Kind::Invalid, format!("--strict: {}", open.join("; "))));
    }
    ui.warn(&format!("the sample does not decide {} of {} objectives", open.len(), judged.len()));
    ui.hint("more requests narrow the bounds; --slo-on point takes the measured figure; --strict makes it an error");
    Ok(())
}

/// The run as objectives see it.
pub(super) fn sampled(report: &Analysis<'_>) -> Sampled {
    let mut run = Sampled::default();
    let ledger = &report.audit.ledger;
    run.figures.insert("completed".to_owned(), ledger.completed.into());
    run.figures.insert("requests".to_owned(), ledger.sent.into());
    for stat in &report.measures.stats {
        if let Some(crate::output::names::Name::Own(key)) = crate::output::names::name(stat.measure)
        {
            run.figures.insert(key, crate::output::object::number(stat.value));
        }
    }
    if !report.records.is_empty() {
        let sent = report.requests().filter(|request| request.record.sent.is_some());
        let slos = &report.metadata.slos;
        let of = |request| Request::of(&request).within(slos, &request);
        run.set_requests(sent.map(of).collect(), true);
    }
    run
}

/// The name of the run for services: its tag, else its load.
fn name(report: &Analysis<'_>) -> String {
    let metadata = &report.metadata;
    metadata.tag.clone().unwrap_or_else(|| {
        let rate = serde_json::to_value(metadata.rate).unwrap_or_default();
        let rate = rate.as_str().map_or(rate.to_string(), str::to_owned);
        let cap = metadata.max_concurrency.map(|n| format!(", at most {n} in flight"));
        format!(
            "{} {}, {rate} requests/s{}",
            metadata.model,
            metadata.dataset_name,
            cap.unwrap_or_default()
        )
    })
}

/// Writes the files.
fn write(gates: &Gates, name: &str, judged: &[Judged], run: &Sampled) -> Result<(), Error> {
    if let Some(path) = &gates.junit {
        let text = junit::objectives(name, judged).map_err(|what| {
            Error::new(Kind::System, format!("--junit: cannot write the objectives as XML: {what}"))
        })?;
        whole(path, &text)?;
    }
    let step = std::env::var_os(STEP_SUMMARY).map(PathBuf::from);
    let step = step.filter(|path| !path.as_os_str().is_empty());
    for path in gates.summary.iter().chain(&step).filter(|_| !judged.is_empty()) {
        save::append_lines(path, gates::markdown(name, judged).as_bytes())
            .map_err(|error| cannot_write(path).because(error))?;
    }
    let followed: Vec<Followed> = DEFAULT
        .into_iter()
        .chain(judged.iter().map(|one| one.objective.metric).filter(|m| !DEFAULT.contains(m)))
        .filter_map(|metric| Some(Followed { metric, estimate: estimate(&[run], metric)? }))
        .collect();
    if let Some(path) = &gates.bencher {
        whole(path, &gates::bencher(name, &followed))?;
    }
    if let Some(folder) = &gates.action {
        for (file, direction) in [
            ("smaller-is-better.json", Direction::Lower),
            ("bigger-is-better.json", Direction::Higher),
        ] {
            whole(&folder.join(file), &gates::action(name, &followed, direction))?;
        }
    }
    Ok(())
}

fn cannot_write(path: &Path) -> Error {
    Error::new(Kind::System, format!("cannot write {}", path.display()))
}

fn whole(path: &Path, text: &str) -> Result<(), Error> {
    std::fs::write(path, text).map_err(|error| cannot_write(path).because(error))
}
