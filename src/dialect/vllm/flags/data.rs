//! Flags of where prompts come from.

#![allow(clippy::doc_markdown, reason = "these are texts for terminals")]

use std::path::PathBuf;

use clap::Args;

use super::values::{Buckets, HalfWidths, Limits, count};

const HEADING: &str = "Dataset";

/// Values of `--dataset-name`, the names that rbench cannot use among them.
pub const NAMES: [&str; 15] = [
    "random",
    "random-mm",
    "random-rerank",
    "prefix_repetition",
    "sharegpt",
    "custom",
    "custom_image",
    "custom_mm",
    "custom_audio",
    "sonnet",
    "burstgpt",
    "timed_trace",
    "hf",
    "spec_bench",
    "speed_bench",
];

/// Flags of where prompts come from.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Data {
    /// Source of prompts
    #[arg(long, value_name = "NAME", default_value = "random", value_parser = clap::builder::PossibleValuesParser::new(NAMES), help_heading = HEADING)]
    pub dataset_name: String,
    /// File, folder or data set of the Hub
    #[arg(long, value_name = "PATH|ID", help_heading = HEADING)]
    pub dataset_path: Option<PathBuf>,
    /// Like --random-input-len, and wins
    #[arg(long, value_name = "TOKENS", help_heading = HEADING)]
    pub input_len: Option<usize>,
    /// Output tokens of each request, whatever the dataset
    #[arg(long, value_name = "TOKENS", help_heading = HEADING)]
    pub output_len: Option<usize>,
    /// Use no row of a file twice
    #[arg(long, help_heading = HEADING)]
    pub no_oversample: bool,
    /// Keep the order of a file
    #[arg(long, help_heading = HEADING)]
    pub disable_shuffle: bool,
    /// Not needed: files of the Hub are downloaded whole
    #[arg(long, hide = true)]
    pub no_stream: bool,

    /// Mean prompt tokens (random, random-mm, random-rerank)
    #[arg(long, value_name = "TOKENS", default_value_t = 1024, help_heading = HEADING)]
    pub random_input_len: usize,
    /// Mean output tokens
    #[arg(long, value_name = "TOKENS", default_value_t = 128, help_heading = HEADING)]
    pub random_output_len: usize,
    /// How far lengths lie from their means at most, as a share of the mean from 0 to below 1, or
    /// {"input": R, "output": R}
    #[arg(long, value_name = "RATIO", default_value = "0.0", help_heading = HEADING)]
    pub random_range_ratio: HalfWidths,
    /// Tokens that all prompts begin with, beside --random-input-len
    #[arg(long, value_name = "TOKENS", default_value_t = 0, help_heading = HEADING)]
    pub random_prefix_len: usize,
    /// Prompts of one request (embeddings, pooling, rerank)
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count, help_heading = HEADING)]
    pub random_batch_size: usize,
    /// The model of random-rerank reads query and documents one by one
    #[arg(long, help_heading = HEADING)]
    pub no_reranker: bool,
    /// Mean images of a request (random-mm)
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = HEADING)]
    pub random_mm_base_items_per_request: usize,
    /// How far that varies, from 0 to 1
    #[arg(long, value_name = "RATIO", default_value_t = 0.0, value_parser = share, help_heading = HEADING)]
    pub random_mm_num_mm_items_range_ratio: f64,
    /// Media of a request at most
    #[arg(long, value_name = "JSON", default_value = r#"{"image": 255, "video": 1}"#, help_heading = HEADING)]
    pub random_mm_limit_mm_per_prompt: Limits,
    /// Sizes of images with their weights
    #[arg(long, value_name = "{(H, W, 1): P, ...}", default_value = "{(256, 256, 1): 0.5, (720, 1280, 1): 0.5, (720, 1280, 16): 0.0}", help_heading = HEADING)]
    pub random_mm_bucket_config: Buckets,

    /// Tokens that prompts share (prefix_repetition)
    #[arg(long, value_name = "TOKENS", default_value_t = 256, help_heading = HEADING)]
    pub prefix_repetition_prefix_len: usize,
    /// Tokens behind them
    #[arg(long, value_name = "TOKENS", default_value_t = 256, help_heading = HEADING)]
    pub prefix_repetition_suffix_len: usize,
    /// How many beginnings there are
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = count, help_heading = HEADING)]
    pub prefix_repetition_num_prefixes: usize,
    /// Output tokens
    #[arg(long, value_name = "TOKENS", default_value_t = 128, help_heading = HEADING)]
    pub prefix_repetition_output_len: usize,

    /// Output tokens instead of the length of the answer (sharegpt)
    #[arg(long, value_name = "TOKENS", help_heading = HEADING)]
    pub sharegpt_output_len: Option<usize>,
    /// Output tokens; -1 for those that each row names (custom)
    #[arg(long, value_name = "TOKENS", default_value_t = 256, allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(-1..), help_heading = HEADING)]
    pub custom_output_len: i64,
    /// Send images of files with the request instead of naming the files (custom_image)
    #[arg(long, help_heading = HEADING)]
    pub custom_ensure_client_side_data: bool,
    /// Output tokens (spec_bench)
    #[arg(long, value_name = "TOKENS", default_value_t = 256, help_heading = HEADING)]
    pub spec_bench_output_len: usize,
    /// Only rows of this category
    #[arg(long, value_name = "NAME", help_heading = HEADING)]
    pub spec_bench_category: Option<String>,
    /// Which file of the folder (speed_bench)
    #[arg(long, alias = "speed-bench-config", value_name = "NAME", default_value = "qualitative", value_parser = ["qualitative", "throughput_1k", "throughput_2k", "throughput_8k", "throughput_16k", "throughput_32k"], help_heading = HEADING)]
    pub speed_bench_dataset_subset: String,
    /// Output tokens
    #[arg(long, value_name = "TOKENS", default_value_t = 4096, help_heading = HEADING)]
    pub speed_bench_output_len: usize,
    /// Only rows of this category
    #[arg(long, value_name = "NAME", help_heading = HEADING)]
    pub speed_bench_category: Option<String>,
    /// Prompt tokens (sonnet)
    #[arg(long, value_name = "TOKENS", default_value_t = 550, help_heading = HEADING)]
    pub sonnet_input_len: usize,
    /// Output tokens
    #[arg(long, value_name = "TOKENS", default_value_t = 150, help_heading = HEADING)]
    pub sonnet_output_len: usize,
    /// Tokens of the lines that prompts share
    #[arg(long, value_name = "TOKENS", default_value_t = 200, help_heading = HEADING)]
    pub sonnet_prefix_len: usize,

    /// Tokens of each hash id (timed_trace)
    #[arg(long, value_name = "TOKENS", default_value_t = 16, value_parser = count, help_heading = HEADING)]
    pub timed_trace_chunk_hash_size: usize,
    /// Seconds of a unit of the trace's times
    #[arg(long, value_name = "X", default_value_t = 1.0, help_heading = HEADING)]
    pub timed_trace_sec_multiplier: f64,
    /// Name of the time
    #[arg(long, value_name = "KEY", default_value = "timestamp", help_heading = HEADING)]
    pub timed_trace_label_timestamp: String,
    /// Name of the prompt tokens
    #[arg(long, value_name = "KEY", default_value = "input_length", help_heading = HEADING)]
    pub timed_trace_label_input_length: String,
    /// Name of the output tokens
    #[arg(long, value_name = "KEY", default_value = "output_length", help_heading = HEADING)]
    pub timed_trace_label_output_length: String,
    /// Name of the hash ids
    #[arg(long, value_name = "KEY", default_value = "hash_ids", help_heading = HEADING)]
    pub timed_trace_label_hash_ids: String,

    /// Part of a data set of the Hub (hf)
    #[arg(long, value_name = "NAME", help_heading = HEADING)]
    pub hf_subset: Option<String>,
    /// Split
    #[arg(long, value_name = "NAME", help_heading = HEADING)]
    pub hf_split: Option<String>,
    /// Name on the Hub of a data set that --dataset-path has as a file
    #[arg(long, value_name = "ID", help_heading = HEADING)]
    pub hf_name: Option<String>,
    /// Output tokens
    #[arg(long, value_name = "TOKENS", help_heading = HEADING)]
    pub hf_output_len: Option<usize>,
    /// Column of prompts [default: found by the names that such columns have]
    #[arg(long, value_name = "NAME", help_heading = HEADING)]
    pub hf_text_column: Option<String>,

    /// Cannot be chosen: rbench has no data set with tools
    #[arg(long, hide = true, value_name = "NAME,...")]
    pub bfcl_categories: Option<String>,
    /// Cannot be chosen: rbench has no data set of edits
    #[arg(long, hide = true, value_name = "X")]
    pub blazedit_min_distance: Option<f64>,
    /// Cannot be chosen: rbench has no data set of edits
    #[arg(long, hide = true, value_name = "X")]
    pub blazedit_max_distance: Option<f64>,
    /// Cannot be chosen: rbench has no data set of speech
    #[arg(long, hide = true, value_name = "SECONDS")]
    pub asr_min_audio_len_sec: Option<f64>,
    /// Cannot be chosen: rbench has no data set of speech
    #[arg(long, hide = true, value_name = "SECONDS")]
    pub asr_max_audio_len_sec: Option<f64>,
}

fn share(text: &str) -> Result<f64, String> {
    let ratio = text.trim().parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or_else(|| "must be a number from 0 to 1".to_owned())
}

/// The datasets that read a flag, by the beginning of its name; `None` if all do.
pub fn readers(flag: &str) -> Option<&'static [&'static str]> {
    const CUSTOM: &[&str] = &["custom", "custom_image", "custom_mm", "custom_audio"];
    const OUTPUT: &[&str] = &[
        "random",
        "random-mm",
        "prefix_repetition",
        "sharegpt",
        "custom",
        "custom_image",
        "custom_mm",
        "custom_audio",
        "sonnet",
        "hf",
        "spec_bench",
    ];
    const READERS: [(&str, &[&str]); 16] = [
        ("output-len", OUTPUT),
        ("input-len", &["random", "random-mm", "random-rerank", "sonnet"]),
        ("random-input-len", &["random", "random-mm", "random-rerank"]),
        ("random-output-len", &["random", "random-mm"]),
        ("random-prefix-len", &["random", "random-mm"]),
        ("random-range-ratio", &["random", "random-mm", "random-rerank"]),
        ("random-mm-", &["random-mm"]),
        ("prefix-repetition-", &["prefix_repetition"]),
        ("sharegpt-output-len", &["sharegpt"]),
        ("custom-output-len", CUSTOM),
        ("custom-ensure-client-side-data", &["custom_image", "custom_mm"]),
        ("spec-bench-", &["spec_bench"]),
        ("speed-bench-", &["speed_bench"]),
        ("sonnet-", &["sonnet"]),
        ("timed-trace-", &["timed_trace"]),
        ("hf-", &["hf"]),
    ];
    let of = READERS.iter().find(|(beginning, _)| flag.starts_with(beginning));
    of.map(|(_, readers)| *readers)
}

impl Data {
    /// The file of the dataset: of a folder of `speed_bench`, that of the subset.
    pub fn file(&self) -> Option<PathBuf> {
        let path = self.dataset_path.as_ref()?;
        if self.dataset_name == "speed_bench" && path.is_dir() {
            return Some(path.join(format!("{}.jsonl", self.speed_bench_dataset_subset)));
        }
        Some(path.clone())
    }
}
