//! Live counters of a run, and the ticks that carry what they say.
//!
//! The stream path adds to counters, and no more.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::Stop;
use super::transport::Clock;
use crate::model::RequestRecord;

/// What has happened so far.
#[derive(Debug)]
pub struct Progress {
    done: AtomicU64,
    in_flight: AtomicU64,
    /// Most of them at one instant.
    most_in_flight: AtomicU64,
    failed: AtomicU64,
    tokens: AtomicU64,
    /// TTFT of completed requests in µs.
    ttft: Option<Mutex<Histogram<u64>>>,
}

impl Progress {
    /// Counters at zero.
    pub fn new() -> Arc<Self> {
        // One hour at three digits; longer ones count as one hour.
        let ttft = Histogram::new_with_max(3_600_000_000, 3).ok();
        Arc::new(Self {
            done: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            most_in_flight: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            tokens: AtomicU64::new(0),
            ttft: ttft.map(Mutex::new),
        })
    }

    /// A request was sent.
    pub fn sent(&self) {
        let in_flight = self.in_flight.fetch_add(1, Relaxed) + 1;
        self.most_in_flight.fetch_max(in_flight, Relaxed);
    }

    /// Output tokens arrived.
    pub fn tokens(&self, n: u64) {
        self.tokens.fetch_add(n, Relaxed);
    }

    /// A request ended.
    pub fn ended(&self, record: &RequestRecord) {
        if record.completed() {
            if let (Some(ttft), Some(Ok(mut histogram))) =
                (record.ttft(), self.ttft.as_ref().map(Mutex::lock))
            {
                histogram.saturating_record(u64::try_from(ttft.as_micros()).unwrap_or(u64::MAX));
            }
        } else {
            self.failed.fetch_add(1, Relaxed);
        }
        self.done.fetch_add(1, Relaxed);
        self.in_flight.fetch_sub(1, Relaxed);
    }

    /// Most requests at one instant that had been taken up and whose end had not been read.
    pub fn most_in_flight(&self) -> u64 {
        self.most_in_flight.load(Relaxed)
    }

    /// What has happened until `elapsed` after the start.
    pub(super) fn snapshot(&self, elapsed: Duration, ending: Option<String>) -> Snapshot {
        let mut ttft = None;
        if let Some(Ok(histogram)) = self.ttft.as_ref().map(Mutex::lock)
            && !histogram.is_empty()
        {
            let at = |q| Duration::from_micros(histogram.value_at_quantile(q));
            ttft = Some(Ttft { median: at(0.5), p99: at(0.99) });
        }
        Snapshot {
            elapsed,
            done: self.done.load(Relaxed),
            failed: self.failed.load(Relaxed),
            in_flight: self.in_flight.load(Relaxed),
            tokens: self.tokens.load(Relaxed),
            ttft,
            ending,
        }
    }
}

/// What had happened at some instant of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// From the start of the load.
    pub elapsed: Duration,
    /// Rounds of requests that had ended.
    pub done: u64,
    /// Those of them that did not complete.
    pub failed: u64,
    /// Requests in flight.
    pub in_flight: u64,
    /// Output tokens.
    pub tokens: u64,
    /// Time to first token of the requests that had completed, if any had.
    pub ttft: Option<Ttft>,
    /// Why nothing more is sent, if the run is being ended before its plan is done.
    pub ending: Option<String>,
}

/// Percentiles of the time to first token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ttft {
    /// Half of the requests had theirs within this.
    pub median: Duration,
    /// 99 % had.
    pub p99: Duration,
}

/// How often ticks are made.
const TICK: Duration = Duration::from_millis(100);

/// Makes ticks on a thread of its own until dropped.
#[derive(Debug)]
pub(super) struct Ticker {
    /// Dropped to end it.
    end: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    /// Hands what `progress` says to `tick`, now and every 100 ms, with the time since the start of `clock`.
    pub(super) fn start(
        progress: Arc<Progress>,
        stop: Arc<Stop>,
        clock: Clock,
        tick: impl Fn(&Snapshot) + Send + 'static,
    ) -> Self {
        let (end, ended) = mpsc::channel::<()>();
        let run = move || {
            loop {
                let ending = if stop.is_draining() { stop.why() } else { None };
                tick(&progress.snapshot(clock.now(), ending));
                if ended.recv_timeout(TICK) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        // Without a thread there are no ticks, and the load goes on.
        let thread = std::thread::Builder::new().name("rbench-ticks".into()).spawn(run).ok();
        Self { end: Some(end), thread }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.end = None;
        // A thread that panicked makes no more ticks either.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::in_flight::tests::in_flight;
    use crate::model::{Failure, FailureKind, Phase};

    #[test]
    fn ticks_carry_what_has_happened() {
        let ms = Duration::from_millis;
        let progress = Progress::new();
        (0..3).for_each(|_| progress.sent());
        progress.tokens(7);
        let mut good = in_flight(0, ms(10)).settle(Ok(()), ms(90));
        good.events.push(0, 40_000_000, 1);
        progress.ended(&good);
        let failure = Failure::new(FailureKind::Transport, Phase::Stream, "cut");
        progress.ended(&in_flight(1, ms(10)).settle(Err(failure), ms(50)));
        let stop = Stop::new();
        stop.drain("enough");
        let (here, ticks) = mpsc::channel();
        let tick = move |snapshot: &Snapshot| here.send(snapshot.clone()).unwrap();
        let ticker = Ticker::start(progress, stop, Clock::start(), tick);
        let Snapshot { done, failed, in_flight, tokens, ttft, ending, .. } = ticks.recv().unwrap();
        assert_eq!((done, failed, in_flight, tokens), (2, 1, 1, 7));
        let Ttft { median, p99 } = ttft.unwrap();
        assert_eq!((median.as_millis(), p99.as_millis()), (30, 30));
        assert_eq!(ending.as_deref(), Some("enough"));
        let second = ticks.recv().unwrap();
        assert!(second.elapsed >= TICK, "{second:?}");
        drop(ticker);
        // What comes after its end has nobody to send it.
        while ticks.recv().is_ok() {}
    }
}
