//! A scenario: the settings that AISBench has in Python files, with their names, as JSON.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::lengths::{self, Method};
use crate::error::{Error, Kind};
use crate::workload::lengths::Lengths;

/// Models and datasets; each dataset is sent to each model.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The models.
    pub models: Vec<Model>,
    /// The datasets.
    pub datasets: Vec<Data>,
}

/// How a model is reached and loaded.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Model {
    /// `service`: a remote endpoint.
    pub attr: String,
    /// The protocol.
    pub r#type: String,
    /// The name of its folder.
    pub abbr: String,
    /// The tokenizer.
    pub path: String,
    /// The name that is sent; the first that the server lists if it is empty.
    pub model: String,
    /// Whether answers are streamed.
    pub stream: bool,
    /// Requests per second; not paced below 0.001.
    pub request_rate: f64,
    /// Whether requests are sent at the times of the dataset.
    pub use_timestamp: bool,
    /// How arrivals vary.
    pub traffic_cfg: Traffic,
    /// Times that a request is sent at most.
    pub retry: u32,
    /// A key that is sent as a bearer token.
    #[serde(skip_serializing)]
    pub api_key: String,
    /// Host of the server.
    pub host_ip: String,
    /// Port of the server.
    pub host_port: u16,
    /// URL of the server in the place of host and port.
    #[serde(skip_serializing)]
    pub url: String,
    /// Whether the connection is encrypted.
    pub enable_ssl: bool,
    /// Longest answer in tokens.
    pub max_out_len: usize,
    /// Requests in flight at most.
    pub batch_size: usize,
    /// Not needed: tokenizers are read without running code.
    pub trust_remote_code: bool,
    /// Keys of each body.
    pub generation_kwargs: Map<String, Value>,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            attr: "service".to_owned(),
            r#type: "VLLMCustomAPIChat".to_owned(),
            abbr: "vllm-api-stream-chat".to_owned(),
            path: String::new(),
            model: String::new(),
            stream: true,
            request_rate: 0.0,
            use_timestamp: false,
            traffic_cfg: Traffic::default(),
            retry: 2,
            api_key: String::new(),
            host_ip: "localhost".to_owned(),
            host_port: 8080,
            url: String::new(),
            enable_ssl: false,
            max_out_len: 512,
            batch_size: 1,
            trust_remote_code: false,
            generation_kwargs: Map::new(),
        }
    }
}

/// How arrivals vary.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Traffic {
    /// Shape of the gaps: 0 is none, 1 a Poisson process, below 1 bursts.
    pub burstiness: Option<f64>,
    /// `linear` or `exponential`.
    pub ramp_up_strategy: Option<String>,
    /// Rate at the beginning.
    pub ramp_up_start_rps: Option<f64>,
    /// Rate at the end.
    pub ramp_up_end_rps: Option<f64>,
}

/// Where prompts come from: made up, or from a file.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Data {
    /// The name of its files.
    pub abbr: String,
    /// What is made up.
    pub synthetic_config: Option<Synthetic>,
    /// A file of questions, one JSON object on each line.
    pub path: Option<PathBuf>,
    /// A file of a trace with times in ms.
    pub trace: Option<PathBuf>,
    /// What is sent of the file.
    pub meta: Meta,
}

/// What is made up.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Synthetic {
    /// `string` or `tokenid`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// Requests.
    #[serde(rename = "RequestCount")]
    pub count: usize,
    /// Not needed.
    #[serde(rename = "TrustRemoteCode", default)]
    pub trust: bool,
    /// Lengths of `string`.
    #[serde(rename = "StringConfig", default)]
    pub string: Option<Strings>,
    /// Lengths of `tokenid`.
    #[serde(rename = "TokenIdConfig", default)]
    pub ids: Option<Ids>,
}

/// The lengths of `string`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Strings {
    /// Of prompts.
    #[serde(rename = "Input")]
    pub input: Method,
    /// Of answers.
    #[serde(rename = "Output")]
    pub output: Method,
}

/// The lengths of `tokenid`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Ids {
    /// Of prompts.
    #[serde(rename = "RequestSize")]
    pub size: usize,
    /// Of the beginning that they share.
    #[serde(rename = "PrefixLen", default)]
    pub prefix: usize,
}

/// What is sent of a file.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Meta {
    /// Requests.
    pub request_count: Option<usize>,
    /// `default`, `random` or `shuffle`.
    pub sampling_mode: Option<String>,
    /// Lengths of answers.
    pub output_config: Option<Output>,
}

/// Lengths of answers to the rows of a file.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// `uniform` or `percentage`.
    pub method: String,
    /// Its parameters.
    pub params: Map<String, Value>,
}

impl Output {
    /// The lengths.
    ///
    /// # Errors
    /// If the parameters are not those of the method.
    pub(super) fn lengths(&self) -> Result<Lengths, String> {
        lengths::of_file(&self.method, &self.params)
    }
}

/// Types of models that are chat endpoints, and those that take text.
const CHAT: [&str; 3] = ["VLLMCustomAPIChat", "vllm_api_stream_chat", "vllm_api_general_chat"];
const TEXT: [&str; 4] =
    ["VLLMCustomAPI", "VLLMCustomAPIStream", "vllm_api_general", "vllm_api_general_stream"];

impl Model {
    /// The backend that the type stands for.
    ///
    /// # Errors
    /// If it is another protocol.
    pub(super) fn backend(&self) -> Result<&'static str, String> {
        let name = self.r#type.rsplit('.').next().unwrap_or_default();
        if CHAT.contains(&name) {
            Ok("vllm-chat")
        } else if TEXT.contains(&name) {
            Ok("vllm")
        } else {
            Err(format!(
                "type {}: rbench has none of its protocol; it has {}",
                self.r#type,
                [&CHAT[..], &TEXT[..]].concat().join(", ")
            ))
        }
    }

    fn check(&self) -> Result<(), String> {
        let range = |is: bool, what: &str| if is { Ok(()) } else { Err(what.to_owned()) };
        self.backend()?;
        range(self.attr == "service", "attr must be service: rbench loads no model")?;
        range((1..=100_000).contains(&self.batch_size), "batch_size must be 1 to 100000")?;
        range((0.0..=64_000.0).contains(&self.request_rate), "request_rate must be 0 to 64000")?;
        range(self.retry <= 1000, "retry must be 0 to 1000")?;
        range(self.max_out_len > 0, "max_out_len must be above 0")?;
        range(!self.abbr.is_empty(), "abbr is empty")?;
        for key in ["num_return_sequences", "lora_data_map_file"] {
            range(
                !self.generation_kwargs.contains_key(key),
                &format!("generation_kwargs: rbench has no {key}"),
            )?;
        }
        self.traffic_cfg.check()
    }
}

impl Traffic {
    fn check(&self) -> Result<(), String> {
        if self.burstiness.is_some_and(|shape| !(0.0..=1e6).contains(&shape)) {
            return Err("traffic_cfg: burstiness must be 0 or more".to_owned());
        }
        let strategy = self.ramp_up_strategy.as_deref();
        if strategy.is_some_and(|name| !matches!(name, "linear" | "exponential")) {
            return Err("traffic_cfg: ramp_up_strategy must be linear or exponential".to_owned());
        }
        let (start, end) = (self.ramp_up_start_rps, self.ramp_up_end_rps);
        match (strategy, start, end) {
            (None, None, None) => Ok(()),
            (Some(_), Some(start), Some(end)) if start > 0.0 && end > 0.1 && end >= start => Ok(()),
            (Some(_), Some(_), Some(_)) => Err(
                "traffic_cfg: ramp_up_start_rps must be above 0, and ramp_up_end_rps above 0.1 and not below it"
                    .to_owned(),
            ),
            _ => Err("traffic_cfg: ramp_up_strategy, ramp_up_start_rps and ramp_up_end_rps need each other".to_owned()),
        }
    }
}

impl Data {
    fn check(&self) -> Result<(), String> {
        if self.abbr.is_empty() {
            return Err("abbr is empty".to_owned());
        }
        let given = [self.synthetic_config.is_some(), self.path.is_some(), self.trace.is_some()];
        if given.iter().filter(|given| **given).count() != 1 {
            return Err("it needs one of synthetic_config, path and trace".to_owned());
        }
        if let Some(config) = &self.synthetic_config {
            if !(1..=1 << 20).contains(&config.count) {
                return Err("RequestCount must be 1 to 1048576".to_owned());
            }
            match (config.kind.as_str(), &config.string, &config.ids) {
                ("string", Some(strings), _) => {
                    strings.input.lengths().map_err(|what| format!("Input: {what}"))?;
                    strings.output.lengths().map_err(|what| format!("Output: {what}"))?;
                }
                ("tokenid", _, Some(ids)) if ids.size > ids.prefix => {}
                ("tokenid", _, Some(_)) => {
                    return Err("TokenIdConfig: PrefixLen must be below RequestSize".to_owned());
                }
                ("string", None, _) => return Err("Type string needs StringConfig".to_owned()),
                ("tokenid", _, None) => return Err("Type tokenid needs TokenIdConfig".to_owned()),
                _ => return Err("Type must be string or tokenid".to_owned()),
            }
        }
        if let Some(output) = &self.meta.output_config {
            output.lengths().map_err(|what| format!("output_config: {what}"))?;
        }
        match self.meta.sampling_mode.as_deref() {
            None | Some("default" | "random" | "shuffle") => Ok(()),
            Some(_) => Err("sampling_mode must be default, random or shuffle".to_owned()),
        }
    }
}

impl Scenario {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// If it cannot be read, or has a setting that rbench does not have or cannot use; the message names it.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let usage = |what: String| Error::new(Kind::Usage, format!("{}: {what}", path.display()));
        let text = std::fs::read_to_string(path)
            .map_err(|error| usage("cannot be read".to_owned()).because(error))?;
        let scenario: Self = serde_json::from_str(&text).map_err(|error| {
            usage(error.to_string()).hint("a scenario is JSON with the names of AISBench's settings; docs/from-aisbench.md has one")
        })?;
        for model in &scenario.models {
            model.check().map_err(|what| usage(format!("model {}: {what}", model.abbr)))?;
        }
        for data in &scenario.datasets {
            data.check().map_err(|what| usage(format!("dataset {}: {what}", data.abbr)))?;
        }
        if scenario.models.is_empty() || scenario.datasets.is_empty() {
            return Err(usage("it needs a model and a dataset".to_owned()));
        }
        Ok(scenario)
    }

    /// The models and datasets that are named; all without a name.
    ///
    /// # Errors
    /// If there is none of a name.
    pub fn selected(
        &self,
        models: &[String],
        datasets: &[String],
    ) -> Result<Vec<(Model, Data)>, Error> {
        let unknown = |flag: &str, name: &str| {
            Error::new(Kind::Usage, format!("{flag} {name}: the scenario has none of that abbr"))
        };
        for name in models {
            if !self.models.iter().any(|model| model.abbr == *name) {
                return Err(unknown("--models", name));
            }
        }
        for name in datasets {
            if !self.datasets.iter().any(|data| data.abbr == *name) {
                return Err(unknown("--datasets", name));
            }
        }
        let asked = |names: &[String], name: &String| names.is_empty() || names.contains(name);
        let models = self.models.iter().filter(|model| asked(models, &model.abbr));
        let datasets = || self.datasets.iter().filter(|data| asked(datasets, &data.abbr));
        Ok(models.flat_map(|m| datasets().map(move |data| (m.clone(), data.clone()))).collect())
    }
}
