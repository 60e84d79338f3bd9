//! `rbench serve`: resolve, execute, analyse, write.

use super::dry_run;
use super::engine::Engine;
use super::figures;
use super::gates;
use super::limits;
use super::publish::{Outputs, publish};
use super::recording;
use super::reporters::Reporters;
use super::run::{Files, Outcome, execute};
use super::save;
pub(super) use super::session::Session;
use super::signals;
use super::warm_up::WarmUp;
use crate::config::{self, Job, Keys, Layout, Layouts, Serve};
use crate::dialect::Choice;
use crate::error::{Error, Kind};
use crate::journal::Command;
use crate::mock;
use crate::output::door;
use crate::output::terminal::Ui;
use crate::workload::arrival::Rate;

/// `rbench serve`.
pub(super) fn serve(job: Job, ui: Ui) -> Result<(), Error> {
    let ui = ui.hushed(job.spec.outputs.quiet);
    let (engine, looks, mut spec) = begin(job, ui)?;
    for note in looks.table.unprinted(!spec.slos.is_empty(), spec.cache_report) {
        ui.status(&note);
    }
    save::check("--output-file", spec.results.file.as_deref())?;
    save::check("--csv", spec.results.csv.as_deref())?;
    save::check("--steady-state-output-file", spec.steady_state_file.as_deref())?;
    check_recording(&spec)?;
    gates::check(&spec.gates)?;
    if spec.results.dry {
        return dry_run::show(&spec, looks.jsonl, ui);
    }
    let session = Session::open(&spec, ui)?;
    let result = session.explained(runs(&session, &mut spec, looks, ui));
    drop(engine);
    result
}

/// The layouts of the results of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Looks {
    /// Layout of the table.
    pub(super) table: Choice,
    /// Keys of the result file.
    pub(super) jsonl: Choice,
}

impl Looks {
    /// The layouts that `layouts` names, which then have their releases.
    ///
    /// # Errors
    /// If there is no such layout.
    pub(super) fn of(layouts: &mut Layouts) -> Result<Self, Error> {
        let look = |key: &str, layout: &mut Layout| {
            let choice = Choice::of(layout)
                .map_err(|what| Error::new(Kind::Usage, format!("{key}: {what}")))?;
            *layout = choice.layout();
            Ok(choice)
        };
        let Layouts { table, jsonl } = layouts;
        Ok(Self { table: look("table", table)?, jsonl: look("jsonl", jsonl)? })
    }
}

/// Prepares for a run before a server is looked for: the engine of `--mock`, the resolved values, limits of the system.
///
/// # Errors
/// If the values do not go together, or the system lacks something that the run needs.
pub(super) fn begin(job: Job, ui: Ui) -> Result<(Option<Engine>, Looks, Serve), Error> {
    signals::catch(ui)?;
    for note in &job.notes {
        ui.status(note);
    }
    let engine =
        if job.spec.servers.mock { Some(Engine::start(job.spec.load.seed)?) } else { None };
    let (looks, spec) = resolved(job, engine.as_ref())?;
    for note in &spec.notes {
        ui.status(note);
    }
    limits::check(&spec, ui)?;
    Ok((engine, looks, spec))
}

/// The run of `job` with nothing left to look up, against `engine` if there is one.
///
/// # Errors
/// If the values do not go together.
pub(super) fn resolved(mut job: Job, engine: Option<&Engine>) -> Result<(Looks, Serve), Error> {
    let looks = Looks::of(&mut job.spec.layouts)?;
    let keys = Keys::read(job.spec.connection.api_key_file.as_deref())?;
    let mut spec = config::resolve(job, &keys, engine.map(Engine::url))?;
    door::keep_secret(&spec.target.secrets);
    if engine.is_some() && !spec.backend.lists_models {
        // Nobody can be asked for the name, and --mock leaves no choice of it.
        spec.model = Some(mock::MODEL.to_owned());
    }
    Ok((looks, spec))
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
fn runs(session: &Session, spec: &mut Serve, looks: Looks, ui: Ui) -> Result<(), Error> {
    if spec.sweep.is_empty() {
        return run(session, spec, looks, ui);
    }
    let rates = spec.sweep.clone();
    for (i, &rate) in rates.iter().enumerate() {
        if let Rate::PerSecond(rate) = rate {
            ui.status(&format!("run {} of {}: {rate} requests/s", i + 1, rates.len()));
        }
        spec.set_rate(rate);
        run(session, spec, looks, ui)?;
    }
    Ok(())
}

/// One run, from its prompts to its files.
fn run(session: &Session, spec: &Serve, looks: Looks, ui: Ui) -> Result<(), Error> {
    let reporters = Reporters::of(spec, Some(looks.jsonl), ui);
    let outcome = execute(session, spec, Command::Serve, &WarmUp::FirstRow, reporters)?;
    let Outcome { ran, records, closing } = outcome;
    let analysis = figures::of_run(ran, &records, &session.tokenizer, ui);
    let published = publish(&analysis, &outputs(spec, looks, &closing.files), ui);
    // The files are for whoever asks about a run that failed as well.
    let judged = gates::judge(&spec.gates, &analysis, spec.client.strict, ui);
    published.and(closing.close()).and(judged)
}

/// The layouts and files of the results.
pub(super) fn outputs(spec: &Serve, looks: Looks, files: &Files) -> Outputs {
    Outputs {
        table: looks.table,
        jsonl: looks.jsonl,
        quiet: spec.client.quiet_extras,
        verbose: spec.client.verbose,
        plot: spec.plot,
        file: Some(files.result.clone()).filter(|path| !path.as_os_str().is_empty()),
        json: spec.results.json,
        csv: spec.results.csv.clone(),
        details: spec.details,
        beside: files.beside.clone(),
        steady_file: spec.steady_state_file.clone(),
        strict: spec.client.strict,
        allow_failed: Some(spec.results.allow_failed),
    }
}
