//! The flags of `rbench merge`.

use std::path::PathBuf;

use clap::Args;

use crate::analysis::comparison::Compared;

/// The flags.
#[derive(Debug, Clone, Args)]
#[command(
    args_override_self = true,
    after_help = "FILE is a file of --records, a file of result lines, or a folder with either. All runs have to be of one load.\n\
                  Percentiles are those of the pooled samples, or of the pooled histograms where a result line has no samples;\n\
                  percentiles are never averaged.\n\
                  Exit codes: 0 done, 1 a file cannot be used or the runs are unlike, 2 the command line is not usable."
)]
pub struct MergeArgs {
    /// Runs of one load
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Metrics to report.
    #[arg(long, value_name = "METRIC", num_args = 1.., help = METRICS)]
    pub metrics: Vec<Compared>,
    /// Flags that may differ between the runs, such as `num_prompts`
    #[arg(long, value_name = "FLAG", num_args = 1..)]
    pub ignore: Vec<String>,
    /// Merge runs whose client was the limit, and partial ones
    #[arg(long)]
    pub allow_client_limited: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

const METRICS: &str = "Metrics to report: mean, median or pN of ttft, tpot, itl or e2e, request_throughput, output_throughput, success [default: mean, median, p90, p95 and p99 of each latency, both throughputs, success]";
