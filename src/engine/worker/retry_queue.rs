//! Requests that are sent again: nobody listened, or the server said that it is too busy (`--retries`).

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use crate::engine::in_flight::InFlight;
use crate::model::{Failure, FailureKind};

/// First wait where the server names none; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// Longest wait, whoever names it.
const LONGEST_WAIT: Duration = Duration::from_mins(10);

/// Doublings of the wait at most.
const DOUBLINGS: u32 = 6;

/// A request that is to be sent again, and what became of it so far.
pub(super) type Waiting = (Box<InFlight>, Failure);

/// Requests that wait until they are sent again.
#[derive(Debug, Default)]
pub(super) struct RetryQueue {
    /// By when that is, and by their place in the plan.
    waiting: BTreeMap<(Duration, usize), Waiting>,
}

impl RetryQueue {
    /// Adds a request that failed with `failure` and is to be sent again at `at`.
    pub(super) fn push(&mut self, at: Duration, in_flight: Box<InFlight>, failure: Failure) {
        self.waiting.insert((at, in_flight.request.index), (in_flight, failure));
    }

    /// Returns whether no request waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// When the first is to be sent again, if there is one.
    pub(super) fn next(&self) -> Option<Duration> {
        self.waiting.first_key_value().map(|(&(at, _), _)| at)
    }

    /// Takes out the first, if its time has come at `now`.
    pub(super) fn pop_due(&mut self, now: Duration) -> Option<Box<InFlight>> {
        let first = self.waiting.first_entry().filter(|first| first.key().0 <= now)?;
        let (in_flight, _) = first.remove();
        Some(in_flight)
    }

    /// Takes out the first, whenever its time is.
    pub(super) fn pop(&mut self) -> Option<Waiting> {
        self.waiting.pop_first().map(|(_, waiting)| waiting)
    }
}

/// Returns how long to wait before another attempt after `failure`, the last of `attempts` of which there may be
/// `retries` more than one; `None` if the failure is final. `retry_after` is what the server asked for at `now`.
pub(super) fn wait(
    failure: &Failure,
    attempts: u32,
    retries: u32,
    retry_after: Option<&str>,
    now: impl FnOnce() -> SystemTime,
) -> Option<Duration> {
    let is_refused = failure.kind == FailureKind::ConnectRefused;
    let is_busy =
        failure.kind == FailureKind::HttpStatus && matches!(failure.status, Some(429 | 503));
    if attempts > retries || !(is_refused || is_busy) {
        return None;
    }
    let named = retry_after.and_then(|text| named_wait(text, now()));
    // Attempts begin at 1.
    let doublings = (attempts - 1).min(DOUBLINGS);
    Some(named.unwrap_or(FIRST_WAIT * 2_u32.pow(doublings)).min(LONGEST_WAIT))
}

/// The wait that the value of `retry-after` asks for at `now`: seconds, or a date.
fn named_wait(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date: SystemTime = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().into();
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::in_flight::tests::in_flight;
    use crate::model::Phase;

    const NOW: fn() -> SystemTime = || SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770);

    #[test]
    fn waits_that_servers_ask_for() {
        let s = Duration::from_secs;
        for (text, want) in [
            ("0", Some(s(0))),
            (" 120 ", Some(s(120))),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(s(7))),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(s(0))),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(named_wait(text, NOW()), want, "{text}");
        }
    }

    fn failure(kind: FailureKind, status: Option<u16>) -> Failure {
        Failure { status, ..Failure::new(kind, Phase::Headers, "") }
    }

    #[test]
    fn waits_double_and_have_an_end() {
        let refused = failure(FailureKind::ConnectRefused, None);
        let wait = |attempts, retry_after| wait(&refused, attempts, 100, retry_after, NOW);
        let ms = |ms| Some(Duration::from_millis(ms));
        let waits: Vec<_> = [1, 2, 3, 7, 8, 90].map(|attempts| wait(attempts, None)).into();
        assert_eq!(waits, [ms(500), ms(1000), ms(2000), ms(32_000), ms(32_000), ms(32_000)]);
        assert_eq!(wait(5, Some("1")), ms(1000));
        assert_eq!(wait(2, Some("soon")), ms(1000));
        assert_eq!(wait(1, Some("86400")), Some(LONGEST_WAIT));
    }

    #[test]
    fn only_what_the_server_turned_away_is_sent_again() {
        let is_again =
            |kind, status, attempts| wait(&failure(kind, status), attempts, 2, None, NOW).is_some();
        assert!(is_again(FailureKind::HttpStatus, Some(429), 1));
        assert!(is_again(FailureKind::HttpStatus, Some(503), 2));
        assert!(!is_again(FailureKind::HttpStatus, Some(503), 3), "it was the last attempt");
        assert!(!is_again(FailureKind::HttpStatus, Some(500), 1));
        assert!(!is_again(FailureKind::Transport, None, 1));
        assert!(!is_again(FailureKind::ServerError, Some(429), 1));
    }

    #[test]
    fn the_first_that_is_due_comes_first() {
        let ms = Duration::from_millis;
        let mut queue = RetryQueue::default();
        assert_eq!((queue.next(), queue.pop_due(ms(1000)).is_none()), (None, true));
        for (at, index) in [(30, 0), (10, 2), (10, 1)] {
            let refused = failure(FailureKind::ConnectRefused, None);
            queue.push(ms(at), in_flight(index, ms(0)), refused);
        }
        assert_eq!(queue.next(), Some(ms(10)));
        assert!(queue.pop_due(ms(9)).is_none());
        let due = [queue.pop_due(ms(20)), queue.pop_due(ms(20)), queue.pop_due(ms(20))];
        let due = due.map(|due| due.map(|in_flight| in_flight.request.index));
        assert_eq!(due, [Some(1), Some(2), None]);
        let (last, failure) = queue.pop().unwrap();
        assert_eq!((last.request.index, failure.kind), (0, FailureKind::ConnectRefused));
        assert!(queue.pop().is_none());
    }
}
