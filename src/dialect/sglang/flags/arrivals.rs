//! Flags of how requests arrive.

use clap::Args;

use crate::workload::arrival::{self, Strategy};

const HEADING: &str = "Load";

/// Flags of how requests arrive around their rate.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub(super) struct ArrivalArgs {
    /// How evenly requests arrive around the rate: 1 as a Poisson process, less in bursts, inf with one gap for all
    #[arg(long, value_name = "SHAPE", default_value = "1", value_parser = arrival::burstiness, help_heading = HEADING)]
    pub(super) burstiness: f64,
    /// Raise the rate from the first request to the last instead of --request-rate: linear or exponential
    #[arg(long, value_name = "HOW", conflicts_with_all = ["request_rate", "multi", "use_trace_timestamps", "duration"], requires_all = ["ramp_up_start_rps", "ramp_up_end_rps"], help_heading = HEADING)]
    pub(super) ramp_up_strategy: Option<Strategy>,
    /// Requests per second at the first request
    #[arg(long, value_name = "RATE", requires = "ramp_up_strategy", value_parser = arrival::ramp_rate, help_heading = HEADING)]
    pub(super) ramp_up_start_rps: Option<f64>,
    /// Requests per second at the last request
    #[arg(long, value_name = "RATE", requires = "ramp_up_strategy", value_parser = arrival::ramp_rate, help_heading = HEADING)]
    pub(super) ramp_up_end_rps: Option<f64>,
}
