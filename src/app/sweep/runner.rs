//! Runs the points of a sweep one after the other, against sessions that they share.

use serde_json::Map;

use super::super::figures;
use super::super::gates;
use super::super::hopeless::HOPELESS;
use super::super::limits;
use super::super::publish::{none_completed, store, tell_failures};
use super::super::reporters::Reporters;
use super::super::run::{Outcome, execute};
use super::super::serve;
use super::super::session::Session;
use super::super::signals;
use super::super::warm_up::WarmUp;
use super::point::Point;
use super::store::{RECORDS, RESULT, STEADY_STATE, Store, Stored};
use crate::analysis::comparison::Sampled;
use crate::error::{Error, Kind};
use crate::journal::Command;
use crate::output::sweep::State;
use crate::output::terminal::Ui;

/// What became of a run.
pub(super) struct Ran {
    /// Its state.
    pub(super) state: State,
    /// Why it failed, or why its figures are not to be trusted.
    pub(super) note: Option<String>,
    /// Its requests and figures.
    pub(super) run: Sampled,
}

/// Runs points.
pub(super) struct Runner<'a> {
    store: &'a Store,
    /// The session of the last point, and what runs with it have in common.
    session: Option<(String, Session)>,
    ui: Ui,
}

impl<'a> Runner<'a> {
    /// A runner that writes to `store`.
    pub(super) fn new(store: &'a Store, ui: Ui) -> Self {
        Self { store, session: None, ui }
    }

    /// Runs `point`, and stores what became of it. A run that fails is no error.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub(super) fn run(&mut self, point: &mut Point) -> Result<Ran, Error> {
        let folder = self.store.begin(&point.name)?;
        let spec = &mut point.spec;
        spec.records = Some(folder.join(RECORDS));
        spec.results.file = Some(folder.join(RESULT));
        spec.steady_state_file = spec.steady_state.map(|_| folder.join(STEADY_STATE));
        let launched = spec.launch.is_some();
        let ran = self.measure(point).unwrap_or_else(|error| {
            self.ui.error(&error);
            // What a signal ends before it has begun is begun again some day.
            let state = if signals::exit_code().is_some() { State::Pending } else { State::Failed };
            Ran { state, note: Some(error.message), run: Sampled::default() }
        });
        if ran.state == State::Failed && launched {
            // A server that has ended is started again for the next point.
            if let Some((_, session)) = self.session.take() {
                let _ = session.explained(Err(Error::new(Kind::AllFailed, "")));
            }
        }
        let stored = Stored {
            state: ran.state.name().to_owned(),
            note: ran.note.clone(),
            figures: ran.run.figures.clone(),
            ..Stored::new(point.digest.clone(), point.named(), point.run)
        };
        self.store.finish(&folder, &stored, ran.state == State::Done)?;
        Ok(ran)
    }

    /// Measures a point.
    fn measure(&mut self, point: &Point) -> Result<Ran, Error> {
        let ui = self.ui;
        let watch = point.watch.clone();
        let Point { spec, looks, .. } = point;
        limits::check(spec, ui)?;
        let session = self.session(point)?;
        let reporters = Reporters::of(spec, Some(looks.jsonl), ui).watched(watch);
        let outcome = execute(session, spec, Command::Serve, &WarmUp::FirstRow, reporters)?;
        let Outcome { ran, records, closing } = outcome;
        let report = &figures::of_run(ran, &records, &session.tokenizer, ui);
        store(report, &serve::outputs(spec, *looks, &closing.files), ui)?;
        tell_failures(report, ui);
        let run = gates::sampled(report);
        let reasons: Vec<String> = report.audit.reasons().collect();
        let doubts = (!reasons.is_empty()).then(|| reasons.join("; "));
        let (state, note) = match (none_completed(report), closing.close()) {
            (_, Err(ended)) if signals::exit_code().is_some() => {
                (State::Partial, Some(ended.message))
            }
            (_, Err(ended))
                if report.partial.as_ref().is_some_and(|why| why.starts_with(HOPELESS)) =>
            {
                (State::Stopped, Some(ended.message))
            }
            (Err(error), _) | (_, Err(error)) => (State::Failed, Some(error.message)),
            (Ok(()), Ok(())) if spec.client.strict && doubts.is_some() => (State::Failed, doubts),
            (Ok(()), Ok(())) => (State::Done, doubts),
        };
        Ok(Ran { state, note, run })
    }

    /// The session of a point: that of the last one, if both have the same servers.
    fn session(&mut self, point: &Point) -> Result<&Session, Error> {
        let known = self.session.take().filter(|(key, _)| *key == point.session);
        let session = match known {
            Some((_, session)) => session,
            None => Session::open(&point.spec, self.ui)?,
        };
        let (_, session) = &*self.session.insert((point.session.clone(), session));
        Ok(session)
    }
}

impl Ran {
    /// What is known of a run that was not made.
    pub(super) fn pending() -> Self {
        Self { state: State::Pending, note: None, run: Sampled::default() }
    }

    /// What was stored of a run.
    pub(super) fn of(stored: Stored) -> Self {
        let state = State::find(&stored.state).unwrap_or(State::Pending);
        let figures: Map<_, _> = stored.figures;
        Self { state, note: stored.note, run: Sampled { figures, ..Sampled::default() } }
    }
}
