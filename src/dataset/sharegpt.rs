//! `sharegpt`: the first question of real conversations, with the length of its answer.

use clap::{Args, FromArgMatches};
use serde::Serialize;

use super::corpus::{Corpus, Exchange};
use super::text::Shaper;
use super::{Context, Dataset, Entry, Rows, Templates, Uses, facts};
use crate::error::Error;
use crate::model::{Prompt, Row};

pub(super) const ENTRY: Entry = Entry {
    name: "sharegpt",
    about: "questions and answer lengths of conversations in the ShareGPT format",
    flags: Opts::augment_args,
    reads: FLAGS,
    build: |matches| Ok(Box::new(ShareGpt(Opts::from_arg_matches(matches)?))),
    facts: |matches| facts(Opts::from_arg_matches(matches)),
};

/// Heading of the flags that other datasets of real text share.
const HEADING: &str = "Dataset: sharegpt, custom, openai, longbench_v2";

/// The flags that datasets of questions and answers read.
pub(super) const FLAGS: &[&str] = &["dataset-path", "sharegpt-output-len", "sharegpt-context-len"];

/// Shortest prompt and answer that are used, in tokens.
const SHORTEST: usize = 2;

/// How long prompts and answers of real text are.
#[derive(Debug, Clone, Args, Serialize)]
#[group(skip)]
pub(super) struct Opts {
    /// Output tokens of each request, instead of the answer's own length
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(4..), help_heading = HEADING)]
    pub(super) sharegpt_output_len: Option<u32>,
    /// Leave out rows whose prompt and output together are longer
    #[arg(long, value_name = "TOKENS", value_parser = super::lengths::tokens, help_heading = HEADING)]
    sharegpt_context_len: Option<usize>,
}

#[derive(Debug)]
struct ShareGpt(Opts);

impl Dataset for ShareGpt {
    fn load(&self, context: &Context<'_>) -> Result<Rows, Error> {
        super::refuse_ids(context, ENTRY.name)?;
        self.0.rows(Corpus::load(context, "sharegpt/shuffle")?, context)
    }

    fn uses(&self) -> Uses {
        USES
    }
}

/// What datasets of questions and answers have a use for.
pub(super) const USES: Uses = Uses {
    template: Templates::Optional,
    suffix: true,
    bad_rows: true,
    repeat: false,
    embeds: false,
    images: false,
};

impl Opts {
    /// The rows of conversations, those left out that are too short or too long.
    pub(super) fn rows(&self, corpus: Corpus, context: &Context<'_>) -> Result<Rows, Error> {
        let shaper = Shaper::of_flags(context)?;
        corpus.rows(context, |exchange| self.row(&shaper, context, &exchange))
    }

    fn row(
        &self,
        shaper: &Shaper<'_>,
        context: &Context<'_>,
        exchange: &Exchange,
    ) -> Result<Option<Row>, Error> {
        let (prompt, prompt_len) = shaper.prompt(&exchange.question)?;
        let output_len = match self.sharegpt_output_len {
            Some(len) => len as usize,
            None => context.tokenizer.count_with_special(&exchange.answer),
        };
        if prompt_len < SHORTEST || output_len < SHORTEST || !self.fits(prompt_len + output_len) {
            return Ok(None);
        }
        Ok(Some(Row::new(Prompt::Text(prompt), prompt_len, output_len)))
    }

    /// Whether a row of so many tokens, prompt and output together, is short enough.
    pub(super) fn fits(&self, tokens: usize) -> bool {
        self.sharegpt_context_len.filter(|&len| len > 0).is_none_or(|most| tokens <= most)
    }
}
