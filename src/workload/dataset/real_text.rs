//! `corpus`: passages of real text of exactly so many tokens, each from another place of the text.
//!
//! A passage begins with a word. It is decoded from its first tokens and encoded again, so that the number of tokens is
//! the one that the server counts.

use std::borrow::Cow;
use std::path::Path;

use rand::RngExt;

use super::corpus::Corpus;
use super::distinct;
use super::lengths::drawn;
use super::prefixes::{self, Part, Shape};
use super::random::{draws, targets};
use super::{Context, Dataset, Entry, Rows, Templates, Uses, effective, params, weight};
use crate::error::{Error, Kind};
use crate::rng;
use crate::workload::filetype;

pub(super) const ENTRY: Entry = Entry {
    name: "corpus",
    about: "passages of real text, of random lengths in exact tokens",
    // The flags are those of `random` and `random-ids`, which add them.
    flags: |command| command,
    reads: &[
        "dataset-path",
        "random-input-len",
        "random-output-len",
        "random-range-ratio",
        "input-len-dist",
        "output-len-dist",
        "cache-hit-rate",
        "cache-prefixes",
        "cache-popularity",
    ],
    params: |matches| params(Shape::of_flags(matches)),
    build: |params| Ok(Box::new(RealText(Shape::of_params(params)?))),
    effective: |matches| effective(Shape::of_flags(matches)),
};

#[derive(Debug)]
struct RealText(Shape);

impl Dataset for RealText {
    fn load(&self, context: &Context<'_>) -> Result<Rows, Error> {
        let text = text(context)?;
        let passages = Passages::new(&text, context)?;
        let draws = draws(&self.0.lengths)?;
        let targets: Vec<(usize, usize)> =
            (0..context.n).map(|i| targets(&draws, context, i)).collect();
        let part = |part: Part, n: usize| passages.ids(part, n);
        let mut rows = prefixes::rows(context, &targets, &self.0.prefixes, "corpus", part)?;
        rows.told.push(format!(
            "{} words of real text to begin with, {} characters in all",
            passages.starts.len(),
            text.len()
        ));
        rows.notes.extend(distinct::copies(&rows.rows));
        rows.notes.extend(passages.note(&targets));
        Ok(rows.with(drawn(&draws, context.seed, context.n)))
    }

    fn bytes(&self, n: usize) -> u64 {
        weight(n, self.0.lengths.mean_input())
    }

    fn uses(&self) -> Uses {
        Uses { template: Templates::Ignored, vocabulary: true, salt: true, ..Uses::default() }
    }
}

/// The text of the file, else that of the conversations inside the program.
fn text(context: &Context<'_>) -> Result<String, Error> {
    let Some(path) = context.path.filter(|path| *path != Path::new(crate::workload::bundled::NAME))
    else {
        let path = Some(Path::new(crate::workload::bundled::NAME));
        let inside = Corpus::load(&Context { path, ..*context }, "corpus/shuffle")?;
        // In an order of their own, whatever the seed.
        let mut turns: Vec<String> = inside
            .items
            .iter()
            .map(|turns| format!("{}\n\n{}\n\n", turns.question, turns.answer))
            .collect();
        turns.sort_unstable();
        return Ok(turns.concat());
    };
    let named = || format!("--dataset-path {}", path.display());
    let bytes = std::fs::read(path).map_err(|error| {
        Error::new(Kind::Input, format!("{}: cannot be read", named())).because(error)
    })?;
    if let Some(kind) = filetype::of(&bytes[..bytes.len().min(filetype::HEAD)]) {
        return Err(Error::new(Kind::Input, format!("{}: is {kind}", named()))
            .hint("--dataset-name corpus takes a UTF-8 text, such as a book"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let message = format!("{}: is no UTF-8 text", named());
        Error::new(Kind::Input, message).because(error)
    })
}

/// Where passages of a text begin.
struct Passages<'a> {
    text: &'a str,
    context: &'a Context<'a>,
    /// The beginnings of words, in bytes.
    starts: Vec<usize>,
    /// The first of them that is used, and how far the next one is.
    first: usize,
    step: usize,
}

/// Bytes of text that are encoded for each token that is wanted, at first.
const BYTES: usize = 6;

impl<'a> Passages<'a> {
    /// The passages of `text`.
    ///
    /// # Errors
    /// If it has no word with a token.
    fn new(text: &'a str, context: &'a Context<'_>) -> Result<Self, Error> {
        let mut after_space = true;
        let mut starts = Vec::new();
        for (at, c) in text.char_indices() {
            if after_space && !c.is_whitespace() {
                starts.push(at);
            }
            after_space = c.is_whitespace();
        }
        if starts.is_empty() || context.tokenizer.count(text.trim()) == 0 {
            let path = context.path.unwrap_or(Path::new("the text")).display();
            return Err(Error::new(Kind::Input, format!("--dataset-path {path}: holds no text")));
        }
        let mut rng = rng::stream(context.content(), "corpus/start", 0);
        let first = rng.random_range(0..starts.len());
        Ok(Self { text, context, step: stride(starts.len()), starts, first })
    }

    /// At least `n` tokens of the passage for a part of a prompt; the passage wraps around at the end of the text.
    fn ids(&self, part: Part, n: usize) -> Vec<u32> {
        // Prefixes and prompts take turns from both ends, so that they meet late.
        let count = self.starts.len();
        let at = match part {
            Part::Own(i) => i % count,
            Part::Prefix(p) => count - 1 - p % count,
        };
        let turn = (at as u128 * self.step as u128 + self.first as u128) % count as u128;
        let start = self.starts[usize::try_from(turn).unwrap_or(0)];
        let mut bytes = n.saturating_mul(BYTES).saturating_add(64);
        loop {
            let slice = self.slice(start, bytes);
            let ids = self.context.tokenizer.encode(&slice);
            if ids.len() >= n {
                return ids;
            }
            bytes = bytes.saturating_mul(2);
        }
    }

    /// At least `bytes` of text from `start` on, up to the end of a character.
    fn slice(&self, start: usize, bytes: usize) -> Cow<'a, str> {
        let rest = &self.text[start..];
        if bytes <= rest.len() {
            return rest[..rest.ceil_char_boundary(bytes)].into();
        }
        let mut text = rest.to_owned();
        while text.len() < bytes {
            text.push('\n');
            text.push_str(self.text);
        }
        text.into()
    }

    /// What to tell the user of passages that cannot but meet.
    fn note(&self, targets: &[(usize, usize)]) -> Option<String> {
        let wanted = targets.iter().map(|(target, _)| *target).fold(0, usize::saturating_add);
        // About four characters make a token.
        let has = self.text.len() / 4;
        (targets.len() > self.starts.len() || wanted > has).then(|| {
            format!(
                "the prompts have {wanted} tokens, more than the text, which has about {has}: passages overlap, though each begins at another place as far as it has words; --dataset-path takes a larger text"
            )
        })
    }
}

/// A step that meets each of `n` places once before it repeats, and leaves those that follow each other far apart.
fn stride(n: usize) -> usize {
    // The golden ratio is the number that fractions come least near to.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below n")]
    let near = (n as f64 * 0.618_033_988_749_895) as usize;
    // One less than `n` has no factor in common with it.
    (near.max(1)..n.max(2)).find(|step| distinct::gcd(*step as u64, n as u64) == 1).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Forall numbers of words: steps meet each place once.
        #[test]
        fn strides_meet_each_place(n in 1_usize..400) {
            let step = stride(n);
            let seen: HashSet<usize> = (0..n).map(|i| i * step % n).collect();
            prop_assert_eq!(seen.len(), n);
        }
    }
}
