//! The prompts of `--dataset`: made up, or from files.

mod made;
mod read;
mod trace;

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::flags::Flags;
use super::values::Lengths;
use crate::error::{Error, Kind};
use crate::model::{Prompt, Row};
use crate::workload::dataset::{Context, Dataset, Rows};
use crate::workload::tokenizer::Tokenizer;

/// The prompts of one run.
#[derive(Debug, Clone)]
pub struct Prompts {
    /// `--dataset`.
    name: String,
    path: Option<PathBuf>,
    /// Rows that are left out at the beginning.
    offset: usize,
    args: Map<String, Value>,
    /// The prompt of all requests.
    fixed: Option<String>,
    lengths: Lengths,
    answers: Lengths,
    /// Tokens of the beginnings that random prompts share, and how many there are.
    prefix: (usize, usize),
    /// Whether prompts become messages, to which the server adds its template.
    messages: bool,
    /// Whether prompts are sent as token ids.
    ids: bool,
    images: Images,
    turns: Lengths,
    most_turns: Option<usize>,
    multi_turn: bool,
    generates: bool,
    /// Documents of a random rerank request, and how much longer than its query each is.
    documents: (usize, usize),
}

/// The images of each request.
#[derive(Debug, Clone, Copy)]
struct Images {
    count: u16,
    width: u32,
    height: u32,
    patch: u32,
}

impl Prompts {
    /// The prompts that `flags` ask for, of a run whose rows begin at `offset`.
    ///
    /// # Errors
    /// If the flags do not go together.
    pub fn of(flags: &Flags, offset: usize) -> Result<Self, String> {
        let messages = flags.url.trim_end_matches('/').ends_with("chat/completions");
        let args = flags.dataset_args.clone().unwrap_or_default();
        known_args(&flags.dataset, &args)?;
        let own = |key: &str, default: u64| match flags
            .extra_args
            .as_ref()
            .and_then(|extra| extra.get(key))
        {
            None => Ok(default),
            Some(value) => value
                .as_u64()
                .filter(|n| *n > 0)
                .ok_or_else(|| format!("--extra-args: {key} must be a whole number above 0")),
        };
        let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let is_pooling = |name: &str| name.contains("embedding") || name.contains("rerank");
        let kind = if flags.api.contains("embedding") {
            "embedding"
        } else if flags.api.contains("rerank") {
            "rerank"
        } else {
            ""
        };
        let fits = if flags.generates() {
            !is_pooling(&flags.dataset)
        } else {
            flags.dataset.ends_with(kind)
        };
        if !fits && flags.prompt.is_none() {
            return Err(format!(
                "--dataset {} does not go with --api {}",
                flags.dataset, flags.api
            ));
        }
        let is_made = flags.dataset.starts_with("random") || flags.prompt.is_some();
        if !is_made && flags.dataset_path.is_none() {
            return Err(format!(
                "--dataset {} needs --dataset-path: rbench downloads none of EvalScope's datasets",
                flags.dataset
            ));
        }
        let many = matches!(flags.dataset.as_str(), "random_multi_turn" | "custom_multi_turn");
        if flags.multi_turn != many {
            return Err(if many {
                format!("--dataset {} needs --multi-turn", flags.dataset)
            } else {
                format!(
                    "--multi-turn does not go with --dataset {}, which has no conversations; use \
                     random_multi_turn or custom_multi_turn",
                    flags.dataset
                )
            });
        }
        Ok(Self {
            name: flags.dataset.clone(),
            path: flags.dataset_path.clone(),
            offset,
            args,
            fixed: flags.prompt.clone(),
            lengths: flags.prompts(),
            answers: flags.answers(),
            prefix: (flags.prefix_length, flags.prefix_count),
            messages: messages && flags.generates() && !flags.tokenize_prompt,
            ids: flags.tokenize_prompt,
            images: Images {
                count: flags.image_num,
                width: flags.image_width,
                height: flags.image_height,
                patch: flags.image_patch_size,
            },
            turns: Lengths {
                least: flags.min_turns,
                most: flags.max_turns.unwrap_or(flags.min_turns),
            },
            most_turns: flags.max_turns,
            multi_turn: flags.multi_turn,
            generates: flags.generates(),
            documents: (size(own("num_documents", 10)?), size(own("document_length_ratio", 5)?)),
        })
    }

    /// `row` with its limit of tokens by the name that EvalScope sends, unless it has one.
    fn limited(&self, mut row: Row) -> Row {
        let has = |key: &str| row.extra.contains_key(key);
        if self.generates && !has("max_tokens") && !has("max_completion_tokens") {
            row.extra.insert("max_tokens".to_owned(), row.output_len.into());
        }
        row
    }

    /// How many tokens the answer to row `i` may have.
    fn answer(&self, context: &Context<'_>, i: usize) -> usize {
        if self.generates { self.answers.draw(context.seed, "evalscope/answer", i) } else { 0 }
    }

    /// A row with one text.
    fn text_row(&self, context: &Context<'_>, i: usize, text: String) -> Row {
        let tokenizer = context.tokenizer;
        let output = self.answer(context, i);
        let row = if self.ids {
            let ids = tokenizer.encode_with_special(&text);
            let len = ids.len();
            Row::new(Prompt::Ids(ids), len, output)
        } else {
            let len = tokenizer.count_with_special(&text);
            Row::new(Prompt::Text(text), len, output)
        };
        self.limited(row)
    }

    /// The same text for all.
    fn same(&self, context: &Context<'_>, text: &str) -> Rows {
        let row = |i| self.text_row(context, i, text.to_owned());
        Rows { rows: (0..context.n).map(row).collect(), ..Rows::default() }
    }
}

impl Dataset for Prompts {
    fn load(&self, context: &Context<'_>) -> Result<Rows, Error> {
        if let Some(text) = &self.fixed {
            return Ok(self.same(context, text));
        }
        match self.name.as_str() {
            "random" | "random_embedding" => made::random(self, context),
            "random_vl" => made::with_images(self, context),
            "random_multi_turn" => made::conversations(self, context),
            "random_rerank" => made::rerank(self, context),
            "workload_trace" => trace::rows(self, context),
            _ => read::rows(self, context),
        }
    }
}

/// Refuses keys of `--dataset-args` that the dataset does not have.
fn known_args(dataset: &str, args: &Map<String, Value>) -> Result<(), String> {
    let known: &[&str] = match dataset {
        "openqa" | "longalpaca" | "line_by_line" => {
            &["target_input_len", "input_len_mode", "prefix_file", "prefix_role"]
        }
        "workload_trace" => &["speed", "model_override", "model_mapping", "match_output_length"],
        _ => &[],
    };
    match args.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) if known.is_empty() => Err(format!(
            "--dataset-args: --dataset {dataset} has no parameters, and {key} is given"
        )),
        Some(key) => Err(format!(
            "--dataset-args: {key} is no parameter of --dataset {dataset}, which has {}",
            known.join(", ")
        )),
    }
}

/// Tokens that the server's chat template puts around a message; 0 if the template is not known.
fn overhead(context: &Context<'_>) -> usize {
    let tokenizer: &Tokenizer = context.tokenizer;
    let Ok(template) = tokenizer.chat_template(&context.reading.now) else { return 0 };
    let Ok(text) = template.render(&[crate::model::user_message("x")], None, true) else {
        return 0;
    };
    tokenizer.count(&text).saturating_sub(tokenizer.count("x"))
}

fn usage(message: String) -> Error {
    Error::new(Kind::Usage, message)
}
