//! Waits for a server, and asks it what it serves.

use std::time::{Duration, Instant};

use reqwest::{Response, StatusCode};
use serde_json::Value;

use super::{Probe, answered, read_json};
use crate::engine::transport::{Version, innermost, is_another_protocol, tls};
use crate::error::{Error, Kind};
use crate::protocol::backend::Backend;

/// Pause between two looks at a server that is not ready.
const PAUSE: Duration = Duration::from_secs(1);

/// What to do without a list.
const GO_ON: &str = "--model NAME goes on without the list";

/// Where models are listed.
const MODELS: &str = "/v1/models";

/// A server that is there.
#[derive(Debug, Clone, PartialEq)]
pub enum Ready {
    /// It lists what it serves.
    Lists(Value),
    /// Nobody asked it for a list.
    Answers,
    /// It was asked for a list and answers this instead.
    Unlisted(String),
}

impl Ready {
    /// The list of what it serves, if there is one.
    pub fn list(self) -> Option<Value> {
        match self {
            Self::Lists(list) => Some(list),
            Self::Answers | Self::Unlisted(_) => None,
        }
    }
}

/// Why a look did not succeed.
enum Miss {
    /// Nobody is there, or it says that it is not ready.
    NotYet(String),
    /// The server was reached and gave no answer.
    Broken(String),
    /// It answers, and gives no list.
    Unlisted(Unlisted),
    /// Waiting does not help.
    Refused(Error),
}

/// What the last look came upon.
#[derive(Clone, Copy)]
enum Last {
    NotYet,
    Broken,
    Unlisted,
}

/// An answer in place of a list.
struct Unlisted {
    status: StatusCode,
    /// What it is.
    reason: String,
}

impl Unlisted {
    /// Whether the same question gets the same answer later: so do those that blame the one who asks.
    fn lasts(&self) -> bool {
        self.status.is_client_error() || self.status.is_redirection()
    }

    fn refusal(self) -> Error {
        let error =
            Error::new(Kind::Rejected, format!("the server gives no list: {}", self.reason));
        match self.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => error
                .hint("set OPENAI_API_KEY, or API_KEY for a key that is sent as it is, or give --api-key-file FILE")
                .hint(GO_ON),
            _ => error.hint("check --host and --port or --base-url, which is the part before /v1").hint(GO_ON),
        }
    }
}

impl Probe {
    /// Waits until the server answers, for at most `timeout`; `named` says that the model is known without a list,
    /// so that any answer is enough but one that says that it is not ready.
    ///
    /// `waiting` gets the reason once, if the first look does not succeed.
    ///
    /// # Errors
    /// If it does not answer in time, or gives no list and will not.
    pub async fn ready(
        &self,
        backend: &Backend,
        timeout: Duration,
        shown: &str,
        named: bool,
        waiting: impl FnOnce(&str),
    ) -> Result<Ready, Error> {
        let start = Instant::now();
        let mut waiting = Some(waiting);
        loop {
            let (reason, kind) = match self.look(backend).await {
                Ok(ready) => return Ok(ready),
                Err(Miss::Refused(error)) => return Err(error),
                Err(Miss::Unlisted(answer)) if named => return Ok(Ready::Unlisted(answer.reason)),
                Err(Miss::Unlisted(answer)) if answer.lasts() => return Err(answer.refusal()),
                Err(Miss::Unlisted(answer)) => (answer.reason, Last::Unlisted),
                Err(Miss::NotYet(reason)) => (reason, Last::NotYet),
                Err(Miss::Broken(reason)) => (reason, Last::Broken),
            };
            if let Some(waiting) = waiting.take() {
                waiting(&reason);
            }
            let left = timeout.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Err(self.late(shown, timeout, &reason, kind));
            }
            tokio::time::sleep(left.min(PAUSE)).await;
        }
    }

    fn late(&self, shown: &str, timeout: Duration, reason: &str, last: Last) -> Error {
        let error = Error::new(
            Kind::Unreachable,
            format!("{shown} did not become ready within {} s: {reason}", timeout.as_secs_f64()),
        );
        let error = match (last, self.version) {
            (Last::Broken, Some(Version::Http2)) => {
                error.hint("if it does not speak HTTP/2, leave --http-version 2 out")
            }
            (Last::Broken, _) => {
                error.hint("if it speaks HTTP/2 alone, say so with --http-version 2")
            }
            (Last::Unlisted, _) => error.hint(GO_ON),
            (Last::NotYet, _) => error,
        };
        error
            .hint("check --host and --port or --base-url, which is the part before /v1")
            .hint("--ready-check-timeout-sec sets how long to wait; 0 goes ahead without a check")
    }

    /// One look: a model list where there is one, else any answer of the server.
    async fn look(&self, backend: &Backend) -> Result<Ready, Miss> {
        let path = if backend.lists_models { MODELS } else { "/" };
        let response = self.get(path).send().await.map_err(|error| self.unreached(&error))?;
        let status = response.status();
        if is_not_ready(status, backend) {
            return Err(Miss::NotYet(format!("GET {path} answers {}", answered(response).await)));
        }
        if !backend.lists_models {
            return Ok(Ready::Answers);
        }
        listed(response).await.map_err(|what| {
            Miss::Unlisted(Unlisted { status, reason: format!("GET {path} answers {what}") })
        })
    }

    /// Why there is no answer.
    fn unreached(&self, error: &reqwest::Error) -> Miss {
        match tls::trouble(error) {
            // Neither certificates nor protocols get better by waiting.
            Some(trouble) if trouble.lasting => {
                Miss::Refused(Error::new(Kind::Unreachable, trouble.message))
            }
            _ if is_another_protocol(error) => Miss::Refused(self.foreign(&innermost(error))),
            // It was reached, and closed the connection without an answer, as proxies of containers do that start.
            _ if error.is_request() && !error.is_connect() && !error.is_timeout() => {
                Miss::Broken(innermost(error))
            }
            _ => Miss::NotYet(innermost(error)),
        }
    }

    /// The error that the server speaks something else than it was asked in.
    fn foreign(&self, reason: &str) -> Error {
        let spoken = if self.version == Some(Version::Http2) { "HTTP/2" } else { "HTTP/1.1" };
        let message = format!("what the server sent is not {spoken}: {reason}");
        let error = Error::new(Kind::Unreachable, message);
        let error = if self.version == Some(Version::Http2) {
            error.hint("if it speaks HTTP/1.1, leave --http-version 2 out")
        } else {
            error.hint("if it speaks HTTP/2 alone, say so with --http-version 2")
        };
        if self.base.starts_with("http://") {
            error.hint("if it speaks TLS, write https:// in the place of http://")
        } else {
            error
        }
    }
}

/// Whether a status says that another one will follow: gateways without a server, servers that load or are full.
fn is_not_ready(status: StatusCode, backend: &Backend) -> bool {
    match status {
        StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT
        | StatusCode::REQUEST_TIMEOUT
        | StatusCode::TOO_EARLY
        | StatusCode::TOO_MANY_REQUESTS => true,
        status => status.is_server_error() && !backend.lists_models,
    }
}

/// The list in an answer, or what it is instead.
async fn listed(response: Response) -> Result<Ready, String> {
    if response.status() != StatusCode::OK {
        return Err(answered(response).await);
    }
    read_json(response).await.map(Ready::Lists)
}
