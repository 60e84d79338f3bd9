//! Latencies from the due time: what a user who comes by the schedule waits, whoever made him wait.
//!
//! - `ttft_from_due`: first output − `due`.
//! - `e2e_from_due`: `done` − `due`.
//!
//! Both over completed requests. Beside TTFT and E2E latency they contain the time under the cap on requests in flight,
//! the client's own lateness, and the opening of connections: nothing of the load is left out because it was late.

use crate::analysis::counts::Ended;
use crate::analysis::gather::{Gather, Metric, Run, Terms};
use crate::analysis::latencies::{Latencies, e2e_from_due, ttft_from_due};
use crate::analysis::measure::Series;
use crate::analysis::measures::Measures;

pub(super) const METRIC: Metric = |terms| Box::new(Due::new(terms));

#[derive(Debug)]
struct Due(Latencies, Latencies);

impl Due {
    fn new(terms: &Terms<'_>) -> Self {
        Self(
            Latencies::new(terms, Series::TtftFromDue, ttft_from_due),
            Latencies::new(terms, Series::E2eFromDue, e2e_from_due),
        )
    }
}

impl Gather for Due {
    fn add(&mut self, request: &Ended<'_>) {
        self.0.add(request);
        self.1.add(request);
    }

    fn merge(&mut self, other: Self) {
        self.0.merge(other.0);
        self.1.merge(other.1);
    }

    fn finish(self, run: &Run, measures: &mut Measures) {
        let Self(ttft, e2e) = self;
        // What other clients do not print needs no 0 in the place of what does not exist.
        let nobody = Run { completed: 0, ..run.clone() };
        ttft.finish(&nobody, measures);
        e2e.finish(&nobody, measures);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::analysis::measure::{Measure, Statistic};
    use crate::analysis::measures::Figure;
    use crate::analysis::testing::{figure, record, stats_of};

    #[test]
    fn waiting_counts() {
        let mut late = record(500, &[700, 900], &["a", "b"]);
        late.due = Duration::from_millis(100);
        let records = [late];
        let stats = stats_of(METRIC, &records);
        assert_eq!(
            figure(&stats, Measure::Of(Statistic::Mean, Series::TtftFromDue)),
            Figure::Real(600.0)
        );
        assert_eq!(
            figure(&stats, Measure::Of(Statistic::Mean, Series::E2eFromDue)),
            Figure::Real(800.0)
        );
    }
}
