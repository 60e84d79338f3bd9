//! Run metadata: what a run was.

use serde_json::{Map, Value};

use super::goal::Slo;
use super::measure::Percent;
use crate::model::VisionSource;
use crate::workload::arrival::Rate;
use crate::workload::plan::Planned;

/// What a run was.
#[derive(Debug, Clone)]
pub struct RunMetadata {
    /// `--backend`.
    pub backend: &'static str,
    /// Whether its requests generate tokens.
    pub generates: bool,
    /// `--dataset-name`.
    pub dataset_name: String,
    /// Arrivals.
    pub rate: Rate,
    /// Requests in flight at most.
    pub max_concurrency: Option<usize>,
    /// `--goodput`: latencies that requests were to keep within.
    pub slos: Vec<Slo>,
    /// Whether the server's prefix cache is reported on.
    pub cache_report: bool,
    /// `--tag`.
    pub tag: Option<String>,
    /// Model name that was sent.
    pub model: String,
    /// Tokenizer that counted.
    pub tokenizer: String,
    /// Where the image tokens come from, if there are images.
    pub vision_source: Option<VisionSource>,
    /// Seed of every draw.
    pub seed: u64,
    /// When the run started, in RFC 3339.
    pub date: String,
    /// Flags as they took effect.
    pub config: Map<String, Value>,
    /// What its requests were made to be.
    pub planned: Planned,
}

impl RunMetadata {
    /// The rate that was asked for, in requests/s; `None` where all are due at once, or a trace has the times.
    pub fn asked_rate(&self) -> Option<f64> {
        match self.rate {
            Rate::PerSecond(rate) => Some(rate),
            Rate::Unlimited | Rate::Trace => None,
        }
    }

    /// The percentiles that were asked for beside the usual ones, each once.
    pub fn percentiles(&self) -> Vec<Percent> {
        let asked = self.config.get(PERCENTILES).and_then(Value::as_array);
        let numbers = asked.into_iter().flatten().filter_map(Value::as_f64);
        let mut percentiles: Vec<Percent> = numbers.filter_map(Percent::new).collect();
        percentiles.sort_unstable();
        percentiles.dedup();
        percentiles
    }
}

/// The key of [`RunMetadata::config`] for percentiles that are asked for, a list of numbers from 0 to 100.
pub const PERCENTILES: &str = "metric_percentiles";

/// The key of [`RunMetadata::config`] for the machine that the run was measured from.
pub const MACHINE: &str = "machine";
