//! Groups of flags that `serve` and `offline` share.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Args};

use crate::config::timeouts::MaxErrors;
use crate::config::values::{Header, Object, Seconds};
use crate::config::{Balance, Before, Load, Outputs, ProgressForm, Prompts, Requests, Servers};
use crate::flags::values::{count, probability, temperature, whole};
use crate::flags::{DATA, FLOW, LOAD, OUTPUT, REQUEST, TARGET};
use crate::protocol::backend;
use crate::workload::dataset;

const BASE_URL: &str = "URL of the server, host:port or unix:PATH, instead of --host and --port; given again, the load is spread over all [env: OPENAI_BASE_URL, for backends under /v1]";

/// The servers.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub(super) struct TargetArgs {
    /// Kind of server, which decides the endpoint and the format
    #[arg(long, default_value = "sglang", value_parser = backend_name(), hide_possible_values = true, value_name = "NAME", help_heading = TARGET, help = backend_help())]
    pub(super) backend: String,
    /// The servers.
    #[arg(long, visible_alias = "url", value_name = "URL", action = ArgAction::Append, help = BASE_URL, help_heading = TARGET)]
    pub(super) base_url: Vec<String>,
    /// How the load is spread over several servers: round-robin, by the position in the plan, or least-in-flight
    #[arg(long, value_name = "HOW", default_value = "round-robin", hide_possible_values = true, help_heading = TARGET)]
    pub(super) balance: Balance,
    /// Host of the server
    #[arg(long, value_name = "HOST", default_value = "0.0.0.0", help_heading = TARGET)]
    pub(super) host: String,
    /// Port of the server [default: that of the backend]
    #[arg(long, value_name = "PORT", help_heading = TARGET)]
    pub(super) port: Option<u16>,
    /// Model name to send [default: the first that the server lists]
    #[arg(long, value_name = "NAME", help_heading = TARGET)]
    pub(super) model: Option<String>,
    /// Name to send instead of --model
    #[arg(long, value_name = "NAME", help_heading = TARGET)]
    pub(super) served_model_name: Option<String>,
    /// tokenizer.json, tiktoken, SentencePiece or GGUF file, a folder with one, a Hub id, rbench-bundled, or none,
    /// which leaves all counts to the server [default: the one the server reports, else the model]
    #[arg(long, value_name = "PATH|ID", help_heading = TARGET)]
    pub(super) tokenizer: Option<String>,
    /// Headers of each request, also as 'KEY: VALUE'
    #[arg(long, value_name = "KEY=VALUE", num_args = 1.., help_heading = TARGET)]
    pub(super) header: Vec<Header>,
    /// Start a simulated engine with bundled data and measure that
    #[arg(long, conflicts_with_all = ["base_url", "host", "port", "model", "served_model_name"], help_heading = TARGET)]
    pub(super) mock: bool,
}

impl TargetArgs {
    /// The servers that the flags name.
    pub(super) fn servers(self) -> Servers {
        let Self {
            backend,
            base_url,
            balance,
            host,
            port,
            model,
            served_model_name,
            tokenizer,
            header,
            mock,
        } = self;
        Servers {
            backend,
            base_url,
            balance,
            host,
            port,
            model,
            served_model_name,
            tokenizer,
            header,
            mock,
        }
    }
}

/// The names that other clients have for a backend.
const ALSO: [(&str, &str); 2] = [("openai", "vllm"), ("openai-chat", "vllm-chat")];

/// Takes the name of a backend, or another name of it.
fn backend_name() -> impl TypedValueParser<Value = String> {
    let value = |backend: &backend::Backend| {
        let also = ALSO.iter().filter(|(_, name)| *name == backend.name);
        PossibleValue::new(backend.name).aliases(also.map(|(also, _)| *also))
    };
    PossibleValuesParser::new(backend::ALL.iter().map(value)).map(|typed| {
        let known = ALSO.iter().find(|(also, _)| *also == typed);
        known.map_or(typed, |(_, name)| (*name).to_owned())
    })
}

fn backend_help() -> String {
    let usable = backend::ALL.iter().filter(|backend| backend.refused.is_none());
    let names: Vec<&str> = usable.map(|backend| backend.name).collect();
    format!("Kind of server, which decides the endpoint and the format: {}", names.join(", "))
}

/// How many requests are sent.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub(super) struct LoadArgs {
    /// Number of requests
    #[arg(long, value_name = "N", default_value = "1000", value_parser = count, help_heading = LOAD)]
    pub(super) num_prompts: usize,
    /// Requests in flight at most; others wait [default: no limit]
    #[arg(long, value_name = "N", value_parser = whole::<usize>, help_heading = LOAD)]
    pub(super) max_concurrency: Option<usize>,
    /// Random seed
    #[arg(long, value_name = "N", default_value_t = 42, value_parser = whole::<u64>, help_heading = LOAD)]
    pub(super) seed: u64,
    /// Threads that send and read [default: 1, more for more than 16384 requests at once]
    #[arg(long, value_name = "N", value_parser = count, help_heading = LOAD)]
    pub(super) worker_threads: Option<usize>,
}

impl LoadArgs {
    /// The load, which arrives as `arrivals` says.
    pub(super) fn load(self, arrivals: Load) -> Load {
        let Self { num_prompts, max_concurrency, seed, worker_threads } = self;
        Load {
            num_prompts,
            max_concurrency,
            seed,
            worker_threads: worker_threads.or(arrivals.worker_threads),
            ..arrivals
        }
    }
}

/// Where prompts come from.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub(super) struct DataArgs {
    /// Source of prompts
    #[arg(long, default_value = "sharegpt", value_parser = PossibleValuesParser::new(dataset::ALL.iter().map(|d| d.name)), value_name = "NAME", help_heading = DATA)]
    pub(super) dataset_name: String,
    /// File of the dataset [default: downloaded from the Hub]
    #[arg(long, value_name = "PATH", help_heading = DATA)]
    pub(super) dataset_path: Option<PathBuf>,
    /// Send prompts as token ids (backend sglang, random datasets)
    #[arg(long, help_heading = DATA)]
    pub(super) tokenize_prompt: bool,
    /// Apply the tokenizer's chat template to each prompt (sharegpt, custom)
    #[arg(long, help_heading = DATA)]
    pub(super) apply_chat_template: bool,
    /// Text to add to each prompt, before its closing "Assistant:" (sharegpt, custom)
    #[arg(long, value_name = "TEXT", default_value = "", allow_hyphen_values = true, help_heading = DATA)]
    pub(super) prompt_suffix: String,
    /// Leave out malformed rows of a file and count them, instead of stopping at the first
    #[arg(long, help_heading = DATA)]
    pub(super) skip_bad_rows: bool,
    /// Use conversations more than once where there are fewer than requests (random)
    #[arg(long, help_heading = DATA)]
    pub(super) allow_repeat: bool,
    /// Have made-up prompts that no run before had, for servers with a warm cache; with TEXT those of that salt
    #[arg(long, value_name = "TEXT", num_args = 0..=1, default_missing_value = "", help_heading = DATA)]
    pub(super) salt: Option<String>,
}

impl DataArgs {
    /// Where the flags take prompts from.
    pub(super) fn prompts(self) -> Prompts {
        let Self {
            dataset_name,
            dataset_path,
            tokenize_prompt,
            apply_chat_template,
            prompt_suffix,
            skip_bad_rows,
            allow_repeat,
            salt,
        } = self;
        Prompts {
            dataset_name,
            dataset_path,
            tokenize_prompt,
            apply_chat_template,
            prompt_suffix,
            skip_bad_rows,
            allow_repeat,
            salt: salt.map(|text| if text.is_empty() { new_salt() } else { text }),
        }
    }
}

/// A salt that no run had: the standard library seeds its hash maps with random numbers of the system.
fn new_salt() -> String {
    format!("{:016x}", RandomState::new().build_hasher().finish())
}

/// What each request asks for.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub(super) struct RequestArgs {
    /// Let generation end at an end-of-sequence token
    #[arg(long, help_heading = REQUEST)]
    pub(super) disable_ignore_eos: bool,
    /// Temperature; 0 is greedy
    #[arg(long, value_name = "T", value_parser = temperature, allow_negative_numbers = true, help_heading = REQUEST)]
    pub(super) temperature: Option<f64>,
    /// Draw from the smallest set of tokens with this probability
    #[arg(long, value_name = "P", default_value = "1", value_parser = probability, allow_negative_numbers = true, help_heading = REQUEST)]
    pub(super) top_p: f64,
    /// Return log probabilities
    #[arg(long, help_heading = REQUEST)]
    pub(super) return_logprob: bool,
    /// Return the log probabilities of the prompt from this position on (/generate)
    #[arg(long, value_name = "N", default_value_t = -1, value_parser = clap::value_parser!(i64).range(-1..), allow_negative_numbers = true, help_heading = REQUEST)]
    pub(super) logprob_start_len: i64,
    /// Keys to add to each body, or to replace in it
    #[arg(long, value_name = "JSON", help_heading = REQUEST)]
    pub(super) extra_request_body: Option<Object>,
}

impl RequestArgs {
    /// What requests ask for, beside the `rest`.
    pub(super) fn requests(self, rest: Requests) -> Requests {
        let Self {
            disable_ignore_eos,
            temperature,
            top_p,
            return_logprob,
            logprob_start_len,
            extra_request_body,
        } = self;
        Requests {
            ignore_eos: !disable_ignore_eos,
            temperature,
            top_p,
            return_logprob,
            logprob_start_len,
            extra_request_body,
            ..rest
        }
    }
}

/// What is done before the run.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub(super) struct BeforeArgs {
    /// How long to wait for the server; 0 skips the check [default: 60, with --launch 1800]
    #[arg(long, value_name = "SECONDS", value_parser = whole::<u64>, help_heading = FLOW)]
    pub(super) ready_check_timeout_sec: Option<u64>,
    /// Flush the server's prefix cache after the warm-up
    #[arg(long, help_heading = FLOW)]
    pub(super) flush_cache: bool,
    /// How long the server may take to flush its cache
    #[arg(long, value_name = "SECONDS", default_value = "60", requires = "flush_cache", help_heading = FLOW)]
    pub(super) flush_cache_timeout: Seconds,
}

impl BeforeArgs {
    /// What is done before a run with so many `warmup_requests`.
    pub(super) fn before(self, warmup_requests: usize) -> Before {
        let Self { ready_check_timeout_sec, flush_cache, flush_cache_timeout } = self;
        Before { ready_check_timeout_sec, warmup_requests, flush_cache, flush_cache_timeout }
    }
}

/// What is recorded.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub(super) struct RecordArgs {
    /// JSONL file to append the result to; - prints it on stdout in place of the table [default: a name made from the
    /// flags]
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    pub(super) output_file: Option<PathBuf>,
    /// File to append the record of each request to as soon as it has ended: JSON lines, from which rbench report
    /// makes table and result
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    pub(super) records: Option<PathBuf>,
    /// Keep nothing of requests that have ended: figures are aggregated as they end, percentiles to 0.1 %
    #[arg(long, help_heading = OUTPUT)]
    pub(super) low_memory: bool,
    /// Exit with 1 when more requests than this have failed, a number or a share of those sent; the result is printed
    /// and stored all the same
    #[arg(long, value_name = "N|P%", default_value = "1%", help_heading = OUTPUT)]
    pub(super) allow_failed: MaxErrors,
    /// JSONL file to append each failed request to as soon as it has failed
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    pub(super) failed_file: Option<PathBuf>,
    /// How progress is shown on stderr: auto (a bar on a terminal, else lines), bar, lines (one every 10 s), none
    #[arg(long, value_name = "HOW", default_value = "auto", hide_possible_values = true, help_heading = OUTPUT)]
    pub(super) progress: ProgressForm,
    /// Show no progress, like --progress none
    #[arg(long, help_heading = OUTPUT)]
    pub(super) disable_tqdm: bool,
}

impl RecordArgs {
    /// What is recorded, beside the `rest`.
    pub(super) fn outputs(self, rest: Outputs) -> Outputs {
        let Self {
            output_file,
            records,
            low_memory,
            allow_failed,
            failed_file,
            progress,
            disable_tqdm,
        } = self;
        Outputs {
            output_file,
            records,
            low_memory,
            allow_failed,
            failed_file,
            progress: !disable_tqdm,
            progress_form: progress,
            ..rest
        }
    }
}
