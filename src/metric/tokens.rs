//! Token totals over completed requests.
//!
//! - `total_input_tokens`: prompt tokens as the dataset counted them, images included; the text and vision tokens are its parts.
//! - `total_output_tokens`: output tokens by the best source of each request, see METHODOLOGY.md.
//! - `total_output_tokens_retokenized`: tokens of the received text by the local tokenizer, without special tokens.
//! - `server_input_tokens`: prompt tokens as the server counted them, absent if it told none.

use super::{Metric, Run, Stat, count, real};

pub(super) const METRIC: Metric = Metric { name: "tokens", stats };

fn stats(run: &Run<'_>) -> Vec<Stat> {
    let input: u64 = run.completed().map(|record| record.prompt_len as u64).sum();
    let vision: u64 = run.completed().map(|record| record.vision_len as u64).sum();
    let counted = run.records.iter().zip(run.retokenized);
    let counted = counted.filter(|(record, _)| record.completed()).map(|(_, tokens)| tokens);
    let retokenized = run.folded.map_or_else(|| counted.sum(), |folded| folded.retokenized);
    let told: Vec<u64> = run.completed().filter_map(|record| record.server_prompt_tokens).collect();
    let server = (!told.is_empty()).then(|| told.iter().sum::<u64>());
    vec![
        count("total_input_tokens", input),
        count("total_input_text_tokens", input.saturating_sub(vision)),
        count("total_input_vision_tokens", vision),
        count("total_output_tokens", total_output(run)),
        count("total_output_tokens_retokenized", retokenized),
        server
            .map_or_else(|| real("server_input_tokens", None), |n| count("server_input_tokens", n)),
    ]
}

/// Output tokens of completed requests.
pub(super) fn total_output(run: &Run<'_>) -> u64 {
    run.completed().map(crate::model::RequestRecord::output_count).sum()
}
