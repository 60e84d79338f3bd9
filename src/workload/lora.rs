//! LoRA adapters: which request asks for which.
//!
//! The adapter of request *i* depends on the names, the seed and *i* alone.

use std::sync::Arc;

use rand::RngExt;
use rand::distr::weighted::WeightedIndex;

use crate::rng;

/// How requests are shared among adapters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Share {
    /// Each adapter is as likely as any other.
    Uniform,
    /// The adapters in turn.
    Distinct,
    /// Each adapter is this many times as likely as the next; above 1 and finite.
    Skewed(f64),
}

/// The adapters of a run.
#[derive(Debug, Clone)]
pub struct Adapters {
    names: Vec<Arc<str>>,
    /// The weights, where they differ.
    skew: Option<WeightedIndex<f64>>,
    share: Share,
}

impl Adapters {
    /// Adapters shared as `share` says; none without names.
    pub fn new(names: &[String], share: Share) -> Option<Self> {
        if names.is_empty() {
            return None;
        }
        let skew = match share {
            Share::Skewed(alpha) => {
                let rank = |i: usize| i32::try_from(i).unwrap_or(i32::MAX);
                // The first weight is 1, so that their sum is above 0 and finite.
                WeightedIndex::new((0..names.len()).map(|i| alpha.powi(-rank(i)))).ok()
            }
            _ => None,
        };
        let names = names.iter().map(|name| Arc::from(name.as_str())).collect();
        Some(Self { names, skew, share })
    }

    /// The first adapter, which the warm-up uses.
    pub fn first(&self) -> Arc<str> {
        self.names[0].clone()
    }

    /// The adapter of request `i`.
    pub fn of(&self, seed: u64, i: usize) -> Arc<str> {
        let mut rng = rng::stream(seed, "lora/adapter", i as u64);
        let at = match (self.share, &self.skew) {
            (Share::Distinct, _) => i % self.names.len(),
            (Share::Skewed(_), Some(skew)) => rng.sample(skew),
            _ => rng.random_range(0..self.names.len()),
        };
        self.names[at].clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of 10,000 requests ask for each of `n` adapters.
    fn counts(n: usize, share: Share) -> Vec<usize> {
        let names: Vec<String> = (0..n).map(|i| format!("a{i}")).collect();
        let adapters = Adapters::new(&names, share).unwrap();
        let drawn: Vec<Arc<str>> = (0..10_000).map(|i| adapters.of(42, i)).collect();
        names.iter().map(|name| drawn.iter().filter(|a| &***a == name).count()).collect()
    }

    #[test]
    fn shares_follow_their_definition() {
        assert_eq!(counts(4, Share::Distinct), [2500; 4]);
        let uniform = counts(4, Share::Uniform);
        assert!(uniform.iter().all(|n| n.abs_diff(2500) < 200), "{uniform:?}");
        // 1 : 1/2 : 1/4
        let skewed = counts(3, Share::Skewed(2.0));
        for (got, want) in skewed.iter().zip([5714, 2857, 1429]) {
            assert!(got.abs_diff(want) < 250, "{skewed:?}");
        }
        assert_eq!(counts(2000, Share::Skewed(1e9))[0], 10_000);
    }

    #[test]
    fn a_request_has_its_adapter_whatever_the_others_have() {
        let names = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let adapters = Adapters::new(&names, Share::Uniform).unwrap();
        let forth: Vec<Arc<str>> = (0..50).map(|i| adapters.of(7, i)).collect();
        let back: Vec<Arc<str>> = (0..50).rev().map(|i| adapters.of(7, i)).collect();
        assert!(forth.iter().eq(back.iter().rev()));
        assert!((0..50).any(|i| adapters.of(8, i) != forth[i]));
        assert!(Adapters::new(&[], Share::Uniform).is_none());
        assert_eq!(&*adapters.first(), "a");
    }
}
