//! What a server's counts of tokens can be.
//!
//! A count lies between what was seen and what can be, is told with the last output or after it, and never falls.
//! One that does not is used nowhere, since a figure of it would be wrong and look like any other.

use crate::model::{Asked, MAX_TOKENS};

/// Tokens of a completion beyond those that were asked for that an engine may have made when it stops.
pub(super) const BEYOND: u64 = 64;

/// Tokens of a prompt beyond one for each byte of the request: what chat templates and servers add of their own.
const ADDED: u64 = 1 << 17;

/// Most output tokens of an answer with so many completions and bytes of text: what was asked for, and since not every
/// server keeps to that, one for each byte.
pub(super) fn most_output(asked: Asked, completions: u64, text: usize) -> u64 {
    let most = asked.tokens.map_or(MAX_TOKENS, |tokens| {
        completions.saturating_mul(tokens.saturating_add(BEYOND)).saturating_add(text as u64)
    });
    most.min(MAX_TOKENS)
}

/// Most prompt tokens of a request with a body of so many bytes, if that is known.
pub(super) fn most_prompt(body: Option<u32>) -> u64 {
    body.map_or(MAX_TOKENS, |bytes| MAX_TOKENS.min(u64::from(bytes) + ADDED))
}

/// Counts of all completions together.
#[derive(Debug, Default)]
pub(super) struct Totals {
    last: Option<u64>,
    /// How many were told, and their sum.
    told: u64,
    sum: u64,
    /// Events with output when the last of them was told.
    events: usize,
    /// Whether one was lower than the one before.
    falls: bool,
    /// Whether one cannot be of all output until then.
    apart: bool,
}

impl Totals {
    /// Takes one, told after `events` events with output.
    pub(super) fn tell(&mut self, total: u64, events: usize) {
        self.falls |= self.last.is_some_and(|last| total < last);
        let is_same = self.last == Some(total) && events > self.events;
        self.apart |= self.falls || is_same || total < events as u64;
        self.told += 1;
        self.sum = self.sum.saturating_add(total);
        (self.last, self.events) = (Some(total), events);
    }

    /// Lets the last one stand for `events` events: of them the last was made of it.
    pub(super) fn stands_for(&mut self, events: usize) {
        self.events = events;
    }

    /// The count of an answer with `completions` completions and `events` events with output, and whether it was told
    /// as such a count can be.
    ///
    /// Some servers tell one of each completion, without saying of which.
    pub(super) fn count(&self, completions: u64, events: usize) -> Option<(u64, bool)> {
        let last = self.last?;
        let is_of_each = self.apart && completions > 1 && self.told == completions;
        let count = if is_of_each { self.sum } else { last };
        Some((count, self.events == events && (is_of_each || !self.falls)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_of_all_output_or_of_each_completion() {
        let count = |totals: &[(u64, usize)], completions, events| {
            let mut all = Totals::default();
            for &(total, events) in totals {
                all.tell(total, events);
            }
            all.count(completions, events)
        };
        assert_eq!(count(&[], 1, 8), None);
        assert_eq!(count(&[(9, 8)], 1, 8), Some((9, true)));
        // Running: the last word holds.
        assert_eq!(count(&[(3, 2), (6, 4), (9, 8)], 3, 8), Some((9, true)));
        // Told before the end, or falling.
        assert_eq!(count(&[(9, 2)], 1, 8), Some((9, false)));
        assert_eq!(count(&[(9, 2), (8, 8)], 1, 8), Some((8, false)));
        // One of each completion: less than was seen, the same with more seen, or less than before.
        assert_eq!(count(&[(4, 12), (4, 12), (4, 12)], 3, 12), Some((12, true)));
        assert_eq!(count(&[(4, 4), (4, 8), (4, 12)], 3, 12), Some((12, true)));
        assert_eq!(count(&[(30, 4), (20, 8), (30, 12)], 3, 12), Some((80, true)));
        assert_eq!(
            count(&[(4, 12), (4, 12)], 3, 12),
            Some((4, true)),
            "not as many as completions"
        );
    }

    #[test]
    fn more_than_was_asked_for_needs_text() {
        let asked = Asked { completions: Some(2), tokens: Some(4), ..Asked::default() };
        assert_eq!(most_output(asked, 2, 0), 136);
        assert_eq!(most_output(asked, 2, 1000), 1136);
        assert_eq!(most_output(Asked::default(), 2, 0), MAX_TOKENS);
        assert_eq!(most_prompt(Some(100)), 131_172);
        assert_eq!(most_prompt(None), MAX_TOKENS);
    }
}
