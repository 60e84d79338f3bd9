//! The folder of a sweep: what is finished in it survives whatever ends the program.
//!
//! A point is finished when its `point.json` is there, which is renamed into its place as a whole and as the last of
//! its files. What lies in the folder of a point without one was left by a program that died, and is made again.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::save;
use crate::error::{Error, Kind};
use crate::output::door;
use crate::output::terminal::Ui;

/// The manifest.
const MANIFEST: &str = "sweep.json";
/// The folder with a folder for each point.
const POINTS: &str = "points";
/// What became of a point.
const POINT: &str = "point.json";
/// The result lines of all points that are done.
const RESULTS: &str = "results.jsonl";
/// The figures of all points.
const CSV: &str = "summary.csv";
/// The answers of a search.
const ANSWERS: &str = "search.json";
/// The result line of a point.
pub(super) const RESULT: &str = "result.jsonl";
/// The records of a point.
pub(super) const RECORDS: &str = "records.jsonl";
/// The steady state of a point.
pub(super) const STEADY_STATE: &str = "steady-state.jsonl";

/// The layout of `point.json` that this program writes and reads.
const LAYOUT: u64 = 1;

/// What became of a point, as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Stored {
    /// Number of the layout.
    pub(super) rbench_point: u64,
    /// Digest of what was run.
    pub(super) digest: String,
    /// The values of the flags that vary.
    pub(super) values: Map<String, Value>,
    /// Which run of the point it is, from 1.
    pub(super) run: usize,
    /// The name of its state.
    pub(super) state: String,
    /// Why it failed, or why its figures are not to be trusted.
    pub(super) note: Option<String>,
    /// Its figures by the names of results.
    pub(super) figures: Map<String, Value>,
}

impl Stored {
    /// What became of run `run` of a point with these `values`.
    pub(super) fn new(digest: String, values: Map<String, Value>, run: usize) -> Self {
        let (state, note, figures) = (String::new(), None, Map::new());
        Self { rbench_point: LAYOUT, digest, values, run, state, note, figures }
    }
}

/// The folder.
pub(super) struct Store {
    /// Where it is.
    pub(super) folder: PathBuf,
    /// Held as long as this program writes there.
    _lock: File,
}

impl Store {
    /// Makes the folder, or with `resume` goes on with the sweep in it.
    ///
    /// # Errors
    /// If it has a sweep already, another program writes there, or it cannot be made.
    pub(super) fn open(folder: PathBuf, resume: bool) -> Result<Self, Error> {
        let shown = folder.display().to_string();
        if folder.join(MANIFEST).exists() && !resume {
            let message = format!("--output-dir {shown}: there is a sweep already");
            return Err(Error::new(Kind::Usage, message)
                .hint("--resume goes on with it; or name another folder"));
        }
        let failed = |error: io::Error| {
            Error::new(Kind::Usage, format!("--output-dir {shown}: cannot be made")).because(error)
        };
        fs::create_dir_all(folder.join(POINTS)).map_err(failed)?;
        let lock = File::create(folder.join(".lock")).map_err(failed)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
            let message = format!("--output-dir {shown}: another rbench writes there");
            Error::new(Kind::Usage, message).because(error)
        })?;
        Ok(Self { folder, _lock: lock })
    }

    /// The points whose state is one of `done`, by their digests, with their folders.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub(super) fn finished(
        &self,
        done: &[&str],
        ui: Ui,
    ) -> Result<HashMap<String, (PathBuf, Stored)>, Error> {
        let folder = self.folder.join(POINTS);
        let failed = |error: io::Error| {
            Error::new(Kind::Input, format!("cannot read {}", folder.display())).because(error)
        };
        let mut all = HashMap::new();
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let point = entry.map_err(failed)?.path();
            let path = point.join(POINT);
            let Ok(text) = fs::read_to_string(&path) else { continue };
            match serde_json::from_str::<Stored>(&text) {
                Ok(stored)
                    if stored.rbench_point == LAYOUT && done.contains(&stored.state.as_str()) =>
                {
                    all.insert(stored.digest.clone(), (point, stored));
                }
                Ok(_) => {}
                Err(error) => {
                    ui.warn(&format!("{} is no point of a sweep: {error}", path.display()));
                }
            }
        }
        Ok(all)
    }

    /// An empty folder for the point `name`.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(super) fn begin(&self, name: &str) -> Result<PathBuf, Error> {
        let folder = self.folder.join(POINTS).join(name);
        let made = match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => fs::create_dir(&folder),
        };
        made.map_err(|error| {
            let message = format!("cannot make the folder {}", folder.display());
            Error::new(Kind::System, message).because(error)
        })?;
        Ok(folder)
    }

    /// Finishes a point, whose other files are written, and adds its result line to those of the others.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub(super) fn finish(&self, folder: &Path, stored: &Stored, done: bool) -> Result<(), Error> {
        whole(&folder.join(POINT), &pretty(stored))?;
        match result(folder).filter(|_| done) {
            Some(line) => save::append(&self.folder.join(RESULTS), &line),
            None => Ok(()),
        }
    }

    /// Writes the result lines of the points in `folders` anew.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn results(&self, folders: &[PathBuf]) -> Result<(), Error> {
        let lines: String = folders.iter().filter_map(|folder| result(folder)).collect();
        whole(&self.folder.join(RESULTS), &lines)
    }

    /// Writes the figures of all points.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn csv(&self, text: &str) -> Result<(), Error> {
        whole(&self.folder.join(CSV), text)
    }

    /// Writes the answers of a search.
    ///
    /// # Errors
    /// If they cannot be written.
    pub(super) fn answers(&self, answers: &Value) -> Result<(), Error> {
        whole(&self.folder.join(ANSWERS), &pretty(answers))
    }

    /// Writes the manifest.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn manifest(&self, manifest: &Value) -> Result<(), Error> {
        whole(&self.folder.join(MANIFEST), &pretty(manifest))
    }
}

fn pretty(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

/// The result of a point with a line end.
fn result(folder: &Path) -> Option<String> {
    let text = fs::read_to_string(folder.join(RESULT)).ok()?;
    Some(format!("{}\n", text.trim_end()))
}

/// Has `path` hold `text`: a program that dies leaves the whole of it, or what was there before.
fn whole(path: &Path, text: &str) -> Result<(), Error> {
    let mut bytes = text.as_bytes().to_vec();
    door::json(&mut bytes, 0);
    let beside = path.with_extension("new");
    let written = File::create(&beside).and_then(|mut file| {
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        // The name outlives a loss of power once its folder is on the disk.
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    });
    written.map_err(|error| {
        Error::new(Kind::System, format!("cannot write {}", path.display())).because(error)
    })
}
