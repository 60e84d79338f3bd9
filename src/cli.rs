//! What may be typed. Parsing does no input or output.

mod abbreviation;
mod advice;
pub mod compare;
mod completions;
pub mod gates;
pub mod man;
pub mod merge;
mod renamed;
pub mod report;
pub mod run;
pub mod selftest;
mod siblings;
pub mod supervise;
pub mod sweep;

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{Command, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::Job;
use crate::config::one_batch::Batches;
use crate::dialect::{self, sglang};
use crate::mock;

/// The version, the commit of builds that know it, and the target.
const VERSION: &str = if env!("RBENCH_COMMIT").is_empty() {
    concat!(env!("CARGO_PKG_VERSION"), " (", env!("RBENCH_TARGET"), ")")
} else {
    concat!(
        env!("CARGO_PKG_VERSION"),
        " (",
        env!("RBENCH_COMMIT"),
        ", ",
        env!("RBENCH_TARGET"),
        ")"
    )
};

/// A serving benchmark for large language models
#[derive(Debug, Parser)]
#[command(
    name = "rbench",
    version = VERSION,
    after_help = "Start here:\n  rbench serve --mock       tries it out, without a server and a network\n  rbench serve -h           the flags that people use most, and examples\n  rbench help COMMAND       all flags of a command\n\nAn argument @FILE stands for the arguments in that file.",
    max_term_width = 100,
    arg_required_else_help = true,
    args_conflicts_with_subcommands = true
)]
struct Cli {
    /// Print the licences of all that is part of the program
    #[arg(long, exclusive = true)]
    licenses: bool,
    #[command(subcommand)]
    command: Option<Subcommands>,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Measure a server: latencies, throughput, failures
    Serve(Box<gates::GatedArgs>),
    /// Measure a server at many loads: flags of serve with lists and ranges of values
    Sweep(Box<sweep::SweepArgs>),
    /// Send everything at once and measure the throughput alone
    Offline(Box<sglang::OfflineArgs>),
    /// Send batches of prompts, each in one request, and measure prefill and decode
    OneBatch(Box<sglang::OneBatchArgs>),
    /// Measure with the command line, the table and the files of vLLM's client
    Vllm(dialect::vllm::Tool),
    /// Measure with the command line, the tables and the files of EvalScope
    Evalscope(dialect::evalscope::Tool),
    /// Measure with scenarios, the tables and the files of AISBench
    Aisbench(dialect::aisbench::Flags),
    /// Run a simulated engine to measure clients against
    Mock(Box<mock::Opts>),
    /// Run a configuration that serve --print-config has printed
    Run(run::RunArgs),
    /// Print the result of a run from its records, also if it died
    Report(report::ReportArgs),
    /// Decide if runs differ from others: a verdict on each metric and on the whole
    Compare(compare::CompareArgs),
    /// Report several runs of one load together: percentiles of the pool, rates over all
    Merge(merge::MergeArgs),
    /// Measure how accurate the timestamps are on this machine, and how many events it can read
    Selftest(selftest::SelftestArgs),
    /// Print the manual page
    Man(man::ManArgs),
    /// Print the script that completes command lines in a shell
    Completions(completions::CompletionsArgs),
    /// Run a server until the standard input ends
    #[command(hide = true)]
    Supervise(supervise::SuperviseArgs),
}

/// The command that `args` name, if its flags may be shortened and may have the names of older releases.
fn load_of(args: &[OsString]) -> Option<&'static str> {
    sglang::COMMANDS.into_iter().find(|name| args.get(1).is_some_and(|word| word == name))
}

/// What was typed.
#[derive(Debug)]
pub enum Input {
    /// `rbench serve`.
    Serve(Box<Job>),
    /// `rbench serve --print-config`.
    PrintConfig(Box<Job>),
    /// `rbench sweep`.
    Sweep(Box<sweep::Sweep>),
    /// `rbench offline`.
    Offline(Box<sglang::Throughput>),
    /// `rbench one-batch`.
    OneBatch(Box<Batches>),
    /// `rbench vllm bench serve`.
    Vllm(Box<dialect::vllm::Flags>),
    /// `rbench evalscope perf`.
    Evalscope(Box<dialect::evalscope::Flags>),
    /// `rbench aisbench`.
    Aisbench(Box<dialect::aisbench::Flags>),
    /// `rbench mock`.
    Mock(Box<mock::Opts>),
    /// `rbench supervise`, which rbench runs by itself.
    Supervise(supervise::SuperviseArgs),
    /// A text to print: `rbench man`, `rbench completions`, `rbench --licenses`.
    Text(String),
    /// `rbench run`.
    Run(run::RunArgs),
    /// `rbench report`.
    Report(report::ReportArgs),
    /// `rbench compare`.
    Compare(Box<compare::CompareArgs>),
    /// `rbench merge`.
    Merge(merge::MergeArgs),
    /// `rbench selftest`.
    Selftest(selftest::SelftestArgs),
}

/// The whole command line, with the flags of every dataset.
pub fn command() -> Command {
    Cli::command()
        .mut_subcommand("serve", |serve| sglang::brief(sglang::with_datasets(serve)))
        .mut_subcommand(sweep::NAME, sweep::shape)
        .mut_subcommand("offline", |offline| sglang::shape(sglang::with_datasets(offline)))
        .mut_subcommand("vllm", dialect::vllm::spellings)
}

/// The licence of the program, and those of what is linked into it.
const LICENSES: [&str; 3] = [
    include_str!("../LICENSE"),
    "\n\nWhat rbench is built from:\n\n",
    include_str!("../licenses/THIRD-PARTY.txt"),
];

/// Reads the args of a command line, the program's name first.
///
/// # Errors
/// If they are not usable; clap's error prints itself and knows whether it is one.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Input, clap::Error> {
    let mut command = command();
    let mut args: Vec<OsString> = args.into_iter().collect();
    let notes = renamed::replace(&mut args, &command);
    let args = abbreviation::expand(args, &mut command)?;
    parsed(&args, &mut command, notes).map_err(|error| advice::advise(error, &args, &command))
}

/// Reads whole flags.
fn parsed(
    args: &[OsString],
    command: &mut Command,
    notes: Vec<String>,
) -> Result<Input, clap::Error> {
    let is_sweep = args.get(1).is_some_and(|word| word == sweep::NAME);
    let (lists, args) = if is_sweep {
        sweep::first(args, command)?
    } else {
        (sweep::Lists::default(), args.to_vec())
    };
    let matches = command.try_get_matches_from_mut(args)?;
    let cli = Cli::from_arg_matches(&matches)?;
    let Some(subcommand) = cli.command else {
        // Without a command and without this flag clap shows the help.
        return Ok(Input::Text(LICENSES.concat()));
    };
    match subcommand {
        Subcommands::Mock(opts) => Ok(Input::Mock(opts)),
        Subcommands::Vllm(tool) => {
            let matches = matches.subcommand_matches("vllm").unwrap_or(&matches);
            Ok(Input::Vllm(tool.flags(matches)))
        }
        Subcommands::Evalscope(tool) => Ok(Input::Evalscope(tool.flags())),
        Subcommands::Aisbench(flags) => Ok(Input::Aisbench(Box::new(flags))),
        Subcommands::Supervise(args) => Ok(Input::Supervise(args)),
        Subcommands::Offline(args) => {
            let matches = matches.subcommand_matches("offline").unwrap_or(&matches);
            Ok(Input::Offline(Box::new(args.throughput(matches, notes)?)))
        }
        Subcommands::OneBatch(args) => Ok(Input::OneBatch(Box::new(args.batches(notes)))),
        Subcommands::Man(args) => match man::page(command, args.command.as_deref()) {
            Ok(page) => Ok(Input::Text(page)),
            Err(why) => Err(command.error(ErrorKind::InvalidValue, why)),
        },
        Subcommands::Completions(args) => Ok(Input::Text(completions::script(command, args.shell))),
        Subcommands::Run(args) => Ok(Input::Run(args)),
        Subcommands::Report(args) => Ok(Input::Report(args)),
        Subcommands::Selftest(args) => Ok(Input::Selftest(args)),
        Subcommands::Merge(args) => Ok(Input::Merge(args)),
        Subcommands::Compare(args) => Ok(Input::Compare(Box::new(args))),
        Subcommands::Sweep(args) => {
            let matches = matches.subcommand_matches(sweep::NAME).unwrap_or(&matches);
            Ok(Input::Sweep(Box::new(args.sweep(lists, matches, command, notes)?)))
        }
        Subcommands::Serve(args) => {
            let matches = matches.subcommand_matches("serve").unwrap_or(&matches);
            let prints = args.serve.prints_config();
            let job = args.serve.job(matches, notes)?;
            let job = Box::new(Job { gates: args.gates.into(), ..job });
            Ok(if prints { Input::PrintConfig(job) } else { Input::Serve(job) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Layouts, RunSpec};

    fn parsed(args: &str) -> Job {
        let args = ["rbench", "serve"].into_iter().chain(args.split_whitespace());
        match parse(args.map(Into::into)) {
            Ok(Input::Serve(job)) => *job,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_flag_table_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn a_run_without_flags_is_the_default() {
        let json = |spec: &RunSpec| serde_json::to_value(spec).unwrap();
        let mut spec = parsed("").spec;
        assert_eq!(spec.layouts.table.0, "sglang@0.5.23");
        spec.layouts = Layouts::default();
        assert_eq!(json(&spec), json(&RunSpec::default()));
    }

    #[test]
    fn flags_of_a_native_client_are_taken_with_a_note() {
        for (input, threads, notes) in [
            ("--worker-threads 2", Some(2), 0),
            ("--rust-client --max-concurrency 1", None, 1),
            ("--rust-client --rust-worker-threads 3", Some(3), 2),
            ("--rust-client --rust-worker-threads 3 --worker-threads 2", Some(2), 2),
        ] {
            let job = parsed(input);
            assert_eq!(
                (job.spec.load.worker_threads, job.notes.len()),
                (threads, notes),
                "{input}"
            );
            assert!(job.notes.iter().all(|note| note.contains("not needed")), "{input}");
        }
    }
}
