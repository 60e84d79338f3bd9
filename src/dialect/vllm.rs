//! The command line, the table and the result file of vLLM's `bench serve`, of 0.33.0.
//!
//! What its client measures wrongly (peaks by whole seconds, tokens by chunks) is measured as METHODOLOGY.md says.

mod flags;
mod random;
mod result;
mod table;

use std::path::{Path, PathBuf};

use serde_json::Value;

pub use self::flags::{Flags, Tool, spellings};
pub use self::random::Random;
use super::release::Version;
use super::{Analysed, Dialect, Mode, ResultFile, Section, Wanted};
use crate::analysis::measure::{Measure, Series};
use crate::analysis::report::{Report, RunMetadata};
use crate::workload::arrival::Rate;

/// The dialect.
#[derive(Debug)]
pub(super) struct Vllm;

/// Names of `--percentile-metrics`, what they are of, and how the table names them and titles their block.
const METRICS: &[(&str, Series, &str, &str)] = &[
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

    fn table(&self, report: &Report<'_>, _: Version) -> String {
        table::render(report)
    }

    fn has(&self, section: Section, _: Version) -> bool {
        section == Section::Goodput
    }

    fn line(&self, report: &Report<'_>, _: Version, details: bool) -> String {
        result::object(report, details) + "\n"
    }

    fn files(&self, analyses: &[Analysed<'_>], _: Version, wanted: &Wanted<'_>) -> Vec<ResultFile> {
        let of_one = |one: &Analysed<'_>| {
            let flag = |key| one.report.metadata.config.get(key).and_then(Value::as_bool);
            // A run of another command line has no such flag, and asks for the file by naming it.
            let path = wanted.file.filter(|_| flag("save_result") != Some(false))?;
            let mode =
                if flag("append_result") == Some(true) { Mode::Append } else { Mode::Replace };
            let text = result::object(one.report, wanted.details);
            Some(ResultFile { what: "result", path: path.to_owned(), text, mode })
        };
        analyses.iter().filter_map(of_one).collect()
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
        folder.join(format!("{label}-{rate}qps{cap}-{model}-{date}.json"))
    }
}

/// The entries of [`METRICS`] that the run asks for, in their order.
fn selected(
    metadata: &RunMetadata,
) -> impl Iterator<Item = &'static (&'static str, Series, &'static str, &'static str)> {
    let asked = metadata.config.get("percentile_metrics").and_then(Value::as_str);
    let asked = asked.unwrap_or(flags::METRICS).to_owned();
    METRICS.iter().filter(move |(name, ..)| asked.split(',').any(|one| one.trim() == *name))
}
