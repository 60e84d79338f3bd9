//! What sending again cost: figures of requests that the server turned away at first.
//!
//! - `retried_requests`: requests that were sent more than once.
//! - `retry_attempts`: attempts beyond the first, over all requests.
//! - `e2e_with_retries`: `done` − `sent` of the first attempt, over completed requests.
//! - `ttft_with_retries`: first output − `sent` of the first attempt, likewise.
//!
//! The last two are what a user waits. Where nothing was sent again they equal E2E latency and TTFT,
//! which begin with the last attempt, and are left out.

use super::latencies::Latencies;
use super::{Ended, Gather, Metric, Run, Stat, Terms, count, ms};
use crate::analysis::measure::{Measure, Series};
use crate::model::RequestRecord;

pub(super) const METRIC: Metric =
    Metric { name: "retries", gather: |terms| Box::new(Retries::new(terms)) };

#[derive(Debug)]
struct Retries {
    retried: u64,
    attempts: u64,
    ttft: Latencies,
    e2e: Latencies,
}

impl Retries {
    fn new(terms: &Terms<'_>) -> Self {
        let ttft = |r: &RequestRecord| Some(ms(r.first_token()?.saturating_sub(begun(r)?)));
        let e2e = |r: &RequestRecord| Some(ms(r.done?.saturating_sub(begun(r)?)));
        Self {
            retried: 0,
            attempts: 0,
            ttft: Latencies::new(terms, Series::TtftWithRetries, ttft),
            e2e: Latencies::new(terms, Series::E2eWithRetries, e2e),
        }
    }
}

/// When `record` was sent for the first time.
fn begun(record: &RequestRecord) -> Option<std::time::Duration> {
    record.first_sent.or(record.sent)
}

impl Gather for Retries {
    fn add(&mut self, request: &Ended<'_>) {
        let again = request.record.attempts.saturating_sub(1);
        self.retried += u64::from(again > 0);
        self.attempts += u64::from(again);
        self.ttft.add(request);
        self.e2e.add(request);
    }

    fn stats(self: Box<Self>, run: &Run) -> Vec<Stat> {
        let mut stats = vec![
            count(Measure::RetriedRequests, self.retried),
            count(Measure::RetryAttempts, self.attempts),
        ];
        if self.retried > 0 {
            stats.extend(self.ttft.into_stats(run));
            stats.extend(self.e2e.into_stats(run));
        }
        stats
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::analysis::measure::Statistic;
    use crate::analysis::metric::Figure;
    use crate::analysis::metric::testing::{figure, record, stats_of};

    #[test]
    fn users_wait_from_the_first_attempt() {
        let mut again = record(500, &[700, 900], &["a", "b"]);
        again.attempts = 3;
        again.first_sent = Some(Duration::from_millis(100));
        let records = [again, record(0, &[100], &["a"])];
        let stats = stats_of(&METRIC, &records);
        assert_eq!(figure(&stats, Measure::RetriedRequests), Figure::Count(1));
        assert_eq!(figure(&stats, Measure::RetryAttempts), Figure::Count(2));
        assert_eq!(
            figure(&stats, Measure::Of(Statistic::Mean, Series::TtftWithRetries)),
            Figure::Real(350.0)
        );
        assert_eq!(
            figure(&stats, Measure::Of(Statistic::Max, Series::E2eWithRetries)),
            Figure::Real(800.0)
        );
    }
}
