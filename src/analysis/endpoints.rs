//! Figures of each server, where the load is spread over several.

use std::time::Duration;

use super::counts::Ended;
use super::measures::ms;
use super::stats::{Distribution, Method};
use crate::model::Outcome;

/// What one server did. Latencies are those of the metrics, over its completed requests, in ms.
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

/// What each of several servers did, while requests are added.
#[derive(Debug)]
pub struct Endpoints(Vec<Endpoint>);

#[derive(Debug)]
struct Endpoint {
    figures: PerEndpoint,
    ttft_ms: Distribution,
    e2e_ms: Distribution,
}

impl Endpoints {
    /// Of the servers called `names`, in their order; of one alone nothing is gathered. `keeps` is that of
    /// [`Distribution::new`].
    pub fn new(names: &[String], keeps: bool) -> Self {
        let of_one = |name: &String| Endpoint {
            figures: PerEndpoint {
                name: name.clone(),
                sent: 0,
                completed: 0,
                failed: 0,
                output_tokens: 0,
                ttft_ms: [None; 2],
                e2e_ms: [None; 2],
            },
            ttft_ms: Distribution::new(keeps),
            e2e_ms: Distribution::new(keeps),
        };
        Self(if names.len() < 2 { Vec::new() } else { names.iter().map(of_one).collect() })
    }

    /// Adds `request` to its server's.
    pub fn add(&mut self, request: &Ended<'_>) {
        let record = request.record;
        let Some(Endpoint { figures, ttft_ms, e2e_ms }) = self.0.get_mut(record.endpoint) else {
            return;
        };
        if record.sent.is_none() {
            return;
        }
        figures.sent += 1;
        figures.failed += u64::from(matches!(record.outcome, Outcome::Failed(_)));
        if record.completed() {
            figures.completed += 1;
            figures.output_tokens += request.output();
            let add = |to: &mut Distribution, latency: Option<Duration>| {
                if let Some(latency) = latency {
                    to.add(ms(latency));
                }
            };
            add(ttft_ms, record.ttft());
            add(e2e_ms, record.e2e());
        }
    }

    /// Adds the requests of `other`, of the same servers.
    pub fn merge(&mut self, other: Self) {
        for (ours, theirs) in self.0.iter_mut().zip(other.0) {
            ours.figures.sent += theirs.figures.sent;
            ours.figures.completed += theirs.figures.completed;
            ours.figures.failed += theirs.figures.failed;
            ours.figures.output_tokens += theirs.figures.output_tokens;
            ours.ttft_ms.merge(theirs.ttft_ms);
            ours.e2e_ms.merge(theirs.e2e_ms);
        }
    }

    /// Their figures.
    pub fn figures(self) -> Vec<PerEndpoint> {
        let of_one = |Endpoint { figures, mut ttft_ms, mut e2e_ms }: Endpoint| PerEndpoint {
            ttft_ms: ttft_ms.percentiles([50.0, 99.0], Method::Linear),
            e2e_ms: e2e_ms.percentiles([50.0, 99.0], Method::Linear),
            ..figures
        };
        self.0.into_iter().map(of_one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::testing::record;

    #[test]
    fn each_server_has_figures_of_its_own() {
        let mut slow = record(0, &[400, 500], &["a", "b"]);
        slow.endpoint = 1;
        let records = [record(0, &[100, 200], &["a", "b"]), slow];
        let names = ["a", "b", "c"].map(str::to_owned);
        let figures = |names: &[String]| {
            let mut endpoints = Endpoints::new(names, true);
            for record in &records {
                endpoints.add(&Ended::of(record));
            }
            endpoints.figures()
        };
        let all = figures(&names);
        let ttft: Vec<_> = all.iter().map(|one| (one.sent, one.ttft_ms[0])).collect();
        assert_eq!(ttft, [(1, Some(100.0)), (1, Some(400.0)), (0, None)]);
        assert_eq!(all[1].e2e_ms, [Some(500.0); 2]);
        assert!(figures(&names[..1]).is_empty());
    }
}
