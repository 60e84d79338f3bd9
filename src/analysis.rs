//! From requests to figures: the aggregate, the metrics, the audit, and the analysis that holds what they give.

pub mod account;
pub mod aggregate;
mod analyse;
pub mod audit;
pub mod ceiling;
pub mod comparison;
pub mod confidence;
pub mod counts;
mod endpoints;
mod failures;
pub mod gather;
pub mod goal;
pub mod intake;
mod latencies;
pub mod measure;
pub mod measures;
mod metadata;
pub mod metric;
mod over_time;
mod run;
pub mod search;
pub mod statistics;
pub mod stats;
mod steady_state;
#[cfg(test)]
pub(crate) mod testing;
mod token_sums;
mod token_times;
pub mod vision;

pub use self::analyse::{Analysis, Requests, RunOutcome, analyse};
pub use self::failures::{FailureGroup, failure_lines};
pub use self::metadata::{MACHINE, PERCENTILES, RunMetadata};
