//! Runs a plan: each request at its due time, no more in flight than allowed, each ending as a record.
//!
//! Does not know what a prompt or a metric is.
//! Threads claim requests in the order of the plan, so that which thread sends a request depends on the load,
//! and what is sent, and when it is due, does not.

mod exchange;
mod lane;
mod naps;
pub mod schedule;
mod usage;
pub mod window;

use std::io;
use std::sync::{Arc, Barrier, Mutex, OnceLock};
use std::time::{Duration, Instant};

use self::lane::{Done, Lane, Shared};
use self::schedule::Schedule;
use crate::health::{ClockSource, Health};
use crate::model::{PlannedRequest, RequestRecord};
use crate::progress::Progress;
use crate::request_log::Log;
use crate::transport::{Clock, Endpoint, socket};

/// Longest time that one request may take, connecting included.
pub const TOTAL_TIMEOUT: Duration = Duration::from_hours(6);

/// Connections opened ahead of a run that does not begin with everything at once.
const AHEAD: usize = 64;

/// How a plan is to be run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Threads that send and read.
    pub threads: usize,
    /// Requests in flight at most, over all threads.
    pub max_in_flight: Option<usize>,
    /// Who is told of each request.
    pub log: Option<Log>,
    /// Where arrival times come from; the kernel is asked only if it can answer.
    pub clock: ClockSource,
    /// How long data may wait so that one wake-up reads many sockets; with the kernel's clock only.
    pub read_batch: Duration,
    /// Whether the last part of a wait for a due time may be spent awake.
    pub spin: bool,
    /// Whether each request opens a connection of its own.
    pub connection_per_request: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            threads: 1,
            max_in_flight: None,
            log: None,
            clock: ClockSource::Kernel,
            read_batch: window::DEFAULT,
            spin: true,
            connection_per_request: false,
        }
    }
}

/// What came of a plan.
#[derive(Debug)]
pub struct Ran {
    /// One record per request and round, in the order of the plan.
    pub records: Vec<RequestRecord>,
    /// How the client kept up.
    pub health: Health,
    /// When the run started: instants of the records are offsets from it.
    pub started: Instant,
}

/// Runs `plan` on threads of their own.
///
/// # Errors
/// If a thread or its event queue can not be made.
pub fn run(
    plan: Arc<[PlannedRequest]>,
    endpoint: &Arc<Endpoint>,
    options: &Options,
    progress: &Arc<Progress>,
) -> io::Result<Ran> {
    let clock = match options.clock {
        ClockSource::Kernel if endpoint.can_have_stamps() && socket::kernel_stamps() => {
            ClockSource::Kernel
        }
        _ => ClockSource::User,
    };
    let due: Vec<Duration> = plan.iter().map(|request| request.due).collect();
    let at_once = due.iter().filter(|due| due.is_zero()).count();
    let most = plan.len().min(options.max_in_flight.unwrap_or(usize::MAX));
    let ahead = if options.connection_per_request { 0 } else { most.min(at_once.max(AHEAD)) };
    let threads = options.threads.max(1);
    let shared = Arc::new(Shared {
        plan,
        schedule: Mutex::new(Schedule::new(due, options.max_in_flight)),
        endpoint: endpoint.clone(),
        progress: progress.clone(),
        options: options.clone(),
        clock,
    });
    // All threads are ready before the clock starts: once for that, once for the clock to be set.
    let ready = Arc::new(Barrier::new(threads + 1));
    let started = Arc::new(OnceLock::new());
    let mut workers = Vec::with_capacity(threads);
    for n in 0..threads {
        let mut lane = Lane::new(shared.clone())?;
        let (ready, started) = (ready.clone(), started.clone());
        let ahead = ahead / threads + usize::from(n < ahead % threads);
        let worker = std::thread::Builder::new().name(format!("rbench-{n}")).spawn(move || {
            lane.open_ahead(ahead);
            ready.wait();
            ready.wait();
            lane.run(*started.get_or_init(Clock::start))
        })?;
        workers.push(worker);
    }
    ready.wait();
    let clock_of_run = *started.get_or_init(Clock::start);
    ready.wait();
    let mut records = Vec::with_capacity(shared.plan.len());
    let mut lanes = Vec::with_capacity(threads);
    for worker in workers {
        let ended = worker.join();
        let Done { records: new, health } =
            ended.map_err(|_| io::Error::other("a client thread panicked"))?;
        records.extend(new);
        lanes.push(health);
    }
    records.sort_by_key(|record| (record.index, record.round));
    Ok(Ran { records, health: Health { clock, lanes }, started: clock_of_run.started() })
}
