//! Ends and errors as servers write them.

use std::borrow::Cow;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess};
use serde_json::value::RawValue;

use super::lenient::{Count, Key, Lenient, Seed, Text};
use crate::protocol::backend::{DecodeError, End};

/// Longest message that is kept, in bytes: servers decide how long it is.
const LONGEST: usize = 2048;

/// What is said of an error that says nothing of itself.
const SILENT: &str = "an error without a message";

/// The text of a string, or the JSON of anything else, which is never made into values: these take far more memory.
/// `None` for what says nothing: `null`, `false`, 0 and what is empty.
#[derive(Debug, Default)]
pub(in crate::protocol::backend) struct Words(pub(super) Option<String>);

impl<'de> Lenient<'de> for Words {
    fn read<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = <&RawValue>::deserialize(deserializer)?.get();
        if matches!(json, "null" | "false" | "0" | "\"\"" | "[]" | "{}") {
            return Ok(Self(None));
        }
        let text: Option<Cow<'_, str>> = json
            .starts_with('"')
            .then(|| serde_json::from_str(json).ok().map(Cow::Owned::<str>))
            .flatten();
        let text = text.unwrap_or(Cow::Borrowed(json));
        Ok(Self(Some(text[..text.floor_char_boundary(LONGEST)].to_owned())))
    }
}

/// A reason or an error, which servers write as a string, as an object with `message`, `type` and `code`,
/// as a list of these, or as something else that is not empty.
#[derive(Debug, Default)]
pub(in crate::protocol::backend) struct Told {
    /// A plain string, or the object's `type`.
    pub(in crate::protocol::backend) kind: Option<String>,
    /// The object's `message`.
    pub(in crate::protocol::backend) message: Option<String>,
    /// The object's `code`, but for those of success.
    code: Option<String>,
    /// What else it holds.
    other: Option<String>,
}

impl<'de> Lenient<'de> for Told {
    fn text(text: Cow<'de, str>) -> Self {
        let text = text[..text.floor_char_boundary(LONGEST)].to_owned();
        Self { kind: Some(text).filter(|text| !text.is_empty()), ..Self::default() }
    }

    fn flag(value: bool) -> Self {
        Self { kind: value.then(|| "true".to_owned()), ..Self::default() }
    }

    fn count(value: u64) -> Self {
        Self { kind: (value != 0).then(|| value.to_string()), ..Self::default() }
    }

    fn number(value: f64) -> Self {
        Self { kind: (value != 0.0).then(|| value.to_string()), ..Self::default() }
    }

    fn list<A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        let mut first = Self::default();
        while let Some(Words(words)) = list.next_element_seed(Seed::default())? {
            let Some(words) = words.filter(|_| first.is_silent()) else { continue };
            // What was copied may be cut, and is then no JSON any more.
            let told = serde_json::from_str(&words).map(|Read(told)| told).unwrap_or_default();
            first = if told.is_silent() { Self { other: Some(words), ..told } } else { told };
        }
        Ok(first)
    }

    fn object<A: MapAccess<'de>>(mut object: A) -> Result<Self, A::Error> {
        let mut told = Self::default();
        while let Some(Key(key)) = object.next_key()? {
            let Words(words) = object.next_value_seed(Seed::default())?;
            match &*key {
                "message" | "msg" | "detail" if told.message.is_none() => told.message = words,
                "type" => told.kind = words,
                "code" => told.code = words.filter(|code| code != "200"),
                _ => told.other = told.other.or(words),
            }
        }
        Ok(told)
    }
}

/// Reads what was told within a message.
struct Read(Told);

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Told::read(deserializer).map(Self)
    }
}

impl Told {
    /// Returns whether nothing was told: no key, or a value that says that there is nothing.
    fn is_silent(&self) -> bool {
        let Self { kind, message, code, other } = self;
        kind.is_none() && message.is_none() && code.is_none() && other.is_none()
    }

    /// The most telling of what was said; `None` if nothing was told.
    fn say(self) -> Option<String> {
        self.message.or(self.kind).or(self.code).or(self.other)
    }
}

/// A finish reason, which tells three things apart: no such field, nothing yet, and an end.
#[derive(Debug, Default)]
pub(in crate::protocol::backend) enum Finish {
    /// The field is absent, or nothing that a reason can be.
    #[default]
    Absent,
    /// The field is there and names no reason: `null`, or an empty text.
    Open,
    /// Generation ended. Apart, as only the last event of an answer has it.
    Reason(Box<Told>),
}

/// Reasons that are none.
const NONE: [&str; 3] = ["", "null", "none"];

/// Reasons by which a completion is as it should be, whatever message stands beside them.
const GOOD: [&str; 5] = ["stop", "length", "eos", "eos_token", "stop_sequence"];

/// Those by which it may be shorter than was asked for.
const STOPS: [&str; 4] = ["stop", "eos", "eos_token", "stop_sequence"];

/// Reasons by which the server gave up.
const BAD: [&str; 9] = [
    "abort",
    "aborted",
    "cancelled",
    "canceled",
    "error",
    "failed",
    "failure",
    "internal_error",
    "server_error",
];

impl<'de> Lenient<'de> for Finish {
    fn null() -> Self {
        Self::Open
    }

    fn text(text: Cow<'de, str>) -> Self {
        Self::of(Told::text(text))
    }

    fn flag(value: bool) -> Self {
        Self::of(Told::flag(value))
    }

    fn count(value: u64) -> Self {
        Self::Reason(Box::new(Told { kind: Some(value.to_string()), ..Told::default() }))
    }

    fn object<A: MapAccess<'de>>(object: A) -> Result<Self, A::Error> {
        Told::object(object).map(Self::of)
    }
}

impl Finish {
    /// Returns whether the model computed numbers that are none, which SGLang reports as a stop that matched such a text.
    pub(in crate::protocol::backend) fn is_nan(&self) -> bool {
        let Self::Reason(told) = self else { return false };
        let matched = told.other.as_deref().unwrap_or("");
        told.kind.as_deref() == Some("stop") && matched.starts_with("NaN")
    }

    fn of(told: Told) -> Self {
        let kind = told.kind.as_deref().unwrap_or("").trim();
        let is_none = NONE.iter().any(|none| kind.eq_ignore_ascii_case(none));
        if is_none && told.message.is_none() { Self::Open } else { Self::Reason(Box::new(told)) }
    }

    /// Returns what it says of the stream; an abort is an error, and so is a reason that explains itself.
    pub(in crate::protocol::backend) fn end(self) -> Result<End, DecodeError> {
        let Told { kind, message, .. } = match self {
            Self::Absent => return Ok(End::Unmarked),
            Self::Open => return Ok(End::Open),
            Self::Reason(told) => *told,
        };
        let kind = kind.unwrap_or_default();
        let is = |reasons: &[&str]| reasons.iter().any(|reason| kind.eq_ignore_ascii_case(reason));
        let explains = message.is_some() && !is(&GOOD);
        if is(&BAD) || explains || kind.to_ascii_lowercase().starts_with("error") {
            return Err(DecodeError::Server(
                message.unwrap_or_else(|| format!("finish reason `{kind}`")),
            ));
        }
        Ok(if is(&STOPS) { End::Stopped } else { End::Finished })
    }
}

/// What an event or a body says of an error, in one of the ways in which servers write it instead of an answer.
///
/// Small, as every event has one and hardly any has an error.
#[derive(Debug, Default)]
pub(in crate::protocol::backend) struct Complaint {
    /// `object` is `error`, or `type` is.
    is_error: bool,
    /// What else it says, if anything.
    details: Option<Box<Details>>,
}

#[derive(Debug, Default)]
struct Details {
    /// `error` or `errors`: a string, an object, a list.
    error: Told,
    message: Option<String>,
    /// `detail`, as `FastAPI` writes it.
    detail: Option<String>,
    /// `code` or `error_code`, but for those of success.
    code: Option<String>,
    /// `base_resp`, as `MiniMax` has it.
    base: Base,
}

#[derive(Debug, Default)]
struct Base {
    status: Option<u64>,
    message: Option<String>,
}

impl<'de> Lenient<'de> for Base {
    fn object<A: MapAccess<'de>>(mut object: A) -> Result<Self, A::Error> {
        let mut base = Self::default();
        while let Some(Key(key)) = object.next_key()? {
            match &*key {
                "status_code" => base.status = object.next_value_seed(Seed::<Count>::default())?.0,
                "status_msg" => base.message = object.next_value_seed(Seed::<Words>::default())?.0,
                _ => drop(object.next_value::<IgnoredAny>()?),
            }
        }
        Ok(base)
    }
}

impl Complaint {
    /// Takes the value of `key`, if it may belong to a complaint.
    #[inline]
    pub(in crate::protocol::backend) fn takes<'de, A: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut A,
    ) -> Result<bool, A::Error> {
        match key {
            "object" | "type" => {
                let Text(text) = map.next_value_seed(Seed::default())?;
                self.is_error |= text.is_some_and(|text| text == "error");
                Ok(true)
            }
            // The keys of complaints begin like this, and most keys of answers do not.
            _ if matches!(key.as_bytes().first(), Some(b'e' | b'm' | b'd' | b'c' | b'b')) => {
                self.takes_details(key, map)
            }
            _ => Ok(false),
        }
    }

    fn takes_details<'de, A: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut A,
    ) -> Result<bool, A::Error> {
        let words =
            |map: &mut A| map.next_value_seed(Seed::<Words>::default()).map(|words| words.0);
        match key {
            "error" => {
                let error: Told = map.next_value_seed(Seed::default())?;
                if !error.is_silent() || self.details.is_some() {
                    self.details().error = error;
                }
            }
            "errors" if self.details.as_ref().is_none_or(|told| told.error.is_silent()) => {
                let error: Told = map.next_value_seed(Seed::default())?;
                if !error.is_silent() {
                    self.details().error = error;
                }
            }
            "message" | "error_msg" | "error_message" | "errorMessage" => {
                if let Some(message) = words(map)? {
                    self.details().message = Some(message);
                }
            }
            "detail" => {
                let detail = words(map)?;
                if detail.is_some() || self.details.is_some() {
                    self.details().detail = detail;
                }
            }
            "code" | "error_code" => {
                if let Some(code) = words(map)?.filter(|code| code != "200") {
                    self.details().code = Some(code);
                }
            }
            "base_resp" => {
                let base: Base = map.next_value_seed(Seed::default())?;
                if base.status.is_some() || self.details.is_some() {
                    self.details().base = base;
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn details(&mut self) -> &mut Details {
        self.details.get_or_insert_default()
    }

    /// Fails if there is an error; `has_answer` says whether the event holds what an answer is made of, since the
    /// other keys may then be about something else.
    #[inline]
    pub(in crate::protocol::backend) fn refuse(self, has_answer: bool) -> Result<(), DecodeError> {
        if !self.is_error && self.details.is_none() {
            return Ok(());
        }
        self.details
            .map_or_else(Details::default, |details| *details)
            .refuse(self.is_error, has_answer)
    }
}

impl Details {
    #[cold]
    fn refuse(self, is_error: bool, has_answer: bool) -> Result<(), DecodeError> {
        let fail = |words: Option<String>| {
            Err(DecodeError::Server(words.unwrap_or_else(|| SILENT.to_owned())))
        };
        if !self.error.is_silent() {
            return fail(self.error.say());
        }
        if let Some(status) = self.base.status.filter(|&status| status != 0) {
            let plain = || format!("base_resp has the status code {status}");
            return fail(self.base.message.or_else(|| Some(plain())));
        }
        if is_error {
            return fail(self.message.or(self.detail).or(self.code));
        }
        if has_answer {
            return Ok(());
        }
        match (self.detail, self.message, self.code) {
            (Some(detail), _, _) => fail(Some(detail)),
            (None, Some(message), Some(_)) => fail(Some(message)),
            _ => Ok(()),
        }
    }
}
