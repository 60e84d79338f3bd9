//! Runs from files of records, from result lines, and from folders with either.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::super::figures;
use crate::analysis::audit::{Audit, Evidence};
use crate::analysis::comparison::{Request, Sampled, settle};
use crate::analysis::counts::{Counts, Ended};
use crate::dialect::results;
use crate::error::{Error, Kind};
use crate::health::Health;
use crate::journal::{self, Recorded};
use crate::model::{OutputTokens, RequestRecord, TokenSource};

/// Reads the runs at `path`, each run of a folder once; `load` has the names of the flags that decide what is sent.
///
/// # Errors
/// If there is none, or a line is neither of records nor a result.
pub(in crate::app) fn read(path: &Path, load: &[String]) -> Result<Vec<Sampled>, Error> {
    if !path.is_dir() {
        return of_file(path, load);
    }
    let failed = |error| unreadable(path).because(error);
    let entries = std::fs::read_dir(path).map_err(failed)?;
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in entries {
        let file = entry.map_err(failed)?.path();
        if file.is_file() && file.extension().is_some_and(|end| end == "jsonl" || end == "json") {
            files.push(file);
        }
    }
    files.sort();
    let mut runs = Vec::new();
    for file in &files {
        for run in of_file(file, load)? {
            // A folder may hold the records of a run beside its result.
            match runs.iter_mut().find(|known: &&mut Sampled| known.is_same_run(&run)) {
                Some(known) if known.requests.is_none() => *known = run,
                Some(_) => {}
                None => runs.push(run),
            }
        }
    }
    if runs.is_empty() {
        let message = format!("{} has no file of results or records", path.display());
        return Err(Error::new(Kind::Input, message)
            .hint("their names end in .jsonl or .json; --records and --output-file write them"));
    }
    Ok(runs)
}

fn unreadable(path: &Path) -> Error {
    Error::new(Kind::Input, format!("cannot read {}", path.display()))
}

/// The runs of one file.
fn of_file(path: &Path, load: &[String]) -> Result<Vec<Sampled>, Error> {
    let failed = |error| unreadable(path).because(error);
    if journal::is_records(path).map_err(failed)? {
        let runs = journal::read(path)?;
        let several = runs.len() > 1;
        let name = |i: usize| {
            let number = if several { format!(" run {}", i + 1) } else { String::new() };
            format!("{}{number}", path.display())
        };
        let runs = runs.into_iter().enumerate();
        return Ok(runs.map(|(i, run)| of_records(name(i), run, load)).collect());
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let mut runs = Vec::new();
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let name = format!("{} line {}", path.display(), i + 1);
        let run = results::read(name.clone(), line, load).map_err(|what| {
            Error::new(Kind::Input, format!("{name}: {what}")).hint(
                "give a file of --records, or one of result lines that --output-file has written",
            )
        })?;
        runs.push(run);
    }
    if runs.is_empty() {
        return Err(Error::new(Kind::Input, format!("{} has no run", path.display())));
    }
    Ok(runs)
}

/// A run from its records.
fn of_records(name: String, recorded: Recorded, load: &[String]) -> Sampled {
    let Recorded { header, records, end, .. } = recorded;
    let metadata = &header.metadata;
    let mut run = Sampled { name, ..settle(&metadata.config, load) };
    run.load.insert("backend".to_owned(), metadata.backend.into());
    for (key, value) in [
        ("model", Value::from(metadata.model.clone())),
        ("tokenizer", metadata.tokenizer.clone().into()),
        ("seed", metadata.seed.into()),
    ] {
        run.setting.insert(key.to_owned(), value);
    }
    run.date = Some(metadata.date.clone());
    let counted = |record| counted(record, metadata.generates);
    let (health, partial) = match end {
        Some(end) => (end.health, end.partial),
        None => (
            Health { clock: header.clock, ..Health::default() },
            Some("the run did not end".to_owned()),
        ),
    };
    run.partial = partial;
    let known = records.len() as u64;
    let mut evidence = Evidence::new(true);
    for record in &records {
        evidence.add(&counted(record));
    }
    let scheduled = header.requests.unwrap_or(known);
    let audit = Audit::new(
        evidence,
        figures::asked(&header),
        scheduled,
        scheduled.saturating_sub(known),
        &health,
    );
    run.limits = audit.limits.into_iter().map(|limit| limit.evidence).collect();
    let sent = records.iter().filter(|record| record.sent.is_some());
    let requests = sent.map(|record| {
        let ended = counted(record);
        Request::of(&ended).within(&metadata.slos, &ended)
    });
    run.set_requests(requests.collect(), true);
    run
}

/// The request of `record`; the events of an answer that `generates` count as its tokens where the server did not count
/// them.
fn counted(record: &RequestRecord, generates: bool) -> Ended<'_> {
    let mut counts = Counts::of(record);
    if generates && record.completed() && counts.output.is_none() {
        let count = record.events.tokens.iter().map(|&n| u64::from(n)).sum();
        counts.output = Some(OutputTokens { count, source: TokenSource::Events });
    }
    Ended { record, counts, pieces: None }
}
