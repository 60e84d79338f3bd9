//! Files from plain URLs, kept in a cache of our own.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Kind};
use crate::transport::{USER_AGENT, innermost};

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
        .ok_or_else(|| Error::new(Kind::System, "there is no home folder for a cache"))?
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
    let refuse = |what: String| Error::new(Kind::Input, format!("can not download {url}: {what}"));
    let store = |error: std::io::Error| {
        Error::new(Kind::System, format!("can not store {}", path.display())).because(error)
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(store)?;
    // A name of its own until it is whole, so that neither a broken download nor another process harms it.
    let part = path.with_extension(format!("part-{}", std::process::id()));
    let mut file = std::fs::File::create(&part).map_err(store)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(store)?;
    let result = runtime.block_on(async {
        let client = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(PATIENCE)
            .read_timeout(PATIENCE)
            .build()
            .map_err(|error| refuse(innermost(&error)))?;
        let mut response =
            client.get(url).send().await.map_err(|error| refuse(innermost(&error)))?;
        if !response.status().is_success() {
            return Err(refuse(format!("HTTP status {}", response.status())));
        }
        while let Some(chunk) = response.chunk().await.map_err(|error| refuse(innermost(&error)))? {
            file.write_all(&chunk).map_err(store)?;
        }
        file.sync_all().map_err(store)
    });
    let result = result.and_then(|()| std::fs::rename(&part, path).map_err(store));
    if result.is_err() {
        // It is of no use to anybody, and may be gone already.
        let _ = std::fs::remove_file(&part);
    }
    result
}
