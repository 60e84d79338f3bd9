//! What `--print-requests` tells: a line of JSON when a request is sent, and one when it ended.
//!
//! For debugging; the keys may change between releases. Events are sent over a channel, and whoever holds its other end
//! makes the lines: the stream path formats nothing.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::Serialize;

use crate::engine::outbox::Outbox;
use crate::model::{Failure, Outcome, PlannedRequest, RequestRecord};
use crate::secrets::Secrets;

/// Where events go.
pub type Log = Outbox<Event>;

/// Bytes that an event counts for while it waits: about what a long one takes.
pub const WEIGHT: u64 = 2 << 10;

/// Longest excerpt of a body or an answer, in characters.
const EXCERPT: usize = 200;

/// Something that happened to a request.
#[derive(Debug)]
pub enum Event {
    /// It was sent.
    Start {
        /// The request.
        request: PlannedRequest,
        /// Round of its conversation, from 0.
        round: usize,
        /// When.
        sent: Duration,
        /// Start of the run.
        run: SystemTime,
    },
    /// It ended.
    End(Box<Ended>),
}

/// What is told of a request that ended: its record without all that can be long.
#[derive(Debug)]
pub struct Ended {
    index: usize,
    round: usize,
    due: Duration,
    sent: Option<Duration>,
    headers: Option<Duration>,
    first_token: Option<Duration>,
    done: Option<Duration>,
    outcome: Outcome,
    server_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    text: String,
    run: SystemTime,
}

impl Event {
    /// The end of the request of `record`, in a run that began at `run`.
    pub fn end(record: &RequestRecord, run: SystemTime) -> Self {
        Self::End(Box::new(Ended {
            index: record.index,
            round: record.round,
            due: record.due,
            sent: record.sent,
            headers: record.headers,
            first_token: record.first_token(),
            done: record.done,
            outcome: record.outcome.clone(),
            server_input_tokens: record.server_prompt_tokens,
            output_tokens: record.output_tokens.map(|tokens| tokens.count),
            text: record.text.chars().take(EXCERPT).collect(),
            run,
        }))
    }

    /// The event as one line of JSON, without a line end and without `secrets` in what the server said.
    pub fn line(&self, secrets: &Secrets) -> String {
        let line = match self {
            Self::Start { request, round, sent, run } => Line {
                event: "start",
                index: request.index,
                round: *round,
                time: epoch(*run, *sent),
                due_s: request.due.as_secs_f64(),
                sent_s: Some(sent.as_secs_f64()),
                start: Some(Start {
                    input_tokens: request.prompt_len,
                    output_tokens_asked: request.output_len,
                    body_bytes: request.body.len(),
                    body: secrets.hide(&excerpt(&request.body)).into_owned(),
                }),
                end: None,
            },
            Self::End(ended) => Line {
                event: "end",
                index: ended.index,
                round: ended.round,
                time: epoch(ended.run, ended.done.unwrap_or_default()),
                due_s: ended.due.as_secs_f64(),
                sent_s: seconds(ended.sent),
                start: None,
                end: Some(end(ended, secrets)),
            },
        };
        // Numbers and strings can always be written.
        serde_json::to_string(&line).unwrap_or_default()
    }
}

fn end<'a>(ended: &'a Ended, secrets: &Secrets) -> End<'a> {
    let (outcome, failure) = match &ended.outcome {
        Outcome::Completed => ("completed", None),
        Outcome::Failed(failure) => ("failed", Some(failure)),
        Outcome::Cancelled(_) => ("cancelled", None),
        Outcome::NotSent => ("not_sent", None),
    };
    End {
        headers_s: seconds(ended.headers),
        first_token_s: seconds(ended.first_token),
        done_s: seconds(ended.done),
        outcome,
        failure: failure.map(|Failure { kind, phase, status, message, .. }| Reason {
            kind: kind.name(),
            phase: phase.name(),
            status: *status,
            message: secrets.hide(message),
        }),
        server_input_tokens: ended.server_input_tokens,
        output_tokens: ended.output_tokens,
        text: secrets.hide(&ended.text),
    }
}

/// A line of either kind.
#[derive(Serialize)]
struct Line<'a> {
    event: &'static str,
    index: usize,
    round: usize,
    /// Seconds since 1970.
    time: f64,
    due_s: f64,
    sent_s: Option<f64>,
    #[serde(flatten)]
    start: Option<Start>,
    #[serde(flatten)]
    end: Option<End<'a>>,
}

#[derive(Serialize)]
struct Start {
    input_tokens: usize,
    output_tokens_asked: usize,
    body_bytes: usize,
    body: String,
}

#[derive(Serialize)]
struct End<'a> {
    headers_s: Option<f64>,
    first_token_s: Option<f64>,
    done_s: Option<f64>,
    outcome: &'static str,
    failure: Option<Reason<'a>>,
    server_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    text: Cow<'a, str>,
}

#[derive(Serialize)]
struct Reason<'a> {
    kind: &'static str,
    phase: &'static str,
    status: Option<u16>,
    message: Cow<'a, str>,
}

fn seconds(at: Option<Duration>) -> Option<f64> {
    at.map(|at| at.as_secs_f64())
}

fn epoch(run: SystemTime, at: Duration) -> f64 {
    (run + at).duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn excerpt(body: &Bytes) -> String {
    // No character has more than four bytes.
    let start = &body[..body.len().min(4 * EXCERPT)];
    String::from_utf8_lossy(start).chars().take(EXCERPT).collect()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::model::{FailureKind, OutputTokens, Phase, TokenEvents, TokenSource};

    const RUN: Duration = Duration::from_millis(1_700_000_000_500);

    fn request(body: &str) -> PlannedRequest {
        PlannedRequest {
            index: 3,
            due: Duration::from_millis(250),
            body: Bytes::copy_from_slice(body.as_bytes()),
            prompt_len: 5,
            vision_len: 0,
            routing_key: None,
            output_len: 7,
            conversation: None,
            asked: crate::model::Asked::default(),
        }
    }

    fn start(body: &str) -> String {
        let sent = Duration::from_millis(500);
        Event::Start { request: request(body), round: 1, sent, run: UNIX_EPOCH + RUN }
            .line(&Secrets::default())
    }

    #[test]
    fn what_a_start_tells() {
        expect![[r#"{"event":"start","index":3,"round":1,"time":1700000001.0,"due_s":0.25,"sent_s":0.5,"input_tokens":5,"output_tokens_asked":7,"body_bytes":18,"body":"{\"text\":\"a\\nb ü\"}"}"#]]
        .assert_eq(&start("{\"text\":\"a\\nb ü\"}"));
    }

    #[test]
    fn what_an_end_tells() {
        let line = |record| Event::end(&record, UNIX_EPOCH + RUN).line(&Secrets::default());
        let ms = Duration::from_millis;
        let good = RequestRecord {
            sent: Some(ms(500)),
            headers: Some(ms(625)),
            done: Some(ms(1000)),
            outcome: Outcome::Completed,
            events: TokenEvents {
                at_ns: vec![750_000_000, 1_000_000_000],
                ..TokenEvents::default()
            },
            text: "one two".to_owned(),
            output_tokens: Some(OutputTokens { count: 2, source: TokenSource::Server }),
            ..RequestRecord::unsent(&request(""))
        };
        expect![[r#"{"event":"end","index":3,"round":0,"time":1700000001.5,"due_s":0.25,"sent_s":0.5,"headers_s":0.625,"first_token_s":0.75,"done_s":1.0,"outcome":"completed","failure":null,"server_input_tokens":null,"output_tokens":2,"text":"one two"}"#]].assert_eq(&line(good));
        let failure = Failure {
            kind: FailureKind::HttpStatus,
            phase: Phase::Headers,
            status: Some(503),
            message: "HTTP status 503".into(),
            excerpt: None,
        };
        let bad = RequestRecord {
            outcome: Outcome::Failed(failure),
            output_tokens: None,
            ..RequestRecord::unsent(&request(""))
        };
        expect![[r#"{"event":"end","index":3,"round":0,"time":1700000000.5,"due_s":0.25,"sent_s":null,"headers_s":null,"first_token_s":null,"done_s":null,"outcome":"failed","failure":{"kind":"http_status","phase":"headers","status":503,"message":"HTTP status 503"},"server_input_tokens":null,"output_tokens":null,"text":""}"#]].assert_eq(&line(bad));
    }

    #[test]
    fn excerpts_are_short_and_one_line() {
        for body in ["ä".repeat(1000), "\n".repeat(1000), "😀".repeat(199) + "é"] {
            let line = start(&body);
            assert!(!line.contains('\n'));
            let read: serde_json::Value = serde_json::from_str(&line).unwrap();
            let shown = read["body"].as_str().unwrap();
            assert_eq!(shown.chars().count(), EXCERPT);
            assert!(body.starts_with(shown));
        }
    }
}
