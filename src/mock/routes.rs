//! The addresses of the server and what each answers.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, Method, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Extension, Router};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};

use super::ApiKey;
use super::bodies::Bodies;
use super::engine::{Pace, Schedule, draws_of};
use super::refusal::Refusal;
use super::request::{Ask, EmbeddingAsk, Prompt, Protocol};
use super::slots::Slots;
use super::stream::{Answer, AnswerBody, Completion};
use super::truth::{self, Watched};
use super::vocabulary::Vocabulary;
use super::wire::{Facts, Finish, Writer};

/// The largest request body, above any prompt that a benchmark would send.
const LARGEST_BODY: usize = 256 << 20;

/// Prompts of more bytes than this are counted on another thread, so that a long one does not
/// hold up the streams.
const LONG_PROMPT: usize = 8 << 10;

/// Numbers in each embedding.
const EMBEDDING_LENGTH: u8 = 8;

/// All that the routes share.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) model: Arc<str>,
    pub(super) tokenizer_path: String,
    pub(super) pace: Pace,
    pub(super) slots: Slots,
    pub(super) reasoning_tokens: u64,
    pub(super) stop_after: Option<u64>,
    pub(super) accept_length: Option<f64>,
    pub(super) api_key: Option<ApiKey>,
    pub(super) bodies: Option<Bodies>,
    pub(super) vocabulary: Arc<Vocabulary>,
    pub(super) created: u64,
}

type Shared = State<Arc<Engine>>;
type Answered = Result<Response, Refusal>;

/// The routes of the server.
pub(super) fn router(engine: Arc<Engine>) -> Router {
    let guarded = Router::new()
        .route("/v1/models", get(models))
        .route("/model_info", get(model_info))
        .route("/get_model_info", get(model_info))
        .route("/generate", generation(Protocol::Generate))
        .route("/v1/completions", generation(Protocol::Completions))
        .route("/v1/chat/completions", generation(Protocol::Chat))
        .route("/v1/models/model:predict", generation(Protocol::Completions))
        .route("/v2/models/ensemble/generate_stream", generation(Protocol::Triton))
        .route("/v1/embeddings", post(embeddings))
        .route_layer(from_fn_with_state(Arc::clone(&engine), check_key));
    let mut open = Router::new()
        .route("/server_info", get(server_info))
        .route("/get_server_info", get(server_info));
    for path in ["/", "/health", "/health_generate"] {
        open = open.route(path, get("OK\n"));
    }
    for path in ["/flush_cache", "/reset_prefix_cache", "/start_profile", "/stop_profile"] {
        open = open.route(path, post("OK\n"));
    }
    guarded
        .merge(open)
        .fallback(not_found)
        .method_not_allowed_fallback(not_found)
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(engine)
}

/// Seconds since 1970, for the creation times that OpenAI objects carry.
pub(super) fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

async fn check_key(State(engine): Shared, request: Request, next: Next) -> Response {
    match &engine.api_key {
        Some(key) if !key.admits(request.headers()) => Refusal::unauthorized().into_response(),
        _ => next.run(request).await,
    }
}

async fn not_found(method: Method, uri: Uri) -> Refusal {
    Refusal::not_found(format!("there is no route {method} {}", uri.path()))
}

async fn models(State(engine): Shared) -> Response {
    object(&json!({
        "object": "list",
        "data": [{
            "id": *engine.model,
            "object": "model",
            "created": engine.created,
            "owned_by": "rbench",
            "root": *engine.model,
            "max_model_len": 32768,
        }],
    }))
}

async fn model_info(State(engine): Shared) -> Response {
    object(&json!({
        "model_path": *engine.model,
        "tokenizer_path": engine.tokenizer_path,
        "is_generation": true,
    }))
}

async fn server_info(State(engine): Shared) -> Response {
    let counts = engine.slots.counts();
    let mut state = json!({"effective_max_running_requests_per_dp": engine.slots.all()});
    if let Some(length) = engine.accept_length {
        state["avg_spec_accept_length"] = json!(length);
    }
    object(&json!({
        "version": env!("CARGO_PKG_VERSION"),
        "internal_states": [state],
        "requests_received": counts.received,
        "requests_served": counts.served,
        "running_requests": counts.running,
        "peak_running_requests": counts.peak,
    }))
}

async fn embeddings(State(engine): Shared, uri: Uri, headers: HeaderMap, body: Bytes) -> Answered {
    engine.record(&uri, &headers, &body)?;
    let ask = EmbeddingAsk::parse(&body)?;
    let request = engine.slots.number();
    let slot = engine.slots.take().await;
    let started = Instant::now();
    let tokens = engine.count(ask.prompt).await?;
    let due = Schedule::new(&engine.pace, request, 1, 0).next().map(|step| step.due);
    sleep_until(started + due.unwrap_or_default()).await;
    let numbers: Vec<f32> =
        (1..=EMBEDDING_LENGTH).map(|place| f32::from(place) / f32::from(u8::MAX)).collect();
    let data: Vec<Value> = (0..ask.n_inputs)
        .map(|index| json!({"object": "embedding", "index": index, "embedding": numbers}))
        .collect();
    slot.finish();
    Ok(object(&json!({
        "object": "list",
        "data": data,
        "model": *engine.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    })))
}

/// The handler of the generation routes of one protocol.
fn generation(protocol: Protocol) -> MethodRouter<Arc<Engine>> {
    let handle = move |State(engine): Shared,
                       watched: Option<Extension<ConnectInfo<Watched>>>,
                       uri: Uri,
                       headers: HeaderMap,
                       body: Bytes| async move {
        let received = Instant::now();
        if let Some(Extension(ConnectInfo(watched))) = watched {
            let key = headers.get(truth::KEY).and_then(|key| key.to_str().ok());
            watched.begin(key.map(str::to_owned));
        }
        engine.record(&uri, &headers, &body)?;
        let ask = Ask::parse(protocol, &body)?;
        // A request that waits for its slot need not keep its prompt in memory twice.
        drop(body);
        engine.answer(protocol, ask, received).await
    };
    post(handle)
}

impl Engine {
    /// Answers a generation request once a slot is free.
    async fn answer(&self, protocol: Protocol, ask: Ask, received: Instant) -> Answered {
        let request = self.slots.number();
        let slot = self.slots.take().await;
        let started = Instant::now();
        let answers =
            u16::try_from(ask.prompts.len()).unwrap_or(u16::MAX).saturating_mul(ask.completions);
        let mut prompt_tokens = Vec::with_capacity(ask.prompts.len());
        for prompt in ask.prompts {
            prompt_tokens.push(self.count(prompt).await?);
        }
        let (total, finish) = match self.stop_after {
            Some(most) if !ask.ignore_eos && most < ask.max_tokens => (most, Finish::Stop),
            _ => (ask.max_tokens, Finish::Length),
        };
        let reasoning = if protocol == Protocol::Chat { self.reasoning_tokens } else { 0 };
        let answer = Answer {
            received,
            started,
            completions: (0..answers)
                .map(|i| Completion::new(&self.pace, draws_of(request, i), total, reasoning))
                .collect(),
            vocabulary: Arc::clone(&self.vocabulary),
            writer: Writer::new(Facts {
                protocol,
                request,
                created: unix_time(),
                model: Arc::clone(&self.model),
                usage: ask.usage,
                prompt_tokens,
                finish,
                completions: answers.into(),
            }),
        };
        if ask.stream {
            let headers = [
                (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
                (header::CACHE_CONTROL, "no-cache"),
            ];
            return Ok((headers, Body::new(AnswerBody::new(answer, slot))).into_response());
        }
        let body = answer.whole().await;
        slot.finish();
        Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
    }

    /// Appends the request to the file of bodies, if there is one.
    fn record(&self, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Result<(), Refusal> {
        self.bodies.as_ref().map_or(Ok(()), |bodies| {
            bodies.append(uri.path(), headers, body).map_err(|error| {
                Refusal::internal(format!("the request cannot be recorded: {error}"))
            })
        })
    }

    /// Counts the tokens of a prompt.
    async fn count(&self, prompt: Prompt) -> Result<u64, Refusal> {
        let texts = match prompt {
            Prompt::Tokens(n_tokens) => return Ok(n_tokens as u64),
            Prompt::Texts(texts) => texts,
        };
        let n_bytes: usize = texts.iter().map(String::len).sum();
        let vocabulary = Arc::clone(&self.vocabulary);
        let count = move || texts.iter().map(|text| (vocabulary.count)(text) as u64).sum();
        if n_bytes <= LONG_PROMPT {
            return Ok(count());
        }
        spawn_blocking(count)
            .await
            .map_err(|error| Refusal::internal(format!("the prompt cannot be counted: {error}")))
    }
}

/// An answer of one JSON object.
fn object(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}
