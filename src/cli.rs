//! What may be typed. Parsing does no input or output.

mod abbreviation;
mod advice;
pub mod client;
pub mod compare;
pub mod connection;
pub mod launch;
pub mod man;
pub mod offline;
pub mod one_batch;
pub mod profile;
mod renamed;
pub mod report;
pub mod run;
pub mod selftest;
mod siblings;
pub mod timeouts;
pub mod values;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{
    ArgAction, ArgMatches, Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand,
};
use serde_json::Map;

use self::values::{count, probability, temperature, whole};
use crate::analysis::metric::Slo;
use crate::config::one_batch::Batches;
use crate::config::values::{Header, Object, Seconds};
use crate::config::{
    Balance, Before, Job, Layouts, Load, LoraDistribution, Outputs, Prompts, Requests, RunSpec,
    Servers,
};
use crate::error::EXIT_CODES;
use crate::protocol::backend;
use crate::workload::arrival::{Rate, RateRange};
use crate::workload::dataset::{self, Params};
use crate::{dialect, mock};

/// A serving benchmark for large language models
#[derive(Debug, Parser)]
#[command(name = "rbench", version, max_term_width = 100, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Measure a server: latencies, throughput, failures
    Serve(Box<ServeArgs>),
    /// Send everything at once and measure the throughput alone
    Offline(Box<offline::OfflineArgs>),
    /// Send batches of prompts, each in one request, and measure prefill and decode
    OneBatch(Box<one_batch::OneBatchArgs>),
    /// Measure with the command line, the table and the files of vLLM's client
    Vllm(dialect::vllm::Tool),
    /// Run a simulated engine to measure clients against
    Mock(Box<mock::Opts>),
    /// Run a configuration that serve --print-config has printed
    Run(run::RunArgs),
    /// Print the result of a run from its records, also if it died
    Report(report::ReportArgs),
    /// Decide if runs differ from others: a verdict on each metric and on the whole
    Compare(compare::CompareArgs),
    /// Measure how accurate the timestamps are on this machine, and how many events it can read
    Selftest(selftest::SelftestArgs),
    /// Print the manual page
    Man(man::ManArgs),
    /// Run a server until the standard input ends
    #[command(hide = true)]
    Supervise(launch::SuperviseArgs),
}

/// The commands that send a load, whose flags may be shortened and may have the names of older releases.
const LOADS: [&str; 3] = ["serve", "offline", "one-batch"];

/// The command that `args` name, if it sends a load.
fn load_of(args: &[OsString]) -> Option<&'static str> {
    LOADS.into_iter().find(|name| args.get(1).is_some_and(|word| word == name))
}

/// What was typed.
#[derive(Debug)]
pub enum Input {
    /// `rbench serve`.
    Serve(Box<Job>),
    /// `rbench serve --print-config`.
    PrintConfig(Box<Job>),
    /// `rbench offline`.
    Offline(Box<offline::OfflineInput>),
    /// `rbench one-batch`.
    OneBatch(Box<Batches>),
    /// `rbench vllm bench serve`.
    Vllm(Box<dialect::vllm::Flags>),
    /// `rbench mock`.
    Mock(Box<mock::Opts>),
    /// `rbench supervise`, which rbench runs by itself.
    Supervise(launch::SuperviseArgs),
    /// `rbench man`: the page.
    Man(String),
    /// `rbench run`.
    Run(run::RunArgs),
    /// `rbench report`.
    Report(report::ReportArgs),
    /// `rbench compare`.
    Compare(Box<compare::CompareArgs>),
    /// `rbench selftest`.
    Selftest(selftest::SelftestArgs),
}

const TARGET: &str = "Target";
const LOAD: &str = "Load";
const REQUEST: &str = "Requests";
const DATA: &str = "Dataset";
const FLOW: &str = "Before the run";
const OUTPUT: &str = "Output";

/// What stands below the flags of `rbench serve`.
fn after_help() -> String {
    let mut text =
        "Long flags may be abbreviated as long as they stay unambiguous.\n\nExit codes:".to_owned();
    for (code, meaning) in EXIT_CODES {
        text += &format!("\n  {code:<13} {meaning}");
    }
    text
}

/// The general flags of `rbench serve`.
#[derive(Debug, Clone, Args)]
#[command(
    args_override_self = true,
    after_help = after_help()
)]
pub struct ServeArgs {
    /// Kind of server, which decides the endpoint and the format
    #[arg(long, default_value = "sglang", value_parser = PossibleValuesParser::new(backend::ALL.iter().map(|b| b.name)), hide_possible_values = true, value_name = "NAME", help_heading = TARGET, help = backend_help())]
    pub backend: String,
    /// URL of the server, or unix:PATH, instead of --host and --port; given again, the load is spread over all
    #[arg(long, value_name = "URL", action = ArgAction::Append, help_heading = TARGET)]
    pub base_url: Vec<String>,
    /// How the load is spread over several servers: round-robin, by the position in the plan, or least-in-flight
    #[arg(long, value_name = "HOW", default_value = "round-robin", hide_possible_values = true, help_heading = TARGET)]
    pub balance: Balance,
    /// Host of the server
    #[arg(long, value_name = "HOST", default_value = "0.0.0.0", help_heading = TARGET)]
    pub host: String,
    /// Port of the server [default: that of the backend]
    #[arg(long, value_name = "PORT", help_heading = TARGET)]
    pub port: Option<u16>,
    /// Model name to send [default: the first that the server lists]
    #[arg(long, value_name = "NAME", help_heading = TARGET)]
    pub model: Option<String>,
    /// Name to send instead of --model
    #[arg(long, value_name = "NAME", help_heading = TARGET)]
    pub served_model_name: Option<String>,
    /// tokenizer.json, tiktoken, SentencePiece or GGUF file, a folder with one, or a Hub id [default: the one the
    /// server reports, else the model]
    #[arg(long, value_name = "PATH|ID", help_heading = TARGET)]
    pub tokenizer: Option<String>,
    /// Headers of each request
    #[arg(long, value_name = "KEY=VALUE", num_args = 1.., help_heading = TARGET)]
    pub header: Vec<Header>,
    /// Start a simulated engine with bundled data and measure that
    #[arg(long, conflicts_with_all = ["base_url", "host", "port", "model", "served_model_name"], help_heading = TARGET)]
    pub mock: bool,
    /// Flags of a server that is started for the run.
    #[command(flatten)]
    pub launching: launch::LaunchArgs,

    /// Number of requests
    #[arg(long, value_name = "N", default_value = "1000", value_parser = count, help_heading = LOAD)]
    pub num_prompts: usize,
    /// Send for this long, such as 10m; the prompts repeat, each time with another salt before their text
    #[arg(long, value_name = "TIME", value_parser = client::duration, help_heading = LOAD)]
    pub duration: Option<Duration>,
    /// Requests per second, arriving as a Poisson process; inf sends all at once
    #[arg(long, value_name = "RATE", default_value = "inf", help_heading = LOAD)]
    pub request_rate: Rate,
    /// Run once per rate of --request-rate-range, each time on the same rows after a warm-up
    #[arg(long, conflicts_with_all = ["request_rate", "use_trace_timestamps"], help_heading = LOAD)]
    pub multi: bool,
    /// Whole rates of --multi: START,STOP,STEP with STOP left out, or a list of any length but 3
    #[arg(long, value_name = "N,...", default_value = "2,34,2", requires = "multi", help_heading = LOAD)]
    pub request_rate_range: RateRange,
    /// Send each request at its time in the dataset's trace, instead of by --request-rate
    #[arg(long, help_heading = LOAD)]
    pub use_trace_timestamps: bool,
    /// Requests in flight at most; others wait [default: no limit]
    #[arg(long, value_name = "N", value_parser = whole::<usize>, help_heading = LOAD)]
    pub max_concurrency: Option<usize>,
    /// Random seed
    #[arg(long, value_name = "N", default_value_t = 42, value_parser = whole::<u64>, help_heading = LOAD)]
    pub seed: u64,
    /// Threads that send and read [default: 1, more for more than 16384 requests at once]
    #[arg(long, value_name = "N", value_parser = count, help_heading = LOAD)]
    pub worker_threads: Option<usize>,
    /// Not needed: this client is a native one
    #[arg(long, hide = true, help_heading = LOAD)]
    pub rust_client: bool,
    /// Like --worker-threads, which wins
    #[arg(long, hide = true, value_name = "N", value_parser = count, help_heading = LOAD)]
    pub rust_worker_threads: Option<usize>,

    /// Source of prompts
    #[arg(long, default_value = "sharegpt", value_parser = PossibleValuesParser::new(dataset::ALL.iter().map(|d| d.name)), value_name = "NAME", help_heading = DATA)]
    pub dataset_name: String,
    /// File of the dataset [default: downloaded from the Hub]
    #[arg(long, value_name = "PATH", help_heading = DATA)]
    pub dataset_path: Option<PathBuf>,
    /// Send prompts as token ids (backend sglang, random datasets)
    #[arg(long, help_heading = DATA)]
    pub tokenize_prompt: bool,
    /// Apply the tokenizer's chat template to each prompt (sharegpt, custom)
    #[arg(long, help_heading = DATA)]
    pub apply_chat_template: bool,
    /// Text to add to each prompt, before its closing "Assistant:" (sharegpt, custom)
    #[arg(long, value_name = "TEXT", default_value = "", allow_hyphen_values = true, help_heading = DATA)]
    pub prompt_suffix: String,
    /// Leave out malformed rows of a file and count them, instead of stopping at the first
    #[arg(long, help_heading = DATA)]
    pub skip_bad_rows: bool,
    /// Use conversations more than once where there are fewer than requests (random)
    #[arg(long, help_heading = DATA)]
    pub allow_repeat: bool,

    /// Ask for whole answers instead of streams
    #[arg(long, help_heading = REQUEST)]
    pub disable_stream: bool,
    /// Let generation end at an end-of-sequence token
    #[arg(long, help_heading = REQUEST)]
    pub disable_ignore_eos: bool,
    /// Temperature; 0 is greedy
    #[arg(long, value_name = "T", value_parser = temperature, allow_negative_numbers = true, help_heading = REQUEST)]
    pub temperature: Option<f64>,
    /// Draw from the smallest set of tokens with this probability
    #[arg(long, value_name = "P", default_value = "1", value_parser = probability, allow_negative_numbers = true, help_heading = REQUEST)]
    pub top_p: f64,
    /// Return log probabilities
    #[arg(long, help_heading = REQUEST)]
    pub return_logprob: bool,
    /// Return the log probabilities of this many alternatives
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = REQUEST)]
    pub top_logprobs_num: u32,
    /// Return the log probabilities of these tokens (/generate)
    #[arg(long, value_name = "ID", num_args = 1.., help_heading = REQUEST)]
    pub token_ids_logprob: Vec<u32>,
    /// Return the log probabilities of the prompt from this position on (/generate)
    #[arg(long, value_name = "N", default_value_t = -1, value_parser = clap::value_parser!(i64).range(-1..), allow_negative_numbers = true, help_heading = REQUEST)]
    pub logprob_start_len: i64,
    /// Return the experts of each token (/generate)
    #[arg(long, help_heading = REQUEST)]
    pub return_routed_experts: bool,
    /// LoRA adapters, one of which each request asks for
    #[arg(long, value_name = "NAME", num_args = 0.., help_heading = REQUEST)]
    pub lora_name: Vec<String>,
    /// How requests are shared among adapters: evenly at random, in turn, or the first the most
    #[arg(long, value_name = "HOW", value_enum, default_value_t = LoraDistribution::Uniform, help_heading = REQUEST)]
    pub lora_request_distribution: LoraDistribution,
    /// How many times as likely as the next an adapter is, if skewed; above 1
    #[arg(long, value_name = "ALPHA", default_value_t = 1.5, allow_negative_numbers = true, help_heading = REQUEST)]
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
    /// Copies of the first request, with a short output, that are sent first
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole::<usize>, help_heading = FLOW)]
    pub warmup_requests: usize,
    /// Flush the server's prefix cache after the warm-up
    #[arg(long, help_heading = FLOW)]
    pub flush_cache: bool,
    /// How long the server may take to flush its cache
    #[arg(long, value_name = "SECONDS", default_value = "60", requires = "flush_cache", help_heading = FLOW)]
    pub flush_cache_timeout: Seconds,

    /// Layout of the table: that of a tool, or of an older release of it
    #[arg(long, value_name = "NAME[@VERSION]", default_value = "sglang", help_heading = OUTPUT)]
    pub table: dialect::Choice,
    /// Keys of the JSONL line, likewise
    #[arg(long, value_name = "NAME[@VERSION]", default_value = "sglang", help_heading = OUTPUT)]
    pub jsonl: dialect::Choice,
    /// How the server is reached.
    #[command(flatten)]
    pub connection: connection::ConnectionArgs,

    /// Flags of the client itself.
    #[command(flatten)]
    pub client: client::ClientArgs,

    /// Time limits, and what a run survives.
    #[command(flatten)]
    pub timeouts: timeouts::TimeoutArgs,

    /// Flags of the profiler.
    #[command(flatten)]
    pub profiling: profile::ProfileArgs,

    /// JSONL file to append the result to [default: a name made from the flags]
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    pub output_file: Option<PathBuf>,
    /// Add arrays with one entry per request to the result
    #[arg(long, help_heading = OUTPUT)]
    pub output_details: bool,
    /// File to append the record of each request to as soon as it has ended: JSON lines, from which rbench report
    /// makes table and result
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    pub records: Option<PathBuf>,
    /// Keep nothing of requests that have ended: figures are aggregated as they end, percentiles to 0.1 %
    #[arg(long, help_heading = OUTPUT)]
    pub low_memory: bool,
    /// JSONL file to append each failed request to as soon as it has failed
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    pub failed_file: Option<PathBuf>,
    /// Objectives in ms for ttft, tpot and e2el; reports how many requests meet them
    #[arg(long, value_name = "KEY:MS", num_args = 1.., help_heading = OUTPUT)]
    pub goodput: Vec<Slo>,
    /// Report how many prompt tokens the server's prefix cache held
    #[arg(long, help_heading = OUTPUT)]
    pub cache_report: bool,
    /// A label in the result
    #[arg(long, value_name = "TEXT", help_heading = OUTPUT)]
    pub tag: Option<String>,
    /// Also report the longest stretch with at least this share of the peak in flight
    #[arg(long, value_name = "R", value_parser = probability, allow_negative_numbers = true, help_heading = OUTPUT)]
    pub steady_state_concurrency_ratio: Option<f64>,
    /// JSONL file to append that to
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    pub steady_state_output_file: Option<PathBuf>,
    /// Plot output tokens per second and requests in flight over time on stderr
    #[arg(long, help_heading = OUTPUT)]
    pub plot_throughput: bool,
    /// Print each request on stderr when it is sent and when it has ended: lines of JSON, for debugging
    #[arg(long, help_heading = OUTPUT)]
    pub print_requests: bool,
    /// Draw no progress bar
    #[arg(long, help_heading = OUTPUT)]
    pub disable_tqdm: bool,
    /// Print the configuration of the run as JSON instead of running it; rbench run FILE runs it
    #[arg(long, conflicts_with_all = ["launch", "launch_log", "launch_grace_sec"], help_heading = OUTPUT)]
    pub print_config: bool,
}

impl ServeArgs {
    /// The configuration that the general flags ask for.
    fn spec(self) -> RunSpec {
        RunSpec {
            servers: Servers {
                backend: self.backend,
                base_url: self.base_url,
                balance: self.balance,
                host: self.host,
                port: self.port,
                model: self.model,
                served_model_name: self.served_model_name,
                tokenizer: self.tokenizer,
                header: self.header,
                mock: self.mock,
            },
            load: Load {
                num_prompts: self.num_prompts,
                duration: self.duration,
                request_rate: self.request_rate,
                multi: self.multi,
                request_rate_range: self.request_rate_range,
                use_trace_timestamps: self.use_trace_timestamps,
                max_concurrency: self.max_concurrency,
                seed: self.seed,
                worker_threads: self.worker_threads.or(self.rust_worker_threads),
            },
            prompts: Prompts {
                dataset_name: self.dataset_name,
                dataset_path: self.dataset_path,
                tokenize_prompt: self.tokenize_prompt,
                apply_chat_template: self.apply_chat_template,
                prompt_suffix: self.prompt_suffix,
                skip_bad_rows: self.skip_bad_rows,
                allow_repeat: self.allow_repeat,
            },
            requests: Requests {
                stream: !self.disable_stream,
                ignore_eos: !self.disable_ignore_eos,
                temperature: self.temperature,
                top_p: self.top_p,
                return_logprob: self.return_logprob,
                top_logprobs_num: self.top_logprobs_num,
                token_ids_logprob: self.token_ids_logprob,
                logprob_start_len: self.logprob_start_len,
                return_routed_experts: self.return_routed_experts,
                lora_name: self.lora_name,
                lora_request_distribution: self.lora_request_distribution,
                lora_zipf_alpha: self.lora_zipf_alpha,
                fake_prefill: self.fake_prefill,
                extra_request_body: self.extra_request_body,
            },
            before: Before {
                ready_check_timeout_sec: self.ready_check_timeout_sec,
                warmup_requests: self.warmup_requests,
                flush_cache: self.flush_cache,
                flush_cache_timeout: self.flush_cache_timeout,
            },
            layouts: Layouts { table: self.table.layout(), jsonl: self.jsonl.layout() },
            connection: self.connection.into(),
            client: self.client.into(),
            timeouts: self.timeouts.into(),
            profiling: self.profiling.into(),
            outputs: Outputs {
                output_file: self.output_file,
                output_details: self.output_details,
                records: self.records,
                low_memory: self.low_memory,
                failed_file: self.failed_file,
                goodput: self.goodput,
                cache_report: self.cache_report,
                tag: self.tag,
                steady_state_concurrency_ratio: self.steady_state_concurrency_ratio,
                steady_state_output_file: self.steady_state_output_file,
                plot_throughput: self.plot_throughput,
                print_requests: self.print_requests,
                progress: !self.disable_tqdm,
            },
            dataset: Params::new(),
        }
    }
}

fn backend_help() -> String {
    let names: Vec<&str> = backend::ALL.iter().map(|backend| backend.name).collect();
    format!("Kind of server, which decides the endpoint and the format: {}", names.join(", "))
}

/// The whole command line, with the flags of every dataset.
pub fn command() -> Command {
    Cli::command()
        .mut_subcommand("serve", with_datasets)
        .mut_subcommand("offline", |offline| offline::trim(with_datasets(offline)))
        .mut_subcommand("vllm", dialect::vllm::spellings)
}

/// A command with the flags of every dataset.
fn with_datasets(command: Command) -> Command {
    // Adding flags also sets the description to that of their struct.
    let about = command.get_about().cloned();
    let command = dataset::ALL.iter().fold(command, |command, entry| (entry.flags)(command));
    // A number below 0 is a value that cannot be used, not an unknown flag.
    command.about(about.unwrap_or_default()).mut_args(|arg| {
        let takes = arg.get_action().takes_values();
        arg.allow_negative_numbers(takes)
    })
}

/// Reads the args of a command line, the program's name first.
///
/// # Errors
/// If they are not usable; clap's error prints itself and knows whether it is one.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Input, clap::Error> {
    let mut command = command();
    let mut args: Vec<OsString> = args.into_iter().collect();
    let notes = renamed::replace(&mut args, &command);
    let args = abbreviation::expand(args, &mut command)?;
    parsed(&args, &mut command, notes).map_err(|error| advice::advise(error, &args, &command))
}

/// Reads whole flags.
fn parsed(
    args: &[OsString],
    command: &mut Command,
    notes: Vec<String>,
) -> Result<Input, clap::Error> {
    let matches = command.try_get_matches_from_mut(args)?;
    let cli = Cli::from_arg_matches(&matches)?;
    match cli.command {
        Subcommands::Mock(opts) => Ok(Input::Mock(opts)),
        Subcommands::Vllm(tool) => Ok(Input::Vllm(tool.flags())),
        Subcommands::Supervise(args) => Ok(Input::Supervise(args)),
        Subcommands::Offline(args) => {
            let matches = matches.subcommand_matches("offline").unwrap_or(&matches);
            let args = offline::args(*args, matches, command, notes)?;
            Ok(Input::Offline(Box::new(args)))
        }
        Subcommands::OneBatch(args) => Ok(Input::OneBatch(Box::new(args.batches(notes)))),
        Subcommands::Man(args) => match man::page(command, args.command.as_deref()) {
            Ok(page) => Ok(Input::Man(page)),
            Err(why) => Err(command.error(ErrorKind::InvalidValue, why)),
        },
        Subcommands::Run(args) => Ok(Input::Run(args)),
        Subcommands::Report(args) => Ok(Input::Report(args)),
        Subcommands::Selftest(args) => Ok(Input::Selftest(args)),
        Subcommands::Compare(args) => Ok(Input::Compare(Box::new(args))),
        Subcommands::Serve(args) => {
            let matches = matches.subcommand_matches("serve").unwrap_or(&matches);
            let prints = args.print_config;
            let job = Box::new(serve(*args, matches, notes)?);
            Ok(if prints { Input::PrintConfig(job) } else { Input::Serve(job) })
        }
    }
}

/// The run that the flags of `rbench serve` ask for.
fn serve(
    args: ServeArgs,
    matches: &ArgMatches,
    mut notes: Vec<String>,
) -> Result<Job, clap::Error> {
    let entry = dataset::Entry::find(&args.dataset_name).unwrap_or(&dataset::ALL[0]);
    notes.extend(entry.unread(matches));
    let typed = |id| matches.value_source(id) == Some(ValueSource::CommandLine);
    for (id, flag) in [("host", "--host"), ("port", "--port")] {
        if typed(id) && typed("base_url") {
            notes.push(format!("{flag} does nothing beside --base-url"));
        }
    }
    let mut effective = Map::new();
    for entry in dataset::ALL {
        effective.extend((entry.effective)(matches));
    }
    if typed("lora_zipf_alpha") && args.lora_request_distribution != LoraDistribution::Skewed {
        notes.push(
            "--lora-zipf-alpha does nothing without --lora-request-distribution skewed".to_owned(),
        );
    }
    if args.rust_client {
        notes.push("--rust-client is not needed: rbench is a native client".to_owned());
    }
    if args.rust_worker_threads.is_some() {
        let effect = if args.worker_threads.is_some() {
            "--worker-threads is given and wins"
        } else {
            "--worker-threads says the same"
        };
        notes.push(format!("--rust-worker-threads is not needed: {effect}"));
    }
    let dataset = dataset::Spec::of_flags(entry, matches)?;
    // What cannot be used is an error of the command line.
    dataset
        .build()
        .map_err(|what| clap::Error::raw(ErrorKind::ArgumentConflict, format!("{what}\n")))?;
    let launch = args.launching.clone().launch();
    let spec = RunSpec { dataset: dataset.params().clone(), ..args.spec() };
    Ok(Job { spec, launch, source: None, effective, notes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &str) -> Job {
        let args = ["rbench", "serve"].into_iter().chain(args.split_whitespace());
        match parse(args.map(Into::into)) {
            Ok(Input::Serve(job)) => *job,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_flag_table_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn a_run_without_flags_is_the_default() {
        let json = |spec: &RunSpec| serde_json::to_value(spec).unwrap();
        let mut spec = parsed("").spec;
        assert_eq!(spec.layouts.table.0, "sglang@0.5.23");
        spec.layouts = Layouts::default();
        assert_eq!(json(&spec), json(&RunSpec::default()));
    }

    #[test]
    fn flags_of_a_native_client_are_taken_with_a_note() {
        for (input, threads, notes) in [
            ("--worker-threads 2", Some(2), 0),
            ("--rust-client --max-concurrency 1", None, 1),
            ("--rust-client --rust-worker-threads 3", Some(3), 2),
            ("--rust-client --rust-worker-threads 3 --worker-threads 2", Some(2), 2),
        ] {
            let job = parsed(input);
            assert_eq!(
                (job.spec.load.worker_threads, job.notes.len()),
                (threads, notes),
                "{input}"
            );
            assert!(job.notes.iter().all(|note| note.contains("not needed")), "{input}");
        }
    }
}
