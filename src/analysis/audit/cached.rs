//! Whether the server's prefix cache had of the prompts what it was to have.

use super::Finding;
use crate::analysis::counts::Ended;
use crate::workload::plan::PlannedCache;

/// The share of cached prompt tokens may differ from the plan by so much: servers cache whole blocks, and prompts that
/// are sent at the same time find less.
const FAR: f64 = 0.05;

/// What the server took from its prefix cache, over completed requests for which it counts that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServedCache {
    /// The requests.
    pub requests: u64,
    /// Tokens of their prompts, by the server's count where there is one.
    pub prompt_tokens: u64,
    /// Those of them that were cached.
    pub cached_tokens: u64,
}

impl ServedCache {
    /// Adds what of `request` the server says, if it is completed.
    pub(super) fn add(&mut self, request: &Ended<'_>) {
        let record = request.record;
        let Some(cached) = record.cached.as_ref().filter(|_| record.completed()) else { return };
        self.requests += 1;
        self.cached_tokens += cached.total;
        self.prompt_tokens += record.server_prompt_tokens.unwrap_or(request.counts.prompt as u64);
    }

    /// Adds the requests of `other`.
    pub(super) fn merge(&mut self, other: &Self) {
        let Self { requests, prompt_tokens, cached_tokens } = other;
        self.requests += requests;
        self.prompt_tokens += prompt_tokens;
        self.cached_tokens += cached_tokens;
    }

    /// The share of the prompt tokens that was cached; unknown where no request tells.
    pub fn rate(&self) -> Option<f64> {
        (self.prompt_tokens > 0).then(|| self.cached_tokens as f64 / self.prompt_tokens as f64)
    }

    /// What a reader has to know where the cache had more or less than `planned`.
    pub(super) fn note(&self, planned: PlannedCache) -> Option<Finding> {
        let (served, wanted) = (self.rate()?, planned.rate());
        let evidence = format!(
            "{:.1} % of the prompt tokens came from the server's prefix cache, and the prompts were made for {:.1} %",
            served * 1e2,
            wanted * 1e2
        );
        if served > planned.most() + FAR {
            let advice = "the cache is warm from runs before: --flush-cache empties it, --salt sends prompts that it does not have";
            return Some(Finding { evidence, advice, affects: &[] });
        }
        (served < wanted - FAR).then_some(Finding {
            evidence,
            advice: "is the prefix cache on, has it room for all prefixes, and do prompts that share one wait for each other?",
            affects: &[],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::testing::{ended, record};
    use crate::model::{CachedTokens, Outcome, RequestRecord};

    fn served(cached: &[Option<u64>]) -> ServedCache {
        let one = |cached: &Option<u64>| RequestRecord {
            cached: cached.map(|total| CachedTokens { total, tiers: None }),
            server_prompt_tokens: Some(100),
            outcome: Outcome::Completed,
            ..record(0, &[10], &["a"])
        };
        let records: Vec<RequestRecord> = cached.iter().map(one).collect();
        let (mut served, mut other) = (ServedCache::default(), ServedCache::default());
        for (i, request) in ended(&records).enumerate() {
            let into = if i == 0 { &mut served } else { &mut other };
            into.add(&request);
        }
        served.merge(&other);
        served
    }

    fn planned(cached_tokens: u64) -> PlannedCache {
        PlannedCache { prompt_tokens: 1000, cached_tokens, warm_up_tokens: 0 }
    }

    #[test]
    fn a_warm_cache_and_a_cold_one_are_pointed_out() {
        let half = served(&[Some(60), Some(40), None]);
        assert_eq!((half.requests, half.rate()), (2, Some(0.5)));
        assert_eq!(half.note(planned(500)), None);
        assert_eq!(half.note(planned(460)), None);
        let warm = half.note(planned(0)).unwrap();
        assert!(warm.evidence.starts_with("50.0 % of the prompt tokens"), "{warm}");
        assert!(warm.advice.contains("--salt"), "{warm}");
        let cold = served(&[Some(0)]).note(planned(500)).unwrap();
        assert!(cold.evidence.ends_with("made for 50.0 %"), "{cold}");
        assert!(cold.advice.contains("is the prefix cache on"), "{cold}");
        let warmed = PlannedCache { warm_up_tokens: 500, ..planned(0) };
        assert_eq!((half.note(warmed), served(&[Some(0)]).note(warmed)), (None, None));
        // Silence is no cold cache.
        assert_eq!(served(&[None]).note(planned(500)), None);
    }
}
