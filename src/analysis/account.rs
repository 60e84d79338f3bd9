//! What a report tells of requests beside their metrics, gathered from one request after the other.

use std::collections::BTreeMap;

use crate::analysis::audit::Evidence;
use crate::analysis::ceiling::Arrivals;
use crate::analysis::metric::Endpoints;
use crate::analysis::report::Failures;
use crate::analysis::vision::Settling;
use crate::model::{RequestRecord, TokenSource, VisionSource};

/// What was found out so far.
#[derive(Debug)]
pub struct Account {
    /// For the checks and the judgement on the client.
    pub evidence: Evidence,
    /// For the headroom.
    pub arrivals: Arrivals,
    /// Why requests failed.
    pub failures: Failures,
    /// What each of several servers did.
    pub endpoints: Endpoints,
    /// Where the image tokens come from, if there are images.
    pub vision: Option<Settling>,
    /// What the server calls its storage of cached tokens, as the last request that took tokens from there says it.
    pub storage_backend: Option<String>,
    /// Whether it told of cached tokens at all.
    pub tells_cache: bool,
    token_sources: BTreeMap<TokenSource, u64>,
}

impl Account {
    /// Of no request yet, where samples are not kept, and the load is spread over the servers called `endpoints`.
    pub fn new(endpoints: &[String], vision: Option<VisionSource>) -> Self {
        Self::gathering(false, Arrivals::from(0), endpoints, vision)
    }

    /// That of `records`, before anything was settled from all of them.
    pub fn of(
        records: &[RequestRecord],
        endpoints: &[String],
        vision: Option<VisionSource>,
    ) -> Self {
        let arrivals = Arrivals::from(Arrivals::first(records));
        let mut account = Self::gathering(true, arrivals, endpoints, vision);
        for record in records {
            account.add(record);
        }
        account
    }

    fn gathering(
        keeps: bool,
        arrivals: Arrivals,
        endpoints: &[String],
        vision: Option<VisionSource>,
    ) -> Self {
        Self {
            evidence: Evidence::new(keeps),
            arrivals,
            failures: Failures::default(),
            endpoints: Endpoints::new(endpoints, keeps),
            vision: vision.map(Settling::new),
            storage_backend: None,
            tells_cache: false,
            token_sources: BTreeMap::new(),
        }
    }

    /// Adds `record`, which has its events and texts.
    pub fn add(&mut self, record: &RequestRecord) {
        self.evidence.add(record);
        self.arrivals.add(record);
        self.endpoints.add(record);
        if let Some(failure) = record.failure() {
            self.failures.add(&failure);
        }
        if let Some(settling) = &mut self.vision {
            settling.add(record);
        }
        if !record.completed() {
            return;
        }
        if let Some(tokens) = record.output_tokens {
            *self.token_sources.entry(tokens.source).or_insert(0) += 1;
        }
        if let Some(cached) = &record.cached {
            self.tells_cache = true;
            if let Some(tiers) = cached.tiers.as_ref().filter(|tiers| tiers.storage > 0) {
                self.storage_backend.clone_from(&tiers.storage_backend);
            }
        }
    }

    /// Completed requests by the source of their output token count.
    pub fn token_sources(&self) -> Vec<(TokenSource, u64)> {
        self.token_sources.iter().map(|(&source, &n)| (source, n)).collect()
    }
}
