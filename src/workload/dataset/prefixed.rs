//! Prompts that begin with one of several texts, of exact lengths.
//!
//! The tokens of both parts are drawn one by one. Where the vocabulary has words that stay one token each wherever they
//! stand, both parts are of such words, and the prompts have their lengths without being counted again.

use rand::RngExt as _;
use rayon::prelude::*;

use super::exact::{self, Words};
use super::{Context, Rows};
use crate::error::{Error, Kind};
use crate::model::{Prompt, Row};
use crate::rng;

/// A prompt of two parts, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Joined {
    /// Which of the beginnings it has.
    pub prefix: usize,
    /// Tokens of its own behind that.
    pub own: usize,
    /// Output tokens.
    pub output: usize,
}

/// Rows whose prompts begin with `prefix_len` tokens that all prompts with the same number of a prefix share;
/// `name` is the consumer of the seed.
///
/// # Errors
/// If the tokenizer has no plain tokens.
pub fn prefixed(
    context: &Context<'_>,
    prefix_len: usize,
    prompts: &[Joined],
    name: &str,
) -> Result<Rows, Error> {
    let tokenizer = context.tokenizer;
    let vocabulary = tokenizer.plain_ids();
    if vocabulary.is_empty() {
        let message = format!("the tokenizer {} has no plain tokens", tokenizer.name());
        return Err(Error::new(Kind::Input, message));
    }
    let words = if context.ids { None } else { Words::of(tokenizer) };
    let (prefix_name, own_name) = (format!("{name}/prefix"), format!("{name}/own"));
    let prefix_rng = |prefix| rng::stream(context.seed, &prefix_name, prefix as u64);
    let row = |(i, joined): (usize, &Joined)| {
        let Joined { prefix, own, output } = *joined;
        let target = prefix_len + own;
        let (mut of_prefix, mut of_own) =
            (prefix_rng(prefix), rng::stream(context.seed, &own_name, i as u64));
        if let Some(words) = &words {
            let shared = words.draw(&[], &mut of_prefix, prefix_len, true);
            let text = shared + &words.draw(&[], &mut of_own, own, prefix_len == 0);
            let len = exact::count(tokenizer, i, &text, target);
            return (Row::new(Prompt::Text(text), len, output), target);
        }
        let mut ids: Vec<u32> = (0..prefix_len)
            .map(|_| vocabulary[of_prefix.random_range(0..vocabulary.len())])
            .collect();
        let mut more = |_| vocabulary[of_own.random_range(0..vocabulary.len())];
        ids.extend((0..own).map(&mut more));
        if context.ids {
            return (Row::new(Prompt::Ids(ids), target, output), target);
        }
        let (text, len) = exact::text(tokenizer, &ids, more);
        (Row::new(Prompt::Text(text), len, output), target)
    };
    let rows = prompts.par_iter().enumerate().map(row).collect();
    Ok(exact::checked(tokenizer, rows))
}
