//! Stalls: the longest pause that a reader of a response had to bear.
//!
//! - `worst_gap`: the longest gap between two events of one completion, per completed request that has gaps.
//! - `stalled_share`: the share of completed requests with a gap longer than the threshold (`--stall-threshold`).

use std::time::Duration;

use crate::analysis::counts::Ended;
use crate::analysis::gather::{Gather, Metric, Run};
use crate::analysis::measure::{Measure, Series};
use crate::analysis::measures::{Measures, ms};
use crate::analysis::stats::Distribution;

pub(super) const METRIC: Metric = |terms| {
    let threshold = terms.stall_threshold;
    Box::new(Stalls { threshold, worst_ms: terms.samples(), stalled: 0 })
};

#[derive(Debug)]
struct Stalls {
    threshold: Duration,
    worst_ms: Distribution,
    stalled: u64,
}

impl Gather for Stalls {
    fn add(&mut self, request: &Ended<'_>) {
        let gaps = request.completed().into_iter().flat_map(|record| record.events.gaps());
        if let Some(worst) = gaps.map(|gap| gap.length()).max() {
            self.worst_ms.add(ms(worst));
            self.stalled += u64::from(worst > self.threshold);
        }
    }

    fn merge(&mut self, other: Self) {
        self.worst_ms.merge(other.worst_ms);
        self.stalled += other.stalled;
    }

    fn finish(self, run: &Run, measures: &mut Measures) {
        measures.latencies(run, Series::WorstGap, self.worst_ms);
        let share = (run.completed > 0).then(|| self.stalled as f64 / run.completed as f64);
        measures.real(Measure::StalledShare, share);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::measure::Statistic;
    use crate::analysis::measures::Figure;
    use crate::analysis::testing::{figure, record, stats_of};

    #[test]
    fn the_longest_gap_of_each_request() {
        let records = [
            record(0, &[10, 20, 1200, 1210], &["a", "b", "c", "d"]),
            record(0, &[10, 60], &["a", "b"]),
            record(0, &[10], &["a"]),
            record(0, &[10, 30], &["a", "b"]),
        ];
        let stats = stats_of(METRIC, &records);
        assert_eq!(
            figure(&stats, Measure::Of(Statistic::Max, Series::WorstGap)),
            Figure::Real(1180.0)
        );
        assert_eq!(
            figure(&stats, Measure::Of(Statistic::MEDIAN, Series::WorstGap)),
            Figure::Real(50.0)
        );
        assert_eq!(figure(&stats, Measure::StalledShare), Figure::Real(0.25));
    }
}
