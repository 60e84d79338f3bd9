//! The meaning of the args of `rbench one-batch`.

use std::path::PathBuf;

use super::{Keys, Serve, files_differ, resolve, usage};
use crate::cli::one_batch::{OneBatchArgs, OneBatchInput};
use crate::error::Error;
use crate::protocol::batch::{MOST, Shape, Wire};
use crate::workload::dataset::Dataset;

/// A run of `rbench one-batch`.
#[derive(Debug)]
pub struct OneBatch {
    /// The server, the tokenizer, and what `serve` would do with the same flags.
    pub serve: Serve,
    /// The form of the endpoint.
    pub wire: Wire,
    /// Batches that are sent first and not reported.
    pub warm_ups: Vec<Planned>,
    /// Batches that are measured.
    pub cases: Vec<Planned>,
    /// Lengths of prompts in turn, instead of those of the cases.
    pub lengths: Vec<usize>,
    /// A file with the prompt of all requests.
    pub fixed_prompt: Option<PathBuf>,
    /// Whether prompts of that file go through the chat template.
    pub template: bool,
    /// What share of each prompt is cached first.
    pub cache_share: f64,
    /// Whether batches may exceed what the server runs at one time.
    pub multi_batch: bool,
    /// Whether batches are left out for which the server has no room.
    pub capacity_check: bool,
    /// Temperature; 0 is greedy.
    pub temperature: f64,
    /// Whether SGLang is to handle the prompts of a batch side by side.
    pub parallel: bool,
    /// Steps of the server for each event.
    pub stream_interval: usize,
    /// Whether the storage of the hierarchical cache is emptied too.
    pub flush_storage: bool,
    /// A name in the result.
    pub run_name: String,
    /// File for the result.
    pub result_file: PathBuf,
    /// The table at the end, if there is to be one: what an hour of one GPU costs, in $.
    pub report: Option<f64>,
    /// `--input-len`, in its order.
    pub input_lens: Vec<usize>,
    /// `--output-len`, in its order.
    pub output_lens: Vec<usize>,
}

impl OneBatch {
    /// Returns where the prompts come from, by name.
    pub fn dataset_name(&self) -> &str {
        if self.fixed_prompt.is_some() { "fixed-prompt-file" } else { &self.serve.dataset_name }
    }
}

/// The form of the endpoint of `--backend NAME`.
pub fn wire_of(backend: &str) -> Wire {
    if backend == "vllm" { Wire::Completions } else { Wire::Generate }
}

/// A batch that is to be sent.
#[derive(Debug)]
pub struct Planned {
    /// What is asked for; lengths of recorded prompts are found later.
    pub shape: Shape,
    /// Where the prompts come from.
    pub dataset: Box<dyn Dataset>,
}

/// Lengths of the warm-up, in tokens.
const WARM_UP: (usize, usize) = (1024, 16);

/// Resolves the input of `rbench one-batch`; `mock` is the address of the server that `--mock` has started.
///
/// # Errors
/// If flags contradict each other, or do not apply to the backend or the dataset.
pub fn resolve_one_batch(
    input: OneBatchInput,
    keys: &Keys,
    mock: Option<&str>,
) -> Result<OneBatch, Error> {
    let args = input.args;
    check(&args)?;
    files_differ(&[
        ("--result-filename", Some(&args.result_filename)),
        ("--records", args.records.as_deref()),
        ("--launch-log", args.launching.launch_log.as_deref()),
        ("--dataset-path", args.dataset_path.as_deref()),
        ("--fixed-prompt-file", args.fixed_prompt_file.as_deref()),
        ("--api-key-file", args.connection.api_key_file.as_deref()),
    ])?;
    let defect = |error: String| {
        let reason = error.lines().next().unwrap_or_default();
        usage(format!("--dataset-name {}: {reason}", args.dataset_name))
    };
    let serve = resolve(args.serve_words().map_err(defect)?, keys, mock)?;
    let planned = |batch_size, input_len, output_len| -> Result<Planned, Error> {
        let dataset = args.dataset(batch_size, input_len, output_len).map_err(defect)?;
        Ok(Planned { shape: Shape { batch_size, input_len, output_len }, dataset })
    };
    let shared = args.dataset_name == "generated-shared-prefix";
    let output_lens = if shared { vec![args.gsp_output_len] } else { args.output_len.clone() };
    let mut cases = Vec::new();
    for &batch_size in &args.batch_size {
        for &input_len in &args.input_len {
            for &output_len in &output_lens {
                cases.push(planned(batch_size, input_len, output_len)?);
            }
        }
    }
    let mut sizes = if args.skip_warmup { Vec::new() } else { args.batch_size.clone() };
    sizes.sort_unstable();
    sizes.dedup();
    let warm_ups = sizes.into_iter().map(|size| planned(size, WARM_UP.0, WARM_UP.1));
    let warm_ups = warm_ups.collect::<Result<_, _>>()?;
    Ok(OneBatch {
        wire: wire_of(&args.backend),
        warm_ups,
        cases,
        lengths: args.input_len_list.map(|lengths| lengths.0).unwrap_or_default(),
        fixed_prompt: args.fixed_prompt_file,
        template: args.apply_chat_template,
        cache_share: args.cache_hit_rate,
        multi_batch: args.enable_multi_batch,
        capacity_check: !args.skip_token_capacity_check,
        temperature: args.temperature,
        parallel: args.parallel_batch,
        stream_interval: args.client_stream_interval,
        flush_storage: args.flush_hicache_storage,
        run_name: args.run_name,
        result_file: args.result_filename,
        report: args.show_report.then_some(args.cost_per_gpu_hour),
        input_lens: args.input_len,
        output_lens,
        serve,
    })
}

/// Refuses what does not go together.
fn check(args: &OneBatchArgs) -> Result<(), Error> {
    if let Some(&size) = args.batch_size.iter().find(|&&size| size > MOST) {
        return Err(usage(format!(
            "--batch-size {size} is above {MOST}, the most prompts that one request can hold"
        )));
    }
    let name = args.dataset_name.as_str();
    let fixed = args.fixed_prompt_file.is_some();
    let recorded = matches!(name, "sharegpt" | "custom") && !fixed;
    let shared = name == "generated-shared-prefix" && !fixed;
    let random = matches!(name, "random" | "random-ids") && !fixed;
    let vllm = args.backend == "vllm";
    for (flag, given) in [
        ("--disable-ignore-eos", args.disable_ignore_eos),
        ("--parallel-batch", args.parallel_batch),
        ("--client-stream-interval", args.client_stream_interval != 1),
        ("--flush-hicache-storage", args.flush_hicache_storage),
        ("--lora-name", !args.lora_name.is_empty()),
    ] {
        if vllm && given {
            return Err(usage(format!("{flag} does not apply to --backend vllm"))
                .hint("it is for SGLang's /generate, whose events count tokens"));
        }
    }
    if vllm && recorded {
        return Err(usage(format!("--dataset-name {name} does not apply to --backend vllm"))
            .hint("its answers may end early, and events of vLLM do not count tokens"));
    }
    if args.disable_ignore_eos && args.fake_prefill {
        return Err(usage("--disable-ignore-eos does not apply to --fake-prefill".to_owned())
            .hint("without a prefill it says nothing when an answer would end"));
    }
    if args.disable_ignore_eos && args.client_stream_interval != 1 {
        return Err(usage(
            "--disable-ignore-eos does not apply to --client-stream-interval above 1".to_owned(),
        )
        .hint("tokens at the ends of the full batch could not be kept apart"));
    }
    if args.input_len_list.is_some() && !random {
        return Err(usage(format!("--input-len-list does not apply to --dataset-name {name}"))
            .hint("it sizes prompts of random and random-ids"));
    }
    if args.apply_chat_template && !recorded && !fixed {
        return Err(usage(format!(
            "--apply-chat-template does not apply to --dataset-name {name}"
        ))
        .hint("it applies to sharegpt, custom and --fixed-prompt-file"));
    }
    if (recorded || shared) && args.input_len.len() > 1 {
        return Err(usage(format!(
            "several values of --input-len do not apply to --dataset-name {name}, whose prompts have lengths of their own"
        )));
    }
    if shared && args.output_len.len() > 1 {
        return Err(usage(
            "several values of --output-len do not apply to --dataset-name generated-shared-prefix"
                .to_owned(),
        )
        .hint("--gsp-output-len has the length of its answers"));
    }
    if name == "custom" && !fixed && args.dataset_path.is_none() {
        return Err(usage("--dataset-name custom needs --dataset-path".to_owned()));
    }
    Ok(())
}
