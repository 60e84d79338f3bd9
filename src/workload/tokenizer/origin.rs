//! Who names a tokenizer, and which files of this machine that name may lead to.
//!
//! What a server says is data: a path from it is followed on its own machine alone, and only to files that look like
//! those of a tokenizer.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::file_names::{is_expected, is_gguf};
use crate::error::{Error, Kind};

/// Longest file beside a tokenizer, in bytes.
const MOST_BESIDE: u64 = 64 << 20;

/// Longest file of a tokenizer that a server names, in bytes; of a GGUF file only the beginning is read.
const MOST: u64 = 512 << 20;

/// Folders whose files are no files: devices, and what the kernel makes up.
const NO_FILES: &[&str] = &["/dev", "/proc", "/sys"];

/// Who names a tokenizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The user: any path, or a repository.
    User,
    /// A server on this machine: a repository, or a path of what looks like a tokenizer.
    ServerHere,
    /// A server elsewhere: a repository, as paths are those of its machine.
    ServerElsewhere,
}

/// A name of a tokenizer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// A path, or a repository.
    pub text: String,
    /// Who says so.
    pub origin: Origin,
}

impl Name {
    /// The name `text` that the user has given.
    pub fn of_user(text: &str) -> Self {
        Self { text: text.to_owned(), origin: Origin::User }
    }
}

impl Origin {
    /// Whether the path `name` may be opened; `false` if it is to be looked for elsewhere.
    ///
    /// # Errors
    /// If it is a path that may not be opened.
    pub(super) fn allows(self, name: &str) -> Result<bool, Error> {
        let refuse = |what: &str| Err(Error::new(Kind::Input, what));
        match self {
            Self::User => Ok(Path::new(name).exists()),
            Self::ServerElsewhere if Path::new(name).is_absolute() => {
                refuse("a path on the server's machine; --tokenizer takes one of this machine")
            }
            Self::ServerElsewhere => Ok(false),
            Self::ServerHere => match std::fs::metadata(name) {
                Ok(found) if found.is_dir() || found.is_file() => Ok(true),
                Ok(_) => refuse("neither a file nor a folder, and a server may name nothing else"),
                Err(_) => Ok(false),
            },
        }
    }

    /// Checks the file that a name has led to.
    ///
    /// # Errors
    /// If a server may not name such a file.
    pub(super) fn check(self, file: &Path) -> Result<(), Error> {
        if self == Self::User {
            return Ok(());
        }
        let refuse = |what: &str| {
            let message = format!("{}: {what}, and a server may not name it", file.display());
            Err(Error::new(Kind::Input, message))
        };
        let Ok(real) = file.canonicalize() else { return refuse("it cannot be found") };
        let Ok(found) = std::fs::metadata(&real) else { return refuse("it cannot be read") };
        if !found.is_file() || NO_FILES.iter().any(|folder| real.starts_with(folder)) {
            return refuse("it is no ordinary file");
        }
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        if !is_expected(&name) {
            return refuse("it is not called as files of tokenizers are");
        }
        if found.len() > MOST && !is_gguf(&name) {
            return refuse("it is too long for a tokenizer");
        }
        Ok(())
    }
}

/// Reads a file beside a tokenizer, if it is an ordinary file of plausible length.
///
/// # Errors
/// If it is not, or cannot be read.
pub fn read_beside(path: &Path) -> io::Result<Vec<u8>> {
    let found = std::fs::metadata(path)?;
    if !found.is_file() {
        return Err(io::Error::other("it is no ordinary file"));
    }
    let mut bytes = Vec::new();
    // It may grow meanwhile.
    File::open(path)?.take(MOST_BESIDE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BESIDE {
        return Err(io::Error::other(format!("it is longer than {} MiB", MOST_BESIDE >> 20)));
    }
    Ok(bytes)
}
