//! `event_itl`: each gap between two events of a completion is one entry, whatever the endpoint, pooled over completed
//! requests.
//!
//! Where one event is one token it agrees with the ITL of the table and with `token_itl`.

use crate::analysis::counts::Ended;
use crate::analysis::gather::{Gather, Metric, Run};
use crate::analysis::measure::Series;
use crate::analysis::measures::{Measures, ms};
use crate::analysis::stats::Distribution;

pub(super) const METRIC: Metric = |terms| Box::new(EventItl(terms.samples()));

/// In ms.
#[derive(Debug)]
struct EventItl(Distribution);

impl Gather for EventItl {
    fn add(&mut self, request: &Ended<'_>) {
        let gaps = request.completed().into_iter().flat_map(|record| record.events.gaps());
        gaps.for_each(|gap| self.0.add(ms(gap.length())));
    }

    fn merge(&mut self, other: Self) {
        self.0.merge(other.0);
    }

    fn finish(self, run: &Run, measures: &mut Measures) {
        measures.latencies(run, Series::EventItl, self.0);
    }
}
