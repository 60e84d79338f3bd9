//! The result file.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use crate::error::{Error, Kind};

/// Checks before the run that what `flag` names can probably be written after it; creates nothing.
///
/// # Errors
/// If the folder does not exist, or the file can not be written to.
pub(super) fn check(flag: &str, path: Option<&Path>) -> Result<(), Error> {
    let Some(path) = path else { return Ok(()) };
    let refuse = |what: &str| Error::new(Kind::Usage, format!("{flag} {}: {what}", path.display()));
    if path.is_dir() {
        return Err(refuse("is a folder"));
    }
    if path.exists() {
        let opened = OpenOptions::new().append(true).open(path);
        return opened.map(drop).map_err(|error| refuse("can not be written to").because(error));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if folder.is_some_and(|folder| !folder.is_dir()) {
        return Err(refuse("its folder does not exist"));
    }
    Ok(())
}

/// Appends `line` to the file in one write.
///
/// # Errors
/// If that does not work; the message has the path.
pub(super) fn append(path: &Path, line: &str) -> Result<(), Error> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .and_then(|mut file| file.write_all(line.as_bytes()))
        .map_err(|error| {
            Error::new(Kind::System, format!("can not append the result to {}", path.display()))
                .because(error)
        })
}
