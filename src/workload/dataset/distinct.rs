//! Prompts that differ from each other in their first tokens, however many there are.
//!
//! A prefix cache answers for whatever a prompt shares with an earlier one, so made-up prompts may share nothing:
//! prompt *i* begins with the digits of a number that stands for *i* alone.
//! The last digit comes first, so that as many prompts as there are digits differ in the first token already.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use rand::RngExt;
use rayon::prelude::*;

use super::exact::Words;
use crate::model::{Prompt, Row};
use crate::rng;
use crate::workload::tokenizer::Tokenizer;

/// Numbers that a code has room for, if its digits allow it: more than the rows that fit into memory.
const ROOM: u64 = 1 << 32;

/// Most tokens that a code takes: the smallest block that the prefix caches of servers keep.
const LONGEST: usize = 16;

/// The tokens that prompts of a run begin with.
#[derive(Debug)]
pub(super) struct Openings {
    /// The digits.
    ids: Vec<u32>,
    /// How many numbers there are of no digit, of one, and so on to those of a long prompt.
    spaces: Vec<u64>,
    step: u64,
    start: u64,
}

impl Openings {
    /// Openings of ids, any of `ids`.
    pub(super) fn new(ids: Vec<u32>, seed: u64, name: &str) -> Self {
        let base = ids.len().max(1) as u64;
        let (mut space, mut spaces) = (1_u64, vec![1]);
        while spaces.len() <= LONGEST && space < ROOM {
            space *= base;
            spaces.push(space);
        }
        let mut rng = rng::stream(seed, name, 0);
        let start = rng.random_range(0..space);
        // Without a common divisor, the multiples of the step meet each number once before they repeat.
        let step = loop {
            let step = rng.random_range(0..space).max(1);
            if gcd(step, base) == 1 {
                break step;
            }
        };
        Self { ids, spaces, step, start }
    }

    /// Openings of text: of `words` where there are some, else of tokens that text keeps apart.
    pub(super) fn of_text(
        tokenizer: &Tokenizer,
        words: Option<&Words>,
        vocabulary: &[u32],
        seed: u64,
        name: &str,
    ) -> Self {
        let ids = words.map_or_else(|| apart(tokenizer, vocabulary), |words| words.ids().to_vec());
        Self::new(ids, seed, name)
    }

    /// Digits of a long prompt.
    fn full(&self) -> usize {
        self.spaces.len() - 1
    }

    /// How many prompts of `len` tokens can differ.
    fn space(&self, len: usize) -> u64 {
        self.spaces[len.min(self.full())]
    }

    /// The digits that stand for `place` in a prompt of `len` tokens, as indices of the ids.
    pub(super) fn digits(&self, place: u64, len: usize) -> Vec<usize> {
        let product = u128::from(self.step) * u128::from(place) + u128::from(self.start);
        // What remains of a division by a `u64` is one.
        #[expect(clippy::cast_possible_truncation, reason = "bounded")]
        let mut rest = (product % u128::from(self.space(usize::MAX))) as u64;
        let base = self.ids.len().max(1) as u64;
        (0..len.min(self.full()))
            .map(|_| {
                let digit = rest % base;
                rest /= base;
                usize::try_from(digit).unwrap_or(0)
            })
            .collect()
    }

    /// The same as ids.
    pub(super) fn ids(&self, place: u64, len: usize) -> Vec<u32> {
        self.digits(place, len).into_iter().filter_map(|k| self.ids.get(k)).copied().collect()
    }

    /// The places of `n` prompts, of which prompt `i` has `length(i)` tokens, and none less than `shortest`.
    ///
    /// A prompt stands at its own index.
    /// Short ones of different lengths have fewer numbers among them, so each length is counted through by itself.
    pub(super) fn places(
        &self,
        n: usize,
        shortest: usize,
        longest: usize,
        length: impl Fn(usize) -> usize,
    ) -> Places {
        if shortest >= self.full() || shortest == longest {
            return Places::default();
        }
        let mut seen: HashMap<usize, u64> = HashMap::new();
        let place = |i: usize| {
            let len = length(i);
            if len >= self.full() {
                return i as u64;
            }
            let rank = seen.entry(len).or_default();
            *rank += 1;
            *rank - 1
        };
        Places((0..n).map(place).collect())
    }

    /// What to tell the user of prompts with these places and lengths where some are not distinct.
    pub(super) fn note(&self, used: impl Iterator<Item = (u64, usize)> + Clone) -> Option<String> {
        if used.clone().all(|(place, len)| place < self.space(len)) {
            return None;
        }
        let mut seen = HashSet::new();
        let n = used.clone().count();
        let is_copy = |&(place, len): &(u64, usize)| {
            !seen.insert((len.min(self.full()), place % self.space(len)))
        };
        let copies = used.filter(is_copy).count();
        (copies > 0).then(|| {
            format!(
                "{copies} of {n} prompts begin as others do: they are too short for more that differ, as the tokenizer has {} tokens to begin with; a prefix cache may answer faster than it does for new text",
                self.ids.len()
            )
        })
    }
}

/// Where prompts stand among those of a run; at their own indices, unless it says otherwise.
#[derive(Debug, Default)]
pub(super) struct Places(Vec<u64>);

impl Places {
    /// The place of prompt `i`.
    pub(super) fn of(&self, i: usize) -> u64 {
        self.0.get(i).copied().unwrap_or(i as u64)
    }
}

/// The greatest common divisor.
pub(super) fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Tokens that stay apart in text: those that stay themselves beside any other,
/// else single characters, else whatever there is.
fn apart(tokenizer: &Tokenizer, vocabulary: &[u32]) -> Vec<u32> {
    let text = |id: &u32| tokenizer.decode(&[*id]);
    let stays = |id: &&u32| tokenizer.encode(&text(id)) == [**id];
    let alone: Vec<u32> = vocabulary.par_iter().filter(stays).copied().collect();
    if alone.len() > 1 && tokenizer.encode(&tokenizer.decode(&alone)) == alone {
        return alone;
    }
    let is_character = |id: &&u32| {
        let text = text(id);
        text.chars().count() == 1 && text.chars().all(char::is_alphanumeric)
    };
    let characters: Vec<u32> = alone.iter().filter(is_character).copied().collect();
    if characters.len() > 1 { characters } else { vocabulary.to_vec() }
}

/// What to tell the user of prompts that are the same as an earlier one; found by comparing all.
pub(super) fn copies(rows: &[Row]) -> Option<String> {
    let hash = |row: &Row| {
        let mut hasher = DefaultHasher::new();
        match &row.prompt {
            Prompt::Text(text) => text.hash(&mut hasher),
            Prompt::Ids(ids) => ids.hash(&mut hasher),
            Prompt::Texts(_) | Prompt::Messages(_) | Prompt::Rounds(_) => return None,
        }
        Some(hasher.finish())
    };
    let hashes: Vec<Option<u64>> = rows.par_iter().map(hash).collect();
    let mut seen = HashSet::with_capacity(rows.len());
    let repeats = hashes.into_iter().flatten().filter(|hash| !seen.insert(*hash)).count();
    (repeats > 0).then(|| {
        format!(
            "{repeats} of {} prompts repeat others: a prefix cache may answer faster than it does for new text",
            rows.len()
        )
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Forall vocabularies: as many prompts as there are numbers of `len` digits differ in their first `len` tokens.
        #[test]
        fn openings_are_distinct(base in 2_u32..12, seed: u64, len in 1_usize..4) {
            let openings = Openings::new((0..base).collect(), seed, "x");
            let all = u64::from(base).pow(u32::try_from(len).unwrap());
            let mut seen = HashSet::new();
            for place in 0..all {
                let ids = openings.ids(place, len);
                prop_assert_eq!(ids.len(), len);
                prop_assert!(seen.insert(ids));
            }
            // Longer prompts begin alike.
            prop_assert_eq!(&openings.ids(1, 9)[..len], &openings.ids(1, len)[..]);
        }
    }

    #[test]
    fn a_hundred_thousand_prompts_differ_in_few_tokens() {
        for (base, tokens) in [(64, 3), (8_800, 2), (128_000, 1)] {
            let openings = Openings::new((0..base).collect(), 42, "x");
            let seen: HashSet<Vec<u32>> = (0..100_000).map(|i| openings.ids(i, tokens)).collect();
            assert_eq!(seen.len(), 100_000, "{base}");
        }
    }

    #[test]
    fn a_vocabulary_has_room_for_all_prompts_or_takes_a_block() {
        for (base, full) in [(1, 16), (2, 16), (4, 16), (64, 6), (8_800, 3), (128_000, 2)] {
            assert_eq!(Openings::new((0..base).collect(), 1, "x").full(), full, "{base}");
        }
    }

    #[test]
    fn short_prompts_are_counted_through_by_their_length() {
        let openings = Openings::new((0..100).collect(), 1, "x");
        let lengths = [9, 1, 9, 1, 2, 1];
        let places = openings.places(lengths.len(), 1, 9, |i| lengths[i]);
        let all: Vec<u64> = (0..lengths.len()).map(|i| places.of(i)).collect();
        assert_eq!(all, [0, 0, 2, 1, 0, 2]);
        let used = |n: usize, len| (0..n).map(move |i| (i as u64, len));
        assert_eq!(openings.note(used(100, 1)), None);
        let note = openings.note(used(103, 1)).unwrap();
        assert!(note.starts_with("3 of 103 prompts begin as others do"), "{note}");
        assert_eq!(openings.note(used(103, 2)), None);
    }
}
