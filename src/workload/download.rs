//! Files from plain URLs, kept in a cache of our own.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, COOKIE, HeaderValue};

use crate::engine::transport::{USER_AGENT, innermost};
use crate::error::{Error, Kind};

/// Longest silence of a server that sends a file.
const PATIENCE: Duration = Duration::from_secs(30);

/// The file at `url`: from the cache, else downloaded into it under `name`.
///
/// The cache is `rbench` in `XDG_CACHE_HOME`, or else in `~/.cache`.
/// A file is there whole or not at all.
///
/// # Errors
/// If it is not in the cache and can not be downloaded.
pub fn cached(url: &str, name: &str) -> Result<PathBuf, Error> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
        .ok_or_else(|| {
            Error::new(Kind::System, "there is no home folder for a cache")
                .hint("set XDG_CACHE_HOME, or HOME")
        })?
        .join("rbench");
    let path = cache.join(name);
    if !path.exists() {
        fetch(url, &path)?;
    }
    Ok(path)
}

/// Downloads `url` to `path`.
///
/// # Errors
/// If the server does not send it, or it can not be stored.
pub fn fetch(url: &str, path: &Path) -> Result<(), Error> {
    fetch_with(&Request { url, token: None, session: false, patience: PATIENCE }, path).map_err(
        |failure| match failure {
            Failure::Unreachable(why) | Failure::Refused(why) => {
                Error::new(Kind::Input, format!("can not download {url}: {why}"))
            }
            Failure::Store(error) => error,
        },
    )
}

/// What to ask for, and how.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// From where.
    pub url: &'a str,
    /// What opens a private repository; sent as a bearer token, never shown.
    pub token: Option<&'a str>,
    /// Whether the token is sent as the cookie of a session as well.
    pub session: bool,
    /// How long the server may take to answer.
    pub patience: Duration,
}

impl std::fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Why there is no file.
#[derive(Debug)]
pub enum Failure {
    /// Nobody answers.
    Unreachable(String),
    /// The answer is not the file.
    Refused(String),
    /// The file can not be stored.
    Store(Error),
}

/// Downloads a file to `path`, where it is whole or not at all.
///
/// # Errors
/// If the server does not send it, or it can not be stored.
pub fn fetch_with(request: &Request<'_>, path: &Path) -> Result<(), Failure> {
    let store = |error: std::io::Error| {
        Failure::Store(
            Error::new(Kind::System, format!("can not store {}", path.display())).because(error),
        )
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(store)?;
    // A name of its own until it is whole, so that neither a broken download nor another process harms it.
    let part = path.with_extension(format!("part-{}", std::process::id()));
    let mut file = std::fs::File::create(&part).map_err(store)?;
    let result = receive(request, |chunk| file.write_all(chunk).map_err(store))
        .and_then(|()| file.sync_all().map_err(store))
        .and_then(|()| std::fs::rename(&part, path).map_err(store));
    if result.is_err() {
        // It is of no use to anybody, and may be gone already.
        let _ = std::fs::remove_file(&part);
    }
    result
}

/// Downloads a text.
///
/// # Errors
/// If the server does not send it.
pub fn text(request: &Request<'_>) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    receive(request, |chunk| {
        bytes.extend_from_slice(chunk);
        Ok(())
    })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Most bytes of a server's reason that are shown.
const REASON: usize = 400;

/// Why a server refuses: the header that the Hub has for it, or else a short text.
async fn reason(mut response: reqwest::Response) -> Option<String> {
    let told = response.headers().get("x-error-message").cloned();
    let mut text = told.map_or_else(Vec::new, |told| told.as_bytes().to_vec());
    if text.is_empty() {
        while text.len() <= REASON
            && let Ok(Some(chunk)) = response.chunk().await
        {
            text.extend_from_slice(&chunk);
        }
    }
    let text = String::from_utf8_lossy(&text);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    // A page for browsers says nothing in its first lines.
    let text = Some(text).filter(|text| !text.is_empty() && !text.starts_with('<'))?;
    Some(text.chars().take(REASON).collect())
}

/// Sends the request and hands over what comes.
fn receive(
    request: &Request<'_>,
    mut take: impl FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let system = |error: std::io::Error| {
        Failure::Store(Error::new(Kind::System, "can not start a runtime").because(error))
    };
    let refuse = |error: reqwest::Error| Failure::Refused(innermost(&error));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(system)?;
    runtime.block_on(async {
        let client = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(request.patience)
            .read_timeout(PATIENCE)
            .build()
            .map_err(refuse)?;
        let mut asked = client.get(request.url);
        if let Some(token) = request.token {
            let cookie = request.session.then(|| (COOKIE, format!("m_session_id={token}")));
            for (name, value) in
                [(AUTHORIZATION, format!("Bearer {token}"))].into_iter().chain(cookie)
            {
                let mut value = HeaderValue::from_str(&value).map_err(|_| {
                    Failure::Refused("the token is no text that a header can hold".to_owned())
                })?;
                value.set_sensitive(true);
                asked = asked.header(name, value);
            }
        }
        let answer = tokio::time::timeout(request.patience, asked.send()).await;
        let mut response = answer
            .map_err(|_| {
                let seconds = request.patience.as_secs_f64();
                Failure::Unreachable(format!("no answer within {seconds} s"))
            })?
            .map_err(|error| Failure::Unreachable(innermost(&error)))?;
        if !response.status().is_success() {
            let status = format!("HTTP status {}", response.status());
            return Err(Failure::Refused(match reason(response).await {
                Some(reason) => format!("{status}: {reason}"),
                None => status,
            }));
        }
        while let Some(chunk) = response.chunk().await.map_err(refuse)? {
            take(&chunk)?;
        }
        Ok(())
    })
}
