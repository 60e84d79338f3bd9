//! When the tokens of a request came.

use std::time::Duration;

use crate::model::RequestRecord;

/// When the tokens of `record` came, in s from the start of the run, in no order.
///
/// Taken from the arrivals and not from sums of gaps, so that the last token of an event is at the event's own instant.
pub(super) fn token_times(record: &RequestRecord) -> impl Iterator<Item = f64> + '_ {
    let seconds = |ns: u64| Duration::from_nanos(ns).as_secs_f64();
    let later = record.events.gaps().flat_map(move |gap| {
        let (from, to, k) = (seconds(gap.from_ns), seconds(gap.to_ns), gap.tokens);
        let spread = move |j| from + gap.length().as_secs_f64() * f64::from(j) / f64::from(k);
        (1..=k).map(move |j| if j == k { to } else { spread(j) })
    });
    record.events.firsts().map(seconds).chain(later)
}

/// `t` in ns.
pub(super) fn nanos(t: Duration) -> u64 {
    u64::try_from(t.as_nanos()).unwrap_or(u64::MAX)
}
