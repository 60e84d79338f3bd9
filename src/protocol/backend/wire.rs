//! Pieces that the JSON of several protocols share, read without copying where JSON escapes allow it.

pub(crate) mod lenient;
mod repair;
pub(crate) mod told;

use std::borrow::Cow;

use serde::de::DeserializeSeed;
use serde_json::{Map, Value};

use self::lenient::{Count, Lenient, Several, Top, objects};
pub(super) use self::repair::repaired;
use self::told::Words;
use super::{DecodeError, Delta, Part, Request};
use crate::model::{CacheTiers, CachedTokens, Prompt, Row};

/// Joins two texts, copying only if both hold something.
pub(super) fn join<'a>(first: Cow<'a, str>, second: Cow<'a, str>) -> Cow<'a, str> {
    match (first.is_empty(), second.is_empty()) {
        (true, _) => second,
        (_, true) => first,
        _ => Cow::Owned(first.into_owned() + &second),
    }
}

objects! {
    /// Token counters of OpenAI's protocols.
    struct Usage {
        prompt_tokens: Count,
        completion_tokens: Count,
        total_tokens: Count,
        prompt_tokens_details: PromptDetails,
    }

    struct PromptDetails { cached_tokens: Count }

    /// SGLang's extension of OpenAI's protocols.
    struct Sglext { cached_tokens_details: Option<Box<CacheDetails>> }

    /// Where cached prompt tokens lay, as SGLang writes it.
    struct CacheDetails {
        device: Count,
        host: Count,
        storage: Count,
        storage_backend: Words,
    }
}

impl CacheDetails {
    /// The tiers, if any was told.
    fn tiers(self) -> Option<CacheTiers> {
        let Self { device, host, storage, storage_backend } = self;
        device.0.or(host.0).or(storage.0)?;
        Some(CacheTiers {
            device: device.0.unwrap_or(0),
            host: host.0.unwrap_or(0),
            storage: storage.0.unwrap_or(0),
            storage_backend: storage_backend.0,
        })
    }
}

/// The cached prompt tokens of a server that tells their number, where they lay, or both.
pub(super) fn cached(
    total: Option<u64>,
    details: Option<Box<CacheDetails>>,
) -> Option<CachedTokens> {
    let tiers = details.and_then(|details| details.tiers());
    let sum = tiers
        .as_ref()
        .map(|tiers| tiers.device.saturating_add(tiers.host).saturating_add(tiers.storage));
    Some(CachedTokens { total: total.or(sum)?, tiers: tiers.map(Box::new) })
}

/// The cached prompt tokens of OpenAI's protocols: SGLang's extension, else the usage.
fn cached_of(sglext: Sglext, usage: &Usage) -> Option<CachedTokens> {
    let total = usage.prompt_tokens_details.cached_tokens.0;
    cached(None, sglext.cached_tokens_details).or_else(|| cached(total, None))
}

/// A choice of OpenAI's protocols, which has an index.
pub(super) trait Choice<'a> {
    /// Returns what it adds to its completion; one without an index is at `position` of its list.
    ///
    /// # Errors
    /// If it ended with an abort.
    fn part(self, position: u16) -> Result<Part<'a>, DecodeError>;
}

/// Returns what an event or body of OpenAI's protocols adds.
///
/// Beside a single choice servers tell that one's count of output tokens, and otherwise that of all of them.
pub(super) fn delta<'a, C: Choice<'a>>(
    choices: Several<C>,
    usage: &Usage,
    sglext: Sglext,
) -> Result<Delta<'a>, DecodeError> {
    let mut delta = Delta {
        output_tokens: usage.completion_tokens.0,
        prompt_tokens: usage.prompt_tokens.0,
        cached: cached_of(sglext, usage),
        ..Delta::default()
    };
    if let Some(choice) = choices.first {
        delta.part = choice.part(0)?;
        if choices.others.is_empty() {
            delta.part.output_tokens = delta.output_tokens.take();
        }
    }
    for (choice, position) in choices.others.into_iter().zip(1..=u16::MAX) {
        delta.others.push(choice.part(position)?);
    }
    Ok(delta)
}

/// Reads the object that an event or a body is, which errors call `what`; they show the beginning of what was read.
pub(super) fn parse<'a, T: Lenient<'a>>(
    data: &'a [u8],
    what: &'static str,
) -> Result<T, DecodeError> {
    let mut json = serde_json::Deserializer::from_slice(data);
    let read = Top::new(what).deserialize(&mut json);
    read.and_then(|read| json.end().map(|()| read)).map_err(|error| {
        let shown: String = String::from_utf8_lossy(data).chars().take(120).collect();
        DecodeError::Malformed(format!("event is not the expected JSON ({error}): {shown}"))
    })
}

/// Returns what `data` says to `read`; where it is no JSON for a reason that can be repaired, what it says then.
pub(super) fn repairing<'a>(
    data: &'a [u8],
    read: impl for<'b> Fn(&'b [u8]) -> Result<Delta<'b>, DecodeError>,
) -> Result<Delta<'a>, DecodeError> {
    let told = read(data);
    if matches!(told, Err(DecodeError::Malformed(_)))
        && let Some(json) = repaired(data)
    {
        return read(&json).map(Delta::into_owned);
    }
    told
}

/// The prompt as a JSON value: a string, a list of ids, or a list of messages.
pub(super) fn prompt_value(prompt: &Prompt) -> Value {
    match prompt {
        Prompt::Text(text) => Value::from(text.as_str()),
        Prompt::Texts(texts) => Value::from(texts.as_slice()),
        Prompt::Ids(ids) => Value::from(ids.as_slice()),
        Prompt::Messages(messages) => Value::from(messages.as_slice()),
        Prompt::Rounds(rounds) => {
            rounds.first().map_or(Value::Null, |first| first.as_slice().into())
        }
    }
}

/// The images of a row as a list of URIs.
pub(super) fn images(row: &Row) -> Value {
    row.images.iter().map(|image| Value::from(&**image)).collect()
}

/// Adds the keys of OpenAI's generation endpoints that the user has not set: how tokens are drawn,
/// the end-of-sequence switch, and a usage report at the end of a stream.
pub(super) fn add_defaults(body: &mut Map<String, Value>, request: &Request<'_>) {
    add_drawing(body, request);
    let (common, extra) = (request.common, request.extra());
    // Servers reject `stream_options` in a request that does not stream.
    let streams = match extra.get("stream") {
        Some(Value::Null) => false,
        stream => stream.and_then(Value::as_bool).unwrap_or(common.stream),
    };
    if streams && !extra.contains_key("stream_options") {
        body.insert("stream_options".into(), serde_json::json!({"include_usage": true}));
    }
}

/// Adds the keys that the user has not set of how tokens are drawn, and the end-of-sequence switch.
pub(super) fn add_drawing(body: &mut Map<String, Value>, request: &Request<'_>) {
    let (common, extra) = (request.common, request.extra());
    let temperature = common.sampling.temperature.or(common.style.greedy.then_some(0.0));
    if let Some(temperature) = temperature
        && !extra.contains_key("temperature")
    {
        body.insert("temperature".into(), temperature.into());
    }
    if common.sampling.top_p < 1.0 && !extra.contains_key("top_p") {
        body.insert("top_p".into(), common.sampling.top_p.into());
    }
    // Where it is off it is not sent: that is the default of every server, and some refuse the key.
    if common.ignore_eos && !extra.contains_key("ignore_eos") {
        body.insert("ignore_eos".into(), true.into());
    }
}

/// Returns how many completions the user asks for with `n`, if that is more than one.
pub(super) fn several_completions(extra: &Map<String, Value>) -> Option<u64> {
    extra.get("n").and_then(Value::as_u64).filter(|&n| n > 1)
}

/// Takes `best_of` away where the user asks for several completions: servers refuse one that is below `n`.
pub(super) fn drop_best_of(body: &mut Map<String, Value>, request: &Request<'_>) {
    if several_completions(&request.extra()).is_some() {
        body.shift_remove("best_of");
    }
}

/// Merges the user's keys into the body, and then those of the row as they are.
pub(super) fn merge(body: &mut Map<String, Value>, request: &Request<'_>) {
    super::merge_keys(body, &request.common.extra);
    for (key, value) in &request.row.extra {
        body.insert(key.clone(), value.clone());
    }
}

/// Names the row's LoRA adapter, if it has one, in the ways that servers look for it.
pub(super) fn adapt(body: &mut Map<String, Value>, request: &Request<'_>) {
    if let Some(adapter) = request.row.lora.as_deref() {
        body.insert("model".into(), adapter.into());
        if request.common.style.lora_path {
            body.insert("lora_path".into(), adapter.into());
        }
    }
}

/// The bytes of a body.
pub(super) fn bytes(body: &Map<String, Value>) -> Vec<u8> {
    // Most bodies of short prompts fit, and what is left over is given back.
    let mut bytes = Vec::with_capacity(1024);
    // Writing to memory does not fail, and every key is a string.
    let _ = serde_json::to_writer(&mut bytes, body);
    bytes.shrink_to_fit();
    bytes
}

/// A body from keys and values, in this order.
pub(super) fn object<const N: usize>(entries: [(&str, Value); N]) -> Map<String, Value> {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
