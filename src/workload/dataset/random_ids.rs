//! `random-ids`: runs of neighbouring token ids from a random place of the vocabulary, after an opening of their own.

use clap::Args;
use rand::RngExt;
use rayon::prelude::*;

use super::distinct::{self, Openings, Places};
use super::exact::{self, Words};
use super::lengths::drawn;
use super::prefixes::{self, Part, Prefixes, Shape};
use super::random::{draws, targets};
use super::{Context, Dataset, Entry, Rows, Templates, Uses, effective, params, weight};
use crate::error::{Error, Kind};
use crate::model::{Prompt, Row};
use crate::rng::{self, Stream};
use crate::workload::tokenizer::Tokenizer;

pub(super) const ENTRY: Entry = Entry {
    name: "random-ids",
    about: "tokens from a random place of the vocabulary, of random lengths",
    // The flags for lengths are those of `random`, which adds them.
    flags: Prefixes::augment_args,
    reads: &[
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
    build: |params| Ok(Box::new(RandomIds(Shape::of_params(params)?))),
    effective: |matches| effective(Shape::of_flags(matches)),
};

#[derive(Debug)]
struct RandomIds(Shape);

impl Dataset for RandomIds {
    fn load(&self, context: &Context<'_>) -> Result<Rows, Error> {
        let draws = draws(&self.0.lengths)?;
        let target = |i| targets(&draws, context, i);
        let targets: Vec<(usize, usize)> = (0..context.n).into_par_iter().map(target).collect();
        let rows = if self.0.prefixes.are_wanted() {
            let source = Source::new(context)?;
            let ids = |part: Part, n: usize| source.ids(part, n);
            prefixes::rows(context, &targets, &self.0.prefixes, "random-ids", ids)?
        } else {
            let rows = neighbours(context, &targets, "random-ids/opening", "random-ids/offset")?;
            Rows { cached: Some(vec![0; targets.len()]), ..rows }
        };
        Ok(rows.with(drawn(&draws, context.seed, context.n)))
    }

    fn bytes(&self, n: usize) -> u64 {
        weight(n, self.0.lengths.mean_input())
    }

    fn uses(&self) -> Uses {
        Uses { template: Templates::Ignored, vocabulary: true, salt: true, ..Uses::default() }
    }
}

/// Rows of neighbouring tokens, whose prompts and answers have the lengths of `targets`; `opening` and `offset` are the
/// consumers of the seed.
///
/// # Errors
/// If the tokenizer has no plain tokens.
pub fn neighbours(
    context: &Context<'_>,
    targets: &[(usize, usize)],
    opening: &str,
    offset: &str,
) -> Result<Rows, Error> {
    let maker = Maker::new(context, targets, opening)?;
    let row = |i: usize| {
        let (target, output_len) = targets[i];
        let mut rng = rng::stream(context.content(), offset, i as u64);
        let offset = |size: usize| rng.random_range(0..size);
        let (prompt, prompt_len) = if context.ids {
            (Prompt::Ids(maker.ids(i, target, offset)), target)
        } else {
            let (text, len) = maker.text(i, target, offset);
            (Prompt::Text(text), len)
        };
        (Row::new(prompt, prompt_len, output_len), target)
    };
    let rows = (0..targets.len()).into_par_iter().map(row).collect();
    let mut rows = exact::checked(context.tokenizer, rows);
    rows.notes.extend(maker.note(&rows.rows));
    Ok(rows)
}

/// The parts of prompts that share prefixes: an opening of their own, and neighbours from a random place.
struct Source<'a> {
    context: &'a Context<'a>,
    /// What is drawn from: words where there are some.
    vocabulary: Vec<u32>,
    own: Openings,
    prefix: Openings,
}

impl<'a> Source<'a> {
    fn new(context: &'a Context<'_>) -> Result<Self, Error> {
        let tokenizer = context.tokenizer;
        let mut vocabulary = vocabulary(tokenizer)?;
        let words = if context.ids { None } else { Words::of(tokenizer) };
        let openings = |name| {
            if context.ids {
                Openings::new(vocabulary.clone(), context.content(), name)
            } else {
                let words = words.as_ref();
                Openings::of_text(tokenizer, words, &vocabulary, context.content(), name)
            }
        };
        let (own, prefix) = (openings("random-ids/opening"), openings("random-ids/prefix-opening"));
        if let Some(words) = &words {
            vocabulary = words.ids().to_vec();
        }
        Ok(Self { context, vocabulary, own, prefix })
    }

    /// The first `n` tokens of a part.
    fn ids(&self, part: Part, n: usize) -> Vec<u32> {
        let (openings, name, at) = match part {
            Part::Own(i) => (&self.own, "random-ids/offset", i),
            Part::Prefix(p) => (&self.prefix, "random-ids/prefix-offset", p),
        };
        let mut ids = openings.ids(at as u64, n);
        let size = self.vocabulary.len();
        let start = rng::stream(self.context.content(), name, at as u64).random_range(0..size);
        ids.extend((0..n - ids.len()).map(|k| self.vocabulary[(start + k) % size]));
        ids
    }
}

/// Makes prompts of tokens, no two alike.
pub(super) struct Maker<'a> {
    tokenizer: &'a Tokenizer,
    vocabulary: Vec<u32>,
    /// Whole words keep their number when they are encoded again, which runs of arbitrary tokens do not.
    words: Option<Words>,
    openings: Openings,
    places: Places,
    /// What to tell the user of prompts that cannot differ.
    note: Option<String>,
}

impl<'a> Maker<'a> {
    /// For rows whose prompts have the lengths that are first in `targets`; `name` is the consumer of the seed.
    ///
    /// # Errors
    /// If the tokenizer has no plain tokens.
    pub(super) fn new(
        context: &Context<'a>,
        targets: &[(usize, usize)],
        name: &str,
    ) -> Result<Self, Error> {
        let (tokenizer, seed) = (context.tokenizer, context.content());
        let vocabulary = vocabulary(tokenizer)?;
        let words = if context.ids { None } else { Words::of(tokenizer) };
        let openings = if context.ids {
            Openings::new(vocabulary.clone(), seed, name)
        } else {
            Openings::of_text(tokenizer, words.as_ref(), &vocabulary, seed, name)
        };
        let lengths = || targets.iter().map(|(target, _)| *target);
        let (shortest, longest) = (lengths().min().unwrap_or(0), lengths().max().unwrap_or(0));
        let places = openings.places(targets.len(), shortest, longest, |i| targets[i].0);
        let note = openings.note(lengths().enumerate().map(|(i, len)| (places.of(i), len)));
        Ok(Self { tokenizer, vocabulary, words, openings, places, note })
    }

    /// Ids for row `i`: its opening, then neighbours from where `offset` says among so many.
    fn ids(&self, i: usize, target: usize, offset: impl FnOnce(usize) -> usize) -> Vec<u32> {
        let mut ids = self.openings.ids(self.places.of(i), target);
        let more = self.neighbours(offset);
        ids.extend((0..target - ids.len()).map(more));
        ids
    }

    /// Text of `target` tokens for row `i`, made in the same way, and the tokens that it has.
    fn text(
        &self,
        i: usize,
        target: usize,
        offset: impl FnOnce(usize) -> usize,
    ) -> (String, usize) {
        let Some(words) = &self.words else { return self.settled(i, target, offset) };
        let opening = self.openings.digits(self.places.of(i), target);
        let start = offset(words.len());
        if !words.keep_apart(self.tokenizer, &opening, start) {
            return self.settled(i, target, |size| start % size);
        }
        let text = words.run(&opening, start, target);
        let len = exact::count(self.tokenizer, i, &text, target);
        (text, len)
    }

    /// Text for row `i` whose words are drawn one by one after its opening.
    pub(super) fn scattered(&self, i: usize, target: usize, rng: &mut Stream) -> (String, usize) {
        if let Some(words) = &self.words {
            let opening = self.openings.digits(self.places.of(i), target);
            let text = words.draw(&opening, rng, target, true);
            if self.tokenizer.count(&text) == target {
                return (text, target);
            }
        }
        self.settled(i, target, |size| rng.random_range(0..size))
    }

    /// Text of arbitrary tokens, which may not come back as they were.
    fn settled(
        &self,
        i: usize,
        target: usize,
        offset: impl FnOnce(usize) -> usize,
    ) -> (String, usize) {
        let mut ids = self.openings.ids(self.places.of(i), target);
        let more = self.neighbours(offset);
        ids.extend((0..target - ids.len()).map(&more));
        exact::text(self.tokenizer, &ids, |k| more(target + k))
    }

    fn neighbours(&self, offset: impl FnOnce(usize) -> usize) -> impl Fn(usize) -> u32 {
        let (size, start) = (self.vocabulary.len(), offset(self.vocabulary.len()));
        move |k| self.vocabulary[(start + k) % size]
    }

    /// What to tell the user of rows that are not distinct.
    pub(super) fn note(&self, rows: &[Row]) -> Option<String> {
        let unsure = || if self.words.is_none() { distinct::copies(rows) } else { None };
        self.note.clone().or_else(unsure)
    }
}

/// The plain tokens of a vocabulary, special tokens left out: servers act on some of them, and a prompt is to be plain text.
fn vocabulary(tokenizer: &Tokenizer) -> Result<Vec<u32>, Error> {
    let vocabulary = tokenizer.plain_ids();
    if vocabulary.is_empty() {
        let message = format!("the tokenizer {} has no plain tokens", tokenizer.name());
        return Err(Error::new(Kind::Input, message));
    }
    Ok(vocabulary)
}
