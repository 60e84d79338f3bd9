//! Probes that cannot meet any objectives any more, whatever the rest of their requests does.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::reporter::{self, Reporter};
use crate::analysis::comparison::{Compared, Objective, Sample};
use crate::engine::Stop;
use crate::engine::event::{Ends, RunEvent, Subscribers, Wants};
use crate::model::RequestRecord;

/// Bytes of events that wait at most; what is left out is not counted against a run.
const BACKLOG: u64 = 8 << 20;

/// An objective, and what speaks against it.
#[derive(Debug, Clone, Copy)]
struct Count {
    objective: Objective,
    /// Requests of the run.
    requests: f64,
    /// Requests that miss the limit, or the sum of the latencies where a mean is limited.
    against: f64,
}

/// Counts what speaks against the objectives of each tier, and ends a run when each has one that is missed for certain.
#[derive(Debug, Clone)]
pub(super) struct Watch {
    tiers: Vec<Vec<Count>>,
}

/// A watch over a run.
struct Watching {
    watch: Watch,
    stop: Arc<Stop>,
}

impl Watch {
    /// One over a run of `requests` requests.
    pub(super) fn new(tiers: &[&[Objective]], requests: usize) -> Self {
        let count = |objective: &Objective| Count {
            objective: *objective,
            requests: requests as f64,
            against: 0.0,
        };
        Self { tiers: tiers.iter().map(|tier| tier.iter().map(count).collect()).collect() }
    }

    /// Has it hear what happens, and `stop` the run.
    ///
    /// # Errors
    /// If no thread can be made.
    pub(super) fn start(&self, stop: &Arc<Stop>, subscribers: &mut Subscribers) -> io::Result<()> {
        let watching = Watching { watch: self.clone(), stop: stop.clone() };
        reporter::start(watching, BACKLOG, subscribers).map(drop)
    }

    /// Why the run is to be ended, if each tier has an objective that is missed.
    fn hopeless(&self) -> Option<String> {
        let missed: Option<Vec<String>> = self
            .tiers
            .iter()
            .map(|tier| tier.iter().find(|count| count.is_hopeless()))
            .map(|count| count.map(|count| count.objective.to_string()))
            .collect();
        let mut missed = missed.filter(|missed| !missed.is_empty())?;
        missed.dedup();
        Some(format!("{HOPELESS} {}", missed.join(", ")))
    }
}

impl Reporter for Watching {
    type Found = ();
    const THREAD: &'static str = "rbench-watch";
    const WANTS: Wants = Wants { sends: false, ends: Some(Ends::Brief), ticks: false };

    fn hear(&mut self, event: RunEvent) {
        let RunEvent::Ended { record, .. } = event else { return };
        self.watch.tiers.iter_mut().flatten().for_each(|count| count.see(&record));
        if let Some(why) = self.watch.hopeless() {
            self.stop.drain(&why);
        }
    }

    fn end(self, _: u64) {}
}

/// How the reason for such an end begins.
pub(super) const HOPELESS: &str = "what has been measured misses";

impl Count {
    fn see(&mut self, record: &RequestRecord) {
        let Objective { metric, at_most, strict, limit } = self.objective;
        match metric {
            Compared::Success | Compared::Goodput if !at_most => {
                self.against += f64::from(u8::from(!record.completed()));
            }
            Compared::Percentile(_, sample) if at_most => {
                let misses = |ms: f64| if strict { ms >= limit } else { ms > limit };
                self.against += f64::from(u8::from(latency(sample, record).is_some_and(misses)));
            }
            Compared::Mean(sample) if at_most => {
                self.against += latency(sample, record).unwrap_or_default();
            }
            _ => {}
        }
    }

    /// Whether the rest of the run cannot mend it, chance included: as many as miss it now are beyond the bound too.
    fn is_hopeless(&self) -> bool {
        let Objective { metric, limit, .. } = self.objective;
        let share = match metric {
            Compared::Percentile(percent, _) => 1.0 - percent.value() / 1e2,
            Compared::Success | Compared::Goodput => 1.0 - limit,
            // The rest takes no time at best.
            _ => return self.against > 1.25 * limit * self.requests,
        };
        let expected = share * self.requests;
        self.against > expected + 3.0 * (expected * (1.0 - share)).sqrt() + 1.0
    }
}

/// A latency of a completed request, in ms; `None` for those that only the end of a run knows.
fn latency(sample: Sample, record: &RequestRecord) -> Option<f64> {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    if !record.completed() {
        return None;
    }
    match sample {
        Sample::Ttft => record.ttft().map(ms),
        Sample::E2e => record.e2e().map(ms),
        Sample::Tpot => {
            let steps = record.output_tokens?.count.checked_sub(1).filter(|&steps| steps > 0)?;
            Some(ms(record.e2e()?.saturating_sub(record.ttft()?)) / steps as f64)
        }
        Sample::Itl => None,
    }
}
