//! `random`: real text, cut or repeated to random lengths.

use std::collections::HashSet;
use std::path::Path;

use clap::{Args, FromArgMatches};
use rayon::prelude::*;

use super::corpus::Corpus;
use super::lengths::{Draws, Opts, drawn};
use super::prefixes::Salt;
use super::records::LeftOut;
use super::{
    Context, Dataset, Entry, Rows, Templates, Uses, distinct, effective, exact, of, params, weight,
};
use crate::error::{Error, Kind};
use crate::model::{Prompt, Row};
use crate::workload::hub::Hub;
use crate::workload::tokenizer::Tokenizer;

pub(super) const ENTRY: Entry = Entry {
    name: "random",
    about: "text of ShareGPT questions, cut or repeated to random lengths",
    flags: Opts::augment_args,
    reads: &[
        "dataset-path",
        "random-input-len",
        "random-output-len",
        "random-range-ratio",
        "input-len-dist",
        "output-len-dist",
    ],
    params: |matches| params(Opts::from_arg_matches(matches)),
    build: |params| Ok(Box::new(Random(of(params)?))),
    effective: |matches| effective(Opts::from_arg_matches(matches)),
};

#[derive(Debug)]
struct Random(Opts);

impl Dataset for Random {
    fn fetch(&self, hub: &Hub, path: Option<&Path>) -> Result<(), Error> {
        Corpus::file(hub, path).map(drop)
    }

    fn load(&self, context: &Context<'_>) -> Result<Rows, Error> {
        let corpus = Corpus::load(context, "random/shuffle")?;
        // Questions without a token would leave nothing to repeat.
        let questions = corpus.items.iter().map(|exchange| exchange.question.as_str());
        let mut left_out = LeftOut::default();
        let mut looked_at = 0;
        let questions: Vec<&str> = new_first(questions)
            .filter(|question| {
                looked_at += 1;
                let usable = has_token(context.tokenizer, question);
                if !usable {
                    left_out.add("with a question of no token", None);
                }
                usable
            })
            .take(context.n)
            .collect();
        let empty = left_out.told(looked_at, &corpus.name);
        let mut notes: Vec<String> = corpus.note.iter().cloned().collect();
        if questions.len() < context.n {
            if !context.reading.repeat || questions.is_empty() {
                return Err(Error::new(
                    Kind::Input,
                    format!(
                        "--num-prompts {} asks for more prompts than the {} conversations of the dataset{}",
                        context.n,
                        questions.len(),
                        [""].into_iter().chain(corpus.told.as_deref()).chain(empty.as_deref()).collect::<Vec<_>>().join("; "),
                    ),
                )
                .hint("lower --num-prompts, use a larger --dataset-path, or --dataset-name random-ids, which needs none")
                .hint("or pass --allow-repeat, which uses conversations more than once"));
            }
            notes.push(format!(
                "the {} conversations are used more than once: a prefix cache may answer faster than it does for new text",
                questions.len(),
            ));
        }
        let draws = draws(&self.0)?;
        let salt = context.reading.salt.map(|_| Salt::new(context, "random")).transpose()?;
        let row = |i: usize| {
            let (question, targets) = (questions[i % questions.len()], targets(&draws, context, i));
            match &salt {
                Some(salt) => salted(context, &salt.ids(i, targets.0), question, targets),
                None => Self::row(context, i, question, targets),
            }
        };
        let rows = (0..context.n).into_par_iter().map(row).collect();
        let mut rows = exact::checked(context.tokenizer, rows);
        if questions.len() == context.n {
            rows.cached = Some(vec![0; context.n]);
            rows.told.extend(distinct::copies(&rows.rows));
        }
        rows.notes.splice(0..0, notes);
        rows.told.extend(corpus.told.into_iter().chain(empty));
        Ok(rows.with(drawn(&draws, context.seed, context.n)))
    }

    fn bytes(&self, n: usize) -> u64 {
        weight(n, self.0.mean_input())
    }

    fn uses(&self) -> Uses {
        Uses {
            bad_rows: true,
            repeat: true,
            template: Templates::Ignored,
            conversations: true,
            salt: true,
            ..Uses::default()
        }
    }
}

impl Random {
    /// Row `i` and the prompt length that it aims at.
    fn row(
        context: &Context<'_>,
        i: usize,
        question: &str,
        (target, output_len): (usize, usize),
    ) -> (Row, usize) {
        let tokenizer = context.tokenizer;
        let ids = tokenizer.encode(question);
        let cycle = cycle(&ids);
        let (prompt, prompt_len) = if context.ids {
            let mut sent = tokenizer.encode_with_special(question);
            sent.truncate(target);
            let first = sent.len();
            sent.extend((first..target).map(|k| cycle(k - first)));
            (Prompt::Ids(sent), target)
        } else if let Some(text) = exact::repeated(tokenizer, question, &ids, target) {
            let len = exact::count(tokenizer, i, &text, target);
            (Prompt::Text(text), len)
        } else {
            let wanted: Vec<u32> = (0..target).map(cycle).collect();
            let (text, len) = exact::text(tokenizer, &wanted, |k| cycle(target + k));
            (Prompt::Text(text), len)
        };
        (Row::new(prompt, prompt_len, output_len), target)
    }
}

/// Gives the tokens `ids` by their places, over and over.
fn cycle(ids: &[u32]) -> impl Fn(usize) -> u32 + Copy + '_ {
    move |k| ids.get(k % ids.len().max(1)).copied().unwrap_or_default()
}

/// The row of a question behind a salt.
fn salted(
    context: &Context<'_>,
    salt: &[u32],
    question: &str,
    (target, output_len): (usize, usize),
) -> (Row, usize) {
    let tokenizer = context.tokenizer;
    let ids = tokenizer.encode(question);
    let cycle = cycle(&ids);
    let rest = target.saturating_sub(salt.len());
    let wanted: Vec<u32> = salt.iter().copied().chain((0..rest).map(cycle)).collect();
    if context.ids {
        return (Row::new(Prompt::Ids(wanted), target, output_len), target);
    }
    let (text, len) = exact::text(tokenizer, &wanted, |k| cycle(rest + k));
    (Row::new(Prompt::Text(text), len, output_len), target)
}

/// The questions in their order, those that were there before after all others.
fn new_first<'a>(questions: impl Iterator<Item = &'a str>) -> impl Iterator<Item = &'a str> {
    let mut seen = HashSet::new();
    let (new, old): (Vec<&str>, Vec<&str>) = questions.partition(|question| seen.insert(*question));
    new.into_iter().chain(old)
}

/// Whether `text` has a token; most texts show one at their beginning.
fn has_token(tokenizer: &Tokenizer, text: &str) -> bool {
    let start = text.char_indices().nth(64).map_or(text.len(), |(at, _)| at);
    tokenizer.count(&text[..start]) > 0 || tokenizer.count(text) > 0
}

/// What draws the prompt and output lengths of rows.
///
/// # Errors
/// If a file of lengths cannot be used.
pub(super) fn draws(opts: &Opts) -> Result<(Draws, Draws), Error> {
    opts.draws("random/input-len", "random/output-len")
}

/// The prompt and output length of row `i`.
///
/// The server adds the tokenizer's special tokens to text, so that much is left out of the prompt.
pub(super) fn targets(
    (input, output): &(Draws, Draws),
    context: &Context<'_>,
    i: usize,
) -> (usize, usize) {
    let (input, output) = (input.at(context.seed, i), output.at(context.seed, i));
    let special = if context.ids { 0 } else { context.tokenizer.special_tokens_added() };
    (input.saturating_sub(special).max(1), output)
}
