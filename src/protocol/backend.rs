//! Wire protocols and the backends that speak them.
//!
//! A wire protocol is a pure pair of functions on bytes: it can neither be late, nor block, nor see a clock.
//! A `--backend` value is one line of [`ALL`]: a protocol, a default port, a path and its abilities.

mod chat;
mod completions;
mod embeddings;
mod generate;
mod generate_stream;
mod pooling;
mod predict;
mod rerank;
mod responses;
mod transcriptions;
mod wire;

use std::borrow::Cow;

use serde_json::{Map, Value};

pub use super::style::Style;
use crate::model::{Asked, CachedTokens, Row};

/// JSON that only differs from the standard in numbers that are none and in halves of surrogate pairs, as JSON;
/// `None` if it has neither.
pub fn repaired(json: &[u8]) -> Option<Vec<u8>> {
    wire::repaired(json)
}

/// Every `--backend` value, in the order of `--help`.
pub static ALL: &[Backend] = &[
    Backend {
        name: "sglang",
        accepts_ids: true,
        flush: Flush::Sglang,
        batch: Some(Wire::Generate),
        ..generate::BACKEND
    },
    Backend { name: "sglang-native", flush: Flush::Sglang, ..generate::BACKEND },
    Backend {
        name: "sglang-oai",
        port: 30000,
        cache: CacheTelling::Asked("return_cached_tokens_details"),
        flush: Flush::Sglang,
        splits_itl: true,
        ..completions::BACKEND
    },
    Backend {
        name: "sglang-oai-chat",
        port: 30000,
        cache: CacheTelling::Asked("return_cached_tokens_details"),
        flush: Flush::Sglang,
        splits_itl: true,
        ..chat::BACKEND
    },
    Backend { name: "sglang-embedding", port: 30000, flush: Flush::Sglang, ..embeddings::BACKEND },
    Backend {
        name: "vllm",
        accepts_ids: true,
        flush: Flush::Vllm,
        batch: Some(Wire::Completions),
        ..completions::BACKEND
    },
    Backend { name: "vllm-chat", flush: Flush::Vllm, ..chat::BACKEND },
    Backend { name: "vllm-embedding", flush: Flush::Vllm, ..embeddings::BACKEND },
    Backend { name: "vllm-embedding-chat", flush: Flush::Vllm, ..embeddings::CHAT },
    Backend { name: "vllm-embedding-clip", flush: Flush::Vllm, ..embeddings::CLIP },
    Backend { name: "vllm-pooling", flush: Flush::Vllm, ..pooling::BACKEND },
    Backend { name: "vllm-rerank", flush: Flush::Vllm, ..rerank::BACKEND },
    Backend { name: "vllm-responses", flush: Flush::Vllm, ..responses::BACKEND },
    Backend { name: "vllm-transcriptions", flush: Flush::Vllm, ..transcriptions::BACKEND },
    Backend { name: "infinity-embedding", port: 7997, ..embeddings::INFINITY },
    Backend { name: "infinity-embedding-clip", port: 7997, ..embeddings::INFINITY_CLIP },
    Backend { name: "lmdeploy", port: 23333, ..completions::BACKEND },
    Backend { name: "lmdeploy-chat", port: 23333, ..chat::BACKEND },
    Backend { name: "trt", ..generate_stream::BACKEND },
    Backend { name: "truss", ..predict::BACKEND },
    Backend {
        name: "gserver",
        port: 9988,
        refused: Some(
            "no implementation of its gRPC protocol exists here or in the tool that the name comes from",
        ),
        ..completions::BACKEND
    },
];

/// How a backend empties its prefix cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// `POST /flush_cache?timeout=SECONDS`.
    Sglang,
    /// `POST /reset_prefix_cache`.
    Vllm,
    /// `POST /flush_cache`.
    Plain,
}

/// What a `--backend` value stands for.
#[derive(Debug)]
pub struct Backend {
    /// The `--backend` value.
    pub name: &'static str,
    /// The wire protocol.
    pub protocol: &'static dyn Protocol,
    /// Port where servers of this kind listen by default.
    pub port: u16,
    /// Path of the endpoint below the base URL.
    pub path: &'static str,
    /// Whether `--tokenize-prompt` works.
    pub accepts_ids: bool,
    /// Whether prompts can be chat messages, and so conversations.
    pub accepts_messages: bool,
    /// Whether `GET /v1/models` answers.
    pub lists_models: bool,
    /// What its bodies can say.
    pub takes: Takes,
    /// How it is made to tell which prompt tokens were cached.
    pub cache: CacheTelling,
    /// Whether the endpoint can answer without streaming.
    pub can_disable_stream: bool,
    /// How the prefix cache is emptied.
    pub flush: Flush,
    /// Whether gaps are shared among the tokens of an event by retokenizing,
    /// when the server reports an accept length.
    pub splits_itl: bool,
    /// The form of its batches, if `rbench one-batch` can send it many prompts in one request.
    pub batch: Option<Wire>,
    /// Why this backend cannot be used, if it cannot.
    pub refused: Option<&'static str>,
}

/// The form of an endpoint that takes the prompts of a batch in one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// `/generate`: an event has the `index` of its prompt and a running count of tokens.
    Generate,
    /// `/v1/completions`: an event has choices with an `index`, and the last one may have counts over all prompts.
    Completions,
}

/// How a backend is made to tell which prompt tokens its prefix cache held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheTelling {
    /// It has no word for it.
    Never,
    /// It tells unasked, if it tells at all.
    Unasked,
    /// It tells if the body has this key, set to true.
    Asked(&'static str),
}

/// What the bodies of a protocol can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Takes {
    /// [`Sampling::temperature`] and [`Sampling::top_p`].
    pub sampling: bool,
    /// [`Sampling::return_logprob`] and [`Sampling::top_logprobs_num`].
    pub logprobs: bool,
    /// The rest of [`Sampling`].
    pub native: bool,
    /// [`Row::lora`].
    pub lora: bool,
    /// [`Row::images`].
    pub images: bool,
}

impl Backend {
    /// The backend of that name.
    pub fn find(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|backend| backend.name == name)
    }

    /// Returns whether the server behind it has SGLang's control calls, such as the one that reports its accept length.
    pub fn is_sglang(&self) -> bool {
        self.flush == Flush::Sglang
    }
}

/// What all requests of a run have in common.
#[derive(Debug, Clone)]
pub struct Common {
    /// Model name to send.
    pub model: String,
    /// Whether to stream.
    pub stream: bool,
    /// Whether generation goes on after an end-of-sequence token.
    pub ignore_eos: bool,
    /// Keys that the user adds to each body or replaces in it.
    pub extra: Map<String, Value>,
    /// How tokens are drawn, and what is told of them.
    pub sampling: Sampling,
    /// Which optional keys bodies have.
    pub style: Style,
}

/// Sampling parameters, and what the server is asked to report of tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Temperature; `None` leaves the protocol's greedy default.
    pub temperature: Option<f64>,
    /// Nucleus; 1 is not sent.
    pub top_p: f64,
    /// Whether log probabilities are to be returned.
    pub return_logprob: bool,
    /// Log probabilities of how many alternatives.
    pub top_logprobs_num: u32,
    /// Tokens whose log probabilities are to be returned. `/generate` only, as what follows.
    pub token_ids_logprob: Vec<u32>,
    /// Position from which prompt log probabilities are returned; -1 for none.
    pub logprob_start_len: i64,
    /// Whether the experts that each token was routed to are to be returned.
    pub return_routed_experts: bool,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: None,
            top_p: 1.0,
            return_logprob: false,
            top_logprobs_num: 0,
            token_ids_logprob: Vec::new(),
            logprob_start_len: -1,
            return_routed_experts: false,
        }
    }
}

/// One request, to be encoded.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// What is asked.
    pub row: &'a Row,
    /// What it has in common with the others.
    pub common: &'a Common,
}

impl Request<'_> {
    /// The user's keys, those of the row winning over those of the run.
    fn extra(&self) -> Cow<'_, Map<String, Value>> {
        if self.row.extra.is_empty() {
            return Cow::Borrowed(&self.common.extra);
        }
        let mut extra = self.common.extra.clone();
        extra.extend(self.row.extra.clone());
        Cow::Owned(extra)
    }

    /// Returns whether nothing but text is asked for, the user's keys included.
    fn is_text_alone(
        &self,
        extra: &Map<String, Value>,
        sampling: Option<&Map<String, Value>>,
    ) -> bool {
        let set = &self.common.sampling;
        let is_set = set.return_logprob || set.return_routed_experts;
        let mut keys = extra.keys().chain(sampling.into_iter().flat_map(Map::keys));
        !is_set && !keys.any(|key| MORE.iter().any(|more| key.contains(more)))
    }

    /// Returns what bounds the answer: the length of the row, unless the user's keys ask for more or take the bound
    /// away.
    pub fn asked(&self) -> Asked {
        let extra = self.extra();
        let sampling = extra.get("sampling_params").and_then(Value::as_object);
        let told = |key: &str| [extra.get(key), sampling.and_then(|keys| keys.get(key))];
        let completions = told("n").into_iter().flatten().filter_map(Value::as_u64).max();
        let limits = ["max_tokens", "max_completion_tokens", "max_new_tokens", "max_output_tokens"];
        let limits: Vec<&Value> = limits.into_iter().flat_map(told).flatten().collect();
        let most = limits.iter().filter_map(|limit| limit.as_u64()).max().unwrap_or(0);
        let is_bound = limits.iter().all(|limit| limit.is_u64());
        Asked {
            completions: Some(u16::try_from(completions.unwrap_or(1).max(1)).unwrap_or(u16::MAX)),
            tokens: is_bound.then_some(most.max(self.row.output_len as u64)),
            is_text_alone: self.is_text_alone(&extra, sampling),
            batch: None,
        }
    }
}

/// Merges the user's keys into a body, one level deep.
///
/// A null takes a default key out, also one of `sampling_params`. An object with a null among its values changes the
/// default object of that name; any other takes its place.
pub fn merge_keys(body: &mut Map<String, Value>, extra: &Map<String, Value>) {
    let put = |body: &mut Map<String, Value>, key: &String, value: &Value| match value {
        Value::Null => body.shift_remove(key).is_some(),
        value => body.insert(key.clone(), value.clone()).is_some(),
    };
    for (key, value) in extra {
        match (value, body.get_mut(key)) {
            (Value::Object(changes), Some(Value::Object(default)))
                if changes.values().any(Value::is_null) =>
            {
                for (key, value) in changes {
                    put(default, key, value);
                }
            }
            (Value::Null, None) => {
                if let Some(Value::Object(sampling)) = body.get_mut("sampling_params") {
                    sampling.shift_remove(key);
                }
            }
            _ => drop(put(body, key, value)),
        }
    }
}

/// Keys that bodies have without being asked for, and that servers may not know.
const DEFAULT_KEYS: &[&str] = &[
    "accumulate_tokens",
    "best_of",
    "end_id",
    "ignore_eos",
    "logprob_start_len",
    "lora_path",
    "max_completion_tokens",
    "min_length",
    "return_logprob",
    "return_routed_experts",
    "stream_options",
    "temperature",
    "top_p",
];

/// Returns how to leave out the default key that a server names in its refusal `said`, if it names one.
pub fn leave_out(said: &str) -> Option<String> {
    let of_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut names = said.split(|c| !of_name(c));
    let key = names.find_map(|name| DEFAULT_KEYS.iter().find(|key| **key == name))?;
    Some(format!(
        "if the server does not take `{key}`: --extra-request-body '{{\"{key}\": null}}' leaves it out"
    ))
}

/// Parts of keys that ask for more than text.
const MORE: [&str; 5] = ["logprob", "hidden", "expert", "embed", "echo"];

/// One wire protocol.
pub trait Protocol: Sync + std::fmt::Debug {
    /// The body of one request, its keys in the reference's order.
    fn encode(&self, request: &Request<'_>) -> Vec<u8>;

    /// A decoder for one response.
    fn decoder(&self) -> Box<dyn Decoder>;

    /// The type of the bodies, as `content-type` names it.
    fn content_type(&self) -> &'static str {
        "application/json"
    }

    /// Returns whether responses hold generated tokens; embeddings do not.
    fn generates(&self) -> bool {
        true
    }
}

/// Reads one response.
pub trait Decoder: Send {
    /// Returns what one event of a stream says.
    ///
    /// # Errors
    /// If the server reports an error in it, or it is not what the protocol says.
    fn event<'a>(&mut self, data: &'a [u8]) -> Result<Delta<'a>, DecodeError>;

    /// Returns what the body of a response without streaming says.
    ///
    /// # Errors
    /// As for events.
    fn body<'a>(&mut self, body: &'a [u8]) -> Result<Delta<'a>, DecodeError>;

    /// Returns whether each event with output is one token, even where its text says otherwise.
    fn is_token_each(&self) -> bool {
        false
    }

    /// Makes ready for the answer to a batch of `prompts` prompts. From then on counts of prompt tokens are those of all
    /// prompts together, where the protocol tells one for each.
    fn batch(&mut self, _prompts: u16) {}
}

/// Output tokens that an event stands for in inter-token latencies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Step {
    /// The event carries no output.
    #[default]
    None,
    /// One, however many tokens it holds.
    One,
    /// As many as the counter has risen to.
    Total(u64),
}

/// How the text of an event relates to the text before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TextMode {
    /// It continues the text.
    #[default]
    Append,
    /// It is the whole text so far.
    Replace,
}

/// What one event adds to what is known of a response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delta<'a> {
    /// What it adds to a completion; the default if it is about none.
    pub part: Part<'a>,
    /// What it adds to more completions. Empty, and so without memory of its own, in nearly all streams.
    pub others: Vec<Part<'a>>,
    /// The server's count of output tokens so far, of all completions together.
    pub output_tokens: Option<u64>,
    /// The server's count of prompt tokens.
    pub prompt_tokens: Option<u64>,
    /// The prompt tokens that it had cached.
    pub cached: Option<CachedTokens>,
}

impl Delta<'_> {
    /// Returns whether it says nothing of an answer.
    pub fn is_silent(&self) -> bool {
        let Self { part, others, output_tokens, prompt_tokens, cached } = self;
        let counts = output_tokens.or(*prompt_tokens).or(part.output_tokens);
        let is_part = part.step != Step::None || part.end != End::Unmarked;
        !is_part && others.is_empty() && counts.is_none() && cached.is_none()
    }

    /// The same with texts of its own.
    fn into_owned(self) -> Delta<'static> {
        let Self { part, others, output_tokens, prompt_tokens, cached } = self;
        let others = others.into_iter().map(Part::into_owned).collect();
        Delta { part: part.into_owned(), others, output_tokens, prompt_tokens, cached }
    }
}

/// What one event adds to what is known of one completion.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Part<'a> {
    /// Which of the completions of the request, from 0.
    pub completion: u16,
    /// Text of this event.
    pub text: Cow<'a, str>,
    /// The text as it stands between the quotes of a JSON string, instead of `text`: where each event repeats
    /// all of it, only that of the last one has to be read.
    pub escaped: Option<&'a [u8]>,
    /// What to do with it.
    pub mode: TextMode,
    /// Whether and how this event counts as output.
    pub step: Step,
    /// The server's count of output tokens so far, of this completion alone.
    pub output_tokens: Option<u64>,
    /// Whether the server marks the ends of completions, and whether this is the mark.
    pub end: End,
}

impl Part<'_> {
    /// The same with a text of its own. One that stands as JSON writes it cannot be kept.
    fn into_owned(self) -> Part<'static> {
        let Self { completion, text, escaped: _, mode, step, output_tokens, end } = self;
        let text = Cow::Owned(text.into_owned());
        Part { completion, text, escaped: None, mode, step, output_tokens, end }
    }
}

/// What an event says of the end of the stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum End {
    /// Nothing.
    #[default]
    Unmarked,
    /// There is a field for it, and it says that more will come.
    Open,
    /// Generation is complete.
    Finished,
    /// The same, since the model or a stop sequence ended it, which may be before the length that was asked for.
    Stopped,
}

impl End {
    /// Returns whether generation is complete.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Finished | Self::Stopped)
    }
}

/// Why an event could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The server reported an error.
    #[error("server reported: {0}")]
    Server(String),
    /// The event is not what the protocol says.
    #[error("{0}")]
    Malformed(String),
}

#[cfg(test)]
mod testing {
    use super::{Common, Sampling, Style};
    use crate::model::{Prompt, Row};

    /// Returns what the requests of these tests have in common.
    pub(super) fn common(ignore_eos: bool) -> Common {
        Common {
            model: "m".into(),
            stream: true,
            ignore_eos,
            extra: serde_json::Map::new(),
            sampling: Sampling::default(),
            style: Style::default(),
        }
    }

    /// A row with a short text.
    pub(super) fn row() -> Row {
        Row::new(Prompt::Text("hi".into()), 1, 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_paths_absolute() {
        for (i, backend) in ALL.iter().enumerate() {
            assert!(backend.path.starts_with('/'), "{}", backend.name);
            assert!(ALL[..i].iter().all(|other| other.name != backend.name), "{}", backend.name);
            assert!(std::ptr::eq(Backend::find(backend.name).unwrap(), backend));
        }
    }
}
