//! Flags of what is sent when, and of what is measured.

#![allow(clippy::doc_markdown, reason = "these are texts for terminals")]

use clap::Args;

use super::METRICS;
use super::values::{count, metrics, percent};
use crate::analysis::metric::Slo;
use crate::workload::arrival::{self, Rate, Strategy};

const HEADING: &str = "Load and measurement";

/// Flags of what is sent when, and of what is measured.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Load {
    /// Number of requests
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = count, help_heading = HEADING)]
    pub num_prompts: usize,
    /// Requests per second on average; inf sends all at once
    #[arg(long, value_name = "RATE", default_value = "inf", conflicts_with = "ramp_up_strategy", help_heading = HEADING)]
    pub request_rate: Rate,
    /// How evenly requests arrive: 1 as a Poisson process, less in bursts, inf with one gap for all
    #[arg(long, value_name = "SHAPE", default_value = "1.0", value_parser = arrival::burstiness, help_heading = HEADING)]
    pub burstiness: f64,
    /// Requests in flight at most [default: no limit]
    #[arg(long, value_name = "N", value_parser = count, help_heading = HEADING)]
    pub max_concurrency: Option<usize>,
    /// Raise the rate from the first request to the last: linear or exponential
    #[arg(long, value_name = "HOW", requires_all = ["ramp_up_start_rps", "ramp_up_end_rps"], help_heading = HEADING)]
    pub ramp_up_strategy: Option<Strategy>,
    /// Requests per second at the first request
    #[arg(long, value_name = "N", requires = "ramp_up_strategy", value_parser = clap::value_parser!(u32).range(1..), help_heading = HEADING)]
    pub ramp_up_start_rps: Option<u32>,
    /// Requests per second at the last request
    #[arg(long, value_name = "N", requires = "ramp_up_strategy", value_parser = clap::value_parser!(u32).range(1..), help_heading = HEADING)]
    pub ramp_up_end_rps: Option<u32>,
    /// Send requests at the times of the trace, as timed_trace does anyway
    #[arg(long, conflicts_with = "no_self_timed", help_heading = HEADING)]
    pub self_timed: bool,
    /// Send the requests of timed_trace by --request-rate
    #[arg(long, help_heading = HEADING)]
    pub no_self_timed: bool,
    /// Small requests per second beside the load, each due at its time whatever became of the one before
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = probes, help_heading = HEADING)]
    pub probe_request_rate: f64,
    /// Copies of the first request that are sent first, each with a salt of its own
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = HEADING)]
    pub num_warmups: usize,
    /// How long to wait for an answer to the first request in seconds; 0 does not wait
    #[arg(long, value_name = "SECONDS", default_value_t = 0, help_heading = HEADING)]
    pub ready_check_timeout_sec: u64,
    /// Latencies in ms that requests are to keep within, of ttft, tpot and e2el
    #[arg(long, value_name = "KEY:MS", num_args = 1.., help_heading = HEADING)]
    pub goodput: Vec<Slo>,
    /// Metrics to report and store: ttft, tpot, itl, e2el [default: ttft,tpot,itl, and e2el for backends that generate nothing]
    #[arg(long, value_name = "NAME,...", value_parser = metrics, help_heading = HEADING)]
    pub percentile_metrics: Option<String>,
    /// Percentiles to report and store
    #[arg(long, value_name = "P,...", default_value = "99", value_delimiter = ',', value_parser = percent, help_heading = HEADING)]
    pub metric_percentiles: Vec<f64>,
    /// Seed of everything that is drawn
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = HEADING)]
    pub seed: u64,
    /// Runs of the same load, of which the mean and the spread are printed
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count, help_heading = HEADING)]
    pub num_runs: usize,
    /// One run for each limit of requests in flight
    #[arg(long, value_name = "N,...", value_delimiter = ',', value_parser = count, conflicts_with = "max_concurrency", help_heading = HEADING)]
    pub sweep_max_concurrency: Vec<usize>,
    /// Requests of each run as a multiple of its limit
    #[arg(long, value_name = "N", value_parser = count, requires = "sweep_max_concurrency", help_heading = HEADING)]
    pub sweep_num_prompts_factor: Option<usize>,
    /// One run for each rate
    #[arg(long, value_name = "RATE,...", value_delimiter = ',', conflicts_with = "request_rate", help_heading = HEADING)]
    pub sweep_request_rate: Vec<Rate>,
    /// Empty the server's prefix cache before each run
    #[arg(long, help_heading = HEADING)]
    pub reset_prefix_cache: bool,
}

impl Load {
    /// The metrics to report.
    pub fn metrics(&self, generates: bool) -> &str {
        let usual = if generates { METRICS } else { "e2el" };
        self.percentile_metrics.as_deref().unwrap_or(usual)
    }
}

fn probes(text: &str) -> Result<f64, String> {
    let rate = text.trim().parse().ok().filter(|rate: &f64| *rate >= 0.0 && rate.is_finite());
    rate.ok_or_else(|| "must be a number of requests per second, or 0 for none".to_owned())
}
