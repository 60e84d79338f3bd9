//! Requests that completed, and how long the run took.
//!
//! - `completed`: requests whose whole response arrived.
//! - `duration`: from the start of the run, when the first request is due, to the last end of any request, in s.
//! - `reference_duration`: what SGLang's client would report: it also waits out the gap that the arrival process
//!   draws after the last request, the stop of the profiler, and the question for the server's state.

use std::time::Duration;

use crate::analysis::counts::Ended;
use crate::analysis::gather::{Gather, Metric, Run};
use crate::analysis::measure::{Measure, Reference};
use crate::analysis::measures::Measures;

pub(super) const METRIC: Metric = |_| Box::new(Totals::default());

#[derive(Debug, Default)]
struct Totals {
    last_due: Duration,
}

impl Gather for Totals {
    fn add(&mut self, request: &Ended<'_>) {
        self.last_due = self.last_due.max(request.record.due);
    }

    fn merge(&mut self, other: Self) {
        self.last_due = self.last_due.max(other.last_due);
    }

    fn finish(self, run: &Run, measures: &mut Measures) {
        let waited = run.duration.max(self.last_due + run.close.last_gap);
        let reference = (waited + run.close.server_info_time).as_secs_f64();
        measures.count(Measure::Completed, run.completed);
        measures.real(Measure::Duration, Some(run.duration.as_secs_f64()));
        measures.real(Measure::Reference(Reference::Duration), Some(reference));
    }
}
