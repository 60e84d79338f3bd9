//! Files from the Hugging Face Hub, through its cache, and models from ModelScope where the environment says so.
//!
//! `hub/environment.rs` has the variables that are honoured.

mod environment;
mod modelscope;

use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hf_hub::api::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError};
use hf_hub::{Cache, Repo, RepoType};
use indicatif::ProgressBar;

use self::environment::Environment;
use self::modelscope::ModelScope;
use crate::error::{Error, Kind};
use crate::workload::download;

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
    /// Reads the environment; `progress` shows downloads on stderr.
    pub fn from_env(progress: bool) -> Self {
        let environment = Environment::read();
        let modelscope = yes("SGLANG_USE_MODELSCOPE") || yes("VLLM_USE_MODELSCOPE");
        Self {
            progress: progress && environment.bars,
            environment: Arc::new(environment),
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
    /// If it is not in the cache and cannot be downloaded; [`Kind::Unreachable`] if nobody answers,
    /// [`Kind::Rejected`] if the repository is closed to us.
    pub fn file(&self, holds: Holds, id: &str, file: &str) -> Result<PathBuf, Error> {
        let modelscope = self.modelscope.as_ref().filter(|_| holds == Holds::Model);
        if let Some(modelscope) = modelscope {
            return modelscope.file(self, id, file);
        }
        let cache = self.cache(&format!("no {file} of {id}"))?;
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
        let cache = self.cache(&what)?;
        let repo = repo(Holds::Model, id);
        if self.environment.offline.is_some() {
            // The folder of the commit that the cache knows best.
            let folder = cache.path().join(repo.folder_name());
            let commit = std::fs::read_to_string(folder.join("refs/main")).unwrap_or_default();
            return list(&folder.join("snapshots").join(commit.trim()))
                .ok_or_else(|| Error::new(Kind::Input, what));
        }
        self.may_ask(&self.silence, &what)?;
        let api = self.api(cache)?;
        let url = format!("{}/api/{}", self.environment.endpoint, repo.api_url());
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let _ = tell.send(Told::Done(api.repo(repo).info()));
        });
        let info = self.wait(&told).map_err(|failure| self.refuse(&what, &url, failure))?;
        Ok(info.siblings.into_iter().map(|file| file.rfilename).collect())
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
    fn cache(&self, what: &str) -> Result<Cache, Error> {
        let path = self.environment.cache.clone().ok_or_else(|| {
            Error::new(Kind::Input, format!("{what}, and there is no folder for a Hub cache"))
                .hint("set HF_HOME, or HOME")
        })?;
        Ok(Cache::new(path))
    }

    fn api(&self, cache: Cache) -> Result<Api, Error> {
        let builder = ApiBuilder::from_cache(cache)
            .with_progress(self.progress)
            .with_token(self.environment.token.clone())
            .with_endpoint(self.environment.endpoint.clone());
        builder.build().map_err(|error| {
            Error::new(Kind::Input, "the Hub can not be asked for files").because(error)
        })
    }

    /// Waits for what a download tells: not long for its beginning, longer for more of it.
    fn wait<T>(&self, told: &Receiver<Told<T>>) -> Result<T, Failure> {
        let mut patience = self.environment.answer;
        loop {
            match told.recv_timeout(patience) {
                Ok(Told::Done(Ok(result))) => return Ok(result),
                Ok(Told::Done(Err(error))) => return Err(Failure::Hub(error)),
                Ok(Told::More) => patience = self.environment.silence,
                Err(RecvTimeoutError::Timeout) => return Err(Failure::Silent(patience)),
                Err(RecvTimeoutError::Disconnected) => return Err(Failure::Lost),
            }
        }
    }

    /// The error for a repository that is closed to us, with the Hub's own reason, which is asked for once more:
    /// the client in between keeps the status alone.
    fn forbid(&self, what: &str, url: &str, error: ApiError) -> Error {
        let token = self.environment.token.as_deref();
        let request =
            download::Request { url, token, session: false, patience: self.environment.answer };
        let told = match download::text(&request) {
            Err(download::Failure::Refused(why)) => Some(why),
            _ => None,
        };
        let message = format!("{what}, and {url} can not be downloaded");
        let error = match told {
            Some(why) => {
                let hidden = token.map_or_else(|| why.clone(), |token| why.replace(token, "***"));
                Error::new(Kind::Rejected, format!("{message}: {hidden}"))
            }
            None => Error::new(Kind::Rejected, message).because(error),
        };
        error.hint(if token.is_some() {
            "ask for access on the repository's page with the account of HF_TOKEN, or set HF_TOKEN to a token that has it"
        } else {
            "set HF_TOKEN to a token that may read the repository; gated ones want their terms accepted on their page first"
        })
    }

    fn refuse(&self, what: &str, url: &str, failure: Failure) -> Error {
        let refuse = |kind, why: &str| Error::new(kind, format!("{what}, and {why}"));
        match failure {
            Failure::Hub(error) if forbidden(&error) => self.forbid(what, url, error),
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

/// Whether the Hub wants to know who asks, or knows and refuses.
fn forbidden(error: &ApiError) -> bool {
    matches!(error, ApiError::RequestError(error) if matches!(**error, ureq::Error::StatusCode(401 | 403)))
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
