//! When requests are sent, in paused time: an exchange that sleeps stands in for the network.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use rbench::dispatch::{Shared, work};
use rbench::model::{FailureKind, Outcome, PlannedRequest, RequestRecord};
use rbench::transport::Clock;
use tokio::task::JoinSet;

/// A plan, and how long the answer to each request takes in ms.
#[derive(Debug, Clone)]
struct Load {
    /// Due times in µs, rising.
    due: Vec<u64>,
    /// Whole and even ms.
    lasts: Vec<u64>,
    cap: Option<usize>,
    workers: usize,
}

/// What came of it.
struct Outcomes {
    /// In the order of the plan.
    records: Vec<RequestRecord>,
    /// Requests in the order in which they were sent.
    order: Vec<usize>,
    /// Most requests in flight at once.
    most: usize,
}

#[derive(Debug, Default)]
struct Gauge {
    now: AtomicUsize,
    most: AtomicUsize,
    order: std::sync::Mutex<Vec<usize>>,
}

/// Leaves the gauge however the exchange ends.
struct InFlight(Arc<Gauge>);

impl InFlight {
    fn enter(gauge: Arc<Gauge>, index: usize) -> Self {
        let now = gauge.now.fetch_add(1, Ordering::Relaxed) + 1;
        gauge.most.fetch_max(now, Ordering::Relaxed);
        gauge.order.lock().unwrap().push(index);
        Self(gauge)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}

fn plan(due: &[u64]) -> Arc<[PlannedRequest]> {
    due.iter()
        .enumerate()
        .map(|(index, &due)| PlannedRequest {
            index,
            due: Duration::from_micros(due),
            body: bytes::Bytes::new(),
            prompt_len: 100 + index,
            output_len: 1,
            conversation: None,
            vision_len: 0,
            routing_key: None,
        })
        .collect()
}

/// Runs `load`; requests in `panics` panic halfway.
async fn run(load: &Load, panics: &'static [usize]) -> Outcomes {
    let clock = Clock::start();
    let gauge = Arc::new(Gauge::default());
    let lasts: Arc<[u64]> = load.lasts.clone().into();
    let shared = Arc::new(Shared::new(plan(&load.due), load.cap));
    let exchange = {
        let gauge = gauge.clone();
        move |request: PlannedRequest| {
            let (gauge, lasts) = (gauge.clone(), lasts.clone());
            async move {
                let mut record = RequestRecord::unsent(&request);
                record.sent = Some(clock.now());
                let _in_flight = InFlight::enter(gauge, request.index);
                let half = Duration::from_millis(lasts[request.index]) / 2;
                tokio::time::sleep(half).await;
                assert!(!panics.contains(&request.index), "as the test wants it");
                tokio::time::sleep(half).await;
                record.done = Some(clock.now());
                record.outcome = Outcome::Completed;
                vec![record]
            }
        }
    };
    let mut workers = JoinSet::new();
    for _ in 0..load.workers {
        let (shared, exchange) = (shared.clone(), exchange.clone());
        workers.spawn(async move { work(&shared, clock, exchange).await });
    }
    let mut records: Vec<RequestRecord> = workers.join_all().await.into_iter().flatten().collect();
    records.sort_by_key(|record| record.index);
    let order = gauge.order.lock().unwrap().clone();
    Outcomes { records, order, most: gauge.most.load(Ordering::Relaxed) }
}

impl Outcomes {
    fn sent_ms(&self) -> Vec<u64> {
        self.records
            .iter()
            .map(|record| u64::try_from(record.sent.unwrap().as_millis()).unwrap())
            .collect()
    }
}

/// A queue served in its order by `cap` servers, all in ms: when each request is taken.
fn queue(due: &[u64], lasts: &[u64], cap: Option<usize>) -> Vec<u64> {
    let mut free = vec![0_u64; cap.unwrap_or(due.len())];
    let serve = |(&due, &lasts): (&u64, &u64)| {
        let server = free.iter_mut().min().unwrap();
        let start = due.max(*server);
        *server = start + lasts;
        start
    };
    due.iter().zip(lasts).map(serve).collect()
}

fn micros(ms: &[u64]) -> Vec<u64> {
    ms.iter().map(|ms| ms * 1000).collect()
}

#[tokio::test(start_paused = true)]
async fn requests_are_sent_when_they_are_due() {
    let due = [0, 0, 3, 7, 7, 8, 500, 86_400_000];
    for workers in [1, 3] {
        let load = Load { due: micros(&due), lasts: vec![40; due.len()], cap: None, workers };
        let outcomes = run(&load, &[]).await;
        assert_eq!(outcomes.sent_ms(), due, "{workers} workers");
        assert!(outcomes.records.iter().all(|record| record.sent == Some(record.due)));
        assert_eq!(outcomes.most, 6);
    }
}

#[tokio::test(start_paused = true)]
async fn due_times_between_two_ticks_are_never_early() {
    let load =
        Load { due: vec![1, 999, 1000, 1001, 2500], lasts: vec![0; 5], cap: None, workers: 1 };
    let outcomes = run(&load, &[]).await;
    assert_eq!(outcomes.sent_ms(), [1, 1, 1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_late_request_does_not_delay_those_after_it() {
    // The permit keeps the second waiting; the fourth is due after the jam and on time.
    let load = Load {
        due: micros(&[0, 10, 20, 300]),
        lasts: vec![100, 50, 50, 1],
        cap: Some(1),
        workers: 1,
    };
    let outcomes = run(&load, &[]).await;
    assert_eq!(outcomes.sent_ms(), [0, 100, 150, 300]);
    // Both waits stay visible in the record.
    assert_eq!(outcomes.records[1].due, Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn requests_under_a_cap_go_in_the_order_of_the_plan() {
    for workers in [1, 2, 4] {
        for cap in [1, 2, 5] {
            let lasts: Vec<u64> = (0..30).map(|i| 4 + i * 14 % 26).collect();
            let load = Load { due: vec![0; 30], lasts, cap: Some(cap), workers };
            let outcomes = run(&load, &[]).await;
            // Which of two threads comes first within one instant is nobody's to say.
            assert!(workers > 1 || outcomes.order.is_sorted(), "{:?}", outcomes.order);
            assert_eq!(outcomes.most, cap, "{workers} workers");
            let want = queue(&load.due, &load.lasts, load.cap);
            assert_eq!(outcomes.sent_ms(), want, "{workers} workers, cap {cap}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cap_above_the_number_of_requests_changes_nothing() {
    let load = Load { due: vec![0; 9], lasts: vec![5; 9], cap: Some(usize::MAX), workers: 2 };
    let outcomes = run(&load, &[]).await;
    assert_eq!((outcomes.sent_ms(), outcomes.most), (vec![0; 9], 9));
}

#[tokio::test(start_paused = true)]
async fn a_panic_becomes_a_failed_record_and_frees_its_permit() {
    for (cap, workers) in [(Some(1), 1), (Some(2), 2), (None, 1)] {
        let load = Load { due: micros(&[0, 1, 2, 3, 4]), lasts: vec![10; 5], cap, workers };
        let outcomes = run(&load, &[0, 3]).await;
        assert_eq!(outcomes.records.len(), 5);
        for (index, record) in outcomes.records.iter().enumerate() {
            assert_eq!((record.index, record.prompt_len), (index, 100 + index));
            match &record.outcome {
                Outcome::Failed(failure) if [0, 3].contains(&index) => {
                    assert_eq!(failure.kind, FailureKind::Internal);
                    assert!(failure.message.contains("panic"), "{}", failure.message);
                }
                outcome => {
                    assert_eq!(*outcome, Outcome::Completed);
                    assert!(![0, 3].contains(&index));
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_plan_has_no_records() {
    let load = Load { due: vec![], lasts: vec![], cap: Some(1), workers: 2 };
    assert!(run(&load, &[]).await.records.is_empty());
}

fn paused() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

proptest! {
    /// Forall due times, lengths of answers, caps and workers: requests are sent when a queue with that many
    /// servers takes them, each once, and never more at once than allowed.
    #[test]
    fn dispatch_is_a_queue_with_as_many_servers_as_permits(
        gaps in prop::collection::vec((0_u64..6000, 0_u64..12), 0..40),
        cap in prop::option::of(1_usize..6),
    ) {
        let due: Vec<u64> = gaps.iter().scan(0, |at, (gap, _)| { *at += gap; Some(*at) }).collect();
        let lasts: Vec<u64> = gaps.iter().map(|(_, half)| half * 2).collect();
        // The timer counts whole ms and is never early.
        let ticks: Vec<u64> = due.iter().map(|due| due.div_ceil(1000)).collect();
        let want = queue(&ticks, &lasts, cap);
        let load = Load { due, lasts, cap, workers: 1 };
        let outcomes = paused().block_on(run(&load, &[]));
        prop_assert_eq!(outcomes.sent_ms(), want);
        let indices: Vec<usize> = outcomes.records.iter().map(|record| record.index).collect();
        prop_assert_eq!(indices, (0..load.due.len()).collect::<Vec<_>>());
        prop_assert!(outcomes.order.is_sorted());
        prop_assert!(outcomes.most <= cap.unwrap_or(usize::MAX));
    }

    /// Forall plans whose requests are due at different ticks: it does not matter how many workers share them.
    #[test]
    fn workers_share_one_queue(
        gaps in prop::collection::vec((1_u64..6, 0_u64..12), 0..40),
        cap in prop::option::of(1_usize..6),
        workers in 2_usize..5,
    ) {
        let ticks: Vec<u64> = gaps.iter().scan(0, |at, (gap, _)| { *at += gap; Some(*at) }).collect();
        let lasts: Vec<u64> = gaps.iter().map(|(_, half)| half * 2).collect();
        let want = queue(&ticks, &lasts, cap);
        let load = Load { due: micros(&ticks), lasts, cap, workers };
        let outcomes = paused().block_on(run(&load, &[]));
        prop_assert_eq!(outcomes.sent_ms(), want);
        prop_assert!(outcomes.most <= cap.unwrap_or(usize::MAX));
    }
}
