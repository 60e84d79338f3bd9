//! Whether the answers are what was asked for: their lengths, the prompts they were given to, and how they came.
//!
//! None of it is the client's doing, and each changes what the figures mean.

use std::time::Duration;

use super::Finding;
use super::cached::ServedCache;
use super::limits::LAG;
use crate::analysis::counts::Ended;
use crate::health::Health;
use crate::model::{RequestRecord, TokenSource};
use crate::workload::plan::PlannedCache;

/// Answers may miss the tokens that were asked for by this share of them in sum, in either direction.
const MISSED: f64 = 0.02;

/// The server's count of the prompts may differ from ours by this share...
const DIFFERS: f64 = 0.05;

/// ...and by so many tokens for each request, for what a server puts around a prompt...
const AROUND: f64 = 16.0;

/// ...or around messages, by its chat template.
const TEMPLATE: f64 = 100.0;

/// Answers with fewer tokens may come in one piece.
const LONG: u64 = 8;

/// Tokens of one request that follow each other faster, in the mean, did not wait for one another.
const TOGETHER: Duration = Duration::from_micros(50);

/// Streams that come in one piece are worth a note from this share of all on.
const PIECES: f64 = 0.1;

/// How long answers are to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Lengths {
    /// As long as was asked for.
    Exact,
    /// That or shorter.
    AtMost,
    /// Nobody knows: the request bodies were changed.
    #[default]
    Unknown,
}

/// What was asked of the server, as far as answers are judged by it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asked {
    /// How long answers are to be.
    pub lengths: Lengths,
    /// Whether they are to be streamed.
    pub streams: bool,
    /// Whether prompts are messages, which the server puts into a chat template.
    pub messages: bool,
    /// Whether there are images, whose tokens may be known to the server alone.
    pub images: bool,
    /// What the server's prefix cache is to have of the prompts, where that is known.
    pub cache: Option<PlannedCache>,
}

/// Tokens that were asked for and that came, over several requests.
#[derive(Debug, Clone, Copy, Default)]
struct Missed {
    /// Requests.
    requests: u64,
    /// Tokens that are missing from them, or that they have beyond what was asked for.
    tokens: u64,
}

impl Missed {
    fn add(&mut self, tokens: u64) {
        self.requests += u64::from(tokens > 0);
        self.tokens += tokens;
    }

    fn merge(&mut self, other: Self) {
        self.requests += other.requests;
        self.tokens += other.tokens;
    }
}

/// What is found out of answers, one after the other.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Answers {
    /// Answers whose length can be held against what was asked for.
    counted: u64,
    asked: u64,
    came: u64,
    shorter: Missed,
    longer: Missed,
    /// Prompts that both sides counted.
    prompts: u64,
    ours: u64,
    theirs: u64,
    /// Answers that are long enough to come in several pieces.
    long: u64,
    /// Those that came as one event.
    single: u64,
    /// Those whose events came together.
    together: u64,
    /// What of their prompts the server had cached.
    pub(super) cache: ServedCache,
}

impl Answers {
    /// Adds that of `request`.
    pub(super) fn add(&mut self, request: &Ended<'_>) {
        let Some(record) = request.completed() else { return };
        self.cache.add(request);
        if let Some(theirs) = record.server_prompt_tokens {
            self.prompts += 1;
            self.ours += request.counts.prompt as u64;
            self.theirs += theirs;
        }
        let Some(tokens) = request.counts.output else { return };
        let asked = (record.output_len * record.completions()) as u64;
        // Events may hold several tokens, and text need not encode to what it was made of.
        if asked > 0 && tokens.source != TokenSource::Retokenized {
            self.counted += 1;
            self.asked += asked;
            self.came += tokens.count;
            self.longer.add(tokens.count.saturating_sub(asked));
            if tokens.source == TokenSource::Server {
                self.shorter.add(asked.saturating_sub(tokens.count));
            }
        }
        if tokens.count >= LONG {
            self.long += 1;
            self.single += u64::from(record.events.len() == 1);
            self.together += u64::from(came_together(record, tokens.count));
        }
    }

    /// Adds that of the requests of `other`.
    pub(super) fn merge(&mut self, other: &Self) {
        self.counted += other.counted;
        self.asked += other.asked;
        self.came += other.came;
        self.shorter.merge(other.shorter);
        self.longer.merge(other.longer);
        self.prompts += other.prompts;
        self.ours += other.ours;
        self.theirs += other.theirs;
        self.long += other.long;
        self.single += other.single;
        self.together += other.together;
        self.cache.merge(&other.cache);
    }

    /// What of that a reader has to know, where this was `asked`; `health` says whether the client may be the reason.
    pub(super) fn notes(&self, asked: Asked, health: &Health) -> Vec<Finding> {
        let lengths = self.lengths(asked.lengths);
        let prompts = self.prompts(asked).filter(|_| !asked.images);
        let pieces = self.pieces(health).filter(|_| asked.streams);
        let cache = asked.cache.and_then(|planned| self.cache.note(planned));
        lengths.into_iter().chain(prompts).chain(pieces).chain(cache).collect()
    }

    fn lengths(&self, lengths: Lengths) -> Vec<Finding> {
        let Self { counted, asked, came, .. } = self;
        let note = |missed: Missed, how: &str, advice| {
            let is_much = missed.tokens as f64 > *asked as f64 * MISSED;
            is_much.then(|| Finding {
                evidence: format!(
                    "asked for {asked} output tokens, got {came}: {} of {counted} answers are {how}",
                    missed.requests
                ),
                advice,
                affects: &[],
            })
        };
        let shorter = note(
            self.shorter,
            "shorter",
            "does the server know ignore_eos, and is its context long enough?",
        );
        let longer = note(
            self.longer,
            "longer",
            "does the server know the key with the limit? --extra-request-body adds another, such as max_tokens",
        );
        let is_exact = lengths == Lengths::Exact;
        let longer = longer.filter(|_| lengths != Lengths::Unknown);
        shorter.filter(|_| is_exact).into_iter().chain(longer).collect()
    }

    fn prompts(&self, asked: Asked) -> Option<Finding> {
        let Self { prompts, ours, theirs, .. } = *self;
        let around = if asked.messages { TEMPLATE } else { AROUND } * prompts as f64;
        let share = ours as f64 * DIFFERS;
        let (more, less) = (theirs.saturating_sub(ours), ours.saturating_sub(theirs));
        (more as f64 > share + around || less as f64 > share + AROUND * prompts as f64).then(|| {
            Finding {
                evidence: format!(
                    "input tokens: {ours} by the local tokenizer, {theirs} by the server"
                ),
                advice: "is it the tokenizer of the model that is served? name that with --tokenizer",
                affects: &[],
            }
        })
    }

    fn pieces(&self, health: &Health) -> Option<Finding> {
        let Self { long, single, together, .. } = *self;
        // Events that were read late may have come one by one.
        let lag = Duration::from_nanos(health.lag().quantile_ns(0.99));
        let whole = if lag > LAG / 4 { single } else { single + together };
        (whole as f64 > long as f64 * PIECES).then(|| Finding {
            evidence: format!(
                "{whole} of {long} streams came in one piece: their TTFT is the E2E latency, and their ITL is 0"
            ),
            advice: "the server does not stream, or a proxy in between holds streams back",
            affects: &[],
        })
    }
}

/// Whether all events of the answer, of `tokens` tokens, came at once.
fn came_together(record: &RequestRecord, tokens: u64) -> bool {
    let [first, .., last] = record.events.at_ns[..] else { return false };
    let gaps = u32::try_from(tokens - 1).unwrap_or(u32::MAX);
    Duration::from_nanos(last.saturating_sub(first)) < TOGETHER * gaps
}
