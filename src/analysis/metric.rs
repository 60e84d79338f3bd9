//! Metrics: what is computed from records.
//!
//! A metric is one file and one line of [`ALL`]. Its definition stands in its module documentation.
//! It sees one request after the other, so that a run of any length can be reported, and keeps its samples or counts them.

mod cache;
mod concurrency;
mod due;
mod e2e;
mod event_itl;
mod goodput;
mod itl;
mod lateness;
mod peak;
mod resent;
mod retries;
mod stall;
mod throughput;
mod token_itl;
mod tokens;
mod totals;
mod tpot;
mod ttft;

pub use super::counts::{Ended, Shares};
pub use super::endpoints::PerEndpoint;
use super::gather::Metric;
pub use super::gather::{Close, Origins, Terms};
pub use super::goal::Slo;
pub use super::measure::Latency;
pub use super::measures::{Figure, Measures, Stat};
pub use super::over_time::{OverTime, over_time};
pub use super::steady_state::{SteadyState, steady_state};

/// Every metric, in the order of results.
pub static ALL: &[Metric] = &[
    totals::METRIC,
    tokens::METRIC,
    throughput::METRIC,
    e2e::METRIC,
    ttft::METRIC,
    tpot::METRIC,
    itl::METRIC,
    event_itl::METRIC,
    token_itl::METRIC,
    stall::METRIC,
    due::METRIC,
    lateness::METRIC,
    concurrency::METRIC,
    peak::METRIC,
    retries::METRIC,
    resent::METRIC,
    goodput::METRIC,
    cache::METRIC,
];
