//! Runs a plan: each request at its due time, no more in flight than allowed, each ending as a record.
//!
//! Does not know what a prompt or a metric is.
//! Threads claim requests in the order of the plan, so that which thread sends a request depends on the load,
//! and what is sent, and when it is due, does not.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};

use tokio::sync::Semaphore;
use tokio::task::{Id, JoinError, JoinSet};

use crate::model::{Failure, FailureKind, Outcome, Phase, PlannedRequest, RequestRecord};
use crate::progress::Progress;
use crate::request_log::Log;
use crate::transport::{self, Clock, Endpoint, Transport};

/// What the threads of a run share.
#[derive(Debug)]
pub struct Shared {
    plan: Arc<[PlannedRequest]>,
    next: AtomicUsize,
    permits: Option<Arc<Semaphore>>,
}

impl Shared {
    /// Shares `plan` among threads that together keep at most `max_in_flight` requests open.
    pub fn new(plan: Arc<[PlannedRequest]>, max_in_flight: Option<usize>) -> Self {
        let permits =
            max_in_flight.map(|n| Arc::new(Semaphore::new(n.min(Semaphore::MAX_PERMITS))));
        Self { plan, next: AtomicUsize::new(0), permits }
    }
}

/// Works on the plan until nothing is left to claim, then waits for what was sent.
///
/// `exchange` gives the records of a request: one, or one per round of a conversation, whose permit it holds throughout.
/// A request waits for its due time first and for a permit second; both waits are in its record,
/// as the difference between due and sent.
pub async fn work<F, Fut>(shared: &Shared, clock: Clock, exchange: F) -> Vec<RequestRecord>
where
    F: Fn(PlannedRequest) -> Fut,
    Fut: Future<Output = Vec<RequestRecord>> + Send + 'static,
{
    let mut records = Vec::new();
    let mut tasks = JoinSet::new();
    let mut names: HashMap<Id, usize> = HashMap::new();
    while let Some(request) = shared.plan.get(shared.next.fetch_add(1, Ordering::Relaxed)) {
        clock.until(request.due).await;
        let permit = match &shared.permits {
            // The semaphore is never closed.
            Some(permits) => permits.clone().acquire_owned().await.ok(),
            None => None,
        };
        let exchange = exchange(request.clone());
        let handle = tasks.spawn(async move {
            let records = exchange.await;
            drop(permit);
            records
        });
        names.insert(handle.id(), request.index);
        // What has ended is taken in passing, so that the set holds what is in flight and no more.
        while let Some(ended) = tasks.try_join_next_with_id() {
            records.extend(settle(ended, &mut names, &shared.plan));
        }
    }
    while let Some(ended) = tasks.join_next_with_id().await {
        records.extend(settle(ended, &mut names, &shared.plan));
    }
    records
}

/// A task's records; that of a task that panicked says so.
fn settle(
    ended: Result<(Id, Vec<RequestRecord>), JoinError>,
    names: &mut HashMap<Id, usize>,
    plan: &[PlannedRequest],
) -> Vec<RequestRecord> {
    match ended {
        Ok((id, records)) => {
            names.remove(&id);
            records
        }
        Err(error) => {
            let index = names.remove(&error.id()).unwrap_or(0);
            let mut record = RequestRecord::unsent(&plan[index]);
            record.outcome = Outcome::Failed(Failure {
                kind: FailureKind::Internal,
                phase: Phase::Connect,
                status: None,
                message: format!("the client failed: {error}"),
                excerpt: None,
            });
            vec![record]
        }
    }
}

/// How a plan is to be run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Threads that send and read.
    pub threads: usize,
    /// Requests in flight at most, over all threads.
    pub max_in_flight: Option<usize>,
    /// Who is told of each request.
    pub log: Option<Log>,
}

/// Runs `plan` on threads of their own and returns one record per request and round, in the order of the plan,
/// and the clock that their instants refer to.
///
/// # Errors
/// If a thread, its runtime or its connection pool can not be made.
pub fn run(
    plan: Arc<[PlannedRequest]>,
    endpoint: &Arc<Endpoint>,
    options: &Options,
    progress: &Arc<Progress>,
) -> Result<(Vec<RequestRecord>, Clock), std::io::Error> {
    let shared = Arc::new(Shared::new(plan, options.max_in_flight));
    let threads = options.threads.max(1);
    // All threads are ready before the clock starts.
    let ready = Arc::new(Barrier::new(threads + 1));
    let started = Arc::new(std::sync::OnceLock::new());
    let mut workers = Vec::with_capacity(threads);
    for n in 0..threads {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (shared, ready, started) = (shared.clone(), ready.clone(), started.clone());
        let (endpoint, progress, log) = (endpoint.clone(), progress.clone(), options.log.clone());
        let client = transport::pool().map_err(std::io::Error::other)?;
        let worker = std::thread::Builder::new().name(format!("rbench-{n}")).spawn(move || {
            // Once for the thread to be up, once for the clock to be set.
            ready.wait();
            ready.wait();
            let clock = *started.get_or_init(Clock::start);
            let transport = Transport::new(client, endpoint, clock, progress, log);
            runtime.block_on(work(&shared, clock, |request| transport.clone().exchange(request)))
        })?;
        workers.push(worker);
    }
    ready.wait();
    let clock = *started.get_or_init(Clock::start);
    ready.wait();
    let mut records = Vec::with_capacity(shared.plan.len());
    for worker in workers {
        let ended = worker.join();
        records.extend(ended.map_err(|_| std::io::Error::other("a client thread panicked"))?);
    }
    records.sort_by_key(|record| (record.index, record.round));
    Ok((records, clock))
}
