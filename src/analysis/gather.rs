//! What a metric is: something that gathers from one request after the other, and gives figures at the end.

use std::any::Any;
use std::fmt;
use std::time::Duration;

use super::counts::{Ended, Shares};
use super::goal::Slo;
use super::measures::Measures;
pub use super::run::{Close, Run};
use super::stats::Distribution;
use crate::model::RequestRecord;

/// A metric: begins to gather what its figures need.
pub type Metric = fn(&Terms<'_>) -> Box<dyn Gathers>;

/// What a metric needs of requests, and the figures that come of it.
///
/// Requests come one after the other, and are gone then: what is kept of them is the gatherer's to say.
pub trait Gather: fmt::Debug + Send + 'static {
    /// Adds a request that has ended.
    fn add(&mut self, request: &Ended<'_>);

    /// Adds the requests of `other`.
    fn merge(&mut self, other: Self);

    /// Gives the figures of all that were added.
    fn finish(self, run: &Run, measures: &mut Measures);
}

/// A [`Gather`] whose type is not known.
pub trait Gathers: fmt::Debug + Send + Any {
    /// As [`Gather::add`].
    fn add(&mut self, request: &Ended<'_>);

    /// As [`Gather::merge`]; one of another type adds nothing.
    fn merge(&mut self, other: Box<dyn Gathers>);

    /// As [`Gather::finish`].
    fn finish(self: Box<Self>, run: &Run, measures: &mut Measures);
}

impl<T: Gather> Gathers for T {
    fn add(&mut self, request: &Ended<'_>) {
        Gather::add(self, request);
    }

    fn merge(&mut self, other: Box<dyn Gathers>) {
        let other: Box<dyn Any> = other;
        if let Ok(other) = other.downcast::<T>() {
            Gather::merge(self, *other);
        }
    }

    fn finish(self: Box<Self>, run: &Run, measures: &mut Measures) {
        Gather::finish(*self, run, measures);
    }
}

/// What is known before the first request is added.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// Whether samples are kept; if not, they are counted by size.
    pub keeps: bool,
    /// Where seconds begin.
    pub origins: Origins,
    /// Whether the gaps of ITL are shared by retokenized pieces.
    pub shares: Shares,
    /// A gap longer than this is a stall.
    pub stall_threshold: Duration,
    /// Latencies that requests are to keep within.
    pub slos: &'a [Slo],
    /// Whether the server's prefix cache is to be reported on.
    pub cache_report: bool,
}

impl Default for Terms<'_> {
    /// Samples are kept, seconds count from the start of the run, a stall is longer than a second, and nothing is
    /// asked for.
    fn default() -> Self {
        Self {
            keeps: true,
            origins: Origins::default(),
            shares: Shares::Never,
            stall_threshold: Duration::from_secs(1),
            slos: &[],
            cache_report: false,
        }
    }
}

impl Terms<'_> {
    /// Samples, of which there are none yet.
    pub(super) fn samples(&self) -> Distribution {
        Distribution::new(self.keeps)
    }
}

/// Where the seconds of a run begin by which peaks are counted; at its start, unless its records are there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Origins {
    /// When the first request that completed was sent.
    pub sent: Duration,
    /// When the first event came.
    pub event: Duration,
}

impl Origins {
    /// Those of `records`.
    pub fn of(records: &[RequestRecord]) -> Self {
        let completed = records.iter().filter(|record| record.completed());
        let events = records.iter().flat_map(|record| record.events.at_ns.iter().copied());
        Self {
            sent: completed.filter_map(|record| record.sent).min().unwrap_or_default(),
            event: Duration::from_nanos(events.min().unwrap_or(0)),
        }
    }
}
