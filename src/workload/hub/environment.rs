//! What the environment says of the Hub, as the Hub's own Python client documents it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::{variable, yes};

/// How long the Hub may take to answer, unless `HF_HUB_ETAG_TIMEOUT` says otherwise.
const ANSWER: Duration = Duration::from_secs(5);

/// Longest silence within a file that is being downloaded, unless `HF_HUB_DOWNLOAD_TIMEOUT` says otherwise.
const SILENCE: Duration = Duration::from_secs(30);

/// The endpoint of the Hub, unless `HF_ENDPOINT` says otherwise.
const ENDPOINT: &str = "https://huggingface.co";

/// The Hub as the environment describes it.
#[derive(Clone)]
pub(super) struct Environment {
    /// Where its files are kept; `None` if there is no folder of the user.
    pub(super) cache: Option<PathBuf>,
    /// What opens private and gated repositories.
    pub(super) token: Option<String>,
    /// The variable that forbids downloads.
    pub(super) offline: Option<&'static str>,
    /// Without a slash at the end.
    pub(super) endpoint: String,
    /// How long the Hub may take to answer.
    pub(super) answer: Duration,
    /// Longest silence within a file.
    pub(super) silence: Duration,
    /// Whether downloads are shown.
    pub(super) bars: bool,
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the token.
        f.debug_struct("Environment").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Environment {
    /// Reads it.
    pub(super) fn read() -> Self {
        let home = folder("HF_HOME").or_else(|| {
            let caches = folder("XDG_CACHE_HOME").or_else(|| Some(user()?.join(".cache")));
            Some(caches?.join("huggingface"))
        });
        let hub = || home.as_ref().map(|home| home.join("hub"));
        let cache = folder("HF_HUB_CACHE").or_else(|| folder("HUGGINGFACE_HUB_CACHE"));
        let kept = || {
            let path = folder("HF_TOKEN_PATH").or_else(|| Some(home.as_ref()?.join("token")))?;
            let token = std::fs::read_to_string(path).ok()?;
            Some(token.trim().to_owned()).filter(|token| !token.is_empty())
        };
        let token = variable("HF_TOKEN").or_else(|| variable("HUGGING_FACE_HUB_TOKEN"));
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        Self {
            cache: cache.or_else(hub),
            token: token.or_else(kept).filter(|_| !yes("HF_HUB_DISABLE_IMPLICIT_TOKEN")),
            // The second counts only where the first is not set.
            offline: ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"]
                .into_iter()
                .find(|name| variable(name).is_some())
                .filter(|name| yes(name)),
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            answer: seconds("HF_HUB_ETAG_TIMEOUT").unwrap_or(ANSWER),
            silence: seconds("HF_HUB_DOWNLOAD_TIMEOUT").unwrap_or(SILENCE),
            bars: !yes("HF_HUB_DISABLE_PROGRESS_BARS"),
        }
    }
}

/// A time above 0.
fn seconds(name: &str) -> Option<Duration> {
    let seconds = variable(name)?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok().filter(|time| !time.is_zero())
}

/// The user's folder.
fn user() -> Option<PathBuf> {
    std::env::home_dir().filter(|home| !home.as_os_str().is_empty())
}

/// A folder or file that a variable names, as a shell would write it: `~` is the user's folder, `$NAME` a variable.
fn folder(name: &str) -> Option<PathBuf> {
    let value = std::env::var_os(name).filter(|value| !value.is_empty())?;
    let Some(text) = value.to_str() else { return Some(value.into()) };
    let text = expand(text, variable);
    match text.strip_prefix('~') {
        Some("") => user(),
        Some(rest) if rest.starts_with('/') => Some(user()?.join(&rest[1..])),
        _ => Some(text.into()),
    }
}

/// The text with `$NAME` and `${NAME}` replaced; what is not set stays as it is.
fn expand(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out += before;
        let (name, end) = match after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some((name, end)) => (name, end),
            None => after.split_at(
                after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len()),
            ),
        };
        if let Some(value) = value(name).filter(|_| !name.is_empty()) {
            out += &value;
            rest = end;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_in_paths() {
        let value = |name: &str| (name == "A").then(|| "x".to_owned());
        for (text, want) in [
            ("/data", "/data"),
            ("$A", "x"),
            ("/$A/${A}y/$B/$", "/x/xy/$B/$"),
            ("${A", "${A"),
            ("$AB$A", "$ABx"),
        ] {
            assert_eq!(expand(text, value), want, "{text}");
        }
    }
}
