//! Text that has exactly so many tokens.
//!
//! Decoding ids and encoding the text again does not always give the ids back: neighbours merge, and bytes that are no text
//! become replacement characters. What matters to a benchmark is the number of tokens that the server will count.

use rand::{Rng, RngExt};
use rayon::prelude::*;

use super::Rows;
use crate::model::{Prompt, Row};
use crate::workload::tokenizer::Tokenizer;

/// Rounds of cutting and extending before words are tried one by one.
const ROUNDS: usize = 12;

/// Pieces that most tokenizers keep as one token after any text.
const FILLERS: [&str; 8] = [" the", " a", " to", "\n", ".", " 0", "x", "的"];

/// Text near `ids` that encodes to `ids.len()` tokens, and the number of tokens that it really has.
///
/// `more(k)` gives the k-th id to continue with where the text came out short.
pub(super) fn text(
    tokenizer: &Tokenizer,
    ids: &[u32],
    mut more: impl FnMut(usize) -> u32,
) -> (String, usize) {
    let target = ids.len();
    let mut ids = ids.to_vec();
    let mut taken = 0;
    let mut best = (String::new(), 0_usize);
    for _ in 0..ROUNDS {
        let text = tokenizer.decode(&ids);
        let back = tokenizer.encode(&text);
        let count = back.len();
        if count == target {
            return (text, count);
        }
        if best.0.is_empty() || count.abs_diff(target) < best.1.abs_diff(target) {
            best = (text, count);
        }
        ids = back;
        ids.truncate(target);
        while ids.len() < target {
            ids.push(more(taken));
            taken += 1;
        }
    }
    // The text does not settle: cut a little more each time, a short one to nothing, and fill with words.
    for cut in 0..=target.min(8) {
        let base = tokenizer.decode(&ids[..target - cut]);
        let count = tokenizer.count(&base);
        let Some(missing) = target.checked_sub(count) else { continue };
        for filler in FILLERS {
            let text = base.clone() + &filler.repeat(missing);
            let count = tokenizer.count(&text);
            if count == target {
                return (text, count);
            }
        }
    }
    best
}

/// `unit`, which has `ids`, repeated and cut to `target` tokens, without encoding all of it.
///
/// Tokenizers look at a text locally. If two units in a row have the ids twice over, any number of units has,
/// and if a unit and the cut piece behind it have the right count, so has a longer row with that piece.
/// `None` if that does not hold for this text, or if it is no repetition.
pub(super) fn repeated(
    tokenizer: &Tokenizer,
    unit: &str,
    ids: &[u32],
    target: usize,
) -> Option<String> {
    if ids.is_empty() || ids.len() >= target {
        return None;
    }
    let twice = tokenizer.encode(&unit.repeat(2));
    if twice.len() != 2 * ids.len() || twice[..ids.len()] != *ids || twice[ids.len()..] != *ids {
        return None;
    }
    let (times, rest) = (target / ids.len(), target % ids.len());
    let piece = tokenizer.decode(&ids[..rest]);
    if rest > 0 && tokenizer.count(&format!("{unit}{piece}")) != ids.len() + rest {
        return None;
    }
    let mut text = String::with_capacity(unit.len() * times + piece.len());
    (0..times).for_each(|_| text.push_str(unit));
    text.push_str(&piece);
    Some(text)
}

/// A cycle of words, each one token wherever it stands in the cycle.
#[derive(Debug)]
pub(super) struct Words {
    /// The words, each with the space before it.
    texts: Vec<String>,
    /// The token that each of them is.
    ids: Vec<u32>,
    /// Whether a text begins without that space, because the tokenizer adds one of its own.
    bare: bool,
}

impl Words {
    /// Fewest words that make a cycle worth drawing from.
    const FEWEST: usize = 64;

    /// The words of a tokenizer's vocabulary that keep their ids in a text of such words;
    /// `None` if it has too few.
    pub(super) fn of(tokenizer: &Tokenizer) -> Option<Self> {
        Self::find(tokenizer, false).or_else(|| Self::find(tokenizer, true))
    }

    fn find(tokenizer: &Tokenizer, bare: bool) -> Option<Self> {
        let ids = tokenizer.word_ids();
        let texts: Vec<String> =
            ids.iter().map(|&id| format!(" {}", tokenizer.decode(&[id]).trim_start())).collect();
        let mut cycle = Self { texts, ids: Vec::new(), bare };
        let mut ids = ids;
        while ids.len() >= Self::FEWEST {
            // Once around and on to the first word again: every word between its neighbours.
            let around = tokenizer.encode(&cycle.text(0, ids.len() + 1));
            let whole = around.len() == ids.len() + 1
                && around.iter().zip(ids.iter().cycle()).all(|(got, id)| got == id);
            // Every word at the beginning of a text, and behind another.
            let stays = |k: usize| {
                let next = (k + 1) % ids.len();
                tokenizer.encode(&cycle.text(k, 2)) == [ids[k], ids[next]]
            };
            let stays: Vec<bool> = (0..ids.len()).into_par_iter().map(stays).collect();
            if stays.iter().all(|&stays| stays) {
                // Where the text as a whole behaves in another way than its parts, there is no such cycle.
                cycle.ids = ids;
                return whole.then_some(cycle);
            }
            let kept = |k: &usize| stays[*k];
            let order: Vec<usize> = (0..ids.len()).filter(kept).collect();
            ids = order.iter().map(|&k| ids[k]).collect();
            cycle.texts = order.iter().map(|&k| std::mem::take(&mut cycle.texts[k])).collect();
        }
        None
    }

    /// `n` words in a row, the first at `start`: a text of `n` tokens.
    pub(super) fn text(&self, start: usize, n: usize) -> String {
        self.run(&[], start, n)
    }

    /// The words at `head`, and words drawn one by one up to `n`.
    /// A text that does not open a prompt always begins with the space.
    pub(super) fn draw(&self, head: &[usize], rng: &mut impl Rng, n: usize, opens: bool) -> String {
        let more = (head.len()..n).map(|_| rng.random_range(0..self.texts.len()));
        self.join(head.iter().copied().chain(more), opens)
    }

    /// The words at `head`, and those in a row from `start` up to `n` words.
    pub(super) fn run(&self, head: &[usize], start: usize, n: usize) -> String {
        let more = (start..).take(n.saturating_sub(head.len()));
        self.join(head.iter().copied().chain(more), true)
    }

    /// Whether the words at `head` and the one at `next` stay themselves where a text begins with them.
    pub(super) fn keep_apart(&self, tokenizer: &Tokenizer, head: &[usize], next: usize) -> bool {
        let all = || head.iter().copied().chain([next]);
        let ids = all().map(|k| self.ids[k % self.ids.len()]);
        tokenizer.encode(&self.join(all(), true)).into_iter().eq(ids)
    }

    fn join(&self, at: impl Iterator<Item = usize>, opens: bool) -> String {
        let mut text: String = at.map(|k| self.following(k)).collect();
        if opens && self.bare && text.starts_with(' ') {
            text.remove(0);
        }
        text
    }

    /// The token that each word is.
    pub(super) fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The word at `k` as it stands behind other text.
    pub(super) fn following(&self, k: usize) -> &str {
        &self.texts[k % self.texts.len()]
    }

    /// Number of words.
    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }
}

/// Of the prompts made without encoding them, one in so many is encoded all the same.
const CHECKED: usize = 64;

/// The token count to report for prompt `i`, whose text should have `target` tokens: counted for some, believed for others.
pub(super) fn count(tokenizer: &Tokenizer, i: usize, text: &str, target: usize) -> usize {
    if i.is_multiple_of(CHECKED) { tokenizer.count(text) } else { target }
}

/// Rows made with their targets. If one that was counted is not what it should be, all are counted;
/// their texts stay, as a row must not depend on other rows.
pub(super) fn checked(tokenizer: &Tokenizer, mut rows: Vec<(Row, usize)>) -> Rows {
    if rows.iter().any(|(row, target)| row.prompt_len != *target) {
        rows.par_iter_mut().for_each(|(row, _)| {
            if let Prompt::Text(text) = &row.prompt {
                row.prompt_len = tokenizer.count(text);
            }
        });
    }
    let note = note(rows.iter().map(|(row, target)| (*target, row.prompt_len)));
    Rows {
        rows: rows.into_iter().map(|(row, _)| row).collect(),
        notes: note.into_iter().collect(),
        ..Rows::default()
    }
}

/// What to tell the user of prompts whose lengths missed their targets.
pub(super) fn note(lengths: impl Iterator<Item = (usize, usize)>) -> Option<String> {
    let missed: Vec<(usize, usize)> = lengths.filter(|(want, got)| want != got).collect();
    let worst = missed.iter().map(|(want, got)| want.abs_diff(*got)).max()?;
    Some(format!(
        "{} prompts have another length than asked for, by up to {worst} tokens: \
         this tokenizer does not give those lengths back; the totals count the real lengths",
        missed.len(),
    ))
}
