//! Tells what a run found: tables, failures, files.

use super::save;
use crate::config::Serve;
use crate::error::{Error, Kind};
use crate::metric::{SteadyState, over_time};
use crate::output;
use crate::plot;
use crate::report::{self, Report};
use crate::ui::Ui;

/// Prints the tables, tells of failures, and appends the lines.
///
/// # Errors
/// If something could not be written, or no request succeeded.
pub(super) fn publish(
    report: &Report<'_>,
    steady: Option<&SteadyState>,
    config: &Serve,
    date: &jiff::Zoned,
    ui: Ui,
) -> Result<(), Error> {
    let mut tables = partial_mark(report) + &config.table.table(report);
    if let Some(steady) = steady {
        tables += &config.table.steady_state_table(steady);
    }
    if !config.client.quiet_extras {
        tables += &output::extras::block(report);
    }
    let printed = ui
        .data(&tables)
        .map_err(|error| Error::new(Kind::System, "can not write to stdout").because(error));
    if config.plot {
        plots(report, ui);
    }
    tell_failures(report, ui);
    let path = config.output_file.clone().unwrap_or_else(|| {
        config.jsonl.file_name(report, &date.strftime("%m%d").to_string()).into()
    });
    let line = config.jsonl.line(report, config.details);
    if let Err(error) = save::append(&path, &line) {
        // What was measured is not lost with the file.
        ui.status(line.trim_end());
        return Err(error);
    }
    ui.status(&format!("result appended to {}", path.display()));
    match (steady, &config.steady_state_file) {
        (Some(steady), Some(path)) => {
            save::append(path, &config.jsonl.steady_state_line(steady))?;
            ui.status(&format!("steady state appended to {}", path.display()));
        }
        (None, _) if config.steady_state.is_some() => {
            ui.warn("there is no steady state to report: no request completed");
        }
        _ => {}
    }
    printed?;
    none_completed(report)?;
    if config.client.strict && !report.audit.sound() {
        let reasons: Vec<String> = report.audit.reasons().collect();
        let message = format!("--strict: the measurement is not valid: {}", reasons.join("; "));
        return Err(Error::new(Kind::Invalid, message));
    }
    Ok(())
}

/// An error if no request completed.
pub(super) fn none_completed(report: &Report<'_>) -> Result<(), Error> {
    let ledger = &report.audit.ledger;
    if ledger.completed > 0 {
        return Ok(());
    }
    let message = if report.partial.is_some() {
        format!(
            "no request completed: {} failed, {} were cancelled, {} were never sent",
            ledger.failed, ledger.cancelled, ledger.never_sent
        )
    } else {
        format!("all {} requests failed", report.records.len())
    };
    Err(Error::new(Kind::AllFailed, message))
}

/// The line before a table whose run did not do all of its plan.
pub(super) fn partial_mark(report: &Report<'_>) -> String {
    report.partial.as_ref().map(|why| format!("PARTIAL RESULT: {why}\n")).unwrap_or_default()
}

/// Tells which requests failed, and why.
pub(super) fn tell_failures(report: &Report<'_>, ui: Ui) {
    if !report.failures.is_empty() {
        for line in report::failure_lines(&report.failures, report.records.len()) {
            ui.status(&line);
        }
    }
}

/// Draws the run over time on stderr.
fn plots(report: &Report<'_>, ui: Ui) {
    let Some(over) = over_time(report.records, plot::POINTS) else {
        ui.warn("there is nothing to plot: no request was sent");
        return;
    };
    let end_s = over.slice_s * over.in_flight.len() as f64;
    let draw = |what: &str, values: &[f64]| {
        let title = format!("{what}, in slices of {} s", over.slice_s);
        ui.status(&plot::plot(&title, values, over.slice_s, end_s));
    };
    if report.facts.generates {
        draw("Output tokens per second", &over.tokens_per_s);
    }
    let in_flight: Vec<f64> = over.in_flight.iter().map(|&n| n as f64).collect();
    draw("Requests in flight", &in_flight);
}
