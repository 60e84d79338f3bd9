//! The flags of `rbench offline`: those of `serve` that make sense when everything is sent at once, and a few more.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command};

use super::{FLOW, OUTPUT, ServeArgs};
use crate::config::Job;
use crate::workload::dataset;

/// The flags of `serve` that `offline` has too.
const TAKES: &[&str] = &[
    "backend",
    "base_url",
    "balance",
    "host",
    "port",
    "model",
    "served_model_name",
    "tokenizer",
    "header",
    "mock",
    "launch",
    "launch_log",
    "launch_grace_sec",
    "api_key_file",
    "cacert",
    "cert",
    "key",
    "insecure",
    "no_proxy",
    "http_version",
    "ready_check_timeout_sec",
    "num_prompts",
    "max_concurrency",
    "seed",
    "worker_threads",
    "dataset_name",
    "dataset_path",
    "tokenize_prompt",
    "apply_chat_template",
    "prompt_suffix",
    "skip_bad_rows",
    "allow_repeat",
    "disable_ignore_eos",
    "temperature",
    "top_p",
    "return_logprob",
    "logprob_start_len",
    "extra_request_body",
    "flush_cache",
    "flush_cache_timeout",
    "profile",
    "profile_activities",
    "profile_start_step",
    "profile_steps",
    "profile_num_steps",
    "profile_by_stage",
    "profile_stages",
    "profile_output_dir",
    "profile_prefix",
    "output_file",
    "records",
    "low_memory",
    "failed_file",
    "disable_tqdm",
];

/// The flags.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct OfflineArgs {
    /// Those of `serve`.
    #[command(flatten)]
    pub serve: ServeArgs,
    /// JSONL file to append the result to; --output-file is another name for it [default: none]
    #[arg(long, value_name = "FILE", conflicts_with = "output_file", help_heading = OUTPUT)]
    pub result_filename: Option<PathBuf>,
    /// Send no warm-up, which is up to 16 prompts of 256 tokens for 16 tokens each
    #[arg(long, help_heading = FLOW)]
    pub skip_warmup: bool,
}

/// What `rbench offline` is asked for.
#[derive(Debug)]
pub struct OfflineInput {
    /// The run.
    pub job: Job,
    /// File for the result.
    pub result_file: Option<PathBuf>,
    /// Prompts of the warm-up, if there is to be one.
    pub warm_up: Option<dataset::Spec>,
}

/// The names of the flags of `serve`.
fn names_of_serve() -> Vec<String> {
    let serve = ServeArgs::augment_args(Command::new("serve"));
    serve.get_arguments().map(|arg| arg.get_id().to_string()).collect()
}

/// Hides the flags that have no meaning here.
pub(super) fn trim(command: Command) -> Command {
    let names = names_of_serve();
    let flag = |name: &str| names.iter().any(|known| known == name) && !TAKES.contains(&name);
    command
        .mut_args(|arg| {
            let hidden = flag(arg.get_id().as_str()) || arg.is_hide_set();
            arg.hide(hidden)
        })
        .mut_arg("num_prompts", |arg| arg.help("Number of requests, all sent at once"))
        .mut_arg("output_file", |arg| {
            arg.help("JSONL file to append the result to [default: none]")
        })
}

/// Checks the args and finds the prompts of the warm-up.
pub(super) fn args(
    args: OfflineArgs,
    matches: &ArgMatches,
    command: &mut Command,
    notes: Vec<String>,
) -> Result<OfflineInput, clap::Error> {
    for name in names_of_serve() {
        if TAKES.contains(&name.as_str())
            || matches.value_source(&name) != Some(ValueSource::CommandLine)
        {
            continue;
        }
        let flag = name.replace('_', "-");
        let message = format!(
            "--{flag} does not apply to `rbench offline`, which sends everything at once and is after throughput alone; `rbench serve` has it"
        );
        return Err(command.error(ErrorKind::UnknownArgument, message));
    }
    let OfflineArgs { serve, result_filename, skip_warmup } = args;
    let result_file = result_filename.or_else(|| serve.output_file.clone());
    let warm_up = (!skip_warmup).then(warm_up).transpose()?;
    Ok(OfflineInput { job: super::serve(serve, matches, notes)?, result_file, warm_up })
}

/// Prompts of 256 tokens for answers of 16.
fn warm_up() -> Result<dataset::Spec, clap::Error> {
    let params = [("random_input_len", 256), ("random_output_len", 16), ("random_range_ratio", 1)];
    dataset::Spec::named("random-ids", params)
        .map_err(|error| clap::Error::raw(ErrorKind::Io, format!("{error}\n")))
}
