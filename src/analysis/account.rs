//! What a report says about requests beside their metrics, gathered from one request after the other.

use std::collections::BTreeMap;

use super::audit::Evidence;
use super::ceiling::Arrivals;
use super::counts::Ended;
use super::endpoints::Endpoints;
use super::failures::Failures;
use super::gather::Terms;
use super::vision::Settling;
use crate::model::{TokenSource, VisionSource};

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
    /// Of no request yet, where the load is spread over the servers called `endpoints`.
    pub fn new(terms: &Terms<'_>, endpoints: &[String], vision: Option<VisionSource>) -> Self {
        Self {
            evidence: Evidence::new(terms.keeps),
            arrivals: Arrivals::from(terms.origins.event),
            failures: Failures::default(),
            endpoints: Endpoints::new(endpoints, terms.keeps),
            vision: vision.map(Settling::new),
            storage_backend: None,
            tells_cache: false,
            token_sources: BTreeMap::new(),
        }
    }

    /// Adds `request`, whose record has its events and texts.
    pub fn add(&mut self, request: &Ended<'_>) {
        let record = request.record;
        self.evidence.add(request);
        self.arrivals.add(record);
        self.endpoints.add(request);
        if let Some(failure) = record.failure() {
            self.failures.add(&failure);
        }
        if let Some(settling) = &mut self.vision {
            settling.add(request);
        }
        if !record.completed() {
            return;
        }
        if let Some(tokens) = request.counts.output {
            *self.token_sources.entry(tokens.source).or_insert(0) += 1;
        }
        if let Some(cached) = &record.cached {
            self.tells_cache = true;
            if let Some(tiers) = cached.tiers.as_ref().filter(|tiers| tiers.storage > 0) {
                self.storage_backend.clone_from(&tiers.storage_backend);
            }
        }
    }

    /// Adds the requests of `other`, which come after these.
    pub fn merge(&mut self, other: Self) {
        self.evidence.merge(other.evidence);
        self.arrivals.merge(&other.arrivals);
        self.failures.merge(other.failures);
        self.endpoints.merge(other.endpoints);
        match (&mut self.vision, other.vision) {
            (Some(settling), Some(more)) => settling.merge(more),
            (settling, more) => *settling = settling.or(more),
        }
        self.storage_backend = other.storage_backend.or(self.storage_backend.take());
        self.tells_cache |= other.tells_cache;
        for (source, n) in other.token_sources {
            *self.token_sources.entry(source).or_insert(0) += n;
        }
    }

    /// Completed requests by the source of their output token count.
    pub fn token_sources(&self) -> Vec<(TokenSource, u64)> {
        self.token_sources.iter().map(|(&source, &n)| (source, n)).collect()
    }
}
