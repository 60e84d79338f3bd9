//! The flags of `ais_bench` in its performance mode.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

/// Which stretch of a run is stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// From the second request that brings the concurrency to its cap, to the last event at the cap: that of 3.1.
    Cap,
    /// While the concurrency stays within 2 % of its cap, from the same request on: that of the releases before.
    Near,
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "cap" => Ok(Self::Cap),
            "near" => Ok(Self::Near),
            _ => Err("must be cap or near".to_owned()),
        }
    }
}

/// Where the throughput of prefill stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// A row of the first table, as in 3.1.
    V3_1,
    /// A row of the second table, as in 3.0.
    V3_0,
}

impl FromStr for Layout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "3.1" => Ok(Self::V3_1),
            "3.0" => Ok(Self::V3_0),
            _ => Err("must be 3.1 or 3.0".to_owned()),
        }
    }
}

/// The flags of `rbench aisbench`.
#[derive(Debug, Clone, Args)]
#[command(args_override_self = true)]
pub struct Flags {
    /// Scenario: a JSON file with the settings of models and datasets
    #[arg(value_name = "SCENARIO")]
    pub scenario: PathBuf,
    /// Models of the scenario, by their abbr [default: all]
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub models: Vec<String>,
    /// Datasets of the scenario, by their abbr; each is sent to each model [default: all]
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub datasets: Vec<String>,
    /// Figures of the whole run, or of its stable stage
    #[arg(long, value_name = "NAME", default_value = "default_perf", value_parser = ["default_perf", "stable_stage"])]
    pub summarizer: String,
    /// What is done: perf measures
    #[arg(long, short = 'm', value_name = "MODE", default_value = "perf", value_parser = ["perf"])]
    pub mode: String,
    /// Folder of the results
    #[arg(long, short = 'w', value_name = "DIR", default_value = "outputs/default")]
    pub work_dir: PathBuf,
    /// Requests of each dataset at most [default: all]
    #[arg(long, value_name = "N", value_parser = count)]
    pub num_prompts: Option<usize>,
    /// Requests before the run; if none succeeds it does not begin
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub num_warmups: usize,
    /// Send the rows again and again for --pressure-time
    #[arg(long)]
    pub pressure: bool,
    /// How long in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub pressure_time: u64,
    /// Print each request when it is sent and when it has ended
    #[arg(long)]
    pub debug: bool,
    /// Seed of everything that is drawn, which is rbench's own flag
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub seed: u64,
    /// Which stretch is stable, which is rbench's own flag: cap as in 3.1, or near as in releases before
    #[arg(long, value_name = "RULE", default_value = "cap")]
    pub stable_rule: Rule,
    /// Layout of the tables, which is rbench's own flag: that of 3.1 or 3.0
    #[arg(long, value_name = "VERSION", default_value = "3.1")]
    pub layout: Layout,
}

fn count(text: &str) -> Result<usize, String> {
    let number = text.trim().parse().ok().filter(|&n| n > 0);
    number.ok_or_else(|| "must be a whole number above 0".to_owned())
}
