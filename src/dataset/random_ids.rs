//! `random-ids`: runs of neighbouring token ids from a random place of the vocabulary.

use clap::FromArgMatches;
use rand::RngExt;
use rayon::prelude::*;

use super::lengths::Opts;
use super::random::{finish, targets};
use super::{Context, Dataset, Entry, Rows, exact, facts};
use crate::error::{Error, Kind};
use crate::model::{Prompt, Row};
use crate::rng;

pub(super) const ENTRY: Entry = Entry {
    name: "random-ids",
    about: "tokens from a random place of the vocabulary, of random lengths",
    // The flags are those of `random`, which adds them.
    flags: |command| command,
    build: |matches| Ok(Box::new(RandomIds(Opts::from_arg_matches(matches)?))),
    facts: |matches| facts(Opts::from_arg_matches(matches)),
};

#[derive(Debug)]
struct RandomIds(Opts);

impl Dataset for RandomIds {
    fn load(&self, context: &Context<'_>) -> Result<Rows, Error> {
        // Special tokens are left out: servers act on some of them, and a prompt is to be plain text.
        let vocabulary = context.tokenizer.plain_ids();
        if vocabulary.is_empty() {
            return Err(Error::new(
                Kind::Input,
                format!("the tokenizer {} has no plain tokens", context.tokenizer.name()),
            ));
        }
        let size = vocabulary.len();
        let rows: Vec<(Row, usize)> = (0..context.n)
            .into_par_iter()
            .map(|i| {
                let (target, output_len) = targets(&self.0, context, i);
                let mut rng = rng::stream(context.seed, "random-ids/offset", i as u64);
                let offset: usize = rng.random_range(0..size);
                let id = |k: usize| vocabulary[(offset + i + k) % size];
                let wanted: Vec<u32> = (0..target).map(id).collect();
                let (prompt, prompt_len) = if context.ids {
                    (Prompt::Ids(wanted), target)
                } else {
                    let (text, len) = exact::text(context.tokenizer, &wanted, |k| id(target + k));
                    (Prompt::Text(text), len)
                };
                (Row { prompt, prompt_len, output_len }, target)
            })
            .collect();
        Ok(finish(rows))
    }
}
