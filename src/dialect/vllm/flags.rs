//! The flags of `vllm bench serve` with vLLM's names, defaults and meanings.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Command, Subcommand};
use serde_json::{Map, Value, json};

use crate::analysis::measure::Percent;
use crate::analysis::metric::Slo;
use crate::analysis::report::PERCENTILES;
use crate::config::values::Object;
use crate::config::{
    Before, Job, Layout, Layouts, Load, Outputs, Prompts, Requests, RunSpec, Servers,
};
use crate::error::{Error, Kind};
use crate::protocol::backend::Backend;
use crate::workload::arrival::Rate;

/// The metrics that are reported if nothing else is asked for.
pub(super) const METRICS: &str = "ttft,tpot,itl";

/// `rbench vllm`.
#[derive(Debug, Args)]
pub struct Tool {
    #[command(subcommand)]
    bench: Bench,
}

/// The commands of vLLM that rbench has.
#[derive(Debug, Subcommand)]
enum Bench {
    /// Benchmarks of vLLM
    #[command(subcommand)]
    Bench(Serve),
}

/// The benchmarks of vLLM that rbench has.
#[derive(Debug, Subcommand)]
enum Serve {
    /// Measure a server with the flags, the table and the result file of `vllm bench serve`
    Serve(Box<Flags>),
}

impl Tool {
    /// The flags of the command that was typed.
    pub fn flags(self) -> Box<Flags> {
        let Bench::Bench(Serve::Serve(flags)) = self.bench;
        flags
    }
}

/// The flags of `vllm bench serve`.
#[derive(Debug, Clone, Args)]
#[command(args_override_self = true)]
pub struct Flags {
    /// Kind of endpoint
    #[arg(long, value_name = "NAME", default_value = "openai", value_parser = ["openai", "vllm", "openai-chat"])]
    pub backend: String,
    /// URL of the server instead of --host and --port
    #[arg(long, value_name = "URL")]
    pub base_url: Option<String>,
    /// Host of the server
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1")]
    pub host: String,
    /// Port of the server
    #[arg(long, value_name = "PORT", default_value_t = 8000)]
    pub port: u16,
    /// Path of the endpoint, which has to be that of the backend [default: that of the backend]
    #[arg(long, value_name = "PATH")]
    pub endpoint: Option<String>,
    /// Headers of each request
    #[arg(long, value_name = "KEY=VALUE", num_args = 1..)]
    pub header: Vec<String>,
    /// Model name to send [default: the first that the server lists]
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Name to send instead of --model
    #[arg(long, value_name = "NAME")]
    pub served_model_name: Option<String>,
    /// Tokenizer [default: the model]
    #[arg(long, value_name = "PATH|ID")]
    pub tokenizer: Option<String>,
    /// Source of prompts
    #[arg(long, value_name = "NAME", default_value = "random", value_parser = ["random"])]
    pub dataset_name: String,
    /// Number of requests
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = count)]
    pub num_prompts: usize,
    /// Requests per second, arriving as a Poisson process; inf sends all at once
    #[arg(long, value_name = "RATE", default_value = "inf")]
    pub request_rate: Rate,
    /// Requests in flight at most [default: no limit]
    #[arg(long, value_name = "N", value_parser = count)]
    pub max_concurrency: Option<usize>,
    /// Seed of everything that is drawn
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Mean prompt length in tokens
    #[arg(long, value_name = "TOKENS", default_value_t = 1024)]
    pub random_input_len: usize,
    /// Mean output length in tokens
    #[arg(long, value_name = "TOKENS", default_value_t = 128)]
    pub random_output_len: usize,
    /// How far lengths lie from their means at most, as a share of the mean from 0 to below 1
    #[arg(long, value_name = "RATIO", default_value = "0.0", value_parser = half_width)]
    pub random_range_ratio: f64,
    /// Like --random-input-len, and wins
    #[arg(long, value_name = "TOKENS")]
    pub input_len: Option<usize>,
    /// Like --random-output-len, and wins
    #[arg(long, value_name = "TOKENS")]
    pub output_len: Option<usize>,
    /// Temperature [default: not sent]
    #[arg(long, value_name = "T")]
    pub temperature: Option<f64>,
    /// Nucleus [default: not sent]
    #[arg(long, value_name = "P")]
    pub top_p: Option<f64>,
    /// Keep generating after an end-of-sequence token, which random prompts do anyway
    #[arg(long)]
    pub ignore_eos: bool,
    /// Keys to add to each body, as a JSON object
    #[arg(long, value_name = "JSON", value_parser = object)]
    pub extra_body: Option<Value>,
    /// How long to wait for the server in seconds; 0 does not look
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub ready_check_timeout_sec: u64,
    /// Latencies in ms that requests are to keep within, of ttft, tpot and e2el
    #[arg(long, value_name = "KEY:MS", num_args = 1..)]
    pub goodput: Vec<Slo>,
    /// Metrics to report: ttft, tpot, itl, e2el
    #[arg(long, value_name = "NAME,...", default_value = METRICS, value_parser = metrics)]
    pub percentile_metrics: String,
    /// Percentiles to report
    #[arg(long, value_name = "P,...", default_value = "99", value_delimiter = ',', value_parser = percent)]
    pub metric_percentiles: Vec<f64>,
    /// Write the result to a file
    #[arg(long)]
    pub save_result: bool,
    /// Add arrays with one entry per request to the result
    #[arg(long)]
    pub save_detailed: bool,
    /// Append the result to its file
    #[arg(long)]
    pub append_result: bool,
    /// Folder of the result file
    #[arg(long, value_name = "DIR")]
    pub result_dir: Option<PathBuf>,
    /// Name of the result file [default: made from the run]
    #[arg(long, value_name = "NAME")]
    pub result_filename: Option<PathBuf>,
    /// Beginning of the name of the result file [default: the backend]
    #[arg(long, value_name = "TEXT")]
    pub label: Option<String>,
    /// Keys of the result
    #[arg(long, value_name = "KEY=VALUE", num_args = 1.., value_parser = pair)]
    pub metadata: Vec<(String, String)>,
    /// Draw no progress bar
    #[arg(long)]
    pub disable_tqdm: bool,
}

/// `vllm` with the spellings of its flags that vLLM takes: underscores in the place of hyphens.
pub fn spellings(tool: Command) -> Command {
    // The ids are the names with underscores.
    let spelled = |arg: clap::Arg| {
        let id = arg.get_id().clone();
        if id.as_str().contains('_') { arg.alias(id) } else { arg }
    };
    tool.mut_subcommand("bench", |bench| {
        bench.mut_subcommand("serve", |serve| serve.mut_args(spelled))
    })
}

impl Flags {
    /// The run that the flags ask for.
    ///
    /// # Errors
    /// If they do not go together.
    pub fn job(self) -> Result<Job, Error> {
        let backend = if self.backend == "openai-chat" { "vllm-chat" } else { "vllm" };
        let path = Backend::find(backend).map_or("", |backend| backend.path);
        if let Some(endpoint) = self.endpoint.as_ref().filter(|endpoint| *endpoint != path) {
            let message = format!("--endpoint {endpoint}: --backend {} is at {path}", self.backend);
            return Err(Error::new(Kind::Usage, message)
                .hint("leave --endpoint out, or choose another --backend"));
        }
        let (source, extra) = (Box::new(self.dataset()), self.body());
        let mut effective = self.effective();
        effective.retain(|_, value| *value != Value::Null);
        let spec = RunSpec {
            servers: Servers {
                backend: backend.to_owned(),
                base_url: self.base_url.into_iter().collect(),
                host: self.host,
                port: Some(self.port),
                header: self.header.iter().filter_map(|header| header.parse().ok()).collect(),
                model: self.model,
                served_model_name: self.served_model_name,
                tokenizer: self.tokenizer,
                ..Servers::default()
            },
            load: Load {
                num_prompts: self.num_prompts,
                request_rate: self.request_rate,
                max_concurrency: self.max_concurrency,
                seed: self.seed,
                ..Load::default()
            },
            prompts: Prompts { dataset_name: self.dataset_name, ..Prompts::default() },
            requests: Requests { extra_request_body: Some(Object(extra)), ..Requests::default() },
            before: Before {
                warmup_requests: 0,
                ready_check_timeout_sec: Some(self.ready_check_timeout_sec),
                ..Before::default()
            },
            layouts: Layouts::both(&Layout("vllm".to_owned())),
            outputs: Outputs {
                goodput: self.goodput,
                output_details: self.save_detailed,
                progress: !self.disable_tqdm,
                ..Outputs::default()
            },
            ..RunSpec::default()
        };
        Ok(Job { spec, source: Some(source), effective, ..Job::default() })
    }

    /// The lengths of prompts and answers.
    pub fn dataset(&self) -> super::Random {
        super::Random {
            input: self.input_len.unwrap_or(self.random_input_len),
            output: self.output_len.unwrap_or(self.random_output_len),
            half_width: self.random_range_ratio,
        }
    }

    /// The keys of each body: the user's, over what takes out the defaults that vLLM's client does not send.
    pub fn body(&self) -> Map<String, Value> {
        let mut body = Map::from_iter([("best_of".to_owned(), Value::Null)]);
        body.insert("temperature".to_owned(), self.temperature.into());
        if let Some(top_p) = self.top_p {
            body.insert("top_p".to_owned(), top_p.into());
        }
        if let Some(Value::Object(extra)) = &self.extra_body {
            body.extend(extra.clone());
        }
        body
    }

    /// The flags as they took effect, by the names that tables and results look for.
    pub fn effective(&self) -> Map<String, Value> {
        let pairs = self.metadata.iter().map(|(key, value)| (key.clone(), value.clone().into()));
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let flags = json!({
            "backend": self.backend,
            "random_input_len": self.dataset().input,
            "random_output_len": self.dataset().output,
            "random_range_ratio": self.random_range_ratio,
            "percentile_metrics": self.percentile_metrics,
            PERCENTILES: self.metric_percentiles,
            "save_result": self.save_result,
            "append_result": self.append_result,
            "result_dir": path(&self.result_dir),
            "result_filename": path(&self.result_filename),
            "label": self.label,
            "metadata": pairs.collect::<Map<String, Value>>(),
        });
        flags.as_object().cloned().unwrap_or_default()
    }
}

fn count(text: &str) -> Result<usize, String> {
    let number = text.trim().parse().ok().filter(|&n| n > 0);
    number.ok_or_else(|| "must be a whole number above 0".to_owned())
}

fn half_width(text: &str) -> Result<f64, String> {
    let ratio = text.trim().parse().ok().filter(|ratio| (0.0..1.0).contains(ratio));
    ratio.ok_or_else(|| {
        "must be a number from 0 to below 1: the half-width of the range as a share of the mean"
            .to_owned()
    })
}

fn percent(text: &str) -> Result<f64, String> {
    let percent = text.trim().parse().ok().and_then(Percent::new);
    percent
        .map(Percent::value)
        .ok_or_else(|| "must be numbers from 0 to 100 with at most three decimals".to_owned())
}

fn metrics(text: &str) -> Result<String, String> {
    let known = |name: &str| super::METRICS.iter().any(|(known, ..)| *known == name.trim());
    match text.split(',').find(|name| !known(name)) {
        None => Ok(text.to_owned()),
        Some(name) => Err(format!("`{name}` is not one of ttft, tpot, itl, e2el")),
    }
}

fn object(text: &str) -> Result<Value, String> {
    let value = Value::from_str(text).ok().filter(Value::is_object);
    value.ok_or_else(|| "must be a JSON object".to_owned())
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("must be KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}
