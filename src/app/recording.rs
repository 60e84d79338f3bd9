//! The files that a run leaves while it goes on.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::Serve;
use crate::engine::Options;
use crate::engine::outbox::Backlog;
use crate::error::{Error, Kind};
use crate::journal::{self, End, Files, Header, Journal, Lost, Refusal};
use crate::model::{PlannedRequest, RequestRecord};
use crate::output::terminal::Ui;

/// What is added to the name of a result file for that of its records.
const ENDING: &str = ".records";

/// A run that is being written.
pub(super) struct Recording {
    journal: Journal,
    /// The records that lie beside a result without being asked for.
    pub(super) beside: Option<PathBuf>,
}

/// Checks before anything is sent that `--records` can be written to.
///
/// # Errors
/// If it cannot, or holds something else.
pub(super) fn check(path: Option<&Path>) -> Result<(), Error> {
    let Some(path) = path else { return Ok(()) };
    journal::check(path).map_err(|why| refused(path, why))
}

fn refused(path: &Path, why: Refusal) -> Error {
    let path = path.display();
    match why {
        Refusal::NoRecords => {
            Error::new(Kind::Usage, format!("--records {path}: the file holds something else"))
                .hint("name a file that does not exist, or one that --records has written, to which the run is added")
        }
        Refusal::Newer(layout) => {
            let message = format!(
                "--records {path}: a newer rbench has written there, with layout number {layout}"
            );
            Error::new(Kind::Usage, message).hint("name another file, or use that rbench")
        }
        Refusal::InUse => {
            Error::new(Kind::Usage, format!("--records {path}: another run is being written there"))
                .hint("give each run that goes on at the same time a file of its own")
        }
        Refusal::Io(error) => {
            Error::new(Kind::System, format!("cannot write to {path}")).because(error)
        }
    }
}

/// Begins to write the run that `options` are of, if that is asked for.
///
/// # Errors
/// If a file that is asked for cannot be opened.
pub(super) fn start(
    config: &Serve,
    result: &Path,
    header: &Header,
    plan: &Arc<[PlannedRequest]>,
    options: &mut Options,
    ui: Ui,
) -> Result<Option<Recording>, Error> {
    let mut files = Files {
        records: config.records.clone(),
        failed: config.failed_file.clone(),
        secrets: config.target.secrets.clone(),
    };
    let mut beside = None;
    if files.records.is_none() && config.details && !result.as_os_str().is_empty() {
        beside = make_beside(result, ui);
        files.records.clone_from(&beside);
    }
    if files.records.is_none() && files.failed.is_none() {
        return Ok(None);
    }
    let warn = Box::new(move |text: &str| ui.warn(text));
    let records = options.subscribers.subscribe(Journal::WANTS, options.budget.backlog());
    let journal = Journal::start(&files, header, plan.clone(), records, warn)
        .map_err(|(path, why)| refused(&path, why))?;
    Ok(Some(Recording { journal, beside }))
}

/// Makes a file of records beside `result`, and keeps those that other runs have left there.
fn make_beside(result: &Path, ui: Ui) -> Option<PathBuf> {
    if result.exists() && !result.is_file() {
        // There is no place beside a pipe.
        return None;
    }
    let name = |n: u32| {
        let mut name = result.as_os_str().to_owned();
        name.push(ENDING);
        if n > 1 {
            name.push(format!(".{n}"));
        }
        PathBuf::from(name)
    };
    for path in (1..=u32::MAX).map(name) {
        match std::fs::OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(_) => return Some(path),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                if journal::check(&path).is_ok() {
                    ui.warn(&format!(
                        "{0} was left by a run that did not end: rbench report {0} tells what it found",
                        path.display()
                    ));
                }
            }
            Err(error) => {
                ui.warn(&format!(
                    "cannot write to {}: {error}; the run keeps its records in memory alone",
                    path.display()
                ));
                return None;
            }
        }
    }
    None
}

impl Recording {
    /// What is not written yet.
    pub(super) fn backlog(&self) -> Backlog {
        self.journal.backlog()
    }

    /// Writes what is missing, and the end. Every sender is to be dropped before.
    ///
    /// # Errors
    /// If a file that was asked for is not whole, which was told when that happened.
    pub(super) fn finish(self, records: &[RequestRecord], end: &End) -> Result<(), Error> {
        let Err(Lost { records, failed }) = self.journal.finish(records, end) else {
            return Ok(());
        };
        // The result has what those beside it have.
        let lost: Vec<String> =
            records.filter(|_| self.beside.is_none()).into_iter().chain(failed).collect();
        if lost.is_empty() {
            return Ok(());
        }
        Err(Error::new(Kind::System, lost.join("; "))
            .hint("what was printed is complete; the file is not"))
    }
}
