//! `speed-bench`: first turns of SPEED-Bench, whose categories differ in how well drafts can guess the answers.

use std::path::Path;

use clap::{Args, FromArgMatches, ValueEnum};
use rand::seq::SliceRandom;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::records::{self, Taken};
use super::text::Shaper;
use super::{Context, Dataset, Entry, Rows, Templates, Uses, effective, of, params, weight};
use crate::error::Error;
use crate::model::{Prompt, Row};
use crate::rng;
use crate::workload::hub::Hub;

pub(super) const ENTRY: Entry = Entry {
    name: "speed-bench",
    about: "first turns of SPEED-Bench, by entropy",
    flags: Opts::augment_args,
    reads: &["dataset-path", "speed-bench-category", "speed-bench-output-len"],
    params: |matches| params(Opts::from_arg_matches(matches)),
    build: |params| {
        let opts: Opts = of(params)?;
        if opts.speed_bench_output_len == 0 {
            return Err("--speed-bench-output-len must be above 0".to_owned());
        }
        Ok(Box::new(opts))
    },
    effective: |matches| effective(Opts::from_arg_matches(matches)),
};

const HEADING: &str = "Dataset: speed-bench";

const EXPECTED: &str = "{\"category\": \"low_entropy\", \"turns\": [\"...\", ...]} on each line, made from nvidia/SPEED-Bench";

const SHUFFLE: &str = "speed-bench/shuffle";

#[derive(Debug, Clone, Args, Serialize, Deserialize)]
#[group(skip)]
struct Opts {
    /// Rows of this category only
    #[arg(long, value_name = "NAME", help_heading = HEADING)]
    speed_bench_category: Option<Category>,
    /// Output tokens of each request
    #[arg(long, value_name = "TOKENS", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..), help_heading = HEADING)]
    speed_bench_output_len: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
enum Category {
    LowEntropy,
    Mixed,
    HighEntropy,
}

impl Category {
    fn name(self) -> &'static str {
        match self {
            Self::LowEntropy => "low_entropy",
            Self::Mixed => "mixed",
            Self::HighEntropy => "high_entropy",
        }
    }
}

#[derive(Deserialize)]
struct Item {
    category: Option<String>,
    turns: Vec<String>,
}

impl Dataset for Opts {
    fn fetch(&self, _: &Hub, path: Option<&Path>) -> Result<(), Error> {
        records::given(path, ENTRY.name, EXPECTED).map(drop)
    }

    fn load(&self, context: &Context<'_>) -> Result<Rows, Error> {
        super::refuse_ids(context, ENTRY.name)?;
        let path = records::path(context, ENTRY.name, EXPECTED)?;
        let category = self.speed_bench_category.map(Category::name);
        let take = |item: Item| {
            if category.is_some() && item.category.as_deref() != category {
                return Ok(Taken::Unused("of another --speed-bench-category"));
            }
            item.turns
                .into_iter()
                .next()
                .map(Taken::Row)
                .ok_or_else(|| "`turns` is empty".to_owned())
        };
        let found =
            records::read(path, context, EXPECTED, usize::MAX, take).map_err(
                |error| match category {
                    Some(category) => {
                        error.hint(format!("only rows of category {category} are taken"))
                    }
                    None => error,
                },
            )?;
        let mut notes: Vec<String> = found.note.iter().cloned().collect();
        let template = if context.reading.server_templates {
            None
        } else {
            let template = context.tokenizer.chat_template(&context.reading.now);
            template.map_err(|error| notes.push(format!("prompts are plain text: {error}"))).ok()
        };
        let shaper = Shaper::new(context, template);
        let told = found.told.iter().cloned().collect();
        let turns = found.shuffled(context, SHUFFLE).items;
        let output_len = self.speed_bench_output_len as usize;
        let rows: Vec<Row> = turns
            .par_iter()
            .take(context.n)
            .map(|turn| {
                let (prompt, prompt_len) = shaper.prompt(turn)?;
                Ok(Row::new(Prompt::Text(prompt), prompt_len, output_len))
            })
            .collect::<Result<_, Error>>()?;
        if rows.len() < context.n {
            notes.push(format!(
                "the {} prompts are used more than once: a prefix cache may answer faster than it does for new text",
                rows.len(),
            ));
        }
        Ok(Rows { rows: repeated(rows, context), notes, told, ..Rows::default() })
    }

    fn bytes(&self, n: usize) -> u64 {
        // The prompts go around.
        weight(n, 0)
    }

    fn uses(&self) -> Uses {
        Uses { template: Templates::Always, bad_rows: true, ..Uses::default() }
    }
}

/// The rows as often as it takes, each further time in an order of its own.
fn repeated(mut rows: Vec<Row>, context: &Context<'_>) -> Vec<Row> {
    let once = rows.len();
    for round in 1..context.n.div_ceil(once.max(1)) {
        let mut order: Vec<usize> = (0..once).collect();
        order.shuffle(&mut rng::stream(context.seed, SHUFFLE, round as u64));
        order.truncate(context.n - rows.len());
        rows.extend(order.into_iter().map(|at| rows[at].clone()).collect::<Vec<_>>());
    }
    rows
}
