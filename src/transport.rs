//! One HTTP exchange: sends a planned body, stamps what comes back, and fills the record.
//!
//! Knows neither datasets nor metrics; what bytes mean is the decoder's to say.

use std::error::Error as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use crate::backend::Protocol;
use crate::model::{Failure, FailureKind, Outcome, Phase, PlannedRequest, RequestRecord};
use crate::progress::Progress;
use crate::request_log::{Event, Log};
use crate::response::{Collector, Expect, Framing};

/// Longest time that one request may take, connecting included.
pub const TOTAL_TIMEOUT: Duration = Duration::from_hours(6);

/// How this client names itself.
pub const USER_AGENT: &str = concat!("rbench/", env!("CARGO_PKG_VERSION"));

/// The header that tells a router which requests belong together.
const ROUTING_KEY: HeaderName = HeaderName::from_static("x-smg-routing-key");

/// Where requests go, and what is common to their heads.
#[derive(Clone)]
pub struct Endpoint {
    /// The whole URL.
    pub url: reqwest::Url,
    /// Headers of each request.
    pub headers: HeaderMap,
    /// The wire protocol.
    pub protocol: &'static dyn Protocol,
    /// Whether an answer is to be streamed.
    pub streams: bool,
}

impl std::fmt::Debug for Endpoint {
    /// Leaves the headers out: they hold keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("path", &self.url.path()).finish_non_exhaustive()
    }
}

/// The clock of a run: offsets from one start.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
    wall: SystemTime,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { start: Instant::now(), wall: SystemTime::now() }
    }

    /// Time since the start.
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Waits until the offset `due`; returns at once if it has passed.
    pub async fn until(&self, due: Duration) {
        // Without a look at the timer for what is already due.
        if due > self.now() {
            tokio::time::sleep_until(self.start + due).await;
        }
    }
}

/// A pool of connections for one thread's requests.
///
/// # Errors
/// If the TLS roots of the system can not be read.
pub fn pool() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TOTAL_TIMEOUT)
        .pool_max_idle_per_host(usize::MAX)
        .tcp_nodelay(true)
        .no_proxy()
        .build()
}

/// Sends requests over a pool of connections that belongs to one thread.
#[derive(Debug, Clone)]
pub struct Transport {
    client: reqwest::Client,
    endpoint: Arc<Endpoint>,
    clock: Clock,
    progress: Arc<Progress>,
    log: Option<Log>,
}

impl Transport {
    /// A transport over `client`'s connections; `log` is told of each request.
    pub fn new(
        client: reqwest::Client,
        endpoint: Arc<Endpoint>,
        clock: Clock,
        progress: Arc<Progress>,
        log: Option<Log>,
    ) -> Self {
        Self { client, endpoint, clock, progress, log }
    }

    /// Sends a request, and the later rounds of its conversation, each when the one before it has ended.
    ///
    /// A round that failed does not end the conversation: the next one follows an empty answer.
    pub async fn exchange(self, mut request: PlannedRequest) -> Vec<RequestRecord> {
        let Some(conversation) = request.conversation.clone() else {
            return vec![self.send(request, 0).await];
        };
        let mut records: Vec<RequestRecord> = Vec::with_capacity(conversation.rounds.len());
        let mut said = Vec::new();
        for (round, messages) in conversation.rounds.iter().enumerate() {
            if let Some(last) = records.last() {
                let answer = if last.completed() { last.text.as_str() } else { "" };
                said.push(serde_json::json!({"role": "assistant", "content": answer}));
            }
            said.extend(messages.iter().cloned());
            if let Some(last) = records.last() {
                request.due = last.done.unwrap_or(request.due);
                request.body = (conversation.encode)(said.clone());
            }
            records.push(self.send(request.clone(), round).await);
        }
        records
    }

    /// Sends one request and records what becomes of it; a failure is part of the record.
    async fn send(&self, request: PlannedRequest, round: usize) -> RequestRecord {
        let mut record = RequestRecord::unsent(&request);
        record.round = round;
        let sent = self.clock.now();
        record.sent = Some(sent);
        self.progress.sent();
        // Nobody is left to tell if the other end is gone.
        if let Some(log) = &self.log {
            let run = self.clock.wall;
            let _ = log.send(Event::Start { request: request.clone(), round, sent, run });
        }
        record.outcome = match self.converse(request, &mut record).await {
            Ok(()) => Outcome::Completed,
            Err(failure) => {
                record.output_tokens = None;
                Outcome::Failed(failure)
            }
        };
        record.done.get_or_insert_with(|| self.clock.now());
        self.progress.ended(&record);
        if let Some(log) = &self.log {
            let _ = log.send(Event::end(&record, self.clock.wall));
        }
        record
    }

    async fn converse(
        &self,
        request: PlannedRequest,
        record: &mut RequestRecord,
    ) -> Result<(), Failure> {
        let endpoint = &*self.endpoint;
        let mut headers = endpoint.headers.clone();
        if let Some(key) =
            request.routing_key.as_deref().and_then(|k| HeaderValue::from_str(k).ok())
        {
            headers.insert(ROUTING_KEY, key);
        }
        let mut response = self
            .client
            .post(endpoint.url.clone())
            .headers(headers)
            .body(request.body)
            .send()
            .await
            .map_err(|error| transport_failure(&error, Phase::Headers, None))?;
        record.headers = Some(self.clock.now());
        let status = response.status();
        if status != reqwest::StatusCode::OK {
            return Err(status_failure(response).await);
        }
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
        let framing = Framing::of(content_type, endpoint.streams);
        let expect = if endpoint.protocol.generates() { Expect::Tokens } else { Expect::NoTokens };
        let mut collector = Collector::new(endpoint.protocol.decoder(), framing, expect);
        let result = self.read(&mut response, &mut collector).await;
        collector.store(record);
        result
    }

    async fn read(
        &self,
        response: &mut reqwest::Response,
        collector: &mut Collector,
    ) -> Result<(), Failure> {
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    let tokens = collector.chunk(&chunk, self.clock.now())?;
                    self.progress.tokens(tokens);
                }
                Ok(None) => return collector.finish(self.clock.now()),
                // All that the protocol sends was there; only HTTP's own end is missing.
                Err(_) if collector.said_done() => return collector.finish(self.clock.now()),
                Err(error) => {
                    return Err(transport_failure(&error, collector.phase(), Some(200)));
                }
            }
        }
    }
}

/// The failure of a response whose status is not 200, with the beginning of its body.
async fn status_failure(mut response: reqwest::Response) -> Failure {
    let status = response.status();
    let mut body = Vec::new();
    while body.len() < Failure::EXCERPT
        && let Ok(Some(chunk)) = response.chunk().await
    {
        body.extend_from_slice(&chunk);
    }
    body.truncate(Failure::EXCERPT);
    Failure {
        kind: FailureKind::HttpStatus,
        phase: Phase::Headers,
        status: Some(status.as_u16()),
        message: format!("HTTP status {status}"),
        excerpt: Some(String::from_utf8_lossy(&body).trim().to_owned()).filter(|s| !s.is_empty()),
    }
}

fn transport_failure(error: &reqwest::Error, phase: Phase, status: Option<u16>) -> Failure {
    let (kind, phase) = if error.is_timeout() {
        (FailureKind::Timeout, phase)
    } else if error.is_connect() {
        (FailureKind::Connect, Phase::Connect)
    } else if error.is_body() || error.is_decode() {
        (FailureKind::EarlyEnd, phase)
    } else {
        (FailureKind::Transport, phase)
    };
    Failure { kind, phase, status, message: innermost(error), excerpt: None }
}

/// The cause chain without its URLs, which may hold user names and keys.
pub fn innermost(error: &reqwest::Error) -> String {
    let mut messages: Vec<String> = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        let message = cause.to_string();
        // A layer that only says that it is a client.
        if messages.last() != Some(&message) && !message.starts_with("client error (") {
            messages.push(message);
        }
        source = cause.source();
    }
    if messages.is_empty() {
        return if error.is_timeout() {
            "the time limit passed".to_owned()
        } else {
            "the exchange failed".to_owned()
        };
    }
    messages.join(": ")
}
