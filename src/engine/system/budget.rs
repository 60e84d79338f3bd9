//! The memory that a run may take for what servers send: one budget for all answers, those that are under way and those
//! that are kept.
//!
//! Caps on single answers do not add up to one: a hundred answers below their caps are more than a machine has.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What each answer may take whatever the others do, beside [`OWED_PER_TOKEN`], in bytes.
pub const OWED: u64 = 32 << 10;

/// The same for each token that was asked for: several times what an event and its text need.
pub const OWED_PER_TOKEN: u64 = 256;

/// The share of the free memory, what the plan needs left out, that answers longer than planned may take.
const SHARE: u64 = 10;

/// Memory is asked for in pieces of this size, so that few reads ask.
const PIECE: u64 = 16 << 10;

/// The memory of a run.
#[derive(Debug)]
pub struct Budget {
    most: u64,
    used: AtomicU64,
    cut: AtomicU64,
    uncounted: AtomicU64,
}

/// What a budget cost the requests of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// The budget in bytes.
    pub most: u64,
    /// Requests that failed since their answers went on when it was spent.
    pub cut: u64,
    /// Requests whose answers arrived and could not be kept until they were counted.
    pub uncounted: u64,
}

impl Budget {
    /// One of `most` bytes.
    pub fn new(most: u64) -> Arc<Self> {
        let [used, cut, uncounted] = std::array::from_fn(|_| AtomicU64::new(0));
        Arc::new(Self { most, used, cut, uncounted })
    }

    /// One that is never spent.
    pub fn endless() -> Arc<Self> {
        Self::new(u64::MAX)
    }

    /// That of a run that needs `planned` bytes for the answers that it asks for, where `free` bytes are free.
    /// Without a word of the system about that it is endless.
    pub fn of_run(planned: u64, free: Option<u64>) -> Arc<Self> {
        let most = |free: u64| planned.saturating_add(free.saturating_sub(planned) / SHARE);
        Self::new(free.map_or(u64::MAX, most))
    }

    /// A budget of the same size that nothing was taken from.
    pub fn anew(&self) -> Arc<Self> {
        Self::new(self.most)
    }

    /// The budget in bytes.
    pub fn most(&self) -> u64 {
        self.most
    }

    /// Most bytes that may wait for one of the threads which work on what has ended.
    pub fn backlog(&self) -> u64 {
        (self.most / 4).clamp(4 << 20, 64 << 20)
    }

    /// Returns what it cost; `None` if nothing.
    pub fn spent(&self) -> Option<Spent> {
        let (cut, uncounted) = (self.cut.load(Relaxed), self.uncounted.load(Relaxed));
        (cut + uncounted > 0).then_some(Spent { most: self.most, cut, uncounted })
    }

    /// Notes that the answer of a request could not be kept until it was counted.
    pub fn count_uncounted(&self) {
        self.uncounted.fetch_add(1, Relaxed);
    }

    /// Takes `bytes`, whatever is left.
    fn take(&self, bytes: u64) {
        self.used.fetch_add(bytes, Relaxed);
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Relaxed);
    }
}

/// What is taken from a budget, until dropped.
#[derive(Debug)]
pub struct Charge {
    budget: Arc<Budget>,
    bytes: u64,
}

/// A budget is spent; its size in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverBudget(pub u64);

impl Charge {
    /// Nothing yet.
    pub fn new(budget: &Arc<Budget>) -> Self {
        Self { budget: budget.clone(), bytes: 0 }
    }

    /// Takes what is missing until it is for `bytes`. Up to `owed` bytes can always be had.
    ///
    /// # Errors
    /// If the budget is spent; that is counted as an answer that was cut.
    #[inline]
    pub fn cover(&mut self, bytes: usize, owed: u64) -> Result<(), OverBudget> {
        if bytes as u64 <= self.bytes { Ok(()) } else { self.grow(bytes as u64, owed) }
    }

    #[cold]
    fn grow(&mut self, bytes: u64, owed: u64) -> Result<(), OverBudget> {
        let more = bytes.next_multiple_of(PIECE) - self.bytes;
        let budget = &self.budget;
        budget.take(more);
        if bytes > owed && budget.used.load(Relaxed) > budget.most {
            budget.give_back(more);
            budget.cut.fetch_add(1, Relaxed);
            return Err(OverBudget(budget.most));
        }
        self.bytes += more;
        Ok(())
    }

    /// Takes or gives back what makes it be for `bytes`.
    pub fn settle(&mut self, bytes: u64) {
        self.budget.take(bytes);
        self.budget.give_back(self.bytes);
        self.bytes = bytes;
    }

    /// Leaves it taken until the run is over.
    pub fn keep(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_more_than_is_owed_is_cut_when_it_is_spent() {
        let budget = Budget::new(10 * PIECE);
        let [mut greedy, mut modest, mut other] = [0; 3].map(|_| Charge::new(&budget));
        let bytes = |pieces: u64| usize::try_from(pieces * PIECE).unwrap();
        assert_eq!(greedy.cover(bytes(9), 0), Ok(()));
        assert_eq!(modest.cover(1, 0), Ok(()));
        assert_eq!(budget.spent(), None);
        // What is owed is had all the same, and what was taken stays.
        assert_eq!(modest.cover(bytes(2), 2 * PIECE), Ok(()));
        assert_eq!(greedy.cover(bytes(9), 0), Ok(()));
        assert_eq!(greedy.cover(bytes(10), 0), Err(OverBudget(10 * PIECE)));
        assert_eq!(budget.spent(), Some(Spent { most: 10 * PIECE, cut: 1, uncounted: 0 }));
        greedy.settle(PIECE);
        assert_eq!(other.cover(bytes(7), 0), Ok(()));
        assert_eq!(greedy.cover(bytes(2), 0), Err(OverBudget(10 * PIECE)));
        drop(other);
        assert_eq!(greedy.cover(bytes(8), 0), Ok(()));
        modest.keep();
        drop(greedy);
        assert_eq!(budget.used.load(Relaxed), 2 * PIECE);
    }

    #[test]
    fn a_run_has_what_it_plans_and_a_share_of_the_rest() {
        for (planned, free, want) in [
            (0, Some(1000), 100),
            (500, Some(1000), 550),
            (2000, Some(1000), 2000),
            (0, None, u64::MAX),
        ] {
            assert_eq!(Budget::of_run(planned, free).most(), want);
        }
    }
}
