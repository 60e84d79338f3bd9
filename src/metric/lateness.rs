//! How late requests were sent, and what for.
//!
//! `sent − due` is the sum of three waits, each over all requests that were sent:
//!
//! - `queue_time`: `released − due`, the time under the cap on requests in flight; only where there is a cap.
//! - `send_lateness`: from `released` until the client took the request up; the client's own fault.
//! - `connect_time`: the wait for a connection to be opened, over the requests that had to wait for one.

use std::time::Duration;

use super::{Metric, Run, Stat, count, real};
use crate::model::RequestRecord;
use crate::stats::Sorted;

pub(super) const METRIC: Metric = Metric { name: "lateness", stats };

fn stats(run: &Run<'_>) -> Vec<Stat> {
    let sent = || run.records.iter().filter(|record| record.sent.is_some());
    let mut stats = waits("send_lateness", sent().filter_map(lateness));
    let queued = |record: &RequestRecord| record.released.saturating_sub(record.due);
    if sent().any(|record| !queued(record).is_zero()) {
        stats.extend(waits("queue_time", sent().map(queued)));
    }
    let connects: Vec<Duration> = sent().filter_map(|record| record.connect).collect();
    if !connects.is_empty() {
        stats.push(count("waited_for_connection", connects.len() as u64));
        stats.extend(waits("connect_time", connects.into_iter()));
    }
    stats
}

/// From when `record` could have been sent until the client took it up; `None` if it never was.
pub fn lateness(record: &RequestRecord) -> Option<Duration> {
    let last = record.sent?.saturating_sub(record.connect.unwrap_or_default());
    let taken = record.first_sent.unwrap_or(last);
    Some(taken.saturating_sub(record.released))
}

/// Median, 99th percentile and maximum of `waits`, in ms.
fn waits(name: &str, waits: impl Iterator<Item = Duration>) -> Vec<Stat> {
    let ms = Sorted::new(waits.map(|wait| wait.as_secs_f64() * 1e3).collect());
    vec![
        real(&format!("median_{name}_ms"), ms.percentile(50.0)),
        real(&format!("p99_{name}_ms"), ms.percentile(99.0)),
        real(&format!("max_{name}_ms"), ms.max()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Figure;
    use crate::metric::testing::{record, run};

    #[test]
    fn three_waits_make_the_delay() {
        let ms = Duration::from_millis;
        let mut late = record(1000, &[1100], &["a"]);
        (late.due, late.released, late.connect) = (ms(100), ms(700), Some(ms(250)));
        let records = [late, record(5, &[10], &["b"])];
        let stats = stats(&run(&records));
        let figure = |key: &str| stats.iter().find(|stat| stat.key == key).unwrap().value;
        assert_eq!(figure("max_send_lateness_ms"), Figure::Real(50.0));
        assert_eq!(figure("max_queue_time_ms"), Figure::Real(600.0));
        assert_eq!(figure("waited_for_connection"), Figure::Count(1));
        assert_eq!(figure("max_connect_time_ms"), Figure::Real(250.0));
        let calm = [record(5, &[10], &["b"])];
        assert_eq!(super::stats(&run(&calm)).len(), 3);
    }
}
