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
use crate::config::{Job, Launch, Manner, RunSpec};
use crate::error::{ENVIRONMENT, EXIT_CODES};
use crate::workload::dataset;

/// What stands below the flags of a command that sends a load.
fn after_help() -> String {
    let mut text =
        "Flags of SGLang's client may be abbreviated as long as they stay unambiguous.\n\nEnvironment:"
            .to_owned();
    for (variables, meaning) in ENVIRONMENT {
        text += &format!("\n  {variables:<30} {meaning}");
    }
    text += "\n\nExit codes:";
    for (code, meaning) in EXIT_CODES {
        text += &format!("\n  {code:<13} {meaning}");
    }
    text
}

/// What people type most, for a help that fits on a screen or two.
const COMMON: &[&str] = &[
    "help",
    "backend",
    "base-url",
    "port",
    "model",
    "tokenizer",
    "header",
    "mock",
    "launch",
    "api-key-file",
    "num-prompts",
    "max-concurrency",
    "request-rate",
    "duration",
    "dataset-name",
    "dataset-path",
    "random-input-len",
    "random-output-len",
    "random-range-ratio",
    "sharegpt-output-len",
    "extra-request-body",
    "disable-ignore-eos",
    "warmup-requests",
    "output-file",
    "output-details",
    "json",
    "csv",
    "quiet",
    "dry-run",
    "slo",
    "summary",
    "junit",
    "allow-failed",
    "strict",
    "verbose",
];

/// Commands that work as they stand, or with another address.
const EXAMPLES: &str = "\
Examples:
  rbench serve --mock
      tries it out, without a server and a network
  rbench serve --backend vllm --port 8000
      1,000 conversations for a vLLM server on this machine, all at once
  rbench serve --backend vllm-chat --base-url http://host:8000 --request-rate 20 --num-prompts 500 \\
      --dataset-name random-ids --random-input-len 1024 --random-output-len 256
      20 requests/s of fixed lengths, over the chat endpoint
  rbench serve --backend sglang --port 30000 --slo 'p99_ttft<500ms' --summary summary.md @flags.txt
      a gate for CI; more arguments are in flags.txt
";

/// What stands below the most common flags.
fn short_help() -> String {
    format!(
        "{EXAMPLES}\nAll flags: rbench serve --help. Exit codes and environment: there, and in rbench man serve"
    )
}

/// The command `serve` whose short help has the flags that people type most.
pub fn brief(serve: Command) -> Command {
    serve.mut_args(|arg| {
        let is_common = arg.get_long().is_some_and(|long| COMMON.contains(&long));
        arg.hide_short_help(!is_common)
    })
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
        .check_flags(matches)
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
    let any_dataset = !typed(matches, "dataset_name") && !typed(matches, "dataset_path");
    let manner = Manner { any_dataset, ..Manner::default() };
    Ok(Job { spec, launch, effective, notes, manner, ..Job::default() })
}
