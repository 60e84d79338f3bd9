//! The files of records that a path stands for: one, those of a folder, or those of the points of a sweep.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::analysis::comparison::Objective;
use crate::error::{Error, Kind};
use crate::journal;
use crate::output::html::{Point, Sweep};

/// The file that says what the sweep of a folder is.
const MANIFEST: &str = "sweep.json";

/// A file of records.
pub(super) struct Source {
    /// Where it is.
    pub(super) path: PathBuf,
    /// What its runs are called; their dates if nothing is here.
    pub(super) name: Option<String>,
}

/// Files of records, in their order.
pub(super) struct Sources {
    /// At least one.
    pub(super) files: Vec<Source>,
    /// The sweep that they are of. Its runs are those of the files, one of each.
    pub(super) sweep: Option<Sweep>,
}

/// The keys of the manifest that are read here.
#[derive(Deserialize)]
struct Manifest {
    axes: Vec<Axis>,
    /// Objectives by the names of their tiers.
    #[serde(default)]
    tiers: std::collections::BTreeMap<String, Vec<String>>,
    /// The flag that was searched for, whose values the points have beside those of the axes.
    find: Option<String>,
    gpus: Option<u64>,
    points: Vec<Planned>,
}

#[derive(Deserialize)]
struct Axis {
    flag: String,
}

#[derive(Deserialize)]
struct Planned {
    /// Name of its folder.
    name: String,
    values: Map<String, Value>,
    run: u64,
}

/// The files of records at `path`.
///
/// # Errors
/// If there is none, or the manifest of a sweep cannot be read.
pub(super) fn sources(path: &Path) -> Result<Sources, Error> {
    if !path.is_dir() {
        let file = Source { path: path.to_owned(), name: None };
        return Ok(Sources { files: vec![file], sweep: None });
    }
    let manifest = path.join(MANIFEST);
    let sources = if manifest.exists() { of_sweep(path, &manifest)? } else { of_folder(path)? };
    if sources.files.is_empty() {
        let message = format!("{} has no file of records", path.display());
        return Err(Error::new(Kind::Input, message)
            .hint("--records FILE writes one; rbench sweep writes one for each point"));
    }
    Ok(sources)
}

fn unreadable(path: &Path, error: io::Error) -> Error {
    Error::new(Kind::Input, format!("cannot read {}", path.display())).because(error)
}

/// The files of records in a folder, in the order of their names.
fn of_folder(folder: &Path) -> Result<Sources, Error> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| unreadable(folder, error))? {
        let path = entry.map_err(|error| unreadable(folder, error))?.path();
        if path.is_file() && journal::is_records(&path).map_err(|error| unreadable(&path, error))? {
            let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            files.push(Source { path, name });
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Sources { files, sweep: None })
}

/// The records of the points that a sweep has finished, in the order of its manifest.
fn of_sweep(folder: &Path, manifest: &Path) -> Result<Sources, Error> {
    let text = fs::read_to_string(manifest).map_err(|error| unreadable(manifest, error))?;
    let wrong = |what: String| {
        Error::new(Kind::Input, format!("{} is no manifest of a sweep: {what}", manifest.display()))
    };
    let read: Manifest = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let slos: Result<Vec<Objective>, String> =
        read.tiers.values().flatten().map(|slo| slo.parse()).collect();
    let (mut files, mut points) = (Vec::new(), Vec::new());
    for point in read.points {
        let path = folder.join("points").join(&point.name).join("records.jsonl");
        if !path.is_file() {
            continue;
        }
        let shown = |(flag, value): (&String, &Value)| match value {
            Value::String(value) => format!("{flag} {value}"),
            value => format!("{flag} {value}"),
        };
        let mut name: Vec<String> = point.values.iter().map(shown).collect();
        if point.run > 1 {
            name.push(format!("run {}", point.run));
        }
        let name = name.join(", ");
        points.push(Point { name: name.clone(), values: point.values, repeat: point.run });
        files.push(Source { path, name: Some(name) });
    }
    let flags = read.axes.into_iter().map(|axis| axis.flag).chain(read.find).collect();
    let sweep = Sweep::new(flags, read.gpus, &slos.map_err(wrong)?, points);
    Ok(Sources { files, sweep: Some(sweep) })
}
