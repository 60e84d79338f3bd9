//! The files that a command writes.

use std::path::Path;

use super::usage;
use crate::error::Error;

/// What names a file whose lines are of a kind of their own.
const APART: [&str; 3] = ["RECORDS", "--records", "--failed-file"];

/// Checks that no file that `files` names, each by its flag, is to take two kinds of lines; results and steady states
/// may share one.
///
/// # Errors
/// If one is.
pub fn files_differ(files: &[(&str, Option<&Path>)]) -> Result<(), Error> {
    for (i, &(flag, path)) in files.iter().enumerate() {
        let Some(path) = path else { continue };
        let clash = |(other, file): &&(&str, Option<&Path>)| {
            *file == Some(path) && (APART.contains(&flag) || APART.contains(other))
        };
        if let Some((other, _)) = files[..i].iter().find(clash) {
            let message = format!("{other} and {flag} both name {}", path.display());
            return Err(usage(message).hint("their lines are of different kinds: give each a file"));
        }
    }
    Ok(())
}
