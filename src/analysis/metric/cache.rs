//! Cache: prompt tokens that the server did not compute because its prefix cache held them.
//!
//! Over completed requests, and only if a report is asked for:
//!
//! - `cache_prompt_tokens`: prompt tokens, by the server's count where it tells one.
//! - `total_cached_tokens`: those of them that were in the cache; a request that tells nothing adds 0.
//! - `cache_hit_rate_pct`: the second as a percentage of the first, 0 without prompt tokens.
//! - `device_cached_tokens`, `host_cached_tokens`, `storage_cached_tokens`: where they lay, absent if no request tells.
//! - `cache_reported_requests`: completed requests for which the server told its cached tokens.

use crate::analysis::counts::Ended;
use crate::analysis::gather::{Gather, Metric, Run};
use crate::analysis::measure::Measure;
use crate::analysis::measures::Measures;

pub(super) const METRIC: Metric =
    |terms| Box::new(Cache { is_wanted: terms.cache_report, ..Cache::default() });

/// Sums over completed requests, in tokens.
#[derive(Debug, Default)]
struct Cache {
    is_wanted: bool,
    prompt: u64,
    cached: u64,
    /// Device, host and storage, if a request told of them.
    tiers: Option<[u64; 3]>,
    reported: u64,
}

impl Cache {
    fn add_tiers(&mut self, tiers: [u64; 3]) {
        let sums = self.tiers.get_or_insert_default();
        for (sum, tokens) in sums.iter_mut().zip(tiers) {
            *sum += tokens;
        }
    }
}

impl Gather for Cache {
    fn add(&mut self, request: &Ended<'_>) {
        let Some(record) = request.completed() else { return };
        self.prompt += record.server_prompt_tokens.unwrap_or(request.counts.prompt as u64);
        let Some(cached) = &record.cached else { return };
        self.reported += 1;
        self.cached += cached.total;
        if let Some(tiers) = &cached.tiers {
            self.add_tiers([tiers.device, tiers.host, tiers.storage]);
        }
    }

    fn merge(&mut self, other: Self) {
        self.prompt += other.prompt;
        self.cached += other.cached;
        self.reported += other.reported;
        if let Some(tiers) = other.tiers {
            self.add_tiers(tiers);
        }
    }

    fn finish(self, _: &Run, measures: &mut Measures) {
        let Self { is_wanted, prompt, cached, tiers, reported } = self;
        if !is_wanted {
            return;
        }
        let rate = if prompt > 0 { cached as f64 / prompt as f64 * 1e2 } else { 0.0 };
        measures.count(Measure::CachePromptTokens, prompt);
        measures.count(Measure::CachedTokens, cached);
        measures.real(Measure::CacheHitRate, Some(rate));
        let of_tiers =
            [Measure::DeviceCachedTokens, Measure::HostCachedTokens, Measure::StorageCachedTokens];
        for (i, measure) in of_tiers.into_iter().enumerate() {
            match tiers {
                None => measures.real(measure, None),
                Some(sums) => measures.count(measure, sums[i]),
            }
        }
        measures.count(Measure::CacheReportedRequests, reported);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::gather::{Close, Terms};
    use crate::analysis::measures::Figure::{self, Absent, Count, Real};
    use crate::analysis::testing::{ended, record, stats, stats_of};
    use crate::model::{CacheTiers, CachedTokens, Outcome, RequestRecord};

    fn cached(total: u64, tiers: Option<CacheTiers>, prompt: Option<u64>) -> RequestRecord {
        RequestRecord {
            cached: Some(CachedTokens { total, tiers: tiers.map(Box::new) }),
            server_prompt_tokens: prompt,
            ..record(0, &[10], &["a"])
        }
    }

    fn figures(records: &[RequestRecord]) -> Vec<Figure> {
        let terms = Terms { cache_report: true, ..Terms::default() };
        let stats = stats(METRIC, ended(records), &terms, Close::default());
        stats.iter().map(|stat| stat.value).collect()
    }

    #[test]
    fn what_servers_tell_is_added_up() {
        let tiers = CacheTiers { device: 4, host: 2, storage: 0, storage_backend: None };
        let mut failed = cached(100, None, Some(100));
        failed.outcome = Outcome::NotSent;
        // The one that tells no prompt tokens has the 5 of the local tokenizer.
        let records =
            [cached(6, Some(tiers), Some(10)), cached(2, None, None), cached(0, None, Some(1))];
        let rate = Real(8.0 / 16.0 * 1e2);
        let want = [Count(16), Count(8), rate, Count(4), Count(2), Count(0), Count(3)];
        assert_eq!(figures(&records), want);
        let mut with_failed = records.to_vec();
        with_failed.push(failed);
        assert_eq!(figures(&with_failed), want);
    }

    #[test]
    fn nothing_told_is_not_a_tier_of_nothing() {
        let silent = [record(0, &[10], &["a"])];
        let want = [Count(5), Count(0), Real(0.0), Absent, Absent, Absent, Count(0)];
        assert_eq!(figures(&silent), want);
        assert_eq!(figures(&[])[2], Real(0.0));
        assert!(stats_of(METRIC, &silent).is_empty());
    }
}
