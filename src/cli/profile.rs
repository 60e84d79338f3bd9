//! The flags of the server's profiler.

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde::{Deserialize, Serialize};

use super::count;

const PROFILE: &str = "Profiling";

/// What the profiler of an SGLang server can record.
const ACTIVITIES: [&str; 5] = ["CPU", "GPU", "CUDA_PROFILER", "XPU", "MEM"];

/// What it records if nothing else is asked for.
pub const DEFAULT_ACTIVITIES: [&str; 2] = ["CPU", "GPU"];

/// The flags.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
#[group(skip)]
pub struct ProfileArgs {
    /// Profile the server during the run
    #[arg(long, help_heading = PROFILE)]
    pub profile: bool,
    /// Activities to record
    #[arg(long, value_name = "NAME", num_args = 1.., default_values = DEFAULT_ACTIVITIES, value_parser = PossibleValuesParser::new(ACTIVITIES), help_heading = PROFILE)]
    pub profile_activities: Vec<String>,
    /// First step of the server to record
    #[arg(long, value_name = "N", help_heading = PROFILE)]
    pub profile_start_step: Option<u64>,
    /// Number of steps to record; the server stops by itself. Overrides --profile-num-steps
    #[arg(long, value_name = "N", value_parser = count, help_heading = PROFILE)]
    #[serde(deserialize_with = "super::values::some_above_zero")]
    pub profile_steps: Option<usize>,
    /// Number of steps to record; the server stops by itself
    #[arg(long, value_name = "N", value_parser = count, help_heading = PROFILE)]
    #[serde(deserialize_with = "super::values::some_above_zero")]
    pub profile_num_steps: Option<usize>,
    /// Record prefill and decode separately, 5 steps of each if no number is given
    #[arg(long, help_heading = PROFILE)]
    pub profile_by_stage: bool,
    /// The stages to record
    #[arg(long, value_name = "NAME", num_args = 1.., help_heading = PROFILE)]
    pub profile_stages: Vec<String>,
    /// Folder on the server for the traces [default: `SGLANG_TORCH_PROFILER_DIR`, else /tmp]
    #[arg(long, help = "Folder on the server for the traces [default: SGLANG_TORCH_PROFILER_DIR, else /tmp]", value_name = "PATH", help_heading = PROFILE)]
    pub profile_output_dir: Option<String>,
    /// Prefix of the names of the traces
    #[arg(long, value_name = "TEXT", help_heading = PROFILE)]
    pub profile_prefix: Option<String>,
    /// Prefill and decode are servers of their own, and are profiled there
    #[arg(long, help_heading = PROFILE)]
    pub pd_separated: bool,
    /// The prefill servers to profile
    #[arg(long, value_name = "URL", num_args = 0.., conflicts_with = "profile_decode_url", help_heading = PROFILE)]
    pub profile_prefill_url: Vec<String>,
    /// The decode servers to profile
    #[arg(long, value_name = "URL", num_args = 0.., help_heading = PROFILE)]
    pub profile_decode_url: Vec<String>,
}

/// The flags that `args` give, or what is said of them.
#[cfg(test)]
pub(crate) fn parsed(args: &str) -> Result<ProfileArgs, String> {
    #[derive(clap::Parser)]
    struct Input {
        #[command(flatten)]
        args: ProfileArgs,
    }
    let args = std::iter::once("x").chain(args.split_whitespace());
    let parsed = <Input as clap::Parser>::try_parse_from(args);
    parsed.map(|args| args.args).map_err(|error| error.to_string())
}
