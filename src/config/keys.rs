//! The keys that open a server, from the environment or a file: neither shows in the list of processes.

use std::env::VarError;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::usage;
use crate::error::Error;
use crate::secrets::{Collected, named};

/// Longest file of a key, in bytes.
const LONGEST: u64 = 64 << 10;

/// Variables of the environment that hold other secrets: proxies, and tokens for downloads.
const PROXIES: &[&str] = &["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];
const TOKENS: &[&str] = &["HF_TOKEN", "MODELSCOPE_API_TOKEN"];

/// What opens a server, and what else must not be shown.
#[derive(Clone, Default)]
pub struct Keys {
    /// `OPENAI_API_KEY` or the text of `--api-key-file`, sent as a bearer token.
    pub bearer: Option<String>,
    /// `API_KEY`, sent as it is.
    pub plain: Option<String>,
    /// URLs of proxies, which may have passwords.
    pub proxies: Vec<String>,
    /// Tokens that other hosts are shown.
    pub tokens: Vec<String>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(***)")
    }
}

impl Keys {
    /// Reads the environment, and the file of `--api-key-file`, which wins over it.
    ///
    /// # Errors
    /// If the file cannot be read, or does not hold one key, or something in the environment is not text.
    pub fn read(file: Option<&Path>) -> Result<Self, Error> {
        let bearer = match file {
            Some(path) => Some(key_in(path)?),
            None => variable("OPENAI_API_KEY")?,
        };
        let proxies = PROXIES.iter().flat_map(|&name| [name.to_owned(), name.to_lowercase()]);
        Ok(Self {
            bearer,
            plain: variable("API_KEY")?,
            proxies: variables(proxies)?,
            tokens: variables(TOKENS.iter().map(|&name| name.to_owned()))?,
        })
    }

    pub(super) fn authorization(&self) -> Option<String> {
        self.bearer.as_ref().map(|key| format!("Bearer {key}")).or_else(|| self.plain.clone())
    }

    /// What must not be shown of this.
    pub(super) fn collect(&self, secrets: &mut Collected) {
        for key in self.bearer.iter().chain(&self.plain).chain(&self.tokens) {
            // A key that is sent as it is may begin with the name of its kind.
            let key = key.trim();
            secrets.key(key);
            secrets.key(key.split_once(' ').map_or("", |(_, rest)| rest.trim()));
            secrets.value(key);
        }
        for proxy in &self.proxies {
            // The scheme may be left out.
            secrets.url(proxy);
            secrets.url(&format!("http://{proxy}"));
        }
    }
}

/// What the environment has under `name`, unless that is empty.
///
/// # Errors
/// If it is not text: it could neither be sent nor be hidden.
pub(super) fn variable(name: &str) -> Result<Option<String>, Error> {
    match std::env::var(name) {
        Ok(text) => Ok(Some(text).filter(|text| !text.is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(usage(format!(
            "{name} is not UTF-8, and cannot be sent"
        ))
        .hint("was a file of another form put there? The value is not shown, as it may be a key")),
    }
}

/// What the environment has under each of `names`.
fn variables(mut names: impl Iterator<Item = String>) -> Result<Vec<String>, Error> {
    names.try_fold(Vec::new(), |mut found, name| {
        found.extend(variable(&name)?);
        Ok(found)
    })
}

/// The key in the file at `path`, without the line end after it.
fn key_in(path: &Path) -> Result<String, Error> {
    let refuse = |what: &str| usage(format!("--api-key-file{}: {what}", named(path)));
    let mut text = Vec::new();
    File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_end(&mut text)).map_err(
        |error| {
            refuse("cannot be read")
                .because(error)
                .hint("it takes the name of a file; a key itself goes into OPENAI_API_KEY")
        },
    )?;
    let key = text.trim_ascii();
    if key.is_empty() {
        return Err(refuse("holds no key"));
    }
    // Nothing of it is shown: it may be a key of another form.
    if text.len() as u64 > LONGEST || !key.iter().all(u8::is_ascii_graphic) {
        return Err(refuse("does not hold one key alone").hint(
            "expected one line with the key and nothing else: no name before it, no quotes, no spaces within",
        ));
    }
    Ok(String::from_utf8_lossy(key).into_owned())
}

/// The note on a file that others than its owner can read.
pub(super) fn note(path: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & 0o004 != 0).then(|| {
        format!(
            "--api-key-file {}: everybody on this machine can read it (mode {mode:o}); chmod 600 changes that",
            path.display()
        )
    })
}
