//! `sharegpt`: the first question of real conversations, with the length of its answer.

use clap::{Args, FromArgMatches};
use rayon::prelude::*;
use serde::Serialize;

use super::corpus::{self, Exchange};
use super::{Context, Dataset, Entry, Rows, facts};
use crate::error::{Error, Kind};
use crate::model::{Prompt, Row};
use crate::tokenizer::Tokenizer;

pub(super) const ENTRY: Entry = Entry {
    name: "sharegpt",
    about: "questions and answer lengths of conversations in the ShareGPT format",
    flags: Opts::augment_args,
    build: |matches| Ok(Box::new(Opts::from_arg_matches(matches)?)),
    facts: |matches| facts(Opts::from_arg_matches(matches)),
};

const HEADING: &str = "Dataset: sharegpt";

/// Shortest prompt and answer that are used, in tokens.
const SHORTEST: usize = 2;

#[derive(Debug, Clone, Args, Serialize)]
#[group(skip)]
struct Opts {
    /// Output tokens of each request, instead of the answer's own length
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(4..), help_heading = HEADING)]
    sharegpt_output_len: Option<u32>,
    /// Leave out rows whose prompt and output together are longer
    #[arg(long, value_name = "TOKENS", value_parser = super::lengths::tokens, help_heading = HEADING)]
    sharegpt_context_len: Option<usize>,
}

impl Dataset for Opts {
    fn load(&self, context: &Context<'_>) -> Result<Rows, Error> {
        super::refuse_ids(context, ENTRY.name)?;
        let exchanges = corpus::load(context, "sharegpt/shuffle")?;
        let mut rows = Vec::with_capacity(context.n);
        // Batches a little larger than what is missing, so that the rows left out cost no second pass.
        let mut left = &exchanges[..];
        while rows.len() < context.n && !left.is_empty() {
            let missing = context.n - rows.len();
            let (batch, rest) = left.split_at(left.len().min(missing + missing / 4 + 64));
            left = rest;
            let made: Vec<Option<Row>> =
                batch.par_iter().map(|exchange| self.row(context.tokenizer, exchange)).collect();
            rows.extend(made.into_iter().flatten().take(missing));
        }
        if rows.is_empty() {
            return Err(Error::new(
                Kind::Input,
                format!("none of the {} conversations passes the length filters", exchanges.len()),
            )
            .hint("raise --sharegpt-context-len, or use another --dataset-path"));
        }
        let mut notes = Vec::new();
        if rows.len() < context.n {
            notes.push(format!(
                "{} of {} conversations are usable, fewer than --num-prompts {}: the run has {} requests",
                rows.len(),
                exchanges.len(),
                context.n,
                rows.len(),
            ));
        }
        Ok(Rows { rows, notes, replay: false })
    }
}

impl Opts {
    /// The row of a conversation, if it is neither too short nor too long.
    fn row(&self, tokenizer: &Tokenizer, exchange: &Exchange) -> Option<Row> {
        let prompt_len = tokenizer.count_with_special(&exchange.question);
        let output_len = match self.sharegpt_output_len {
            Some(len) => len as usize,
            None => tokenizer.count_with_special(&exchange.answer),
        };
        let limit = self.sharegpt_context_len.filter(|&len| len > 0).unwrap_or(usize::MAX);
        if prompt_len < SHORTEST || output_len < SHORTEST || prompt_len + output_len > limit {
            return None;
        }
        Some(Row::new(Prompt::Text(exchange.question.clone()), prompt_len, output_len))
    }
}
