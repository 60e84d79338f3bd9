//! Builds the record of one response from its bytes and their arrival times.
//!
//! Has no clock: the caller says when each chunk arrived, so recorded streams give exact latencies.

mod arrivals;
mod batch;
mod caps;
mod completion;
mod counts;
mod framing;
mod manner;
mod repeated;
mod seen;

use std::time::Duration;

use self::completion::Completion;
pub use self::framing::Framing;
use self::framing::{Lines, Opening, opening};
use self::seen::{Seen, Stop, malformed};
use crate::model::{
    Asked, Failure, FailureKind, Impossible, OutputTokens, PerCompletion, Phase, RequestRecord,
    TokenSource,
};
use crate::protocol::backend::Decoder;
use crate::protocol::sse;

/// Longest answer in one piece, in bytes.
pub const MAX_BODY: usize = 256 << 20;

/// Most text of one response, over all of its completions, in bytes.
pub const MAX_TEXT: usize = 64 << 20;

/// Bytes of a body after which the memory that is kept of it is summed up again. The sum reads state that no event needs,
/// which is a miss of the cache for each read; what these bytes can become is small beside any budget.
const LOOK: u32 = 2 << 10;

/// Most tokens of a completion that memory is had for with the first: a short answer is then never moved, and a stream
/// that ends early has not kept much for nothing.
const FORESEEN: usize = 128;

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
    form: Form,
    /// What the head declares the body to be.
    declared: Framing,
    expect: Expect,
    sse: sse::Reader,
    /// Whether the body holds anything at all.
    any: bool,
    /// The body so far; of a stream only the beginning, as long as it has no event.
    body: Vec<u8>,
    /// What most responses have nothing of.
    unusual: Option<Box<Unusual>>,
    /// Output tokens after the last chunk.
    tokens: u64,
    /// Bytes that have come since the memory was summed up.
    unsummed: u32,
    seen: Seen,
}

/// What is known of a body that is not a stream of events as it stands.
#[derive(Default)]
struct Unusual {
    /// How the head says that the body is encoded.
    encoding: Option<Box<str>>,
    /// Whether the body is lines of JSON.
    lines: Lines,
}

/// How the body is read, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// They have not arrived.
    Unknown,
    /// As events.
    Events,
    /// As one JSON value, unless there come lines of them.
    Json,
}

impl std::fmt::Debug for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Collector").field("form", &self.form).finish_non_exhaustive()
    }
}

impl Collector {
    /// A collector for one response, whose head declares it to be framed so.
    pub fn new(decoder: Box<dyn Decoder>, declared: Framing, expect: Expect) -> Self {
        Self {
            form: Form::Unknown,
            declared,
            expect,
            sse: sse::Reader::default(),
            any: false,
            body: Vec::new(),
            unusual: None,
            tokens: 0,
            unsummed: LOOK,
            seen: Seen::new(decoder),
        }
    }

    /// The same, having memory ready for about `tokens` tokens of a stream once it begins.
    #[must_use]
    pub fn foreseeing(mut self, tokens: usize) -> Self {
        self.seen.foreseen = tokens.min(FORESEEN);
        self
    }

    /// The same for the answer to a request that asks for this, in a body of `bytes` bytes.
    #[must_use]
    pub fn answering(mut self, asked: Asked, bytes: usize) -> Self {
        self.seen.asked = asked;
        if let Some(batch) = asked.batch {
            self.seen.decoder.batch(batch.prompts);
        }
        self.seen.request = Some(u32::try_from(bytes).unwrap_or(u32::MAX));
        self.sse = sse::Reader::with_cap(self.seen.caps().event);
        self
    }

    /// The same for a body that the head says to be encoded. That counts where its first bytes say so too: some servers
    /// write there that it is not, or a character set.
    #[must_use]
    pub fn encoded(mut self, encoding: Option<&str>) -> Self {
        if let Some(encoding) = encoding {
            self.unusual.get_or_insert_default().encoding = Some(encoding.into());
        }
        self
    }

    /// Takes a chunk of the body that arrived at `at`, and tells how many new output tokens it brought.
    ///
    /// # Errors
    /// If the server reports an error in it, or it is not what the protocol says.
    pub fn chunk(&mut self, chunk: &[u8], at: Duration) -> Result<u64, Failure> {
        self.any |= !chunk.is_empty();
        self.unsummed = self.unsummed.saturating_add(u32::try_from(chunk.len()).unwrap_or(LOOK));
        if self.form == Form::Events { self.read(chunk, at) } else { self.keep(chunk, at) }
    }

    /// Reads the events of a chunk.
    fn read(&mut self, chunk: &[u8], at: Duration) -> Result<u64, Failure> {
        let seen = &mut self.seen;
        let fed = self.sse.feed(chunk, &mut |event| seen.event(event, at).map_err(Stop::Failed));
        fed.map_err(|stop| seen.failure_of(stop))?;
        // Once for each read, not for each event: one read cannot bring much.
        seen.check_size()?;
        if seen.last.is_none() {
            let room = Failure::EXCERPT.saturating_sub(self.body.len());
            self.body.extend_from_slice(&chunk[..room.min(chunk.len())]);
        }
        let tokens = seen.tokens();
        Ok(tokens.saturating_sub(std::mem::replace(&mut self.tokens, tokens)))
    }

    /// Keeps a chunk of a body that is no stream of events, as far as is known, and finds out whether it is one.
    fn keep(&mut self, chunk: &[u8], at: Duration) -> Result<u64, Failure> {
        let caps = self.seen.caps();
        if self.body.len() + chunk.len() > caps.body {
            let what = caps.reason("bytes", caps.body as u64);
            return Err(malformed(what, Phase::FirstToken));
        }
        if self.body.is_empty() && opening(chunk) == Some(Opening::Events) {
            // As nearly all streams begin: nothing is copied.
            self.form = Form::Events;
            return self.read(chunk, at);
        }
        let start = self.body.len();
        self.body.extend_from_slice(chunk);
        if self.form == Form::Unknown {
            let Some(opening) = opening(&self.body) else { return Ok(0) };
            self.form = self.form_of(opening)?;
        }
        if self.form == Form::Events {
            let body = std::mem::take(&mut self.body);
            return self.read(&body, at);
        }
        let lines = &mut self.unusual.get_or_insert_default().lines;
        let Some((end, came)) = lines.look(&self.body, start, at) else { return Ok(0) };
        self.form = Form::Events;
        let body = std::mem::take(&mut self.body);
        Ok(self.read(&body[..end], came)? + self.read(&body[end..], at)?)
    }

    /// Returns how a body that begins so is read.
    fn form_of(&self, opening: Opening) -> Result<Form, Failure> {
        let encoding = self.unusual.as_ref().and_then(|unusual| unusual.encoding.as_deref());
        let encoded = match opening {
            Opening::Compressed(how) => Some(encoding.unwrap_or(how)),
            Opening::Other => encoding,
            Opening::Events | Opening::Json => None,
        };
        if let Some(how) = encoded {
            let what = format!("the response is encoded as {how}, which was not asked for");
            return Err(malformed(what, Phase::FirstToken));
        }
        let is_other = opening == Opening::Other && self.declared == Framing::Events;
        Ok(if opening == Opening::Events || is_other { Form::Events } else { Form::Json })
    }

    /// Ends the response, whose last byte arrived at `at`.
    ///
    /// # Errors
    /// If the body is not what the protocol says, ended before its end, or holds no output.
    pub fn finish(&mut self, at: Duration) -> Result<(), Failure> {
        if self.form == Form::Unknown && self.declared == Framing::Events {
            self.form = Form::Events;
            let body = std::mem::take(&mut self.body);
            self.read(&body, at)?;
        }
        let seen = &mut self.seen;
        if self.form == Form::Events {
            let fed = self.sse.finish(&mut |event| seen.event(event, at).map_err(Stop::Failed));
            fed.map_err(|stop| {
                let failure = seen.failure_of(stop);
                // It lacks the blank line that would have ended it.
                let is_cut = failure.kind == FailureKind::Malformed;
                let message = format!("the stream ended within an event: {}", failure.message);
                let cut = || Failure { kind: FailureKind::EarlyEnd, message, ..failure.clone() };
                if is_cut { cut() } else { failure }
            })?;
            seen.check_size()?;
        } else if !self.body.trim_ascii().is_empty() {
            seen.whole(&self.body, at)?;
        }
        let end = seen.end(self.expect, self.any);
        end.map_err(|failure| match failure.kind {
            FailureKind::NoTokens => {
                // The server's own words, whatever they are.
                let has_events = self.form == Form::Events && seen.last.is_some();
                let words = if has_events { &*seen.unread } else { &self.body };
                let words = &words[..words.len().min(Failure::EXCERPT)];
                let excerpt = String::from_utf8_lossy(words).trim().to_owned();
                Failure { excerpt: Some(excerpt).filter(|text| !text.is_empty()), ..failure }
            }
            _ => failure,
        })
    }

    /// Moves what was collected into `record`, whatever became of the response.
    pub fn store(self, record: &mut RequestRecord) {
        let mut seen = self.seen;
        // A text that cannot be read has failed the response already, or belongs to one that failed for another reason.
        let _ = seen.read_texts();
        let output = seen.output();
        let is_events = seen.decoder.is_token_each() && !seen.events.is_empty();
        let count = match output {
            Some(Ok(count)) => Some(OutputTokens { count, source: TokenSource::Server }),
            _ if is_events && self.form == Form::Events => {
                Some(OutputTokens { count: seen.events.tokens(), source: TokenSource::Events })
            }
            _ => None,
        };
        let generates = self.expect == Expect::Tokens;
        record.output_tokens = count.filter(|_| generates);
        let output = output.and_then(Result::err).filter(|_| generates);
        record.impossible = Impossible { output, ..seen.refuse_prompt_counts() }.kept();
        record.early_stops = seen.early_stops();
        record.done = seen.last;
        record.server_prompt_tokens = seen.prompt_tokens;
        record.cached = seen.cached;
        record.events = seen.events.into_columns();
        let PerCompletion { first, others } = seen.completions;
        record.text = first.into_text();
        record.other_texts = others.into_iter().map(Completion::into_text).collect();
    }

    /// Prefetches the memory that the next chunk needs, beyond what lies in here.
    pub fn prefetch_further(&self) {
        self.seen.completions.first.prefetch();
        self.seen.events.prefetch();
        self.seen.repeated.prefetch();
    }

    /// Bytes of memory that are kept of the response, if enough of it has come since this was asked last.
    pub fn grown(&mut self) -> Option<usize> {
        if self.unsummed < LOOK {
            return None;
        }
        self.unsummed = 0;
        Some(self.held())
    }

    /// Bytes of memory that are kept of the response.
    pub fn held(&self) -> usize {
        self.body.capacity() + self.sse.held() + self.seen.held()
    }

    /// Forgets all but the beginning of a response that failed, which is not to be read on.
    pub fn shorten(&mut self) {
        self.body = Vec::new();
        self.sse = sse::Reader::default();
        self.seen.shorten();
    }

    /// Number of events with output so far.
    pub fn events(&self) -> usize {
        self.seen.events.len()
    }

    /// When the last event arrived.
    pub fn last_event(&self) -> Option<Duration> {
        self.seen.last
    }

    /// Returns whether the stream has told its end in so many words.
    pub fn said_done(&self) -> bool {
        self.seen.said_done
    }

    /// The phase that the response is in.
    pub fn phase(&self) -> Phase {
        self.seen.phase()
    }
}
