//! Batches of prompts, each sent in one request.

use std::path::PathBuf;

use super::{Job, Keys, Serve, files_differ, resolve, usage};
use crate::error::Error;
use crate::protocol::backend::{self, Backend};
use crate::protocol::batch::{MOST, Shape, Wire};
use crate::workload::dataset::{self, Dataset};

/// Batches as a dialect asks for them.
#[derive(Debug)]
pub struct Batches {
    /// The servers, and what requests have in common.
    pub job: Job,
    /// Numbers of prompts, one case each.
    pub batch_sizes: Vec<usize>,
    /// Lengths of prompts in tokens, one case each.
    pub input_lens: Vec<usize>,
    /// Lengths of answers in tokens, one case each.
    pub output_lens: Vec<usize>,
    /// Lengths of prompts in turn, instead of those of the cases; may be empty.
    pub lengths: Vec<usize>,
    /// A file with the prompt of all requests.
    pub fixed_prompt: Option<PathBuf>,
    /// Whether prompts go through the chat template.
    pub template: bool,
    /// Shape of prompts with a shared prefix.
    pub shared: SharedPrefix,
    /// What share of each prompt is cached first, from 0 to 1.
    pub cache_share: f64,
    /// Whether batches may exceed what the server runs at one time.
    pub multi_batch: bool,
    /// Whether batches are left out for which the server has no room.
    pub capacity_check: bool,
    /// Whether SGLang is to handle the prompts of a batch side by side.
    pub parallel: bool,
    /// Steps of the server for each event.
    pub stream_interval: usize,
    /// Whether a batch of each size is sent first.
    pub warm_up: bool,
    /// Whether the storage of the hierarchical cache is emptied too.
    pub flush_storage: bool,
    /// A name in the result.
    pub run_name: String,
    /// File for the result.
    pub result_file: PathBuf,
    /// What is written of all batches together.
    pub reports: Reports,
}

/// What is written of all batches of a run together.
#[derive(Debug, Clone, Default)]
pub struct Reports {
    /// Whether the table is printed.
    pub table: bool,
    /// Whether the table is appended to the summary of the step of a workflow, if it has one.
    pub summary: bool,
    /// What an hour of one GPU costs, in $.
    pub hour: f64,
    /// File for a list of all batches.
    pub list: Option<PathBuf>,
    /// How the server was started, for that list.
    pub server_args: Option<Vec<String>>,
}

/// Shape of prompts with a shared prefix.
#[derive(Debug, Clone, Copy)]
pub struct SharedPrefix {
    /// Groups with one system prompt each.
    pub groups: usize,
    /// Tokens of each system prompt.
    pub system_prompt_len: usize,
    /// Tokens of each question.
    pub question_len: usize,
    /// Tokens of each answer.
    pub output_len: usize,
}

impl Batches {
    /// The source of the prompts of a batch of one shape.
    ///
    /// # Errors
    /// If the dataset does not take these numbers.
    fn dataset(&self, shape: Shape) -> Result<dataset::Spec, String> {
        let Shape { batch_size, input_len, output_len } = shape;
        let groups = self.shared.groups.min(batch_size);
        let name = self.name();
        match name {
            name if is_sized(name) => dataset::Spec::named(
                name,
                [
                    ("random_input_len", input_len),
                    ("random_output_len", output_len),
                    ("random_range_ratio", 1),
                ],
            ),
            "generated-shared-prefix" => dataset::Spec::named(
                name,
                [
                    ("gsp_num_groups", groups),
                    ("gsp_prompts_per_group", batch_size.div_ceil(groups)),
                    ("gsp_system_prompt_len", self.shared.system_prompt_len),
                    ("gsp_question_len", self.shared.question_len),
                    ("gsp_output_len", self.shared.output_len),
                ],
            ),
            _ => dataset::Spec::named(name, []),
        }
    }

    /// The name of the dataset.
    fn name(&self) -> &str {
        &self.job.spec.prompts.dataset_name
    }
}

/// A run of `rbench one-batch` with nothing left to look up.
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
    /// What is written of all batches together.
    pub reports: Reports,
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

/// The form of the batches of `--backend NAME`.
///
/// # Errors
/// If its endpoint takes no batches.
fn wire_of(name: &str) -> Result<Wire, Error> {
    let wire = Backend::find(name).and_then(|backend| backend.batch);
    wire.ok_or_else(|| {
        let able = backend::ALL.iter().filter(|backend| backend.batch.is_some());
        let able: Vec<&str> = able.map(|backend| backend.name).collect();
        usage(format!("--backend {name} does not take the prompts of a batch in one request"))
            .hint(format!("use --backend {}", able.join(" or ")))
    })
}

/// A batch that is to be sent.
#[derive(Debug)]
pub struct Planned {
    /// What is asked for; lengths of recorded prompts are found later.
    pub shape: Shape,
    /// Where the prompts come from.
    pub dataset: Box<dyn Dataset>,
}

/// Whether the prompts of this dataset are token ids, as many as a batch asks for.
pub fn is_sized(dataset: &str) -> bool {
    matches!(dataset, "random" | "random-ids" | "corpus")
}

/// Lengths of the warm-up, in tokens.
const WARM_UP: (usize, usize) = (1024, 16);

/// Resolves batches; `mock` is the address of the server that is started for them.
///
/// # Errors
/// If values contradict each other, or do not apply to the backend or the dataset.
pub fn resolve_batches(
    mut batches: Batches,
    keys: &Keys,
    mock: Option<&str>,
) -> Result<OneBatch, Error> {
    let wire = wire_of(&batches.job.spec.servers.backend)?;
    check(&batches, wire)?;
    files(&batches)?;
    let planned = |batch_size, input_len, output_len| -> Result<Planned, Error> {
        let shape = Shape { batch_size, input_len, output_len };
        let dataset = batches.dataset(shape).and_then(|spec| spec.build()).map_err(|error| {
            let reason = error.lines().next().unwrap_or_default();
            usage(format!("--dataset-name {}: {reason}", batches.name()))
        })?;
        Ok(Planned { shape, dataset })
    };
    let shared = batches.name() == "generated-shared-prefix";
    let output_lens =
        if shared { vec![batches.shared.output_len] } else { batches.output_lens.clone() };
    let mut cases = Vec::new();
    for &batch_size in &batches.batch_sizes {
        for &input_len in &batches.input_lens {
            for &output_len in &output_lens {
                cases.push(planned(batch_size, input_len, output_len)?);
            }
        }
    }
    let mut sizes = if batches.warm_up { batches.batch_sizes.clone() } else { Vec::new() };
    sizes.sort_unstable();
    sizes.dedup();
    let warm_ups = sizes.into_iter().map(|size| planned(size, WARM_UP.0, WARM_UP.1));
    let warm_ups = warm_ups.collect::<Result<_, _>>()?;
    let spec = &mut batches.job.spec;
    let temperature = spec.requests.temperature;
    spec.load.num_prompts = batches.batch_sizes.iter().copied().max().unwrap_or(1);
    // A file's prompt is templated where it is read.
    spec.prompts.apply_chat_template = batches.template && batches.fixed_prompt.is_none();
    // The lengths are those of the cases; a random text is cut to its length as token ids.
    let one = Shape { batch_size: 1, input_len: 1, output_len: 1 };
    batches.job.source = Some(batches.dataset(one).and_then(|spec| spec.build()).map_err(usage)?);
    let serve = resolve(batches.job, keys, mock)?;
    Ok(OneBatch {
        wire,
        warm_ups,
        cases,
        lengths: batches.lengths,
        fixed_prompt: batches.fixed_prompt,
        template: batches.template,
        cache_share: batches.cache_share,
        multi_batch: batches.multi_batch,
        capacity_check: batches.capacity_check,
        temperature: temperature.unwrap_or(0.0),
        parallel: batches.parallel,
        stream_interval: batches.stream_interval,
        flush_storage: batches.flush_storage,
        run_name: batches.run_name,
        result_file: batches.result_file,
        reports: batches.reports,
        input_lens: batches.input_lens,
        output_lens,
        serve,
    })
}

/// Checks that the files of a run differ.
fn files(batches: &Batches) -> Result<(), Error> {
    let Job { spec, launch, .. } = &batches.job;
    files_differ(&[
        ("--result-filename", Some(&batches.result_file)),
        ("--pydantic-result-filename", batches.reports.list.as_deref()),
        ("--records", spec.outputs.records.as_deref()),
        ("--launch-log", launch.as_ref().and_then(|launch| launch.log.as_deref())),
        ("--dataset-path", spec.prompts.dataset_path.as_deref()),
        ("--fixed-prompt-file", batches.fixed_prompt.as_deref()),
        ("--api-key-file", spec.connection.api_key_file.as_deref()),
    ])
}

/// Refuses what does not go together, or with batches of the form `wire`.
fn check(batches: &Batches, wire: Wire) -> Result<(), Error> {
    let requests = &batches.job.spec.requests;
    if let Some(&size) = batches.batch_sizes.iter().find(|&&size| size > MOST) {
        return Err(usage(format!(
            "--batch-size {size} is above {MOST}, the most prompts that one request can hold"
        )));
    }
    let name = batches.name();
    let fixed = batches.fixed_prompt.is_some();
    let recorded = matches!(name, "sharegpt" | "custom") && !fixed;
    let shared = name == "generated-shared-prefix" && !fixed;
    let random = is_sized(name) && !fixed;
    let backend = &batches.job.spec.servers.backend;
    let counts_events = wire == Wire::Generate;
    for (flag, given) in [
        ("--disable-ignore-eos", !requests.ignore_eos),
        ("--parallel-batch", batches.parallel),
        ("--client-stream-interval", batches.stream_interval != 1),
        ("--flush-hicache-storage", batches.flush_storage),
        ("--lora-name", !requests.lora_name.is_empty()),
    ] {
        if given && !counts_events {
            return Err(usage(format!("{flag} does not apply to --backend {backend}"))
                .hint("it is for SGLang's /generate, whose events count tokens"));
        }
    }
    if recorded && !counts_events {
        return Err(usage(format!("--dataset-name {name} does not apply to --backend {backend}"))
            .hint(
                "its answers may end early, and the events of this backend do not count tokens",
            ));
    }
    if !requests.ignore_eos && requests.fake_prefill {
        return Err(usage("--disable-ignore-eos does not apply to --fake-prefill".to_owned())
            .hint("without a prefill it says nothing when an answer would end"));
    }
    if !requests.ignore_eos && batches.stream_interval != 1 {
        return Err(usage(
            "--disable-ignore-eos does not apply to --client-stream-interval above 1".to_owned(),
        )
        .hint("tokens at the ends of the full batch could not be kept apart"));
    }
    if !batches.lengths.is_empty() && !random {
        return Err(usage(format!("--input-len-list does not apply to --dataset-name {name}"))
            .hint("it sizes prompts of random, random-ids and corpus"));
    }
    if batches.template && !recorded && !fixed {
        return Err(usage(format!(
            "--apply-chat-template does not apply to --dataset-name {name}"
        ))
        .hint("it applies to sharegpt, custom and --fixed-prompt-file"));
    }
    if (recorded || shared) && batches.input_lens.len() > 1 {
        return Err(usage(format!(
            "several values of --input-len do not apply to --dataset-name {name}, whose prompts have lengths of their own"
        )));
    }
    if shared && batches.output_lens.len() > 1 {
        return Err(usage(
            "several values of --output-len do not apply to --dataset-name generated-shared-prefix"
                .to_owned(),
        )
        .hint("--gsp-output-len has the length of its answers"));
    }
    if name == "custom" && !fixed && batches.job.spec.prompts.dataset_path.is_none() {
        return Err(usage("--dataset-name custom needs --dataset-path".to_owned()));
    }
    Ok(())
}
