//! Stalls: the longest pause that a reader of a response had to bear.
//!
//! - `worst_gap`: the longest gap between two events of one completion, per completed request that has gaps.
//! - `stalled_share`: the share of completed requests with a gap longer than the threshold (`--stall-threshold`).

use std::time::Duration;

use super::{Metric, Run, Stat, counted, distribution, real};
use crate::model::RequestRecord;

pub(super) const METRIC: Metric = Metric { name: "stall", stats };

fn stats(run: &Run<'_>) -> Vec<Stat> {
    let completed = run.completed().count();
    let (mut stats, stalled) = if let Some(folded) = run.folded {
        (counted(run, "worst_gap", &folded.worst_gap), folded.stalled)
    } else {
        let worst: Vec<Duration> = run.completed().filter_map(worst_gap).collect();
        let stalled = worst.iter().filter(|&&gap| gap > run.stall_threshold).count();
        let seconds = worst.into_iter().map(|gap| gap.as_secs_f64()).collect();
        (distribution(run, "worst_gap", seconds), stalled as u64)
    };
    let share = (completed > 0).then(|| stalled as f64 / completed as f64);
    stats.push(real("stalled_share", share));
    stats
}

/// The longest gap of `record`.
pub(super) fn worst_gap(record: &RequestRecord) -> Option<Duration> {
    record.events.gaps().map(|gap| gap.length()).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Figure;
    use crate::metric::testing::{record, run};

    #[test]
    fn the_longest_gap_of_each_request() {
        let records = [
            record(0, &[10, 20, 1200, 1210], &["a", "b", "c", "d"]),
            record(0, &[10, 60], &["a", "b"]),
            record(0, &[10], &["a"]),
            record(0, &[10, 30], &["a", "b"]),
        ];
        let stats = stats(&run(&records));
        let figure = |key: &str| stats.iter().find(|stat| stat.key == key).unwrap().value;
        assert_eq!(figure("max_worst_gap_ms"), Figure::Real(1180.0));
        assert_eq!(figure("median_worst_gap_ms"), Figure::Real(50.0));
        assert_eq!(figure("stalled_share"), Figure::Real(0.25));
    }
}
