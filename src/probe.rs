//! What is asked of a server around the load: is it ready, what does it serve, empty your cache.
//!
//! These calls go their own way (`reqwest`), never over the connections of the load, and reach the server as the load does.

pub mod stream;

use std::time::{Duration, Instant};

use reqwest::header::{AUTHORIZATION, HeaderMap, LOCATION};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Response, StatusCode};
use serde_json::Value;

use crate::backend::{Backend, Flush};
use crate::error::{Error, Kind};
use crate::transport::{Route, USER_AGENT, Version, innermost, message, tls};

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Longest answer that is read, in bytes.
const MAX_ANSWER: usize = 16 << 20;

/// How much of an answer is read to tell what a refusal says, in bytes.
const MAX_REFUSAL: usize = 4 << 10;

/// Most redirects that are followed, one after the other.
const MAX_REDIRECTS: usize = 5;

/// Pause between two looks at a server that is not ready.
const PAUSE: Duration = Duration::from_secs(1);

/// A model that a server lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedModel {
    /// The name to send in requests.
    pub id: String,
    /// Where its files come from, if the server tells.
    pub root: Option<String>,
}

/// Asks one server.
pub struct Probe {
    client: reqwest::Client,
    base: String,
    /// Whether there is a key, which wins over user and password of a URL, as it does for the load.
    keyed: bool,
    /// The version of HTTP that is spoken whatever the server offers.
    version: Option<Version>,
}

impl std::fmt::Debug for Probe {
    /// Leaves the URL out, which may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Probe").finish_non_exhaustive()
    }
}

impl Probe {
    /// A probe of the server at `base`, which does not end with a slash, reached by `route`, sending `headers`.
    ///
    /// # Errors
    /// If the TLS roots of the system can not be read.
    pub fn new(base: &str, headers: HeaderMap, route: &Route) -> Result<Self, Error> {
        let keyed = headers.contains_key(AUTHORIZATION);
        let builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .default_headers(headers)
            .redirect(Policy::custom(follow))
            .timeout(PATIENCE);
        let client = route.lead(builder)?.build().map_err(|error| {
            Error::new(Kind::System, "can not make an HTTP client").because(error)
        })?;
        let base = if keyed { anonymous(base) } else { base.to_owned() };
        Ok(Self { client, base, keyed, version: route.version })
    }

    /// Waits until the server answers, for at most `patience`; returns what its model list says, if that was asked.
    ///
    /// `waiting` is told why once, if the first look does not succeed.
    ///
    /// # Errors
    /// If it does not answer in time, or refuses the key.
    pub async fn ready(
        &self,
        backend: &Backend,
        patience: Duration,
        shown: &str,
        waiting: impl FnOnce(&str),
    ) -> Result<Option<Value>, Error> {
        let start = Instant::now();
        let mut waiting = Some(waiting);
        loop {
            let (reason, broken) = match self.look(backend).await {
                Ok(list) => return Ok(list),
                Err(Answer::Refused(error)) => return Err(error),
                Err(Answer::NotYet(reason)) => (reason, false),
                Err(Answer::Broken(reason)) => (reason, true),
            };
            if let Some(waiting) = waiting.take() {
                waiting(&reason);
            }
            let left = patience.saturating_sub(start.elapsed());
            if left.is_zero() {
                let error = Error::new(
                    Kind::Unreachable,
                    format!(
                        "{shown} did not become ready within {} s: {reason}",
                        patience.as_secs_f64()
                    ),
                );
                let error = match self.version {
                    Some(Version::Http2) if broken => {
                        error.hint("if it does not speak HTTP/2, leave --http-version 2 out")
                    }
                    _ if broken => {
                        error.hint("if it speaks HTTP/2 alone, say so with --http-version 2")
                    }
                    _ => error,
                };
                return Err(error
                .hint("check --host and --port or --base-url, which is the part before /v1")
                .hint(
                    "--ready-check-timeout-sec sets how long to wait; 0 goes ahead without a check",
                ));
            }
            tokio::time::sleep(left.min(PAUSE)).await;
        }
    }

    /// One look: a model list where there is one, else any answer of the server.
    async fn look(&self, backend: &Backend) -> Result<Option<Value>, Answer> {
        let path = if backend.lists_models { "/v1/models" } else { "/" };
        let url = format!("{}{path}", self.base);
        let response = match self.client.get(url).send().await {
            Ok(response) => response,
            Err(error) => {
                return Err(match tls::trouble(&error) {
                    // Certificates do not get better by waiting.
                    Some(trouble) if trouble.lasting => {
                        Answer::Refused(Error::new(Kind::Unreachable, trouble.message))
                    }
                    // It was reached, and what it said is not HTTP as it was asked for.
                    _ if error.is_request() && !error.is_connect() && !error.is_timeout() => {
                        Answer::Broken(innermost(&error))
                    }
                    _ => Answer::NotYet(innermost(&error)),
                });
            }
        };
        let status = response.status();
        if !backend.lists_models {
            return if status.is_server_error() {
                Err(Answer::NotYet(format!("GET {path} answers {}", said(&response))))
            } else {
                Ok(None)
            };
        }
        if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
            return Err(Answer::Refused(
                Error::new(Kind::Rejected, format!("the server refuses GET {path} with {status}"))
                    .hint("set OPENAI_API_KEY, or API_KEY for a key that is sent as it is"),
            ));
        }
        if status != StatusCode::OK {
            return Err(Answer::NotYet(format!("GET {path} answers {}", said(&response))));
        }
        match read_json(response).await {
            Ok(list) => Ok(Some(list)),
            Err(what) => Err(Answer::NotYet(format!("GET {path} answers {what}"))),
        }
    }

    /// The JSON of `GET path`, `None` if there is none to be had.
    pub async fn json(&self, path: &str) -> Option<Value> {
        let response = self.client.get(format!("{}{path}", self.base)).send().await.ok()?;
        if response.status() != StatusCode::OK {
            return None;
        }
        read_json(response).await.ok()
    }

    /// Posts `body` to `url`.
    ///
    /// # Errors
    /// If the answer is not a success: what it says, or why there is none. The URL is left out, it may hold a password.
    pub async fn post(&self, url: &str, body: &Value, timeout: Duration) -> Result<(), String> {
        let url = if self.keyed { anonymous(url) } else { url.to_owned() };
        let request = self.client.post(url).json(body).timeout(timeout);
        let response = request.send().await.map_err(|error| innermost(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        Err(format!("it answers {}: {}", said(&response), beginning(response).await))
    }

    /// Empties the server's prefix cache.
    ///
    /// # Errors
    /// If the server does not do so.
    pub async fn flush(&self, how: Flush, timeout: Duration) -> Result<(), Error> {
        let path = match how {
            Flush::Sglang => format!("/flush_cache?timeout={:?}", timeout.as_secs_f64()),
            Flush::Vllm => "/reset_prefix_cache".to_owned(),
            Flush::Plain => "/flush_cache".to_owned(),
        };
        let request = self.client.post(format!("{}{path}", self.base));
        // The server may use all of its time to become idle before it answers.
        let response = request.timeout(timeout + PATIENCE).send().await.map_err(|error| {
            Error::new(
                Kind::Unreachable,
                format!(
                    "the prefix cache could not be emptied: POST {path}: {}",
                    innermost(&error)
                ),
            )
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let (status, body) = (said(&response), beginning(response).await);
        let error = Error::new(
            Kind::Rejected,
            format!(
                "the prefix cache was not emptied: the server answers POST {path} with {status}: {body}"
            ),
        );
        Err(match how {
            Flush::Vllm => {
                error.hint("vLLM has this endpoint only when started with VLLM_SERVER_DEV_MODE=1")
            }
            _ => error,
        })
    }
}

/// `base` without user and password.
fn anonymous(base: &str) -> String {
    let Ok(mut url) = reqwest::Url::parse(base) else { return base.to_owned() };
    // Neither can fail on a URL that has a host.
    let _ = url.set_password(None);
    let _ = url.set_username("");
    url.as_str().trim_end_matches('/').to_owned()
}

/// Follows a redirect on the same server alone: keys are not shown to others, and the load goes to this one.
fn follow(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let same = attempt.previous().first().is_some_and(|first| {
        let authority = |url: &reqwest::Url| {
            (
                url.scheme().to_owned(),
                url.host_str().map(str::to_owned),
                url.port_or_known_default(),
            )
        };
        authority(first) == authority(attempt.url())
    });
    if same && attempt.previous().len() <= MAX_REDIRECTS {
        attempt.follow()
    } else {
        attempt.stop()
    }
}

/// The status of an answer, and where it leads if it is a redirect, which was not followed then.
fn said(response: &Response) -> String {
    let status = response.status();
    let place = response.headers().get(LOCATION).filter(|_| status.is_redirection());
    match place {
        Some(place) => {
            let place = message::shown(&String::from_utf8_lossy(place.as_bytes()));
            format!("{status}, which leads to {place} and is not followed")
        }
        None => status.to_string(),
    }
}

/// The JSON of an answer, or what it is instead.
async fn read_json(mut response: Response) -> Result<Value, String> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| innermost(&error))? {
        if body.len() + piece.len() > MAX_ANSWER {
            return Err(format!("more than {} MiB", MAX_ANSWER >> 20));
        }
        body.extend_from_slice(&piece);
    }
    serde_json::from_slice(&body).map_err(|_| "something that is not JSON".to_owned())
}

/// The beginning of an answer's body, for messages.
async fn beginning(mut response: Response) -> String {
    let mut body = Vec::new();
    while body.len() < MAX_REFUSAL
        && let Ok(Some(piece)) = response.chunk().await
    {
        body.extend_from_slice(&piece[..piece.len().min(MAX_REFUSAL - body.len())]);
    }
    String::from_utf8_lossy(&body).trim().chars().take(200).collect()
}

/// Why a look did not succeed.
enum Answer {
    NotYet(String),
    /// The server was reached and gave no answer.
    Broken(String),
    Refused(Error),
}

/// The first model of an answer to `GET /v1/models`.
pub fn first_model(list: &Value) -> Option<ListedModel> {
    let model = list.get("data")?.get(0)?;
    let text = |key: &str| model.get(key).and_then(Value::as_str).map(str::to_owned);
    Some(ListedModel { id: text("id")?, root: text("root") })
}

/// The model of that name in an answer to `GET /v1/models`.
pub fn find_model(list: &Value, id: &str) -> Option<ListedModel> {
    let model = list.get("data")?.as_array()?.iter().find(|model| model["id"] == id)?;
    let root = model.get("root").and_then(Value::as_str).map(str::to_owned);
    Some(ListedModel { id: id.to_owned(), root })
}

/// The mean number of tokens accepted per step of speculative decoding, from an answer to `GET /server_info`.
pub fn accept_length(info: &Value) -> Option<f64> {
    state(info, "avg_spec_accept_length")
}

/// The throughput of generation that the server measured last, in tokens/s, from the same answer.
pub fn last_generation_throughput(info: &Value) -> Option<f64> {
    state(info, "last_gen_throughput")
}

/// A number of the first state that a server tells of itself, or its decode server.
fn state(info: &Value, key: &str) -> Option<f64> {
    let info = info.get("decode").and_then(|decode| decode.get(0)).unwrap_or(info);
    info.get("internal_states")?.get(0)?.get(key)?.as_f64()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn models() {
        let list = json!({"object": "list", "data": [{"id": "tiny", "root": "/models/tiny"}, {"id": "b"}]});
        let tiny = ListedModel { id: "tiny".into(), root: Some("/models/tiny".into()) };
        assert_eq!(first_model(&list), Some(tiny.clone()));
        assert_eq!(find_model(&list, "tiny"), Some(tiny));
        assert_eq!(find_model(&list, "c"), None);
        assert_eq!(first_model(&json!({"data": []})), None);
    }

    #[test]
    fn accept_lengths() {
        let state = json!({"internal_states": [{"avg_spec_accept_length": 2.5}]});
        assert_eq!(accept_length(&state), Some(2.5));
        assert_eq!(accept_length(&json!({"prefill": [{}], "decode": [state]})), Some(2.5));
        assert_eq!(accept_length(&json!({"internal_states": [{}]})), None);
        assert_eq!(accept_length(&json!({})), None);
        let state = json!({"internal_states": [{"last_gen_throughput": 120.5}]});
        assert_eq!(last_generation_throughput(&state), Some(120.5));
        assert_eq!(last_generation_throughput(&json!({"internal_states": [{}]})), None);
    }
}
