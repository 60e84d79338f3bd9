//! What kept connections lost that the server had closed: requests that were sent once more over a new one.
//!
//! - `resent_requests`: requests that were sent once more.
//! - `resend_cost`: from the send over the kept connection until it was known to be lost, over those requests.
//!
//! Latencies begin with the last send, those from the due time apart. Left out where nothing was lost.

use crate::analysis::counts::Ended;
use crate::analysis::gather::{Gather, Metric, Run};
use crate::analysis::measure::{Measure, Series};
use crate::analysis::measures::{Measures, ms};
use crate::analysis::stats::Distribution;

pub(super) const METRIC: Metric = |terms| Box::new(Resent(terms.samples()));

/// What each request lost, in ms.
#[derive(Debug)]
struct Resent(Distribution);

impl Gather for Resent {
    fn add(&mut self, request: &Ended<'_>) {
        if let Some(cost) = request.record.resent {
            self.0.add(ms(cost));
        }
    }

    fn merge(&mut self, other: Self) {
        self.0.merge(other.0);
    }

    fn finish(self, _: &Run, measures: &mut Measures) {
        if !self.0.is_empty() {
            measures.count(Measure::ResentRequests, self.0.len());
            measures.waits(Series::ResendCost, self.0);
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
    fn what_was_lost_is_counted_where_there_is_any() {
        let calm = record(0, &[100], &["a"]);
        let mut resent = record(500, &[700], &["a"]);
        resent.resent = Some(Duration::from_millis(3));
        let stats = stats_of(METRIC, &[calm.clone(), resent]);
        assert_eq!(figure(&stats, Measure::ResentRequests), Figure::Count(1));
        assert_eq!(
            figure(&stats, Measure::Of(Statistic::Max, Series::ResendCost)),
            Figure::Real(3.0)
        );
        assert!(stats_of(METRIC, &[calm]).is_empty());
    }
}
