//! Runs that are sound, and runs that are not.

use super::*;
use crate::analysis::testing::record;
use crate::health::{ClockSource, Lag, WorkerHealth};
use crate::model::{Failure, FailureKind, Phase};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// What a thread sees of two requests of 200 ms with three events, one after the other.
fn health() -> Health {
    let mut lag = Lag::default();
    for at in 0..6 {
        lag.add(ms(at * 100), Duration::from_micros(50));
    }
    let worker = WorkerHealth {
        lag,
        reads: 6,
        events: 6,
        bytes: 600,
        cpu: ms(20),
        run_delay: Some(ms(1)),
        wall: ms(400),
        in_flight: ms(400),
        ..WorkerHealth::default()
    };
    Health { workers: vec![worker], ..Health::default() }
}

fn records() -> Vec<RequestRecord> {
    vec![
        record(0, &[50, 100, 200], &["a", "b", "c"]),
        record(200, &[250, 300, 400], &["a", "b", "c"]),
    ]
}

fn failed(mut record: RequestRecord) -> RequestRecord {
    record.outcome = Outcome::Failed(Failure {
        kind: FailureKind::Transport,
        phase: Phase::Stream,
        status: None,
        message: String::new(),
        excerpt: None,
    });
    record
}

fn evidence(records: &[RequestRecord]) -> Evidence {
    let mut evidence = Evidence::new(true);
    for record in records {
        evidence.add(&Ended::of(record));
    }
    evidence
}

fn audit_of(records: &[RequestRecord], health: &Health) -> Audit {
    Audit::new(evidence(records), Asked::default(), records.len() as u64, 0, health)
}

#[test]
fn a_calm_run_is_sound() {
    let audit = audit_of(&records(), &health());
    assert!(audit.sound(), "{audit:?}");
    assert_eq!(audit.checks.len(), 5);
    assert_eq!(audit.offered_rate, Some(5.0));
    assert_eq!(audit.achieved_rate, Some(5.0));
}

#[test]
fn ledgers() {
    let mut unsent = record(0, &[], &[]);
    (unsent.outcome, unsent.sent) = (Outcome::NotSent, None);
    let three = [record(0, &[5], &["a"]), failed(record(0, &[5], &["a"])), unsent];
    let evidence = evidence(&three);
    assert_eq!(evidence.unfinished(), 1);
    let ledger = Ledger { scheduled: 3, ..evidence.ledger };
    let want = Ledger {
        scheduled: 3,
        sent: 2,
        never_sent: 1,
        completed: 1,
        failed: 1,
        cancelled: 0,
        resent: 0,
        unfinished: 0,
    };
    assert_eq!(ledger, want);
    assert!(ledger.balances());
    assert!(!Ledger { scheduled: 4, ..ledger }.balances(), "one is missing");
    assert!(
        Ledger { scheduled: 4, unfinished: 1, ..ledger }.balances(),
        "it is known that one is missing"
    );
}

/// The names of the checks that fail.
fn broken(records: &[RequestRecord], health: &Health) -> Vec<&'static str> {
    let audit = audit_of(records, health);
    audit.checks.iter().filter(|check| !check.passed).map(|check| check.name).collect()
}

#[test]
fn each_law_can_be_broken() {
    let mut wrong = records();
    wrong[0].headers = Some(ms(60));
    assert_eq!(broken(&wrong, &health()), ["order"]);
    let mut wrong = records();
    wrong[0].done = Some(ms(400));
    assert_eq!(broken(&wrong, &health()), ["little"]);
    let mut lost = health();
    lost.workers[0].events = 7;
    assert_eq!(broken(&records(), &lost), ["events"]);
    let mut wrong = records();
    wrong[1].output_tokens.as_mut().unwrap().count = 2;
    assert_eq!(broken(&wrong, &health()), ["tokens"]);
}

#[test]
fn each_limit_is_told() {
    let evidence = |records: &[RequestRecord], health: &Health| {
        let audit = audit_of(records, health);
        audit.limits.iter().map(|limit| limit.evidence.clone()).collect::<Vec<_>>()
    };
    let late =
        |n: u64| (0..n).map(|i| whole(i * 10, i * 10 + 3, 20)).collect::<Vec<RequestRecord>>();
    for (n, told) in [(19, None), (20, Some("p50")), (100, Some("p90")), (1000, Some("p99"))] {
        let told = told.map(|p| format!("requests were sent late, {p} 3.00 ms"));
        let found = evidence(&late(n), &Health::default());
        assert_eq!(found.first(), told.as_ref(), "{n} requests");
    }
    let with = |change: fn(&mut WorkerHealth)| {
        let mut health = health();
        change(&mut health.workers[0]);
        evidence(&records(), &health)
    };
    assert_eq!(
        with(|worker| worker.cpu = ms(380)),
        ["a thread of the load was busy for 95 % of the run"]
    );
    // It costs nothing as long as nothing is late for it.
    assert_eq!(with(|worker| worker.run_delay = Some(ms(100))), [""; 0]);
    let waits = |worker: &mut WorkerHealth| {
        worker.run_delay = Some(ms(100));
        worker.lag.add(ms(1), ms(10));
    };
    assert_eq!(with(waits), ["a thread of the load waited for a CPU for 25 % of the run"]);
    let slow = |worker: &mut WorkerHealth| {
        worker.lag = Lag::default();
        worker.lag.add(ms(1), ms(30));
        worker.merged = 1;
    };
    let told = with(slow);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("data waited to be read, p99 30."), "{told:?}");
    assert_eq!(told[1], "16.7 % of the events share their time with a later one");
}

/// A request without tokens that was due at `due` ms, sent at `sent` ms and took `took` ms.
fn whole(due: u64, sent: u64, took: u64) -> RequestRecord {
    let mut record = record(sent, &[], &[]);
    (record.due, record.released) = (ms(due), ms(due));
    (record.done, record.output_tokens) = (Some(ms(sent + took)), None);
    record
}

#[test]
fn nobody_is_late_for_what_does_not_exist() {
    let late = |records: &[RequestRecord]| {
        let audit = audit_of(records, &Health::default());
        audit.limits.iter().any(|limit| limit.evidence.contains("sent late"))
    };
    let spaced = |each: &dyn Fn(u64) -> RequestRecord| (0..50).map(each).collect::<Vec<_>>();
    let streamed = |at: u64, late: u64, ttft: u64| {
        let mut one = record(at + late, &[at + late + ttft], &["a"]);
        (one.due, one.released) = (ms(at), ms(at));
        one
    };
    for (name, is_late, records) in [
        ("answers that take long", false, spaced(&|i| whole(i * 10, i * 10 + 3, 200))),
        ("answers that are quick", true, spaced(&|i| whole(i * 10, i * 10 + 3, 20))),
        ("streams that take long", false, spaced(&|i| streamed(i * 10, 3, 200))),
        ("streams that are quick", true, spaced(&|i| streamed(i * 10, 3, 20))),
        ("all at once", false, spaced(&|i| whole(0, i, 1))),
        ("no answer at all", false, spaced(&|i| failed(whole(i * 10, i * 10 + 3, 1)))),
        ("one alone", false, vec![whole(0, 50, 1)]),
    ] {
        assert_eq!(late(&records), is_late, "{name}");
    }
}

#[test]
fn ends_that_are_seen_late_cost_a_closed_loop() {
    // Each goes when the one before has ended.
    let closed = |gap: u64| {
        let at = move |i: u64| i * (100 + gap);
        (0..10).map(move |i| {
            let mut one = record(at(i), &[at(i) + 50, at(i) + 100], &["a", "b"]);
            (one.due, one.released) = (ms(0), ms(at(i)));
            one
        })
    };
    let lost = |gap: u64, records: &[RequestRecord]| {
        let mut health = health();
        let worker = &mut health.workers[0];
        (worker.events, worker.wall) = (20, ms(10 * (100 + gap)));
        (worker.in_flight, worker.unseen) = (ms(10 * (100 + gap)), ms(10 * gap));
        let audit = audit_of(records, &health);
        assert!(audit.checks.iter().all(|check| check.passed), "{:?}", audit.checks);
        audit.limits.iter().map(|limit| limit.evidence.clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        lost(25, &closed(25).collect::<Vec<_>>()),
        ["ends were seen late, 25.00 ms each: the closed loop lost 18.0 % of its load"]
    );
    assert_eq!(lost(1, &closed(1).collect::<Vec<_>>()), [""; 0]);
    // The same where nothing waits for an end.
    let open: Vec<RequestRecord> =
        closed(25).map(|one| RequestRecord { due: one.released, ..one }).collect();
    assert_eq!(lost(25, &open), [""; 0]);
}

#[test]
fn a_starved_run_still_adds_up() {
    // The thread saw the end of the first request 5 s late; no more slack follows from that.
    let mut late = health();
    late.workers[0].lag.add(ms(5400), ms(5000));
    (late.workers[0].in_flight, late.workers[0].unseen) = (ms(5400), ms(5000));
    assert_eq!(broken(&records(), &late), [""; 0]);
    late.workers[0].unseen = ms(4000);
    assert_eq!(broken(&records(), &late), ["little"]);
}

#[test]
fn what_the_network_held_back_is_no_limit_of_the_client() {
    let mut health = health();
    let worker = &mut health.workers[0];
    (worker.held, worker.held_longest, worker.gathered) = (2, ms(60), 3);
    let audit = audit_of(&records(), &health);
    assert!(audit.limits.is_empty(), "{:?}", audit.limits);
    let notes: Vec<&str> = audit.notes.iter().map(|note| note.evidence.as_str()).collect();
    assert_eq!(
        notes,
        [
            "the network lost or reordered packets: 2 reads had waited for one, up to 60.0 ms, and 3 events share their time with a later one"
        ]
    );
}

#[test]
fn findings_name_what_they_affect() {
    let mut health = health();
    health.workers[0].cpu = ms(380);
    health.workers[0].exhausted = 1;
    let audit = audit_of(&records(), &health);
    assert_eq!(audit.affected(), [Affected::Scheduled, Affected::Throughput]);
    let first = audit.limits[0].to_string();
    assert!(first.contains("(affects TTFT from scheduled time, throughput): add"), "{first}");
    health.clock = ClockSource::User;
    assert_eq!(audit_of(&records(), &health).affected().len(), 4);
}

#[test]
fn there_is_no_verdict_where_nothing_succeeded() {
    let mut health = health();
    health.workers[0].cpu = ms(380);
    let none: Vec<RequestRecord> = records().into_iter().map(failed).collect();
    assert!(audit_of(&none, &health).limits.is_empty());
}
