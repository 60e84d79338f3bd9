//! The analysis of a run: one typed value from which every table, line and file is written.

use serde_json::Value;

use super::account::Account;
use super::aggregate::{Aggregate, Gathered, gather};
use super::audit::{Asked, Audit};
use super::ceiling::{Ceiling, Headroom};
use super::confidence::Confidence;
use super::counts::{Counts, Ended};
use super::endpoints::PerEndpoint;
use super::failures::FailureGroup;
use super::gather::{Close, Terms};
use super::measure::{Measure, Series};
use super::measures::{Figure, Measures};
use super::metadata::RunMetadata;
use super::over_time::{OverTime, over_time};
use super::stats::Distribution;
use super::steady_state::{SteadyState, steady_state};
use crate::engine::system::Spent;
use crate::health::Health;
use crate::model::{RequestRecord, TokenSource, VisionSource};

/// What a run left.
#[derive(Debug)]
pub struct RunOutcome<'a> {
    /// What the run was.
    pub metadata: RunMetadata,
    /// Its requests.
    pub requests: Requests<'a>,
    /// Requests of the plan, rounds included; `None` if the plan had no end.
    pub scheduled: Option<u64>,
    /// Those that have no record because the program died.
    pub unfinished: u64,
    /// The servers.
    pub endpoints: Vec<String>,
    /// Where image tokens come from as far as was known before the run, if there are images.
    pub vision: Option<VisionSource>,
    /// What was asked of the server.
    pub asked: Asked,
    /// The share of the peak concurrency from which on the run is steady, if that is asked for.
    pub steady_state: Option<f64>,
    /// What this host can read at most, if that is known.
    pub ceiling: Option<Ceiling>,
    /// What only the end of the run tells.
    pub close: Close,
    /// How the client kept up.
    pub health: Health,
    /// The server's own account of itself after the run.
    pub server_info: Option<Value>,
    /// Calls around the load that failed, and how.
    pub failed_calls: Vec<String>,
    /// Why the run did not do all of its plan, if it did not.
    pub partial: Option<String>,
    /// What the memory for answers cost requests, if it did.
    pub memory: Option<Spent>,
}

/// The requests of a run.
#[derive(Debug)]
pub enum Requests<'a> {
    /// One record per request, in the order of the plan; of a run that died, per request that ended.
    Records {
        /// As the run left them.
        records: &'a [RequestRecord],
        /// The tokens of each.
        counts: Vec<Counts>,
        /// The tokens of the pieces of each, where they were counted.
        pieces: Vec<Option<Vec<u32>>>,
    },
    /// What was gathered while the run went on.
    Aggregate(Box<Aggregate>),
}

/// What was found out about a run: everything that outputs may know.
#[derive(Debug)]
pub struct Analysis<'a> {
    /// What the run was.
    pub metadata: RunMetadata,
    /// Figures and distributions.
    pub measures: Measures,
    /// Failures by reason, the most frequent first.
    pub failures: Vec<FailureGroup>,
    /// Completed requests by the source of their output token count.
    pub token_sources: Vec<(TokenSource, u64)>,
    /// The server's own account of itself after the run.
    pub server_info: Option<Value>,
    /// Calls around the load that failed, and how.
    pub failed_calls: Vec<String>,
    /// Why the run did not do all of its plan, if it did not.
    pub partial: Option<String>,
    /// What the memory for answers cost requests, if it did.
    pub memory: Option<Spent>,
    /// Figures of each server; empty for one alone.
    pub endpoints: Vec<PerEndpoint>,
    /// What the figures rest on: the ledger, the checks, the verdict.
    pub audit: Audit,
    /// How the client kept up.
    pub health: Health,
    /// How far it stayed below what it can do.
    pub headroom: Headroom,
    /// What the server calls its storage of cached tokens, if tokens were taken from there.
    pub storage_backend: Option<String>,
    /// Whether the server reported cached tokens at all.
    pub tells_cache: bool,
    /// How precise the figures are; `None` if samples were not kept.
    pub confidence: Option<Confidence>,
    /// The steady state, if that is asked for and there is one.
    pub steady: Option<SteadyState>,
    /// One record per request, in the order of the plan; of a run that died, per request that ended.
    /// None if they were not kept.
    pub records: &'a [RequestRecord],
    /// The tokens of each record.
    pub counts: Vec<Counts>,
}

impl Analysis<'_> {
    /// The figure of `measure`; absent if no metric gave it.
    pub fn figure(&self, measure: Measure) -> Figure {
        self.measures.figure(measure)
    }

    /// The samples of `series`, in ms.
    pub fn distribution(&self, series: Series) -> Option<&Distribution> {
        self.measures.distribution(series)
    }

    /// The requests whose records were kept, in the order of the plan.
    pub fn requests(&self) -> impl Iterator<Item = Ended<'_>> + Clone {
        paired(self.records, &self.counts)
    }

    /// The run in at most `most` slices; `None` if no record was kept, or none took time.
    pub fn over_time(&self, most: usize) -> Option<OverTime> {
        over_time(self.requests(), most)
    }
}

/// Each of `records` with its counts.
fn paired<'a>(
    records: &'a [RequestRecord],
    counts: &'a [Counts],
) -> impl Iterator<Item = Ended<'a>> + Clone {
    records.iter().zip(counts).map(|(record, &counts)| Ended { record, counts, pieces: None })
}

/// Analyses `outcome` by `terms`, which are those of its aggregate if it has one.
pub fn analyse<'a>(outcome: RunOutcome<'a>, terms: &Terms<'_>) -> Analysis<'a> {
    let RunOutcome { endpoints, vision, close, .. } = outcome;
    let (gathered, confidence, records, mut counts) = match outcome.requests {
        Requests::Aggregate(aggregate) => (aggregate.finish(close), None, &[][..], Vec::new()),
        Requests::Records { records, counts, pieces } => {
            let (gathered, confidence) = {
                let requests = paired(records, &counts)
                    .zip(&pieces)
                    .map(|(request, pieces)| Ended { pieces: pieces.as_deref(), ..request });
                let confidence = Confidence::of(requests.clone(), terms.shares, &close);
                (gather(&requests, terms, &endpoints, vision, close), confidence)
            };
            (gathered, Some(confidence), records, counts)
        }
    };
    let Gathered { measures, account } = gathered;
    if let Some(settling) = account.vision {
        settling.settle_counts(records, &mut counts);
    }
    let steady = outcome.steady_state;
    let steady = steady.and_then(|ratio| steady_state(paired(records, &counts), ratio));
    let token_sources = account.token_sources();
    let Account { evidence, arrivals, failures, endpoints, vision, .. } = account;
    let scheduled = outcome.scheduled.unwrap_or_else(|| evidence.records());
    let vision_source = vision.map(|settling| settling.settle().0);
    Analysis {
        metadata: RunMetadata { vision_source, ..outcome.metadata },
        measures,
        failures: failures.groups(),
        token_sources,
        server_info: outcome.server_info,
        failed_calls: outcome.failed_calls,
        audit: Audit::new(evidence, outcome.asked, scheduled, outcome.unfinished, &outcome.health),
        health: outcome.health,
        headroom: Headroom::of(&arrivals, outcome.ceiling),
        partial: outcome.partial,
        memory: outcome.memory,
        endpoints: endpoints.figures(),
        storage_backend: account.storage_backend,
        tells_cache: account.tells_cache,
        confidence,
        steady,
        records,
        counts,
    }
}
