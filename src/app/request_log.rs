//! `--print-requests`: a line of JSON when a request is sent, and one when it ended.
//!
//! For debugging; the keys may change between releases.

use std::borrow::Cow;
use std::io;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::Serialize;

use super::reporter::{self, Reporter};
use crate::engine::event::{EXCERPT, Ends, RunEvent, Subscribers, Wants};
use crate::model::{Failure, Outcome, PlannedRequest, RequestRecord};
use crate::output::terminal::Ui;
use crate::secrets::Secrets;

/// Bytes of events that wait at most.
const BACKLOG: u64 = 32 << 20;

/// Makes the lines.
struct Lines {
    /// When the load began.
    run: SystemTime,
    /// What no line has.
    secrets: Secrets,
}

impl Lines {
    /// The line of `event`, without a line end and without secrets in what the server said; `None` if it has none.
    fn line(&self, event: &RunEvent) -> Option<String> {
        let line = match event {
            RunEvent::Sent { request, round, at } => self.start(request, *round, *at),
            RunEvent::Ended { record, .. } => Line {
                event: "end",
                index: record.index,
                round: record.round,
                time: epoch(self.run, record.done.unwrap_or_default()),
                due_s: record.due.as_secs_f64(),
                sent_s: seconds(record.sent),
                start: None,
                end: Some(end(record, &self.secrets)),
            },
            RunEvent::Started(_) | RunEvent::Tick(_) | RunEvent::Finished => return None,
        };
        // Numbers and strings can always be written.
        serde_json::to_string(&line).ok()
    }

    fn start(&self, request: &PlannedRequest, round: usize, sent: Duration) -> Line<'static> {
        Line {
            event: "start",
            index: request.index,
            round,
            time: epoch(self.run, sent),
            due_s: request.due.as_secs_f64(),
            sent_s: Some(sent.as_secs_f64()),
            start: Some(Start {
                input_tokens: request.prompt_len,
                output_tokens_asked: request.output_len,
                body_bytes: request.body.len(),
                body: self.secrets.hide(&excerpt(&request.body)).into_owned(),
            }),
            end: None,
        }
    }
}

/// Writes the lines to stderr.
struct Writer {
    lines: Lines,
    ui: Ui,
}

impl Reporter for Writer {
    type Found = ();
    const THREAD: &'static str = "rbench-log";
    const WANTS: Wants = Wants { sends: true, ends: Some(Ends::Brief), ticks: false };

    fn hear(&mut self, event: RunEvent) {
        if let RunEvent::Started(wall) = event {
            self.lines.run = wall;
        }
        if let Some(line) = self.lines.line(&event) {
            self.ui.report(&line);
        }
    }

    fn end(self, left_out: u64) {
        if left_out > 0 {
            self.ui.warn(&format!(
                "--print-requests: {left_out} lines were left out, since stderr was read more slowly than they came"
            ));
        }
    }
}

/// A log that was started; dropping it waits until everything is written, so all subscriptions are to be ended before.
#[derive(Debug)]
pub(super) struct RequestLog {
    thread: Option<JoinHandle<()>>,
}

impl RequestLog {
    /// Starts it; it writes no `secrets`.
    ///
    /// # Errors
    /// If no thread can be made.
    pub(super) fn start(
        ui: Ui,
        secrets: Secrets,
        subscribers: &mut Subscribers,
    ) -> io::Result<Self> {
        let writer = Writer { lines: Lines { run: UNIX_EPOCH, secrets }, ui };
        let thread = reporter::start(writer, BACKLOG, subscribers)?;
        Ok(Self { thread: Some(thread) })
    }
}

impl Drop for RequestLog {
    fn drop(&mut self) {
        // A thread that panicked has nothing left to write.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn end<'a>(record: &'a RequestRecord, secrets: &Secrets) -> End<'a> {
    let (outcome, failure) = match &record.outcome {
        Outcome::Completed => ("completed", None),
        Outcome::Failed(failure) => ("failed", Some(failure)),
        Outcome::Cancelled(_) => ("cancelled", None),
        Outcome::NotSent => ("not_sent", None),
    };
    End {
        headers_s: seconds(record.headers),
        first_token_s: seconds(record.first_token()),
        done_s: seconds(record.done),
        outcome,
        failure: failure.map(|Failure { kind, phase, status, message, .. }| Reason {
            kind: kind.name(),
            phase: phase.name(),
            status: *status,
            message: secrets.hide(message),
        }),
        server_input_tokens: record.server_prompt_tokens,
        output_tokens: record.output_tokens.map(|tokens| tokens.count),
        text: secrets.hide(&record.text),
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

    /// The line of `event`.
    fn line(event: &RunEvent) -> String {
        Lines { run: UNIX_EPOCH + RUN, secrets: Secrets::default() }.line(event).unwrap()
    }

    fn start(body: &str) -> String {
        line(&RunEvent::Sent { request: request(body), round: 1, at: Duration::from_millis(500) })
    }

    #[test]
    fn what_a_start_tells() {
        expect![[r#"{"event":"start","index":3,"round":1,"time":1700000001.0,"due_s":0.25,"sent_s":0.5,"input_tokens":5,"output_tokens_asked":7,"body_bytes":18,"body":"{\"text\":\"a\\nb ü\"}"}"#]]
        .assert_eq(&start("{\"text\":\"a\\nb ü\"}"));
    }

    #[test]
    fn what_an_end_tells() {
        let line = |record: RequestRecord| {
            line(&RunEvent::Ended { record: record.brief(EXCERPT), charge: None })
        };
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
