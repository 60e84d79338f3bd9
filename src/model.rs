//! Plain data that every stage shares.
//!
//! Knows nothing of clocks, flags or printing. JSON occurs only as values that are passed on unread.
//! All instants are offsets from the start of the run, so that records of several threads compare.

mod asked;
mod events;
mod weight;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value};

pub use asked::{Asked, Batch};
pub use events::{Gap, PerCompletion, TokenEvents};

/// Most events with output of one request, and the highest count of its tokens that is believed:
/// what is added up over requests can then not overflow.
pub const MAX_TOKENS: u64 = 16 << 20;

/// What a dataset asks a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// Text, which the server tokenizes.
    Text(String),
    /// Several texts in one request, which nothing is generated from: the inputs of an embedding, or a query and the
    /// documents that are ranked for it.
    Texts(Vec<String>),
    /// Token ids, sent as they are.
    Ids(Vec<u32>),
    /// Chat messages, sent as they are.
    Messages(Vec<Value>),
    /// A conversation: the new messages of each round, at least one round.
    /// Each round is sent after the answer to the one before, with all that was said until then.
    Rounds(Vec<Vec<Value>>),
}

/// One row of a dataset: a prompt and the lengths that belong to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What is asked.
    pub prompt: Prompt,
    /// Prompt tokens as the dataset counts them with the local tokenizer.
    pub prompt_len: usize,
    /// Output tokens asked for.
    pub output_len: usize,
    /// Images that go with the prompt, as data URIs.
    pub images: Vec<Arc<str>>,
    /// The audio file that goes with the prompt.
    pub audio: Option<Arc<[u8]>>,
    /// How many of the prompt tokens stand for images.
    pub vision_len: usize,
    /// Keys of this request's body, which win over those of the whole run.
    pub extra: Map<String, Value>,
    /// The LoRA adapter that is asked for.
    pub lora: Option<Arc<str>>,
    /// What a router is to route by, sent as a header.
    pub routing_key: Option<Arc<str>>,
    /// When a trace says that it arrives, from the trace's beginning.
    pub at: Option<Duration>,
}

impl Row {
    /// A row of a prompt and its lengths, and nothing else.
    pub fn new(prompt: Prompt, prompt_len: usize, output_len: usize) -> Self {
        Self {
            prompt,
            prompt_len,
            output_len,
            images: Vec::new(),
            audio: None,
            vision_len: 0,
            extra: Map::new(),
            lora: None,
            routing_key: None,
            at: None,
        }
    }
}

/// A message of the user.
pub fn user_message(text: &str) -> Value {
    serde_json::json!({"role": "user", "content": text})
}

/// The rounds of a conversation, and how each is encoded.
///
/// This is the one thing that is encoded during a run: what a round sends depends on the answers before it.
/// It is encoded before the round's `sent` instant.
pub struct Conversation {
    /// New messages of each round; the first is also the planned body.
    pub rounds: Vec<Vec<Value>>,
    /// Makes a body from all messages so far.
    pub encode: Box<dyn Fn(Vec<Value>) -> Bytes + Send + Sync>,
}

impl std::fmt::Debug for Conversation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conversation").field("rounds", &self.rounds.len()).finish_non_exhaustive()
    }
}

/// Counts that a server told and that cannot be those of the request: no figure is made of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Impossible {
    /// Output tokens.
    pub output: Option<u64>,
    /// Prompt tokens.
    pub prompt: Option<u64>,
    /// Cached prompt tokens.
    pub cached: Option<u64>,
}

impl Impossible {
    /// As a record keeps them: nothing if there are none, as for nearly all requests.
    pub fn kept(self) -> Option<Box<Self>> {
        let any = self.output.is_some() || self.prompt.is_some() || self.cached.is_some();
        any.then(|| Box::new(self))
    }
}

/// A request that is ready to be sent: nothing about it is decided later, the later rounds of a
/// conversation apart.
#[derive(Debug, Clone)]
pub struct PlannedRequest {
    /// Position in the plan.
    pub index: usize,
    /// When it is to be sent, from the start of the run.
    pub due: Duration,
    /// The HTTP body.
    pub body: Bytes,
    /// Prompt tokens, as in [`Row::prompt_len`].
    pub prompt_len: usize,
    /// How many of them stand for images.
    pub vision_len: usize,
    /// As in [`Row::routing_key`].
    pub routing_key: Option<Arc<str>>,
    /// Output tokens asked for, in each round.
    pub output_len: usize,
    /// What bounds the answer to a round.
    pub asked: Asked,
    /// The rounds, if this begins a conversation.
    pub conversation: Option<Arc<Conversation>>,
}

impl PlannedRequest {
    /// Number of HTTP requests that it stands for.
    pub fn rounds(&self) -> usize {
        self.conversation.as_ref().map_or(1, |conversation| conversation.rounds.len())
    }
}

/// How far a request had come when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Opening the connection or sending the request.
    Connect,
    /// Waiting for the response head.
    Headers,
    /// Head received, no token yet.
    FirstToken,
    /// After the first token.
    Stream,
}

impl Phase {
    /// The phase as one word for reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Headers => "headers",
            Self::FirstToken => "first_token",
            Self::Stream => "stream",
        }
    }
}

/// Why a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureKind {
    /// The host name has no address.
    Dns,
    /// Nobody listens at the address.
    ConnectRefused,
    /// No connection could be opened, for another reason.
    Connect,
    /// No connection stood within the time limit.
    ConnectTimeout,
    /// This machine had nothing left for another connection within the time limit: no file descriptor, or no local port.
    Exhausted,
    /// The server was reached, and TLS with it failed.
    Tls,
    /// No output came within the time limit.
    FirstTokenTimeout,
    /// Output stopped for longer than the time limit.
    IdleTimeout,
    /// The whole request took longer than the time limit.
    RequestTimeout,
    /// The status was not 200.
    HttpStatus,
    /// The server reported an error inside a 200 response.
    ServerError,
    /// An event or body that is not what the protocol says.
    Malformed,
    /// The response ended before its end.
    EarlyEnd,
    /// The response ended properly and held no token.
    NoTokens,
    /// The connection broke.
    Transport,
    /// The client gave it up, since the run was to end.
    Cancelled,
    /// The client had no memory for the answer.
    Memory,
    /// A defect of the client itself.
    Internal,
}

impl FailureKind {
    /// The kind as one word for reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::ConnectRefused => "connect_refused",
            Self::Connect => "connect",
            Self::ConnectTimeout => "connect_timeout",
            Self::Exhausted => "exhausted",
            Self::Tls => "tls",
            Self::FirstTokenTimeout => "first_token_timeout",
            Self::IdleTimeout => "idle_timeout",
            Self::RequestTimeout => "request_timeout",
            Self::HttpStatus => "http_status",
            Self::ServerError => "server_error",
            Self::Malformed => "malformed",
            Self::EarlyEnd => "early_end",
            Self::NoTokens => "no_tokens",
            Self::Transport => "transport",
            Self::Cancelled => "cancelled",
            Self::Memory => "memory",
            Self::Internal => "internal",
        }
    }
}

/// A failure with what is known about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Why.
    pub kind: FailureKind,
    /// When.
    pub phase: Phase,
    /// HTTP status, if a response head came.
    pub status: Option<u16>,
    /// One line that says what happened.
    pub message: String,
    /// The beginning of the response body, at most [`Failure::EXCERPT`] bytes.
    pub excerpt: Option<String>,
}

impl Failure {
    /// Longest body excerpt that is kept, in bytes.
    pub const EXCERPT: usize = 1024;

    /// A failure before any response.
    pub fn new(kind: FailureKind, phase: Phase, message: impl Into<String>) -> Self {
        Self { kind, phase, status: None, message: message.into(), excerpt: None }
    }
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All of the response arrived.
    Completed,
    /// It was sent, and failed.
    Failed(Failure),
    /// It was sent, and the client gave it up in this phase, since the run was to end.
    Cancelled(Phase),
    /// It was never sent.
    NotSent,
}

/// Where an output token count comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TokenSource {
    /// The server's own usage counter.
    Server,
    /// The number of events that carried output, one token each.
    Events,
    /// The local tokenizer's count of the received text.
    Retokenized,
}

impl TokenSource {
    /// The source as one word for reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Events => "events",
            Self::Retokenized => "retokenized",
        }
    }
}

/// Where the number of prompt tokens that stand for images comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VisionSource {
    /// The rule in the files of the model, applied to the sizes of the images.
    PatchRule,
    /// The server's count of the prompt without the local tokenizer's count of the text.
    Server,
    /// Nobody told.
    Unknown,
}

impl VisionSource {
    /// The source as one word for reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::PatchRule => "patch_rule",
            Self::Server => "server",
            Self::Unknown => "unknown",
        }
    }
}

/// An output token count and where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputTokens {
    /// Tokens.
    pub count: u64,
    /// Origin of the count.
    pub source: TokenSource,
}

/// Prompt tokens that the server took from its prefix cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedTokens {
    /// All of them.
    pub total: u64,
    /// Where they lay, if the server tells.
    pub tiers: Option<Box<CacheTiers>>,
}

/// Where cached prompt tokens lay, in tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheTiers {
    /// In the accelerator's memory.
    pub device: u64,
    /// In the host's memory.
    pub host: u64,
    /// In storage.
    pub storage: u64,
    /// What the server calls that storage.
    pub storage_backend: Option<String>,
}

/// Everything that is known of one request after it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRecord {
    /// Position in the plan.
    pub index: usize,
    /// Round of its conversation, from 0.
    pub round: usize,
    /// Which of the servers it was sent to, from 0.
    pub endpoint: usize,
    /// When it was to be sent; for a later round, when the round before it ended.
    pub due: Duration,
    /// When it could be sent: its due time or, if the cap on requests in flight held it back, when the cap let it go.
    pub released: Duration,
    /// When it was handed to an open connection; for one whose connection could not be opened, when that was begun.
    /// `None` if neither happened.
    pub sent: Option<Duration>,
    /// Times that it was sent, or tried to be; 1 unless it was sent again. The instants are those of the last attempt.
    pub attempts: u32,
    /// As `sent`, of the first attempt; `None` if there was one only.
    pub first_sent: Option<Duration>,
    /// What was lost to kept connections that the server had closed before any byte of an answer came:
    /// from the send over such a connection until that was known, over all attempts. It was sent once more each time,
    /// over a new connection, and `sent` is that of the last send. `None` if nothing was lost.
    pub resent: Option<Duration>,
    /// How long it waited for its connection to be opened; `None` if there was one.
    pub connect: Option<Duration>,
    /// When the response head was read.
    pub headers: Option<Duration>,
    /// When the last event or the whole body was read; for one that failed or was given up, when that was.
    pub done: Option<Duration>,
    /// How it ended.
    pub outcome: Outcome,
    /// Arrivals of output.
    pub events: TokenEvents,
    /// The received text, of the first completion if there are several.
    pub text: String,
    /// The received texts of the completions after the first. Empty for one completion.
    pub other_texts: Vec<String>,
    /// Prompt tokens by the local tokenizer.
    pub prompt_len: usize,
    /// How many of them stand for images.
    pub vision_len: usize,
    /// Output tokens asked for.
    pub output_len: usize,
    /// Prompt tokens that the server reported.
    pub server_prompt_tokens: Option<u64>,
    /// Prompt tokens that the server reported to have been cached.
    pub cached: Option<CachedTokens>,
    /// Output tokens; `None` for failures and for responses without output.
    pub output_tokens: Option<OutputTokens>,
    /// Counts of the server that were not believed, if there are any.
    pub impossible: Option<Box<Impossible>>,
    /// Prompts of a batch whose completions stopped before their length, by their finish reasons; `None` for one prompt.
    pub early_stops: Option<u16>,
}

impl RequestRecord {
    /// A record of a request that has not been sent.
    pub fn unsent(request: &PlannedRequest) -> Self {
        Self {
            index: request.index,
            round: 0,
            endpoint: 0,
            due: request.due,
            released: request.due,
            sent: None,
            attempts: 1,
            first_sent: None,
            resent: None,
            connect: None,
            headers: None,
            done: None,
            outcome: Outcome::NotSent,
            events: TokenEvents::default(),
            text: String::new(),
            other_texts: Vec::new(),
            prompt_len: request.prompt_len,
            vision_len: request.vision_len,
            output_len: request
                .asked
                .tokens
                .and_then(|tokens| usize::try_from(tokens).ok())
                .unwrap_or(request.output_len),
            server_prompt_tokens: None,
            cached: None,
            output_tokens: None,
            impossible: None,
            early_stops: None,
        }
    }

    /// Whether the whole response arrived.
    pub fn completed(&self) -> bool {
        self.outcome == Outcome::Completed
    }

    /// What went wrong with it once it was sent; that it was given up as well.
    pub fn failure(&self) -> Option<Cow<'_, Failure>> {
        match &self.outcome {
            Outcome::Completed | Outcome::NotSent => None,
            Outcome::Failed(failure) => Some(Cow::Borrowed(failure)),
            Outcome::Cancelled(phase) => {
                let message = "given up, since the run was to end";
                Some(Cow::Owned(Failure::new(FailureKind::Cancelled, *phase, message)))
            }
        }
    }

    /// Whether it was never sent, or given up.
    pub fn unfinished(&self) -> bool {
        matches!(self.outcome, Outcome::NotSent | Outcome::Cancelled(_))
    }

    /// The received texts of all completions.
    pub fn texts(&self) -> impl Iterator<Item = &str> + '_ {
        std::iter::once(&self.text).chain(&self.other_texts).map(String::as_str)
    }

    /// Number of completions that the server told of, at least 1.
    pub fn completions(&self) -> usize {
        1 + self.other_texts.len()
    }

    /// First output of any completion, from the start of the run.
    pub fn first_token(&self) -> Option<Duration> {
        self.events.at_ns.first().map(|&ns| Duration::from_nanos(ns))
    }

    /// When the client took it up: before its connection was opened, and before what was sent again or once more.
    pub fn taken_up(&self) -> Option<Duration> {
        let begun = self.sent?.saturating_sub(self.connect.unwrap_or_default());
        // Of several attempts the first one's send is known by itself.
        Some(self.first_sent.unwrap_or(begun.saturating_sub(self.resent.unwrap_or_default())))
    }

    /// From when it could have been sent until the client took it up; `None` if it never was.
    pub fn lateness(&self) -> Option<Duration> {
        Some(self.taken_up()?.saturating_sub(self.released))
    }

    /// Time from send to first output.
    pub fn ttft(&self) -> Option<Duration> {
        Some(self.first_token()?.saturating_sub(self.sent?))
    }

    /// Time from send to the last event.
    pub fn e2e(&self) -> Option<Duration> {
        Some(self.done?.saturating_sub(self.sent?))
    }

    /// Time from when the client took it up to its end, waits between attempts included.
    pub fn in_flight(&self) -> Option<Duration> {
        Some(self.done?.saturating_sub(self.taken_up()?))
    }

    /// Gaps between output of the same completion in seconds, one entry per token after its first event,
    /// in order of arrival.
    ///
    /// An event that stands for k tokens contributes k entries of its gap divided by k;
    /// one that stands for none contributes nothing, and the next gap starts there.
    pub fn itl(&self) -> impl Iterator<Item = f64> + '_ {
        self.events.gaps().flat_map(|gap| {
            let each = gap.length().as_secs_f64() / f64::from(gap.tokens.max(1));
            std::iter::repeat_n(each, gap.tokens as usize)
        })
    }

    /// Output tokens by the server or by events, 0 where neither gives them.
    pub fn output_count(&self) -> u64 {
        self.output_tokens.map_or(0, |tokens| tokens.count)
    }

    /// The text pieces of the events, in order; none where the protocol repeats the whole text.
    pub fn pieces(&self) -> impl Iterator<Item = &str> + '_ {
        let mut ends: PerCompletion<usize> = PerCompletion::default();
        self.events.text_ends.iter().enumerate().map(move |(event, &end)| {
            let completion = self.events.completion_of(event);
            let start = std::mem::replace(ends.entry(completion), end);
            let text = match usize::from(completion).checked_sub(1) {
                None => Some(&self.text),
                Some(other) => self.other_texts.get(other),
            };
            text.and_then(|text| text.get(start..end)).unwrap_or("")
        })
    }
}

/// Bytes that a request takes at most from plan to report, beside its body, its texts and its events.
pub const REQUEST_BYTES: usize = 1024;

/// Bytes that an event with output takes at most from its arrival to the report, beside its text:
/// its columns and one sample of the figure that is being computed.
pub const EVENT_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of an element of a column.
    fn element<T>(_: &Vec<T>) -> usize {
        size_of::<T>()
    }

    #[test]
    fn requests_and_events_take_the_memory_that_the_methodology_tells() {
        // Beside what is planned and what came of it: its place in the schedule, whether rounds are missing,
        // and its tokens by the local tokenizer, in sum and event by event.
        let request = size_of::<PlannedRequest>()
            + size_of::<RequestRecord>()
            + size_of::<Duration>()
            + size_of::<usize>()
            + size_of::<u64>()
            + size_of::<Option<Vec<u32>>>();
        assert!(request <= REQUEST_BYTES, "{request}");
        let TokenEvents { at_ns, tokens, text_ends, completion, counted } = TokenEvents::default();
        let event = element(&at_ns) + element(&tokens) + element(&text_ends) + element(&counted);
        assert_eq!(event + size_of::<f64>(), EVENT_BYTES);
        assert_eq!(element(&completion), 2, "where a request has several completions");
        let told = include_str!("../METHODOLOGY.md");
        for formula in
            [format!("R · ({REQUEST_BYTES} + body)"), format!("E · ({EVENT_BYTES} + text)")]
        {
            assert!(told.contains(&formula), "{formula}");
        }
    }
}
