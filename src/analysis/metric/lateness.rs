//! How late requests were sent, and what for.
//!
//! `sent − due` is the sum of three waits, each over all requests that were sent:
//!
//! - `queue_time`: `released − due`, the time under the cap on requests in flight; only where there is a cap.
//! - `send_lateness`: from `released` until the client took the request up; the client's own fault.
//! - `connect_time`: the wait for a connection to be opened, over the requests that had to wait for one.

use std::time::Duration;

use super::{Ended, Gather, Metric, Run, Stat, Terms, count, ms, real};
use crate::analysis::measure::{Measure, Series, Statistic};
use crate::analysis::stats::{Distribution, Method};
use crate::model::RequestRecord;

pub(super) const METRIC: Metric =
    Metric { name: "lateness", gather: |terms| Box::new(Waits::new(terms)) };

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
        let Some(late) = lateness(record) else { return };
        let queued = record.released.saturating_sub(record.due);
        self.is_capped |= !queued.is_zero();
        self.late.add(ms(late));
        self.queued.add(ms(queued));
        if let Some(connect) = record.connect {
            self.connects.add(ms(connect));
        }
    }

    fn stats(self: Box<Self>, _: &Run) -> Vec<Stat> {
        let mut stats = waits(Series::SendLateness, self.late);
        if self.is_capped {
            stats.extend(waits(Series::QueueTime, self.queued));
        }
        if !self.connects.is_empty() {
            stats.push(count(Measure::WaitedForConnection, self.connects.len()));
            stats.extend(waits(Series::ConnectTime, self.connects));
        }
        stats
    }
}

/// From when `record` could have been sent until the client took it up; `None` if it never was.
pub fn lateness(record: &RequestRecord) -> Option<Duration> {
    Some(record.taken_up()?.saturating_sub(record.released))
}

/// Median, 99th percentile and maximum of `ms`.
fn waits(series: Series, mut ms: Distribution) -> Vec<Stat> {
    let [median, p99, max] = ms.percentiles([50.0, 99.0, 100.0], Method::Linear);
    vec![
        real(Measure::Of(Statistic::MEDIAN, series), median),
        real(Measure::Of(Statistic::P99, series), p99),
        real(Measure::Of(Statistic::Max, series), max),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::metric::Figure;
    use crate::analysis::metric::testing::{figure, record, stats_of};

    #[test]
    fn three_waits_make_the_delay() {
        let ms = Duration::from_millis;
        let mut late = record(1000, &[1100], &["a"]);
        (late.due, late.released, late.connect) = (ms(100), ms(700), Some(ms(250)));
        let records = [late, record(5, &[10], &["b"])];
        let stats = stats_of(&METRIC, &records);
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
        assert_eq!(stats_of(&METRIC, &calm).len(), 3);
    }
}
