//! The table and the JSONL line of SGLang's `bench_serving` 0.5.23.

mod line;
mod table;

use super::Dialect;
use crate::report::Report;

/// The dialect.
#[derive(Debug)]
pub(super) struct Sglang;

impl Dialect for Sglang {
    fn name(&self) -> &'static str {
        "sglang"
    }

    fn table(&self, report: &Report<'_>) -> String {
        table::render(report)
    }

    fn line(&self, report: &Report<'_>, details: bool) -> String {
        line::render(report, details)
    }

    fn file_name(&self, report: &Report<'_>, date: &str) -> String {
        let facts = &report.facts;
        let flag = |key: &str| facts.config.get(key).map(ToString::to_string).unwrap_or_default();
        let rest = if facts.dataset_name.starts_with("random") {
            format!("{}_{}", flag("random_input_len"), flag("random_output_len"))
        } else {
            facts.dataset_name.clone()
        };
        format!("{}_{date}_{}_{rest}.jsonl", facts.backend, flag("num_prompts"))
    }
}
