//! What the input mean: resolved and checked, nothing left to parse.

mod connection;
mod files;
mod fits;
mod keys;
mod launch;
mod objectives;
pub mod one_batch;
pub mod profile;
mod spec;
mod target;

use std::path::PathBuf;
use std::time::Duration;

use jiff::Zoned;
use serde_json::{Map, Value};

pub use self::files::files_differ;
pub use self::keys::Keys;
pub use self::launch::Launch;
pub use self::objectives::objectives;
pub use self::spec::RunSpec;
pub use self::target::{Place, Target};
use crate::analysis::metric::Slo;
use crate::cli::Balance;
use crate::cli::client::{ClientArgs, ClockChoice};
use crate::cli::connection::ConnectionArgs;
use crate::cli::timeouts::{MaxErrors, TimeoutArgs};
use crate::cli::{LoraDistribution, ServeArgs, ServeInput};
use crate::dialect::{self, Section};
use crate::error::{Error, Kind};
use crate::protocol::backend::{Backend, CacheTelling, Sampling};
use crate::workload::arrival::Rate;
use crate::workload::bundled;
use crate::workload::dataset::{Dataset, Entry, Reading};
use crate::workload::lora::{Adapters, Share};

/// A run of `rbench serve`.
#[derive(Debug)]
pub struct Serve {
    /// Kind of server.
    pub backend: &'static Backend,
    /// Where it is.
    pub target: Target,
    /// How it is started, if that is to be done.
    pub launch: Option<Launch>,
    /// `--model`.
    pub model: Option<String>,
    /// `--served-model-name`.
    pub served_model_name: Option<String>,
    /// `--tokenizer`.
    pub tokenizer: Option<String>,
    /// Source of prompts.
    pub dataset: Box<dyn Dataset>,
    /// Its name.
    pub dataset_name: String,
    /// `--dataset-path`.
    pub dataset_path: Option<PathBuf>,
    /// How files are read, and what becomes of their text.
    pub reading: Reading,
    /// Number of requests.
    pub num_prompts: usize,
    /// How long requests are sent, if that is not a matter of their number.
    pub duration: Option<Duration>,
    /// Arrivals.
    pub rate: Rate,
    /// The rates of `--multi`, one run each; empty without it.
    pub sweep: Vec<Rate>,
    /// Whether the dataset's own times are the arrivals.
    pub trace: bool,
    /// Requests in flight at most.
    pub max_concurrency: Option<usize>,
    /// Seed of every draw.
    pub seed: u64,
    /// Threads that send and read.
    pub threads: usize,
    /// How the client sends, reads and tells the time.
    pub client: ClientArgs,
    /// How the load is spread over several servers.
    pub balance: Balance,
    /// How long is waited for what, and what the run survives.
    pub timeouts: TimeoutArgs,
    /// How the server is reached.
    pub connection: ConnectionArgs,
    /// Whether prompts are sent as token ids.
    pub tokenize_prompt: bool,
    /// Whether answers are streamed.
    pub stream: bool,
    /// Whether generation goes on after an end-of-sequence token.
    pub ignore_eos: bool,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// LoRA adapters.
    pub adapters: Option<Adapters>,
    /// Keys for each body.
    pub extra: Map<String, Value>,
    /// How long to wait for the server; `None` does not look.
    pub ready_timeout: Option<Duration>,
    /// Warm-up requests.
    pub warmup: usize,
    /// What to have profiled.
    pub profile: Option<profile::Profile>,
    /// How long the server may take to flush its cache, if it is to do so.
    pub flush: Option<Duration>,
    /// Layout of the table.
    pub table: dialect::Choice,
    /// Keys of the JSONL line.
    pub jsonl: dialect::Choice,
    /// Latencies that requests are to keep within, one objective per latency.
    pub slos: Vec<Slo>,
    /// Whether the server's prefix cache is reported on.
    pub cache_report: bool,
    /// `--output-file`.
    pub output_file: Option<PathBuf>,
    /// Whether the result has arrays with one entry per request.
    pub details: bool,
    /// File for the record of each request, as it ends.
    pub records: Option<PathBuf>,
    /// Whether events and texts are dropped when a request has ended.
    pub low_memory: bool,
    /// File for the requests that fail, likewise.
    pub failed_file: Option<PathBuf>,
    /// `--tag`.
    pub tag: Option<String>,
    /// What share of the peak in flight makes a steady state, if that is to be reported.
    pub steady_state: Option<f64>,
    /// File for the steady state.
    pub steady_state_file: Option<PathBuf>,
    /// Whether the run is plotted over time.
    pub plot: bool,
    /// Whether each request is told of.
    pub print_requests: bool,
    /// Whether a progress bar is wanted.
    pub progress: bool,
    /// What is to be said of flags that have no effect here.
    pub notes: Vec<String>,
    /// The flags as given, by the names that results use, without secrets.
    pub effective: Map<String, Value>,
}

impl Serve {
    /// Sets the rate of the next run.
    pub fn set_rate(&mut self, rate: Rate) {
        self.rate = rate;
        // A rate is always a number or a word.
        self.effective
            .insert("request_rate".into(), serde_json::to_value(rate).unwrap_or_default());
    }
}

/// The address by which SGLang's decode servers know a prefill server that does not exist.
const FAKE_PREFILL_HOST: &str = "2.2.2.2";

/// How long a server is waited for, in seconds.
const READY_TIMEOUT_S: u64 = 60;

/// Requests in flight per thread from which on another thread helps.
const PER_THREAD: usize = 16_384;

/// Resolves the input of `rbench serve`; `mock` is the address of the server that `--mock` has started.
///
/// # Errors
/// If flags contradict each other, or do not apply to the backend.
pub fn resolve(input: ServeInput, keys: &Keys, mock: Option<&str>) -> Result<Serve, Error> {
    let ServeInput { args, dataset, source, effective, .. } = input;
    let dataset = source.map_or_else(|| dataset.build(), Ok).map_err(usage)?;
    let backend = backend(&args)?;
    let target = target::resolve(&args, backend, keys, mock)?;
    let traces = std::env::var("SGLANG_TORCH_PROFILER_DIR").ok().filter(|dir| !dir.is_empty());
    let (base, shown) = (&target.base, &target.shown);
    let profile = profile::resolve(&args.profiling, base, shown, traces, backend.is_sglang())?;
    let launch = launch::resolve(&args.launching, args.ready_check_timeout_sec)?;
    let ready_timeout_s = args.ready_check_timeout_sec.unwrap_or_else(|| {
        if launch.is_some() { launch::READY_TIMEOUT_S } else { READY_TIMEOUT_S }
    });
    let adapters = adapters(&args, backend)?;
    let slos = objectives(&args.goodput, backend)?;
    let mut notes = notes(&args, backend);
    notes.extend(target.notes.iter().cloned());
    notes.extend(unprinted(&args));
    notes.extend(fits::check(&args, dataset.as_ref(), backend)?);
    notes.extend(connection::check(&args, &target, profile.as_ref())?);
    if !backend.is_sglang() {
        notes.extend(profile::note(&args.profiling, backend.name));
    }
    if profile.is_some() && !target.others.is_empty() {
        notes.push(format!("--profile: of several servers, {} alone is profiled", target.shown));
    }
    let max_concurrency = args.max_concurrency.filter(|&n| n > 0);
    if args.duration.is_some() {
        endless(&args, max_concurrency)?;
    }
    if args.low_memory {
        low_memory(&args)?;
    }
    let num_prompts = dataset.count(args.num_prompts);
    let at_once = max_concurrency.unwrap_or(usize::MAX).min(num_prompts);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = args
        .worker_threads
        .or(args.rust_worker_threads)
        .unwrap_or_else(|| at_once.div_ceil(PER_THREAD).min(cores));
    let has_conversations = Entry::find(&args.dataset_name).is_some_and(Entry::takes_conversations);
    let bundled = || mock.map(|_| bundled::NAME.to_owned());
    let mut extra = args.extra_request_body.clone().map(|object| object.0).unwrap_or_default();
    if args.fake_prefill {
        extra.insert("bootstrap_host".into(), FAKE_PREFILL_HOST.into());
        extra.insert("bootstrap_room".into(), 0.into());
    }
    if let CacheTelling::Asked(key) = backend.cache
        && args.cache_report
    {
        extra.insert(key.into(), true.into());
    }
    if args.steady_state_output_file.is_some() && args.steady_state_concurrency_ratio.is_none() {
        return Err(usage("--steady-state-output-file has nothing to write".to_owned())
            .hint("add --steady-state-concurrency-ratio R, such as 0.8"));
    }
    files_differ(&[
        ("--output-file", args.output_file.as_deref()),
        ("--steady-state-output-file", args.steady_state_output_file.as_deref()),
        ("--records", args.records.as_deref()),
        ("--failed-file", args.failed_file.as_deref()),
        ("--launch-log", args.launching.launch_log.as_deref()),
        ("--dataset-path", args.dataset_path.as_deref()),
        ("--api-key-file", args.connection.api_key_file.as_deref()),
    ])?;
    let mut all = spec::effective(&args);
    all.insert("base_url".into(), target.shown.clone().into());
    if !target.others.is_empty() {
        let others = target.others.iter().map(|place| place.shown.clone());
        all.insert("other_base_urls".into(), others.collect());
    }
    all.insert("worker_threads".into(), threads.into());
    all.insert("goodput".into(), slos.iter().map(ToString::to_string).collect());
    all.insert("ready_check_timeout_sec".into(), ready_timeout_s.into());
    if launch.is_some() {
        all.insert("launched".into(), true.into());
    }
    all.extend(effective);
    // A password may stand in other input as well.
    all.values_mut().for_each(|value| target.secrets.take_out_of(value));
    let sweep: Vec<Rate> =
        if args.multi { args.request_rate_range.rates().collect() } else { Vec::new() };
    if !sweep.is_empty() {
        notes.push(format!("--multi of older releases: one run for each of {} rates", sweep.len()));
    }
    Ok(Serve {
        backend,
        target,
        launch,
        model: args.model,
        served_model_name: args.served_model_name,
        tokenizer: args.tokenizer.or_else(bundled),
        dataset,
        dataset_name: args.dataset_name,
        dataset_path: args
            .dataset_path
            .filter(|path| !path.as_os_str().is_empty())
            .or_else(|| bundled().filter(|_| has_conversations).map(PathBuf::from)),
        reading: Reading {
            template: args.apply_chat_template,
            suffix: args.prompt_suffix,
            skip_bad_rows: args.skip_bad_rows,
            repeat: args.allow_repeat,
            server_templates: backend.accepts_messages,
            // The clock is not read here.
            now: Zoned::default(),
        },
        num_prompts,
        rate: sweep.first().copied().unwrap_or(args.request_rate),
        sweep,
        trace: args.use_trace_timestamps,
        max_concurrency,
        seed: args.seed,
        threads: threads.max(1),
        client: args.client.clone(),
        duration: args.duration,
        balance: args.balance,
        timeouts: args.timeouts.clone(),
        connection: args.connection.clone(),
        tokenize_prompt: args.tokenize_prompt,
        stream: !args.disable_stream,
        ignore_eos: !args.disable_ignore_eos,
        sampling: Sampling {
            temperature: args.temperature,
            top_p: args.top_p,
            return_logprob: args.return_logprob,
            top_logprobs_num: args.top_logprobs_num,
            token_ids_logprob: args.token_ids_logprob,
            logprob_start_len: args.logprob_start_len,
            return_routed_experts: args.return_routed_experts,
        },
        adapters,
        extra,
        ready_timeout: (ready_timeout_s > 0).then(|| Duration::from_secs(ready_timeout_s)),
        profile,
        warmup: args.warmup_requests,
        flush: args.flush_cache.then(|| Duration::from_secs_f64(args.flush_cache_timeout.0)),
        table: args.table,
        jsonl: args.jsonl,
        slos,
        cache_report: args.cache_report,
        output_file: args.output_file,
        details: args.output_details,
        records: args.records,
        low_memory: args.low_memory,
        failed_file: args.failed_file,
        tag: args.tag,
        steady_state: args.steady_state_concurrency_ratio,
        steady_state_file: args.steady_state_output_file,
        plot: args.plot_throughput,
        print_requests: args.print_requests,
        // Lines and a bar would overwrite each other.
        progress: !args.disable_tqdm && !args.print_requests,
        notes,
        effective: all,
    })
}

fn usage(message: String) -> Error {
    Error::new(Kind::Usage, message)
}

fn backend(args: &ServeArgs) -> Result<&'static Backend, Error> {
    let name = &args.backend;
    let backend = Backend::find(name).ok_or_else(|| usage(format!("no --backend {name}")))?;
    if let Some(reason) = backend.refused {
        return Err(usage(format!("--backend {name} cannot be used: {reason}")));
    }
    if args.tokenize_prompt && !backend.accepts_ids {
        return Err(usage(format!("--tokenize-prompt does not apply to --backend {name}"))
            .hint("use it with --backend sglang, whose endpoint takes token ids"));
    }
    if args.disable_stream && !backend.can_disable_stream {
        return Err(usage(format!(
            "--disable-stream does not apply to --backend {name}, whose endpoint always streams"
        )));
    }
    if args.fake_prefill && !(backend.is_sglang() && backend.protocol.generates()) {
        return Err(usage(format!("--fake-prefill does not apply to --backend {name}"))
            .hint("it is for SGLang servers that decode what another server has prefilled"));
    }
    let native = [
        ("--token-ids-logprob", !args.token_ids_logprob.is_empty()),
        ("--logprob-start-len", args.logprob_start_len != -1),
        ("--return-routed-experts", args.return_routed_experts),
    ];
    let logprobs = [
        ("--return-logprob", args.return_logprob),
        ("--top-logprobs-num", args.top_logprobs_num > 0),
    ];
    let sampling = [("--temperature", args.temperature.is_some()), ("--top-p", args.top_p < 1.0)];
    for (applies, flags) in [
        (backend.takes.native, &native[..]),
        (backend.takes.logprobs, &logprobs[..]),
        (backend.takes.sampling, &sampling[..]),
    ] {
        if let Some((flag, _)) = flags.iter().find(|(_, given)| *given && !applies) {
            return Err(usage(format!("{flag} does not apply to --backend {name}")).hint(
                "leave it out, or pass keys of the endpoint's own with --extra-request-body",
            ));
        }
    }
    if !backend.lists_models && args.model.is_none() && !args.mock {
        return Err(usage(format!(
            "--backend {name} needs --model: its servers do not list models"
        )));
    }
    Ok(backend)
}

/// Refuses what does not go together with `--duration`.
fn endless(args: &ServeArgs, max_concurrency: Option<usize>) -> Result<(), Error> {
    if args.duration.is_some_and(|lasts| lasts.is_zero()) {
        return Err(usage("--duration 0 sends nothing".to_owned()));
    }
    let unlimited = args.request_rate == Rate::Unlimited && !args.multi;
    if unlimited && max_concurrency.is_none() {
        return Err(usage("--duration sends without an end, and nothing limits it".to_owned())
            .hint("add --request-rate, --max-concurrency, or both"));
    }
    if let Some(most @ MaxErrors::Percent(_)) = args.timeouts.max_errors {
        return Err(usage(format!(
            "--max-errors {most} is a share of all requests, whose number --duration leaves open"
        ))
        .hint("give a number"));
    }
    Ok(())
}

/// Refuses what does not go together with `--low-memory`.
fn low_memory(args: &ServeArgs) -> Result<(), Error> {
    let needs = [
        ("--output-details", args.output_details),
        ("--steady-state-concurrency-ratio", args.steady_state_concurrency_ratio.is_some()),
        ("--plot-throughput", args.plot_throughput),
    ];
    let Some((flag, _)) = needs.into_iter().find(|(_, given)| *given) else { return Ok(()) };
    Err(usage(format!(
        "{flag} needs the events of all requests at the end, and --low-memory keeps none"
    ))
    .hint(format!(
        "give --records FILE instead, which writes them to disk: rbench report FILE {flag} tells it after the run"
    )))
}

/// Flags that are no mistake and have no effect.
fn notes(args: &ServeArgs, backend: &Backend) -> Vec<String> {
    let mut notes = Vec::new();
    let client = &args.client;
    if client.clock == Some(ClockChoice::User) && client.read_batch.is_some() {
        notes.push(
            "--read-batch does nothing with --clock user, whose times are those of the reads"
                .to_owned(),
        );
    }
    let (returned, alternatives) = (args.return_logprob, args.top_logprobs_num > 0);
    if alternatives && !returned && !backend.takes.native {
        notes.push(format!(
            "--top-logprobs-num does nothing at {} without --return-logprob",
            backend.path
        ));
    }
    if returned && !alternatives && backend.path == "/v1/completions" {
        notes.push(format!(
            "--return-logprob does nothing at {} without --top-logprobs-num",
            backend.path
        ));
    }
    if args.balance == Balance::LeastInFlight && args.base_url.len() < 2 {
        notes.push("--balance does nothing with one server".to_owned());
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
    if args.profiling.pd_separated && !args.profiling.profile {
        notes.push(
            "--pd-separated only says how to profile: without --profile it is not needed"
                .to_owned(),
        );
    }
    notes
}

/// Parts of the table that were asked for and that the chosen release does not print.
fn unprinted(args: &ServeArgs) -> Vec<String> {
    let asked = [
        ("--goodput", !args.goodput.is_empty(), Section::Goodput),
        ("--cache-report", args.cache_report, Section::Cache),
    ];
    let missing = asked.into_iter().filter(|(_, asked, part)| *asked && !args.table.has(*part));
    missing
        .map(|(flag, ..)| {
            format!(
                "{flag}: the table of {} has no rows for it, the JSONL line has the figures",
                args.table
            )
        })
        .collect()
}

/// The LoRA adapters and how requests are shared among them.
fn adapters(args: &ServeArgs, backend: &Backend) -> Result<Option<Adapters>, Error> {
    let names = &args.lora_name;
    if !names.is_empty() && !backend.takes.lora {
        return Err(usage(format!(
            "--lora-name does not apply to --backend {}, whose endpoint takes no adapter",
            backend.name
        )));
    }
    if names.iter().any(String::is_empty) {
        return Err(usage("--lora-name: a name is empty".to_owned()));
    }
    let (name, share) = match args.lora_request_distribution {
        LoraDistribution::Uniform => ("uniform", Share::Uniform),
        LoraDistribution::Distinct => ("distinct", Share::Distinct),
        LoraDistribution::Skewed => ("skewed", Share::Skewed(args.lora_zipf_alpha)),
    };
    if share != Share::Uniform && names.len() < 2 {
        return Err(usage(format!(
            "--lora-request-distribution {name} needs at least two adapters, and --lora-name gives {}",
            names.len()
        ))
        .hint("name the adapters after --lora-name, or leave the distribution out"));
    }
    if let Share::Skewed(alpha) = share
        && !(alpha > 1.0 && alpha.is_finite())
    {
        return Err(usage(format!("--lora-zipf-alpha must be a number above 1, and is {alpha}"))
            .hint("--lora-request-distribution uniform gives all adapters the same share"));
    }
    Ok(Adapters::new(names, share))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{self, Input};

    fn resolved(input: &str) -> Serve {
        let input = ["rbench", "serve"].into_iter().chain(input.split_whitespace());
        match cli::parse(input.map(Into::into)) {
            Ok(Input::Serve(input)) => resolve(*input, &Keys::default(), None).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_of_a_native_client_are_taken_with_a_note() {
        for (input, threads, notes) in [
            ("--worker-threads 2", 2, 0),
            ("--rust-client --max-concurrency 1", 1, 1),
            ("--rust-client --rust-worker-threads 3", 3, 2),
            ("--rust-client --rust-worker-threads 3 --worker-threads 2", 2, 2),
        ] {
            let serve = resolved(input);
            assert_eq!((serve.threads, serve.notes.len()), (threads, notes), "{input}");
            assert!(serve.notes.iter().all(|note| note.contains("not needed")), "{input}");
        }
    }
}
