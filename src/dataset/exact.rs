//! Text that has exactly so many tokens.
//!
//! Decoding ids and encoding the text again does not always give the ids back: neighbours merge, and bytes that are no text
//! become replacement characters. What matters to a benchmark is the number of tokens that the server will count.

use crate::tokenizer::Tokenizer;

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
    // The text does not settle: cut a little more each time, and fill with words.
    for cut in 0..target.min(8) {
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
