//! The files that a command reads and writes.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::usage;
use crate::error::Error;

/// What names a file whose lines are of a kind of their own, or that is read.
const APART: [&str; 7] = [
    "RECORDS",
    "--records",
    "--failed-file",
    "--dataset-path",
    "--fixed-prompt-file",
    "--launch-log",
    "--api-key-file",
];

/// Most symbolic links that lead to one file.
const LINKS: usize = 40;

/// What makes a file the same, however its path is written.
#[derive(PartialEq)]
enum Identity {
    /// A file that exists: its device and number there.
    Existing(u64, u64),
    /// One that does not: the device and number of its folder, and its name.
    Absent(u64, u64, OsString),
    /// One whose folder does not exist either.
    Nowhere(PathBuf),
}

impl Identity {
    fn of(path: &Path) -> Self {
        if let Ok(metadata) = path.metadata() {
            return Self::Existing(metadata.dev(), metadata.ino());
        }
        let mut path = path.to_owned();
        for _ in 0..LINKS {
            // A link to a file that does not exist yet.
            let Ok(to) = path.read_link() else { break };
            path = path.parent().unwrap_or(Path::new("")).join(to);
        }
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        match (folder.metadata(), path.file_name()) {
            (Ok(folder), Some(name)) => Self::Absent(folder.dev(), folder.ino(), name.to_owned()),
            _ => Self::Nowhere(path),
        }
    }
}

/// Checks that no file that `files` names, each by its flag, is to take two kinds of lines, or to be read and written;
/// results and steady states may share one.
///
/// # Errors
/// If one is.
pub fn files_differ(files: &[(&str, Option<&Path>)]) -> Result<(), Error> {
    let given = files.iter().filter_map(|&(flag, path)| Some((flag, path?)));
    let given: Vec<_> = given.map(|(flag, path)| (flag, path, Identity::of(path))).collect();
    for (i, (flag, path, identity)) in given.iter().enumerate() {
        let clash = |(other, _, file): &&(&str, &Path, Identity)| {
            file == identity && (APART.contains(flag) || APART.contains(other))
        };
        if let Some((other, ..)) = given[..i].iter().find(clash) {
            let message = format!("{other} and {flag} both name {}", path.display());
            return Err(usage(message).hint("their lines are of different kinds: give each a file"));
        }
    }
    Ok(())
}
