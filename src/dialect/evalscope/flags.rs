//! The flags of `evalscope perf` with EvalScope's names, defaults and meanings.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::{Map, Value};

use super::figures::Load;
use super::layout::Layout;
use super::values::{Lengths, object, pair, text_or_file};

const TARGET: &str = "Target";
const LOAD: &str = "Load";
const SLA: &str = "Search under objectives";
const DATA: &str = "Prompts";
const REQUEST: &str = "Requests";
const OUTPUT: &str = "Output";

/// `rbench evalscope`.
#[derive(Debug, Args)]
pub struct Tool {
    #[command(subcommand)]
    command: Commands,
}

/// The commands of EvalScope that rbench has.
#[derive(Debug, Subcommand)]
enum Commands {
    /// Measure a server with the flags, the tables and the files of `evalscope perf`
    Perf(Box<Flags>),
}

impl Tool {
    /// The flags of the command that was typed.
    pub fn flags(self) -> Box<Flags> {
        let Commands::Perf(flags) = self.command;
        flags
    }
}

/// The names of `--api`.
const APIS: [&str; 5] = ["openai", "openai_embedding", "embedding", "openai_rerank", "rerank"];

/// The names of `--dataset`.
const DATASETS: [&str; 12] = [
    "openqa",
    "longalpaca",
    "line_by_line",
    "random",
    "random_vl",
    "random_multi_turn",
    "custom_multi_turn",
    "workload_trace",
    "embedding",
    "random_embedding",
    "rerank",
    "random_rerank",
];

/// The flags of `evalscope perf`.
#[derive(Debug, Clone, Args, Serialize)]
#[command(args_override_self = true)]
pub struct Flags {
    /// Model name to send
    #[arg(long, value_name = "NAME", help_heading = TARGET)]
    pub model: Option<String>,
    /// Kind of endpoint
    #[arg(long, value_name = "NAME", default_value = "openai", value_parser = PossibleValuesParser::new(APIS), help_heading = TARGET)]
    pub api: String,
    /// Full URL of the endpoint
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8877/v1/chat/completions", help_heading = TARGET)]
    #[serde(skip)]
    pub url: String,
    /// Tokenizer [default: the one the server reports, else the model]
    #[arg(long, value_name = "PATH|ID", help_heading = TARGET)]
    pub tokenizer_path: Option<String>,
    /// Headers of each request
    #[arg(long, value_name = "KEY=VALUE", num_args = 1.., value_parser = pair, help_heading = TARGET)]
    #[serde(skip)]
    pub headers: Vec<(String, String)>,
    /// Key that is sent as a bearer token; the list of processes shows it, so the environment variable
    /// OPENAI_API_KEY is better
    #[arg(long, value_name = "KEY", help_heading = TARGET)]
    #[serde(skip)]
    pub api_key: Option<String>,
    /// Longest wait for a connection in seconds [default: 0, which waits as long as the request may take]
    #[arg(long, value_name = "SECONDS", help_heading = TARGET)]
    pub connect_timeout: Option<u64>,
    /// Longest pause of an answer in seconds [default: no limit]
    #[arg(long, value_name = "SECONDS", help_heading = TARGET)]
    pub read_timeout: Option<u64>,
    /// Longest time of a request in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 21600, help_heading = TARGET)]
    pub total_timeout: u64,
    /// Do not wait for the server before the first run
    #[arg(long, help_heading = TARGET)]
    pub no_test_connection: bool,

    /// Requests of each run; conversations with --multi-turn
    #[arg(long, short = 'n', value_name = "N", num_args = 1.., default_value = "1000", value_parser = count, help_heading = LOAD)]
    pub number: Vec<usize>,
    /// Requests in flight at most, of each run
    #[arg(long, value_name = "N", num_args = 1.., default_value = "1", value_parser = count, help_heading = LOAD)]
    pub parallel: Vec<usize>,
    /// Requests per second of each run, arriving as a Poisson process; -1 does not pace them
    #[arg(long, value_name = "RATE", num_args = 1.., default_value = "-1", allow_negative_numbers = true, value_parser = rate, help_heading = LOAD)]
    pub rate: Vec<f64>,
    /// Let the rate alone say how many requests are in flight
    #[arg(long, help_heading = LOAD)]
    pub open_loop: bool,
    /// Requests before the measured ones: a number, or below 1 their share of --number
    #[arg(long, value_name = "N", default_value_t = 0.0, value_parser = not_negative, help_heading = LOAD)]
    pub warmup_num: f64,
    /// Send nothing after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = above_zero, help_heading = LOAD)]
    pub duration: Option<f64>,
    /// Seconds between two runs
    #[arg(long, value_name = "SECONDS", default_value_t = 5, help_heading = LOAD)]
    pub sleep_interval: u64,
    /// Report the hand-over between prefill and decode
    #[arg(long, help_heading = LOAD)]
    pub enable_pd_metrics: bool,
    /// Does nothing: requests are made before a run begins, on all cores
    #[arg(long, hide = true, value_name = "N", help_heading = LOAD)]
    pub num_workers: Option<u64>,
    /// Does nothing: records are written as requests end
    #[arg(long, hide = true, value_name = "N", help_heading = LOAD)]
    pub db_commit_interval: Option<u64>,
    /// Does nothing: there is no queue of requests
    #[arg(long, hide = true, value_name = "N", help_heading = LOAD)]
    pub queue_size_multiplier: Option<u64>,
    /// Does nothing: requests are no tasks
    #[arg(long, hide = true, value_name = "N", help_heading = LOAD)]
    pub in_flight_task_multiplier: Option<u64>,

    /// Look for the highest load that meets --sla-params
    #[arg(long, help_heading = SLA)]
    pub sla_auto_tune: bool,
    /// What is varied
    #[arg(long, value_name = "NAME", default_value = "parallel", value_parser = ["parallel", "rate"], help_heading = SLA)]
    pub sla_variable: String,
    /// Objectives as JSON: an object has all of them, a list has groups that are looked for one by one
    #[arg(long, value_name = "JSON", help_heading = SLA)]
    pub sla_params: Option<super::sla::Groups>,
    /// Runs of each load, whose figures are averaged
    #[arg(long, value_name = "N", default_value = "3", value_parser = count, help_heading = SLA)]
    pub sla_num_runs: usize,
    /// Lowest load that is tried
    #[arg(long, value_name = "N", default_value = "1", value_parser = count, help_heading = SLA)]
    pub sla_lower_bound: usize,
    /// Highest load that is tried
    #[arg(long, value_name = "N", default_value = "65536", value_parser = count, help_heading = SLA)]
    pub sla_upper_bound: usize,
    /// Requests in flight at most while the rate is varied [default: --sla-upper-bound]
    #[arg(long, value_name = "N", value_parser = count, help_heading = SLA)]
    pub sla_fixed_parallel: Option<usize>,
    /// Requests of a run per unit of its load [default: 2]
    #[arg(long, value_name = "X", value_parser = above_zero, help_heading = SLA)]
    pub sla_number_multiplier: Option<f64>,

    /// Source of prompts
    #[arg(long, value_name = "NAME", default_value = "openqa", value_parser = PossibleValuesParser::new(DATASETS), help_heading = DATA)]
    pub dataset: String,
    /// File of the dataset
    #[arg(long, value_name = "PATH", help_heading = DATA)]
    pub dataset_path: Option<PathBuf>,
    /// Where the dataset comes from: files of this machine alone
    #[arg(long, value_name = "NAME", value_parser = ["local"], help_heading = DATA)]
    pub data_source: Option<String>,
    /// Rows that are left out at the beginning; grows by --number with each run
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = DATA)]
    pub dataset_offset: usize,
    /// Parameters of the dataset
    #[arg(long, value_name = "JSON", value_parser = object, help_heading = DATA)]
    pub dataset_args: Option<Map<String, Value>>,
    /// The prompt of all requests, or @FILE
    #[arg(long, value_name = "TEXT|@FILE", help_heading = DATA)]
    pub prompt: Option<String>,
    /// Keys of each body as JSON, or @FILE; its messages are replaced
    #[arg(long, value_name = "JSON|@FILE", help_heading = DATA)]
    pub query_template: Option<String>,
    /// Send messages [default: where the URL ends with chat/completions]
    #[arg(long, overrides_with = "no_apply_chat_template", help_heading = DATA)]
    pub apply_chat_template: bool,
    /// Send the text of prompts
    #[arg(long, overrides_with = "apply_chat_template", help_heading = DATA)]
    #[serde(skip)]
    pub no_apply_chat_template: bool,
    /// Longest prompt in tokens; longer ones are left out, and random ones are not made
    #[arg(long, value_name = "TOKENS", default_value_t = 131_072, help_heading = DATA)]
    pub max_prompt_length: usize,
    /// Shortest prompt in tokens, likewise
    #[arg(long, value_name = "TOKENS", default_value_t = 0, help_heading = DATA)]
    pub min_prompt_length: usize,
    /// Tokens that random prompts begin with in common, beside their own
    #[arg(long, value_name = "TOKENS", default_value_t = 0, help_heading = DATA)]
    pub prefix_length: usize,
    /// Beginnings that random prompts share, in turn
    #[arg(long, value_name = "N", default_value = "1", value_parser = count, help_heading = DATA)]
    pub prefix_count: usize,
    /// Send token ids instead of text, to /v1/completions
    #[arg(long, help_heading = DATA)]
    pub tokenize_prompt: bool,
    /// Width of images in pixels (random_vl)
    #[arg(long, value_name = "PIXELS", default_value_t = 224, value_parser = clap::value_parser!(u32).range(1..=8192), help_heading = DATA)]
    pub image_width: u32,
    /// Height of images in pixels (random_vl)
    #[arg(long, value_name = "PIXELS", default_value_t = 224, value_parser = clap::value_parser!(u32).range(1..=8192), help_heading = DATA)]
    pub image_height: u32,
    /// Colours of images (random_vl)
    #[arg(long, value_name = "MODE", default_value = "RGB", value_parser = ["RGB"], help_heading = DATA)]
    pub image_format: String,
    /// Images of each request (random_vl)
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..), help_heading = DATA)]
    pub image_num: u16,
    /// Pixels per side of the patch that is one image token, where the server does not count
    #[arg(long, value_name = "PIXELS", default_value_t = 28, value_parser = clap::value_parser!(u32).range(1..), help_heading = DATA)]
    pub image_patch_size: u32,
    /// Send conversations turn by turn, with the answers of the server
    #[arg(long, help_heading = DATA)]
    pub multi_turn: bool,
    /// Fewest turns of a random conversation
    #[arg(long, value_name = "N", default_value = "1", value_parser = count, help_heading = DATA)]
    pub min_turns: usize,
    /// Most turns of a conversation
    #[arg(long, value_name = "N", value_parser = count, help_heading = DATA)]
    pub max_turns: Option<usize>,

    /// Longest answer in tokens, or the range that it is drawn from
    #[arg(long, value_name = "TOKENS", num_args = 1..=2, default_value = "2048", value_parser = count, help_heading = REQUEST)]
    pub max_tokens: Vec<usize>,
    /// Shortest answer in tokens
    #[arg(long, value_name = "TOKENS", help_heading = REQUEST)]
    pub min_tokens: Option<u64>,
    /// Temperature
    #[arg(long, value_name = "T", default_value_t = 0.0, help_heading = REQUEST)]
    pub temperature: f64,
    /// Nucleus
    #[arg(long, value_name = "P", help_heading = REQUEST)]
    pub top_p: Option<f64>,
    /// Most likely tokens that are drawn from
    #[arg(long, value_name = "K", allow_negative_numbers = true, help_heading = REQUEST)]
    pub top_k: Option<i64>,
    /// Penalty of frequent tokens
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = REQUEST)]
    pub frequency_penalty: Option<f64>,
    /// Penalty of repetitions
    #[arg(long, value_name = "X", help_heading = REQUEST)]
    pub repetition_penalty: Option<f64>,
    /// Ask for log probabilities
    #[arg(long, help_heading = REQUEST)]
    pub logprobs: bool,
    /// Answers to each request
    #[arg(long, value_name = "N", value_parser = count, help_heading = REQUEST)]
    pub n_choices: Option<usize>,
    /// Seed of all that is drawn, which is sent as well [default: another one each time, not sent]
    #[arg(long, value_name = "N", help_heading = REQUEST)]
    pub seed: Option<u64>,
    /// Texts at which an answer ends
    #[arg(long, value_name = "TEXT", num_args = 1.., help_heading = REQUEST)]
    pub stop: Option<Vec<String>>,
    /// Tokens at which an answer ends
    #[arg(long, value_name = "ID", num_args = 1.., help_heading = REQUEST)]
    pub stop_token_ids: Option<Vec<u64>>,
    /// Stream answers, which is the default
    #[arg(long, overrides_with = "no_stream", help_heading = REQUEST)]
    #[serde(skip)]
    pub stream: bool,
    /// Ask for whole answers
    #[arg(long, overrides_with = "stream", help_heading = REQUEST)]
    #[serde(skip)]
    pub no_stream: bool,
    /// Keys of each body as JSON
    #[arg(long, value_name = "JSON", value_parser = object, help_heading = REQUEST)]
    pub extra_args: Option<Map<String, Value>>,

    /// Folder of the results
    #[arg(long, value_name = "DIR", default_value = "outputs", help_heading = OUTPUT)]
    pub outputs_dir: PathBuf,
    /// Leave the time out of the path of the results
    #[arg(long, help_heading = OUTPUT)]
    pub no_timestamp: bool,
    /// Name of the folder of these runs [default: the model]
    #[arg(long, value_name = "NAME", help_heading = OUTPUT)]
    pub name: Option<String>,
    /// Name of the model in the report
    #[arg(long, value_name = "NAME", help_heading = OUTPUT)]
    pub alias: Option<String>,
    /// Does nothing: there is a progress bar
    #[arg(long, hide = true, value_name = "N", help_heading = OUTPUT)]
    pub log_every_n_query: Option<u64>,
    /// Print each request when it is sent and when it has ended
    #[arg(long, help_heading = OUTPUT)]
    pub debug: bool,
    /// Layout of the tables, which is rbench's own flag: that of 1.14, 1.6 or 0.16
    #[arg(long, value_name = "VERSION", default_value = "1.14", help_heading = OUTPUT)]
    #[serde(skip)]
    pub layout: Layout,
}

impl Flags {
    /// Whether answers are streamed.
    pub fn streams(&self) -> bool {
        self.generates() && !self.no_stream
    }

    /// Whether requests generate tokens.
    pub fn generates(&self) -> bool {
        self.api == "openai"
    }

    /// How long answers may be.
    pub fn answers(&self) -> Lengths {
        let least = self.max_tokens.first().copied().unwrap_or(1);
        Lengths { least, most: self.max_tokens.get(1).copied().unwrap_or(least) }
    }

    /// How long random prompts are.
    pub fn prompts(&self) -> Lengths {
        Lengths { least: self.min_prompt_length, most: self.max_prompt_length }
    }

    /// The keys of each body that EvalScope's client sends beside those of every client. What that client does not send
    /// is null.
    ///
    /// # Errors
    /// If `--query-template` is no object.
    pub fn body(&self) -> Result<Map<String, Value>, String> {
        let mut body = match &self.query_template {
            Some(text) => object(text).map_err(|what| format!("--query-template {what}"))?,
            None => Map::new(),
        };
        body.shift_remove("messages");
        if self.generates() {
            let mut put = |key: &str, value: Value| body.insert(key.to_owned(), value);
            // Rows have their limits by their older name.
            for unsent in ["max_completion_tokens", "best_of"] {
                put(unsent, Value::Null);
            }
            put("temperature", self.temperature.into());
            for (key, value) in [
                ("min_tokens", self.min_tokens.map(Value::from)),
                ("top_p", self.top_p.map(Value::from)),
                ("top_k", self.top_k.map(Value::from)),
                ("frequency_penalty", self.frequency_penalty.map(Value::from)),
                ("repetition_penalty", self.repetition_penalty.map(Value::from)),
                ("logprobs", self.logprobs.then_some(Value::from(true))),
                ("n", self.n_choices.map(Value::from)),
                ("seed", self.seed.map(Value::from)),
                ("stop", self.stop.clone().map(Value::from)),
                ("stop_token_ids", self.stop_token_ids.clone().map(Value::from)),
            ] {
                if let Some(value) = value {
                    put(key, value);
                }
            }
        }
        let mut extra = self.extra_args.clone().unwrap_or_default();
        if !self.generates() {
            // These say what a request holds, and are not sent.
            for own in ["batch_size", "num_documents", "document_length_ratio"] {
                extra.shift_remove(own);
            }
        }
        body.extend(extra);
        Ok(body)
    }

    /// Puts the texts of files in the place of the flags that name them with `@`.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn read_files(&mut self) -> Result<(), String> {
        for (flag, text) in
            [("--prompt", &mut self.prompt), ("--query-template", &mut self.query_template)]
        {
            if let Some(text) = text {
                *text = text_or_file(text).map_err(|what| format!("{flag}: {what}"))?;
            }
        }
        Ok(())
    }

    /// The loads of the runs.
    ///
    /// # Errors
    /// If the lists do not go together.
    pub fn loads(&self) -> Result<Vec<Load>, String> {
        let numbers = &self.number;
        let paced = |rate: f64| (rate > 0.0).then_some(rate);
        if self.open_loop {
            if self.multi_turn {
                return Err(
                    "--multi-turn does not go with --open-loop: a turn waits for the one before it"
                        .to_owned(),
                );
            }
            if self.dataset == "workload_trace" {
                let load = |&number| Load { parallel: None, rate: None, number };
                return Ok(numbers.iter().map(load).collect());
            }
            if numbers.len() != self.rate.len() {
                return Err(different("--rate", self.rate.len(), numbers.len()));
            }
            if self.rate.iter().any(|rate| paced(*rate).is_none()) {
                return Err("--open-loop needs a --rate above 0 for each run".to_owned());
            }
            let load = |(&number, &rate)| Load { parallel: None, rate: paced(rate), number };
            return Ok(numbers.iter().zip(&self.rate).map(load).collect());
        }
        if self.dataset == "workload_trace" {
            return Err(
                "--dataset workload_trace needs --open-loop: its rows have times of their own"
                    .to_owned(),
            );
        }
        if numbers.len() != self.parallel.len() {
            return Err(different("--parallel", self.parallel.len(), numbers.len()));
        }
        let [rate] = self.rate[..] else {
            return Err("--rate takes one rate without --open-loop".to_owned());
        };
        let load =
            |(&number, &parallel)| Load { parallel: Some(parallel), rate: paced(rate), number };
        Ok(numbers.iter().zip(&self.parallel).map(load).collect())
    }

    /// Requests before the measured ones of a run of `number`.
    pub fn warm_up(&self, number: usize) -> usize {
        let share = self.warmup_num;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not below 0")]
        let whole = |x: f64| x as usize;
        match share {
            0.0 => 0,
            share if share < 1.0 => whole(share * number as f64).max(1),
            share => whole(share),
        }
    }

    /// Flags that are no mistake and have no effect.
    pub fn notes(&self) -> Vec<String> {
        let given = [
            ("--num-workers", self.num_workers, "requests are made on all cores before a run"),
            (
                "--db-commit-interval",
                self.db_commit_interval,
                "records are written as requests end",
            ),
            (
                "--queue-size-multiplier",
                self.queue_size_multiplier,
                "there is no queue of requests",
            ),
            (
                "--in-flight-task-multiplier",
                self.in_flight_task_multiplier,
                "requests are no tasks",
            ),
            ("--log-every-n-query", self.log_every_n_query, "there is a progress bar"),
        ];
        let given = given.into_iter().filter(|(_, value, _)| value.is_some());
        given.map(|(flag, _, why)| format!("{flag} does nothing here: {why}")).collect()
    }
}

fn different(flag: &str, n: usize, numbers: usize) -> String {
    format!("{flag} has {n} values and --number has {numbers}: each run needs one of both")
}

fn count(text: &str) -> Result<usize, String> {
    let number = text.trim().parse().ok().filter(|&n| n > 0);
    number.ok_or_else(|| "must be a whole number above 0".to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text
        .trim()
        .parse()
        .ok()
        .filter(|&rate: &f64| (rate + 1.0).abs() < f64::EPSILON || rate >= 1e-6);
    let rate = rate.filter(|rate| rate.is_finite());
    rate.ok_or_else(|| "must be a number of requests per second above 0, or -1".to_owned())
}

fn above_zero(text: &str) -> Result<f64, String> {
    let number = text.trim().parse().ok().filter(|&x: &f64| x > 0.0 && x < 1e9);
    number.ok_or_else(|| "must be a number above 0".to_owned())
}

fn not_negative(text: &str) -> Result<f64, String> {
    let number = text.trim().parse().ok().filter(|&x: &f64| (0.0..1e9).contains(&x));
    number.ok_or_else(|| "must be a number of 0 or more".to_owned())
}
