//! Requests that completed, and how long the run took.
//!
//! - `completed`: requests whose whole response arrived.
//! - `duration`: from the start of the run, when the first request is due, to the last end of any request, in s.
//! - `reference_duration`: what SGLang's client would report: it also waits out the gap that the arrival process
//!   draws after the last request, the stop of the profiler, and the question for the server's state.

use std::time::Duration;

use super::{Ended, Gather, Metric, Run, Stat, count, real};
use crate::analysis::measure::{Measure, Reference};

pub(super) const METRIC: Metric =
    Metric { name: "totals", gather: |_| Box::new(Totals::default()) };

#[derive(Debug, Default)]
struct Totals {
    last_due: Duration,
}

impl Gather for Totals {
    fn add(&mut self, request: &Ended<'_>) {
        self.last_due = self.last_due.max(request.record.due);
    }

    fn stats(self: Box<Self>, run: &Run) -> Vec<Stat> {
        let waited = run.duration.max(self.last_due + run.close.last_gap);
        vec![
            count(Measure::Completed, run.completed),
            real(Measure::Duration, Some(run.duration.as_secs_f64())),
            real(
                Measure::Reference(Reference::Duration),
                Some((waited + run.close.server_info_time).as_secs_f64()),
            ),
        ]
    }
}
