//! Finds the file of a tokenizer, whatever its format, and reads it as a `tokenizer.json`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::file_names::{ENDINGS, GGUF, JSON, NAMES, TIKTOKEN};
use super::origin::Origin;
use super::template::{self, Beside};
use super::{gguf, sentencepiece, tiktoken};
use crate::error::{Error, Kind};
use crate::workload::hub::{Holds, Hub};

/// Where Llama 3 keeps its file.
const ORIGINAL: &str = "original/tokenizer.model";

/// What is looked for, for messages.
const LOOKED_FOR: &str = "tokenizer.json, tokenizer.model, tiktoken.model, one *.tiktoken, one *.gguf or original/tokenizer.model";

/// A tokenizer that was found.
#[derive(Debug)]
pub(super) struct Found {
    /// The text of a `tokenizer.json`.
    pub(super) json: Vec<u8>,
    /// Where the files beside it are.
    pub(super) beside: Beside,
    /// What its `tokenizer_config.json` has to say; nothing where that has been used already.
    pub(super) config: Map<String, Value>,
}

/// The tokenizer `name`, whatever the format of its file.
///
/// # Errors
/// If there is none, or it cannot be used.
pub(super) fn load(name: &str, origin: Origin, hub: &Hub) -> Result<Found, Error> {
    let path = Path::new(name);
    let is_here = origin.allows(name)?;
    if is_here && path.is_dir() {
        let file = in_folder(path)?;
        origin.check(&file)?;
        read(&file, Beside::Folder(path.to_owned()))
    } else if is_here {
        origin.check(path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        read(path, Beside::Folder(folder.to_owned()))
    } else if Hub::is_id(name) {
        read(&in_repository(name, hub)?, Beside::Hub(hub.clone(), name.to_owned()))
    } else {
        Err(Error::new(Kind::Input, "no such file or folder"))
    }
}

fn in_folder(folder: &Path) -> Result<PathBuf, Error> {
    let known = NAMES.iter().map(|name| folder.join(name)).find(|path| path.is_file());
    if let Some(path) = known {
        return Ok(path);
    }
    let entries = std::fs::read_dir(folder).map_err(|error| {
        Error::new(Kind::Input, format!("cannot read {}", folder.display())).because(error)
    })?;
    let mut files: Vec<String> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    if folder.join(ORIGINAL).is_file() {
        files.push(ORIGINAL.to_owned());
    }
    pick(&files, ENDINGS)
        .map(|file| folder.join(file))
        .map_err(|what| Error::new(Kind::Input, format!("the folder has {what}")))
}

fn in_repository(id: &str, hub: &Hub) -> Result<PathBuf, Error> {
    let missing = match hub.file(Holds::Model, id, JSON) {
        Ok(path) => return Ok(path),
        // Who does not answer, or opens to us, has no other file either.
        Err(error) if matches!(error.kind, Kind::Unreachable | Kind::Rejected) => {
            return Err(error);
        }
        Err(error) => error,
    };
    // No list means no repository, or no right to it, which the first error tells.
    let Ok(files) = hub.files(Holds::Model, id) else { return Err(missing) };
    // A GGUF file holds the weights as well, which nobody wants to download for their tokenizer.
    let file = pick(&files, &[TIKTOKEN]).map_err(|what| {
        let mut error = Error::new(Kind::Input, format!("{id} has {what}"));
        if files.iter().any(|file| file.ends_with(GGUF)) {
            error.message += "; a GGUF file of it can be used by its path";
        }
        error
    })?;
    hub.file(Holds::Model, id, file)
}

/// The file of the tokenizer among `files`; else what there is instead.
fn pick<'a>(files: &'a [String], endings: &[&str]) -> Result<&'a str, String> {
    let named = |name: &str| files.iter().find(|file| *file == name);
    if let Some(file) = NAMES.iter().find_map(|name| named(name)) {
        return Ok(file);
    }
    for ending in endings {
        let mut found: Vec<&String> =
            files.iter().filter(|file| file.ends_with(ending) && !is_a_rest(file)).collect();
        found.sort();
        match found[..] {
            [] => {}
            [file] => return Ok(file),
            [a, b, ..] => {
                return Err(format!("{} *{ending} files, such as {a} and {b}", found.len()));
            }
        }
    }
    named(ORIGINAL)
        .map(String::as_str)
        .ok_or_else(|| format!("no tokenizer of a known format: no {LOOKED_FOR}"))
}

/// Whether a file is in a folder below, or a part of a GGUF model that has no tokenizer:
/// all parts but the first, and what turns images into tokens.
fn is_a_rest(file: &str) -> bool {
    file.contains('/')
        || file.contains("-of-") && !file.contains("-00001-of-")
        || file.starts_with("mmproj")
}

/// Reads a file of any format.
fn read(file: &Path, beside: Beside) -> Result<Found, Error> {
    let broken = |error: std::io::Error| {
        Error::new(Kind::Input, format!("cannot read {}", file.display())).because(error)
    };
    let mut begin = Vec::new();
    File::open(file)
        .and_then(|file| file.take(gguf::MAGIC.len() as u64).read_to_end(&mut begin))
        .map_err(broken)?;
    if begin == gguf::MAGIC {
        let found = gguf::read(file)?;
        return Ok(Found {
            json: found.tokenizer.to_string().into_bytes(),
            beside: Beside::Text(found.config.to_string()),
            config: Map::new(),
        });
    }
    let bytes = std::fs::read(file).map_err(broken)?;
    let name = file.display().to_string();
    let config = || template::config(&name, &beside);
    let json = if tiktoken::is(&bytes) {
        tiktoken::convert(&name, &bytes, &config()?)?
    } else if file.extension().is_some_and(|ending| ending == "model") {
        sentencepiece::convert(&name, &bytes, &config()?)?
    } else {
        let config = config()?;
        return Ok(Found { json: bytes, beside, config });
    };
    Ok(Found { json: json.to_string().into_bytes(), beside, config: Map::new() })
}

#[cfg(test)]
#[path = "source/tests.rs"]
mod tests;
