//! The command lines of SGLang's clients, and the table and the JSONL line of its `bench_serving`, from 0.2.15 to 0.5.23.

mod flags;
mod line;
mod offline;
pub mod one_batch;
mod reference;
mod rows;
mod sections;
mod steady_state;
mod table;

use std::path::{Path, PathBuf};

use serde_json::Value;

pub use self::flags::{
    OfflineArgs, OneBatchArgs, ServeArgs, Throughput, brief, shape, with_datasets,
};
pub use self::reference::{COMMANDS, REFERENCE, RENAMED};
use super::release::Version;
use super::{Dialect, Mode, ResultFile, Section, Wanted};
use crate::analysis::measure::Measure;
use crate::analysis::metric::{Latency, SteadyState};
use crate::analysis::{Analysis, RunMetadata};

const V0_2_15: Version = Version::new(0, 2, 15);
const V0_4_1: Version = Version::new(0, 4, 1);
const V0_4_6: Version = Version::new(0, 4, 6);
const V0_5_1: Version = Version::new(0, 5, 1);
const V0_5_6: Version = Version::new(0, 5, 6);
const V0_5_8: Version = Version::new(0, 5, 8);
const V0_5_10: Version = Version::new(0, 5, 10);
const V0_5_15: Version = Version::new(0, 5, 15);
const V0_5_23: Version = Version::new(0, 5, 23);

/// The dialect.
#[derive(Debug)]
pub(super) struct Sglang;

impl Dialect for Sglang {
    fn name(&self) -> &'static str {
        "sglang"
    }

    fn versions(&self) -> &'static [Version] {
        &[V0_2_15, V0_4_1, V0_4_6, V0_5_1, V0_5_6, V0_5_8, V0_5_10, V0_5_15, V0_5_23]
    }

    fn measures(&self, version: Version) -> Vec<Measure> {
        let of_objectives = Latency::ALL.map(Measure::SloAttainmentOf);
        let mut measures: Vec<Measure> = table::measures(version).collect();
        measures.extend(line::measures(version).chain(offline::measures()));
        measures.extend(sections::GOODPUT_FIGURES.iter().chain(sections::CACHE_FIGURES));
        measures.extend(of_objectives);
        measures
    }

    fn table(&self, report: &Analysis<'_>, version: Version) -> String {
        table::render(report, version)
    }

    fn has(&self, section: Section, version: Version) -> bool {
        table::has(section, version)
    }

    fn line(&self, report: &Analysis<'_>, version: Version, details: bool) -> String {
        line::render(report, version, details)
    }

    fn steady_state_table(&self, steady: &SteadyState) -> String {
        steady_state::table(steady)
    }

    fn files(
        &self,
        analyses: &[&Analysis<'_>],
        version: Version,
        wanted: &Wanted<'_>,
    ) -> Vec<ResultFile> {
        let append = |what, path: &Path, text| {
            let path = path.to_owned();
            ResultFile { what, path, text, mode: Mode::Append }
        };
        let of_one = |one: &&Analysis<'_>| {
            let result = wanted
                .file
                .map(|path| append("result", path, line::render(one, version, wanted.details)));
            let steady = one.steady.as_ref().zip(wanted.steady);
            let steady = steady
                .map(|(steady, path)| append("steady state", path, steady_state::line(steady)));
            result.into_iter().chain(steady)
        };
        analyses.iter().flat_map(of_one).collect()
    }

    fn offline_table(&self, report: &Analysis<'_>, last: Option<f64>) -> String {
        offline::table(report, last)
    }

    fn offline_line(&self, report: &Analysis<'_>, last: Option<f64>) -> String {
        offline::line(report, last)
    }

    fn file_name(&self, metadata: &RunMetadata, version: Version, date: &str) -> PathBuf {
        let flag = |key: &str| match metadata.config.get(key) {
            Some(Value::String(text)) => text.clone(),
            value => value.map(ToString::to_string).unwrap_or_default(),
        };
        let lengths = || format!("{}_{}", flag("random_input_len"), flag("random_output_len"));
        let rest = if metadata.dataset_name.starts_with("random") {
            lengths()
        } else if version <= V0_5_1 {
            // Whatever the dataset was.
            "sharegpt".to_owned()
        } else if metadata.dataset_name == "image" {
            let (count, resolution) = (flag("image_count"), flag("image_resolution"));
            format!("{}_{count}imgs_{resolution}", lengths())
        } else {
            metadata.dataset_name.clone()
        };
        format!("{}_{date}_{}_{rest}.jsonl", metadata.backend, flag("num_prompts")).into()
    }
}
