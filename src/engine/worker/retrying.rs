//! Sending again what the server turned away: nobody listened, or it said that it is too busy.

use std::time::{Duration, SystemTime};

use super::Worker;
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

impl Worker {
    /// Keeps the request for another attempt, unless its failure is final or its time would be over by then;
    /// then it is given back.
    pub(super) fn keep_for_later(
        &mut self,
        in_flight: Box<InFlight>,
        failure: &Failure,
    ) -> Option<Box<InFlight>> {
        let options = &self.shared.options;
        let is_over = options.stop.is_draining() || in_flight.attempts > options.retries;
        let turned_away = failure.kind == FailureKind::ConnectRefused
            || (failure.kind == FailureKind::HttpStatus
                && matches!(failure.status, Some(429 | 503)));
        if is_over || !turned_away {
            return Some(in_flight);
        }
        let told = in_flight.retry_after().and_then(|text| wait_until(text, SystemTime::now()));
        // Attempts begin at 1.
        let doublings = (in_flight.attempts - 1).min(DOUBLINGS);
        let wait = told.unwrap_or(FIRST_WAIT * 2_u32.pow(doublings)).min(LONGEST_WAIT);
        let at = self.clock.now() + wait;
        if options.limits.request.is_some_and(|limit| at > in_flight.taken_up() + limit) {
            return Some(in_flight);
        }
        self.shared.left(in_flight.endpoint);
        let key = (at, in_flight.request.index);
        self.later.insert(key, (in_flight, failure.clone()));
        None
    }

    /// Sends again what has waited long enough.
    pub(super) fn send_again(&mut self) {
        while let Some(entry) = self.later.first_entry() {
            let now = self.clock.now();
            if entry.key().0 > now {
                return;
            }
            let (mut in_flight, _) = entry.remove();
            in_flight.again();
            in_flight.begun = now;
            let (index, attempt) = (in_flight.request.index, in_flight.attempts);
            in_flight.endpoint = self.shared.choose(index, attempt);
            self.begin(in_flight);
        }
    }

    /// Gives up what waits to be sent again: the last failure of each counts.
    pub(super) fn send_no_more(&mut self) {
        while let Some((_, (in_flight, failure))) = self.later.pop_first() {
            // It leaves the endpoint once more.
            self.shared.back(in_flight.endpoint);
            self.conclude(in_flight, &failure);
        }
    }
}

/// The wait that the value of `retry-after` asks for at `now`: seconds, or a date.
fn wait_until(text: &str, now: SystemTime) -> Option<Duration> {
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

    #[test]
    fn waits_that_servers_ask_for() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770);
        let s = Duration::from_secs;
        for (text, want) in [
            ("0", Some(s(0))),
            (" 120 ", Some(s(120))),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(s(7))),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(s(0))),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(wait_until(text, now), want, "{text}");
        }
    }
}
