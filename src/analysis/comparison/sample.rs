//! A run as comparisons see it: its requests, or its figures alone.

use crate::analysis::counts::Ended;
use crate::analysis::goal::Slo;
use crate::analysis::statistics::overlapping;
use serde_json::{Map, Value};

use super::{Compared, Sample};
use crate::analysis::stats::Distribution;

/// A request of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Request {
    /// When it was sent, or was to be, in s from the start of the run.
    pub sent_s: f64,
    /// When it ended, or was to be sent if it never was.
    pub done_s: f64,
    /// Whether its whole response arrived.
    pub completed: bool,
    /// Output tokens.
    pub output_tokens: u64,
    /// Time to first token, in ms.
    pub ttft_ms: Option<f64>,
    /// Time per output token after the first, in ms.
    pub tpot_ms: Option<f64>,
    /// End-to-end latency, in ms.
    pub e2e_ms: Option<f64>,
    /// Gaps between tokens, in ms.
    pub itl_ms: Vec<f64>,
    /// Whether it completed within the objectives of `--goodput`; `None` if there are none.
    pub good: Option<bool>,
}

impl Request {
    /// The request as comparisons see it.
    pub fn of(request: &Ended<'_>) -> Self {
        let record = request.record;
        let ms = |time: std::time::Duration| time.as_secs_f64() * 1e3;
        let sent = record.sent.unwrap_or(record.due);
        let completed = record.completed();
        // The rest of a latency, over what came in it.
        let tpot = || Some(ms(record.e2e()?.saturating_sub(record.ttft()?)) / request.steps()?);
        Self {
            sent_s: sent.as_secs_f64(),
            done_s: record.done.unwrap_or(sent).as_secs_f64(),
            completed,
            output_tokens: if completed { request.output() } else { 0 },
            ttft_ms: record.ttft().filter(|_| completed).map(ms),
            tpot_ms: if completed { tpot() } else { None },
            e2e_ms: record.e2e().filter(|_| completed).map(ms),
            itl_ms: if completed { record.itl().map(|s| s * 1e3).collect() } else { Vec::new() },
            good: None,
        }
    }

    /// The same, held against the objectives of `--goodput`.
    #[must_use]
    pub fn within(self, slos: &[Slo], request: &Ended<'_>) -> Self {
        let met = self.completed && slos.iter().all(|slo| slo.met_by(request));
        Self { good: (!slos.is_empty()).then_some(met), ..self }
    }
}

/// Flags that say nothing about what a run measures.
const SILENT: &[&str] = &[
    "api_key_file",
    "base_url",
    "disable_tqdm",
    "failed_file",
    "header",
    "host",
    "launched",
    "other_base_urls",
    "output_details",
    "output_file",
    "plot_throughput",
    "port",
    "print_requests",
    "csv",
    "json",
    "machine",
    "no_output_file",
    "progress",
    "quiet",
    "quiet_extras",
    "verbose",
    "allow_failed",
    "records",
    "steady_state_output_file",
    "table",
    "jsonl",
    "tag",
    "strict",
    "goodput",
    "ready_check_timeout_sec",
];

/// A run with the flags of `config`: those that are named in `load` decide what is sent.
pub fn settle(config: &Map<String, Value>, load: &[String]) -> Sampled {
    let mut run = Sampled::default();
    for (key, value) in config {
        if load.contains(key) {
            run.load.insert(key.clone(), value.clone());
        } else if !(SILENT.contains(&key.as_str()) || value.is_null() || is_figure(key, value)) {
            run.setting.insert(key.clone(), value.clone());
        }
    }
    run
}

/// Whether a line without a configuration of its own has a figure under `key`.
fn is_figure(key: &str, value: &Value) -> bool {
    value.is_array() || value.is_object() || key == "date" || (value.is_number() && key != "seed")
}

/// The figures of a run by the keys of results.
pub type Figures = Map<String, Value>;

/// A run.
#[derive(Debug, Clone, Default)]
pub struct Sampled {
    /// Where it was read: the file, and the place in it.
    pub name: String,
    /// What was sent, by the names of flags: runs that differ here are not compared.
    pub load: Map<String, Value>,
    /// What else was set or found, which may explain a difference.
    pub setting: Map<String, Value>,
    /// Its requests in the order of sending, if they are known.
    pub requests: Option<Vec<Request>>,
    /// Whether it is known when they were sent and ended.
    pub timed: bool,
    /// Its figures, where requests are not known.
    pub figures: Figures,
    /// Histograms of its samples, where those are not known.
    pub histograms: Vec<(Sample, Distribution)>,
    /// When it began, in RFC 3339, if that is known.
    pub date: Option<String>,
    /// Why the client was the limit; empty if it was not.
    pub limits: Vec<String>,
    /// Why the run did not do all of its plan, if it did not.
    pub partial: Option<String>,
}

impl Sampled {
    /// Sets its requests, which need no order; `timed` says if it is known when they were sent and ended.
    pub fn set_requests(&mut self, mut requests: Vec<Request>, timed: bool) {
        self.timed = timed;
        requests.sort_by(|a, b| a.sent_s.total_cmp(&b.sent_s));
        self.requests = Some(requests);
    }

    /// Returns whether `other` is the same run, read once more or from another of its files.
    pub fn is_same_run(&self, other: &Self) -> bool {
        if self.date.is_none() || self.date != other.date || self.load != other.load {
            return false;
        }
        match (&self.requests, &other.requests) {
            (Some(one), Some(two)) => {
                let e2e = |run: &[Request]| run.iter().map(|r| r.e2e_ms).collect::<Vec<_>>();
                e2e(one) == e2e(two)
            }
            (None, None) => self.figures == other.figures,
            // One file has the requests of the run, and the other its figures.
            _ => true,
        }
    }

    /// Requests in flight at one time, in the mean.
    pub(super) fn overlapping(&self) -> usize {
        let run = self.requests.as_deref().unwrap_or_default();
        if self.timed {
            return overlapping(run.iter().map(|request| (request.sent_s, request.done_s)));
        }
        let mean = self.figures.get("concurrency").and_then(Value::as_f64).unwrap_or(1.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive, bounded"
        )]
        let mean = if mean.is_finite() { mean.ceil() as usize } else { 1 };
        mean.clamp(1, run.len().max(1))
    }

    /// The figure of `metric`, where requests are not known.
    pub(super) fn figure(&self, metric: Compared) -> Option<f64> {
        match metric {
            Compared::Success => {
                let tries = self.tries()?;
                let good = tries.iter().filter(|&&good| good).count();
                Some(good as f64 / tries.len() as f64)
            }
            Compared::Goodput => self.figures.get("slo_attainment")?.as_f64(),
            metric => self.figures.get(&metric.to_string())?.as_f64(),
        }
    }

    /// Which requests completed, in no order; `None` if that is not known.
    pub(super) fn tries(&self) -> Option<Vec<bool>> {
        let count = |key: &str| usize::try_from(self.figures.get(key)?.as_u64()?).ok();
        let (completed, sent) = (count("completed")?, count("requests")?);
        let mut tries = vec![true; completed];
        tries.resize(sent.max(completed), false);
        (!tries.is_empty()).then_some(tries)
    }
}
