//! Cache: prompt tokens that the server did not compute because its prefix cache held them.
//!
//! Over completed requests, and only if a report is asked for:
//!
//! - `cache_prompt_tokens`: prompt tokens, by the server's count where it tells one.
//! - `total_cached_tokens`: those of them that were in the cache; a request that tells nothing adds 0.
//! - `cache_hit_rate_pct`: the second as a percentage of the first, 0 without prompt tokens.
//! - `device_cached_tokens`, `host_cached_tokens`, `storage_cached_tokens`: where they lay, absent if no request tells.
//! - `cache_reported_requests`: completed requests for which the server told its cached tokens.

use super::{Metric, Run, Stat, count, real};
use crate::model::CacheTiers;

pub(super) const METRIC: Metric = Metric { name: "cache", stats };

fn stats(run: &Run<'_>) -> Vec<Stat> {
    if !run.cache_report {
        return Vec::new();
    }
    let prompt: u64 = run
        .completed()
        .map(|record| record.server_prompt_tokens.unwrap_or(record.prompt_len as u64))
        .sum();
    let told = || run.completed().filter_map(|record| record.cached.as_ref());
    let cached: u64 = told().map(|cached| cached.total).sum();
    let rate = if prompt > 0 { cached as f64 / prompt as f64 * 1e2 } else { 0.0 };
    let tiers: Vec<&CacheTiers> = told().filter_map(|cached| cached.tiers.as_ref()).collect();
    let tier = |key: &str, tokens: fn(&CacheTiers) -> u64| {
        if tiers.is_empty() {
            real(key, None)
        } else {
            count(key, tiers.iter().map(|tiers| tokens(tiers)).sum())
        }
    };
    vec![
        count("cache_prompt_tokens", prompt),
        count("total_cached_tokens", cached),
        real("cache_hit_rate_pct", Some(rate)),
        tier("device_cached_tokens", |tiers| tiers.device),
        tier("host_cached_tokens", |tiers| tiers.host),
        tier("storage_cached_tokens", |tiers| tiers.storage),
        count("cache_reported_requests", told().count() as u64),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Figure::{self, Absent, Count, Real};
    use crate::metric::testing::{record, run};
    use crate::model::{CachedTokens, Outcome, RequestRecord};

    fn cached(total: u64, tiers: Option<CacheTiers>, prompt: Option<u64>) -> RequestRecord {
        RequestRecord {
            cached: Some(CachedTokens { total, tiers }),
            server_prompt_tokens: prompt,
            ..record(0, &[10], &["a"])
        }
    }

    fn figures(records: &[RequestRecord]) -> Vec<Figure> {
        let run = Run { cache_report: true, ..run(records) };
        stats(&run).iter().map(|stat| stat.value).collect()
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
        assert!(stats(&run(&silent)).is_empty());
    }
}
