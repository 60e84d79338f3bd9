//! How late requests were sent, and what for.
//!
//! `sent − due` is the sum of three waits, each over all requests that were sent:
//!
//! - `queue_time`: `released − due`, the time under the cap on requests in flight; only where there is a cap.
//! - `send_lateness`: from `released` until the client took the request up; the client's own fault.
//! - `connect_time`: the wait for a connection to be opened, over the requests that had to wait for one.

use crate::analysis::counts::Ended;
use crate::analysis::gather::{Gather, Metric, Run, Terms};
use crate::analysis::measure::{Measure, Series};
use crate::analysis::measures::{Measures, ms};
use crate::analysis::stats::Distribution;

pub(super) const METRIC: Metric = |terms| Box::new(Waits::new(terms));

/// In ms.
#[derive(Debug)]
struct Waits {
    late: Distribution,
    queued: Distribution,
    connects: Distribution,
    /// Whether the cap held a request back.
    is_capped: bool,
}

impl Waits {
    fn new(terms: &Terms<'_>) -> Self {
        let [late, queued, connects] = [(); 3].map(|()| terms.samples());
        Self { late, queued, connects, is_capped: false }
    }
}

impl Gather for Waits {
    fn add(&mut self, request: &Ended<'_>) {
        let record = request.record;
        let Some(late) = record.lateness() else { return };
        let queued = record.released.saturating_sub(record.due);
        self.is_capped |= !queued.is_zero();
        self.late.add(ms(late));
        self.queued.add(ms(queued));
        if let Some(connect) = record.connect {
            self.connects.add(ms(connect));
        }
    }

    fn merge(&mut self, other: Self) {
        self.late.merge(other.late);
        self.queued.merge(other.queued);
        self.connects.merge(other.connects);
        self.is_capped |= other.is_capped;
    }

    fn finish(self, _: &Run, measures: &mut Measures) {
        measures.waits(Series::SendLateness, self.late);
        if self.is_capped {
            measures.waits(Series::QueueTime, self.queued);
        }
        if !self.connects.is_empty() {
            measures.count(Measure::WaitedForConnection, self.connects.len());
            measures.waits(Series::ConnectTime, self.connects);
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
    fn three_waits_make_the_delay() {
        let ms = Duration::from_millis;
        let mut late = record(1000, &[1100], &["a"]);
        (late.due, late.released, late.connect) = (ms(100), ms(700), Some(ms(250)));
        let records = [late, record(5, &[10], &["b"])];
        let stats = stats_of(METRIC, &records);
        assert_eq!(
            figure(&stats, Measure::Of(Statistic::Max, Series::SendLateness)),
            Figure::Real(50.0)
        );
        assert_eq!(
            figure(&stats, Measure::Of(Statistic::Max, Series::QueueTime)),
            Figure::Real(600.0)
        );
        assert_eq!(figure(&stats, Measure::WaitedForConnection), Figure::Count(1));
        assert_eq!(
            figure(&stats, Measure::Of(Statistic::Max, Series::ConnectTime)),
            Figure::Real(250.0)
        );
        let calm = [record(5, &[10], &["b"])];
        assert_eq!(stats_of(METRIC, &calm).len(), 3);
    }
}
