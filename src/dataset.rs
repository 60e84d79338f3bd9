//! Sources of prompts.
//!
//! A dataset is one file with its own flags and one line of [`ALL`].

mod agentic_trace;
mod corpus;
mod exact;
mod lengths;
mod mooncake;
mod random;
mod random_ids;
mod sharegpt;

use std::path::Path;

use clap::{ArgMatches, Command};
use serde_json::{Map, Value};

use crate::error::{Error, Kind};
use crate::hub::Hub;
use crate::model::Row;
use crate::tokenizer::Tokenizer;

/// Every `--dataset-name` value, in the order of `--help`.
pub static ALL: &[Entry] =
    &[sharegpt::ENTRY, random::ENTRY, random_ids::ENTRY, agentic_trace::ENTRY, mooncake::ENTRY];

/// What a `--dataset-name` value stands for.
#[derive(Debug)]
pub struct Entry {
    /// The `--dataset-name` value.
    pub name: &'static str,
    /// One line for `--help`.
    pub about: &'static str,
    /// Adds the dataset's own flags.
    pub flags: fn(Command) -> Command,
    /// The dataset with its flags as given.
    pub build: fn(&ArgMatches) -> Result<Box<dyn Dataset>, clap::Error>,
    /// The flags as given, by the names that results use.
    pub facts: fn(&ArgMatches) -> Map<String, Value>,
}

impl Entry {
    /// The dataset of that name.
    pub fn find(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|entry| entry.name == name)
    }
}

/// What a dataset is given to make its rows.
#[derive(Debug)]
pub struct Context<'a> {
    /// Counts and cuts.
    pub tokenizer: &'a Tokenizer,
    /// Where files come from that are not on this machine.
    pub hub: &'a Hub,
    /// `--dataset-path`.
    pub path: Option<&'a Path>,
    /// Rows wanted.
    pub n: usize,
    /// The run's seed.
    pub seed: u64,
    /// Whether prompts are to be token ids.
    pub ids: bool,
}

/// What a dataset made.
#[derive(Debug, Default)]
pub struct Rows {
    /// At most as many rows as were wanted.
    pub rows: Vec<Row>,
    /// What the user should know of how they were made.
    pub notes: Vec<String>,
    /// Whether the rows are a replay, which their own times drive whatever the rate.
    pub replay: bool,
}

/// A source of prompts.
pub trait Dataset: std::fmt::Debug {
    /// Makes the rows. Row *i* depends on the files, the flags, the seed and *i* alone.
    ///
    /// # Errors
    /// If a file can not be read, or holds too little.
    fn load(&self, context: &Context<'_>) -> Result<Rows, Error>;
}

/// Refuses `--tokenize-prompt` for a dataset whose prompts are text or messages.
fn refuse_ids(context: &Context<'_>, name: &str) -> Result<(), Error> {
    if !context.ids {
        return Ok(());
    }
    Err(Error::new(
        Kind::Usage,
        format!(
            "--tokenize-prompt does not apply to --dataset-name {name}, whose prompts are text"
        ),
    )
    .hint("use --dataset-name random or random-ids"))
}

/// Flags as results name them; nothing if they could not be read, which the parser has told by then.
fn facts(opts: Result<impl serde::Serialize, clap::Error>) -> Map<String, Value> {
    match opts.map(serde_json::to_value) {
        Ok(Ok(Value::Object(map))) => map,
        _ => Map::new(),
    }
}
