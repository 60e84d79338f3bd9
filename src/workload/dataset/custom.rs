//! `custom`: conversations of the user's own, one per line.

use std::path::Path;

use clap::FromArgMatches;

use super::corpus::Corpus;
use super::sharegpt::{self, Opts};
use super::{Context, Dataset, Entry, Rows, Uses, effective, params, records};
use crate::error::Error;
use crate::workload::hub::Hub;

pub(super) const ENTRY: Entry = Entry {
    name: "custom",
    about: "questions and answer lengths of conversations in a JSONL file",
    // The flags are those of `sharegpt`, which adds them.
    flags: |command| command,
    reads: super::sharegpt::FLAGS,
    params: |matches| params(Opts::from_arg_matches(matches)),
    build: |params| Ok(Box::new(Custom(Opts::of_answers(params, ENTRY.name)?))),
    effective: |matches| effective(Opts::from_arg_matches(matches)),
};

const EXPECTED: &str =
    "{\"conversations\": [{\"content\": \"...\"}, {\"content\": \"...\"}]} on each line";

#[derive(Debug)]
struct Custom(Opts);

impl Dataset for Custom {
    fn fetch(&self, _: &Hub, path: Option<&Path>) -> Result<(), Error> {
        records::given(path, ENTRY.name, EXPECTED).map(drop)
    }

    fn load(&self, context: &Context<'_>) -> Result<Rows, Error> {
        super::refuse_ids(context, ENTRY.name)?;
        let path = records::path(context, ENTRY.name, EXPECTED)?;
        self.0.rows(Corpus::load_custom(path, context, EXPECTED, "custom/shuffle")?, context)
    }

    fn uses(&self) -> Uses {
        sharegpt::USES
    }
}
