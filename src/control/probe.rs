//! What is asked of a server around the load: is it ready, what does it serve, empty your cache.
//!
//! These calls go their own way (`reqwest`), never over the connections of the load, and reach the server as the load does.

mod flush;
mod metrics;
mod ready;
mod tokenize;

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, LOCATION};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Response, StatusCode};
use serde_json::Value;

pub use self::ready::Ready;
use crate::engine::transport::{Route, USER_AGENT, Version, innermost, message};
use crate::error::{Error, Kind};

/// Longest wait for one answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Longest answer that is read, in bytes.
const MAX_ANSWER: usize = 16 << 20;

/// How much of an answer is read to tell what a refusal says, in bytes.
const MAX_REFUSAL: usize = 64 << 10;

/// Most redirects that are followed, one after the other.
const MAX_REDIRECTS: usize = 5;

/// A model that a server lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedModel {
    /// The name to send in requests.
    pub id: String,
    /// Where its files come from, if the server says.
    pub root: Option<String>,
    /// Of an adapter: where the files of the model that it changes come from, and the name of that model.
    pub bases: Vec<String>,
}

/// A call that brought no usable answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unanswered {
    /// The call and what came of it, for people.
    pub message: String,
    /// Its status, if there was an answer.
    pub status: Option<u16>,
    /// Whether the server may have got the call.
    pub sent: bool,
}

impl std::fmt::Display for Unanswered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl Unanswered {
    /// No answer to `call`, which is empty where others name it.
    fn failed(call: &str, error: &reqwest::Error) -> Self {
        let colon = if call.is_empty() { "" } else { ": " };
        let message = format!("{call}{colon}{}", innermost(error));
        Self { message, status: None, sent: !error.is_connect() }
    }

    /// The answer `what` to `call`.
    fn refused(call: &str, status: StatusCode, what: &str) -> Self {
        let message = format!("{call} answers {what}");
        Self { message, status: Some(status.as_u16()), sent: true }
    }

    /// Whether the server says that it has no such call.
    pub fn is_absent(&self) -> bool {
        matches!(self.status, Some(404 | 405 | 410 | 501))
    }
}

/// Asks one server.
///
/// Each call has a connection of its own. Nobody drives these connections while a load runs, so that servers would
/// close the idle ones without being noticed, and those with few threads would wait for them.
#[derive(Clone)]
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
    /// If the TLS roots of the system cannot be read.
    pub fn new(base: &str, headers: HeaderMap, route: &Route) -> Result<Self, Error> {
        let keyed = headers.contains_key(AUTHORIZATION);
        let builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .default_headers(headers)
            .redirect(Policy::custom(follow))
            .pool_max_idle_per_host(0)
            .timeout(TIMEOUT);
        let client = route.lead(builder)?.build().map_err(|error| {
            Error::new(Kind::System, "cannot make an HTTP client").because(error)
        })?;
        let base = if keyed { anonymous(base) } else { base.to_owned() };
        Ok(Self { client, base, keyed, version: route.version })
    }

    fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.get(format!("{}{path}", self.base))
    }

    /// The JSON of `GET path`.
    ///
    /// # Errors
    /// If there is none to be had; the error says what came instead.
    pub async fn json(&self, path: &str) -> Result<Value, Unanswered> {
        let call = format!("GET {path}");
        let sent = self.get(path).send().await;
        let response = sent.map_err(|error| Unanswered::failed(&call, &error))?;
        let status = response.status();
        let read = if status == StatusCode::OK {
            read_json(response).await
        } else {
            Err(answered(response).await)
        };
        read.map_err(|what| Unanswered::refused(&call, status, &what))
    }

    /// Posts `body` to `url`.
    ///
    /// # Errors
    /// If the answer is not a success: what it says, or why there is none. The URL is left out, it may hold a password.
    pub async fn post(&self, url: &str, body: &Value, timeout: Duration) -> Result<(), Unanswered> {
        let url = if self.keyed { anonymous(url) } else { url.to_owned() };
        let request = self.client.post(url).json(body).timeout(timeout);
        let response = request.send().await.map_err(|error| Unanswered::failed("", &error))?;
        let status = response.status();
        completed(response).await.map_err(|what| Unanswered::refused("it", status, &what))
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

/// An answer that is not what was asked for: its status and the beginning of its body.
async fn answered(response: Response) -> String {
    let status = said(&response);
    match beginning(response).await {
        body if body.is_empty() => status,
        body => format!("{status}: {}", cut(&body)),
    }
}

/// Reads the answer to a call that was to do something.
///
/// # Errors
/// If it was not done, or not everywhere: the answer as [`answered`] shows it.
async fn completed(response: Response) -> Result<(), String> {
    let status = response.status();
    let is_whole = status.is_success()
        && status != StatusCode::PARTIAL_CONTENT
        && status != StatusCode::MULTI_STATUS;
    let shown = said(&response);
    let body = beginning(response).await;
    if is_whole && !serde_json::from_str(&body).is_ok_and(|body| tells_failure(&body)) {
        return Ok(());
    }
    Err(if body.is_empty() { shown } else { format!("{shown}: {}", cut(&body)) })
}

/// Whether the body of a good status says that something was not done. Routers have several forms for that.
fn tells_failure(body: &Value) -> bool {
    let is_some = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::Bool(true) => true,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    };
    let has = |key: &str| body.get(key).is_some_and(is_some);
    let is_bad = |status: &str| {
        let status = status.to_ascii_lowercase();
        ["partial", "fail", "error"].iter().any(|word| status.contains(word))
    };
    body.get("success") == Some(&Value::Bool(false))
        || body.get("status").and_then(Value::as_str).is_some_and(is_bad)
        || has("error")
        || has("errors")
        || has("failed")
        || body.get("workers_flushed").is_some_and(|count| count == 0)
}

/// The body of an answer, or why there is none.
async fn read(mut response: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| innermost(&error))? {
        if body.len() + piece.len() > MAX_ANSWER {
            return Err(format!("more than {} MiB", MAX_ANSWER >> 20));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// The JSON of an answer, or what it is instead.
async fn read_json(response: Response) -> Result<Value, String> {
    let body = read(response).await?;
    serde_json::from_slice(&body).map_err(|_| {
        let body = String::from_utf8_lossy(&body[..body.len().min(MAX_REFUSAL)]);
        match cut(body.trim()) {
            "" => "with nothing".to_owned(),
            body => format!("something that is not JSON: {body}"),
        }
    })
}

/// The beginning of a text, for messages.
fn cut(text: &str) -> &str {
    text.char_indices().nth(200).map_or(text, |(at, _)| &text[..at])
}

/// The beginning of an answer's body.
async fn beginning(mut response: Response) -> String {
    let mut body = Vec::new();
    while body.len() < MAX_REFUSAL
        && let Ok(Some(piece)) = response.chunk().await
    {
        body.extend_from_slice(&piece[..piece.len().min(MAX_REFUSAL - body.len())]);
    }
    String::from_utf8_lossy(&body).trim().to_owned()
}

/// The first model of an answer to `GET /v1/models` that is no adapter, else the first.
pub fn first_model(list: &Value) -> Option<ListedModel> {
    let models = list.get("data")?.as_array()?;
    let is_base = |model: &&Value| text(model, "parent").is_none();
    listed(models, models.iter().find(is_base).or(models.first())?)
}

/// The model of that name in an answer to `GET /v1/models`.
pub fn find_model(list: &Value, id: &str) -> Option<ListedModel> {
    let models = list.get("data")?.as_array()?;
    listed(models, models.iter().find(|model| model["id"] == id)?)
}

fn text<'a>(model: &'a Value, key: &str) -> Option<&'a str> {
    model.get(key)?.as_str().filter(|text| !text.is_empty())
}

fn listed(models: &[Value], model: &Value) -> Option<ListedModel> {
    let mut bases = Vec::new();
    if let Some(parent) = text(model, "parent") {
        let base = models.iter().find(|other| text(other, "id") == Some(parent));
        bases.extend(base.and_then(|base| text(base, "root")).map(str::to_owned));
        bases.push(parent.to_owned());
    }
    let id = text(model, "id")?.to_owned();
    Some(ListedModel { id, root: text(model, "root").map(str::to_owned), bases })
}

/// The mean number of tokens accepted per step of speculative decoding, from an answer to `GET /server_info`.
pub fn accept_length(info: &Value, which: State) -> Option<f64> {
    state(info, which, "avg_spec_accept_length")
}

/// The throughput of generation that the server measured last, in tokens/s, from the same answer.
pub fn last_generation_throughput(info: &Value, which: State) -> Option<f64> {
    state(info, which, "last_gen_throughput")
}

/// Which of several schedulers' states is taken, as the clients of SGLang differ in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The first, as `bench_serving` does.
    First,
    /// The last that has the figure, as `bench_one_batch_server` does.
    Last,
}

/// A number of a state that a server reports of itself, or its decode server.
fn state(info: &Value, which: State, key: &str) -> Option<f64> {
    let info = info.get("decode").and_then(|decode| decode.get(0)).unwrap_or(info);
    let states = info.get("internal_states")?.as_array()?;
    let number = |state: &Value| state.get(key)?.as_f64();
    match which {
        State::First => number(states.first()?),
        State::Last => states.iter().rev().find_map(number),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn models() {
        let list = json!({"object": "list", "data": [
            {"id": "a1", "root": "/adapters/a1", "parent": "tiny"},
            {"id": "tiny", "root": "/models/tiny", "parent": null},
            {"id": "b"},
            {"id": "a2", "parent": "absent"},
        ]});
        let model = |id: &str, root: Option<&str>, bases: &[&str]| ListedModel {
            id: id.to_owned(),
            root: root.map(str::to_owned),
            bases: bases.iter().map(|&base| base.to_owned()).collect(),
        };
        let tiny = model("tiny", Some("/models/tiny"), &[]);
        assert_eq!(first_model(&list), Some(tiny.clone()));
        assert_eq!(find_model(&list, "tiny"), Some(tiny));
        let adapter = model("a1", Some("/adapters/a1"), &["/models/tiny", "tiny"]);
        assert_eq!(find_model(&list, "a1"), Some(adapter));
        assert_eq!(find_model(&list, "a2"), Some(model("a2", None, &["absent"])));
        assert_eq!(find_model(&list, "c"), None);
        let adapters = json!({"data": [{"id": "a", "parent": "x"}]});
        assert_eq!(first_model(&adapters), Some(model("a", None, &["x"])));
        assert_eq!(first_model(&json!({"data": []})), None);
    }

    #[test]
    fn states() {
        let state = json!({"internal_states": [{"avg_spec_accept_length": 2.5}]});
        assert_eq!(accept_length(&state, State::First), Some(2.5));
        let separated = json!({"prefill": [{}], "decode": [state]});
        assert_eq!(accept_length(&separated, State::First), Some(2.5));
        assert_eq!(accept_length(&json!({"internal_states": [{}]}), State::First), None);
        assert_eq!(accept_length(&json!({}), State::Last), None);
        let several = json!({"internal_states": [
            {"last_gen_throughput": 77.0},
            {"last_gen_throughput": 78.0},
            {"memory_usage": 1},
        ]});
        assert_eq!(last_generation_throughput(&several, State::First), Some(77.0));
        assert_eq!(last_generation_throughput(&several, State::Last), Some(78.0));
        assert_eq!(last_generation_throughput(&json!({"internal_states": []}), State::Last), None);
    }

    #[test]
    fn answers_that_report_a_failure() {
        for (body, fails) in [
            (json!({"success": true}), false),
            (json!({"status": "success", "workers_flushed": 2, "failed": []}), false),
            (json!({"status": "ok", "error": null}), false),
            (json!([]), false),
            (json!("Cache flushed."), false),
            (json!({"success": false}), true),
            (json!({"status": "partial_success"}), true),
            (json!({"status": "failed"}), true),
            (json!({"error": {"message": "no"}}), true),
            (json!({"failed": [{"worker": "a"}]}), true),
            (json!({"failed": 1}), true),
            (json!({"status": "success", "workers_flushed": 0}), true),
        ] {
            assert_eq!(tells_failure(&body), fails, "{body}");
        }
    }
}
