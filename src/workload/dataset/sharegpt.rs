//! `sharegpt`: the first question of real conversations, with the length of its answer.

use std::path::Path;

use clap::{Args, FromArgMatches};
use serde::{Deserialize, Serialize};

use super::corpus::{Corpus, InFlight};
use super::text::Shaper;
use super::{Context, Dataset, Entry, Params, Rows, Templates, Uses, effective, of, params};
use crate::error::Error;
use crate::model::{Prompt, Row};
use crate::workload::hub::Hub;

pub(super) const ENTRY: Entry = Entry {
    name: "sharegpt",
    about: "questions and answer lengths of conversations in the ShareGPT format",
    flags: Opts::augment_args,
    reads: FLAGS,
    params: |matches| params(Opts::from_arg_matches(matches)),
    build: |params| Ok(Box::new(ShareGpt(Opts::of_answers(params, ENTRY.name)?))),
    effective: |matches| effective(Opts::from_arg_matches(matches)),
};

/// Heading of the flags that other datasets of real text share.
const HEADING: &str = "Dataset: sharegpt, custom, openai, longbench_v2";

/// The flags that datasets of questions and answers read.
pub(super) const FLAGS: &[&str] = &["dataset-path", "sharegpt-output-len", "sharegpt-context-len"];

/// Shortest prompt and answer that are used, in tokens.
const SHORTEST: usize = 2;

/// Fewest output tokens that can be asked for in place of the length of an answer.
const SHORTEST_FIXED: u32 = 4;

/// How long prompts and answers of real text are.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
#[group(skip)]
pub(super) struct Opts {
    /// Output tokens of each request, instead of the answer's own length
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..), help_heading = HEADING)]
    pub(super) sharegpt_output_len: Option<u32>,
    /// Leave out rows whose prompt and output together are longer
    #[arg(long, value_name = "TOKENS", value_parser = super::lengths::tokens, help_heading = HEADING)]
    sharegpt_context_len: Option<usize>,
}

#[derive(Debug)]
struct ShareGpt(Opts);

impl Dataset for ShareGpt {
    fn fetch(&self, hub: &Hub, path: Option<&Path>) -> Result<(), Error> {
        Corpus::file(hub, path).map(drop)
    }

    fn load(&self, context: &Context<'_>) -> Result<Rows, Error> {
        super::refuse_ids(context, ENTRY.name)?;
        self.0.rows(Corpus::load(context, "sharegpt/shuffle")?, context)
    }

    fn uses(&self) -> Uses {
        Uses { conversations: true, ..USES }
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
    conversations: false,
    vocabulary: false,
    salt: false,
};

impl Opts {
    /// The parameters of the dataset `name` of questions and answers, whose outputs are not too short to be answers.
    ///
    /// # Errors
    /// If `--sharegpt-output-len` is too short.
    pub(super) fn of_answers(params: Params, name: &str) -> Result<Self, String> {
        let opts: Self = of(params)?;
        if let Some(len) = opts.sharegpt_output_len.filter(|&len| len < SHORTEST_FIXED) {
            return Err(format!(
                "--sharegpt-output-len {len}: --dataset-name {name} needs {SHORTEST_FIXED} or more"
            ));
        }
        Ok(opts)
    }

    /// The rows of conversations, those left out that are too short or too long.
    pub(super) fn rows(&self, corpus: Corpus, context: &Context<'_>) -> Result<Rows, Error> {
        let shaper = Shaper::of_flags(context)?;
        corpus.rows(context, |exchange| self.row(&shaper, context, &exchange))
    }

    fn row(
        &self,
        shaper: &Shaper<'_>,
        context: &Context<'_>,
        exchange: &InFlight,
    ) -> Result<Result<Row, &'static str>, Error> {
        let (prompt, prompt_len) = shaper.prompt(&exchange.question)?;
        let output_len = match self.sharegpt_output_len {
            Some(len) => len as usize,
            None => context.tokenizer.count_with_special(&exchange.answer),
        };
        if prompt_len < SHORTEST {
            return Ok(Err("with a prompt of fewer than 2 tokens"));
        }
        if output_len < SHORTEST {
            return Ok(Err("with an answer of fewer than 2 tokens"));
        }
        Ok(self.fitting(Row::new(Prompt::Text(prompt), prompt_len, output_len)))
    }

    /// The row, if its prompt and output together are short enough.
    pub(super) fn fitting(&self, row: Row) -> Result<Row, &'static str> {
        let tokens = row.prompt_len + row.output_len;
        match self.sharegpt_context_len.filter(|&len| len > 0) {
            Some(most) if tokens > most => Err("longer than --sharegpt-context-len"),
            _ => Ok(row),
        }
    }
}
