//! When requests are sent: the schedule against a queue, in a time that this test keeps itself.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use proptest::prelude::*;
use rbench::engine::schedule::{Claim, Schedule};

/// What came of a load.
#[derive(Debug, Default)]
struct Outcomes {
    /// When each request was sent, in µs, in the order of the plan.
    sent: Vec<u64>,
    /// Since when each could have been sent, in µs.
    released: Vec<u64>,
    /// Most requests in flight at once.
    most: usize,
}

/// Works on requests due at `due`, whose answers take `lasts`, both in µs, with a client that is never late.
fn run(due: &[u64], lasts: &[u64], cap: Option<usize>) -> Outcomes {
    let us = Duration::from_micros;
    let micros = |at: Duration| u64::try_from(at.as_micros()).unwrap();
    let mut schedule = Schedule::new(due.iter().map(|&due| us(due)).collect(), cap);
    let mut outcomes = Outcomes::default();
    let mut ends = BinaryHeap::new();
    let mut now = 0;
    loop {
        let wait = loop {
            match schedule.claim(us(now)) {
                Claim::Send { index, released, .. } => {
                    assert_eq!(index, outcomes.sent.len(), "the order of the plan");
                    outcomes.sent.push(now);
                    outcomes.released.push(micros(released));
                    ends.push(Reverse(now + lasts[index]));
                    outcomes.most = outcomes.most.max(ends.len());
                }
                wait => break wait,
            }
        };
        let due = match wait {
            Claim::Until(due) => Some(micros(due)),
            _ => None,
        };
        let end = ends.peek().map(|&Reverse(end)| end);
        let Some(next) = due.into_iter().chain(end).min() else {
            assert_eq!(wait, Claim::Over);
            return outcomes;
        };
        now = next;
        while ends.peek().is_some_and(|&Reverse(end)| end <= now) {
            ends.pop();
            schedule.release(us(now));
        }
    }
}

/// A queue served in its order by `cap` servers: when each request is taken.
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

#[test]
fn requests_are_sent_when_they_are_due() {
    let due = [0, 0, 3, 7, 7, 8, 500, 86_400_000_000];
    let outcomes = run(&due, &[40; 8], None);
    assert_eq!(outcomes.sent, due);
    assert_eq!(outcomes.released, due);
    assert_eq!(outcomes.most, 6);
}

#[test]
fn a_request_that_the_cap_holds_back_does_not_delay_those_after_the_jam() {
    let outcomes = run(&[0, 10, 20, 300], &[100, 50, 50, 1], Some(1));
    assert_eq!(outcomes.sent, [0, 100, 150, 300]);
    assert_eq!(outcomes.released, [0, 100, 150, 300]);
}

#[test]
fn a_late_client_is_told_apart_from_a_full_cap() {
    let us = Duration::from_micros;
    let mut schedule = Schedule::new(vec![us(10), us(20), us(30)], Some(1));
    assert_eq!(schedule.claim(us(5)), Claim::Until(us(10)));
    // The client comes late to the first one.
    assert_eq!(schedule.claim(us(14)), Claim::Send { index: 0, due: us(10), released: us(10) });
    assert_eq!(schedule.claim(us(25)), Claim::Full);
    schedule.release(us(40));
    // The cap holds the second one back until 40, and the client until 47.
    assert_eq!(schedule.claim(us(47)), Claim::Send { index: 1, due: us(20), released: us(40) });
    schedule.release(us(50));
    assert_eq!(schedule.claim(us(60)), Claim::Send { index: 2, due: us(30), released: us(50) });
    assert_eq!(schedule.claim(us(60)), Claim::Over);
}

#[test]
fn nothing_is_sent_after_the_end() {
    let us = Duration::from_micros;
    let mut schedule = Schedule::until((0..).map(move |i| us(i * 10)), us(25), Some(2));
    assert!(matches!(schedule.claim(us(0)), Claim::Send { index: 0, .. }));
    assert!(matches!(schedule.claim(us(12)), Claim::Send { index: 1, .. }));
    assert_eq!(schedule.claim(us(21)), Claim::Full);
    schedule.release(us(22));
    assert!(matches!(schedule.claim(us(23)), Claim::Send { index: 2, .. }));
    schedule.release(us(24));
    // The next one is due at 30.
    assert_eq!(schedule.claim(us(24)), Claim::Over);
    let mut closed = Schedule::until(std::iter::repeat(us(0)), us(25), Some(1));
    assert!(matches!(closed.claim(us(24)), Claim::Send { .. }));
    closed.release(us(25));
    assert_eq!(closed.claim(us(25)), Claim::Over);
}

#[test]
fn an_empty_plan_is_over() {
    assert!(run(&[], &[], Some(1)).sent.is_empty());
}

proptest! {
    /// Forall due times, lengths of answers and caps: requests are sent when a queue with that many servers takes them,
    /// each once, and never more at once than allowed.
    #[test]
    fn dispatch_is_a_queue_with_as_many_servers_as_the_cap(
        gaps in prop::collection::vec((0_u64..6000, 1_u64..12_000), 0..40),
        cap in prop::option::of(1_usize..6),
    ) {
        let due: Vec<u64> = gaps.iter().scan(0, |at, (gap, _)| { *at += gap; Some(*at) }).collect();
        let lasts: Vec<u64> = gaps.iter().map(|(_, lasts)| *lasts).collect();
        let outcomes = run(&due, &lasts, cap);
        prop_assert_eq!(&outcomes.sent, &queue(&due, &lasts, cap));
        // A client that is never late sends at once what it may send.
        prop_assert_eq!(&outcomes.released, &outcomes.sent);
        prop_assert!(outcomes.most <= cap.unwrap_or(usize::MAX));
    }
}
