//! `rbench serve`: resolve, execute, analyse, write.

use super::configured;
use super::engine::Engine;
use super::figures;
use super::limits;
use super::publish::{Outputs, publish};
use super::recording;
use super::reporters::Reporters;
use super::run::{Files, Outcome, execute};
use super::save;
pub(super) use super::session::Session;
use super::signals;
use super::warm_up::WarmUp;
use crate::cli::ServeInput;
use crate::config::{self, Keys, Serve};
use crate::error::Error;
use crate::journal::Command;
use crate::mock;
use crate::output::door;
use crate::output::terminal::Ui;
use crate::workload::arrival::Rate;

/// `rbench serve`.
pub(super) fn serve(input: ServeInput, ui: Ui) -> Result<(), Error> {
    if input.args.print_config {
        return configured::print(input, ui);
    }
    let (engine, mut spec) = begin(input, ui)?;
    save::check("--output-file", spec.output_file.as_deref())?;
    save::check("--steady-state-output-file", spec.steady_state_file.as_deref())?;
    check_recording(&spec)?;
    let session = Session::open(&spec, ui)?;
    let result = session.explained(runs(&session, &mut spec, ui));
    drop(engine);
    result
}

/// Prepares for a run before a server is looked for: the engine of `--mock`, the resolved flags, limits of the system.
///
/// # Errors
/// If the flags do not go together, or the system lacks something that the run needs.
pub(super) fn begin(input: ServeInput, ui: Ui) -> Result<(Option<Engine>, Serve), Error> {
    signals::catch(ui)?;
    for note in &input.notes {
        ui.status(note);
    }
    let engine = if input.args.mock { Some(Engine::start(input.args.seed)?) } else { None };
    let keys = Keys::read(input.args.connection.api_key_file.as_deref())?;
    let mut spec = config::resolve(input, &keys, engine.as_ref().map(Engine::url))?;
    door::keep_secret(&spec.target.secrets);
    if engine.is_some() && !spec.backend.lists_models {
        // Nobody can be asked for the name, and --mock leaves no choice of it.
        spec.model = Some(mock::MODEL.to_owned());
    }
    for note in &spec.notes {
        ui.status(note);
    }
    limits::check(&spec, ui)?;
    Ok((engine, spec))
}

/// Checks the files that a run leaves while it goes on.
///
/// # Errors
/// If one cannot be used.
pub(super) fn check_recording(spec: &Serve) -> Result<(), Error> {
    save::check("--records", spec.records.as_deref())?;
    save::check("--failed-file", spec.failed_file.as_deref())?;
    recording::check(spec.records.as_deref())
}

/// One run, or one for each rate of `--multi`.
fn runs(session: &Session, spec: &mut Serve, ui: Ui) -> Result<(), Error> {
    if spec.sweep.is_empty() {
        return run(session, spec, ui);
    }
    let rates = spec.sweep.clone();
    for (i, &rate) in rates.iter().enumerate() {
        if let Rate::PerSecond(rate) = rate {
            ui.status(&format!("run {} of {}: {rate} requests/s", i + 1, rates.len()));
        }
        spec.set_rate(rate);
        run(session, spec, ui)?;
    }
    Ok(())
}

/// One run, from its prompts to its files.
fn run(session: &Session, spec: &Serve, ui: Ui) -> Result<(), Error> {
    let reporters = Reporters::of(spec, true, ui);
    let outcome = execute(session, spec, Command::Serve, &WarmUp::FirstRow, reporters)?;
    let Outcome { ran, mut records, closing } = outcome;
    let figures = figures::of_run(ran, &mut records, &session.tokenizer, ui);
    publish(&figures, &outputs(spec, &closing.files), ui).and(closing.close())
}

/// The layouts and files of the results.
fn outputs(spec: &Serve, files: &Files) -> Outputs {
    Outputs {
        table: spec.table,
        jsonl: spec.jsonl,
        quiet: spec.client.quiet_extras,
        plot: spec.plot,
        file: Some(files.result.clone()),
        details: spec.details,
        beside: files.beside.clone(),
        steady_file: spec.steady_state_file.clone(),
        strict: spec.client.strict,
    }
}
