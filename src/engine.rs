//! Runs a plan: each request at its due time, no more in flight than allowed, each ending as a record.
//!
//! Does not know what a prompt or a metric is.
//! Threads claim requests in the order of the plan, so that which thread sends a request depends on the load,
//! and what is sent, and when it is due, does not.

mod coalescing;
pub mod event;
mod in_flight;
pub mod outbox;
pub mod progress;
mod pulse;
mod quota;
pub mod schedule;
mod shared;
pub mod source;
mod steal;
mod stop;
pub mod system;
mod timeouts;
pub mod transport;
mod usage;
pub mod window;
mod worker;

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use self::pulse::Pulse;
use self::schedule::Schedule;
use self::shared::{Server, Shared};
use self::source::Source;
pub use self::stop::Stop;
pub use self::timeouts::Limits;
use self::worker::{Done, Worker};
use crate::engine::event::Subscribers;
use crate::engine::progress::{Progress, Ticker};
use crate::engine::system::Budget;
use crate::engine::transport::{Clock, Endpoint, socket};
use crate::health::{ClockSource, Health};
use crate::model::{PlannedRequest, RequestRecord};

/// How requests are spread over several endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// By the position in the plan; another attempt goes to the next endpoint.
    RoundRobin,
    /// The endpoint with the fewest requests in flight.
    LeastInFlight,
}

/// How a plan is to be run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Threads that send and read.
    pub threads: usize,
    /// Requests in flight at most, over all threads.
    pub max_in_flight: Option<usize>,
    /// Who hears what happens.
    pub subscribers: Subscribers,
    /// The memory for answers.
    pub budget: Arc<Budget>,
    /// Where arrival times come from; the kernel is asked only if it can answer.
    pub clock: ClockSource,
    /// How long data may wait so that one wake-up reads many sockets; with the kernel's clock only.
    pub read_batch: Duration,
    /// Whether the last part of a wait for a due time may be spent awake.
    pub spin: bool,
    /// Whether each request opens a connection of its own.
    pub connection_per_request: bool,
    /// Time limits.
    pub limits: Limits,
    /// Failures that a run survives; one more ends it.
    pub max_errors: Option<u64>,
    /// How requests are spread over several endpoints.
    pub balance: Balance,
    /// How often a request is sent again that the server turned away.
    pub retries: u32,
    /// Ends the run early.
    pub stop: Arc<Stop>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            threads: 1,
            max_in_flight: None,
            subscribers: Subscribers::default(),
            budget: Budget::endless(),
            clock: ClockSource::Kernel,
            read_batch: window::DEFAULT,
            spin: true,
            connection_per_request: false,
            limits: Limits::default(),
            max_errors: None,
            balance: Balance::RoundRobin,
            retries: 0,
            stop: Stop::new(),
        }
    }
}

/// What came of a plan.
#[derive(Debug)]
pub struct Ran {
    /// One record per request and round, in the order of the plan; for those that were never sent as well.
    /// Empty if they went elsewhere.
    pub records: Vec<RequestRecord>,
    /// Why the run was ended before its plan was done, if it was.
    pub ended_early: Option<String>,
    /// How the client kept up.
    pub health: Health,
    /// When the run started: instants of the records are offsets from it.
    pub started: Instant,
}

/// Where arrival times will come from.
pub fn clock(options: &Options, endpoints: &[Arc<Endpoint>]) -> ClockSource {
    let stamped = || endpoints.iter().any(|endpoint| endpoint.can_have_stamps());
    match options.clock {
        ClockSource::Kernel if stamped() && socket::kernel_stamps() => ClockSource::Kernel,
        _ => ClockSource::User,
    }
}

/// Runs `plan` on threads of their own, spread over `endpoints`, of which there is at least one.
///
/// # Errors
/// If there is no endpoint, or a thread or its event queue cannot be made.
pub fn run(
    plan: Arc<[PlannedRequest]>,
    endpoints: &[Arc<Endpoint>],
    options: &Options,
    progress: &Arc<Progress>,
) -> io::Result<Ran> {
    let due: Vec<Duration> = plan.iter().map(|request| request.due).collect();
    let at_once = due.iter().filter(|due| due.is_zero()).count();
    let schedule = Schedule::new(due, options.max_in_flight);
    run_source(Arc::new(plan), schedule, at_once, endpoints, options, progress)
}

/// Runs the requests of `source` when `schedule` says, the first `at_once` of them at the beginning.
///
/// # Errors
/// As for [`run`].
pub fn run_source(
    source: Arc<dyn Source>,
    schedule: Schedule,
    at_once: usize,
    endpoints: &[Arc<Endpoint>],
    options: &Options,
    progress: &Arc<Progress>,
) -> io::Result<Ran> {
    if endpoints.is_empty() {
        return Err(io::Error::other("there is no endpoint"));
    }
    let clock = clock(options, endpoints);
    let most = source.plan().map_or(usize::MAX, <[_]>::len);
    let most = most.min(options.max_in_flight.unwrap_or(usize::MAX));
    // A connection that waits for a request may have a worker of the server wait with it.
    let ahead = if options.connection_per_request { 0 } else { most.min(at_once) };
    let threads = options.threads.max(1);
    let shared = Arc::new(Shared {
        source,
        schedule: Mutex::new(schedule),
        servers: endpoints.iter().cloned().map(Server::new).collect(),
        progress: progress.clone(),
        options: options.clone(),
        clock,
        failed: AtomicU64::new(0),
    });
    // All threads are ready before the clock starts. If one cannot be made, the others end without a clock.
    let (here, ready) = mpsc::channel();
    let mut handles = Vec::new();
    let mut starts = Vec::new();
    for n in 0..threads {
        let mut worker = Worker::new(shared.clone())?;
        let here = here.clone();
        let (start, started) = mpsc::channel::<Clock>();
        let ahead = ahead / threads + usize::from(n < ahead % threads);
        let handle = std::thread::Builder::new().name(format!("rbench-{n}")).spawn(move || {
            worker.open_ahead(ahead);
            // Whoever waits for this is gone if another thread cannot be made.
            let _ = here.send(());
            started.recv().ok().map(|clock| worker.run(clock))
        })?;
        handles.push(handle);
        starts.push(start);
    }
    // A thread that panicked has ended, which is found out below.
    drop(here);
    for () in ready.iter().take(threads) {}
    let pulse = Pulse::start()?;
    let subscribers = &options.subscribers;
    let clock_of_run = Clock::start();
    subscribers.started(clock_of_run.wall());
    for start in starts {
        let _ = start.send(clock_of_run);
    }
    let ticker = subscribers.want_ticks().then(|| {
        let (stop, subscribers) = (options.stop.clone(), subscribers.clone());
        let tick = move |snapshot: &_| subscribers.tick(snapshot);
        Ticker::start(progress.clone(), stop, clock_of_run, tick)
    });
    let mut records = Vec::new();
    let mut workers = Vec::with_capacity(threads);
    for handle in handles {
        let ended = handle.join();
        let done = ended.ok().flatten();
        let Done { records: new, health } =
            done.ok_or_else(|| io::Error::other("a client thread panicked"))?;
        if records.is_empty() {
            records = new;
        } else {
            records.extend(new);
        }
        workers.push(health);
    }
    drop(ticker);
    subscribers.finished();
    let machine = pulse.stop();
    if subscribers.owner().is_none() {
        complete(&mut records, shared.source.plan().unwrap_or_default());
    }
    let ended_early = options.stop.why();
    Ok(Ran {
        ended_early,
        records,
        health: Health { clock, workers, machine },
        started: clock_of_run.started(),
    })
}

/// Adds to the records of a run those of rounds of its `plan` that were never sent, and puts them into its order.
pub fn complete(records: &mut Vec<RequestRecord>, plan: &[PlannedRequest]) {
    add_unsent(records, plan);
    // No two are equal, and a stable sort would need memory for half of them.
    records.sort_unstable_by_key(|record| (record.index, record.round));
}

/// Adds a record for each round of the plan that has none.
fn add_unsent(records: &mut Vec<RequestRecord>, plan: &[PlannedRequest]) {
    let mut rounds = vec![0_usize; plan.len()];
    for record in records.iter() {
        if let Some(rounds) = rounds.get_mut(record.index) {
            *rounds += 1;
        }
    }
    for (request, known) in plan.iter().zip(rounds) {
        for round in known..request.rounds() {
            records.push(RequestRecord { round, ..RequestRecord::unsent(request) });
        }
    }
}
