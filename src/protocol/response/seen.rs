//! What the events of a response have said, event by event, and what that comes to at its end.

use std::time::Duration;

use super::arrivals::{Arrival, Arrivals};
use super::caps::{self, Caps};
use super::completion::Completion;
use super::counts::{BEYOND, Totals, most_output, most_prompt};
use super::repeated::Repeated;
use super::{Expect, FORESEEN};
use crate::model::{Asked, CachedTokens, Failure, FailureKind, Impossible, PerCompletion, Phase};
use crate::protocol::backend::{DecodeError, Decoder, Delta, End, Part, Step, TextMode};
use crate::protocol::sse;

/// Bytes of text that a token has, about.
const TOKEN_TEXT: usize = 4;

/// What the events so far have said.
pub(super) struct Seen {
    pub(super) decoder: Box<dyn Decoder>,
    pub(super) repeated: Repeated,
    pub(super) asked: Asked,
    /// Bytes of the request's body, if that is known.
    pub(super) request: Option<u32>,
    pub(super) events: Arrivals,
    pub(super) completions: PerCompletion<Completion>,
    /// The server's counts of all completions, if it told one after any count of a single one.
    totals: Option<Box<Totals>>,
    pub(super) prompt_tokens: Option<u64>,
    pub(super) cached: Option<CachedTokens>,
    /// Tokens that counters have risen by, all completions together.
    pub(super) risen: u64,
    /// When the last mark of an end came.
    pub(super) finished: Option<Duration>,
    /// Whether `[DONE]` was seen.
    pub(super) said_done: bool,
    pub(super) last: Option<Duration>,
    /// The beginning of the first event that said nothing.
    pub(super) unread: Box<[u8]>,
    /// Tokens of one completion that memory is had for when it begins.
    pub(super) foreseen: usize,
}

impl Seen {
    /// Nothing yet.
    pub(super) fn new(decoder: Box<dyn Decoder>) -> Self {
        Self {
            decoder,
            repeated: Repeated::default(),
            asked: Asked::default(),
            request: None,
            events: Arrivals::default(),
            completions: PerCompletion::default(),
            totals: None,
            prompt_tokens: None,
            cached: None,
            risen: 0,
            finished: None,
            said_done: false,
            last: None,
            unread: Box::default(),
            foreseen: 0,
        }
    }

    pub(super) fn phase(&self) -> Phase {
        if self.events.is_empty() { Phase::FirstToken } else { Phase::Stream }
    }

    /// Bytes of memory that are kept of the events.
    pub(super) fn held(&self) -> usize {
        let PerCompletion { first, others } = &self.completions;
        others.iter().fold(first.heap(), |sum, other| sum + other.heap()) + self.events.heap()
    }

    /// Forgets all but the first events.
    pub(super) fn shorten(&mut self) {
        self.events.shorten(FORESEEN);
        let PerCompletion { first, others } = &mut self.completions;
        for (completion, number) in std::iter::once(first).chain(others).zip(0..) {
            completion.shorten(self.events.text_end(number));
        }
    }

    /// Returns whether what is kept of the response is within the caps.
    pub(super) fn check_size(&self) -> Result<(), Failure> {
        let PerCompletion { first, others } = &self.completions;
        let text = others.iter().fold(first.kept(), |sum, other| sum + other.kept());
        let events = self.events.len() as u64;
        if caps::allow_any(text, events) { Ok(()) } else { self.check_caps(text, events) }
    }

    #[cold]
    fn check_caps(&self, text: usize, events: u64) -> Result<(), Failure> {
        let caps = self.caps();
        let (what, cap) = if text > caps.text {
            ("bytes of text", caps.text as u64)
        } else if events > caps.events {
            ("events", caps.events)
        } else {
            return Ok(());
        };
        Err(malformed(caps.reason(what, cap), self.phase()))
    }

    /// Returns how long the answer may be. Worked out anew where it is asked for: few answers come near.
    pub(super) fn caps(&self) -> Caps {
        self.request.map_or_else(Caps::default, |bytes| Caps::of(self.asked, bytes as usize))
    }

    /// The failure of a stream whose reading has stopped.
    pub(super) fn failure_of(&self, stop: Stop) -> Failure {
        match stop {
            Stop::Failed(failure) => failure,
            Stop::TooLong(sse::TooLong { cap }) => {
                let what = self.caps().reason("bytes in one event", cap as u64);
                malformed(what, self.phase())
            }
        }
    }

    /// Removes counts of the prompt that cannot be, and tells them.
    pub(super) fn refuse_prompt_counts(&mut self) -> Impossible {
        let mut refused = Impossible::default();
        let most = most_prompt(self.request);
        refused.prompt = self.prompt_tokens.take_if(|&mut prompt| prompt > most);
        let most = self.prompt_tokens.unwrap_or(most);
        let most_cached = |cached: &CachedTokens| {
            let tiers = cached.tiers.as_ref();
            let tiers = tiers.map_or(0, |tiers| tiers.device.max(tiers.host).max(tiers.storage));
            cached.total.max(tiers)
        };
        let cached = self.cached.take_if(|cached| most_cached(cached) > most);
        refused.cached = cached.as_ref().map(most_cached);
        refused
    }

    /// Tokens so far, as far as they are known in passing.
    pub(super) fn tokens(&self) -> u64 {
        let seen = self.events.len() as u64;
        let is_single = self.totals.is_none() && self.completions.others.is_empty();
        let counted = if is_single {
            self.completions.first.counted().unwrap_or(0)
        } else {
            self.counted().map_or(0, |(count, _)| count)
        };
        if counted > seen { counted.min(self.most_output()).max(seen) } else { seen }
    }

    /// Completions that there are, of which one was asked for at least.
    fn completions(&self) -> u64 {
        let seen = 1 + self.completions.others.len() as u64;
        self.asked.completions.map_or(seen, |asked| seen.max(asked.into()))
    }

    /// Most output tokens that there can be so far.
    fn most_output(&self) -> u64 {
        let text = self.completions.iter().map(Completion::kept).sum();
        most_output(self.asked, self.completions(), text)
    }

    /// The server's count of output tokens over all completions, and whether it was told as a count of them can be.
    fn counted(&self) -> Option<(u64, bool)> {
        let counts = self.completions.iter().filter_map(Completion::counted);
        let sum = counts.reduce(u64::saturating_add);
        let total = self.totals.as_deref();
        let total = total.and_then(|totals| totals.count(self.completions(), self.events.len()));
        if let Some((total, is_sound)) = total {
            // It came after them.
            return Some((total, is_sound && sum.is_none_or(|sum| sum <= total)));
        }
        Some((sum?, self.completions.iter().all(Completion::is_counted)))
    }

    /// The server's count of output tokens; as an error, if it cannot be.
    pub(super) fn output(&self) -> Option<Result<u64, u64>> {
        let (count, is_sound) = self.counted()?;
        let fits = self.events.tokens() <= count && count <= self.most_output();
        Some(if is_sound && fits { Ok(count) } else { Err(count) })
    }

    pub(super) fn event(&mut self, event: sse::Event<'_>, at: Duration) -> Result<(), Failure> {
        let data = event.data.trim_ascii();
        // What comes after the end is of no answer.
        if data.is_empty() || self.said_done {
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
        if self.events.is_empty() && self.unread.is_empty() && delta.is_silent() {
            self.unread = data[..data.len().min(Failure::EXCERPT)].into();
        }
        self.repeated.remember(data, &delta);
        self.delta(delta, at)
    }

    fn delta(&mut self, delta: Delta<'_>, at: Duration) -> Result<(), Failure> {
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
        if let Some(total) = delta.output_tokens {
            self.totals.get_or_insert_default().tell(total, self.events.len());
        }
        Ok(())
    }

    /// Takes an answer in one piece, which arrived at `at`.
    pub(super) fn whole(&mut self, body: &[u8], at: Duration) -> Result<(), Failure> {
        let delta = self.decoder.body(body);
        let delta = delta.map_err(|error| failure(&error, Phase::FirstToken))?;
        for part in std::iter::once(&delta.part).chain(&delta.others) {
            let place = self.place(part.completion)?;
            let completion = self.completions.entry(place);
            completion.text.push_str(&part.text);
            completion.count(part.output_tokens, true);
            completion.finished = true;
            completion.stopped = part.end == End::Stopped;
            if part.step != Step::None {
                completion.begun = true;
                let event = Arrival::new(place, nanos(at), 1);
                self.events.push(event.ending(Some(completion.text.len())));
            }
        }
        if let Some(total) = delta.output_tokens {
            self.totals.get_or_insert_default().tell(total, self.events.len());
        }
        self.prompt_tokens = delta.prompt_tokens;
        self.cached = delta.cached;
        (self.finished, self.last) = (Some(at), Some(at));
        Ok(())
    }

    /// The completion that one with this index is.
    ///
    /// # Errors
    /// If several were asked for and it is none of them; where one was asked for it is that one, whatever the index counts.
    fn place(&self, index: u16) -> Result<u16, Failure> {
        match self.asked.completions {
            Some(1) => Ok(0),
            Some(asked) if index >= asked => {
                let what = format!(
                    "`index` is not that of one of the {asked} completions that were asked for"
                );
                Err(malformed(what, self.phase()))
            }
            _ => Ok(index),
        }
    }

    fn part(&mut self, part: &Part<'_>, at: Duration) -> Result<(), Failure> {
        let place = if part.completion == 0 { 0 } else { self.place(part.completion)? };
        let completion = self.completions.entry(place);
        completion.count(part.output_tokens, part.step != Step::None);
        if part.output_tokens.is_some() && self.totals.is_some() {
            // The last word holds.
            self.totals = None;
        }
        match part.end {
            End::Unmarked => {}
            End::Open => completion.marks_end = true,
            End::Finished | End::Stopped => {
                completion.marks_end = true;
                completion.finished = true;
                completion.stopped |= part.end == End::Stopped;
                self.finished = Some(at);
            }
        }
        if part.end == End::Stopped && self.asked.batch.is_some_and(|batch| batch.ignores_stops) {
            return Err(self.stopped(place));
        }
        let mut counted = None;
        let tokens = match part.step {
            Step::None => return Ok(()),
            Step::One => {
                if let Some(total) = part.output_tokens
                    && let Some(tokens) = completion.rise(total)
                    && self.is_possible(tokens.into())
                {
                    self.risen = self.risen.saturating_add(tokens.into());
                    counted = Some(tokens);
                }
                1
            }
            Step::Total(total) => {
                if total == completion.stepped && completion.begun {
                    // The same tokens told again, as with a closing event: nothing arrived.
                    completion.take_text(part, false);
                    return Ok(());
                }
                let tokens = total.checked_sub(std::mem::replace(&mut completion.stepped, total));
                // Each of them becomes a latency of its own.
                let tokens = tokens.filter(|&tokens| self.is_possible(tokens));
                let tokens = tokens.and_then(|tokens| u32::try_from(tokens).ok());
                let completion = self.completions.entry(place);
                completion.is_odd |= tokens.is_none();
                self.risen = self.risen.saturating_add(tokens.unwrap_or(1).into());
                // An event with output has one at least, whatever was counted.
                tokens.unwrap_or(1)
            }
        };
        let completion = self.completions.entry(place);
        if !completion.begun {
            completion.reserve(part, self.foreseen * TOKEN_TEXT);
            self.events.reserve(self.foreseen);
        }
        completion.take_text(part, true);
        completion.begun = true;
        let event = Arrival::new(place, nanos(at), tokens).counting(counted);
        let end = (part.mode == TextMode::Append).then_some(completion.text.len());
        self.events.push(event.ending(end));
        Ok(())
    }

    /// Returns whether a count may have risen by so much at once: by little, or by no more than there can be.
    fn is_possible(&self, tokens: u64) -> bool {
        tokens <= BEYOND || self.risen.saturating_add(tokens) <= self.most_output()
    }

    /// Returns whether a completion has begun and lacks the end that the server would mark.
    fn ended_early(&self) -> bool {
        let open = |completion: &Completion| completion.marks_end && !completion.finished;
        let finished = |completion: &Completion| completion.finished;
        // `[DONE]` ends a stream by itself, unless its server is seen to give reasons and gave one completion none.
        let any_open = self.completions.iter().any(open);
        any_open && (!self.said_done || self.completions.iter().any(finished))
    }

    /// Reads the texts that were kept as JSON writes them.
    pub(super) fn read_texts(&mut self) -> Result<(), Failure> {
        let phase = self.phase();
        let all = std::iter::once(&mut self.completions.first).chain(&mut self.completions.others);
        for completion in all {
            completion.read_escaped().map_err(|error| {
                let what = format!("the text of the last event cannot be read: {error}");
                failure(&DecodeError::Malformed(what), phase)
            })?;
        }
        Ok(())
    }

    /// Judges a response that ended without a transport error.
    pub(super) fn end(&mut self, expect: Expect, any: bool) -> Result<(), Failure> {
        self.read_texts()?;
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
        if self.asked.batch.is_some() {
            return self.end_batch();
        }
        if self.events.is_empty() {
            // Tokens without text, such as special tokens, are told by the counter alone:
            // the latest instant at which the first can have arrived is the end.
            let at = self.finished.or(self.last);
            let (Some(Ok(1..)), Some(at)) = (self.output(), at) else {
                let message = "the response held no generated token";
                return fail(FailureKind::NoTokens, message, Phase::FirstToken);
            };
            let event = Arrival::new(0, nanos(at), 1);
            self.events.push(event.ending(Some(self.completions.first.text.len())));
            if let Some(totals) = &mut self.totals {
                totals.stands_for(self.events.len());
            }
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

pub(super) fn malformed(what: String, phase: Phase) -> Failure {
    failure(&DecodeError::Malformed(what), phase)
}

/// Why the reading of a stream has stopped.
pub(super) enum Stop {
    /// An event failed the request.
    Failed(Failure),
    /// An event is too long.
    TooLong(sse::TooLong),
}

impl From<sse::TooLong> for Stop {
    fn from(error: sse::TooLong) -> Self {
        Self::TooLong(error)
    }
}

fn nanos(at: Duration) -> u64 {
    u64::try_from(at.as_nanos()).unwrap_or(u64::MAX)
}
