//! Files from the Hugging Face Hub, through its cache.
//!
//! `HF_HOME` (and `HF_HUB_CACHE`), `HF_ENDPOINT`, `HF_TOKEN` and `HF_HUB_OFFLINE` are honoured.

use std::path::PathBuf;

use hf_hub::api::sync::ApiBuilder;
use hf_hub::{Cache, Repo, RepoType};

use crate::error::{Error, Kind};

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
}

impl Hub {
    /// Reads the environment; `progress` shows downloads on stderr.
    pub fn from_env(progress: bool) -> Self {
        let offline = std::env::var("HF_HUB_OFFLINE").is_ok_and(|value| {
            matches!(value.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on")
        });
        Self { offline, progress }
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
    /// If it is not in the cache and can not be downloaded.
    pub fn file(&self, holds: Holds, id: &str, file: &str) -> Result<PathBuf, Error> {
        let cache = std::env::var_os("HF_HUB_CACHE")
            .map_or_else(Cache::from_env, |path| Cache::new(PathBuf::from(path)));
        let kind = match holds {
            Holds::Model => RepoType::Model,
            Holds::Dataset => RepoType::Dataset,
        };
        let repo = Repo::new(id.to_owned(), kind);
        if let Some(path) = cache.repo(repo.clone()).get(file) {
            return Ok(path);
        }
        let what = format!("no {file} of {id} in the Hub cache {}", cache.path().display());
        if self.offline {
            return Err(Error::new(Kind::Input, format!("{what}, and HF_HUB_OFFLINE is set")));
        }
        let token = std::env::var("HF_TOKEN").ok().filter(|token| !token.trim().is_empty());
        let token = token.or_else(|| cache.token());
        let mut builder =
            ApiBuilder::from_cache(cache).with_progress(self.progress).with_token(token);
        if let Ok(endpoint) = std::env::var("HF_ENDPOINT") {
            builder = builder.with_endpoint(endpoint.trim_end_matches('/').to_owned());
        }
        builder.build().and_then(|api| api.repo(repo).get(file)).map_err(|error| {
            Error::new(Kind::Input, format!("{what}, and it can not be downloaded")).because(error)
        })
    }
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
