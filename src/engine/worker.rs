//! One worker of the load: sends what is due and reads what arrives, with one connection per request in flight.
//!
//! All of it is one loop on a thread of its own, without locks on the path of the stream: wait for sockets, read each that
//! has data, hand the bytes on. Between two reads it looks whether a request is due, so that reading many streams never
//! holds a request back for long.
//!
//! What a worker knows lies in its parts, each of which has one thing to decide and tests of its own; the worker only
//! lets them take turns.

mod arrival_clock;
mod coalescer;
mod crowding;
mod ending;
mod link;
mod pool;
mod prefetch;
mod reading;
mod recorder;
mod resending;
mod retry_queue;
mod sending;
mod time_limits;
mod waiting;
mod waiting_line;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Poll};

use self::arrival_clock::ArrivalClock;
use self::coalescer::Coalescer;
use self::pool::Pool;
use self::prefetch::Prefetch;
pub(super) use self::recorder::Done;
use self::recorder::Recorder;
use self::retry_queue::RetryQueue;
use self::time_limits::{SWEEP, TimeLimits};
use self::waiting_line::WaitingLine;
use super::in_flight::InFlight;
use super::schedule::Claim;
use super::shared::Shared;
use super::usage::Usage;
use crate::engine::system::Charge;
use crate::engine::transport::{Clock, socket};
use crate::health::ClockSource;
use crate::model::{Failure, FailureKind, Phase};

/// Bytes that one read takes at most.
const BUFFER: usize = 256 * 1024;

/// Sockets that one look at the poll can name.
const EVENTS: usize = 1024;

/// Longest wait for connections before a run, and what each of them adds: where most local ports are in use already,
/// the system takes long to find a free one. What is not open by then is opened when it is needed.
const OPENING_TIMEOUT: Duration = Duration::from_secs(10);
const OPENING_EACH: Duration = Duration::from_millis(2);

/// The last part of a wait for a due time, which a sleep would overshoot, is spent awake.
const SPIN: Duration = Duration::from_micros(100);

/// Room for what a read gives.
#[derive(Debug)]
struct Scratch {
    buffer: Vec<u8>,
    control: Vec<u8>,
}

impl Scratch {
    fn new() -> Self {
        Self { buffer: vec![0; BUFFER], control: vec![0; socket::CONTROL] }
    }
}

/// One worker of the load.
#[derive(Debug)]
pub(super) struct Worker {
    shared: Arc<Shared>,
    clock: Clock,
    poll: Poll,
    /// What may be sent next, as far as is known; [`Claim::Until`] zero asks again at once.
    next: Claim,
    scratch: Scratch,
    pool: Pool,
    arrivals: ArrivalClock,
    coalescer: Coalescer,
    recorder: Recorder,
    limits: TimeLimits,
    retries: RetryQueue,
    line: WaitingLine,
}

impl Worker {
    /// A worker; nothing is sent before [`Self::run`].
    ///
    /// # Errors
    /// If the system has no event queue left.
    pub(super) fn new(shared: Arc<Shared>) -> io::Result<Self> {
        let clock = Clock::start();
        let options = &shared.options;
        let window = match shared.clock {
            ClockSource::Kernel => options.read_batch,
            ClockSource::User => Duration::ZERO,
        };
        let poll = Poll::new()?;
        options.stop.watch(poll.registry())?;
        let servers = shared.servers.len();
        let planned = shared.source.plan().map_or(0, <[_]>::len);
        Ok(Self {
            clock,
            poll,
            next: Claim::Until(Duration::ZERO),
            scratch: Scratch::new(),
            pool: Pool::new(servers),
            arrivals: ArrivalClock::start(clock),
            coalescer: Coalescer::new(window),
            recorder: Recorder::new(planned / options.threads.max(1) + 1),
            limits: TimeLimits::new(options.limits, servers),
            retries: RetryQueue::default(),
            line: WaitingLine::default(),
            shared,
        })
    }

    /// Opens `n` connections, so that no request of the burst that the run begins with has to wait for one;
    /// those that fail are left to the run.
    pub(super) fn open_ahead(&mut self, n: usize) {
        let started = Instant::now();
        let mut events = Events::with_capacity(EVENTS);
        let mut left = n;
        let each = OPENING_EACH.saturating_mul(u32::try_from(n).unwrap_or(u32::MAX));
        let deadline = OPENING_TIMEOUT.saturating_add(each);
        let deadline = self.shared.options.limits.connect.unwrap_or(deadline).min(deadline);
        while started.elapsed() < deadline && !self.is_draining() {
            for _ in 0..self.pool.room_to_open(left) {
                if self.connect(None, left % self.shared.servers.len(), 0).is_err() {
                    left = 0;
                    break;
                }
                left -= 1;
            }
            if self.pool.all_stand() {
                return;
            }
            if self.poll.poll(&mut events, Some(SWEEP)).is_err() {
                return;
            }
            for event in &events {
                self.ready(event);
            }
        }
    }

    /// Works on the plan until nothing is left to send and nothing is in flight.
    pub(super) fn run(mut self, clock: Clock) -> Done {
        let before = Usage::now();
        self.clock = clock;
        self.arrivals = ArrivalClock::start(clock);
        let begun = clock.now();
        let mut events = Events::with_capacity(EVENTS);
        self.recorder.begin();
        self.limits.begin(begun);
        self.coalescer.begin(begun);
        self.pool.use_oldest_first();
        self.send_due();
        self.pool.close_unused();
        loop {
            if self.is_draining() {
                self.drain();
            }
            self.send_again();
            self.connect_again();
            self.send_due();
            if !self.recorder.has_active() && self.next == Claim::Over {
                break;
            }
            self.await_events(&mut events);
            let mut ahead = Prefetch::begin(&events, &self.pool.links);
            for event in &events {
                ahead.step(&self.pool.links);
                self.ready(event);
                if matches!(self.next, Claim::Until(due) if due <= self.clock.now()) {
                    self.send_due();
                }
            }
            self.read_on();
            self.recorder.report_tokens(&self.shared);
            let now = self.clock.now();
            self.arrivals.looked(now);
            self.end_trailing(now);
            if self.limits.is_due(now) {
                self.sweep(now);
            }
            self.coalescer.judge(now, self.recorder.events_read());
            if self.pool.has_unread() || events.is_empty() {
                self.coalescer.pass();
            } else {
                self.coalesce();
            }
        }
        let wall = self.clock.now().saturating_sub(begun);
        self.finish(wall, &before)
    }

    /// The records and the health counts of a worker that has run for `wall`, since the thread had used `before`.
    fn finish(self, wall: Duration, before: &Usage) -> Done {
        let Self { pool, arrivals, coalescer, recorder, line, .. } = self;
        let mut done = recorder.finish();
        let health = &mut done.health;
        arrivals.report(health);
        coalescer.report(health);
        line.report(health);
        health.left_waiting = pool.into_waits();
        health.wall = wall;
        (health.cpu, health.run_delay) = Usage::now().since(before);
        done
    }

    /// Returns whether nothing more is to be sent, since the run is to end.
    fn is_draining(&self) -> bool {
        self.shared.options.stop.is_draining()
    }

    /// Looks at the sockets, and waits for them if none has anything and nothing is left to read.
    fn await_events(&mut self, events: &mut Events) {
        let has_waited = self.coalescer.has_waited();
        if self.pool.has_unread() {
            self.look(events);
            return;
        }
        if has_waited {
            self.look(events);
            self.coalescer.gathered(events.iter().count());
        }
        if !has_waited || events.is_empty() {
            self.coalescer.waits();
            self.wait(events);
        }
    }

    /// Sends all requests that may be sent now.
    fn send_due(&mut self) {
        loop {
            if self.is_draining() {
                self.next = Claim::Over;
                return;
            }
            // What only this thread can change has not changed: not worth the lock.
            let alone = self.shared.options.threads <= 1;
            if self.next == Claim::Over || (self.next == Claim::Full && alone) {
                return;
            }
            let now = self.clock.now();
            self.next = self.shared.claim(now);
            let Claim::Send { index, due, released } = self.next else { return };
            let Some(mut request) = self.shared.source.request(index) else {
                // There is no plan any more.
                self.shared.release(now);
                self.next = Claim::Over;
                return;
            };
            request.due = due;
            self.recorder.enter(now);
            self.shared.progress.sent();
            let server = self.shared.choose(index, 1);
            let charge = Charge::new(&self.shared.options.budget);
            self.begin(Box::new(InFlight::new(request, server, released, now, charge)));
        }
    }

    /// Looks at what need not be looked at on each read: time limits, and how the clocks relate.
    fn sweep(&mut self, now: Duration) {
        if self.next == Claim::Over {
            self.pool.close_unused();
        }
        self.arrivals.compare(now);
        for (key, failure) in self.limits.passed(&self.pool, now) {
            match failure {
                Some(failure) => self.end(key, Err(failure), false),
                None => drop(self.pool.links.try_remove(key)),
            }
        }
    }

    /// Lets the run end: nothing more is sent, and what is in flight has until the grace is over.
    fn drain(&mut self) {
        self.send_no_more();
        self.give_up_line();
        if self.limits.grace_is_over(self.clock.now()) {
            for key in self.pool.busy() {
                self.cancel(key);
            }
        }
    }
}

fn connect_failure(kind: FailureKind, why: impl Into<String>) -> Failure {
    Failure::new(kind, Phase::Connect, why)
}

/// Returns what kind of failure an error of the system is while a connection is opened.
fn connect_kind(error: &io::Error) -> FailureKind {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => FailureKind::ConnectRefused,
        io::ErrorKind::TimedOut => FailureKind::ConnectTimeout,
        _ => FailureKind::Connect,
    }
}
