//! What a sweep has found until now: its rows, its folder, and the runs that the folder had before.

use std::collections::HashMap;
use std::path::PathBuf;

use super::super::compare;
use super::point::Point;
use super::runner::{Ran, Runner};
use super::store::{RECORDS, Store, Stored};
use crate::analysis::comparison::{DecidedOn, Judged};
use crate::cli::sweep::{Options, Tier};
use crate::error::{Error, Kind};
use crate::output::sweep::{self, Row, State, Summary};
use crate::output::terminal::Ui;

/// A sweep as far as it has come.
pub(super) struct Book<'a> {
    pub(super) summary: Summary,
    /// What the runs are judged by.
    pub(super) tiers: Vec<Tier>,
    pub(super) on: DecidedOn,
    /// The folders of the runs that are done; one for each row.
    folders: Vec<Option<PathBuf>>,
    /// Runs that the folder had before, by their digests.
    finished: HashMap<String, (PathBuf, Stored)>,
    /// The runs that were made or found, as the manifest has them.
    points: Vec<serde_json::Value>,
    store: &'a Store,
    runner: Runner<'a>,
    ui: Ui,
}

impl<'a> Book<'a> {
    /// A sweep over `flags` with nothing measured, which goes on with what `store` has if it is resumed.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub(super) fn new(
        flags: Vec<String>,
        options: &Options,
        store: &'a Store,
        ui: Ui,
    ) -> Result<Self, Error> {
        let done = [State::Done, State::Stopped].map(State::name);
        let finished = if options.resume { store.finished(&done, ui)? } else { HashMap::new() };
        let tiers = options.tiers();
        let names = tiers.iter().map(|tier| tier.name.clone()).collect();
        let Options { gpus, cost_per_gpu_hour: price, repeat: runs, .. } = *options;
        let numbered = runs > 1 || options.find.is_some();
        let summary = Summary { flags, tiers: names, numbered, rows: Vec::new(), gpus, price };
        let (folders, runner) = (Vec::new(), Runner::new(store, ui));
        Ok(Self {
            summary,
            tiers,
            on: options.slo_on,
            folders,
            finished,
            points: Vec::new(),
            store,
            runner,
            ui,
        })
    }

    /// Adds a row for a run that is not made yet.
    pub(super) fn plan(&mut self, point: &Point) {
        self.put(self.folders.len(), point, &Ran::pending());
    }

    /// The runs that were made or found, as the manifest has them.
    pub(super) fn points(&self) -> Vec<serde_json::Value> {
        self.points.clone()
    }

    /// Says on stderr what is done next.
    pub(super) fn say(&self, text: &str) {
        self.ui.status(text);
    }

    /// Returns whether the folder has the run already.
    pub(super) fn has(&self, point: &Point) -> bool {
        self.finished.contains_key(&point.digest)
    }

    /// Makes the run, unless the folder has it, and writes it down in row `at`, or in a new one; `None` if a signal
    /// came before it began.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub(super) fn take(
        &mut self,
        point: &mut Point,
        at: Option<usize>,
    ) -> Result<Option<Ran>, Error> {
        let at = at.unwrap_or(self.folders.len());
        self.points.push(point.told());
        let ran = if let Some((folder, stored)) = self.finished.remove(&point.digest) {
            let ran = self.known(&folder, stored);
            self.put(at, point, &ran);
            self.folders[at] = Some(folder);
            ran
        } else {
            let ran = self.runner.run(point)?;
            self.put(at, point, &ran);
            if ran.state == State::Done {
                let records = point.spec.records.as_ref();
                self.folders[at] = records.and_then(|path| path.parent()).map(Into::into);
            }
            ran
        };
        self.write_csv()?;
        Ok(Some(ran).filter(|ran| ran.state != State::Pending))
    }

    /// A run that the folder had before.
    fn known(&self, folder: &std::path::Path, stored: Stored) -> Ran {
        let mut ran = Ran::of(stored);
        if self.tiers.is_empty() {
            return ran;
        }
        match compare::read(&folder.join(RECORDS), &[]) {
            Ok(mut runs) if !runs.is_empty() => {
                let run = runs.swap_remove(0);
                (ran.run.requests, ran.run.timed) = (run.requests, run.timed);
            }
            Ok(_) => {}
            Err(error) => self.ui.warn(&format!(
                "objectives are judged without bounds at {}: {}",
                folder.display(),
                error.message
            )),
        }
        ran
    }

    /// Writes a run down in row `at`.
    fn put(&mut self, at: usize, point: &Point, ran: &Ran) {
        let judge = |tier: &Tier| -> Vec<Judged> {
            let judged = tier.objectives.iter().map(|one| one.judge(&[&ran.run], self.on));
            judged.collect()
        };
        let judged = if ran.state == State::Done {
            self.tiers.iter().map(judge).collect()
        } else {
            Vec::new()
        };
        let row = Row {
            values: point.values.clone(),
            repeat: point.run,
            state: ran.state,
            figures: ran.run.figures.clone(),
            judged,
            note: ran.note.clone(),
        };
        if at < self.folders.len() {
            self.summary.rows[at] = row;
        } else {
            self.summary.rows.push(row);
            self.folders.push(None);
        }
    }

    /// Writes the result lines of all runs anew, in the order of the rows.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn write_results(&self) -> Result<(), Error> {
        let folders: Vec<PathBuf> = self.folders.iter().flatten().cloned().collect();
        self.store.results(&folders)
    }

    fn write_csv(&self) -> Result<(), Error> {
        let text = sweep::csv(&self.summary).map_err(|what| {
            Error::new(Kind::System, format!("cannot write the summary: {what}"))
        })?;
        self.store.csv(&text)
    }

    /// Prints the summary, with `more` after it.
    ///
    /// # Errors
    /// If it cannot be printed.
    pub(super) fn show(&self, more: &str) -> Result<(), Error> {
        let printed = self.ui.data(&(sweep::table(&self.summary) + more));
        let counts = sweep::counts(&self.summary.rows);
        self.ui.status(&format!("{counts}; results in {}", self.store.folder.display()));
        printed.map_err(|error| Error::new(Kind::System, "cannot write to stdout").because(error))
    }

    /// An error if a run failed.
    ///
    /// # Errors
    /// If one did.
    pub(super) fn failed(&self) -> Result<(), Error> {
        let rows = &self.summary.rows;
        let failed: Vec<String> = rows
            .iter()
            .filter(|row| row.state == State::Failed)
            .map(|row| self.summary.label(row))
            .collect();
        if failed.is_empty() {
            return Ok(());
        }
        let message =
            format!("{} of {} runs failed: {}", failed.len(), rows.len(), failed.join("; "));
        Err(Error::new(Kind::AllFailed, message).hint("--resume runs them again"))
    }
}
