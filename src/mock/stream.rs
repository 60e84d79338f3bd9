//! The body of a streamed answer, which waits for each event's due time.
//!
//! It is polled by the connection that it is written to, so a stream costs no task and no channel,
//! and a client that goes away drops it, which frees its slot.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::HttpBody;
use bytes::Bytes;
use http_body::Frame;
use tokio::time::{Instant, Sleep, sleep_until};

use super::engine::{Pace, Schedule, Step, Words};
use super::slots::Slot;
use super::vocabulary::Vocabulary;
use super::wire::{Whole, Writer};

/// A streamed answer; each event is one frame.
#[derive(Debug)]
pub(super) struct AnswerBody {
    answer: Answer,
    /// The completion that has the next event.
    next: Option<usize>,
    timer: Pin<Box<Sleep>>,
    ready: VecDeque<Bytes>,
    slot: Option<Slot>,
}

/// An answer that is being given.
#[derive(Debug)]
pub(super) struct Answer {
    /// When the request came in.
    pub(super) received: Instant,
    /// When it took its slot, from which due times count.
    pub(super) started: Instant,
    pub(super) completions: Vec<Completion>,
    pub(super) vocabulary: Arc<Vocabulary>,
    pub(super) writer: Writer,
}

/// A completion that is being made.
#[derive(Debug)]
pub(super) struct Completion {
    schedule: Schedule,
    words: Words,
    next: Option<Step>,
}

impl Completion {
    /// A completion of `total` tokens, the first `reasoning` being reasoning, with draws of its own.
    pub(super) fn new(pace: &Pace, draws: u64, total: u64, reasoning: u64) -> Self {
        let mut schedule = Schedule::new(pace, draws, total, reasoning);
        let next = schedule.next();
        Self { schedule, words: Words::new(pace.seed, draws), next }
    }

    /// Takes the next event and its text.
    fn take(&mut self, vocabulary: &Vocabulary, into: &mut String) -> Option<Step> {
        let step = std::mem::replace(&mut self.next, self.schedule.next())?;
        self.words.append(vocabulary, step.tokens, into);
        Some(step)
    }
}

impl Answer {
    /// Gives the answer in one piece, once its last token is due.
    pub(super) async fn whole(mut self) -> Vec<u8> {
        let mut due = Duration::ZERO;
        let mut wholes = Vec::with_capacity(self.completions.len());
        for completion in &mut self.completions {
            let mut whole = Whole::default();
            while let Some(next) = completion.next {
                let into = if next.reasoning { &mut whole.reasoning } else { &mut whole.text };
                completion.take(&self.vocabulary, into);
                if next.reasoning {
                    whole.reasoning_tokens = next.produced;
                }
                whole.produced = next.produced;
                due = due.max(next.due);
            }
            wholes.push(whole);
        }
        sleep_until(self.started + due).await;
        self.writer.whole(&wholes, self.received.elapsed())
    }

    /// The completion whose next event is due first, the first of several.
    fn soonest(&self) -> Option<(usize, Step)> {
        let steps = self.completions.iter().map(|completion| completion.next);
        steps.enumerate().filter_map(|(i, step)| Some((i, step?))).min_by_key(|(_, step)| step.due)
    }
}

impl AnswerBody {
    pub(super) fn new(answer: Answer, slot: Slot) -> Self {
        let soonest = answer.soonest();
        let due = answer.started + soonest.map(|(_, step)| step.due).unwrap_or_default();
        let timer = Box::pin(sleep_until(due));
        let next = soonest.map(|(i, _)| i);
        Self { answer, next, timer, ready: VecDeque::with_capacity(4), slot: Some(slot) }
    }

    /// Writes the events of the next step of completion `i`, and sets the timer to the step after it.
    fn advance(&mut self, i: usize) {
        let answer = &mut self.answer;
        let mut piece = String::new();
        if let Some(step) = answer.completions[i].take(&answer.vocabulary, &mut piece) {
            let elapsed = answer.received.elapsed();
            answer.writer.step(i, &step, &piece, elapsed, &mut self.ready);
        }
        let soonest = answer.soonest();
        self.next = soonest.map(|(i, _)| i);
        if let Some((_, next)) = soonest {
            self.timer.as_mut().reset(answer.started + next.due);
        } else if let Some(slot) = self.slot.take() {
            slot.finish();
        }
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        loop {
            if let Some(event) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(event))));
            }
            let Some(i) = this.next else { return Poll::Ready(None) };
            ready!(this.timer.as_mut().poll(cx));
            this.advance(i);
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ready.is_empty() && self.next.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::super::engine::draws_of;
    use super::super::request::{Protocol, UsageEvents};
    use super::super::slots::Slots;
    use super::super::wire::{Facts, Finish};
    use super::*;

    async fn body(totals: &[u64]) -> AnswerBody {
        let pace = Pace {
            ttft: "20ms".parse().unwrap(),
            itl: "10ms".parse().unwrap(),
            tokens_per_event: 2,
            seed: 42,
        };
        let words = vec![" a".to_owned()];
        let now = Instant::now();
        let answer = Answer {
            received: now,
            started: now,
            completions: totals
                .iter()
                .zip(0..)
                .map(|(&total, i)| Completion::new(&pace, draws_of(0, i), total, 0))
                .collect(),
            vocabulary: Arc::new(Vocabulary { words, exact: true, count: Box::new(str::len) }),
            writer: Writer::new(Facts {
                protocol: Protocol::Generate,
                request: 0,
                created: 0,
                model: "m".into(),
                usage: UsageEvents::None,
                prompt_tokens: vec![1],
                finish: Finish::Length,
                completions: totals.len(),
            }),
        };
        AnswerBody::new(answer, Slots::new(1).take().await)
    }

    async fn frame(body: &mut AnswerBody) -> Option<Bytes> {
        poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await.map(|frame| {
            let Ok(frame) = frame;
            frame.into_data().unwrap()
        })
    }

    #[tokio::test(start_paused = true)]
    async fn each_event_is_a_frame_at_its_due_time() {
        let start = Instant::now();
        let mut body = body(&[5]).await;
        let mut dues = Vec::new();
        while let Some(frame) = frame(&mut body).await {
            dues.push((start.elapsed().as_millis(), frame.starts_with(b"data: {")));
        }
        assert_eq!(dues, [(20, true), (40, true), (50, true), (50, false)]);
        assert!(body.is_end_stream());
    }

    #[tokio::test(start_paused = true)]
    async fn completions_take_turns_as_they_are_due() {
        let mut body = body(&[3, 6]).await;
        let mut events = Vec::new();
        while let Some(frame) = frame(&mut body).await {
            let text = String::from_utf8(frame.to_vec()).unwrap();
            let event = text.trim().strip_prefix("data: ").unwrap().to_owned();
            events.push(serde_json::from_str(&event).unwrap_or(serde_json::Value::Null));
        }
        let told: Vec<_> = events
            .iter()
            .map(|event| {
                (event["index"].as_u64(), event["meta_info"]["completion_tokens"].as_u64())
            })
            .collect();
        let of = |index, tokens| (Some(index), Some(tokens));
        // The last event of the first completion has one token and is due 10 ms before that of the other.
        let want = [of(0, 2), of(1, 2), of(0, 3), of(1, 4), of(1, 6), (None, None)];
        assert_eq!(told, want);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_does_not_delay_later_events() {
        let start = Instant::now();
        let mut body = body(&[6]).await;
        frame(&mut body).await;
        tokio::time::advance(std::time::Duration::from_millis(30)).await;
        frame(&mut body).await;
        assert_eq!(start.elapsed().as_millis(), 50);
        frame(&mut body).await;
        assert_eq!(start.elapsed().as_millis(), 60);
    }
}
