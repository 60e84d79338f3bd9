//! The flags of `rbench report`.

use std::path::PathBuf;

use clap::Args;

use crate::analysis::metric::Slo;
use crate::dialect;
use crate::flags::connection::DownloadArgs;
use crate::flags::values::probability;

/// The flags.
#[derive(Debug, Clone, Args)]
#[command(
    args_override_self = true,
    after_help = "Settings default to those of the run; only the files named here are written.\n\
                  Exit codes: 0 done, 1 the records cannot be used or no request succeeded, 2 the command line is not usable."
)]
pub struct ReportArgs {
    /// File that --records has written or that was left beside a result, folder with such files, or folder of a sweep
    #[arg(value_name = "RECORDS")]
    pub records: PathBuf,
    /// Layout of the table: that of a tool, or of an older release of it
    #[arg(long, value_name = "NAME[@VERSION]")]
    pub table: Option<dialect::Choice>,
    /// Keys of the JSONL line, likewise
    #[arg(long, value_name = "NAME[@VERSION]")]
    pub jsonl: Option<dialect::Choice>,
    /// JSONL file to append the result to
    #[arg(long, value_name = "FILE")]
    pub output_file: Option<PathBuf>,
    /// Add arrays with one entry per request to the result
    #[arg(long, requires = "output_file")]
    pub output_details: bool,
    /// Page of the runs to write: plots and figures in one HTML file that works without a network
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// JSONL file to append the failed requests to
    #[arg(long, value_name = "FILE")]
    pub failed_file: Option<PathBuf>,
    /// Objectives in ms for ttft, tpot and e2el, instead of those of the run
    #[arg(long, value_name = "KEY:MS", num_args = 1..)]
    pub goodput: Vec<Slo>,
    /// Also report the longest stretch with at least this share of the peak in flight
    #[arg(long, value_name = "R", value_parser = probability, allow_negative_numbers = true)]
    pub steady_state_concurrency_ratio: Option<f64>,
    /// Plot output tokens per second and requests in flight over time on stderr
    #[arg(long)]
    pub plot_throughput: bool,
    /// Print no block on the measurement before the table
    #[arg(long)]
    pub quiet_extras: bool,
    /// Print all rows of that block, also where all is well
    #[arg(long, overrides_with = "quiet_extras")]
    pub verbose: bool,
    /// Tokenizer to count with, if the run's lies elsewhere now [default: that of the run]
    #[arg(long, value_name = "PATH|ID")]
    pub tokenizer: Option<String>,
    /// How that is downloaded.
    #[command(flatten)]
    pub download: DownloadArgs,
}
