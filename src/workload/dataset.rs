//! Sources of prompts.
//!
//! A dataset is one file with its own flags and one line of [`ALL`].

mod agentic_trace;
mod corpus;
mod custom;
mod distinct;
mod embedding;
mod exact;
mod generated_shared_prefix;
mod image;
mod lengths;
mod longbench_v2;
mod mmmu;
mod mooncake;
mod openai;
mod patches;
pub mod picture;
mod placing;
mod prefixed;
mod prefixes;
mod random;
mod random_ids;
mod real_text;
pub mod records;
mod sharegpt;
mod speed_bench;
mod table;
mod text;

use std::path::Path;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use jiff::Zoned;
use rand::Rng as _;
use serde_json::{Map, Value};

pub use self::corpus::{Corpus, InFlight};
pub use self::picture::{Size, noise, of_file};
pub use self::prefixed::{Joined, prefixed};
pub use self::random_ids::neighbours;
pub use self::table::{Cells, table};
pub use self::text::Shaper;
use crate::error::{Error, Kind};
use crate::model::Row;
use crate::rng;
use crate::workload::hub::Hub;
use crate::workload::lengths::Drawn;
use crate::workload::tokenizer::Tokenizer;

/// Every `--dataset-name` value, in the order of `--help`.
pub static ALL: &[Entry] = &[
    sharegpt::ENTRY,
    random::ENTRY,
    random_ids::ENTRY,
    image::ENTRY,
    mmmu::ENTRY,
    custom::ENTRY,
    openai::ENTRY,
    longbench_v2::ENTRY,
    speed_bench::ENTRY,
    embedding::ENTRY,
    agentic_trace::ENTRY,
    mooncake::ENTRY,
    generated_shared_prefix::ENTRY,
    real_text::ENTRY,
];

/// What a `--dataset-name` value stands for.
#[derive(Debug)]
pub struct Entry {
    /// The `--dataset-name` value.
    pub name: &'static str,
    /// One line for `--help`.
    pub about: &'static str,
    /// Adds the dataset's own flags.
    pub flags: fn(Command) -> Command,
    /// The flags that it reads: those of all datasets, and `dataset-path`.
    pub reads: &'static [&'static str],
    /// Its parameters, by the names of the flags that give them.
    pub params: fn(&ArgMatches) -> Result<Params, clap::Error>,
    /// The dataset with these parameters; an error says what cannot be used, without a line end.
    pub build: fn(Params) -> Result<Box<dyn Dataset>, String>,
    /// The flags as given, by the names that results use.
    pub effective: fn(&ArgMatches) -> Map<String, Value>,
}

impl Entry {
    /// The dataset of that name.
    pub fn find(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|entry| entry.name == name)
    }

    /// The notes on flags that were typed and that this dataset does not read.
    ///
    /// They are no errors: scripts pass the same flags whatever the dataset.
    pub fn unread(&self, matches: &ArgMatches) -> Vec<String> {
        let others = ALL.iter().flat_map(|entry| entry.reads).copied();
        let mut unread: Vec<&str> = others.filter(|flag| !self.reads.contains(flag)).collect();
        unread.sort_unstable();
        unread.dedup();
        unread.retain(|flag| {
            matches.value_source(&flag.replace('-', "_")) == Some(ValueSource::CommandLine)
        });
        let note = |flag| format!("--{flag} does nothing for --dataset-name {}", self.name);
        unread.into_iter().map(note).collect()
    }

    /// Refuses flags that were typed, are not read, and without which the run would be another than was asked for.
    ///
    /// # Errors
    /// If there is one; the message says why and which datasets take it.
    pub fn check_flags(&self, matches: &ArgMatches) -> Result<(), String> {
        let typed = |flag: &&str| {
            matches.value_source(&flag.replace('-', "_")) == Some(ValueSource::CommandLine)
        };
        let because =
            |flags: &'static [&'static str], why| flags.iter().map(move |flag| (*flag, why));
        let mut refused =
            because(&lengths::FLAGS, "which draws no such lengths: they are those of its rows")
                .chain(because(&prefixes::FLAGS, "whose prompts share no prefixes but their own"));
        match refused.find(|(flag, _)| typed(flag) && !self.reads.contains(flag)) {
            None => Ok(()),
            Some((flag, why)) => {
                let takers = ALL.iter().filter(|entry| entry.reads.contains(&flag));
                let takers: Vec<&str> = takers.map(|entry| entry.name).collect();
                Err(format!(
                    "--{flag} does not apply to --dataset-name {}, {why}; it applies to {}",
                    self.name,
                    takers.join(", ")
                ))
            }
        }
    }

    /// Its parameters where no flag is given.
    fn defaults(&self) -> Result<Params, String> {
        no_flags().and_then(|matches| (self.params)(&matches)).map_err(|error| error.to_string())
    }
}

/// Parameters of a dataset by their names, as they stand in the configuration of a run.
pub type Params = Map<String, Value>;

/// A dataset by its name and parameters: plain values, from which it can be made again.
#[derive(Debug, Clone)]
pub struct Spec {
    entry: &'static Entry,
    params: Params,
}

impl Spec {
    /// The dataset `entry` with the parameters that flags give.
    ///
    /// # Errors
    /// If a flag cannot be used.
    pub fn of_flags(entry: &'static Entry, matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self { entry, params: (entry.params)(matches)? })
    }

    /// The dataset `entry` with `given` in the place of the defaults of its flags.
    ///
    /// # Errors
    /// If a parameter is none of its own, or cannot be used; the message names it.
    pub fn with(entry: &'static Entry, given: &Params) -> Result<Self, String> {
        let defaults = entry.defaults()?;
        if let Some(name) = given.keys().find(|name| !defaults.contains_key(*name)) {
            let known: Vec<&str> = defaults.keys().map(String::as_str).collect();
            let all = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(format!("{name} is no parameter of {}, which has {all}", entry.name));
        }
        let with = |given: &Params| {
            let mut params = defaults.clone();
            params.extend(given.clone());
            params
        };
        let params = with(given);
        if let Err(what) = (entry.build)(params.clone()) {
            // The wrong one of several is the one that is wrong alone as well.
            let alone = |name: &String, value: &Value| {
                (entry.build)(with(&Params::from_iter([(name.clone(), value.clone())]))).err()
            };
            let wrong =
                given.iter().find(|(name, value)| alone(name, value).as_ref() == Some(&what));
            return Err(match wrong {
                Some((name, _)) => format!("{name}: {what}"),
                None => what,
            });
        }
        Ok(Self { entry, params })
    }

    /// The dataset `name` with whole numbers in the place of the defaults of its flags.
    ///
    /// # Errors
    /// If there is none of that name, or a parameter cannot be used; the message names it.
    pub fn named<const N: usize>(name: &str, given: [(&str, usize); N]) -> Result<Self, String> {
        let entry = Entry::find(name).ok_or_else(|| format!("there is no dataset {name}"))?;
        let given = given.into_iter().map(|(name, n)| (name.to_owned(), n.into()));
        Self::with(entry, &given.collect())
    }

    /// The dataset, ready to make rows.
    ///
    /// # Errors
    /// If its parameters do not go together.
    pub fn build(&self) -> Result<Box<dyn Dataset>, String> {
        (self.entry.build)(self.params.clone())
    }

    /// The parameters by their names.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The flags of all datasets by the names that results use: those of the others as where none is given.
    ///
    /// # Errors
    /// If a flag has a default that it does not take, which is a defect of the program.
    pub fn effective(&self) -> Result<Map<String, Value>, String> {
        let matches = no_flags().map_err(|error| error.to_string())?;
        let mut all = Map::new();
        for entry in ALL {
            all.extend((entry.effective)(&matches));
        }
        for (name, value) in &self.params {
            if let Some(shown) = all.get_mut(name) {
                shown.clone_from(value);
            }
        }
        Ok(all)
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
    /// How files are read, and what becomes of their text.
    pub reading: &'a Reading,
}

impl Context<'_> {
    /// The seed of what prompts hold: that of the run, unless a salt sets this run apart from others with that seed.
    /// Lengths and the order of rows depend on the seed alone.
    fn content(&self) -> u64 {
        match self.reading.salt {
            Some(salt) => rng::stream(self.seed, "salt", salt).next_u64(),
            None => self.seed,
        }
    }
}

/// How files are read, and what becomes of their text.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// Whether the tokenizer's chat template is applied to prompts.
    pub template: bool,
    /// What is added to prompts.
    pub suffix: String,
    /// Whether malformed rows are left out instead of ending the run.
    pub skip_bad_rows: bool,
    /// Whether a text may be used for several rows where there are too few.
    pub repeat: bool,
    /// What sets made-up prompts apart from those of other runs with this seed, if anything does.
    pub salt: Option<u64>,
    /// Whether the server applies a chat template itself.
    pub server_templates: bool,
    /// The date for templates that tell it.
    pub now: Zoned,
}

/// What a dataset makes of `--apply-chat-template`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Templates {
    /// It has no text that a template could be applied to.
    #[default]
    Never,
    /// It leaves its prompts as they are.
    Ignored,
    /// It applies the template if told to.
    Optional,
    /// It does so anyway.
    Always,
}

/// Which of the general flags a dataset has a use for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Uses {
    /// `--apply-chat-template`.
    pub template: Templates,
    /// `--prompt-suffix`.
    pub suffix: bool,
    /// `--skip-bad-rows`.
    pub bad_rows: bool,
    /// `--allow-repeat`.
    pub repeat: bool,
    /// Whether its rows are for embeddings alone.
    pub embeds: bool,
    /// Whether its rows have images.
    pub images: bool,
    /// Whether it is made from conversations, of which the program has some inside.
    pub conversations: bool,
    /// Whether it is made of the words of a vocabulary, which no server gives away.
    pub vocabulary: bool,
    /// `--salt`.
    pub salt: bool,
}

/// What a dataset made.
#[derive(Debug, Default)]
pub struct Rows {
    /// The lengths that were drawn for the rows, if they were.
    pub drawn: Drawn,
    /// At most as many rows as were wanted.
    pub rows: Vec<Row>,
    /// What the user should know of how they were made.
    pub notes: Vec<String>,
    /// What they are like, for users who want to know.
    pub told: Vec<String>,
    /// Whether the rows are a replay, which their own times drive whatever the rate.
    pub replay: bool,
    /// Tokens of each prompt that are in the server's prefix cache when it is sent, in the order of the rows, where the
    /// cache was empty before and has room for all; unknown where prompts come from elsewhere.
    pub cached: Option<Vec<usize>>,
    /// What is sent before the run, so that the server has it in its cache.
    pub first: Vec<Row>,
}

impl Rows {
    /// The rows with the lengths that were drawn for them.
    fn with(mut self, drawn: Drawn) -> Self {
        let (lines, notes) = drawn.lines();
        self.told.extend(lines);
        self.notes.extend(notes);
        Self { drawn, ..self }
    }
}

/// A source of prompts.
pub trait Dataset: std::fmt::Debug {
    /// How many requests a run has if `--num-prompts` is `asked`.
    fn count(&self, asked: usize) -> usize {
        asked
    }

    /// Bytes that the prompts of `n` requests and their bodies take at least, as far as the flags say:
    /// those of files are as long as the files.
    fn bytes(&self, n: usize) -> u64 {
        let _ = n;
        0
    }

    /// Downloads the files that it reads, unless they are on this machine or `path` names one.
    ///
    /// # Errors
    /// If one cannot be had.
    fn fetch(&self, hub: &Hub, path: Option<&Path>) -> Result<(), Error> {
        let _ = (hub, path);
        Ok(())
    }

    /// Makes the rows. Row *i* depends on the files, the flags, the seed and *i* alone.
    ///
    /// # Errors
    /// If a file cannot be read, or holds too little.
    fn load(&self, context: &Context<'_>) -> Result<Rows, Error>;

    /// Which of the general flags it has a use for; the others are refused.
    fn uses(&self) -> Uses {
        Uses::default()
    }
}

/// Bytes of a request beside its prompt: its row, its place in the plan, the frame of its body.
const ROW_BYTES: u64 = 512;

/// Bytes of a token of a prompt, in the row and in the body.
const TOKEN_BYTES: u64 = 8;

/// Bytes of `n` requests with prompts of `tokens` each.
fn weight(n: usize, tokens: usize) -> u64 {
    let each = (tokens as u64).saturating_mul(TOKEN_BYTES).saturating_add(ROW_BYTES);
    each.saturating_mul(n as u64)
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

/// The flags of all datasets where none is given.
fn no_flags() -> Result<ArgMatches, clap::Error> {
    // Some datasets look whether these are given.
    let general = Command::new("dataset")
        .no_binary_name(true)
        .arg(Arg::new("num_prompts").long("num-prompts").value_parser(clap::value_parser!(usize)))
        .arg(Arg::new("tokenize_prompt").long("tokenize-prompt").action(ArgAction::SetTrue));
    let command = ALL.iter().fold(general, |command, entry| (entry.flags)(command));
    let none: [&str; 0] = [];
    command.try_get_matches_from(none)
}

/// The parameters that a struct of flags has.
fn params(opts: Result<impl serde::Serialize, clap::Error>) -> Result<Params, clap::Error> {
    match serde_json::to_value(opts?) {
        Ok(Value::Object(map)) => Ok(map),
        other => Err(clap::Error::raw(ErrorKind::Io, format!("no parameters: {other:?}\n"))),
    }
}

/// The struct of flags that has these parameters.
fn of<T: serde::de::DeserializeOwned>(params: Params) -> Result<T, String> {
    serde_json::from_value(Value::Object(params)).map_err(|error| error.to_string())
}

/// Flags as results name them; nothing if they could not be read, which the parser has told by then.
fn effective(opts: Result<impl serde::Serialize, clap::Error>) -> Map<String, Value> {
    match opts.map(serde_json::to_value) {
        Ok(Ok(Value::Object(map))) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_flag_of_a_dataset_is_read_by_one() {
        let none = || Command::new("serve");
        let command = ALL.iter().fold(none(), |command, entry| (entry.flags)(command));
        let flags: BTreeSet<&str> =
            command.get_arguments().filter_map(clap::Arg::get_long).collect();
        let read: BTreeSet<&str> = ALL.iter().flat_map(|entry| entry.reads).copied().collect();
        let general = BTreeSet::from(["dataset-path"]);
        assert_eq!(read, &flags | &general);
        for entry in ALL {
            let own = (entry.flags)(none());
            let own = own.get_arguments().filter_map(clap::Arg::get_long);
            let unread: Vec<&str> = own.filter(|flag| !entry.reads.contains(flag)).collect();
            assert!(unread.is_empty(), "{}: {unread:?}", entry.name);
        }
    }

    /// Sweeps and comparisons take runs for alike whose configurations are equal.
    #[test]
    fn every_flag_of_a_dataset_is_in_the_configuration() {
        let command = ALL.iter().fold(Command::new("serve"), |all, entry| (entry.flags)(all));
        let matches = command.clone().get_matches_from(["serve"]);
        let shown: Vec<String> =
            ALL.iter().flat_map(|entry| (entry.effective)(&matches)).map(|(key, _)| key).collect();
        let ids = command.get_arguments().map(|arg| arg.get_id().to_string());
        let missing: Vec<String> = ids.filter(|id| !shown.contains(id)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
