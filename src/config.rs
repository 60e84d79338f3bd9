//! What a run is: plain values, and what they mean once they are resolved and checked.

mod connection;
mod files;
mod fits;
mod gates;
mod keys;
mod launch;
mod manner;
mod objectives;
pub mod one_batch;
mod parts;
pub mod profile;
mod results;
mod spec;
mod target;
pub mod timeouts;
mod urls;
pub mod values;

use std::path::PathBuf;
use std::time::Duration;

use jiff::Zoned;
use serde_json::{Map, Value};

pub use self::files::files_differ;
pub use self::gates::Gates;
pub use self::keys::Keys;
pub use self::launch::Launch;
pub use self::manner::Manner;
use self::manner::pattern;
pub use self::objectives::objectives;
pub use self::parts::{
    Balance, Before, Client, ClockChoice, Connection, DEFAULT_ACTIVITIES, HttpVersion, Layout,
    Layouts, Load, LoraDistribution, Outputs, Profiling, ProgressForm, Prompts, Requests, Servers,
    Timeouts,
};
pub use self::results::Results;
pub use self::spec::RunSpec;
use self::target::Started;
pub use self::target::{Server, Target};
use self::timeouts::MaxErrors;
use crate::analysis::metric::Slo;
use crate::error::{Error, Kind};
use crate::protocol::backend::{Backend, CacheTelling, Sampling};
use crate::rng;
use crate::workload::arrival::{Pattern, Rate};
use crate::workload::bundled;
use crate::workload::dataset::{Dataset, Reading};
use crate::workload::lora::{Adapters, Share};

/// A run as a dialect asks for it: what can be written down, and what cannot.
#[derive(Debug, Default)]
pub struct Job {
    /// The configuration.
    pub spec: RunSpec,
    /// A server that is started for the run; its command may hold a key, so no configuration has it.
    pub launch: Option<Launch>,
    /// A source of prompts of the dialect's own, in the place of the dataset of the configuration.
    pub source: Option<Box<dyn Dataset>>,
    /// What results have as the configuration, by the names of the tool's flags; it wins over that of [`RunSpec`].
    pub effective: Map<String, Value>,
    /// What the run is held against when it is over.
    pub gates: Gates,
    /// What the user should know of how the flags were read.
    pub notes: Vec<String>,
    /// What the dialect decides beside the configuration.
    pub manner: Manner,
}

impl Job {
    /// The run that a configuration describes.
    ///
    /// # Errors
    /// If its dataset is none.
    pub fn of(spec: RunSpec) -> Result<Self, Error> {
        let effective = spec.dataset()?.effective().map_err(usage)?;
        Ok(Self { spec, effective, ..Self::default() })
    }
}

/// A run with nothing left to look up.
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
    /// After what time nothing is sent any more, of a plan that ends by itself.
    pub closes: Option<Duration>,
    /// Arrivals.
    pub rate: Rate,
    /// How they vary around that rate.
    pub pattern: Pattern,
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
    pub client: Client,
    /// How the load is spread over several servers.
    pub balance: Balance,
    /// How long is waited for what, and what the run survives.
    pub timeouts: Timeouts,
    /// How the server is reached.
    pub connection: Connection,
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
    /// The layouts of the results.
    pub layouts: Layouts,
    /// Latencies that requests are to keep within, one objective per latency.
    pub slos: Vec<Slo>,
    /// Whether the server's prefix cache is reported on.
    pub cache_report: bool,
    /// Where results go.
    pub results: Results,
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
    /// How progress is shown.
    pub progress: ProgressForm,
    /// What is to be said of flags that have no effect here.
    pub notes: Vec<String>,
    /// What a dialect decides beside the configuration.
    pub manner: Manner,
    /// The flags as given, by the names that results use, without secrets.
    pub effective: Map<String, Value>,
    /// What the run is held against when it is over.
    pub gates: Gates,
}

impl Serve {
    /// Path of the endpoint below the base URL.
    pub fn path(&self) -> &str {
        self.manner.path.as_deref().unwrap_or(self.backend.path)
    }

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

/// Resolves a run; `mock` is the address of the server that is started for it.
///
/// # Errors
/// If values contradict each other, or do not apply to the backend.
pub fn resolve(job: Job, keys: &Keys, mock: Option<&str>) -> Result<Serve, Error> {
    let Job { spec, launch, source, effective, gates, manner, .. } = job;
    let dataset = source.map_or_else(|| spec.dataset()?.build().map_err(usage), Ok)?;
    let backend = backend(&spec)?;
    let started = match mock {
        Some(url) => Started::Mock(url),
        None if launch.is_some() => Started::Launched,
        None => Started::No,
    };
    let target = target::resolve(&spec, backend, keys, started)?;
    let traces = std::env::var("SGLANG_TORCH_PROFILER_DIR").ok().filter(|dir| !dir.is_empty());
    let Server { base, shown, .. } = target.first();
    let profile = profile::resolve(&spec.profiling, base, shown, traces, backend.is_sglang())?;
    let ready_timeout_s = ready_timeout_s(&spec.before, launch.as_ref())?;
    let adapters = adapters(&spec.requests, backend)?;
    let slos = objectives(&spec.outputs.goodput, backend)?;
    let mut notes = notes(&spec, backend);
    notes.extend(target.notes.iter().cloned());
    notes.extend(fits::check(&spec.prompts, dataset.as_ref(), backend)?);
    notes.extend(connection::check(&spec, &target, profile.as_ref())?);
    if !backend.is_sglang() {
        notes.extend(profile::note(&spec.profiling, backend.name));
    }
    if profile.is_some() && target.servers.len() > 1 {
        notes.push(format!("--profile: of several servers, {shown} alone is profiled"));
    }
    let max_concurrency = spec.load.max_concurrency.filter(|&n| n > 0);
    if spec.load.duration.is_some() {
        endless(&spec, max_concurrency)?;
    }
    if spec.outputs.low_memory {
        low_memory(&spec.outputs)?;
    }
    steady_state(&spec.outputs)?;
    files(&spec, launch.as_ref())?;
    let num_prompts = dataset.count(spec.load.num_prompts);
    let threads = threads(&spec.load, max_concurrency.unwrap_or(usize::MAX).min(num_prompts));
    let mut all = spec::effective(&spec);
    all.insert("base_url".into(), shown.clone().into());
    if target.servers.len() > 1 {
        let others = target.servers.iter().skip(1).map(|server| server.shown.clone());
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
    let pattern = pattern(&spec.load, &manner)?;
    let RunSpec {
        servers,
        load,
        prompts,
        requests,
        before,
        layouts,
        connection,
        client,
        timeouts,
        outputs,
        ..
    } = spec;
    let has_conversations = dataset.uses().conversations;
    let bundled = || mock.map(|_| bundled::NAME.to_owned());
    let sweep: Vec<Rate> =
        if load.multi { load.request_rate_range.rates().collect() } else { Vec::new() };
    if !sweep.is_empty() {
        notes.push(format!("--multi of older releases: one run for each of {} rates", sweep.len()));
    }
    Ok(Serve {
        backend,
        target,
        launch,
        model: servers.model,
        served_model_name: servers.served_model_name,
        tokenizer: servers.tokenizer.or_else(bundled),
        dataset,
        dataset_name: prompts.dataset_name,
        dataset_path: prompts
            .dataset_path
            .filter(|path| !path.as_os_str().is_empty())
            .or_else(|| bundled().filter(|_| has_conversations).map(PathBuf::from)),
        reading: Reading {
            template: prompts.apply_chat_template,
            suffix: prompts.prompt_suffix,
            skip_bad_rows: prompts.skip_bad_rows,
            repeat: prompts.allow_repeat,
            salt: prompts.salt.as_deref().map(rng::hash),
            server_templates: backend.accepts_messages,
            // The clock is not read here.
            now: Zoned::default(),
        },
        num_prompts,
        rate: sweep.first().copied().unwrap_or(load.request_rate),
        pattern,
        manner,
        sweep,
        trace: load.use_trace_timestamps,
        max_concurrency,
        seed: load.seed,
        threads,
        client,
        duration: load.duration,
        closes: None,
        balance: servers.balance,
        timeouts,
        connection,
        tokenize_prompt: prompts.tokenize_prompt,
        stream: requests.stream,
        ignore_eos: requests.ignore_eos,
        extra: extra(&requests, &outputs, backend),
        sampling: Sampling {
            temperature: requests.temperature,
            top_p: requests.top_p,
            return_logprob: requests.return_logprob,
            top_logprobs_num: requests.top_logprobs_num,
            token_ids_logprob: requests.token_ids_logprob,
            logprob_start_len: requests.logprob_start_len,
            return_routed_experts: requests.return_routed_experts,
        },
        adapters,
        ready_timeout: (ready_timeout_s > 0).then(|| Duration::from_secs(ready_timeout_s)),
        profile,
        warmup: before.warmup_requests,
        flush: before.flush_cache.then(|| Duration::from_secs_f64(before.flush_cache_timeout.0)),
        layouts,
        results: Results::of(&outputs),
        slos,
        cache_report: outputs.cache_report,
        details: outputs.output_details,
        records: outputs.records,
        low_memory: outputs.low_memory,
        failed_file: outputs.failed_file,
        tag: outputs.tag,
        steady_state: outputs.steady_state_concurrency_ratio,
        steady_state_file: outputs.steady_state_output_file,
        plot: outputs.plot_throughput,
        print_requests: outputs.print_requests,
        // Lines and a bar would overwrite each other.
        progress: if outputs.progress && !outputs.print_requests {
            outputs.progress_form
        } else {
            ProgressForm::None
        },
        notes,
        effective: all,
        gates,
    })
}

/// The threads that send and read, for so many requests at once.
fn threads(load: &Load, at_once: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let helpful = || at_once.div_ceil(PER_THREAD).min(cores);
    load.worker_threads.unwrap_or_else(helpful).max(1)
}

/// The keys of each body that stand in no row.
fn extra(requests: &Requests, outputs: &Outputs, backend: &Backend) -> Map<String, Value> {
    let mut extra = requests.extra_request_body.clone().map(|object| object.0).unwrap_or_default();
    if requests.fake_prefill {
        extra.insert("bootstrap_host".into(), FAKE_PREFILL_HOST.into());
        extra.insert("bootstrap_room".into(), 0.into());
    }
    if let CacheTelling::Asked(key) = backend.cache
        && outputs.cache_report
    {
        extra.insert(key.into(), true.into());
    }
    extra
}

/// How long the server is waited for, in s; 0 does not look.
fn ready_timeout_s(before: &Before, launch: Option<&Launch>) -> Result<u64, Error> {
    launch.map_or(Ok(()), Launch::check)?;
    let given = before.ready_check_timeout_sec;
    if launch.is_some() && given == Some(0) {
        return Err(usage(
            "--ready-check-timeout-sec 0 does not apply to --launch: nothing would be ready"
                .to_owned(),
        )
        .hint("leave --ready-check-timeout-sec out to wait for up to half an hour"));
    }
    let default = if launch.is_some() { launch::READY_TIMEOUT_S } else { READY_TIMEOUT_S };
    Ok(given.unwrap_or(default))
}

/// Refuses a file for a steady state that is not reported.
fn steady_state(outputs: &Outputs) -> Result<(), Error> {
    if outputs.steady_state_output_file.is_none()
        || outputs.steady_state_concurrency_ratio.is_some()
    {
        return Ok(());
    }
    Err(usage("--steady-state-output-file has nothing to write".to_owned())
        .hint("add --steady-state-concurrency-ratio R, such as 0.8"))
}

/// Checks that the files of a run differ.
fn files(spec: &RunSpec, launch: Option<&Launch>) -> Result<(), Error> {
    let outputs = &spec.outputs;
    files_differ(&[
        ("--output-file", outputs.output_file.as_deref()),
        ("--steady-state-output-file", outputs.steady_state_output_file.as_deref()),
        ("--records", outputs.records.as_deref()),
        ("--failed-file", outputs.failed_file.as_deref()),
        ("--launch-log", launch.and_then(|launch| launch.log.as_deref())),
        ("--dataset-path", spec.prompts.dataset_path.as_deref()),
        ("--api-key-file", spec.connection.api_key_file.as_deref()),
    ])
}

fn usage(message: String) -> Error {
    Error::new(Kind::Usage, message)
}

fn backend(spec: &RunSpec) -> Result<&'static Backend, Error> {
    let RunSpec { servers, prompts, requests, .. } = spec;
    let name = &servers.backend;
    let backend = Backend::find(name).ok_or_else(|| usage(format!("no --backend {name}")))?;
    if let Some(reason) = backend.refused {
        return Err(usage(format!("--backend {name} cannot be used: {reason}")));
    }
    if prompts.tokenize_prompt && !backend.accepts_ids {
        return Err(usage(format!("--tokenize-prompt does not apply to --backend {name}"))
            .hint("use it with --backend sglang, whose endpoint takes token ids"));
    }
    if !requests.stream && !backend.can_disable_stream {
        return Err(usage(format!(
            "--disable-stream does not apply to --backend {name}, whose endpoint always streams"
        )));
    }
    if requests.fake_prefill && !(backend.is_sglang() && backend.protocol.generates()) {
        return Err(usage(format!("--fake-prefill does not apply to --backend {name}"))
            .hint("it is for SGLang servers that decode what another server has prefilled"));
    }
    let native = [
        ("--token-ids-logprob", !requests.token_ids_logprob.is_empty()),
        ("--logprob-start-len", requests.logprob_start_len != -1),
        ("--return-routed-experts", requests.return_routed_experts),
    ];
    let logprobs = [
        ("--return-logprob", requests.return_logprob),
        ("--top-logprobs-num", requests.top_logprobs_num > 0),
    ];
    let sampling =
        [("--temperature", requests.temperature.is_some()), ("--top-p", requests.top_p < 1.0)];
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
    if !backend.lists_models && servers.model.is_none() && !servers.mock {
        return Err(usage(format!(
            "--backend {name} needs --model: its servers do not list models"
        )));
    }
    Ok(backend)
}

/// Refuses what does not go together with `--duration`.
fn endless(spec: &RunSpec, max_concurrency: Option<usize>) -> Result<(), Error> {
    let RunSpec { load, timeouts, .. } = spec;
    if load.duration.is_some_and(|lasts| lasts.is_zero()) {
        return Err(usage("--duration 0 sends nothing".to_owned()));
    }
    let unlimited = load.request_rate == Rate::Unlimited && !load.multi;
    if unlimited && max_concurrency.is_none() {
        return Err(usage("--duration sends without an end, and nothing limits it".to_owned())
            .hint("add --request-rate, --max-concurrency, or both"));
    }
    if let Some(most @ MaxErrors::Percent(_)) = timeouts.max_errors {
        return Err(usage(format!(
            "--max-errors {most} is a share of all requests, whose number --duration leaves open"
        ))
        .hint("give a number"));
    }
    Ok(())
}

/// Refuses what does not go together with `--low-memory`.
fn low_memory(outputs: &Outputs) -> Result<(), Error> {
    let needs = [
        ("--output-details", outputs.output_details),
        ("--steady-state-concurrency-ratio", outputs.steady_state_concurrency_ratio.is_some()),
        ("--plot-throughput", outputs.plot_throughput),
    ];
    let Some((flag, _)) = needs.into_iter().find(|(_, given)| *given) else { return Ok(()) };
    Err(usage(format!(
        "{flag} needs the events of all requests at the end, and --low-memory keeps none"
    ))
    .hint(format!(
        "give --records FILE instead, which writes them to disk: rbench report FILE {flag} tells it after the run"
    )))
}

/// Values that are no mistake and have no effect.
fn notes(spec: &RunSpec, backend: &Backend) -> Vec<String> {
    let RunSpec { servers, requests, client, profiling, .. } = spec;
    let mut notes = Vec::new();
    if client.clock == Some(ClockChoice::User) && client.read_batch.is_some() {
        notes.push(
            "--read-batch does nothing with --clock user, whose times are those of the reads"
                .to_owned(),
        );
    }
    let (returned, alternatives) = (requests.return_logprob, requests.top_logprobs_num > 0);
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
    if servers.balance == Balance::LeastInFlight && servers.base_url.len() < 2 {
        notes.push("--balance does nothing with one server".to_owned());
    }
    if profiling.pd_separated && !profiling.profile {
        notes.push(
            "--pd-separated only says how to profile: without --profile it is not needed"
                .to_owned(),
        );
    }
    notes
}

/// The LoRA adapters and how requests are shared among them.
fn adapters(requests: &Requests, backend: &Backend) -> Result<Option<Adapters>, Error> {
    let names = &requests.lora_name;
    if !names.is_empty() && !backend.takes.lora {
        return Err(usage(format!(
            "--lora-name does not apply to --backend {}, whose endpoint takes no adapter",
            backend.name
        )));
    }
    if names.iter().any(String::is_empty) {
        return Err(usage("--lora-name: a name is empty".to_owned()));
    }
    let (name, share) = match requests.lora_request_distribution {
        LoraDistribution::Uniform => ("uniform", Share::Uniform),
        LoraDistribution::Distinct => ("distinct", Share::Distinct),
        LoraDistribution::Skewed => ("skewed", Share::Skewed(requests.lora_zipf_alpha)),
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
