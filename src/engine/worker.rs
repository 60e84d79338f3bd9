//! One thread of the load: sends what is due, reads what arrives, one connection per request in flight.
//!
//! All of it is one loop without locks on the path of the stream: wait for sockets, read each that has data, hand the bytes on.
//! Between two reads it looks whether a request is due, so that reading many streams never holds a request back for long.

mod arriving;
mod crowding;
mod ending;
mod exhausted;
mod pausing;
mod prefetch;
mod reading;
mod resending;
mod retrying;
mod sending;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mio::{Events, Poll};
use slab::Slab;

use self::arriving::Arriving;
use self::crowding::Crowd;
use self::exhausted::Line;
use self::prefetch::Prefetch;
use super::coalescing::Coalescing;
use super::in_flight::InFlight;
use super::schedule::{Claim, Schedule};
use super::source::Source;
use super::timeouts::Limits;
use super::usage::{self, Usage};
use super::window::Window;
use super::{Balance, Options};
use crate::engine::progress::Progress;
use crate::engine::system::Charge;
use crate::engine::transport::clock::Offset;
use crate::engine::transport::connection::Connection;
use crate::engine::transport::{Clock, Endpoint, socket};
use crate::health::{ClockSource, WorkerHealth};
use crate::model::{Failure, FailureKind, Phase, RequestRecord};

/// Bytes that one read takes at most.
const BUFFER: usize = 256 * 1024;

/// Sockets that one look at the poll can tell of.
const EVENTS: usize = 1024;

/// Connections that are being opened at once before a run: more would overflow the queues of many servers.
const OPENING: usize = 128;

/// Longest wait for connections before a run, and what each of them adds: where most local ports are in use already,
/// the system takes long to find a free one. What is not open by then is opened when it is needed.
const OPENING_PATIENCE: Duration = Duration::from_secs(10);
const OPENING_EACH: Duration = Duration::from_millis(2);

/// Longest sleep: how often time limits and clocks are looked at.
const SWEEP: Duration = Duration::from_millis(500);

/// The last part of a wait for a due time, which a sleep would overshoot, is spent awake.
const SPIN: Duration = Duration::from_micros(100);

/// How long the end of a body is waited for whose answer is whole: servers nearly always send it at once, and the
/// connection can then be used again. A body that never ends holds its place under the cap for no longer, and with each
/// that its server does not end in time for half as long, down to the second of the two.
const TRAILING: Duration = Duration::from_millis(100);
const TRAILING_LEAST: Duration = Duration::from_millis(2);

/// What the threads of a run share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) source: Arc<dyn Source>,
    pub(super) schedule: Mutex<Schedule>,
    pub(super) endpoints: Vec<Arc<Endpoint>>,
    /// Requests in flight at each of them.
    pub(super) busy: Vec<AtomicUsize>,
    pub(super) progress: Arc<Progress>,
    pub(super) options: Options,
    pub(super) clock: ClockSource,
    /// Requests that failed so far.
    pub(super) failed: AtomicU64,
}

impl Shared {
    fn claim(&self, now: Duration) -> Claim {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner).claim(now)
    }

    fn release(&self, now: Duration) {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner).release(now);
    }

    /// The endpoint for attempt `attempt`, from 1, of the request at `index`; it is one more in flight there.
    pub(super) fn choose(&self, index: usize, attempt: u32) -> usize {
        let busy = |at: &usize| self.busy[*at].load(Ordering::Relaxed);
        let turn = index.wrapping_add(attempt as usize - 1) % self.endpoints.len();
        let chosen = match self.options.balance {
            Balance::RoundRobin => turn,
            // Of several the one whose turn it is, or the next.
            Balance::LeastInFlight => {
                let all = self.endpoints.len();
                (0..all).map(|i| (turn + i) % all).min_by_key(busy).unwrap_or(turn)
            }
        };
        self.busy[chosen].fetch_add(1, Ordering::Relaxed);
        chosen
    }

    /// A request is one more in flight at the endpoint at `at`.
    pub(super) fn back(&self, at: usize) {
        self.busy[at].fetch_add(1, Ordering::Relaxed);
    }

    /// A request left the endpoint at `at`.
    pub(super) fn left(&self, at: usize) {
        self.busy[at].fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts a failure, and ends the run if there were too many.
    fn count_failure(&self) {
        let failed = self.failed.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(most) = self.options.max_errors
            && failed > most
        {
            let requests = if most == 1 { "request" } else { "requests" };
            self.options.stop.drain(&format!("more than {most} {requests} failed (--max-errors)"));
        }
    }
}

/// What became of a thread's part of the load.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) records: Vec<RequestRecord>,
    pub(super) health: WorkerHealth,
}

/// A connection and what it is used for.
#[derive(Debug)]
struct Link {
    connection: Connection,
    /// The request on it; boxed, so that a connection without one is small.
    in_flight: Option<Box<InFlight>>,
    /// Which endpoint it goes to.
    endpoint: usize,
    /// Which of the endpoint's addresses.
    address: usize,
    /// Whether a request was answered over it before.
    is_reused: bool,
    /// When it is not to be used any more, if the server has named a time.
    idle_until: Option<Duration>,
    /// Whether more may be waiting than was read when others had their turn, and the other end had closed by then.
    unread: Option<bool>,
    /// What came over it so far.
    arriving: Arriving,
}

/// One thread of the load.
#[derive(Debug)]
pub(super) struct Worker {
    shared: Arc<Shared>,
    clock: Clock,
    poll: Poll,
    links: Slab<Link>,
    /// Open connections without a request by endpoint; the last used one is used first.
    idle: Vec<Vec<usize>>,
    /// Requests over new connections by endpoint.
    crowds: Vec<Crowd>,
    /// Connections with more to read than one turn takes, which no event will tell of.
    unread: Vec<usize>,
    /// Connections whose answer is whole and whose body has not ended, and until when that is waited for; some of them
    /// have ended since.
    trailing: Vec<(Duration, usize)>,
    /// How long it is waited for, by endpoint.
    trails: Vec<Duration>,
    /// Requests of this thread in flight.
    active: usize,
    /// When their number changed last.
    changed: Duration,
    offset: Offset,
    first_offset: Offset,
    window: Window,
    coalescing: Coalescing,
    buffer: Vec<u8>,
    control: Vec<u8>,
    /// What may be sent next, as far as is known; [`Claim::Until`] zero asks again at once.
    next: Claim,
    /// Ended requests and the sum of their durations.
    ended: (u32, Duration),
    /// Tokens that came since the others were told: to tell them of each would wait for all that was written before.
    tokens: u64,
    records: Vec<RequestRecord>,
    health: WorkerHealth,
    /// Events that were read of answers that could not be kept.
    lost_events: u64,
    /// Requests that may be sent again, by when that is.
    later: BTreeMap<(Duration, usize), retrying::Waiting>,
    /// Requests that wait for what the system has run out of.
    line: Line,
    /// How often the system may still be asked why data was read late, until the clocks are compared again.
    asks: u32,
    /// When the look before the last one at the sockets began, or earlier: what had arrived by then was seen by it.
    looked: Duration,
    /// How often to look at time limits.
    interval: Duration,
    /// When the clocks were compared last.
    measured: Duration,
    /// When what is in flight is given up, once the run is to end.
    deadline: Option<Duration>,
}

impl Worker {
    /// A thread's state; nothing is sent before [`Self::run`].
    ///
    /// # Errors
    /// If the system has no event queue left.
    pub(super) fn new(shared: Arc<Shared>) -> io::Result<Self> {
        let clock = Clock::start();
        let offset = Offset::measure(clock);
        let longest = match shared.clock {
            ClockSource::Kernel => shared.options.read_batch,
            ClockSource::User => Duration::ZERO,
        };
        let poll = Poll::new()?;
        let endpoints = shared.endpoints.len();
        shared.options.stop.watch(poll.registry())?;
        let interval = shared.options.limits.interval(SWEEP);
        // Nothing is moved while streams are read; what is not used takes no memory.
        let planned = shared.source.plan().map_or(0, <[_]>::len);
        let records = Vec::with_capacity(planned / shared.options.threads.max(1) + 1);
        Ok(Self {
            shared,
            clock,
            poll,
            later: BTreeMap::new(),
            line: Line::default(),
            interval,
            asks: arriving::ASKS,
            looked: Duration::ZERO,
            measured: Duration::ZERO,
            deadline: None,
            links: Slab::new(),
            idle: vec![Vec::new(); endpoints],
            crowds: std::iter::repeat_with(Crowd::default).take(endpoints).collect(),
            unread: Vec::new(),
            trailing: Vec::new(),
            trails: vec![TRAILING; endpoints],
            active: 0,
            changed: Duration::ZERO,
            offset,
            first_offset: offset,
            window: Window::new(longest),
            coalescing: Coalescing::new(Duration::ZERO, Duration::ZERO),
            buffer: vec![0; BUFFER],
            control: vec![0; socket::CONTROL],
            next: Claim::Until(Duration::ZERO),
            ended: (0, Duration::ZERO),
            tokens: 0,
            records,
            health: WorkerHealth::default(),
            lost_events: 0,
        })
    }

    /// Opens `n` connections, so that no request of the burst that the run begins with has to wait for one;
    /// those that fail are left to the run.
    pub(super) fn open_ahead(&mut self, n: usize) {
        let started = Instant::now();
        let mut events = Events::with_capacity(EVENTS);
        let mut left = n;
        let each = OPENING_EACH.saturating_mul(u32::try_from(n).unwrap_or(u32::MAX));
        let deadline = OPENING_PATIENCE.saturating_add(each);
        let deadline = self.shared.options.limits.connect.unwrap_or(deadline).min(deadline);
        while started.elapsed() < deadline && !self.shared.options.stop.is_draining() {
            let idle: usize = self.idle.iter().map(Vec::len).sum();
            let opening = self.links.len() - idle;
            for _ in opening..OPENING.min(opening + left) {
                if self.connect(None, left % self.idle.len(), 0).is_err() {
                    left = 0;
                    break;
                }
                left -= 1;
            }
            if self.links.len() == self.idle.iter().map(Vec::len).sum::<usize>() {
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
        self.health.connections_ahead = std::mem::take(&mut self.health.connections);
        self.clock = clock;
        self.offset = Offset::measure(clock);
        self.first_offset = self.offset;
        let begun = clock.now();
        let mut events = Events::with_capacity(EVENTS);
        let mut swept = begun;
        let mut read = begun;
        let mut paused = false;
        self.coalescing = Coalescing::new(begun, usage::cpu());
        // The one that was opened first is used first: servers take them up in their order.
        self.idle.iter_mut().for_each(|idle| idle.reverse());
        self.send_due();
        self.close_unused();
        loop {
            if self.shared.options.stop.is_draining() {
                self.drain();
            }
            self.send_again();
            if !self.line.is_empty() {
                self.connect_again();
            }
            self.send_due();
            if self.active == 0 && self.next == Claim::Over {
                break;
            }
            if !self.unread.is_empty() {
                self.look(&mut events);
            } else if paused {
                self.look(&mut events);
                self.coalescing.gathered(u16::try_from(events.iter().count()).unwrap_or(u16::MAX));
            }
            if self.unread.is_empty() && (!paused || events.is_empty()) {
                self.coalescing.waits();
                self.wait(&mut events);
            }
            let mut ahead = Prefetch::begin(&events, &self.links);
            for event in &events {
                ahead.step(&self.links);
                self.ready(event);
                if matches!(self.next, Claim::Until(due) if due <= self.clock.now()) {
                    self.send_due();
                }
            }
            self.read_on();
            if self.tokens > 0 {
                self.shared.progress.tokens(std::mem::take(&mut self.tokens));
            }
            let now = self.clock.now();
            self.looked = std::mem::replace(&mut read, now);
            if !self.trailing.is_empty() {
                self.end_trailing(now);
            }
            if now.saturating_sub(swept) >= self.interval {
                swept = now;
                self.sweep(now);
            }
            if self.coalescing.is_over(now) {
                self.coalescing.judge(now, usage::cpu(), self.health.events);
            }
            paused = self.unread.is_empty() && !events.is_empty() && self.pause();
        }
        self.health.lag.close_second();
        for crowd in self.crowds {
            self.health.left_waiting.merge(&crowd.into_waits());
        }
        // What is judged is what was kept; the rest came in bulk.
        self.health.events = self.health.events.saturating_sub(self.lost_events);
        self.health.merged = self.health.merged.saturating_sub(self.lost_events);
        self.health.window = self.window.length();
        self.health.wall = self.clock.now().saturating_sub(begun);
        (self.health.cpu, self.health.run_delay) = Usage::now().since(&before);
        self.health.clock_moved_ns = self.offset.moved_since(self.first_offset);
        Done { records: self.records, health: self.health }
    }

    /// Closes all connections without a request, which may keep workers of the server busy.
    fn close_unused(&mut self) {
        self.links.retain(|_, link| link.in_flight.is_some());
        self.idle.iter_mut().for_each(Vec::clear);
    }

    /// Adds up the time in flight until `now`, when the number in flight is about to change.
    fn count_in_flight(&mut self, now: Duration) {
        let active = u32::try_from(self.active).unwrap_or(u32::MAX);
        self.health.in_flight += now.saturating_sub(self.changed) * active;
        self.changed = now;
    }

    /// Sends all requests that may be sent now.
    fn send_due(&mut self) {
        loop {
            if self.shared.options.stop.is_draining() {
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
            self.count_in_flight(now);
            self.active += 1;
            self.shared.progress.sent();
            let endpoint = self.shared.choose(index, 1);
            let charge = Charge::new(&self.shared.options.budget);
            self.begin(Box::new(InFlight::new(request, endpoint, released, now, charge)));
        }
    }

    /// Looks at what need not be looked at on each read: time limits, and how the clocks relate.
    fn sweep(&mut self, now: Duration) {
        if self.next == Claim::Over {
            self.close_unused();
        }
        if now.saturating_sub(self.measured) >= SWEEP {
            self.measured = now;
            self.asks = arriving::ASKS;
            self.offset = Offset::measure(self.clock);
            self.health.clock_error_ns = self.health.clock_error_ns.max(self.offset.error_ns);
        }
        let limits: &Limits = &self.shared.options.limits;
        let passed = |(key, link): (usize, &Link)| {
            if let Some(in_flight) = &link.in_flight {
                let failure = limits.passed(in_flight.waiting(), now)?;
                return Some((key, Some(in_flight.locate(failure))));
            }
            // Opened for nobody yet.
            let late = limits.connect.is_some_and(|limit| link.connection.age() > limit);
            (late && !link.connection.is_open()).then_some((key, None))
        };
        let over: Vec<(usize, Option<Failure>)> = self.links.iter().filter_map(passed).collect();
        for (key, failure) in over {
            match failure {
                Some(failure) => self.end(key, Err(failure), false),
                None => drop(self.links.try_remove(key)),
            }
        }
    }

    /// Ends requests whose answer has been whole for a while: their bodies may have no end.
    fn end_trailing(&mut self, now: Duration) {
        let over: Vec<(Duration, usize)> =
            self.trailing.extract_if(.., |&mut (until, _)| until <= now).collect();
        for (_, key) in over {
            // Its place may be another's since, or its in_flight the next one.
            let Some(link) = self.links.get_mut(key) else { continue };
            let whole = link.in_flight.as_mut().filter(|in_flight| in_flight.is_whole());
            if let Some(result) = whole.map(|in_flight| in_flight.finish(now)) {
                let wait = &mut self.trails[link.endpoint];
                *wait = (*wait / 2).max(TRAILING_LEAST);
                self.end(key, result, false);
            }
        }
    }

    /// Lets the run end: nothing more is sent, and what is in flight has until the grace is over.
    fn drain(&mut self) {
        self.send_no_more();
        self.give_up_line();
        let now = self.clock.now();
        let until = *self.deadline.get_or_insert(now + self.shared.options.limits.grace);
        if now < until {
            return;
        }
        let busy = |(key, link): (usize, &Link)| link.in_flight.is_some().then_some(key);
        let keys: Vec<usize> = self.links.iter().filter_map(busy).collect();
        for key in keys {
            self.cancel(key);
        }
    }

    /// When to look again at the latest, for the sake of time limits and of what is to be sent again.
    fn longest_wait(&self) -> Duration {
        let again = self.later.first_key_value().map(|(&(at, _), _)| at);
        let trailing = self.trailing.iter().map(|&(until, _)| until);
        let next = self.deadline.into_iter().chain(again).chain(trailing).chain(self.line.again());
        let next = next.min();
        let left = next.map(|at| at.saturating_sub(self.clock.now()));
        left.map_or(self.interval, |left| left.min(self.interval))
    }
}

fn connect_failure(kind: FailureKind, why: impl Into<String>) -> Failure {
    Failure::new(kind, Phase::Connect, why)
}

/// What kind of failure an error of the system is while a connection is opened.
fn connect_kind(error: &io::Error) -> FailureKind {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => FailureKind::ConnectRefused,
        io::ErrorKind::TimedOut => FailureKind::ConnectTimeout,
        _ => FailureKind::Connect,
    }
}
