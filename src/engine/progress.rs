//! Live counters of a run, and the line on the terminal that shows them.
//!
//! The stream path adds to counters; a thread of its own draws.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

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

    fn message(&self, elapsed: Duration) -> String {
        let seconds = elapsed.as_secs_f64().max(1e-3);
        let (done, failed) = (self.done.load(Relaxed), self.failed.load(Relaxed));
        let in_flight = self.in_flight.load(Relaxed);
        let mut text = format!(
            ", {failed} failed, {:.1} req/s, {:.0} tok/s",
            done as f64 / seconds,
            self.tokens.load(Relaxed) as f64 / seconds,
        );
        if let Some(Ok(ttft)) = self.ttft.as_ref().map(Mutex::lock)
            && !ttft.is_empty()
        {
            let ms = |q| ttft.value_at_quantile(q) as f64 / 1e3;
            text += &format!(", TTFT p50 {:.0} p99 {:.0} ms", ms(0.5), ms(0.99));
        }
        text += &format!(", {in_flight} in flight");
        text
    }
}

/// Where a run goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Towards {
    /// So many requests.
    Requests(usize),
    /// The end of this time.
    Time(Duration),
}

/// The line on the terminal; gone when dropped.
#[derive(Debug)]
pub struct Bar {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// Ends when the line is gone.
    gone: mpsc::Receiver<()>,
}

/// How long the line may take to go: a terminal that was stopped with Ctrl-S takes nothing, and the results do not wait
/// for it.
const GONE_WITHIN: Duration = Duration::from_secs(1);

impl Bar {
    /// Draws `progress` on stderr until dropped.
    ///
    /// Draws nothing if stderr is no terminal.
    pub fn start(progress: Arc<Progress>, towards: Towards, color: bool) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let (here, gone) = mpsc::channel();
        let thread = std::thread::Builder::new().name("rbench-progress".into()).spawn(move || {
            let total = match towards {
                Towards::Requests(n) => n as u64,
                Towards::Time(lasts) => lasts.as_secs(),
            };
            let bar =
                ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(10));
            let template = if color {
                "{elapsed} [{bar:16.cyan/blue}] {wide_msg}"
            } else {
                "{elapsed} [{bar:16}] {wide_msg}"
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
            let start = Instant::now();
            while !seen.load(Relaxed) {
                let done = progress.done.load(Relaxed);
                let (position, text) = match towards {
                    Towards::Requests(n) => (done, format!("{done}/{n}")),
                    Towards::Time(lasts) => {
                        let elapsed = start.elapsed().as_secs();
                        (elapsed.min(total), format!("of {lasts:?}, {done} done"))
                    }
                };
                bar.set_message(text + &progress.message(start.elapsed()));
                bar.set_position(position);
                std::thread::park_timeout(Duration::from_millis(100));
            }
            bar.finish_and_clear();
            drop::<mpsc::Sender<()>>(here);
        });
        Self { stop, thread: thread.ok(), gone }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A thread that panicked has nothing left to draw.
            let _ = self.gone.recv_timeout(GONE_WITHIN);
        }
    }
}
