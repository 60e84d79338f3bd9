//! Pieces that the JSON of several protocols share, read without copying where JSON escapes allow it.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::{DecodeError, Delta, End, Part, Request};
use crate::model::{CacheTiers, CachedTokens, Prompt, Row};

/// A string that borrows from the event. (A bare `Option<Cow<str>>` would always copy.)
#[derive(Debug, Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// The text of an optional string.
pub(super) fn text(value: Option<Text<'_>>) -> Cow<'_, str> {
    value.map_or(Cow::Borrowed(""), |text| text.0)
}

/// Joins two texts, copying only if both hold something.
pub(super) fn join<'a>(first: Cow<'a, str>, second: Cow<'a, str>) -> Cow<'a, str> {
    match (first.is_empty(), second.is_empty()) {
        (true, _) => second,
        (_, true) => first,
        _ => Cow::Owned(first.into_owned() + &second),
    }
}

/// Token counters of OpenAI's protocols.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Usage {
    pub(super) prompt_tokens: Option<u64>,
    pub(super) completion_tokens: Option<u64>,
    prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Debug, Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u64>,
}

/// SGLang's extension of OpenAI's protocols.
#[derive(Debug, Deserialize)]
pub(super) struct Sglext {
    cached_tokens_details: Option<CacheDetails>,
}

/// Where cached prompt tokens lay, as SGLang writes it.
#[derive(Debug, Deserialize)]
pub(super) struct CacheDetails {
    device: Option<u64>,
    host: Option<u64>,
    storage: Option<u64>,
    storage_backend: Option<String>,
}

impl From<CacheDetails> for CacheTiers {
    fn from(details: CacheDetails) -> Self {
        Self {
            device: details.device.unwrap_or(0),
            host: details.host.unwrap_or(0),
            storage: details.storage.unwrap_or(0),
            storage_backend: details.storage_backend,
        }
    }
}

/// The cached prompt tokens of a server that tells their number, where they lay, or both.
pub(super) fn cached(total: Option<u64>, details: Option<CacheDetails>) -> Option<CachedTokens> {
    let tiers: Option<CacheTiers> = details.map(Into::into);
    let sum = tiers
        .as_ref()
        .map(|tiers| tiers.device.saturating_add(tiers.host).saturating_add(tiers.storage));
    Some(CachedTokens { total: total.or(sum)?, tiers })
}

/// The cached prompt tokens of OpenAI's protocols: SGLang's extension, else the usage.
pub(super) fn cached_of(sglext: Option<Sglext>, usage: &Usage) -> Option<CachedTokens> {
    cached(None, sglext.and_then(|sglext| sglext.cached_tokens_details))
        .or_else(|| cached(usage.prompt_tokens_details.as_ref()?.cached_tokens, None))
}

/// The first element of a list; the others are skipped.
#[derive(Debug)]
pub(super) struct First<T>(pub(super) Option<T>);

impl<T> Default for First<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for First<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
            type Value = First<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list or null")
            }

            fn visit_unit<E>(self) -> Result<First<T>, E> {
                Ok(First(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<First<T>, A::Error> {
                let first = seq.next_element()?;
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(First(first))
            }
        }
        deserializer.deserialize_any(List(PhantomData))
    }
}

/// A list that nearly always holds one element at most, which then takes no memory of its own.
#[derive(Debug)]
pub(super) struct Several<T> {
    pub(super) first: Option<T>,
    pub(super) others: Vec<T>,
}

impl<T> Default for Several<T> {
    fn default() -> Self {
        Self { first: None, others: Vec::new() }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Several<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
            type Value = Several<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list or null")
            }

            fn visit_unit<E>(self) -> Result<Several<T>, E> {
                Ok(Several::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Several<T>, A::Error> {
                let first = seq.next_element()?;
                let mut others = Vec::new();
                while let Some(other) = seq.next_element()? {
                    // An index has to fit, and memory is to be in proportion to what was read.
                    if others.len() == usize::from(u16::MAX) {
                        return Err(A::Error::custom("a list of more than 65536 completions"));
                    }
                    others.push(other);
                }
                Ok(Several { first, others })
            }
        }
        deserializer.deserialize_any(List(PhantomData))
    }
}

/// A choice of OpenAI's protocols, which has an index.
pub(super) trait Choice<'a> {
    /// What it adds to its completion; one without an index is at `position` of its list.
    ///
    /// # Errors
    /// If it ended with an abort.
    fn part(self, position: u16) -> Result<Part<'a>, DecodeError>;
}

/// What an event or body of OpenAI's protocols adds.
///
/// Beside a single choice servers tell that one's count of output tokens, and otherwise that of all of them.
pub(super) fn delta<'a, C: Choice<'a>>(
    choices: Several<C>,
    usage: Option<Usage>,
    sglext: Option<Sglext>,
) -> Result<Delta<'a>, DecodeError> {
    let usage = usage.unwrap_or_default();
    let mut delta = Delta {
        output_tokens: usage.completion_tokens,
        prompt_tokens: usage.prompt_tokens,
        cached: cached_of(sglext, &usage),
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

/// The text of a string, or the JSON of anything else, which is never made into values: these take far more memory.
#[derive(Debug)]
pub(super) struct Words(String);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Box::<RawValue>::deserialize(deserializer)?;
        if json.get().starts_with('"') {
            return serde_json::from_str(json.get()).map(Self).map_err(D::Error::custom);
        }
        Ok(Self(String::from(Box::<str>::from(json))))
    }
}

/// A reason or message that servers write as a string or as an object with `message` and `type`.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// A plain string, or the object's `type`.
    pub(super) kind: Option<String>,
    /// The object's `message`.
    pub(super) message: Option<String>,
}

impl<'de> Deserialize<'de> for Told {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Told;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an object")
            }

            fn visit_str<E>(self, text: &str) -> Result<Told, E> {
                Ok(Told { kind: Some(text.to_owned()), message: None })
            }

            fn visit_bool<E>(self, value: bool) -> Result<Told, E> {
                Ok(Told { kind: Some(value.to_string()), message: None })
            }

            fn visit_u64<E>(self, value: u64) -> Result<Told, E> {
                Ok(Told { kind: Some(value.to_string()), message: None })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Told, A::Error> {
                let mut told = Told::default();
                while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                    let slot = match &*key {
                        "message" => &mut told.message,
                        "type" => &mut told.kind,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    *slot = map.next_value::<Option<Words>>()?.map(|words| words.0);
                }
                Ok(told)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

impl Told {
    /// The most telling of what was said.
    pub(super) fn say(self) -> String {
        self.message.or(self.kind).unwrap_or_else(|| "an error without a message".to_owned())
    }
}

/// A finish reason, which tells three things apart: no such field, nothing yet, and an end.
#[derive(Debug, Default)]
pub(super) enum Finish {
    /// The field is absent.
    #[default]
    Absent,
    /// The field is null.
    Open,
    /// Generation ended.
    Reason(Told),
}

impl<'de> Deserialize<'de> for Finish {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(|told| told.map_or(Self::Open, Self::Reason))
    }
}

impl Finish {
    /// What it says of the stream; an abort is an error.
    pub(super) fn end(self) -> Result<End, DecodeError> {
        match self {
            Self::Absent => Ok(End::Unmarked),
            Self::Open => Ok(End::Open),
            Self::Reason(told) => match told.kind.as_deref() {
                Some(kind @ ("abort" | "error")) => Err(DecodeError::Server(
                    told.message.unwrap_or_else(|| format!("finish reason `{kind}`")),
                )),
                _ => Ok(End::Finished),
            },
        }
    }
}

/// Reads JSON, with an error that shows the beginning of what was read.
pub(super) fn parse<'a, T: Deserialize<'a>>(data: &'a [u8]) -> Result<T, DecodeError> {
    serde_json::from_slice(data).map_err(|error| {
        let shown: String = String::from_utf8_lossy(data).chars().take(120).collect();
        DecodeError::Malformed(format!("event is not the expected JSON ({error}): {shown}"))
    })
}

/// Fails if a response object carries an error in one of the ways servers write it.
pub(super) fn refuse_error(
    error: Option<Told>,
    object: Option<&str>,
    message: Option<Words>,
) -> Result<(), DecodeError> {
    if let Some(told) = error {
        return Err(DecodeError::Server(told.say()));
    }
    if object == Some("error") {
        return Err(DecodeError::Server(
            message.map_or_else(|| "an error without a message".to_owned(), |words| words.0),
        ));
    }
    Ok(())
}

/// The prompt as a JSON value: a string, a list of ids, or a list of messages.
pub(super) fn prompt_value(prompt: &Prompt) -> Value {
    match prompt {
        Prompt::Text(text) => Value::from(text.as_str()),
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
    let (common, extra) = (request.common, request.extra());
    if !extra.contains_key("temperature") {
        body.insert("temperature".into(), common.sampling.temperature.unwrap_or(0.0).into());
    }
    if common.sampling.top_p < 1.0 && !extra.contains_key("top_p") {
        body.insert("top_p".into(), common.sampling.top_p.into());
    }
    // Where it is off it is not sent: that is the default of every server, and some refuse the key.
    if common.ignore_eos && !extra.contains_key("ignore_eos") {
        body.insert("ignore_eos".into(), true.into());
    }
    // Servers reject `stream_options` in a request that does not stream.
    let streams = match extra.get("stream") {
        Some(Value::Null) => false,
        stream => stream.and_then(Value::as_bool).unwrap_or(common.stream),
    };
    if streams && !extra.contains_key("stream_options") {
        body.insert("stream_options".into(), serde_json::json!({"include_usage": true}));
    }
}

/// How many completions the user asks for with `n`, if that is more than one.
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

/// Names the row's LoRA adapter, if it has one, in the two ways that servers look for it.
pub(super) fn adapt(body: &mut Map<String, Value>, row: &Row) {
    if let Some(adapter) = row.lora.as_deref() {
        body.insert("model".into(), adapter.into());
        body.insert("lora_path".into(), adapter.into());
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
