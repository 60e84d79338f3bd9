//! What sending again cost: figures of requests that the server turned away at first.
//!
//! - `retried_requests`: requests that were sent more than once.
//! - `retry_attempts`: attempts beyond the first, over all requests.
//! - `e2e_with_retries`: `done` − `sent` of the first attempt, over completed requests.
//! - `ttft_with_retries`: first output − `sent` of the first attempt, likewise.
//!
//! The last two are what a user waits. Where nothing was sent again they equal E2E latency and TTFT,
//! which begin with the last attempt, and are left out.

use super::{Metric, Run, Stat, count, distribution};

pub(super) const METRIC: Metric = Metric { name: "retries", stats };

fn stats(run: &Run<'_>) -> Vec<Stat> {
    let again = |attempts: u32| u64::from(attempts.saturating_sub(1));
    let attempts: u64 = run.records.iter().map(|record| again(record.attempts)).sum();
    let retried = run.records.iter().filter(|record| record.attempts > 1).count() as u64;
    let mut stats = vec![count("retried_requests", retried), count("retry_attempts", attempts)];
    if retried > 0 {
        let seconds = |until: fn(&crate::model::RequestRecord) -> Option<std::time::Duration>| {
            let waits = run.completed().filter_map(move |record| {
                Some(
                    until(record)?.saturating_sub(record.first_sent.or(record.sent)?).as_secs_f64(),
                )
            });
            waits.collect::<Vec<f64>>()
        };
        stats.extend(distribution(
            run,
            "ttft_with_retries",
            seconds(crate::model::RequestRecord::first_token),
        ));
        stats.extend(distribution(run, "e2e_with_retries", seconds(|r| r.done)));
    }
    stats
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metric::Figure;
    use crate::metric::testing::{record, run};

    #[test]
    fn users_wait_from_the_first_attempt() {
        let mut again = record(500, &[700, 900], &["a", "b"]);
        again.attempts = 3;
        again.first_sent = Some(Duration::from_millis(100));
        let records = [again, record(0, &[100], &["a"])];
        let stats = stats(&run(&records));
        let figure = |key: &str| stats.iter().find(|stat| stat.key == key).unwrap().value;
        assert_eq!(figure("retried_requests"), Figure::Count(1));
        assert_eq!(figure("retry_attempts"), Figure::Count(2));
        assert_eq!(figure("mean_ttft_with_retries_ms"), Figure::Real(350.0));
        assert_eq!(figure("max_e2e_with_retries_ms"), Figure::Real(800.0));
    }
}
