//! `longbench_v2`: questions of choice about long texts, from LongBench v2.

use std::path::{Path, PathBuf};

use clap::FromArgMatches;
use serde::Deserialize;

use super::sharegpt::Opts;
use super::{Context, Dataset, Entry, Rows, Uses, effective, of, params, records};
use crate::error::Error;
use crate::model::{Prompt, Row};
use crate::workload::bundled;
use crate::workload::hub::{Holds, Hub};

pub(super) const ENTRY: Entry = Entry {
    name: "longbench_v2",
    about: "questions about long texts of LongBench v2",
    // The flags are those of `sharegpt`, which adds them.
    flags: |command| command,
    reads: super::sharegpt::FLAGS,
    params: |matches| params(Opts::from_arg_matches(matches)),
    build: |params| Ok(Box::new(LongBench(of(params)?))),
    effective: |matches| effective(Opts::from_arg_matches(matches)),
};

const REPO: &str = "THUDM/LongBench-v2";
const FILE: &str = "data.json";

const EXPECTED: &str = "{\"context\": \"...\", \"question\": \"...\", \"choice_A\": \"...\", ..., \"choice_D\": \"...\"}, one per line or in one array";

/// Output tokens unless the user says otherwise: room for the letter of a choice.
const OUTPUT_LEN: u32 = 10;

#[derive(Debug)]
struct LongBench(Opts);

#[derive(Deserialize)]
#[expect(non_snake_case, reason = "the names of the file")]
struct Item {
    context: String,
    question: String,
    choice_A: String,
    choice_B: String,
    choice_C: String,
    choice_D: String,
}

impl Item {
    fn prompt(&self) -> String {
        format!(
            "{}\n\nQuestion: {}\nA. {}\nB. {}\nC. {}\nD. {}\nAnswer:",
            self.context, self.question, self.choice_A, self.choice_B, self.choice_C, self.choice_D
        )
    }
}

/// The path that was given, unless it is that of the bundled file, which is of another format.
fn given(path: Option<&Path>) -> Option<&Path> {
    path.filter(|path| *path != Path::new(bundled::NAME))
}

/// The file to read.
fn file(hub: &Hub, given: Option<&Path>) -> Result<PathBuf, Error> {
    match given {
        Some(path) => Ok(path.to_owned()),
        None => hub
            .file(Holds::Dataset, REPO, FILE)
            .map_err(|error| error.hint(format!("pass --dataset-path with a file of {EXPECTED}"))),
    }
}

impl Dataset for LongBench {
    fn fetch(&self, hub: &Hub, path: Option<&Path>) -> Result<(), Error> {
        file(hub, given(path)).map(drop)
    }

    fn load(&self, context: &Context<'_>) -> Result<Rows, Error> {
        super::refuse_ids(context, ENTRY.name)?;
        let given = given(context.path);
        let path = file(context.hub, given)?;
        let prompts = records::read(&path, context, EXPECTED, usize::MAX, |item: Item| {
            Ok(records::Taken::Row(item.prompt()))
        })
        .map_err(|error| match given {
            Some(_) => error.hint("leave out --dataset-path to use the Hub's own data.json"),
            None => error,
        })?;
        let output_len = self.0.sharegpt_output_len.unwrap_or(OUTPUT_LEN) as usize;
        prompts.shuffled(context, "longbench_v2/shuffle").rows(context, |prompt| {
            let prompt_len = context.tokenizer.count_with_special(&prompt);
            Ok(self.0.fitting(Row::new(Prompt::Text(prompt), prompt_len, output_len)))
        })
    }

    fn uses(&self) -> Uses {
        Uses { bad_rows: true, ..Uses::default() }
    }
}
