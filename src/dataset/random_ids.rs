//! `random-ids`: runs of neighbouring token ids from a random place of the vocabulary.

use clap::FromArgMatches;
use rand::RngExt;
use rayon::prelude::*;

use super::exact::{self, Words};
use super::lengths::Opts;
use super::random::targets;
use super::{Context, Dataset, Entry, Rows, Templates, Uses, facts};
use crate::error::{Error, Kind};
use crate::model::{Prompt, Row};
use crate::rng;
use crate::tokenizer::Tokenizer;

pub(super) const ENTRY: Entry = Entry {
    name: "random-ids",
    about: "tokens from a random place of the vocabulary, of random lengths",
    // The flags are those of `random`, which adds them.
    flags: |command| command,
    reads: &["random-input-len", "random-output-len", "random-range-ratio"],
    build: |matches| Ok(Box::new(RandomIds(Opts::from_arg_matches(matches)?))),
    facts: |matches| facts(Opts::from_arg_matches(matches)),
};

#[derive(Debug)]
struct RandomIds(Opts);

impl Dataset for RandomIds {
    fn load(&self, context: &Context<'_>) -> Result<Rows, Error> {
        let vocabulary = vocabulary(context.tokenizer)?;
        let words = if context.ids { None } else { Words::of(context.tokenizer) };
        let row = |i| self.row(context, i, &vocabulary, words.as_ref());
        let rows = (0..context.n).into_par_iter().map(row).collect();
        Ok(exact::checked(context.tokenizer, rows))
    }

    fn uses(&self) -> Uses {
        Uses { template: Templates::Ignored, ..Uses::default() }
    }
}

impl RandomIds {
    /// Row `i` and the prompt length that it aims at.
    fn row(
        &self,
        context: &Context<'_>,
        i: usize,
        vocabulary: &[u32],
        words: Option<&Words>,
    ) -> (Row, usize) {
        let (target, output_len) = targets(&self.0, context, i);
        let mut rng = rng::stream(context.seed, "random-ids/offset", i as u64);
        let mut offset = |size: usize| (rng.random_range(0..size) + i) % size;
        let (prompt, prompt_len) = if context.ids {
            let (size, start) = (vocabulary.len(), offset(vocabulary.len()));
            let wanted = (0..target).map(|k| vocabulary[(start + k) % size]).collect();
            (Prompt::Ids(wanted), target)
        } else {
            let (text, len) = text(context.tokenizer, i, target, vocabulary, words, offset);
            (Prompt::Text(text), len)
        };
        (Row::new(prompt, prompt_len, output_len), target)
    }
}

/// Text of `target` tokens for row `i`, beginning where `offset` says among so many, and the tokens that it has.
///
/// It is made of whole words where the vocabulary has them: they keep their number when they are encoded again,
/// which runs of arbitrary tokens do not.
pub(super) fn text(
    tokenizer: &Tokenizer,
    i: usize,
    target: usize,
    vocabulary: &[u32],
    words: Option<&Words>,
    mut offset: impl FnMut(usize) -> usize,
) -> (String, usize) {
    if let Some(words) = words {
        let text = words.text(offset(words.len()), target);
        let len = exact::count(tokenizer, i, &text, target);
        return (text, len);
    }
    let (size, start) = (vocabulary.len(), offset(vocabulary.len()));
    let id = |k: usize| vocabulary[(start + k) % size];
    let wanted: Vec<u32> = (0..target).map(id).collect();
    exact::text(tokenizer, &wanted, |k| id(target + k))
}

/// The plain tokens of a vocabulary, special tokens left out: servers act on some of them, and a prompt is to be plain text.
pub(super) fn vocabulary(tokenizer: &Tokenizer) -> Result<Vec<u32>, Error> {
    let vocabulary = tokenizer.plain_ids();
    if vocabulary.is_empty() {
        let message = format!("the tokenizer {} has no plain tokens", tokenizer.name());
        return Err(Error::new(Kind::Input, message));
    }
    Ok(vocabulary)
}
