//! `rbench offline`: everything is sent at once, and the throughput is printed.

use std::path::Path;

use super::figures;
use super::publish::{none_completed, partial_mark, tell_failures, too_many_failed};
use super::reporters::Reporters;
use super::run::{Outcome, execute};
use super::save;
use super::serve::{Looks, begin, check_recording};
use super::session::Session;
use super::warm_up::WarmUp;
use crate::analysis::Analysis;
use crate::config::Serve;
use crate::control::probe::{self, State};
use crate::dialect::Choice;
use crate::dialect::sglang::Throughput;
use crate::error::{Error, Kind};
use crate::journal::Command;
use crate::output::terminal::Ui;

/// `rbench offline`.
pub(super) fn offline(asked: Throughput, ui: Ui) -> Result<(), Error> {
    let Throughput { job, result_file, warm_up } = asked;
    let (engine, looks, spec) = begin(job, ui)?;
    save::check("--result-filename", result_file.as_deref())?;
    check_recording(&spec)?;
    let session = Session::open(&spec, ui)?;
    let warm_up = match warm_up {
        Some(prompts) => {
            WarmUp::Prompts(prompts.build().map_err(|what| Error::new(Kind::Usage, what))?)
        }
        None => WarmUp::Nothing,
    };
    let result = session.explained(run(&session, &spec, looks, &warm_up, result_file.as_deref()));
    drop(engine);
    result
}

/// One run, from its prompts to its table and line.
fn run(
    session: &Session,
    spec: &Serve,
    looks: Looks,
    warm_up: &WarmUp,
    file: Option<&Path>,
) -> Result<(), Error> {
    let ui = session.ui;
    let reporters = Reporters::of(spec, None, ui);
    let outcome = execute(session, spec, Command::Offline, warm_up, reporters)?;
    let Outcome { ran, records, closing } = outcome;
    let analysis = figures::of_run(ran, &records, &session.tokenizer, ui);
    publish_throughput(&analysis, looks.table, looks.jsonl, file, ui)
        .and_then(|()| too_many_failed(&analysis, spec.results.allow_failed))
        .and(closing.close())
}

/// Prints the table of throughput, lists failures, and appends the line to `file`.
///
/// # Errors
/// If something could not be written, or no request succeeded.
pub(super) fn publish_throughput(
    report: &Analysis<'_>,
    table: Choice,
    jsonl: Choice,
    file: Option<&Path>,
    ui: Ui,
) -> Result<(), Error> {
    let last = report
        .server_info
        .as_ref()
        .and_then(|info| probe::last_generation_throughput(info, State::First));
    let printed = ui
        .data(&(partial_mark(report) + &table.offline_table(report, last)))
        .map_err(|error| Error::new(Kind::System, "cannot write to stdout").because(error));
    tell_failures(report, ui);
    if let Some(path) = file {
        let line = jsonl.offline_line(report, last);
        if let Err(error) = save::append(path, &line) {
            // What was measured is not lost with the file.
            ui.report(line.trim_end());
            return Err(error);
        }
        ui.status(&format!("result appended to {}", path.display()));
    }
    printed?;
    none_completed(report)
}
