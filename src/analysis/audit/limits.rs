//! Whether the client was the limit.

use std::time::Duration;

use super::Affected::{self, Itl, Scheduled, Throughput, Ttft};
use super::{Evidence, Finding};
use crate::analysis::measures::ms;
use crate::analysis::stats::Method;
use crate::health::{ClockSource, Health, Machine, WorkerHealth};

/// What is sent late counts from when it is sent, and was answered as soon as that allows.
const SENDS: &[Affected] = &[Scheduled];

/// What holds a load back.
const LOAD: &[Affected] = &[Scheduled, Throughput];

/// What holds a load back, and connections with it.
const CONNECTIONS: &[Affected] = &[Scheduled, Ttft, Throughput];

/// Everything.
const ALL: &[Affected] = &[Scheduled, Ttft, Itl, Throughput];

/// Sends are late if a high percentile of their lateness is above this...
const LATE: Duration = Duration::from_millis(1);

/// ...and above this share of the median TTFT.
const LATE_SHARE: f64 = 0.02;

/// Percentiles of lateness, and the requests that carry them: ten lie beyond each.
const LATENESS: [(f64, u64); 4] = [(99.0, 1000), (95.0, 200), (90.0, 100), (50.0, 20)];

/// A thread of the load that was busy for more than this share of the run could not do more.
const BUSY: f64 = 0.9;

/// A thread that waited for a CPU for more than this share of the run had to share it.
const WAITED: f64 = 0.1;

/// Reads later than this, at the 99th percentile, mean that the client could not keep up with the data.
pub(super) const LAG: Duration = Duration::from_millis(20);

/// Events that share their time with a later one, as a share of all: above it gaps are blurred.
const MERGED: f64 = 0.02;

/// So many requests that waited for a worker of the server are no chance.
const LEFT: u64 = 2;

/// A client that did not run for longer than this...
const STOPPED: Duration = Duration::from_millis(100);

/// ...and for more than this share of the run, was not there for it.
const STOPPED_SHARE: f64 = 0.01;

/// A host that took more than this share of the machine's CPU time left it too little.
const STOLEN: f64 = 0.1;

/// A client that had used up its CPU quota in more than this share of the periods was held back.
const THROTTLED: f64 = 0.05;

/// Why the client was the limit; empty if it was not.
pub(super) fn limits(evidence: Evidence, health: &Health) -> Vec<Finding> {
    let mut limits = Vec::new();
    let lost = lost(&evidence, health);
    // The kernel takes the time of what comes also while the client stands still.
    let held_back = if health.clock == ClockSource::Kernel { LOAD } else { ALL };
    let mut limit = |affects, evidence: String, advice| {
        limits.push(Finding { evidence, advice, affects });
    };
    if let Some((percentile, late)) = late(evidence) {
        limit(
            SENDS,
            format!("requests were sent late, p{percentile:.0} {late:.2} ms"),
            "lower --request-rate or --max-concurrency, add --worker-threads, or use a machine with idle cores",
        );
    }
    let Machine { stops, longest_stop, steal, throttled, .. } = health.machine;
    if let Some((absent, share)) = absent(health) {
        limit(
            held_back,
            format!(
                "the client did not run for {:.2} s, {:.1} % of the run ({stops} stops, the longest {:.2} s)",
                absent.as_secs_f64(),
                share * 100.0,
                longest_stop.as_secs_f64()
            ),
            "it, its container or its machine was stopped or starved, and the load stood still: run it where it keeps running",
        );
    }
    if let Some(share) = steal.filter(|&share| share > STOLEN) {
        limit(
            held_back,
            format!("the host took {:.0} % of this machine's CPU time (steal)", share * 100.0),
            "use a machine with CPUs of its own",
        );
    }
    if let Some(share) = throttled.filter(|&share| share > THROTTLED) {
        limit(
            held_back,
            format!(
                "the CPU quota was used up in {:.0} % of its periods, and the client stopped",
                share * 100.0
            ),
            "raise the quota of its container (cpu.max)",
        );
    }
    if let Some((each, share)) = lost {
        limit(
            LOAD,
            format!(
                "ends were seen late, {each:.2} ms each: the closed loop lost {:.1} % of its load",
                share * 100.0
            ),
            "add --worker-threads, or use a machine with idle cores",
        );
    }
    let share =
        |part: Duration, worker: &WorkerHealth| part.as_secs_f64() / worker.wall.as_secs_f64();
    let most = |part: fn(&WorkerHealth) -> Duration| {
        let workers =
            health.workers.iter().filter(|worker| worker.wall > Duration::from_millis(100));
        workers.map(|worker| share(part(worker), worker)).fold(0.0, f64::max)
    };
    let busy = most(|worker| worker.cpu);
    if busy > BUSY {
        limit(
            held_back,
            format!("a thread of the load was busy for {:.0} % of the run", busy * 100.0),
            "add --worker-threads",
        );
    }
    let waited = most(|worker| worker.run_delay.unwrap_or_default());
    let lag = Duration::from_nanos(health.lag().quantile_ns(0.99));
    // What that costs is measured where the kernel takes the times: sends, ends and reads that are late.
    if waited > WAITED && (health.clock != ClockSource::Kernel || lag > LAG / 4) {
        limit(
            held_back,
            format!("a thread of the load waited for a CPU for {:.0} % of the run", waited * 100.0),
            "leave cores to the client, or run it on another machine than the server",
        );
    }
    let exhausted = health.sum(|worker| worker.exhausted);
    if exhausted > 0 {
        limit(
            LOAD,
            format!("{exhausted} requests waited for a file descriptor or local port to be free"),
            "raise the limit (ulimit -n), or lower --max-concurrency or --request-rate",
        );
    }
    let left = health.times(|worker| &worker.left_waiting);
    if left.len() >= LEFT {
        let most = ms(Duration::from_nanos(left.max_ns()));
        limit(
            CONNECTIONS,
            format!(
                "the server left {} requests waiting up to {most:.0} ms while it answered over other connections",
                left.len()
            ),
            "its workers serve a connection until it is closed: set --max-concurrency to their number, or --connection-per-request",
        );
    }
    if lag > LAG {
        limit(
            LOAD,
            format!("data waited to be read, p99 {:.1} ms", ms(lag)),
            "arrival times are right, but what waits for an answer is sent late: add --worker-threads",
        );
    }
    let (events, merged) = (health.sum(|worker| worker.events), health.sum(|worker| worker.merged));
    let merged = merged as f64 / events.max(1) as f64;
    if merged > MERGED && health.clock == ClockSource::Kernel && lag > LAG / 4 {
        limit(
            &[Itl],
            format!("{:.1} % of the events share their time with a later one", merged * 100.0),
            "gaps are blurred by the client: add --worker-threads, or lower --read-batch",
        );
    }
    limits
}

/// A percentile of how late requests were sent and what it is, in ms, if that is too late: the highest that the number
/// of requests carries.
///
/// `None` where there is nothing to be late for, as all were due at once or none was answered, or too few were sent.
fn late(evidence: Evidence) -> Option<(f64, f64)> {
    evidence.due.rate()?;
    let Evidence { ledger, mut late, mut ttft, mut whole, .. } = evidence;
    let (percentile, _) = LATENESS.into_iter().find(|&(_, enough)| ledger.sent >= enough)?;
    let [late] = late.percentiles([percentile], Method::Linear);
    // Answers without tokens have no TTFT.
    let [ttft] = ttft.percentiles([50.0], Method::Linear);
    let [whole] = whole.percentiles([50.0], Method::Linear);
    let allowed = ms(LATE).max(ttft.or(whole)? * LATE_SHARE);
    late.filter(|&late| late > allowed).map(|late| (percentile, late))
}

/// How long the client did not run, and what share of the run that is, if it is much.
fn absent(health: &Health) -> Option<(Duration, f64)> {
    let Machine { stopped, slept, .. } = health.machine;
    let absent = stopped + slept;
    let wall = health.workers.iter().map(|worker| worker.wall).max()? + slept;
    let share = absent.as_secs_f64() / wall.as_secs_f64();
    (absent > STOPPED && share > STOPPED_SHARE).then_some((absent, share))
}

/// A stop that is too short for the verdict and long enough to show in maxima.
pub(super) fn stop(health: &Health) -> Option<Finding> {
    let Machine { stops, longest_stop, .. } = health.machine;
    (longest_stop > STOPPED && absent(health).is_none()).then(|| Finding {
        evidence: format!(
            "the client did not run for up to {:.2} s ({stops} stops)",
            longest_stop.as_secs_f64()
        ),
        advice: "too little of the run to matter, but for maxima",
        affects: &[],
    })
}

/// Data that nobody could read when it came, since the network had lost or delayed what belongs before it.
pub(super) fn held(health: &Health) -> Option<Finding> {
    let held = health.sum(|worker| worker.held);
    let longest = health.workers.iter().map(|worker| worker.held_longest).max().unwrap_or_default();
    let gathered = health.sum(|worker| worker.gathered);
    let merged = match gathered {
        0 => String::new(),
        events => format!(", and {events} events share their time with a later one"),
    };
    (held + gathered > 0).then(|| Finding {
        evidence: format!(
            "the network lost or reordered packets: {held} reads had waited for one, up to {:.1} ms{merged}",
            ms(longest)
        ),
        advice: "that time is in the latencies, and is neither the client's nor the server's",
        affects: &[],
    })
}

/// What a closed loop lost because the ends that let further requests go were seen late: in ms for each end, and as a
/// share of its load. `None` if that is little, or nothing waited for an end.
fn lost(evidence: &Evidence, health: &Health) -> Option<(f64, f64)> {
    let sum = |part: fn(&WorkerHealth) -> Duration| -> f64 {
        health.workers.iter().map(|worker| part(worker).as_secs_f64()).sum()
    };
    let (sent, followers) = (evidence.ledger.sent as f64, evidence.followers as f64);
    let unseen = sum(|worker| worker.unseen);
    let each = unseen * 1e3 / sent.max(1.0);
    let share = unseen / sum(|worker| worker.in_flight).max(unseen) * followers / sent.max(1.0);
    (each > ms(LATE) && share > LATE_SHARE).then_some((each, share))
}
