//! What kept connections lost that the server had closed: requests that were sent once more over a new one.
//!
//! - `resent_requests`: requests that were sent once more.
//! - `resend_cost`: from the send over the kept connection until it was known to be lost, over those requests.
//!
//! Latencies begin with the last send, those from the due time apart. Left out where nothing was lost.

use super::{Ended, Gather, Metric, Run, Stat, count, ms, real};
use crate::analysis::measure::{Measure, Series, Statistic};
use crate::analysis::stats::{Distribution, Method};

pub(super) const METRIC: Metric =
    Metric { name: "resent", gather: |terms| Box::new(Resent(terms.samples())) };

/// What each request lost, in ms.
#[derive(Debug)]
struct Resent(Distribution);

impl Gather for Resent {
    fn add(&mut self, request: &Ended<'_>) {
        if let Some(cost) = request.record.resent {
            self.0.add(ms(cost));
        }
    }

    fn stats(mut self: Box<Self>, _: &Run) -> Vec<Stat> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let resent = self.0.len();
        let [median, p99, max] = self.0.percentiles([50.0, 99.0, 100.0], Method::Linear);
        vec![
            count(Measure::ResentRequests, resent),
            real(Measure::Of(Statistic::MEDIAN, Series::ResendCost), median),
            real(Measure::Of(Statistic::P99, Series::ResendCost), p99),
            real(Measure::Of(Statistic::Max, Series::ResendCost), max),
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::analysis::metric::Figure;
    use crate::analysis::metric::testing::{figure, record, stats_of};

    #[test]
    fn what_was_lost_is_counted_where_there_is_any() {
        let calm = record(0, &[100], &["a"]);
        let mut resent = record(500, &[700], &["a"]);
        resent.resent = Some(Duration::from_millis(3));
        let stats = stats_of(&METRIC, &[calm.clone(), resent]);
        assert_eq!(figure(&stats, Measure::ResentRequests), Figure::Count(1));
        assert_eq!(
            figure(&stats, Measure::Of(Statistic::Max, Series::ResendCost)),
            Figure::Real(3.0)
        );
        assert!(stats_of(&METRIC, &[calm]).is_empty());
    }
}
