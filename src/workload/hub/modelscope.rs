//! Models from ModelScope, through the cache of its own client.
//!
//! `MODELSCOPE_ENDPOINT` or `MODELSCOPE_DOMAIN`, `MODELSCOPE_CACHE` and `MODELSCOPE_API_TOKEN` are honoured,
//! and what forbids downloads from the Hub.

use std::fmt;
use std::path::{Path, PathBuf};

use super::{Hub, Silence, list, variable};
use crate::error::{Error, Kind};
use crate::workload::download::{Failure, Request};

/// The version that is taken.
const REVISION: &str = "master";

/// ModelScope as the environment describes it.
#[derive(Clone)]
pub(super) struct ModelScope {
    endpoint: String,
    cache: PathBuf,
    token: Option<String>,
    silence: Silence,
}

impl fmt::Debug for ModelScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the token.
        f.debug_struct("ModelScope").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl ModelScope {
    pub(super) fn from_env() -> Self {
        let endpoint = variable("MODELSCOPE_ENDPOINT")
            .or_else(|| variable("MODELSCOPE_DOMAIN"))
            .unwrap_or_else(|| "www.modelscope.cn".to_owned());
        let endpoint =
            if endpoint.contains("://") { endpoint } else { format!("https://{endpoint}") };
        let cache = variable("MODELSCOPE_CACHE").map_or_else(
            || std::env::home_dir().unwrap_or_default().join(".cache/modelscope"),
            PathBuf::from,
        );
        Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            cache,
            token: variable("MODELSCOPE_API_TOKEN"),
            silence: Silence::default(),
        }
    }

    /// The folders where a model may be: that of the present client, and those of older ones.
    fn folders(&self, id: &str) -> Vec<PathBuf> {
        let new = format!("models/{}/snapshots/{REVISION}", id.replacen('/', "--", 1));
        let (owner, name) = id.split_once('/').unwrap_or(("", id));
        let old = Path::new(owner).join(name.replace('.', "___"));
        vec![
            self.cache.join(new),
            self.cache.join("models").join(&old),
            self.cache.join("hub/models").join(&old),
            self.cache.join("hub").join(&old),
            self.cache.join(&old),
        ]
    }

    /// A file of the model `id`: from the cache, else downloaded into it.
    pub(super) fn file(&self, hub: &Hub, id: &str, file: &str) -> Result<PathBuf, Error> {
        let folders = self.folders(id);
        if let Some(path) =
            folders.iter().map(|folder| folder.join(file)).find(|path| path.is_file())
        {
            return Ok(path);
        }
        let what = format!("no {file} of {id} in the ModelScope cache {}", self.cache.display());
        Self::check(id, &what)?;
        hub.may_ask(&self.silence, &what)?;
        let url = format!(
            "{}/api/v1/models/{id}/repo?Revision={REVISION}&FilePath={file}",
            self.endpoint
        );
        let path = folders[0].join(file);
        hub.fetcher
            .save(&self.request(hub, &url), &path)
            .map_err(|failure| self.refuse(&what, &url, failure))?;
        Ok(path)
    }

    /// The names of the files of the model `id`: those that ModelScope lists, or offline those in the cache.
    pub(super) fn files(&self, hub: &Hub, id: &str) -> Result<Vec<String>, Error> {
        let what = format!("no list of the files of {id}");
        if hub.environment.offline.is_some() {
            return self
                .folders(id)
                .iter()
                .find_map(|folder| list(folder))
                .ok_or_else(|| Error::new(Kind::Input, what));
        }
        Self::check(id, &what)?;
        hub.may_ask(&self.silence, &what)?;
        let url = format!(
            "{}/api/v1/models/{id}/repo/files?Revision={REVISION}&Recursive=True",
            self.endpoint
        );
        let text = hub
            .fetcher
            .text(&self.request(hub, &url))
            .map_err(|failure| self.refuse(&what, &url, failure))?;
        let answer: serde_json::Value = serde_json::from_str(&text).map_err(|error| {
            Error::new(Kind::Input, format!("{what}: {url} answers no JSON")).because(error)
        })?;
        let files = answer.pointer("/Data/Files").and_then(|files| files.as_array());
        let files = files.ok_or_else(|| {
            Error::new(Kind::Input, format!("{what}: {url} answers without Data.Files"))
        })?;
        let path = |file: &serde_json::Value| Some(file.get("Path")?.as_str()?.to_owned());
        Ok(files.iter().filter_map(path).collect())
    }

    /// ModelScope has no model without an owner, so that nobody needs to be asked for one.
    fn check(id: &str, what: &str) -> Result<(), Error> {
        if id.contains('/') {
            return Ok(());
        }
        Err(Error::new(Kind::Input, format!("{what}, and ids of ModelScope are OWNER/NAME")))
    }

    fn request<'a>(&'a self, hub: &Hub, url: &'a str) -> Request<'a> {
        Request {
            token: self.token.as_deref(),
            session: true,
            answer: hub.environment.answer,
            silence: hub.environment.silence,
            ..Request::new(url)
        }
    }

    fn refuse(&self, what: &str, url: &str, failure: Failure) -> Error {
        match failure {
            Failure::Unreachable(_) | Failure::Silent(_) => {
                let why = format!("{url} cannot be reached: {}", failure.why());
                let why = self.silence.because(why);
                Error::new(Kind::Unreachable, format!("{what}, and {why}"))
            }
            Failure::Refused { why, .. } => {
                Error::new(Kind::Input, format!("{what}, and {url} cannot be downloaded: {why}"))
            }
            Failure::Store(error) => error,
        }
    }
}
