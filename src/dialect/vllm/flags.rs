//! The flags of `vllm bench serve` with vLLM's names, defaults and meanings.

pub mod body;
pub mod data;
pub mod load;
pub mod values;

use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, Subcommand};
use serde_json::{Map, Value, json};

pub use self::body::{Assignment, Body};
pub use self::data::Data;
pub use self::load::Load;
use self::values::pair;
use crate::analysis::PERCENTILES;
use crate::workload::arrival::Strategy;

/// The metrics that are reported of generated text if nothing else is asked for.
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
    /// The flags of the command that was typed, of which `matches` knows where each value is from.
    pub fn flags(self, matches: &ArgMatches) -> Box<Flags> {
        let Bench::Bench(Serve::Serve(mut flags)) = self.bench;
        let serve =
            ["bench", "serve"].iter().try_fold(matches, |m, name| m.subcommand_matches(name));
        if let Some(serve) = serve {
            let is_typed = |id: &&str| serve.value_source(id) == Some(ValueSource::CommandLine);
            let ids = serve.ids().map(clap::Id::as_str).filter(is_typed);
            flags.typed = ids.map(|id| id.replace('_', "-")).collect();
        }
        flags
    }
}

/// A `--backend` value of vLLM's client.
#[derive(Debug)]
pub struct Backend {
    /// The value.
    pub name: &'static str,
    /// The backend of rbench that it is.
    pub ours: &'static str,
    /// What the path of its endpoint ends with.
    pub suffixes: &'static [&'static str],
}

/// All of them.
pub const BACKENDS: &[Backend] = &[
    Backend { name: "openai", ours: "vllm", suffixes: &["completions"] },
    Backend { name: "vllm", ours: "vllm", suffixes: &["completions"] },
    Backend { name: "openai-chat", ours: "vllm-chat", suffixes: &["chat/completions"] },
    Backend { name: "openai-responses", ours: "vllm-responses", suffixes: &["responses"] },
    Backend {
        name: "openai-audio",
        ours: "vllm-transcriptions",
        suffixes: &["transcriptions", "translations"],
    },
    Backend { name: "openai-embeddings", ours: "vllm-embedding", suffixes: &["embeddings"] },
    Backend {
        name: "openai-embeddings-chat",
        ours: "vllm-embedding-chat",
        suffixes: &["embeddings"],
    },
    Backend {
        name: "openai-embeddings-clip",
        ours: "vllm-embedding-clip",
        suffixes: &["embeddings"],
    },
    Backend { name: "infinity-embeddings", ours: "infinity-embedding", suffixes: &["embeddings"] },
    Backend {
        name: "infinity-embeddings-clip",
        ours: "infinity-embedding-clip",
        suffixes: &["embeddings"],
    },
    Backend { name: "vllm-pooling", ours: "vllm-pooling", suffixes: &["pooling"] },
    Backend { name: "vllm-rerank", ours: "vllm-rerank", suffixes: &["rerank"] },
];

const TARGET: &str = "Target";
const OUTPUT: &str = "Output";

/// The flags of `vllm bench serve`.
#[derive(Debug, Clone, Args)]
#[command(args_override_self = true)]
pub struct Flags {
    /// The names of the flags that were typed.
    #[arg(skip)]
    pub typed: Vec<String>,
    /// Kind of endpoint
    #[arg(long, value_name = "NAME", default_value = "openai", value_parser = backend, help_heading = TARGET)]
    pub backend: &'static Backend,
    /// URL of the server instead of --host and --port
    #[arg(long, value_name = "URL", help_heading = TARGET)]
    pub base_url: Option<String>,
    /// Host of the server
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1", help_heading = TARGET)]
    pub host: String,
    /// Port of the server
    #[arg(long, value_name = "PORT", default_value_t = 8000, help_heading = TARGET)]
    pub port: u16,
    /// Path of the endpoint after the base URL [default: that of the backend]
    #[arg(long, value_name = "PATH", help_heading = TARGET)]
    pub endpoint: Option<String>,
    /// Headers of each request
    #[arg(long, value_name = "KEY=VALUE", num_args = 1.., help_heading = TARGET)]
    pub header: Vec<String>,
    /// Trust any certificate
    #[arg(long, help_heading = TARGET)]
    pub insecure: bool,
    /// Model name to send [default: the first that the server lists]
    #[arg(long, value_name = "NAME", help_heading = TARGET)]
    pub model: Option<String>,
    /// Name to send instead of --model
    #[arg(long, value_name = "NAME", help_heading = TARGET)]
    pub served_model_name: Option<String>,
    /// Tokenizer [default: the model]
    #[arg(long, value_name = "PATH|ID", help_heading = TARGET)]
    pub tokenizer: Option<String>,
    /// Kind of tokenizer, which rbench finds out from its files: auto, hf, slow, mistral
    #[arg(long, value_name = "MODE", default_value = "auto", value_parser = ["auto", "hf", "slow", "mistral"], help_heading = TARGET)]
    pub tokenizer_mode: String,
    /// Not needed: rbench runs no code of models
    #[arg(long, hide = true)]
    pub trust_remote_code: bool,
    /// Cannot be skipped: without a tokenizer there are no lengths
    #[arg(long, hide = true)]
    pub skip_tokenizer_init: bool,
    /// What stands before the number of each request in its id [default: bench-, 8 random hexadecimal digits, -]
    #[arg(long, value_name = "TEXT", help_heading = TARGET)]
    pub request_id_prefix: Option<String>,
    /// Have the server's profiler record the run
    #[arg(long, help_heading = TARGET)]
    pub profile: bool,

    /// Flags of what is sent when, and of what is measured.
    #[command(flatten)]
    pub load: Load,
    /// Flags of what a request asks for.
    #[command(flatten)]
    pub body: Body,
    /// Flags of where prompts come from.
    #[command(flatten)]
    pub data: Data,

    /// Write the result to a file
    #[arg(long, help_heading = OUTPUT)]
    pub save_result: bool,
    /// Add arrays with one entry per request to the result
    #[arg(long, help_heading = OUTPUT)]
    pub save_detailed: bool,
    /// Append the result to its file
    #[arg(long, help_heading = OUTPUT)]
    pub append_result: bool,
    /// Folder of the result file
    #[arg(long, value_name = "DIR", help_heading = OUTPUT)]
    pub result_dir: Option<PathBuf>,
    /// Name of the result file [default: made from the run]
    #[arg(long, value_name = "NAME", help_heading = OUTPUT)]
    pub result_filename: Option<PathBuf>,
    /// Beginning of the name of the result file [default: the backend]
    #[arg(long, value_name = "TEXT", help_heading = OUTPUT)]
    pub label: Option<String>,
    /// Keys of the result
    #[arg(long, value_name = "KEY=VALUE", num_args = 1.., value_parser = pair, help_heading = OUTPUT)]
    pub metadata: Vec<(String, String)>,
    /// Draw no progress bar
    #[arg(long, help_heading = OUTPUT)]
    pub disable_tqdm: bool,
    /// Draw each request over time, as a page beside the result file
    #[arg(long, help_heading = OUTPUT)]
    pub plot_timeline: bool,
    /// Gaps in ms from which they are drawn as slow, and as very slow
    #[arg(long, value_name = "A,B", default_value = "25,50", value_delimiter = ',', requires = "plot_timeline", help_heading = OUTPUT)]
    pub timeline_itl_thresholds: Vec<f64>,
    /// Cannot be drawn
    #[arg(long, hide = true)]
    pub plot_dataset_stats: bool,
    /// Compare two result files instead of measuring
    #[arg(long, value_name = "FILE", num_args = 2, help_heading = OUTPUT)]
    pub compare: Vec<PathBuf>,
}

/// Reads a `--backend` value.
fn backend(text: &str) -> Result<&'static Backend, String> {
    let found = BACKENDS.iter().find(|backend| backend.name == text);
    found.ok_or_else(|| {
        if text == "openai-embeddings-vlm2vec" {
            return "cannot be used: rbench does not have the instructions that its prompts begin with"
                .to_owned();
        }
        let names: Vec<&str> = BACKENDS.iter().map(|backend| backend.name).collect();
        format!("must be one of {}", names.join(", "))
    })
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
    /// The flags as they took effect, by the names that tables and results look for; `generates` is whether the backend
    /// generates text.
    pub fn effective(&self, generates: bool) -> Map<String, Value> {
        let pairs = self.metadata.iter().map(|(key, value)| (key.clone(), value.clone().into()));
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let Self { load, data, .. } = self;
        let flags = json!({
            "backend": self.backend.name,
            "num_prompts": load.num_prompts,
            "random_input_len": data.input_len.unwrap_or(data.random_input_len),
            "random_output_len": data.output_len.unwrap_or(data.random_output_len),
            "random_range_ratio": data.random_range_ratio.input,
            "random_batch_size": data.random_batch_size,
            "no_reranker": data.no_reranker,
            "percentile_metrics": load.metrics(generates),
            PERCENTILES: load.metric_percentiles,
            "burstiness": shown(load.burstiness),
            "ramp_up_strategy": load.ramp_up_strategy.map(Strategy::name),
            "ramp_up_start_rps": load.ramp_up_start_rps,
            "ramp_up_end_rps": load.ramp_up_end_rps,
            "save_result": self.save_result,
            "append_result": self.append_result,
            "result_dir": path(&self.result_dir),
            "result_filename": path(&self.result_filename),
            "label": self.label,
            "metadata": pairs.collect::<Map<String, Value>>(),
        });
        flags.as_object().cloned().unwrap_or_default()
    }

    /// The flag that asks for what rbench does not have, and what to do instead.
    pub fn refused(&self) -> Option<(&'static str, &'static str)> {
        let Self { body, data, .. } = self;
        let asked = [
            (
                self.skip_tokenizer_init,
                "--skip-tokenizer-init cannot be used: prompts and answers have no lengths without a tokenizer",
                "--tokenizer NAME gives one; rbench-bundled is inside the program",
            ),
            (
                body.use_beam_search,
                "--use-beam-search cannot be used: vLLM's client reads it and sends nothing",
                "--extra-body.use_beam_search true sends the key",
            ),
            (
                body.chat_template_kwargs.is_some(),
                "--chat-template-kwargs cannot be used: templates get no more than the messages here",
                "--backend openai-chat with --extra-body.chat_template_kwargs.KEY VALUE has the server use them",
            ),
            (
                self.plot_dataset_stats,
                "--plot-dataset-stats cannot be drawn",
                "--save-result --save-detailed stores the lengths of all requests",
            ),
            (
                data.bfcl_categories.is_some(),
                "--bfcl-categories cannot be used: rbench has no data set with tools",
                "--dataset-name custom reads prompts of yours",
            ),
            (
                data.blazedit_min_distance.or(data.blazedit_max_distance).is_some(),
                "--blazedit-min-distance and --blazedit-max-distance cannot be used: rbench has no data set of edits",
                "--dataset-name custom reads prompts of yours",
            ),
            (
                data.asr_min_audio_len_sec.or(data.asr_max_audio_len_sec).is_some(),
                "--asr-min-audio-len-sec and --asr-max-audio-len-sec cannot be used: rbench has no data set of speech",
                "--dataset-name custom_audio reads sounds of yours",
            ),
        ];
        asked.into_iter().find(|(is_asked, ..)| *is_asked).map(|(_, what, instead)| (what, instead))
    }
}

/// A burstiness in JSON, which has no infinity.
fn shown(burstiness: f64) -> Value {
    if burstiness.is_finite() { burstiness.into() } else { "inf".into() }
}
