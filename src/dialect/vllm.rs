//! The command line, the table and the result file of vLLM's `bench serve`, of 0.33.0.
//!
//! What its client measures wrongly (peaks by whole seconds, tokens by chunks) is measured as METHODOLOGY.md says.

pub mod args;
pub mod counters;
pub mod dataset;
pub mod flags;
mod job;
mod pytorch;
mod result;
pub mod source;
mod table;
mod totals;

use std::path::{Path, PathBuf};

use serde_json::Value;

pub use self::flags::{Flags, Tool, spellings};
use super::release::Version;
use super::{Dialect, Mode, ResultFile, Section, Wanted};
use crate::analysis::measure::{Measure, Series};
use crate::analysis::{Analysis, RunMetadata};
use crate::workload::arrival::Rate;

/// The dialect.
#[derive(Debug)]
pub(super) struct Vllm;

/// A name of `--percentile-metrics`, what it is of, and how the table names it and titles its block.
type Metric = (&'static str, Series, &'static str, &'static str);

/// The metrics that every run can have.
const METRICS: &[Metric] = &[
    ("ttft", Series::Ttft, "TTFT", "Time to First Token"),
    ("tpot", Series::Tpot, "TPOT", "Time per Output Token (excl. 1st token)"),
    ("itl", Series::EventItl, "ITL", "Inter-token Latency"),
    ("e2el", Series::E2e, "E2EL", "End-to-end Latency"),
];

impl Dialect for Vllm {
    fn name(&self) -> &'static str {
        "vllm"
    }

    fn versions(&self) -> &'static [Version] {
        const { &[Version::new(0, 33, 0)] }
    }

    fn measures(&self, _: Version) -> Vec<Measure> {
        table::measures().chain(result::measures()).collect()
    }

    fn table(&self, report: &Analysis<'_>, _: Version) -> String {
        table::render(report)
    }

    fn has(&self, section: Section, _: Version) -> bool {
        section == Section::Goodput
    }

    fn line(&self, report: &Analysis<'_>, _: Version, details: bool) -> String {
        result::object(report, details) + "\n"
    }

    fn files(
        &self,
        analyses: &[&Analysis<'_>],
        _: Version,
        wanted: &Wanted<'_>,
    ) -> Vec<ResultFile> {
        let of_one = |one: &&Analysis<'_>| {
            let flag = |key| one.metadata.config.get(key).and_then(Value::as_bool);
            // A run of another command line has no such flag, and asks for the file by naming it.
            let path = wanted.file.filter(|_| flag("save_result") != Some(false))?;
            let mode =
                if flag("append_result") == Some(true) { Mode::Append } else { Mode::Replace };
            let text = result::object(one, wanted.details);
            let result = ResultFile { what: "result", path: path.to_owned(), text, mode };
            let pytorch = flag(PYTORCH) == Some(true);
            let more = pytorch.then(|| ResultFile {
                what: "result for PyTorch's dashboard",
                path: path.with_extension("pytorch.json"),
                text: pytorch::records(one),
                mode: Mode::Replace,
            });
            Some(std::iter::once(result).chain(more))
        };
        analyses.iter().filter_map(of_one).flatten().collect()
    }

    fn file_name(&self, metadata: &RunMetadata, _: Version, _: &str) -> PathBuf {
        let text = |key| metadata.config.get(key).and_then(Value::as_str);
        let folder = Path::new(text("result_dir").unwrap_or_default());
        if let Some(name) = text("result_filename") {
            return folder.join(name);
        }
        let rate = match metadata.rate {
            // As Python writes it: `10.0`.
            Rate::PerSecond(rate) => format!("{rate:?}"),
            Rate::Unlimited | Rate::Trace => "inf".to_owned(),
        };
        let cap = metadata.max_concurrency.map(|n| format!("-concurrency{n}")).unwrap_or_default();
        let model = metadata.model.rsplit('/').next().unwrap_or_default();
        let (label, date) = (result::label(metadata), result::date(metadata));
        let number = |key| metadata.config.get(key).and_then(Value::as_f64);
        let ends = number("ramp_up_start_rps").zip(number("ramp_up_end_rps"));
        let rate = match text("ramp_up_strategy").zip(ends) {
            Some((how, (from, to))) => format!("ramp-up-{how}-{from}qps-{to}"),
            None => rate,
        };
        folder.join(format!("{label}-{rate}qps{cap}-{model}-{date}.json"))
    }
}

/// The key of the configuration that asks for the file of the dashboard of `PyTorch`.
pub const PYTORCH: &str = "save_to_pytorch_benchmark_format";

/// The metrics that the run asks for and has, in the order of the table.
fn selected(metadata: &RunMetadata) -> impl Iterator<Item = &'static Metric> {
    let asked = metadata.config.get("percentile_metrics").and_then(Value::as_str);
    let asked =
        asked.unwrap_or(if metadata.generates { flags::METRICS } else { "e2el" }).to_owned();
    let has_tokens = metadata.generates;
    METRICS.iter().filter(move |(name, series, ..)| {
        let has = has_tokens || *series == Series::E2e;
        has && asked.split(',').any(|one| one.trim() == *name)
    })
}
