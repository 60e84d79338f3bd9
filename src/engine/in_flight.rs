//! A request under way: what arrives of its response, and the record that comes of it.

use std::time::Duration;

use serde_json::{Value, json};

use super::timeouts::Waiting;
use crate::engine::system::{Charge, OWED, OWED_PER_TOKEN, OverBudget};
use crate::engine::transport::Endpoint;
use crate::engine::transport::message::{Head, Malformed, Part};
use crate::model::{Failure, FailureKind, Outcome, Phase, PlannedRequest, RequestRecord};
use crate::protocol::response::{Collector, Expect, Framing};
use crate::sys;

/// How long before a server closes an idle connection it is not used any more; a tenth of the time if that is longer,
/// and at most half of it.
const IDLE_MARGIN: Duration = Duration::from_millis(500);

/// A request and what has arrived of its response; with the rounds before it, if it is part of a conversation.
///
/// There is one for each stream of the load, so it holds what a request needs while it is under way, and no more:
/// its record is made when its round ends.
#[derive(Debug)]
pub(super) struct InFlight {
    /// What is sent.
    pub(super) request: PlannedRequest,
    response: Response,
    /// The memory of all that is kept of it.
    charge: Charge,
    /// Round of its conversation, from 0.
    pub(super) round: usize,
    /// Index of the server that it is sent to.
    pub(super) endpoint: usize,
    /// Number of this attempt, from 1.
    pub(super) attempts: u32,
    /// Whether the connection can be used again after the response.
    keep_alive: bool,
    /// How long the server keeps the connection open without a request, if it says so.
    idle: Option<Duration>,
    /// When its round could be sent.
    released: Duration,
    /// When its round was taken up, at the first attempt.
    taken_up: Duration,
    /// When the client took it up, for this attempt.
    pub(super) begun: Duration,
    /// When it was handed to an open connection.
    pub(super) sent: Option<Duration>,
    /// How long it waited for its connection to be opened.
    pub(super) connect: Option<Duration>,
    /// When the response head arrived.
    pub(super) headers: Option<Duration>,
    /// The attempts and rounds before; most requests have none.
    history: Option<Box<History>>,
}

/// The attempts of a round and the rounds of a conversation that came before.
#[derive(Debug, Default)]
struct History {
    /// When this attempt was sent first, if a kept connection lost it.
    lost: Option<Duration>,
    /// When the first attempt was sent, if there were several.
    first_sent: Option<Duration>,
    /// The time that kept connections lost, over all attempts.
    resent: Option<Duration>,
    /// When the server wants to be asked again, in its own form.
    retry_after: Option<String>,
    /// The messages of the conversation so far.
    said: Vec<Value>,
    /// The records of the rounds before.
    earlier: Vec<RequestRecord>,
    /// The memory of these records, in bytes.
    settled: usize,
}

/// Of an answer that is kept by more bytes than this the end is read only if there is memory for a copy.
const LARGE: usize = 1 << 20;

#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is what nearly all requests become, and lies on the path of each read"
)]
enum Response {
    /// No head yet.
    Awaited,
    /// Status 200.
    Good(Collector),
    /// Another status: the failure, and the beginning of the body.
    Refused(Failure, Vec<u8>),
}

/// How a response has come along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// More is to come.
    Open,
    /// It has ended.
    Ended,
}

impl From<Malformed> for Failure {
    /// The phase is set by who knows it.
    fn from(malformed: Malformed) -> Self {
        let kind = FailureKind::Malformed;
        let message = malformed.to_string();
        Self { kind, phase: Phase::Headers, status: None, message, excerpt: None }
    }
}

impl InFlight {
    /// The first round of `request`, which could have been sent since `released` and was taken up at `begun`.
    pub(super) fn new(
        request: PlannedRequest,
        endpoint: usize,
        released: Duration,
        begun: Duration,
        charge: Charge,
    ) -> Self {
        let history = request.conversation.as_ref().map(|conversation| {
            let said = conversation.rounds.first().cloned().unwrap_or_default();
            Box::new(History { said, ..History::default() })
        });
        Self {
            request,
            response: Response::Awaited,
            charge,
            round: 0,
            endpoint,
            attempts: 1,
            keep_alive: false,
            idle: None,
            released,
            taken_up: begun,
            begun,
            sent: None,
            connect: None,
            headers: None,
            history,
        }
    }

    /// Number of events with output so far.
    pub(super) fn events(&self) -> usize {
        match &self.response {
            Response::Good(collector) => collector.events(),
            _ => 0,
        }
    }

    /// Prefetches what a read needs of it.
    pub(super) fn prefetch(&self) {
        sys::prefetch(&self.response);
    }

    /// Prefetches what that leads to.
    pub(super) fn prefetch_further(&self) {
        if let Response::Good(collector) = &self.response {
            collector.prefetch_further();
        }
    }

    /// Returns whether the answer is whole, though its body may not have ended.
    pub(super) fn is_whole(&self) -> bool {
        matches!(&self.response, Response::Good(collector) if collector.said_done())
    }

    /// Ends a whole answer at `now`, whose body has not ended.
    ///
    /// # Errors
    /// If the answer is none.
    pub(super) fn finish(&mut self, now: Duration) -> Result<(), Failure> {
        match &mut self.response {
            Response::Good(collector) => collector.finish(now),
            _ => Ok(()),
        }
    }

    /// Returns whether the connection can be used again.
    pub(super) fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// Returns how long the connection can be used again, if the server has named a time.
    pub(super) fn usable_for(&self) -> Option<Duration> {
        let idle = self.idle?;
        // A request that is on its way when the server closes is lost.
        Some(idle.saturating_sub((idle / 10).max(IDLE_MARGIN).min(idle / 2)))
    }

    /// Takes a part of the response that arrived at `at`, and returns the number of new output tokens.
    ///
    /// # Errors
    /// If the request has failed.
    pub(super) fn part(
        &mut self,
        part: Part<'_>,
        at: Duration,
        endpoint: &Endpoint,
    ) -> Result<(u64, Step), Failure> {
        match (part, &mut self.response) {
            (Part::Head(head), _) => {
                self.headers = Some(at);
                self.head(&head, endpoint);
                Ok((0, Step::Open))
            }
            (Part::Body(bytes), Response::Good(collector)) => {
                let tokens = collector.chunk(bytes, at)?;
                if let Some(held) = collector.grown() {
                    let (asked, settled) =
                        (self.request.output_len, settled(self.history.as_deref()));
                    afford(&mut self.charge, settled, held, asked, collector)?;
                }
                Ok((tokens, Step::Open))
            }
            (Part::Body(bytes), Response::Refused(failure, body)) => {
                let room = Failure::EXCERPT.saturating_sub(body.len());
                body.extend_from_slice(&bytes[..room.min(bytes.len())]);
                // Enough was seen; what follows may have no end.
                if room <= bytes.len() { Err(refused(failure, body)) } else { Ok((0, Step::Open)) }
            }
            (Part::End, Response::Good(collector)) => {
                if collector.held() > LARGE {
                    let (asked, held) = (self.request.output_len, collector.held() * 2);
                    let settled = settled(self.history.as_deref());
                    afford(&mut self.charge, settled, held, asked, collector)?;
                }
                collector.finish(at)?;
                Ok((0, Step::Ended))
            }
            (Part::End, Response::Refused(failure, body)) => Err(refused(failure, body)),
            (_, Response::Awaited) => Ok((0, Step::Open)),
        }
    }

    fn head(&mut self, head: &Head, endpoint: &Endpoint) {
        self.keep_alive = head.keep_alive;
        self.idle = head.idle;
        if head.status != 200 {
            if head.retry_after.is_some() {
                self.history.get_or_insert_default().retry_after.clone_from(&head.retry_after);
            }
            let message = format!("HTTP status {} {}", head.status, head.reason);
            let failure = Failure {
                status: Some(head.status),
                ..Failure::new(FailureKind::HttpStatus, Phase::Headers, message.trim_end())
            };
            self.response = Response::Refused(failure, Vec::new());
            return;
        }
        let framing = Framing::of(head.content_type.as_deref(), endpoint.streams);
        let expect = if endpoint.protocol.generates() { Expect::Tokens } else { Expect::NoTokens };
        let collector = Collector::new(endpoint.protocol.decoder(), framing, expect)
            .encoded(head.encoding.as_deref())
            .answering(self.request.asked, self.request.body.len())
            .foreseeing(self.request.output_len);
        self.response = Response::Good(collector);
    }

    /// The connection broke, through TLS or otherwise, or was closed before the end: what that means for the request.
    ///
    /// # Errors
    /// The failure, unless all that the protocol sends was there.
    pub(super) fn broken(&mut self, why: &str, tls: bool, at: Duration) -> Result<(), Failure> {
        match &mut self.response {
            // Only HTTP's own end is missing.
            Response::Good(collector) if collector.said_done() => collector.finish(at),
            Response::Good(collector) => Err(Failure {
                kind: if tls { FailureKind::Tls } else { FailureKind::EarlyEnd },
                phase: collector.phase(),
                status: Some(200),
                message: why.to_owned(),
                excerpt: None,
            }),
            Response::Refused(failure, body) => Err(refused(failure, body)),
            // A server may look at the client's certificate when the client is done with the handshake already.
            Response::Awaited if tls => Err(Failure {
                kind: FailureKind::Tls,
                phase: Phase::Connect,
                status: None,
                message: why.to_owned(),
                excerpt: None,
            }),
            Response::Awaited => Err(Failure {
                kind: FailureKind::Transport,
                phase: Phase::Headers,
                status: None,
                message: why.to_owned(),
                excerpt: None,
            }),
        }
    }

    /// Where the request is, for failures that do not know it.
    pub(super) fn locate(&self, mut failure: Failure) -> Failure {
        if failure.status.is_some() {
            return failure;
        }
        failure.phase = self.phase();
        failure.status = matches!(self.response, Response::Good(_)).then_some(200);
        failure
    }

    fn phase(&self) -> Phase {
        match &self.response {
            Response::Good(collector) => collector.phase(),
            _ if self.sent.is_some() => Phase::Headers,
            _ => Phase::Connect,
        }
    }

    /// Returns how far it has come, as far as time limits care.
    pub(super) fn waiting(&self) -> Waiting {
        let event = match &self.response {
            Response::Good(collector) => collector.last_event(),
            _ => None,
        };
        Waiting {
            taken_up: self.taken_up,
            begun: self.begun,
            sent: self.sent,
            event,
            output: self.events() > 0,
        }
    }

    /// Makes the record of this round, which ended at `now` at the latest.
    pub(super) fn settle(&mut self, result: Result<(), Failure>, now: Duration) -> RequestRecord {
        let history = self.history.as_deref();
        let mut record = RequestRecord {
            round: self.round,
            endpoint: self.endpoint,
            released: self.released,
            sent: Some(self.sent.unwrap_or(self.begun)),
            attempts: self.attempts,
            first_sent: history.and_then(|history| history.first_sent),
            resent: history.and_then(|history| history.resent),
            connect: self.connect,
            headers: self.headers,
            ..RequestRecord::unsent(&self.request)
        };
        if let Response::Good(collector) = std::mem::replace(&mut self.response, Response::Awaited)
        {
            collector.store(&mut record);
        }
        record.outcome = match result {
            Ok(()) => Outcome::Completed,
            Err(failure) => {
                record.output_tokens = None;
                // It lasted until it was known to have failed, which may be long after the last event.
                record.done = Some(now);
                Outcome::Failed(failure)
            }
        };
        record.done.get_or_insert(now);
        self.charge.settle((settled(history) + record.heap()) as u64);
        record
    }

    /// When its round was taken up, at the first attempt.
    pub(super) fn taken_up(&self) -> Duration {
        self.taken_up
    }

    /// When the server wants to be asked again, in its own form.
    pub(super) fn retry_after(&self) -> Option<&str> {
        self.history.as_ref()?.retry_after.as_deref()
    }

    /// Prepares another attempt.
    pub(super) fn again(&mut self) {
        let history = self.history.get_or_insert_default();
        let first = history.lost.take().or(self.sent).unwrap_or(self.begun);
        history.first_sent.get_or_insert(first);
        history.retry_after = None;
        self.attempts += 1;
        (self.sent, self.connect, self.headers) = (None, None, None);
        self.response = Response::Awaited;
        self.keep_alive = false;
    }

    /// Prepares another send, at `now`, since a kept connection lost the request before any answer.
    pub(super) fn resend(&mut self, now: Duration) {
        let sent = self.sent.take().unwrap_or(self.begun);
        let history = self.history.get_or_insert_default();
        let cost = now.saturating_sub(sent);
        history.resent = Some(history.resent.unwrap_or_default() + cost);
        history.lost = Some(sent);
        self.begun = now;
    }

    /// Returns whether this attempt was lost by a kept connection, and is sent once more.
    pub(super) fn is_resent(&self) -> bool {
        self.history.as_ref().is_some_and(|history| history.lost.is_some())
    }

    /// Makes the record of a round that is given up at `now`.
    pub(super) fn cancel(&mut self, now: Duration) -> RequestRecord {
        let phase = self.phase();
        let mut record = self.settle(Ok(()), now);
        record.output_tokens = None;
        // What came until then is no end.
        record.done = Some(now);
        record.outcome = Outcome::Cancelled(phase);
        record
    }

    /// Goes on to the next round, whose body is made from the answers so far; `record` is that of the round that ended.
    /// Returns it if that was the last round.
    ///
    /// A round that failed does not end the conversation: the next one follows an empty answer.
    pub(super) fn next_round(
        &mut self,
        record: RequestRecord,
        now: Duration,
    ) -> Option<RequestRecord> {
        let round = self.round + 1;
        let conversation = self.request.conversation.clone();
        let next = conversation
            .as_deref()
            .and_then(|conversation| Some((conversation, conversation.rounds.get(round)?)));
        let Some((conversation, messages)) = next else { return Some(record) };
        let history = self.history.get_or_insert_default();
        let answer = if record.completed() { record.text.as_str() } else { "" };
        history.said.push(json!({"role": "assistant", "content": answer}));
        history.said.extend(messages.iter().cloned());
        self.request.due = record.done.unwrap_or(self.request.due);
        self.request.body = (conversation.encode)(history.said.clone());
        history.settled += record.heap();
        history.earlier.push(record);
        (history.lost, history.first_sent, history.resent) = (None, None, None);
        history.retry_after = None;
        (self.round, self.released, self.attempts) = (round, self.request.due, 1);
        (self.begun, self.taken_up) = (now, now);
        (self.sent, self.connect, self.headers) = (None, None, None);
        self.keep_alive = false;
        None
    }

    /// The records of the rounds before the last one, and the memory of all of its rounds.
    pub(super) fn into_earlier(self) -> (Vec<RequestRecord>, Charge) {
        (self.history.map_or_else(Vec::new, |history| history.earlier), self.charge)
    }
}

/// The memory of the rounds that have ended, in bytes.
#[inline]
fn settled(history: Option<&History>) -> usize {
    history.map_or(0, |history| history.settled)
}

/// Takes memory for `held` bytes of an answer to a request for `asked` tokens, beside what rounds before it keep.
///
/// # Errors
/// If there is none left for an answer of that length, of which the beginning alone is kept then.
#[inline]
fn afford(
    charge: &mut Charge,
    settled: usize,
    held: usize,
    asked: usize,
    collector: &mut Collector,
) -> Result<(), Failure> {
    let owed = OWED.saturating_add(OWED_PER_TOKEN.saturating_mul(asked as u64));
    let covered = charge.cover(settled + held, owed.saturating_add(settled as u64));
    covered.map_err(|OverBudget(most)| {
        let failure = Failure {
            kind: FailureKind::Memory,
            phase: collector.phase(),
            status: Some(200),
            message: format!(
                "the answers of the run have spent their memory, {} MiB, and this one is longer than asked for",
                most >> 20
            ),
            excerpt: None,
        };
        collector.shorten();
        failure
    })
}

/// The failure of a response whose status is not 200, with the beginning of its body.
fn refused(failure: &Failure, body: &[u8]) -> Failure {
    let excerpt = String::from_utf8_lossy(body).trim().to_owned();
    Failure { excerpt: Some(excerpt).filter(|text| !text.is_empty()), ..failure.clone() }
}

#[cfg(test)]
pub(in crate::engine) mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::engine::system::Budget;
    use crate::model::Asked;

    /// The request at `index`, which was taken up and sent at `at`.
    pub(in crate::engine) fn in_flight(index: usize, at: Duration) -> Box<InFlight> {
        let request = PlannedRequest {
            index,
            due: at,
            body: Bytes::new(),
            prompt_len: 0,
            vision_len: 0,
            routing_key: None,
            output_len: 1,
            asked: Asked::default(),
            conversation: None,
        };
        let mut in_flight = InFlight::new(request, 0, at, at, Charge::new(&Budget::endless()));
        in_flight.sent = Some(at);
        Box::new(in_flight)
    }

    #[test]
    fn a_stream_takes_little_memory() {
        // Eight thousand of them are open at once.
        assert!(size_of::<InFlight>() <= 848, "{}", size_of::<InFlight>());
    }
}
