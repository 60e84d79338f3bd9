//! Builds the record of one response from its bytes and their arrival times.
//!
//! Has no clock: the caller says when each chunk arrived, so recorded streams give exact latencies.

mod arrivals;
mod completion;
mod repeated;

use std::time::Duration;

use self::arrivals::{Arrival, Arrivals};
use self::completion::Completion;
use self::repeated::Repeated;
use crate::backend::{DecodeError, Decoder, Delta, End, Part, Step, TextMode};
use crate::model::{
    CachedTokens, Failure, FailureKind, MAX_TOKENS, OutputTokens, PerCompletion, Phase,
    RequestRecord, TokenSource,
};
use crate::sse;

/// Longest answer in one piece, in bytes.
pub const MAX_BODY: usize = 256 << 20;

/// Most text of one response, over all of its completions, in bytes.
pub const MAX_TEXT: usize = 64 << 20;

/// Most tokens of a completion that memory is had for with the first: a short answer is then never moved, and a stream
/// that ends early has not kept much for nothing.
const FORESEEN: usize = 128;

/// Bytes of text that a token has, about.
const TOKEN_TEXT: usize = 4;

/// How the body of a response is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events.
    Events,
    /// One JSON value.
    Whole,
}

impl Framing {
    /// The framing that the content type declares; without one, the framing that was asked for.
    pub fn of(content_type: Option<&str>, streams: bool) -> Self {
        let declared = content_type.unwrap_or("").to_ascii_lowercase();
        if declared.contains("event-stream") {
            Self::Events
        } else if declared.contains("json") && !declared.contains("ndjson") {
            Self::Whole
        } else if streams {
            Self::Events
        } else {
            Self::Whole
        }
    }
}

/// Whether a response must hold output tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// At least one.
    Tokens,
    /// None, as for embeddings.
    NoTokens,
}

/// Collects one response.
pub struct Collector {
    framing: Framing,
    expect: Expect,
    sse: sse::Reader,
    /// Whether the body holds anything at all.
    any: bool,
    body: Vec<u8>,
    seen: Seen,
}

impl std::fmt::Debug for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Collector").field("framing", &self.framing).finish_non_exhaustive()
    }
}

/// What the events so far have said.
struct Seen {
    decoder: Box<dyn Decoder>,
    repeated: Repeated,
    events: Arrivals,
    completions: PerCompletion<Completion>,
    /// The server's count of all completions, if it told that after any count of a single one.
    counted: Option<u64>,
    prompt_tokens: Option<u64>,
    cached: Option<CachedTokens>,
    /// Tokens that counters have risen by, all completions together.
    risen: u64,
    /// When the last mark of an end came.
    finished: Option<Duration>,
    /// Whether `[DONE]` was seen.
    said_done: bool,
    last: Option<Duration>,
    /// Tokens of one completion that memory is had for when it begins.
    foreseen: usize,
}

impl Collector {
    /// A collector for one response.
    pub fn new(decoder: Box<dyn Decoder>, framing: Framing, expect: Expect) -> Self {
        Self {
            framing,
            expect,
            sse: sse::Reader::default(),
            any: false,
            body: Vec::new(),
            seen: Seen {
                decoder,
                repeated: Repeated::default(),
                events: Arrivals::default(),
                completions: PerCompletion::default(),
                counted: None,
                prompt_tokens: None,
                cached: None,
                risen: 0,
                finished: None,
                said_done: false,
                last: None,
                foreseen: 0,
            },
        }
    }

    /// The same, having memory ready for about `tokens` tokens of a stream once it begins.
    #[must_use]
    pub fn foreseeing(mut self, tokens: usize) -> Self {
        if self.framing == Framing::Events {
            self.seen.foreseen = tokens.min(FORESEEN);
        }
        self
    }

    /// Takes a chunk of the body that arrived at `at`, and tells how many new output tokens it brought.
    ///
    /// # Errors
    /// If the server reports an error in it, or it is not what the protocol says.
    pub fn chunk(&mut self, chunk: &[u8], at: Duration) -> Result<u64, Failure> {
        self.any |= !chunk.is_empty();
        match self.framing {
            Framing::Whole => {
                if self.body.len() + chunk.len() > MAX_BODY {
                    let what = format!("the response is longer than {} MiB", MAX_BODY >> 20);
                    return Err(malformed(what, Phase::FirstToken));
                }
                self.body.extend_from_slice(chunk);
                Ok(0)
            }
            Framing::Events => {
                let before = self.seen.tokens();
                let seen = &mut self.seen;
                self.sse.feed(chunk, &mut |event| seen.event(event, at))?;
                // Once for each read, not for each event: one read can not bring much.
                seen.check_size()?;
                Ok(self.seen.tokens().saturating_sub(before))
            }
        }
    }

    /// Ends the response, whose last byte arrived at `at`.
    ///
    /// # Errors
    /// If the body is not what the protocol says, ended before its end, or holds no output.
    pub fn finish(&mut self, at: Duration) -> Result<(), Failure> {
        let seen = &mut self.seen;
        match self.framing {
            Framing::Events => {
                self.sse.finish(&mut |event| seen.event(event, at))?;
                seen.check_size()?;
            }
            Framing::Whole if self.body.trim_ascii().is_empty() => {}
            Framing::Whole => {
                let body = std::mem::take(&mut self.body);
                let delta =
                    seen.decoder.body(&body).map_err(|error| failure(&error, Phase::FirstToken))?;
                for part in std::iter::once(&delta.part).chain(&delta.others) {
                    let completion = seen.completions.entry(part.completion);
                    completion.text.push_str(&part.text);
                    completion.counted = part.output_tokens;
                    completion.finished = true;
                    if part.step != Step::None {
                        let event = Arrival::new(part.completion, nanos(at), 1);
                        seen.events.push(event.ending(Some(completion.text.len())));
                    }
                }
                seen.counted = delta.output_tokens;
                seen.prompt_tokens = delta.prompt_tokens;
                seen.cached = delta.cached;
                seen.finished = Some(at);
                seen.last = Some(at);
            }
        }
        seen.end(self.expect, self.any)
    }

    /// Moves what was collected into `record`, whatever became of the response.
    pub fn store(self, record: &mut RequestRecord) {
        let mut seen = self.seen;
        // A text that can not be read has failed the response already, or belongs to one that failed for another reason.
        let _ = seen.read_texts();
        let count = match seen.counted() {
            Some(count) => Some(OutputTokens { count, source: TokenSource::Server }),
            None if self.framing == Framing::Events && !seen.events.is_empty() => {
                Some(OutputTokens { count: seen.events.len() as u64, source: TokenSource::Events })
            }
            None => None,
        };
        if seen.check_counts().is_err() {
            // That has failed the response, or would have.
            (seen.prompt_tokens, seen.cached) = (None, None);
        }
        let believed = |tokens: &OutputTokens| tokens.count <= MAX_TOKENS;
        record.output_tokens = count.filter(|_| self.expect == Expect::Tokens).filter(believed);
        record.done = seen.last;
        record.server_prompt_tokens = seen.prompt_tokens;
        record.cached = seen.cached;
        record.events = seen.events.into_columns();
        let PerCompletion { first, others } = seen.completions;
        record.text = first.into_text();
        record.other_texts = others.into_iter().map(Completion::into_text).collect();
    }

    /// Has the memory fetched that the next chunk needs, beyond what lies in here.
    pub fn fetch_further(&self) {
        self.seen.completions.first.fetch();
        self.seen.events.fetch();
        self.seen.repeated.fetch();
    }

    /// Number of events with output so far.
    pub fn events(&self) -> usize {
        self.seen.events.len()
    }

    /// When the last event arrived.
    pub fn last_event(&self) -> Option<Duration> {
        self.seen.last
    }

    /// Whether the stream has told its end in so many words.
    pub fn said_done(&self) -> bool {
        self.seen.said_done
    }

    /// The phase that the response is in.
    pub fn phase(&self) -> Phase {
        self.seen.phase()
    }
}

impl Seen {
    fn phase(&self) -> Phase {
        if self.events.is_empty() { Phase::FirstToken } else { Phase::Stream }
    }

    /// Whether what is kept of the response is within the caps.
    fn check_size(&self) -> Result<(), Failure> {
        let PerCompletion { first, others } = &self.completions;
        let text = others.iter().fold(first.kept(), |sum, other| sum + other.kept());
        if text > MAX_TEXT {
            let what = format!("the text of the response is longer than {} MiB", MAX_TEXT >> 20);
            return Err(malformed(what, self.phase()));
        }
        if self.events.len() as u64 > MAX_TOKENS {
            let what = format!("the response has more than {MAX_TOKENS} events");
            return Err(malformed(what, self.phase()));
        }
        Ok(())
    }

    /// Whether the server's counts can be believed. What is added up later can then not overflow.
    fn check_counts(&self) -> Result<(), Failure> {
        let cached = self.cached.as_ref();
        let tiers = cached.and_then(|cached| cached.tiers.as_ref());
        let counts = [
            ("output", self.counted()),
            ("prompt", self.prompt_tokens),
            ("cached", cached.map(|cached| cached.total)),
            ("cached", tiers.map(|tiers| tiers.device.max(tiers.host).max(tiers.storage))),
        ];
        for (what, count) in counts {
            if let Some(count) = count.filter(|&count| count > MAX_TOKENS) {
                let what = format!(
                    "the server counts {count} {what} tokens, and more than {MAX_TOKENS} are not believed"
                );
                return Err(malformed(what, self.phase()));
            }
        }
        Ok(())
    }

    fn tokens(&self) -> u64 {
        self.counted().unwrap_or(0).max(self.events.len() as u64)
    }

    /// The server's count of output tokens, over all completions.
    fn counted(&self) -> Option<u64> {
        let PerCompletion { first, others } = &self.completions;
        let single = |sum: Option<u64>, other: &Completion| match (sum, other.counted) {
            (Some(sum), Some(n)) => Some(sum.saturating_add(n)),
            (sum, n) => sum.or(n),
        };
        self.counted.or_else(|| others.iter().fold(first.counted, single))
    }

    fn event(&mut self, event: sse::Event<'_>, at: Duration) -> Result<(), Failure> {
        let data = event.data.trim_ascii();
        if data.is_empty() {
            return Ok(());
        }
        self.last = Some(at);
        if event.kind.is_empty()
            && let Some(delta) = self.repeated.delta(data)
        {
            return self.delta(delta, at);
        }
        if data == b"[DONE]" {
            self.finished.get_or_insert(at);
            self.said_done = true;
            return Ok(());
        }
        let phase = self.phase();
        if event.kind == b"error" {
            let told = match self.decoder.event(data) {
                Err(DecodeError::Server(message)) => message,
                _ => String::from_utf8_lossy(data).into_owned(),
            };
            return Err(failure(&DecodeError::Server(told), phase));
        }
        let delta = match self.decoder.event(data) {
            Ok(delta) => delta,
            // Events of a named type that is not the protocol's own are extensions.
            Err(DecodeError::Malformed(_))
                if !event.kind.is_empty() && event.kind != b"message" =>
            {
                return Ok(());
            }
            Err(error) => return Err(failure(&error, phase)),
        };
        self.repeated.remember(data, &delta);
        self.delta(delta, at)
    }

    fn delta(&mut self, delta: Delta<'_>, at: Duration) -> Result<(), Failure> {
        self.counted = delta.output_tokens.or(self.counted);
        self.prompt_tokens = delta.prompt_tokens.filter(|&n| n > 0).or(self.prompt_tokens);
        // The last word holds, but a bare number takes nothing away from one with its parts.
        let parts = |cached: &CachedTokens| cached.tiers.is_some();
        if let Some(cached) = delta.cached
            && (parts(&cached) || !self.cached.as_ref().is_some_and(parts))
        {
            self.cached = Some(cached);
        }
        self.part(&delta.part, at)?;
        for part in &delta.others {
            self.part(part, at)?;
        }
        Ok(())
    }

    fn part(&mut self, part: &Part<'_>, at: Duration) -> Result<(), Failure> {
        let completion = self.completions.entry(part.completion);
        if part.output_tokens.is_some() {
            completion.counted = part.output_tokens;
            // The last word holds.
            self.counted = None;
        }
        match part.end {
            End::Unmarked => {}
            End::Open => completion.marks_end = true,
            End::Finished => {
                completion.marks_end = true;
                completion.finished = true;
                self.finished = Some(at);
            }
        }
        let mut counted = None;
        let tokens = match part.step {
            Step::None => return Ok(()),
            Step::One => {
                if let Some(total) = part.output_tokens
                    && let Some(tokens) = completion.rise(total)
                {
                    self.risen = self.risen.saturating_add(tokens.into());
                    if self.risen > MAX_TOKENS {
                        return Err(self.too_many());
                    }
                    counted = Some(tokens);
                }
                1
            }
            Step::Total(total) => {
                let tokens = total.saturating_sub(completion.stepped);
                let unchanged = total == completion.stepped && completion.begun;
                completion.stepped = total;
                if unchanged {
                    // The same tokens told again, as with a closing event: nothing arrived.
                    completion.take_text(part);
                    return Ok(());
                }
                self.risen = self.risen.saturating_add(tokens);
                match u32::try_from(tokens) {
                    // Each of them becomes a latency of its own.
                    Ok(tokens) if self.risen <= MAX_TOKENS => tokens,
                    _ => return Err(self.too_many()),
                }
            }
        };
        if !completion.begun {
            completion.reserve(part, self.foreseen * TOKEN_TEXT);
            self.events.reserve(self.foreseen);
        }
        completion.take_text(part);
        completion.begun = true;
        let event = Arrival::new(part.completion, nanos(at), tokens).counting(counted);
        let end = (part.mode == TextMode::Append).then_some(completion.text.len());
        self.events.push(event.ending(end));
        Ok(())
    }

    /// Counts of output tokens that rise by more than can be, event after event.
    fn too_many(&self) -> Failure {
        let what = format!(
            "the server's counts of output tokens rise by {} in all, and more than {MAX_TOKENS} are not believed",
            self.risen
        );
        malformed(what, self.phase())
    }

    /// Whether a completion has begun to be told and lacks the end that the server would mark.
    fn ended_early(&self) -> bool {
        let open = |completion: &Completion| completion.marks_end && !completion.finished;
        let finished = |completion: &Completion| completion.finished;
        // `[DONE]` ends a stream by itself, unless its server is seen to give reasons and gave one completion none.
        let any_open = self.completions.iter().any(open);
        any_open && (!self.said_done || self.completions.iter().any(finished))
    }

    /// Reads the texts that were kept as JSON writes them.
    fn read_texts(&mut self) -> Result<(), Failure> {
        let phase = self.phase();
        let all = std::iter::once(&mut self.completions.first).chain(&mut self.completions.others);
        for completion in all {
            completion.read_escaped().map_err(|error| {
                let what = format!("the text of the last event can not be read: {error}");
                failure(&DecodeError::Malformed(what), phase)
            })?;
        }
        Ok(())
    }

    /// Judges a response that ended without a transport error.
    fn end(&mut self, expect: Expect, any: bool) -> Result<(), Failure> {
        self.read_texts()?;
        self.check_counts()?;
        if expect == Expect::NoTokens && self.last.is_some() {
            return Ok(());
        }
        let fail = |kind, message: &str, phase| {
            Err(Failure { status: Some(200), ..Failure::new(kind, phase, message) })
        };
        if self.last.is_none() {
            let message = match (any, expect) {
                (true, Expect::Tokens) => "the response body held no event and no JSON",
                _ => "the response body was empty",
            };
            return fail(FailureKind::NoTokens, message, Phase::FirstToken);
        }
        if self.ended_early() {
            let message = if self.said_done {
                "the stream ended without a finish reason for each completion"
            } else {
                "the stream ended without a finish reason or [DONE]"
            };
            return fail(FailureKind::EarlyEnd, message, self.phase());
        }
        if self.events.is_empty() {
            // Tokens without text, such as special tokens, are told by the counter alone:
            // the latest instant at which the first can have arrived is the end.
            let at = self.finished.or(self.last);
            let (Some(1..), Some(at)) = (self.counted(), at) else {
                let message = "the response held no generated token";
                return fail(FailureKind::NoTokens, message, Phase::FirstToken);
            };
            let event = Arrival::new(0, nanos(at), 1);
            self.events.push(event.ending(Some(self.completions.first.text.len())));
        }
        Ok(())
    }
}

fn failure(error: &DecodeError, phase: Phase) -> Failure {
    let kind = match error {
        DecodeError::Server(_) => FailureKind::ServerError,
        DecodeError::Malformed(_) => FailureKind::Malformed,
    };
    let mut message = error.to_string();
    // Servers decide how long it is.
    if message.len() > Failure::EXCERPT {
        message.truncate(message.floor_char_boundary(Failure::EXCERPT));
        message.push_str("...");
    }
    Failure { kind, phase, status: Some(200), message, excerpt: None }
}

fn malformed(what: String, phase: Phase) -> Failure {
    failure(&DecodeError::Malformed(what), phase)
}

impl From<sse::TooLong> for Failure {
    /// The phase is set by who knows it.
    fn from(error: sse::TooLong) -> Self {
        Self { status: None, ..malformed(error.to_string(), Phase::FirstToken) }
    }
}

fn nanos(at: Duration) -> u64 {
    u64::try_from(at.as_nanos()).unwrap_or(u64::MAX)
}
