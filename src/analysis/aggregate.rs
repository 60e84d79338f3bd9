//! The aggregate of a run: what is known of its requests without them, from which every figure is made.
//!
//! It is fed one request after the other, and two of them merge. Whether samples are kept or counted is a property of
//! their store ([`super::stats::Distribution`]) and changes nothing else.

use super::account::Account;
use super::counts::Ended;
use super::gather::{Close, Gathers, Metric, Run, Terms};
use super::measures::Measures;
use super::metric;
use crate::model::VisionSource;

/// All that was gathered from requests.
#[derive(Debug)]
pub struct Aggregate {
    metrics: Gathering,
    account: Account,
}

/// What came of an aggregate.
#[derive(Debug)]
pub struct Gathered {
    /// The figures of all metrics.
    pub measures: Measures,
    /// What is known beside them.
    pub account: Account,
}

impl Aggregate {
    /// Of no request yet, where the load is spread over the servers called `endpoints`, and `vision` says where image
    /// tokens come from as far as is known, if there are images.
    pub fn new(terms: &Terms<'_>, endpoints: &[String], vision: Option<VisionSource>) -> Self {
        Self {
            metrics: Gathering::of(metric::ALL, terms),
            account: Account::new(terms, endpoints, vision),
        }
    }

    /// Adds a request that has ended.
    pub fn add(&mut self, request: &Ended<'_>) {
        self.metrics.add(request);
        self.account.add(request);
    }

    /// Adds the requests of `other`, which come after these. Both have the same terms, servers and clock.
    pub fn merge(&mut self, other: Self) {
        self.metrics.merge(other.metrics);
        self.account.merge(other.account);
    }

    /// What is known beside the figures.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// The figures.
    pub fn finish(self, close: Close) -> Gathered {
        let close = settled(&self.account, close);
        Gathered { measures: self.metrics.finish(close), account: self.account }
    }
}

/// What an [`Aggregate`] of all `requests` gives.
///
/// One metric after the other: in long runs their samples are what most memory is needed for.
pub fn gather<'a>(
    requests: &(impl Iterator<Item = Ended<'a>> + Clone),
    terms: &Terms<'_>,
    endpoints: &[String],
    vision: Option<VisionSource>,
    close: Close,
) -> Gathered {
    let mut account = Account::new(terms, endpoints, vision);
    requests.clone().for_each(|request| account.add(&request));
    let close = settled(&account, close);
    Gathered { measures: compute(requests, terms, &close), account }
}

/// All figures of all metrics over `requests`, one metric after the other.
pub fn compute<'a>(
    requests: &(impl Iterator<Item = Ended<'a>> + Clone),
    terms: &Terms<'_>,
    close: &Close,
) -> Measures {
    let mut measures = Measures::default();
    for metric in metric::ALL {
        let mut gathering = Gathering::of(std::slice::from_ref(metric), terms);
        requests.clone().for_each(|request| gathering.add(&request));
        measures.extend(gathering.finish(close.clone()));
    }
    measures
}

/// `close` with the prompt tokens for images that only the totals of all requests tell.
fn settled(account: &Account, close: Close) -> Close {
    let vision_tokens = account.vision.map_or(0, |settling| settling.settle().1);
    Close { vision_tokens, ..close }
}

/// Metrics that gather.
#[derive(Debug)]
struct Gathering {
    run: Run,
    gathers: Vec<Box<dyn Gathers>>,
}

impl Gathering {
    fn of(metrics: &[Metric], terms: &Terms<'_>) -> Self {
        let gathers = metrics.iter().map(|metric| metric(terms)).collect();
        Self { run: Run::default(), gathers }
    }

    fn add(&mut self, request: &Ended<'_>) {
        self.run.add(request);
        for gather in &mut self.gathers {
            gather.add(request);
        }
    }

    fn merge(&mut self, other: Self) {
        self.run.merge(&other.run);
        for (gather, more) in self.gathers.iter_mut().zip(other.gathers) {
            gather.merge(more);
        }
    }

    fn finish(self, close: Close) -> Measures {
        let run = Run { close, ..self.run };
        let mut measures = Measures::default();
        for gather in self.gathers {
            gather.finish(&run, &mut measures);
        }
        measures
    }
}
