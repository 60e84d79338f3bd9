//! Tells what a run found: tables, failures, files.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use super::save;
use crate::analysis::audit::Ledger;
use crate::analysis::{self, Analysis};
use crate::config::timeouts::MaxErrors;
use crate::dialect::{Choice, Mode, ResultFile, Wanted};
use crate::error::{Error, Kind};
use crate::output;
use crate::output::plot;
use crate::output::terminal::Ui;
use crate::protocol::backend::leave_out;

/// How and where a run is told of.
pub(super) struct Outputs {
    /// Layout of the table.
    pub(super) table: Choice,
    /// Keys of the line.
    pub(super) jsonl: Choice,
    /// Whether the block on the measurement is left out.
    pub(super) quiet: bool,
    /// Whether it has all its rows also where all is well.
    pub(super) verbose: bool,
    /// Whether the run is plotted over time.
    pub(super) plot: bool,
    /// The result file, if there is to be one.
    pub(super) file: Option<PathBuf>,
    /// Whether stdout has the line in place of the tables.
    pub(super) json: bool,
    /// A file of comma-separated values, if there is to be one.
    pub(super) csv: Option<PathBuf>,
    /// Whether the line has arrays with one entry per request.
    pub(super) details: bool,
    /// A file of records that is needed no more when the line has been appended.
    pub(super) beside: Option<PathBuf>,
    /// File for the steady state.
    pub(super) steady_file: Option<PathBuf>,
    /// Whether a measurement that is not sound is an error.
    pub(super) strict: bool,
    /// How many failures are no error; any number if that is not judged.
    pub(super) allow_failed: Option<MaxErrors>,
}

/// Appends the lines, prints the tables, and lists failures: what was measured is stored before anybody who reads it
/// can hold that up.
///
/// # Errors
/// If something could not be written, or no request succeeded.
pub(super) fn publish(report: &Analysis<'_>, outputs: &Outputs, ui: Ui) -> Result<(), Error> {
    // What is compatible ends the output: scripts take its last lines.
    let mut tables = partial_mark(report);
    if !outputs.quiet {
        tables += &output::block::block(report, outputs.verbose);
    }
    tables += &outputs.table.table(report);
    if let Some(steady) = &report.steady {
        let table = outputs.table.steady_state_table(steady);
        if table.is_empty() {
            ui.warn(&format!("the table of {} has no rows for the steady state", outputs.table));
        }
        tables += &table;
    }
    let stored = store(report, outputs, ui).and(add_to_table(report, outputs, ui));
    if outputs.json {
        tables = outputs.jsonl.line(report, outputs.details);
    }
    let printed = ui
        .data(&tables)
        .map_err(|error| Error::new(Kind::System, "cannot write to stdout").because(error));
    if outputs.plot {
        plots(report, ui);
    }
    tell_failures(report, ui);
    stored.and(printed)?;
    none_completed(report)?;
    if let Some(allowed) = outputs.allow_failed {
        too_many_failed(report, allowed)?;
    }
    if outputs.strict && !report.audit.sound() {
        let reasons: Vec<String> = report.audit.reasons().collect();
        let message = format!("--strict: the measurement is not valid: {}", reasons.join("; "));
        return Err(Error::new(Kind::Invalid, message));
    }
    Ok(())
}

/// Writes the files, and removes the records beside the result, which they make superfluous.
///
/// # Errors
/// If a file cannot be written.
pub(super) fn store(report: &Analysis<'_>, outputs: &Outputs, ui: Ui) -> Result<(), Error> {
    let wanted = Wanted {
        file: outputs.file.as_deref(),
        steady: outputs.steady_file.as_deref(),
        details: outputs.details,
    };
    let files = outputs.jsonl.files(&[report], &wanted);
    let beside = outputs.beside.as_deref();
    files.iter().try_for_each(|file| write(file, beside, ui))?;
    if let Some(beside) = beside
        && let Err(error) = std::fs::remove_file(beside)
        && error.kind() != io::ErrorKind::NotFound
    {
        ui.warn(&format!("cannot remove {}, which is needed no more: {error}", beside.display()));
    }
    Ok(())
}

/// Longest header of a file of comma-separated values, in bytes.
const LONGEST_HEADER: u64 = 1 << 16;

/// Appends the result to the file of comma-separated values, if there is to be one.
fn add_to_table(report: &Analysis<'_>, outputs: &Outputs, ui: Ui) -> Result<(), Error> {
    let Some(path) = &outputs.csv else { return Ok(()) };
    let mut header = String::new();
    // What cannot be read has no header, and is found out about when it is written to.
    if let Ok(file) = File::open(path) {
        let _ = BufReader::new(file.take(LONGEST_HEADER)).read_line(&mut header);
    }
    let line = outputs.jsonl.line(report, false);
    let (rows, lost) = output::csv::rows(&header, &line).map_err(|what| {
        Error::new(Kind::Input, format!("--csv {}: {what}", path.display()))
            .hint("name a file that does not exist, or one that --csv has written")
    })?;
    save::append_lines(path, rows.as_bytes()).map_err(|error| {
        let message = format!("cannot append the result to {}", path.display());
        Error::new(Kind::System, message).because(error)
    })?;
    if !lost.is_empty() {
        ui.warn(&format!("--csv {}: its header lacks {}", path.display(), lost.join(", ")));
    }
    ui.status(&format!("result appended to {}", path.display()));
    Ok(())
}

/// An error if no request completed.
pub(super) fn none_completed(report: &Analysis<'_>) -> Result<(), Error> {
    let ledger = &report.audit.ledger;
    if ledger.completed > 0 {
        return Ok(());
    }
    let message = if report.partial.is_some() {
        let unknown = match ledger.unfinished {
            0 => String::new(),
            n => format!(", of {n} nothing is known"),
        };
        format!(
            "no request completed: {} failed, {} were cancelled, {} were never sent{unknown}",
            ledger.failed, ledger.cancelled, ledger.never_sent
        )
    } else {
        format!("all {} requests failed", ledger.known())
    };
    Err(Error::new(Kind::AllFailed, message))
}

/// An error if more requests failed than are `allowed` to.
pub(super) fn too_many_failed(report: &Analysis<'_>, allowed: MaxErrors) -> Result<(), Error> {
    let Ledger { sent, failed, .. } = report.audit.ledger;
    if failed <= allowed.of(sent) {
        return Ok(());
    }
    let message =
        format!("{failed} of {sent} requests failed, more than the {allowed} of --allow-failed");
    Err(Error::new(Kind::TooManyFailed, message)
        .hint("the result is printed and stored all the same"))
}

/// Writes one file; `beside` has the records of the run.
fn write(file: &ResultFile, beside: Option<&Path>, ui: Ui) -> Result<(), Error> {
    let ResultFile { what, path, text, mode } = file;
    let (written, done) = match mode {
        Mode::Append => (save::append(path, text), "appended"),
        Mode::Replace => (save::replace(path, text), "written"),
    };
    if let Err(error) = written {
        // What was measured is not lost with the file.
        ui.report(text.trim_end());
        return Err(match beside.filter(|beside| beside.exists()) {
            Some(beside) => error.hint(format!(
                "the records of the run are in {0}: rbench report {0} --output-file FILE writes the result anew",
                beside.display()
            )),
            None => error,
        });
    }
    ui.status(&format!("{what} {done} to {}", path.display()));
    Ok(())
}

/// The line before a table whose run did not do all of its plan.
pub(super) fn partial_mark(report: &Analysis<'_>) -> String {
    report.partial.as_ref().map(|why| format!("PARTIAL RESULT: {why}\n")).unwrap_or_default()
}

/// Tells which requests failed, and why.
pub(super) fn tell_failures(report: &Analysis<'_>, ui: Ui) {
    if !report.failures.is_empty() {
        for line in analysis::failure_lines(&report.failures, report.audit.ledger.known()) {
            ui.report(&line);
        }
        let mut said = report.failures.iter().filter_map(|group| group.excerpt.as_deref());
        if let Some(hint) = said.find_map(leave_out) {
            ui.hint(&hint);
        }
    }
}

/// Draws the run over time on stderr.
fn plots(report: &Analysis<'_>, ui: Ui) {
    let Some(over) = report.over_time(plot::POINTS) else {
        ui.warn("there is nothing to plot: no request was sent");
        return;
    };
    let end_s = over.slice_s * over.in_flight.len() as f64;
    let draw = |what: &str, values: &[f64]| {
        let title = format!("{what}, in slices of {} s", over.slice_s);
        ui.block(&plot::plot(&title, values, over.slice_s, end_s));
    };
    if report.metadata.generates {
        draw("Output tokens per second", &over.tokens_per_s);
    }
    let in_flight: Vec<f64> = over.in_flight.iter().map(|&n| n as f64).collect();
    draw("Requests in flight", &in_flight);
}
