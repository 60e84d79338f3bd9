//! The body of a streamed answer, which waits for each event's due time.
//!
//! It is polled by the connection that it is written to, so a stream costs no task and no channel,
//! and a client that goes away drops it, which frees its slot.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::HttpBody;
use bytes::Bytes;
use http_body::Frame;
use tokio::time::{Instant, Sleep, sleep_until};

use super::engine::{Schedule, Step, Words};
use super::slots::Slot;
use super::vocabulary::Vocabulary;
use super::wire::Writer;

/// A streamed answer; each event is one frame.
#[derive(Debug)]
pub(super) struct AnswerBody {
    answer: Answer,
    next: Option<Step>,
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
    pub(super) schedule: Schedule,
    pub(super) words: Words,
    pub(super) vocabulary: Arc<Vocabulary>,
    pub(super) writer: Writer,
}

impl Answer {
    /// Gives the answer in one piece, once its last token is due.
    pub(super) async fn whole(mut self) -> Vec<u8> {
        let (mut reasoning, mut reasoning_tokens, mut text) = (String::new(), 0, String::new());
        let mut last = None;
        for step in &mut self.schedule {
            let into = if step.reasoning { &mut reasoning } else { &mut text };
            self.words.append(&self.vocabulary, step.tokens, into);
            if step.reasoning {
                reasoning_tokens = step.produced;
            }
            last = Some(step);
        }
        let (due, produced) = last.map(|step| (step.due, step.produced)).unwrap_or_default();
        sleep_until(self.started + due).await;
        let elapsed = self.received.elapsed();
        self.writer.whole((&reasoning, reasoning_tokens), &text, produced, elapsed)
    }
}

impl AnswerBody {
    pub(super) fn new(mut answer: Answer, slot: Slot) -> Self {
        let next = answer.schedule.next();
        let due = answer.started + next.map(|step| step.due).unwrap_or_default();
        let timer = Box::pin(sleep_until(due));
        Self { answer, next, timer, ready: VecDeque::with_capacity(4), slot: Some(slot) }
    }

    /// Writes the events of `step`, and sets the timer to the step after it.
    fn advance(&mut self, step: &Step) {
        let answer = &mut self.answer;
        let mut piece = String::new();
        answer.words.append(&answer.vocabulary, step.tokens, &mut piece);
        answer.writer.step(step, &piece, answer.received.elapsed(), &mut self.ready);
        self.next = answer.schedule.next();
        if let Some(next) = self.next {
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
            let Some(step) = this.next else { return Poll::Ready(None) };
            ready!(this.timer.as_mut().poll(cx));
            this.advance(&step);
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ready.is_empty() && self.next.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::super::engine::Pace;
    use super::super::request::{Protocol, UsageEvents};
    use super::super::slots::Slots;
    use super::super::wire::{Facts, Finish};
    use super::*;

    async fn body(total: u64) -> AnswerBody {
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
            schedule: Schedule::new(&pace, 0, total, 0),
            words: Words::new(pace.seed, 0),
            vocabulary: Arc::new(Vocabulary { words, exact: true, count: Box::new(str::len) }),
            writer: Writer::new(Facts {
                protocol: Protocol::Generate,
                request: 0,
                created: 0,
                model: "m".into(),
                usage: UsageEvents::None,
                prompt_tokens: 1,
                finish: Finish::Length,
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
        let mut body = body(5).await;
        let mut dues = Vec::new();
        while let Some(frame) = frame(&mut body).await {
            dues.push((start.elapsed().as_millis(), frame.starts_with(b"data: {")));
        }
        assert_eq!(dues, [(20, true), (40, true), (50, true), (50, false)]);
        assert!(body.is_end_stream());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_does_not_delay_later_events() {
        let start = Instant::now();
        let mut body = body(6).await;
        frame(&mut body).await;
        tokio::time::advance(std::time::Duration::from_millis(30)).await;
        frame(&mut body).await;
        assert_eq!(start.elapsed().as_millis(), 50);
        frame(&mut body).await;
        assert_eq!(start.elapsed().as_millis(), 60);
    }
}
