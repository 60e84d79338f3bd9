//! The flags of `rbench compare`.

use std::path::PathBuf;

use clap::{ArgAction, Args, Command};

use crate::analysis::comparison::{Compared, Rule};
use crate::flags;

const METRICS: &str = "Metrics to compare: mean, median or pN of ttft, tpot, itl or e2e, request_throughput, output_throughput, success, goodput [default: median and p99 of each latency, both throughputs, success]";

/// The flags.
#[derive(Debug, Clone, Args)]
#[command(
    args_override_self = true,
    after_help = "BASE and NEW are files of --records, files of result lines, or folders with either. All runs of the same load\n\
                  within one file or folder are one side: their samples are pooled. Runs of unlike loads are not compared.\n\
                  --history DIR takes one folder with the runs of many days instead, in the order of their dates.\n\
                  Result lines have samples only if they were written with --output-details.\n\
                  Exit codes: 0 done, 1 a file cannot be used or no load is on both sides, 2 the command line is not usable,\n\
                  3 the comparison failed by --fail-on."
)]
pub struct CompareArgs {
    /// Runs before a change
    #[arg(value_name = "BASE", required_unless_present = "history", conflicts_with = "history")]
    pub base: Option<PathBuf>,
    /// Runs after it; each one is compared with BASE
    #[arg(value_name = "NEW", required_unless_present = "history")]
    pub new: Vec<PathBuf>,
    /// Metrics to compare, as results name them.
    #[arg(long, value_name = "METRIC", num_args = 1.., help = METRICS)]
    pub metrics: Vec<Compared>,
    /// A difference smaller than this does not matter
    #[arg(long, value_name = "PERCENT", default_value = "1%", value_parser = share)]
    pub min_effect: f64,
    /// A change for the worse as large as this must be excluded for a pass
    #[arg(long, value_name = "PERCENT", default_value = "10%", value_parser = share)]
    pub tolerance: f64,
    /// Fail with exit code 3 on METRIC>+N%, METRIC<-N%, regression, inconclusive or never; may be repeated
    /// [default: regression]
    #[arg(long, value_name = "RULE", action = ArgAction::Append)]
    pub fail_on: Vec<Rule>,
    /// Folder of past runs, in the place of BASE and NEW: the noise of each metric, and where its level changed
    #[arg(long, value_name = "DIR")]
    pub history: Option<PathBuf>,
    /// A change of level that began within the last N runs fails the comparison by --fail-on
    #[arg(long, value_name = "N", default_value = "3", requires = "history")]
    pub recent: usize,
    /// File for the series as CSV, which Apache Otava reads
    #[arg(long, value_name = "FILE", requires = "history")]
    pub csv: Option<PathBuf>,
    /// Flags that may differ between runs of the same load, such as `num_prompts`
    #[arg(long, value_name = "FLAG", num_args = 1..)]
    pub ignore: Vec<String>,
    /// Compare and gate runs whose client was the limit, and partial ones
    #[arg(long)]
    pub allow_client_limited: bool,
    /// Print JSON instead of tables
    #[arg(long)]
    pub json: bool,
    /// Page of the comparison to write: distributions and verdicts in one HTML file that works without a network
    #[arg(long, value_name = "FILE", conflicts_with = "history")]
    pub html: Option<PathBuf>,
    /// File to append the comparison to, as Markdown
    #[arg(long, value_name = "FILE")]
    pub summary: Option<PathBuf>,
}

/// Reads a percentage of 0 or more as a share; `%` may be left out.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    match number.parse::<f64>() {
        Ok(percent) if percent.is_finite() && percent >= 0.0 => Ok(percent / 1e2),
        _ => Err("expected a percentage of 0 or more, such as 2%".to_owned()),
    }
}

/// The names, as results have them, of the flags of `rbench serve` that decide what is sent.
pub fn load_flags() -> Vec<String> {
    /// Flags under the same headings that change no request, or draw others of the same kind.
    const APART: [&str; 6] =
        ["seed", "salt", "worker_threads", "rust_client", "rust_worker_threads", "dataset_path"];
    let is_load = |heading: &str| {
        [flags::LOAD, flags::REQUEST, flags::DATA].contains(&heading)
            || heading.starts_with("Dataset: ")
    };
    let program = super::command();
    let serve = program.find_subcommand("serve");
    let args = serve.into_iter().flat_map(Command::get_arguments);
    args.filter(|arg| arg.get_help_heading().is_some_and(is_load))
        .map(|arg| arg.get_id().to_string())
        .filter(|id| !APART.contains(&id.as_str()))
        .chain(["backend".to_owned()])
        .collect()
}
