//! Files from the Hugging Face Hub, through its cache, and models from ModelScope where the environment says so.
//!
//! `HF_HOME` (and `HF_HUB_CACHE`), `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE` and `HF_HUB_ETAG_TIMEOUT` are honoured.

mod modelscope;

use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hf_hub::api::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError};
use hf_hub::{Cache, Repo, RepoType};
use indicatif::ProgressBar;

use self::modelscope::ModelScope;
use crate::error::{Error, Kind};

/// How long the Hub may take to answer, unless `HF_HUB_ETAG_TIMEOUT` says otherwise.
const PATIENCE: Duration = Duration::from_secs(5);

/// Longest silence within a file that is being downloaded.
const SILENCE: Duration = Duration::from_secs(30);

/// The endpoint of the Hub, unless `HF_ENDPOINT` says otherwise.
const ENDPOINT: &str = "https://huggingface.co";

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
    offline: bool,
    progress: bool,
    patience: Duration,
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
    /// Reads the environment; `progress` shows downloads on stderr.
    pub fn from_env(progress: bool) -> Self {
        let seconds = variable("HF_HUB_ETAG_TIMEOUT").and_then(|value| value.parse().ok());
        let patience = seconds
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .unwrap_or(PATIENCE);
        let modelscope = yes("SGLANG_USE_MODELSCOPE") || yes("VLLM_USE_MODELSCOPE");
        Self {
            offline: yes("HF_HUB_OFFLINE"),
            progress,
            patience,
            modelscope: modelscope.then(ModelScope::from_env),
            silence: Silence::default(),
        }
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
    /// If it is not in the cache and can not be downloaded; [`Kind::Unreachable`] if nobody answers.
    pub fn file(&self, holds: Holds, id: &str, file: &str) -> Result<PathBuf, Error> {
        let modelscope = self.modelscope.as_ref().filter(|_| holds == Holds::Model);
        if let Some(modelscope) = modelscope {
            return modelscope.file(self, id, file);
        }
        let cache = cache();
        let repo = repo(holds, id);
        if let Some(path) = cache.repo(repo.clone()).get(file) {
            return Ok(path);
        }
        let what = format!("no {file} of {id} in the Hub cache {}", cache.path().display());
        self.may_ask(&self.silence, &what)?;
        let api = self.api(cache)?;
        let url = api.repo(repo.clone()).url(file);
        let (tell, told) = mpsc::channel();
        let (name, bar) = (file.to_owned(), self.progress.then(|| ProgressBar::new(0)));
        std::thread::spawn(move || {
            let watched = Watched { bar, tell: tell.clone() };
            let result = api.repo(repo).download_with_progress(&name, watched);
            // Nobody listens if it took too long.
            let _ = tell.send(Told::Done(result));
        });
        self.wait(&told).map_err(|failure| self.refuse(&what, &url, failure))
    }

    /// The names of the files of the model `id`: those that the Hub lists, or offline those in the cache.
    ///
    /// # Errors
    /// If there is no such list.
    pub fn files(&self, id: &str) -> Result<Vec<String>, Error> {
        if let Some(modelscope) = &self.modelscope {
            return modelscope.files(self, id);
        }
        let what = format!("no list of the files of {id}");
        let cache = cache();
        let repo = repo(Holds::Model, id);
        if self.offline {
            // The folder of the commit that the cache knows best.
            let folder = cache.path().join(repo.folder_name());
            let commit = std::fs::read_to_string(folder.join("refs/main")).unwrap_or_default();
            return list(&folder.join("snapshots").join(commit.trim()))
                .ok_or_else(|| Error::new(Kind::Input, what));
        }
        self.may_ask(&self.silence, &what)?;
        let api = self.api(cache)?;
        let url = variable("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        let url = format!("{}/api/{}", url.trim_end_matches('/'), repo.api_url());
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let _ = tell.send(Told::Done(api.repo(repo).info()));
        });
        let info = self.wait(&told).map_err(|failure| self.refuse(&what, &url, failure))?;
        Ok(info.siblings.into_iter().map(|file| file.rfilename).collect())
    }

    /// Whether anybody is to be asked for what is not in a cache.
    fn may_ask(&self, silence: &Silence, what: &str) -> Result<(), Error> {
        if self.offline {
            return Err(Error::new(Kind::Input, format!("{what}, and HF_HUB_OFFLINE is set")));
        }
        match silence.0.get() {
            Some(why) => Err(Error::new(Kind::Unreachable, format!("{what}, and {why}"))),
            None => Ok(()),
        }
    }

    fn api(&self, cache: Cache) -> Result<Api, Error> {
        let token = variable("HF_TOKEN").or_else(|| cache.token());
        let mut builder =
            ApiBuilder::from_cache(cache).with_progress(self.progress).with_token(token);
        if let Some(endpoint) = variable("HF_ENDPOINT") {
            builder = builder.with_endpoint(endpoint.trim_end_matches('/').to_owned());
        }
        builder.build().map_err(|error| {
            Error::new(Kind::Input, "the Hub can not be asked for files").because(error)
        })
    }

    /// Waits for what a download tells: not long for its beginning, longer for more of it.
    fn wait<T>(&self, told: &Receiver<Told<T>>) -> Result<T, Failure> {
        let mut patience = self.patience;
        loop {
            match told.recv_timeout(patience) {
                Ok(Told::Done(Ok(result))) => return Ok(result),
                Ok(Told::Done(Err(error))) => return Err(Failure::Hub(error)),
                Ok(Told::More) => patience = SILENCE,
                Err(RecvTimeoutError::Timeout) => return Err(Failure::Silent(patience)),
                Err(RecvTimeoutError::Disconnected) => return Err(Failure::Lost),
            }
        }
    }

    fn refuse(&self, what: &str, url: &str, failure: Failure) -> Error {
        let refuse = |kind, why: &str| Error::new(kind, format!("{what}, and {why}"));
        match failure {
            Failure::Hub(error) if answered(&error) => {
                refuse(Kind::Input, &format!("{url} can not be downloaded")).because(error)
            }
            Failure::Hub(error) => {
                let why = self.silence.because(format!("{url} can not be reached"));
                refuse(Kind::Unreachable, why).because(error)
            }
            Failure::Silent(patience) => {
                let seconds = patience.as_secs_f64();
                let why = self.silence.because(format!(
                    "{url} did not answer within {seconds} s (HF_HUB_ETAG_TIMEOUT)"
                ));
                refuse(Kind::Unreachable, why)
            }
            Failure::Lost => refuse(Kind::Input, &format!("the download of {url} broke off")),
        }
    }
}

/// Whether somebody was there: an answer, even a bad one, or something on this machine.
fn answered(error: &ApiError) -> bool {
    match error {
        ApiError::RequestError(error) => !matches!(
            **error,
            ureq::Error::Io(_)
                | ureq::Error::Timeout(_)
                | ureq::Error::HostNotFound
                | ureq::Error::ConnectionFailed
        ),
        _ => true,
    }
}

/// What a thread that downloads tells.
enum Told<T> {
    /// There is more of the file.
    More,
    /// It came to its end.
    Done(Result<T, ApiError>),
}

/// Why there is no file.
enum Failure {
    Hub(ApiError),
    /// Nothing came for so long.
    Silent(Duration),
    Lost,
}

/// A download that tells when more of it has come.
struct Watched<T> {
    bar: Option<ProgressBar>,
    tell: Sender<Told<T>>,
}

impl<T> Progress for Watched<T> {
    fn init(&mut self, size: usize, file: &str) {
        let _ = self.tell.send(Told::More);
        if let Some(bar) = &mut self.bar {
            Progress::init(bar, size, file);
        }
    }

    fn update(&mut self, size: usize) {
        let _ = self.tell.send(Told::More);
        if let Some(bar) = &mut self.bar {
            Progress::update(bar, size);
        }
    }

    fn finish(&mut self) {
        if let Some(bar) = &mut self.bar {
            Progress::finish(bar);
        }
    }
}

fn cache() -> Cache {
    std::env::var_os("HF_HUB_CACHE")
        .map_or_else(Cache::from_env, |path| Cache::new(PathBuf::from(path)))
}

fn repo(holds: Holds, id: &str) -> Repo {
    let kind = match holds {
        Holds::Model => RepoType::Model,
        Holds::Dataset => RepoType::Dataset,
    };
    Repo::new(id.to_owned(), kind)
}

/// The names of the files in a folder and in the folders right below it.
fn list(folder: &std::path::Path) -> Option<Vec<String>> {
    let names = |folder: &std::path::Path| -> Option<Vec<String>> {
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
