//! The command lines of SGLang's clients, which rbench has as its own: `serve`, `offline` and `one-batch`.

mod arrivals;
mod offline;
mod one_batch;
mod serve;
mod shared;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command};
use serde_json::Map;

pub use self::offline::{OfflineArgs, Throughput, shape};
pub use self::one_batch::OneBatchArgs;
pub use self::serve::ServeArgs;
use crate::config::{Job, Launch, RunSpec};
use crate::error::EXIT_CODES;
use crate::workload::dataset;

/// What stands below the flags of `rbench serve`.
fn after_help() -> String {
    let mut text =
        "Long flags may be abbreviated as long as they stay unambiguous.\n\nExit codes:".to_owned();
    for (code, meaning) in EXIT_CODES {
        text += &format!("\n  {code:<13} {meaning}");
    }
    text
}

/// A command with the flags of every dataset.
pub fn with_datasets(command: Command) -> Command {
    // Adding flags also sets the description to that of their struct.
    let about = command.get_about().cloned();
    let command = dataset::ALL.iter().fold(command, |command, entry| (entry.flags)(command));
    // A number below 0 is a value that cannot be used, not an unknown flag.
    command.about(about.unwrap_or_default()).mut_args(|arg| {
        let takes = arg.get_action().takes_values();
        arg.allow_negative_numbers(takes)
    })
}

/// Whether a flag of the command was typed.
fn typed(matches: &ArgMatches, id: &str) -> bool {
    matches.value_source(id) == Some(ValueSource::CommandLine)
}

/// The run of a command with the flags of all datasets, of which the chosen one reads its own.
fn job(
    spec: RunSpec,
    launch: Option<Launch>,
    matches: &ArgMatches,
    mut notes: Vec<String>,
) -> Result<Job, clap::Error> {
    let entry = dataset::Entry::find(&spec.prompts.dataset_name).unwrap_or(&dataset::ALL[0]);
    entry
        .check_lengths(matches)
        .map_err(|what| clap::Error::raw(ErrorKind::ArgumentConflict, format!("{what}\n")))?;
    notes.extend(entry.unread(matches));
    for (id, flag) in [("host", "--host"), ("port", "--port")] {
        if typed(matches, id) && typed(matches, "base_url") {
            notes.push(format!("{flag} does nothing beside --base-url"));
        }
    }
    let mut effective = Map::new();
    for entry in dataset::ALL {
        effective.extend((entry.effective)(matches));
    }
    let dataset = dataset::Spec::of_flags(entry, matches)?;
    // What cannot be used is an error of the command line.
    dataset
        .build()
        .map_err(|what| clap::Error::raw(ErrorKind::ArgumentConflict, format!("{what}\n")))?;
    let spec = RunSpec { dataset: dataset.params().clone(), ..spec };
    Ok(Job { spec, launch, effective, notes, ..Job::default() })
}
