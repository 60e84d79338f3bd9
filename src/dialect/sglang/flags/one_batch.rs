//! The flags of `rbench one-batch`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use clap::builder::PossibleValuesParser;

use crate::config::one_batch::{Batches, Reports, SharedPrefix};
use crate::config::values::Object;
use crate::config::{
    Before, Job, Load, LoraDistribution, Outputs, Profiling, Prompts, Requests, RunSpec, Servers,
};
use crate::flags::profile::ProfileArgs;
use crate::flags::values::{count, temperature, whole};
use crate::flags::{DATA, FLOW, LOAD, OUTPUT, REQUEST, TARGET, connection, launch};

/// Sources of prompts that can fill a batch.
const DATASETS: [&str; 7] = [
    "random",
    "random-ids",
    "corpus",
    "generated-shared-prefix",
    "sharegpt",
    "custom",
    "longbench_v2",
];

/// The flags.
#[derive(Debug, Clone, Args)]
#[group(skip)]
#[command(
    args_override_self = true,
    after_help = "Long flags may be abbreviated as long as they stay unambiguous.\n\
                  Exit codes: 0 done, 1 the run failed, 2 the command line is not usable."
)]
pub struct OneBatchArgs {
    /// Kind of server
    #[arg(long, default_value = "sglang", value_parser = PossibleValuesParser::new(["sglang", "vllm"]), value_name = "NAME", help_heading = TARGET)]
    pub backend: String,
    /// URL of the server, or unix:PATH, instead of --host and --port
    #[arg(long, value_name = "URL", help_heading = TARGET)]
    pub base_url: Option<String>,
    /// Host of the server
    #[arg(long, value_name = "HOST", default_value = "0.0.0.0", help_heading = TARGET)]
    pub host: String,
    /// Port of the server [default: that of the backend]
    #[arg(long, value_name = "PORT", help_heading = TARGET)]
    pub port: Option<u16>,
    /// Model name to send [default: the first that the server lists]
    #[arg(long, value_name = "NAME", help_heading = TARGET)]
    pub model: Option<String>,
    /// tokenizer.json, tiktoken, SentencePiece or GGUF file, a folder with one, or a Hub id [default: the one the
    /// server reports, else the model]
    #[arg(long, visible_alias = "local-tokenizer-path", value_name = "PATH|ID", help_heading = TARGET)]
    pub tokenizer: Option<String>,
    /// Start a simulated engine with bundled data and measure that
    #[arg(long, conflicts_with_all = ["base_url", "host", "port", "model"], help_heading = TARGET)]
    pub mock: bool,
    /// Flags of a server that is started for the run.
    #[command(flatten)]
    pub launching: launch::LaunchArgs,
    /// How the server is reached.
    #[command(flatten)]
    pub connection: connection::ConnectionArgs,

    /// Prompts in the request
    #[arg(long, value_name = "N", num_args = 1.., default_value = "1", value_parser = count, help_heading = LOAD)]
    pub batch_size: Vec<usize>,
    /// Tokens of each prompt
    #[arg(long, value_name = "TOKENS", num_args = 1.., default_value = "1024", value_parser = count, help_heading = LOAD)]
    pub input_len: Vec<usize>,
    /// Tokens of each answer
    #[arg(long, value_name = "TOKENS", num_args = 1.., default_value = "16", value_parser = count, help_heading = LOAD)]
    pub output_len: Vec<usize>,
    /// Tokens of the prompts of a batch, in turn, instead of --input-len (random, random-ids, corpus)
    #[arg(long, value_name = "TOKENS,...", conflicts_with = "input_len", help_heading = LOAD)]
    pub input_len_list: Option<Lengths>,
    /// The share of each prompt that is in the server's prefix cache already
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share, allow_negative_numbers = true, help_heading = LOAD)]
    pub cache_hit_rate: f64,
    /// Allow batches of more requests than the server runs at one time
    #[arg(long, help_heading = LOAD)]
    pub enable_multi_batch: bool,
    /// Do not leave out batches for which the server has no room
    #[arg(long, help_heading = LOAD)]
    pub skip_token_capacity_check: bool,
    /// Random seed
    #[arg(long, value_name = "N", default_value_t = 42, value_parser = whole::<u64>, help_heading = LOAD)]
    pub seed: u64,

    /// Source of prompts
    #[arg(long, default_value = "random", value_parser = PossibleValuesParser::new(DATASETS), value_name = "NAME", help_heading = DATA)]
    pub dataset_name: String,
    /// File of the dataset [default: downloaded from the Hub]
    #[arg(long, value_name = "PATH", help_heading = DATA)]
    pub dataset_path: Option<PathBuf>,
    /// File with a prompt for every request of a batch, instead of a dataset
    #[arg(long, value_name = "PATH", conflicts_with_all = ["dataset_name", "dataset_path", "input_len", "input_len_list"], help_heading = DATA)]
    pub fixed_prompt_file: Option<PathBuf>,
    /// Apply the tokenizer's chat template to each prompt (sharegpt, custom, --fixed-prompt-file)
    #[arg(long, help_heading = DATA)]
    pub apply_chat_template: bool,
    /// Groups of prompts with one system prompt each (generated-shared-prefix)
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count_arg(), help_heading = DATA)]
    pub gsp_num_groups: usize,
    /// Tokens of each system prompt (generated-shared-prefix)
    #[arg(long, value_name = "TOKENS", default_value_t = 2048, help_heading = DATA)]
    pub gsp_system_prompt_len: usize,
    /// Tokens of each question (generated-shared-prefix)
    #[arg(long, value_name = "TOKENS", default_value_t = 128, value_parser = count_arg(), help_heading = DATA)]
    pub gsp_question_len: usize,
    /// Tokens of each answer (generated-shared-prefix)
    #[arg(long, value_name = "TOKENS", default_value_t = 256, value_parser = count_arg(), help_heading = DATA)]
    pub gsp_output_len: usize,

    /// Temperature; 0 is greedy
    #[arg(long, value_name = "T", default_value = "0", value_parser = temperature, allow_negative_numbers = true, help_heading = REQUEST)]
    pub temperature: f64,
    /// Let generation end at an end-of-sequence token (sglang)
    #[arg(long, help_heading = REQUEST)]
    pub disable_ignore_eos: bool,
    /// Return log probabilities
    #[arg(long, help_heading = REQUEST)]
    pub return_logprob: bool,
    /// Steps of the server for each event (sglang)
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count_arg(), help_heading = REQUEST)]
    pub client_stream_interval: usize,
    /// Have the server handle the prompts of a batch side by side (sglang)
    #[arg(long, help_heading = REQUEST)]
    pub parallel_batch: bool,
    /// LoRA adapters, one of which each prompt asks for (sglang)
    #[arg(long, value_name = "NAME", num_args = 0.., help_heading = REQUEST)]
    pub lora_name: Vec<String>,
    /// How prompts are shared among adapters: evenly at random, in turn, or the first the most
    #[arg(long, value_name = "HOW", value_enum, default_value_t = LoraDistribution::Uniform, help_heading = REQUEST)]
    pub lora_request_distribution: LoraDistribution,
    /// How many times as likely as the next an adapter is, if skewed; above 1
    #[arg(long, value_name = "ALPHA", default_value_t = 1.1, allow_negative_numbers = true, help_heading = REQUEST)]
    pub lora_zipf_alpha: f64,
    /// Measure an SGLang decode server without a prefill server
    #[arg(long, help_heading = REQUEST)]
    pub fake_prefill: bool,
    /// Keys to add to each body, or to replace in it
    #[arg(long, value_name = "JSON", help_heading = REQUEST)]
    pub extra_request_body: Option<Object>,

    /// How long to wait for the server; 0 skips the check [default: 60, with --launch 1800]
    #[arg(long, value_name = "SECONDS", value_parser = whole::<u64>, help_heading = FLOW)]
    pub ready_check_timeout_sec: Option<u64>,
    /// Send no warm-up, which is a batch of each size with 1024 tokens in and 16 out
    #[arg(long, help_heading = FLOW)]
    pub skip_warmup: bool,
    /// Empty the storage of SGLang's hierarchical cache before each batch as well
    #[arg(long, help_heading = FLOW)]
    pub flush_hicache_storage: bool,

    /// A name in the result
    #[arg(long, value_name = "TEXT", default_value = "default", help_heading = OUTPUT)]
    pub run_name: String,
    /// JSONL file to append a line for each batch to
    #[arg(long, value_name = "FILE", default_value = "result.jsonl", help_heading = OUTPUT)]
    pub result_filename: PathBuf,
    /// File to write the record of each batch to as it ends; `rbench report` reads it
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    pub records: Option<PathBuf>,
    /// Print a table of all batches in Markdown at the end
    #[arg(long, help_heading = OUTPUT)]
    pub show_report: bool,
    /// What an hour of one GPU costs, in $, for that table
    #[arg(long, value_name = "DOLLARS", default_value = "2", value_parser = temperature, requires = "show_report", allow_negative_numbers = true, help_heading = OUTPUT)]
    pub cost_per_gpu_hour: f64,
    /// Do not append that table to the file that `GITHUB_STEP_SUMMARY` names
    #[arg(long, help = "Do not append that table to the file that GITHUB_STEP_SUMMARY names", help_heading = OUTPUT)]
    pub no_append_to_github_summary: bool,
    /// JSON file to write a list of all batches to, as SGLang's nightly runs read it
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    pub pydantic_result_filename: Option<PathBuf>,
    /// How the server was started, for that list; takes all that follows
    #[arg(long, value_name = "ARG", num_args = 0.., allow_hyphen_values = true, requires = "pydantic_result_filename", help_heading = OUTPUT)]
    pub server_args_for_metrics: Option<Vec<String>>,

    /// Flags of the profiler; a batch is profiled after all are measured.
    #[command(flatten)]
    pub profiling: ProfileArgs,
    /// Accepted for scripts of SGLang: no code of a model is run
    #[arg(long, help_heading = DATA)]
    pub trust_remote_code: bool,
}

/// Steps that are profiled if their number is not given, as SGLang's client does.
const PROFILED_STEPS: usize = 5;

/// Parses a number above 0 that has a typed default.
fn count_arg() -> fn(&str) -> Result<usize, String> {
    count
}

fn share(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("must be a number from 0 to 1".to_owned()),
    }
}

/// Lengths in tokens, each above 0; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lengths(pub Vec<usize>);

impl FromStr for Lengths {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lengths: Result<Vec<usize>, String> = text.split(',').map(count).collect();
        lengths.map(Self).map_err(|_| {
            "must be whole numbers above 0 with commas between them, such as 512,1024".to_owned()
        })
    }
}

impl OneBatchArgs {
    /// The batches that the flags ask for.
    pub fn batches(self, mut notes: Vec<String>) -> Batches {
        if self.trust_remote_code {
            notes.push("--trust-remote-code is not needed: no code of a model is run".to_owned());
        }
        let mut profiling = self.profiling.profiling(Profiling::default());
        if profiling.profile && profiling.profile_num_steps.is_none() {
            profiling.profile_steps.get_or_insert(PROFILED_STEPS);
        }
        let spec = RunSpec {
            servers: Servers {
                backend: self.backend,
                base_url: self.base_url.into_iter().collect(),
                host: self.host,
                port: self.port,
                model: self.model,
                tokenizer: self.tokenizer,
                mock: self.mock,
                ..Servers::default()
            },
            load: Load { seed: self.seed, ..Load::default() },
            prompts: Prompts {
                dataset_name: self.dataset_name,
                dataset_path: self.dataset_path,
                ..Prompts::default()
            },
            requests: Requests {
                temperature: Some(self.temperature),
                ignore_eos: !self.disable_ignore_eos,
                return_logprob: self.return_logprob,
                lora_name: self.lora_name,
                lora_request_distribution: self.lora_request_distribution,
                lora_zipf_alpha: self.lora_zipf_alpha,
                fake_prefill: self.fake_prefill,
                extra_request_body: self.extra_request_body,
                ..Requests::default()
            },
            before: Before {
                ready_check_timeout_sec: self.ready_check_timeout_sec,
                ..Before::default()
            },
            connection: self.connection.into(),
            outputs: Outputs { records: self.records, ..Outputs::default() },
            profiling,
            ..RunSpec::default()
        };
        Batches {
            job: Job { spec, launch: self.launching.launch(), notes, ..Job::default() },
            batch_sizes: self.batch_size,
            input_lens: self.input_len,
            output_lens: self.output_len,
            lengths: self.input_len_list.map(|lengths| lengths.0).unwrap_or_default(),
            fixed_prompt: self.fixed_prompt_file,
            template: self.apply_chat_template,
            shared: SharedPrefix {
                groups: self.gsp_num_groups,
                system_prompt_len: self.gsp_system_prompt_len,
                question_len: self.gsp_question_len,
                output_len: self.gsp_output_len,
            },
            cache_share: self.cache_hit_rate,
            multi_batch: self.enable_multi_batch,
            capacity_check: !self.skip_token_capacity_check,
            parallel: self.parallel_batch,
            stream_interval: self.client_stream_interval,
            warm_up: !self.skip_warmup,
            flush_storage: self.flush_hicache_storage,
            run_name: self.run_name,
            result_file: self.result_filename,
            reports: Reports {
                table: self.show_report,
                summary: !self.no_append_to_github_summary,
                hour: self.cost_per_gpu_hour,
                list: self.pydantic_result_filename,
                server_args: self.server_args_for_metrics,
            },
        }
    }
}
