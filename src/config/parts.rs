//! The parts of a run's configuration: plain values, each with the defaults of `rbench serve`.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::timeouts::MaxErrors;
use super::values::{self, Header, Object, Seconds};
use crate::analysis::metric::Slo;
use crate::workload::arrival::{self, Rate, RateRange};

/// How requests are spread over several servers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// One server after the other.
    #[default]
    RoundRobin,
    /// The server with the fewest requests in flight.
    LeastInFlight,
}

/// How requests are shared among LoRA adapters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoraDistribution {
    /// Evenly at random.
    #[default]
    Uniform,
    /// In turn.
    Distinct,
    /// Each adapter more often than the next.
    Skewed,
}

/// Where arrival times come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClockChoice {
    /// The kernel, when it receives the data.
    Kernel,
    /// This program, when it reads them.
    User,
}

/// A version of HTTP, or how one is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HttpVersion {
    /// HTTP/1.1, and HTTP/2 for servers that refuse it in the handshake of TLS.
    #[serde(rename = "auto")]
    Auto,
    /// HTTP/1.1.
    #[serde(rename = "1.1")]
    One,
    /// HTTP/2, without asking.
    #[serde(rename = "2")]
    Two,
}

/// The servers, and the model that they are asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Servers {
    /// Name of the backend, which decides the endpoint and the wire protocol.
    pub backend: String,
    /// URLs of the servers, or `unix:PATH`; empty for `host` and `port`.
    pub base_url: Vec<String>,
    /// How the load is spread over several servers.
    pub balance: Balance,
    /// Host of the server.
    pub host: String,
    /// Port of the server; that of the backend if it is not given.
    pub port: Option<u16>,
    /// Model name to send; the first that the server lists if it is not given.
    pub model: Option<String>,
    /// Name to send instead of `model`, whose tokenizer is used.
    pub served_model_name: Option<String>,
    /// Tokenizer: a path, or an id on a hub.
    pub tokenizer: Option<String>,
    /// Headers of each request.
    #[serde(serialize_with = "values::headers")]
    pub header: Vec<Header>,
    /// Whether a simulated engine is started and measured.
    pub mock: bool,
}

impl Default for Servers {
    fn default() -> Self {
        Self {
            backend: "sglang".to_owned(),
            base_url: Vec::new(),
            balance: Balance::default(),
            host: "0.0.0.0".to_owned(),
            port: None,
            model: None,
            served_model_name: None,
            tokenizer: None,
            header: Vec::new(),
            mock: false,
        }
    }
}

/// How many requests are sent, and when.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Load {
    /// Number of requests.
    #[serde(deserialize_with = "values::above_zero")]
    pub num_prompts: usize,
    /// How long requests are sent, if that is not a matter of their number.
    #[serde(with = "values::some_seconds")]
    pub duration: Option<Duration>,
    /// Requests per second.
    pub request_rate: Rate,
    /// How evenly requests arrive around that rate: the shape of the gamma distribution of gaps.
    #[serde(with = "arrival::even")]
    pub burstiness: f64,
    /// How the rate rises from the first request to the last, in the place of `request_rate`.
    pub ramp_up_strategy: Option<arrival::Strategy>,
    /// The rate of the first request, in requests/s.
    pub ramp_up_start_rps: Option<f64>,
    /// The rate of the last one, in requests/s.
    pub ramp_up_end_rps: Option<f64>,
    /// Whether there is one run for each rate of `request_rate_range`.
    pub multi: bool,
    /// The rates of such runs.
    pub request_rate_range: RateRange,
    /// Whether the dataset's own times are the arrivals.
    pub use_trace_timestamps: bool,
    /// Requests in flight at most; 0 is no limit.
    pub max_concurrency: Option<usize>,
    /// Seed of every draw.
    pub seed: u64,
    /// Threads that send and read.
    #[serde(deserialize_with = "values::some_above_zero")]
    pub worker_threads: Option<usize>,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            num_prompts: 1000,
            duration: None,
            request_rate: Rate::Unlimited,
            burstiness: 1.0,
            ramp_up_strategy: None,
            ramp_up_start_rps: None,
            ramp_up_end_rps: None,
            multi: false,
            request_rate_range: RateRange::default(),
            use_trace_timestamps: false,
            max_concurrency: None,
            seed: 42,
            worker_threads: None,
        }
    }
}

/// Where prompts come from, and what becomes of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Prompts {
    /// Name of the dataset; its parameters are [`super::RunSpec::dataset`].
    pub dataset_name: String,
    /// File of the dataset.
    #[serde(serialize_with = "values::path")]
    pub dataset_path: Option<PathBuf>,
    /// Whether prompts are sent as token ids.
    pub tokenize_prompt: bool,
    /// Whether the tokenizer's chat template is applied.
    pub apply_chat_template: bool,
    /// Text to add to each prompt.
    pub prompt_suffix: String,
    /// Whether malformed rows are left out instead of ending the run.
    pub skip_bad_rows: bool,
    /// Whether a text may be used for several rows where there are too few.
    pub allow_repeat: bool,
    /// What sets made-up prompts apart from those of other runs with the same seed.
    pub salt: Option<String>,
}

impl Default for Prompts {
    fn default() -> Self {
        Self {
            dataset_name: "sharegpt".to_owned(),
            dataset_path: None,
            tokenize_prompt: false,
            apply_chat_template: false,
            prompt_suffix: String::new(),
            skip_bad_rows: false,
            allow_repeat: false,
            salt: None,
        }
    }
}

/// What each request asks for beside its prompt.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Requests {
    /// Whether answers are streamed.
    #[serde(rename = "disable_stream", with = "values::off")]
    pub stream: bool,
    /// Whether generation goes on after an end-of-sequence token.
    #[serde(rename = "disable_ignore_eos", with = "values::off")]
    pub ignore_eos: bool,
    /// Temperature; that of the protocol if it is not given.
    #[serde(deserialize_with = "values::some_temperature")]
    pub temperature: Option<f64>,
    /// Nucleus; 1 is not sent.
    #[serde(deserialize_with = "values::a_probability")]
    pub top_p: f64,
    /// Whether log probabilities are to be returned.
    pub return_logprob: bool,
    /// Log probabilities of how many alternatives.
    pub top_logprobs_num: u32,
    /// Tokens whose log probabilities are to be returned.
    pub token_ids_logprob: Vec<u32>,
    /// Position from which prompt log probabilities are returned; -1 for none.
    #[serde(deserialize_with = "values::from_minus_one")]
    pub logprob_start_len: i64,
    /// Whether the experts of each token are to be returned.
    pub return_routed_experts: bool,
    /// LoRA adapters, one of which each request asks for.
    pub lora_name: Vec<String>,
    /// How requests are shared among them.
    pub lora_request_distribution: LoraDistribution,
    /// How many times as likely as the next an adapter is, if skewed; above 1.
    pub lora_zipf_alpha: f64,
    /// Whether an SGLang decode server is measured without a prefill server.
    pub fake_prefill: bool,
    /// Keys to add to each body, or to replace in it.
    pub extra_request_body: Option<Object>,
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            stream: true,
            ignore_eos: true,
            temperature: None,
            top_p: 1.0,
            return_logprob: false,
            top_logprobs_num: 0,
            token_ids_logprob: Vec::new(),
            logprob_start_len: -1,
            return_routed_experts: false,
            lora_name: Vec::new(),
            lora_request_distribution: LoraDistribution::default(),
            lora_zipf_alpha: 1.5,
            fake_prefill: false,
            extra_request_body: None,
        }
    }
}

/// What is done before the first request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Before {
    /// How long to wait for the server, in s; 0 does not look. 60 if it is not given, 1800 for one that is started.
    pub ready_check_timeout_sec: Option<u64>,
    /// Copies of the first request that are sent first.
    pub warmup_requests: usize,
    /// Whether the server is to flush its prefix cache.
    pub flush_cache: bool,
    /// How long it may take to do so.
    pub flush_cache_timeout: Seconds,
}

impl Default for Before {
    fn default() -> Self {
        Self {
            ready_check_timeout_sec: None,
            warmup_requests: 1,
            flush_cache: false,
            flush_cache_timeout: Seconds(60.0),
        }
    }
}

/// A tool and one of its releases, as in `sglang@0.5.6`: how a table or a file looks. The dialects know which there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Layout(pub String);

/// The layouts of the results.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Layouts {
    /// Layout of the table.
    pub table: Layout,
    /// Keys of the result file.
    pub jsonl: Layout,
}

impl Layouts {
    /// One layout for table and file.
    pub fn both(layout: &Layout) -> Self {
        Self { table: layout.clone(), jsonl: layout.clone() }
    }
}

impl Default for Layouts {
    fn default() -> Self {
        Self::both(&Layout("sglang".to_owned()))
    }
}

/// How the servers are reached.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Connection {
    /// File with the API key, which wins over the environment.
    #[serde(serialize_with = "values::path")]
    pub api_key_file: Option<PathBuf>,
    /// Certificates in PEM form to trust in addition to the system's.
    #[serde(serialize_with = "values::path")]
    pub cacert: Option<PathBuf>,
    /// Client certificate in PEM form; with `key`.
    #[serde(serialize_with = "values::path")]
    pub cert: Option<PathBuf>,
    /// Key in PEM form of `cert`.
    #[serde(serialize_with = "values::path")]
    pub key: Option<PathBuf>,
    /// Whether any certificate is accepted.
    pub insecure: bool,
    /// Whether the proxies of the environment are ignored.
    pub no_proxy: bool,
    /// HTTP version.
    pub http_version: Option<HttpVersion>,
}

/// How the client sends, reads and judges.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Client {
    /// Source of arrival times; the kernel's where it has them if it is not given.
    pub clock: Option<ClockChoice>,
    /// Coalescing window: how long data may wait to be read together.
    #[serde(
        serialize_with = "values::some_seconds::serialize",
        deserialize_with = "values::read_batch"
    )]
    pub read_batch: Option<Duration>,
    /// Whether the client waits for due times without spinning.
    pub no_spin: bool,
    /// Gap between two events from which on a request counts as stalled.
    #[serde(with = "values::seconds")]
    pub stall_threshold: Duration,
    /// Whether no block on the measurement is printed.
    pub quiet_extras: bool,
    /// Whether the block on the measurement has all its rows also where all is well.
    pub verbose: bool,
    /// Whether a measurement that is not valid is an error.
    pub strict: bool,
    /// Whether each request has a connection of its own.
    pub connection_per_request: bool,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            clock: None,
            read_batch: None,
            no_spin: false,
            stall_threshold: Duration::from_secs(1),
            quiet_extras: false,
            verbose: false,
            strict: false,
            connection_per_request: false,
        }
    }
}

/// Time limits, and what a run survives. Of the limits 0 waits as long as it takes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Timeouts {
    /// Longest wait for a connection, through proxies and with TLS.
    #[serde(with = "values::seconds")]
    pub connect_timeout: Duration,
    /// Longest wait for the first output after a request was sent.
    #[serde(with = "values::seconds")]
    pub first_token_timeout: Duration,
    /// Longest wait between two events of a stream.
    #[serde(with = "values::seconds")]
    pub idle_timeout: Duration,
    /// Longest time for a whole request.
    #[serde(with = "values::seconds")]
    pub request_timeout: Duration,
    /// How many failures the run survives; any number if it is not given.
    pub max_errors: Option<MaxErrors>,
    /// How often a refused request is sent again.
    pub retries: u32,
    /// How long requests in flight may go on when the run is ended early.
    #[serde(with = "values::seconds")]
    pub grace: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_mins(1),
            first_token_timeout: Duration::from_hours(1),
            idle_timeout: Duration::from_mins(10),
            request_timeout: Duration::from_hours(6),
            max_errors: None,
            retries: 0,
            grace: Duration::from_secs(5),
        }
    }
}

/// What the profiler of an SGLang server records if nothing else is asked for.
pub const DEFAULT_ACTIVITIES: [&str; 2] = ["CPU", "GPU"];

/// What the servers are to profile.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Profiling {
    /// Whether there is to be a profile.
    pub profile: bool,
    /// Activities to record.
    pub profile_activities: Vec<String>,
    /// First step of the server to record.
    pub profile_start_step: Option<u64>,
    /// Number of steps to record, which wins over the next.
    #[serde(deserialize_with = "values::some_above_zero")]
    pub profile_steps: Option<usize>,
    /// Number of steps to record.
    #[serde(deserialize_with = "values::some_above_zero")]
    pub profile_num_steps: Option<usize>,
    /// Whether prefill and decode are recorded separately.
    pub profile_by_stage: bool,
    /// The stages to record.
    pub profile_stages: Vec<String>,
    /// Folder on the server for the traces.
    pub profile_output_dir: Option<String>,
    /// Prefix of the names of the traces.
    pub profile_prefix: Option<String>,
    /// Whether prefill and decode are servers of their own, which are profiled.
    pub pd_separated: bool,
    /// The prefill servers.
    pub profile_prefill_url: Vec<String>,
    /// The decode servers.
    pub profile_decode_url: Vec<String>,
}

impl Default for Profiling {
    fn default() -> Self {
        Self {
            profile: false,
            profile_activities: DEFAULT_ACTIVITIES.map(str::to_owned).to_vec(),
            profile_start_step: None,
            profile_steps: None,
            profile_num_steps: None,
            profile_by_stage: false,
            profile_stages: Vec::new(),
            profile_output_dir: None,
            profile_prefix: None,
            pd_separated: false,
            profile_prefill_url: Vec::new(),
            profile_decode_url: Vec::new(),
        }
    }
}

/// What is recorded of a run, and what is reported of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outputs {
    /// File of the result; a name made from the run if it is not given.
    #[serde(serialize_with = "values::path")]
    pub output_file: Option<PathBuf>,
    /// Whether the result has arrays with one entry per request.
    pub output_details: bool,
    /// File for the record of each request, as it ends.
    #[serde(serialize_with = "values::path")]
    pub records: Option<PathBuf>,
    /// Whether events and texts are dropped when a request has ended.
    pub low_memory: bool,
    /// File for each failed request, as it fails.
    #[serde(serialize_with = "values::path")]
    pub failed_file: Option<PathBuf>,
    /// Latencies that requests are to keep within.
    pub goodput: Vec<Slo>,
    /// Whether the server's prefix cache is reported on.
    pub cache_report: bool,
    /// A label in the result.
    pub tag: Option<String>,
    /// What share of the peak in flight makes a steady state, if that is to be reported.
    #[serde(deserialize_with = "values::some_probability")]
    pub steady_state_concurrency_ratio: Option<f64>,
    /// File for the steady state.
    #[serde(serialize_with = "values::path")]
    pub steady_state_output_file: Option<PathBuf>,
    /// Whether the run is plotted over time.
    pub plot_throughput: bool,
    /// Whether each request is printed on stderr when it is sent and when it has ended.
    pub print_requests: bool,
    /// How many requests may fail in a run that is a success all the same.
    pub allow_failed: MaxErrors,
    /// Whether there is no result file unless one is named.
    pub no_output_file: bool,
    /// Whether stdout has the result as JSON in place of the table.
    pub json: bool,
    /// File of comma-separated values that the result is appended to.
    #[serde(serialize_with = "values::path")]
    pub csv: Option<PathBuf>,
    /// Whether stderr has warnings and errors alone.
    pub quiet: bool,
    /// Whether the run is shown instead of done.
    #[serde(skip)]
    pub dry_run: bool,
    /// Whether a progress bar is drawn.
    #[serde(rename = "disable_tqdm", with = "values::off")]
    pub progress: bool,
    /// How progress is shown, if it is.
    #[serde(rename = "progress")]
    pub progress_form: ProgressForm,
}

/// How progress is shown on stderr.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProgressForm {
    /// A bar on a terminal, lines elsewhere.
    #[default]
    Auto,
    /// A line of the terminal that is drawn again and again.
    Bar,
    /// A line every few seconds.
    Lines,
    /// Not at all.
    None,
}

impl Default for Outputs {
    fn default() -> Self {
        Self {
            output_file: None,
            output_details: false,
            records: None,
            low_memory: false,
            failed_file: None,
            goodput: Vec::new(),
            cache_report: false,
            tag: None,
            steady_state_concurrency_ratio: None,
            steady_state_output_file: None,
            plot_throughput: false,
            print_requests: false,
            allow_failed: MaxErrors::Percent(1.0),
            no_output_file: false,
            json: false,
            csv: None,
            quiet: false,
            dry_run: false,
            progress: true,
            progress_form: ProgressForm::Auto,
        }
    }
}
