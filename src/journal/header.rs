//! The first line of a run, and back.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::line::Ns;
use super::{Command, Header, VERSION};
use crate::analysis::RunMetadata;
use crate::analysis::ceiling::Ceiling;
use crate::analysis::metric::Slo;
use crate::health::ClockSource;
use crate::model::VisionSource;
use crate::protocol::backend::Backend;
use crate::workload::arrival::Rate;
use crate::workload::plan::Planned;

/// The line as it is written.
#[derive(Serialize, Deserialize)]
pub(super) struct HeaderLine {
    /// Layout of the file.
    rbench_records: u64,
    /// Of the program that wrote it.
    version: String,
    command: String,
    /// Start of the run, in RFC 3339.
    date: String,
    requests: Option<u64>,
    backend: String,
    clock: String,
    endpoints: Vec<String>,
    dataset_name: String,
    request_rate: Value,
    max_concurrency: Option<usize>,
    goodput: Vec<String>,
    cache_report: bool,
    tag: Option<String>,
    model: String,
    tokenizer: String,
    seed: u64,
    vision_token_source: Option<String>,
    stall_threshold_ns: Ns,
    last_gap_ns: Ns,
    steady_state_concurrency_ratio: Option<f64>,
    ceiling: Option<Ceiling>,
    config: Map<String, Value>,
    #[serde(default, skip_serializing_if = "is_default")]
    planned: Planned,
}

/// Whether nothing was planned that has to be written down.
fn is_default(planned: &Planned) -> bool {
    *planned == Planned::default()
}

const COMMANDS: [Command; 3] = [Command::Serve, Command::Offline, Command::OneBatch];

const VISION: [VisionSource; 3] =
    [VisionSource::PatchRule, VisionSource::Server, VisionSource::Unknown];

/// The number of the layout, which is looked at before anything else.
#[derive(Deserialize)]
struct Layout {
    rbench_records: u64,
}

/// Returns whether this program reads the layout of a first line.
///
/// # Errors
/// If it does not, or there is no number; the message says so.
pub(super) fn check_layout(line: &[u8]) -> Result<(), String> {
    let layout: Layout = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    match layout.rbench_records {
        VERSION => Ok(()),
        other => {
            Err(format!("its layout is number {other}, and this rbench reads number {VERSION}"))
        }
    }
}

impl HeaderLine {
    pub(super) fn new(header: &Header) -> Self {
        let Header {
            metadata,
            backend,
            clock,
            endpoints,
            command,
            requests,
            vision,
            stall_threshold,
            last_gap,
            steady_state,
            ceiling,
        } = header;
        // Every fact is named, so that a new one is not forgotten here.
        let RunMetadata {
            // What belongs to the backend.
            backend: _,
            generates: _,
            dataset_name,
            rate,
            max_concurrency,
            slos,
            cache_report,
            tag,
            model,
            tokenizer,
            // Known after the run.
            vision_source: _,
            seed,
            date,
            config,
            planned,
        } = metadata;
        Self {
            rbench_records: VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            command: command.name().to_owned(),
            date: date.clone(),
            requests: *requests,
            backend: backend.name.to_owned(),
            clock: clock.name().to_owned(),
            endpoints: endpoints.clone(),
            dataset_name: dataset_name.clone(),
            // A rate is a number or a word.
            request_rate: serde_json::to_value(rate).unwrap_or_default(),
            max_concurrency: *max_concurrency,
            goodput: slos.iter().map(ToString::to_string).collect(),
            cache_report: *cache_report,
            tag: tag.clone(),
            model: model.clone(),
            tokenizer: tokenizer.clone(),
            seed: *seed,
            vision_token_source: vision.map(|source| source.name().to_owned()),
            stall_threshold_ns: (*stall_threshold).into(),
            last_gap_ns: (*last_gap).into(),
            steady_state_concurrency_ratio: *steady_state,
            ceiling: ceiling.clone(),
            config: config.clone(),
            planned: planned.clone(),
        }
    }

    /// Returns what the line tells.
    ///
    /// # Errors
    /// If it names something that this program does not know; the message says what.
    pub(super) fn header(self) -> Result<Header, String> {
        let command = COMMANDS.into_iter().find(|command| command.name() == self.command);
        let command = command.ok_or_else(|| format!("no command `{}`", self.command))?;
        let backend = Backend::find(&self.backend)
            .ok_or_else(|| format!("no --backend `{}`", self.backend))?;
        let vision = match &self.vision_token_source {
            None => None,
            Some(name) => Some(
                VISION
                    .into_iter()
                    .find(|source| source.name() == name)
                    .ok_or_else(|| format!("no vision_token_source `{name}`"))?,
            ),
        };
        let slos: Result<Vec<Slo>, String> = self.goodput.iter().map(|slo| slo.parse()).collect();
        let metadata = RunMetadata {
            backend: backend.name,
            generates: backend.protocol.generates(),
            dataset_name: self.dataset_name,
            rate: rate(&self.request_rate)?,
            max_concurrency: self.max_concurrency,
            slos: slos.map_err(|error| format!("goodput: {error}"))?,
            cache_report: self.cache_report,
            tag: self.tag,
            model: self.model,
            tokenizer: self.tokenizer,
            vision_source: None,
            seed: self.seed,
            date: self.date,
            config: self.config,
            planned: self.planned,
        };
        Ok(Header {
            metadata,
            backend,
            clock: clock(&self.clock)?,
            endpoints: self.endpoints,
            command,
            requests: self.requests,
            vision,
            stall_threshold: self.stall_threshold_ns.into(),
            last_gap: self.last_gap_ns.into(),
            steady_state: self.steady_state_concurrency_ratio,
            ceiling: self.ceiling,
        })
    }
}

/// The clock of that name.
///
/// # Errors
/// If there is none.
pub(super) fn clock(name: &str) -> Result<ClockSource, String> {
    let clocks = [ClockSource::Kernel, ClockSource::User];
    let clock = clocks.into_iter().find(|clock| clock.name() == name);
    clock.ok_or_else(|| format!("clock is `{name}`, and not kernel or user"))
}

fn rate(value: &Value) -> Result<Rate, String> {
    let wrong =
        || format!("request_rate is {value}, and not a number above 0, \"inf\" or \"trace\"");
    match value {
        Value::Number(number) => {
            let rate = number.as_f64().filter(|rate| *rate > 0.0).ok_or_else(wrong)?;
            Ok(Rate::PerSecond(rate))
        }
        Value::String(word) if word == "inf" => Ok(Rate::Unlimited),
        Value::String(word) if word == "trace" => Ok(Rate::Trace),
        _ => Err(wrong()),
    }
}
