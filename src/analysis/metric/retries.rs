//! What sending again cost: figures of requests that the server turned away at first.
//!
//! - `retried_requests`: requests that were sent more than once.
//! - `retry_attempts`: attempts beyond the first, over all requests.
//! - `e2e_with_retries`: `done` − `sent` of the first attempt, over completed requests.
//! - `ttft_with_retries`: first output − `sent` of the first attempt, likewise.
//!
//! The last two are what a user waits. Where nothing was sent again they equal E2E latency and TTFT,
//! which begin with the last attempt, and are left out.

use crate::analysis::counts::Ended;
use crate::analysis::gather::{Gather, Metric, Run, Terms};
use crate::analysis::latencies::Latencies;
use crate::analysis::measure::{Measure, Series};
use crate::analysis::measures::{Measures, ms};
use crate::model::RequestRecord;

pub(super) const METRIC: Metric = |terms| Box::new(Retries::new(terms));

#[derive(Debug)]
struct Retries {
    retried: u64,
    attempts: u64,
    ttft: Latencies,
    e2e: Latencies,
}

impl Retries {
    fn new(terms: &Terms<'_>) -> Self {
        Self {
            retried: 0,
            attempts: 0,
            ttft: Latencies::new(terms, Series::TtftWithRetries, |request| {
                let record = request.record;
                Some(ms(record.first_token()?.saturating_sub(begun(record)?)))
            }),
            e2e: Latencies::new(terms, Series::E2eWithRetries, |request| {
                let record = request.record;
                Some(ms(record.done?.saturating_sub(begun(record)?)))
            }),
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

    fn merge(&mut self, other: Self) {
        self.retried += other.retried;
        self.attempts += other.attempts;
        self.ttft.merge(other.ttft);
        self.e2e.merge(other.e2e);
    }

    fn finish(self, run: &Run, measures: &mut Measures) {
        measures.count(Measure::RetriedRequests, self.retried);
        measures.count(Measure::RetryAttempts, self.attempts);
        if self.retried > 0 {
            self.ttft.finish(run, measures);
            self.e2e.finish(run, measures);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::analysis::measure::Statistic;
    use crate::analysis::measures::Figure;
    use crate::analysis::testing::{figure, record, stats_of};

    #[test]
    fn users_wait_from_the_first_attempt() {
        let mut again = record(500, &[700, 900], &["a", "b"]);
        again.attempts = 3;
        again.first_sent = Some(Duration::from_millis(100));
        let records = [again, record(0, &[100], &["a"])];
        let stats = stats_of(METRIC, &records);
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
