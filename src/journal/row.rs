//! The line of a round that ended, and back.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::line::Ns;
use crate::model::{
    CacheTiers, CachedTokens, Failure, FailureKind, Impossible, MAX_TOKENS, Outcome, OutputTokens,
    PerCompletion, Phase, RequestRecord, TokenEvents, TokenSource,
};

/// A row as it is written. Columns with one value per event are as long as there are events, or absent.
#[derive(Serialize, Deserialize)]
pub(super) struct Row<'a> {
    index: usize,
    round: usize,
    #[serde(borrow)]
    outcome: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    failure: Option<Reason<'a>>,
    due_ns: Ns,
    released_ns: Ns,
    sent_ns: Option<Ns>,
    connect_ns: Option<Ns>,
    headers_ns: Option<Ns>,
    done_ns: Option<Ns>,
    /// Absent for the first, or only, one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    endpoint: Option<usize>,
    /// Absent if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first_sent_ns: Option<Ns>,
    /// Absent if nothing was lost so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resent_ns: Option<Ns>,
    /// Arrival of the first event, then what passed until each of the others.
    gaps_ns: Vec<i64>,
    /// Tokens of each event; absent if each stands for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tokens: Option<Vec<u32>>,
    /// Tokens of each event by the server's running count; absent if it told none with each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    counted_tokens: Option<Vec<u32>>,
    /// Bytes that each event added to the text of its completion; absent where the protocol repeats the whole text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    piece_bytes: Option<Vec<usize>>,
    /// The completion of each event; absent if all are of the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    completions: Option<Vec<u16>>,
    #[serde(borrow)]
    text: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    other_texts: Vec<Cow<'a, str>>,
    input_tokens: usize,
    vision_tokens: usize,
    output_tokens_asked: usize,
    server_input_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cached: Option<Cached>,
    output_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    output_token_source: Option<Cow<'a, str>>,
    /// Counts of the server that were not believed; absent if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    impossible: Option<Counts>,
    /// Prompts of a batch whose completions stopped before their length; absent for one prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    early_stops: Option<u16>,
    /// The texts that the round added to its conversation; absent outside of conversations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asked: Option<Vec<Cow<'a, str>>>,
}

#[derive(Serialize, Deserialize)]
struct Reason<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    phase: Cow<'a, str>,
    status: Option<u16>,
    #[serde(borrow)]
    message: Cow<'a, str>,
    excerpt: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Counts {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    output: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prompt: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cached: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct Cached {
    total: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tiers: Option<Tiers>,
}

#[derive(Serialize, Deserialize)]
struct Tiers {
    device: u64,
    host: u64,
    storage: u64,
    storage_backend: Option<String>,
}

const COMPLETED: &str = "completed";
const FAILED: &str = "failed";
const CANCELLED: &str = "cancelled";
const NOT_SENT: &str = "not_sent";

const KINDS: &[FailureKind] = &[
    FailureKind::Dns,
    FailureKind::ConnectRefused,
    FailureKind::Connect,
    FailureKind::ConnectTimeout,
    FailureKind::Exhausted,
    FailureKind::Tls,
    FailureKind::FirstTokenTimeout,
    FailureKind::IdleTimeout,
    FailureKind::RequestTimeout,
    FailureKind::HttpStatus,
    FailureKind::ServerError,
    FailureKind::Malformed,
    FailureKind::EarlyEnd,
    FailureKind::NoTokens,
    FailureKind::Transport,
    FailureKind::Cancelled,
    FailureKind::Memory,
    FailureKind::Internal,
];

const PHASES: &[Phase] = &[Phase::Connect, Phase::Headers, Phase::FirstToken, Phase::Stream];

const SOURCES: &[TokenSource] =
    &[TokenSource::Server, TokenSource::Events, TokenSource::Retokenized];

/// The name of an outcome in files.
pub(super) fn outcome_name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => COMPLETED,
        Outcome::Failed(_) => FAILED,
        Outcome::Cancelled(_) => CANCELLED,
        Outcome::NotSent => NOT_SENT,
    }
}

/// Returns what `name` names among `all`.
fn named<T: Copy>(
    what: &str,
    name: &str,
    all: &[T],
    name_of: fn(T) -> &'static str,
) -> Result<T, String> {
    all.iter().copied().find(|&one| name_of(one) == name).ok_or_else(|| {
        let known: Vec<_> = all.iter().map(|&one| name_of(one)).collect();
        format!("{what} is `{name}`, and not one of {}", known.join(", "))
    })
}

impl<'a> Row<'a> {
    /// The row of `record`, whose round added `asked` to its conversation.
    pub(super) fn new(record: &'a RequestRecord, asked: Option<Vec<&'a str>>) -> Self {
        let events = &record.events;
        let mut before = 0;
        let gap = |&at: &u64| {
            let gap = at.wrapping_sub(std::mem::replace(&mut before, at));
            gap.cast_signed()
        };
        let gaps_ns = events.at_ns.iter().map(gap).collect();
        let mut ends = PerCompletion::<usize>::default();
        let piece = |(event, &end): (usize, &usize)| {
            let before = std::mem::replace(ends.entry(events.completion_of(event)), end);
            end.saturating_sub(before)
        };
        let pieces: Vec<usize> = events.text_ends.iter().enumerate().map(piece).collect();
        Self {
            index: record.index,
            round: record.round,
            outcome: outcome_name(&record.outcome).into(),
            failure: record.failure().map(|failure| reason(failure.into_owned())),
            due_ns: record.due.into(),
            released_ns: record.released.into(),
            sent_ns: record.sent.map(Ns::from),
            connect_ns: record.connect.map(Ns::from),
            headers_ns: record.headers.map(Ns::from),
            done_ns: record.done.map(Ns::from),
            endpoint: Some(record.endpoint).filter(|&at| at != 0),
            attempts: Some(record.attempts).filter(|&n| n != 1),
            first_sent_ns: record.first_sent.map(Ns::from),
            resent_ns: record.resent.map(Ns::from),
            gaps_ns,
            tokens: (!events.tokens.iter().all(|&n| n == 1)).then(|| events.tokens.clone()),
            counted_tokens: (!events.counted.is_empty()).then(|| events.counted.clone()),
            piece_bytes: (!pieces.is_empty()).then_some(pieces),
            completions: (!events.completion.is_empty()).then(|| events.completion.clone()),
            text: record.text.as_str().into(),
            other_texts: record.other_texts.iter().map(|text| text.as_str().into()).collect(),
            input_tokens: record.prompt_len,
            vision_tokens: record.vision_len,
            output_tokens_asked: record.output_len,
            server_input_tokens: record.server_prompt_tokens,
            cached: record.cached.as_ref().map(cached),
            output_tokens: record.output_tokens.map(|tokens| tokens.count),
            output_token_source: record.output_tokens.map(|tokens| tokens.source.name().into()),
            impossible: record.impossible.as_deref().map(impossible),
            early_stops: record.early_stops,
            asked: asked.map(|texts| texts.into_iter().map(Cow::from).collect()),
        }
    }

    /// The record, and what its round added to its conversation, if it is part of one.
    ///
    /// # Errors
    /// If the row does not fit together; the message says how.
    pub(super) fn record(self) -> Result<(RequestRecord, Option<Vec<String>>), String> {
        let failure = self.failure.map(failure).transpose()?;
        let outcome = match (&*self.outcome, failure) {
            (COMPLETED, None) => Outcome::Completed,
            (NOT_SENT, None) => Outcome::NotSent,
            (FAILED, Some(failure)) => Outcome::Failed(failure),
            (CANCELLED, Some(failure)) => Outcome::Cancelled(failure.phase),
            (COMPLETED | NOT_SENT, Some(_)) => {
                return Err(format!("outcome is `{}`, and there is a failure", self.outcome));
            }
            (FAILED | CANCELLED, None) => {
                return Err(format!("outcome is `{}`, and no failure tells why", self.outcome));
            }
            (other, _) => {
                return Err(format!(
                    "outcome is `{other}`, and not one of {COMPLETED}, {FAILED}, {CANCELLED}, {NOT_SENT}"
                ));
            }
        };
        let output_tokens = match (self.output_tokens, self.output_token_source) {
            (None, None) => None,
            (Some(count), Some(source)) => {
                let source = named("output_token_source", &source, SOURCES, TokenSource::name)?;
                Some(OutputTokens { count, source })
            }
            _ => return Err("output_tokens and output_token_source go together".into()),
        };
        let n = self.gaps_ns.len();
        let Self { gaps_ns, tokens, counted_tokens, piece_bytes, completions, .. } = self;
        let events = events(gaps_ns, tokens, counted_tokens, piece_bytes, completions)
            .ok_or_else(|| {
                format!(
                    "the columns of events do not fit together: gaps_ns has {n} values, and the others are as long or absent"
                )
            })?;
        let record = RequestRecord {
            index: self.index,
            round: self.round,
            due: self.due_ns.into(),
            released: self.released_ns.into(),
            sent: self.sent_ns.map(Into::into),
            connect: self.connect_ns.map(Into::into),
            headers: self.headers_ns.map(Into::into),
            done: self.done_ns.map(Into::into),
            endpoint: self.endpoint.unwrap_or(0),
            attempts: self.attempts.unwrap_or(1),
            first_sent: self.first_sent_ns.map(Into::into),
            resent: self.resent_ns.map(Into::into),
            outcome,
            events,
            text: self.text.into_owned(),
            other_texts: self.other_texts.into_iter().map(Cow::into_owned).collect(),
            prompt_len: self.input_tokens,
            vision_len: self.vision_tokens,
            output_len: self.output_tokens_asked,
            server_prompt_tokens: self.server_input_tokens,
            cached: self.cached.map(|cached| CachedTokens {
                total: cached.total,
                tiers: cached.tiers.map(|tiers| {
                    Box::new(CacheTiers {
                        device: tiers.device,
                        host: tiers.host,
                        storage: tiers.storage,
                        storage_backend: tiers.storage_backend,
                    })
                }),
            }),
            output_tokens,
            impossible: self.impossible.and_then(|counts| {
                let Counts { output, prompt, cached } = counts;
                Impossible { output, prompt, cached }.kept()
            }),
            early_stops: self.early_stops,
        };
        believable(&record)?;
        let asked = self.asked.map(|texts| texts.into_iter().map(Cow::into_owned).collect());
        Ok((record, asked))
    }
}

/// Longest run whose rows are believed, about 104 days: figures by the second need memory for each.
const LONGEST: Duration = Duration::from_nanos(1 << 53);

/// Returns whether the counts of `record` are those of one request, and its times those of a run.
fn believable(record: &RequestRecord) -> Result<(), String> {
    let last = record.events.at_ns.iter().max().map(|&ns| Duration::from_nanos(ns));
    let times = [Some(record.due), record.sent, record.done, last];
    if let Some(time) = times.into_iter().flatten().find(|&time| time > LONGEST) {
        return Err(format!("something happened {} s after the run began", time.as_secs()));
    }
    let sum = |tokens: &[u32]| tokens.iter().map(|&n| u64::from(n)).sum();
    let cached = record.cached.as_ref();
    let tiers = cached.and_then(|cached| cached.tiers.as_ref());
    for (what, count) in [
        ("input_tokens", record.prompt_len as u64),
        ("vision_tokens", record.vision_len as u64),
        ("server_input_tokens", record.server_prompt_tokens.unwrap_or(0)),
        ("output_tokens", record.output_count()),
        ("cached", cached.map_or(0, |cached| cached.total)),
        ("cached", tiers.map_or(0, |tiers| tiers.device.max(tiers.host).max(tiers.storage))),
        ("tokens", sum(&record.events.tokens)),
        ("counted_tokens", sum(&record.events.counted)),
    ] {
        if count > MAX_TOKENS {
            return Err(format!(
                "{what} has {count} tokens, and no request has more than {MAX_TOKENS}"
            ));
        }
    }
    Ok(())
}

fn impossible(counts: &Impossible) -> Counts {
    Counts { output: counts.output, prompt: counts.prompt, cached: counts.cached }
}

fn cached(cached: &CachedTokens) -> Cached {
    let tiers = cached.tiers.as_ref().map(|tiers| Tiers {
        device: tiers.device,
        host: tiers.host,
        storage: tiers.storage,
        storage_backend: tiers.storage_backend.clone(),
    });
    Cached { total: cached.total, tiers }
}

fn reason(failure: Failure) -> Reason<'static> {
    Reason {
        kind: failure.kind.name().into(),
        phase: failure.phase.name().into(),
        status: failure.status,
        message: failure.message.into(),
        excerpt: failure.excerpt,
    }
}

fn failure(reason: Reason<'_>) -> Result<Failure, String> {
    Ok(Failure {
        kind: named("kind", &reason.kind, KINDS, FailureKind::name)?,
        phase: named("phase", &reason.phase, PHASES, Phase::name)?,
        status: reason.status,
        message: reason.message.into_owned(),
        excerpt: reason.excerpt,
    })
}

/// The events of these columns; `None` if they are not of one length, or a sum is below 0.
fn events(
    gaps: Vec<i64>,
    tokens: Option<Vec<u32>>,
    counted: Option<Vec<u32>>,
    pieces: Option<Vec<usize>>,
    completions: Option<Vec<u16>>,
) -> Option<TokenEvents> {
    let n = gaps.len();
    let fits = |len: Option<usize>| len.is_none_or(|len| len == n);
    if !fits(tokens.as_ref().map(Vec::len))
        || !fits(counted.as_ref().map(Vec::len))
        || !fits(pieces.as_ref().map(Vec::len))
        || !fits(completions.as_ref().map(Vec::len))
    {
        return None;
    }
    let mut events = TokenEvents {
        at_ns: Vec::with_capacity(n),
        tokens: tokens.unwrap_or_else(|| vec![1; n]),
        text_ends: Vec::with_capacity(n),
        completion: completions.unwrap_or_default(),
        counted: counted.unwrap_or_default(),
    };
    let mut at = 0_u64;
    for gap in gaps {
        at = at.checked_add_signed(gap)?;
        events.at_ns.push(at);
    }
    let mut ends = PerCompletion::<usize>::default();
    for (event, piece) in pieces.into_iter().flatten().enumerate() {
        let end = ends.entry(events.completion_of(event));
        *end = end.checked_add(piece)?;
        events.text_ends.push(*end);
    }
    Some(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails to compile when there is another kind, and fails when that is not read back.
    #[test]
    fn every_name_is_read_back() {
        for &kind in KINDS {
            match kind {
                FailureKind::Dns
                | FailureKind::ConnectRefused
                | FailureKind::Connect
                | FailureKind::ConnectTimeout
                | FailureKind::Exhausted
                | FailureKind::Tls
                | FailureKind::FirstTokenTimeout
                | FailureKind::IdleTimeout
                | FailureKind::RequestTimeout
                | FailureKind::HttpStatus
                | FailureKind::ServerError
                | FailureKind::Malformed
                | FailureKind::EarlyEnd
                | FailureKind::NoTokens
                | FailureKind::Transport
                | FailureKind::Cancelled
                | FailureKind::Memory
                | FailureKind::Internal => {}
            }
            assert_eq!(named("kind", kind.name(), KINDS, FailureKind::name), Ok(kind));
        }
        assert_eq!(KINDS.len(), 18);
        for &phase in PHASES {
            match phase {
                Phase::Connect | Phase::Headers | Phase::FirstToken | Phase::Stream => {}
            }
            assert_eq!(named("phase", phase.name(), PHASES, Phase::name), Ok(phase));
        }
        assert_eq!(PHASES.len(), 4);
        for &source in SOURCES {
            match source {
                TokenSource::Server | TokenSource::Events | TokenSource::Retokenized => {}
            }
            assert_eq!(named("source", source.name(), SOURCES, TokenSource::name), Ok(source));
        }
        assert_eq!(
            named("phase", "tea", PHASES, Phase::name),
            Err("phase is `tea`, and not one of connect, headers, first_token, stream".into())
        );
    }
}
