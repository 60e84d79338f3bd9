//! Files from the Hugging Face Hub, through its cache, and models from ModelScope where the environment says so.
//!
//! `hub/environment.rs` has the variables that are honoured.

mod cache;
mod environment;
mod modelscope;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;

use self::cache::Repo;
use self::environment::Environment;
use self::modelscope::ModelScope;
use crate::error::{Error, Kind};
use crate::workload::download::{Download, Failure, Fetcher, Request};

/// What a repository holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// A model.
    Model,
    /// A data set.
    Dataset,
}

/// The Hub as the environment describes it.
#[derive(Debug, Clone)]
pub struct Hub {
    environment: Arc<Environment>,
    fetcher: Fetcher,
    progress: bool,
    modelscope: Option<ModelScope>,
    silence: Silence,
}

/// Why somebody does not answer, so that they are asked once.
#[derive(Debug, Clone, Default)]
struct Silence(Arc<OnceLock<String>>);

impl Silence {
    /// Keeps the reason, unless there is one.
    fn because(&self, why: String) -> &str {
        self.0.get_or_init(|| why)
    }
}

/// Whether a variable of the environment is set to a word for yes.
fn yes(name: &str) -> bool {
    std::env::var(name).is_ok_and(|value| {
        matches!(value.trim().to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on")
    })
}

/// A variable of the environment, unless it is empty.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

impl Hub {
    /// Reads the environment; `progress` shows downloads on stderr. Those trust the system's authorities alone,
    /// until [`Self::fetched_by`] says otherwise.
    pub fn from_env(progress: bool) -> Self {
        let environment = Environment::read();
        let modelscope = yes("SGLANG_USE_MODELSCOPE") || yes("VLLM_USE_MODELSCOPE");
        Self {
            progress: progress && environment.bars,
            environment: Arc::new(environment),
            fetcher: Fetcher::default(),
            modelscope: modelscope.then(ModelScope::from_env),
            silence: Silence::default(),
        }
    }

    /// The same Hub, asked by `fetcher`.
    #[must_use]
    pub fn fetched_by(self, fetcher: Fetcher) -> Self {
        Self { fetcher, ..self }
    }

    /// Who asks, for files that are on no Hub.
    pub fn fetcher(&self) -> &Fetcher {
        &self.fetcher
    }

    /// Whether `error`, of a file that was asked for, is that the Hub cannot be reached, or must not be.
    pub fn is_away(&self, error: &Error) -> bool {
        error.kind == Kind::Unreachable || self.environment.offline.is_some()
    }

    /// Whether `id` has the form of a repository's name.
    pub fn is_id(id: &str) -> bool {
        let word = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        let mut parts = id.split('/');
        parts.next().is_some_and(word) && parts.next().is_none_or(word) && parts.next().is_none()
    }

    /// A file of a repository: from the cache, else downloaded into it.
    ///
    /// # Errors
    /// If it is not in the cache and cannot be downloaded; [`Kind::Unreachable`] if nobody answers,
    /// [`Kind::Rejected`] if the repository is closed to us.
    pub fn file(&self, holds: Holds, id: &str, file: &str) -> Result<PathBuf, Error> {
        if !cache::is_within(file) {
            // A list of files is what a server says.
            let message = format!("{id} names the file {file}, which is outside of a repository");
            return Err(Error::new(Kind::Input, message));
        }
        let modelscope = self.modelscope.as_ref().filter(|_| holds == Holds::Model);
        if let Some(modelscope) = modelscope {
            return modelscope.file(self, id, file);
        }
        let folder = self.folder(&format!("no {file} of {id}"))?;
        let repo = Repo::new(folder, holds, id);
        if let Some(path) = repo.file(file) {
            return Ok(path);
        }
        let what = format!("no {file} of {id} in the Hub cache {}", folder.display());
        self.may_ask(&self.silence, &what)?;
        let kind = match holds {
            Holds::Model => "",
            Holds::Dataset => "datasets/",
        };
        let endpoint = &self.environment.endpoint;
        let url = format!("{endpoint}/{kind}{id}/resolve/{}/{file}", cache::BRANCH);
        self.download(&repo, &url, file).map_err(|failure| self.refuse(&what, &url, failure))
    }

    /// Downloads a file into the cache, from where an earlier download broke off.
    fn download(&self, repo: &Repo, url: &str, file: &str) -> Result<PathBuf, Failure> {
        let mut request = self.request(url);
        let mut answer = self.fetcher.open(&request)?;
        let content = Content::of(&answer)?;
        let blob = repo.blob(&content.etag);
        let store = |error| Failure::store(&blob, error);
        if !blob.is_file() {
            let mut part = repo.part(&content.etag).map_err(store)?;
            if part.len > 0 {
                request.from = part.len;
                let rest = self.fetcher.open(&request).ok();
                let fits = |rest: &Download| {
                    rest.begins_at(part.len)
                        && Content::of(rest).is_ok_and(|rest| rest.etag == content.etag)
                };
                match rest.filter(fits) {
                    Some(rest) => answer = rest,
                    None => part.restart().map_err(store)?,
                }
            }
            let size = content.size.or_else(|| Some(answer.size()? + part.len));
            let bar = self.progress.then(|| bar(file, size, part.len));
            answer.read(|chunk| {
                if let Some(bar) = &bar {
                    bar.inc(chunk.len() as u64);
                }
                part.write(chunk).map_err(store)
            })?;
            if let Some(size) = size.filter(|&size| size != part.len) {
                let why = format!("{} bytes came in place of {size}", part.len);
                part.restart().map_err(store)?;
                return Err(Failure::refused(why));
            }
            part.finish(&blob).map_err(store)?;
            if let Some(bar) = bar {
                bar.finish();
            }
        }
        repo.link(&content.commit, file, &content.etag).map_err(store)
    }

    /// The names of the files of a repository: those that the Hub lists, or offline those in the cache.
    ///
    /// # Errors
    /// If there is no such list.
    pub fn files(&self, holds: Holds, id: &str) -> Result<Vec<String>, Error> {
        if let Some(modelscope) = self.modelscope.as_ref().filter(|_| holds == Holds::Model) {
            return modelscope.files(self, id);
        }
        let what = format!("no list of the files of {id}");
        let folder = self.folder(&what)?;
        if self.environment.offline.is_some() {
            let snapshot = Repo::new(folder, holds, id).snapshot();
            return snapshot
                .and_then(|snapshot| list(&snapshot))
                .ok_or_else(|| Error::new(Kind::Input, what));
        }
        self.may_ask(&self.silence, &what)?;
        let endpoint = &self.environment.endpoint;
        let kind = match holds {
            Holds::Model => "models",
            Holds::Dataset => "datasets",
        };
        let url = format!("{endpoint}/api/{kind}/{id}/revision/{}", cache::BRANCH);
        let text = self.fetcher.text(&self.request(&url));
        let listed: Listed = text
            .and_then(|text| {
                serde_json::from_str(&text)
                    .map_err(|error| Failure::refused(format!("it is no list of files: {error}")))
            })
            .map_err(|failure| self.refuse(&what, &url, failure))?;
        Ok(listed.siblings.into_iter().map(|file| file.rfilename).collect())
    }

    fn request<'a>(&'a self, url: &'a str) -> Request<'a> {
        Request {
            token: self.environment.token.as_deref(),
            answer: self.environment.answer,
            silence: self.environment.silence,
            ..Request::new(url)
        }
    }

    /// Whether anybody is to be asked for what is not in a cache.
    fn may_ask(&self, silence: &Silence, what: &str) -> Result<(), Error> {
        if let Some(variable) = self.environment.offline {
            return Err(Error::new(Kind::Input, format!("{what}, and {variable} is set")));
        }
        match silence.0.get() {
            Some(why) => Err(Error::new(Kind::Unreachable, format!("{what}, and {why}"))),
            None => Ok(()),
        }
    }

    /// The folder of the Hub's files; `what` is missing without one.
    fn folder(&self, what: &str) -> Result<&Path, Error> {
        self.environment.cache.as_deref().ok_or_else(|| {
            Error::new(Kind::Input, format!("{what}, and there is no folder for a Hub cache"))
                .hint("set HF_HOME, or HOME")
        })
    }

    fn refuse(&self, what: &str, url: &str, failure: Failure) -> Error {
        match failure {
            Failure::Refused { status: Some(401 | 403), why } => {
                let message = format!("{what}, and {url} cannot be downloaded: {why}");
                Error::new(Kind::Rejected, message).hint(if self.environment.token.is_some() {
                    "ask for access on the repository's page with the account of HF_TOKEN, or set HF_TOKEN to a token that has it"
                } else {
                    "set HF_TOKEN to a token that may read the repository; gated ones want their terms accepted on their page first"
                })
            }
            Failure::Refused { why, .. } => {
                Error::new(Kind::Input, format!("{what}, and {url} cannot be downloaded: {why}"))
            }
            Failure::Unreachable(why) => {
                let why = self.silence.because(format!("{url} cannot be reached: {why}"));
                Error::new(Kind::Unreachable, format!("{what}, and {why}"))
            }
            Failure::Silent(time) => {
                let seconds = time.as_secs_f64();
                let why = self.silence.because(format!(
                    "{url} did not answer within {seconds} s (HF_HUB_ETAG_TIMEOUT)"
                ));
                Error::new(Kind::Unreachable, format!("{what}, and {why}"))
            }
            Failure::Store(error) => error,
        }
    }
}

/// The Hub's list of the files of a repository.
#[derive(Deserialize)]
struct Listed {
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

/// What the Hub says about a file, before it sends the content or leads to it.
struct Content {
    commit: String,
    /// What stands for the content, the same for the same bytes.
    etag: String,
    /// Its bytes, if the Hub leads elsewhere for them.
    size: Option<u64>,
}

impl Content {
    fn of(answer: &Download) -> Result<Self, Failure> {
        let names = ["x-repo-commit", "x-linked-etag", "etag", "x-linked-size"];
        let [commit, linked, etag, size] = answer.fields(names);
        let missing = |field: &str| {
            Failure::refused(format!("it has no usable {field}, as a Hub's files have"))
        };
        Ok(Self {
            commit: commit.and_then(cache::name).ok_or_else(|| missing(names[0]))?.to_owned(),
            etag: linked
                .or(etag)
                .and_then(cache::etag)
                .ok_or_else(|| missing(names[2]))?
                .to_owned(),
            size: size.and_then(|size| size.parse().ok()),
        })
    }
}

/// A bar for a file of `size` bytes, of which `len` are there.
fn bar(file: &str, size: Option<u64>, len: u64) -> ProgressBar {
    let bar = ProgressBar::new(size.unwrap_or(0)).with_position(len);
    let style =
        "{msg} [{elapsed_precise}] [{wide_bar}] {bytes}/{total_bytes} {bytes_per_sec} ({eta})";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    let cut = file.chars().count().saturating_sub(LONGEST_NAME);
    let name: String = file.chars().skip(cut).collect();
    bar.with_message(if cut > 0 { format!("..{name}") } else { name })
}

/// Most characters of a file's name that a bar shows.
const LONGEST_NAME: usize = 30;

/// The names of the files in a folder and in the folders right below it.
fn list(folder: &Path) -> Option<Vec<String>> {
    let names = |folder: &Path| -> Option<Vec<String>> {
        let entries = std::fs::read_dir(folder).ok()?.flatten();
        Some(entries.filter_map(|entry| entry.file_name().into_string().ok()).collect())
    };
    let mut all = Vec::new();
    for name in names(folder)? {
        for below in names(&folder.join(&name)).unwrap_or_default() {
            all.push(format!("{name}/{below}"));
        }
        all.push(name);
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        for good in ["gpt2", "Qwen/Qwen3-8B", "meta-llama/Llama-3.1-8B-Instruct", "a/b_c.d"] {
            assert!(Hub::is_id(good), "{good}");
        }
        for bad in ["", "/", "/models/x", "a/b/c", "a//b", "./a", "a b", "https://x.y"] {
            assert!(!Hub::is_id(bad), "{bad}");
        }
    }
}
