//! Time limits of a request, and when it has passed one.

use std::time::Duration;

use crate::model::{Failure, FailureKind, Phase};

/// Time limits; `None` waits as long as it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For a connection to stand, through proxies and with TLS.
    pub connect: Option<Duration>,
    /// From the send to the first output.
    pub first_token: Option<Duration>,
    /// Between two events of a stream.
    pub idle: Option<Duration>,
    /// From the beginning, with the connection, to the end.
    pub request: Option<Duration>,
    /// For requests in flight when the run is to end early.
    pub grace: Duration,
}

impl Default for Limits {
    /// Long enough for slow models behind long queues, and short enough to end a job whose server has died.
    fn default() -> Self {
        Self {
            connect: Some(Duration::from_mins(1)),
            first_token: Some(Duration::from_hours(1)),
            idle: Some(Duration::from_mins(10)),
            request: Some(Duration::from_hours(6)),
            grace: Duration::from_secs(5),
        }
    }
}

/// How far a request has come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    /// When it was taken up.
    pub(super) taken_up: Duration,
    /// When the attempt under way was begun.
    pub(super) begun: Duration,
    /// When it was handed to an open connection.
    pub(super) sent: Option<Duration>,
    /// When the last event arrived.
    pub(super) event: Option<Duration>,
    /// Whether there was output.
    pub(super) output: bool,
}

impl Limits {
    /// Returns how often to look, so that a limit is kept to a quarter of itself or better; at most `longest`.
    pub(super) fn interval(&self, longest: Duration) -> Duration {
        let set = [self.connect, self.first_token, self.idle, self.request];
        let shortest = set.into_iter().flatten().min().unwrap_or(longest);
        (shortest / 4).clamp(Duration::from_millis(5), longest)
    }

    /// The limit that a request has passed at `now`; the phase is set by who knows it.
    pub(super) fn passed(&self, at: Waiting, now: Duration) -> Option<Failure> {
        let over = |limit: Option<Duration>, since: Duration| {
            limit.filter(|&limit| now.saturating_sub(since) > limit)
        };
        let fail = |kind, what: &str, flag: &str, limit: Duration| {
            Some(Failure::new(kind, Phase::Connect, format!("{what} within {limit:?} ({flag})")))
        };
        if let Some(limit) = over(self.request, at.taken_up) {
            let kind = FailureKind::RequestTimeout;
            return fail(kind, "the request did not end", "--request-timeout", limit);
        }
        let Some(sent) = at.sent else {
            let limit = over(self.connect, at.begun)?;
            let kind = FailureKind::ConnectTimeout;
            return fail(kind, "no connection stood", "--connect-timeout", limit);
        };
        if !at.output {
            let limit = over(self.first_token, sent)?;
            let kind = FailureKind::FirstTokenTimeout;
            return fail(kind, "no output came", "--first-token-timeout", limit);
        }
        let limit = over(self.idle, at.event.unwrap_or(sent))?;
        let kind = FailureKind::IdleTimeout;
        fail(kind, "no further event came", "--idle-timeout", limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_that_applies_is_told() {
        let s = Duration::from_secs;
        let limits = Limits {
            connect: Some(s(1)),
            first_token: Some(s(5)),
            idle: Some(s(2)),
            request: Some(s(20)),
            grace: s(0),
        };
        let none = Limits { connect: None, first_token: None, idle: None, request: None, ..limits };
        let at =
            |sent, event, output| Waiting { taken_up: s(10), begun: s(10), sent, event, output };
        for (waiting, now, want) in [
            (at(None, None, false), 11, None),
            (at(None, None, false), 12, Some(FailureKind::ConnectTimeout)),
            (at(Some(s(11)), None, false), 16, None),
            (at(Some(s(11)), None, false), 17, Some(FailureKind::FirstTokenTimeout)),
            (at(Some(s(11)), Some(s(16)), false), 17, Some(FailureKind::FirstTokenTimeout)),
            (at(Some(s(11)), Some(s(20)), true), 22, None),
            (at(Some(s(11)), Some(s(20)), true), 23, Some(FailureKind::IdleTimeout)),
            (at(Some(s(11)), Some(s(30)), true), 31, Some(FailureKind::RequestTimeout)),
            (at(None, None, false), 31, Some(FailureKind::RequestTimeout)),
        ] {
            let passed = limits.passed(waiting, s(now)).map(|failure| failure.kind);
            assert_eq!(passed, want, "{waiting:?} {now}");
            assert_eq!(none.passed(waiting, s(now)), None);
        }
        let failure = limits.passed(at(None, None, false), s(12)).unwrap();
        assert_eq!(failure.message, "no connection stood within 1s (--connect-timeout)");
    }

    #[test]
    fn short_limits_are_looked_at_often() {
        let ms = Duration::from_millis;
        let limits = |idle| Limits { idle: Some(idle), ..Limits::default() };
        assert_eq!(limits(ms(100)).interval(ms(500)), ms(25));
        assert_eq!(limits(ms(4)).interval(ms(500)), ms(5));
        assert_eq!(Limits::default().interval(ms(500)), ms(500));
    }
}
