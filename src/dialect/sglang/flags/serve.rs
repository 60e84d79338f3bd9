//! The flags of `rbench serve`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgMatches, Args};

use super::shared::{BeforeArgs, DataArgs, LoadArgs, RecordArgs, RequestArgs, TargetArgs};
use super::{EXAMPLES, after_help, job, short_help, typed};
use crate::analysis::metric::Slo;
use crate::config::{Job, Layouts, Load, LoraDistribution, Outputs, Requests, RunSpec};
use crate::dialect::Choice;
use crate::flags::client::{ClientArgs, duration};
use crate::flags::connection::ConnectionArgs;
use crate::flags::launch::LaunchArgs;
use crate::flags::profile::{ProfileArgs, SeparatedArgs};
use crate::flags::timeouts::TimeoutArgs;
use crate::flags::values::{count, probability, whole};
use crate::flags::{FLOW, LOAD, OUTPUT, REQUEST};
use crate::workload::arrival::{Rate, RateRange};

/// The flags.
#[derive(Debug, Clone, Args)]
#[group(skip)]
#[command(args_override_self = true, after_help = short_help(), after_long_help = format!("{EXAMPLES}\n{}", after_help()))]
pub struct ServeArgs {
    /// The servers.
    #[command(flatten)]
    target: TargetArgs,
    /// A server that is started for the run.
    #[command(flatten)]
    launching: LaunchArgs,
    /// How many requests are sent.
    #[command(flatten)]
    load: LoadArgs,
    /// When they are sent.
    #[command(flatten)]
    arrivals: ArrivalArgs,
    /// Where prompts come from.
    #[command(flatten)]
    data: DataArgs,
    /// What each request asks for.
    #[command(flatten)]
    requests: RequestArgs,
    /// What else it may ask for.
    #[command(flatten)]
    more: MoreArgs,
    /// What is done before the run.
    #[command(flatten)]
    before: BeforeArgs,
    /// Copies of the first request, with a short output, that are sent first
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole::<usize>, help_heading = FLOW)]
    warmup_requests: usize,
    /// Layout of the table: that of a tool, or of an older release of it
    #[arg(long, value_name = "NAME[@VERSION]", default_value = "sglang", help_heading = OUTPUT)]
    table: Choice,
    /// Keys of the JSONL line, likewise
    #[arg(long, value_name = "NAME[@VERSION]", default_value = "sglang", help_heading = OUTPUT)]
    jsonl: Choice,
    /// How the servers are reached.
    #[command(flatten)]
    connection: ConnectionArgs,
    /// The client itself.
    #[command(flatten)]
    client: ClientArgs,
    /// Time limits, and what a run survives.
    #[command(flatten)]
    timeouts: TimeoutArgs,
    /// The profiler.
    #[command(flatten)]
    profiling: ProfileArgs,
    /// The profiler where prefill and decode are servers of their own.
    #[command(flatten)]
    separated: SeparatedArgs,
    /// What is recorded.
    #[command(flatten)]
    recording: RecordArgs,
    /// What is reported.
    #[command(flatten)]
    reporting: ReportingArgs,
}

/// When requests are sent.
#[derive(Debug, Clone, Args)]
#[group(skip)]
struct ArrivalArgs {
    /// Send for this long, such as 10m; the prompts repeat, each time with another salt before their text
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = LOAD)]
    duration: Option<Duration>,
    /// Requests per second, arriving as a Poisson process; inf sends all at once
    #[arg(long, value_name = "RATE", default_value = "inf", help_heading = LOAD)]
    request_rate: Rate,
    #[command(flatten)]
    arrivals: super::arrivals::ArrivalArgs,
    /// Run once per rate of --request-rate-range, each time on the same rows after a warm-up
    #[arg(long, conflicts_with_all = ["request_rate", "use_trace_timestamps"], help_heading = LOAD)]
    multi: bool,
    /// Whole rates of --multi: START,STOP,STEP with STOP left out, or a list of any length but 3
    #[arg(long, value_name = "N,...", default_value = "2,34,2", requires = "multi", help_heading = LOAD)]
    request_rate_range: RateRange,
    /// Send each request at its time in the dataset's trace, instead of by --request-rate
    #[arg(long, help_heading = LOAD)]
    use_trace_timestamps: bool,
    /// Not needed: this client is a native one
    #[arg(long, hide = true, help_heading = LOAD)]
    rust_client: bool,
    /// Like --worker-threads, which wins
    #[arg(long, hide = true, value_name = "N", value_parser = count, help_heading = LOAD)]
    rust_worker_threads: Option<usize>,
}

impl ArrivalArgs {
    /// When the flags have requests sent, and by how many threads.
    fn load(self) -> Load {
        Load {
            duration: self.duration,
            request_rate: self.request_rate,
            burstiness: self.arrivals.burstiness,
            ramp_up_strategy: self.arrivals.ramp_up_strategy,
            ramp_up_start_rps: self.arrivals.ramp_up_start_rps,
            ramp_up_end_rps: self.arrivals.ramp_up_end_rps,
            multi: self.multi,
            request_rate_range: self.request_rate_range,
            use_trace_timestamps: self.use_trace_timestamps,
            worker_threads: self.rust_worker_threads,
            ..Load::default()
        }
    }

    /// The notes on flags of a client in Python, which has a native one beside it.
    fn notes(&self, worker_threads: Option<usize>) -> Vec<String> {
        let mut notes = Vec::new();
        if self.rust_client {
            notes.push("--rust-client is not needed: rbench is a native client".to_owned());
        }
        if self.rust_worker_threads.is_some() {
            let effect = if worker_threads.is_some() {
                "--worker-threads is given and wins"
            } else {
                "--worker-threads says the same"
            };
            notes.push(format!("--rust-worker-threads is not needed: {effect}"));
        }
        notes
    }
}

/// What requests of a load may ask for.
#[derive(Debug, Clone, Args)]
#[group(skip)]
struct MoreArgs {
    /// Ask for whole answers instead of streams
    #[arg(long, help_heading = REQUEST)]
    disable_stream: bool,
    /// Return the log probabilities of this many alternatives
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = REQUEST)]
    top_logprobs_num: u32,
    /// Return the log probabilities of these tokens (/generate)
    #[arg(long, value_name = "ID", num_args = 1.., help_heading = REQUEST)]
    token_ids_logprob: Vec<u32>,
    /// Return the experts of each token (/generate)
    #[arg(long, help_heading = REQUEST)]
    return_routed_experts: bool,
    /// LoRA adapters, one of which each request asks for
    #[arg(long, value_name = "NAME", num_args = 0.., help_heading = REQUEST)]
    lora_name: Vec<String>,
    /// How requests are shared among adapters: evenly at random, in turn, or the first the most
    #[arg(long, value_name = "HOW", value_enum, default_value_t = LoraDistribution::Uniform, help_heading = REQUEST)]
    lora_request_distribution: LoraDistribution,
    /// How many times as likely as the next an adapter is, if skewed; above 1
    #[arg(long, value_name = "ALPHA", default_value_t = 1.5, allow_negative_numbers = true, help_heading = REQUEST)]
    lora_zipf_alpha: f64,
    /// Measure an SGLang decode server without a prefill server
    #[arg(long, help_heading = REQUEST)]
    fake_prefill: bool,
}

impl MoreArgs {
    /// What the flags have requests ask for.
    fn requests(self) -> Requests {
        Requests {
            stream: !self.disable_stream,
            top_logprobs_num: self.top_logprobs_num,
            token_ids_logprob: self.token_ids_logprob,
            return_routed_experts: self.return_routed_experts,
            lora_name: self.lora_name,
            lora_request_distribution: self.lora_request_distribution,
            lora_zipf_alpha: self.lora_zipf_alpha,
            fake_prefill: self.fake_prefill,
            ..Requests::default()
        }
    }
}

/// What is reported.
#[derive(Debug, Clone, Args)]
#[group(skip)]
struct ReportingArgs {
    /// Write no result file unless --output-file names one
    #[arg(long, overrides_with = "output_file", help_heading = OUTPUT)]
    no_output_file: bool,
    /// Print the result as JSON on stdout and no table; no result file unless --output-file names one
    #[arg(long, help_heading = OUTPUT)]
    json: bool,
    /// File to append the result to as comma-separated values, with a header if it is new
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    csv: Option<PathBuf>,
    /// Print warnings, failures and errors alone on stderr: no status lines and no progress
    #[arg(long, help_heading = OUTPUT)]
    quiet: bool,
    /// Print what would be sent, the first request as a curl command, and send nothing
    #[arg(long, conflicts_with_all = ["launch", "print_config"], help_heading = OUTPUT)]
    dry_run: bool,
    /// Add arrays with one entry per request to the result
    #[arg(long, help_heading = OUTPUT)]
    output_details: bool,
    /// Objectives in ms for ttft, tpot and e2el; reports how many requests meet them
    #[arg(long, value_name = "KEY:MS", num_args = 1.., help_heading = OUTPUT)]
    goodput: Vec<Slo>,
    /// Report how many prompt tokens the server's prefix cache held
    #[arg(long, help_heading = OUTPUT)]
    cache_report: bool,
    /// A label in the result
    #[arg(long, value_name = "TEXT", help_heading = OUTPUT)]
    tag: Option<String>,
    /// Also report the longest stretch with at least this share of the peak in flight
    #[arg(long, value_name = "R", value_parser = probability, allow_negative_numbers = true, help_heading = OUTPUT)]
    steady_state_concurrency_ratio: Option<f64>,
    /// JSONL file to append that to
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    steady_state_output_file: Option<PathBuf>,
    /// Plot output tokens per second and requests in flight over time on stderr
    #[arg(long, help_heading = OUTPUT)]
    plot_throughput: bool,
    /// Print each request on stderr when it is sent and when it has ended: lines of JSON, for debugging
    #[arg(long, help_heading = OUTPUT)]
    print_requests: bool,
    /// Print the configuration of the run as JSON instead of running it; rbench run FILE runs it
    #[arg(long, conflicts_with_all = ["launch", "launch_log", "launch_grace_sec"], help_heading = OUTPUT)]
    print_config: bool,
}

impl ReportingArgs {
    /// What the flags have reported.
    fn outputs(self) -> Outputs {
        Outputs {
            output_details: self.output_details,
            no_output_file: self.no_output_file,
            json: self.json,
            csv: self.csv,
            quiet: self.quiet,
            dry_run: self.dry_run,
            goodput: self.goodput,
            cache_report: self.cache_report,
            tag: self.tag,
            steady_state_concurrency_ratio: self.steady_state_concurrency_ratio,
            steady_state_output_file: self.steady_state_output_file,
            plot_throughput: self.plot_throughput,
            print_requests: self.print_requests,
            ..Outputs::default()
        }
    }
}

impl ServeArgs {
    /// Returns whether the configuration is printed instead of a run.
    pub fn prints_config(&self) -> bool {
        self.reporting.print_config
    }

    /// The run that the flags ask for.
    ///
    /// # Errors
    /// If the dataset cannot be used with its flags.
    pub fn job(self, matches: &ArgMatches, mut notes: Vec<String>) -> Result<Job, clap::Error> {
        if typed(matches, "lora_zipf_alpha")
            && self.more.lora_request_distribution != LoraDistribution::Skewed
        {
            notes.push(
                "--lora-zipf-alpha does nothing without --lora-request-distribution skewed"
                    .to_owned(),
            );
        }
        notes.extend(self.arrivals.notes(self.load.worker_threads));
        let spec = RunSpec {
            servers: self.target.servers(),
            load: self.load.load(self.arrivals.load()),
            prompts: self.data.prompts(),
            requests: self.requests.requests(self.more.requests()),
            before: self.before.before(self.warmup_requests),
            layouts: Layouts { table: self.table.layout(), jsonl: self.jsonl.layout() },
            connection: self.connection.into(),
            client: self.client.into(),
            timeouts: self.timeouts.into(),
            profiling: self.profiling.profiling(self.separated.profiling()),
            outputs: self.recording.outputs(self.reporting.outputs()),
            ..RunSpec::default()
        };
        job(spec, self.launching.launch(), matches, notes)
    }
}
