//! Figures of each server, where the load is spread over several.

use std::time::Duration;

use crate::model::{Outcome, RequestRecord};
use crate::stats::Sorted;

/// What one server did. Latencies are those of [`super::compute`], over its completed requests, in ms.
#[derive(Debug, Clone, PartialEq)]
pub struct PerEndpoint {
    /// The URL without a password, or the name of the socket.
    pub name: String,
    /// Requests sent to it.
    pub sent: u64,
    /// Those that completed.
    pub completed: u64,
    /// Those that failed.
    pub failed: u64,
    /// Output tokens of those that completed.
    pub output_tokens: u64,
    /// Median, 99th percentile TTFT; `None` without samples.
    pub ttft_ms: [Option<f64>; 2],
    /// Median, 99th percentile E2E latency; `None` without samples.
    pub e2e_ms: [Option<f64>; 2],
}

/// The figures of the servers called `names`, in their order; none if there is one alone.
pub fn per_endpoint(records: &[RequestRecord], names: &[String]) -> Vec<PerEndpoint> {
    if names.len() < 2 {
        return Vec::new();
    }
    let figures = |(at, name): (usize, &String)| {
        let sent = || records.iter().filter(move |r| r.endpoint == at && r.sent.is_some());
        let completed = || sent().filter(|record| record.completed());
        let latency = |of: fn(&RequestRecord) -> Option<Duration>| {
            let ms =
                Sorted::new(completed().filter_map(of).map(|t| t.as_secs_f64() * 1e3).collect());
            [50.0, 99.0].map(|q| ms.percentile(q))
        };
        let failed = |record: &&RequestRecord| matches!(record.outcome, Outcome::Failed(_));
        PerEndpoint {
            name: name.clone(),
            sent: sent().count() as u64,
            completed: completed().count() as u64,
            failed: sent().filter(failed).count() as u64,
            output_tokens: completed().map(RequestRecord::output_count).sum(),
            ttft_ms: latency(RequestRecord::ttft),
            e2e_ms: latency(RequestRecord::e2e),
        }
    };
    names.iter().enumerate().map(figures).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::testing::record;

    #[test]
    fn each_server_has_figures_of_its_own() {
        let mut slow = record(0, &[400, 500], &["a", "b"]);
        slow.endpoint = 1;
        let records = [record(0, &[100, 200], &["a", "b"]), slow];
        let names = ["a", "b", "c"].map(str::to_owned);
        let all = per_endpoint(&records, &names);
        let ttft: Vec<_> = all.iter().map(|one| (one.sent, one.ttft_ms[0])).collect();
        assert_eq!(ttft, [(1, Some(100.0)), (1, Some(400.0)), (0, None)]);
        assert_eq!(all[1].e2e_ms, [Some(500.0); 2]);
        assert!(per_endpoint(&records, &names[..1]).is_empty());
    }
}
