//! What a model and a dataset of a scenario mean: one run.

use std::time::Duration;

use serde_json::{Map, Value};

use super::flags::Flags;
use super::prompts::{Prompts, WarmUp};
use super::scenario::{Data, Model};
use super::traffic;
use crate::config::values::{Header, Object};
use crate::config::{self, Before, Job, Outputs, Requests, RunSpec, Servers, Timeouts};
use crate::error::{Error, Kind};
use crate::workload::arrival::Rate;
use crate::workload::dataset::Dataset;

/// Rows of a file at most where nobody says how many.
const MOST: usize = 1 << 20;

impl Flags {
    /// The run that sends `data` to `model`.
    ///
    /// # Errors
    /// If the settings do not go together.
    pub fn job(&self, model: &Model, data: &Data) -> Result<Job, Error> {
        let usage = |what: String| Error::new(Kind::Usage, what);
        let backend = model.backend().map_err(usage)?;
        if self.pressure {
            let paced = [
                ("request_rate", traffic::is_paced(model)),
                ("use_timestamp", model.use_timestamp),
            ];
            if let Some((key, _)) = paced.into_iter().find(|(_, given)| *given) {
                return Err(usage(format!(
                    "--pressure with {key}: rbench begins with all of batch_size at once, and cannot add clients at a rate"
                ))
                .hint(format!("leave {key} out of model {}", model.abbr)));
            }
        }
        let scheme = if model.enable_ssl { "https" } else { "http" };
        let host = model.host_ip.trim_matches(['[', ']']);
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let base = if model.url.is_empty() {
            format!("{scheme}://{host}:{}", model.host_port)
        } else {
            model.url.clone()
        };
        let key = (!model.api_key.is_empty()).then(|| Header::Pair {
            name: "Authorization".to_owned(),
            value: format!("Bearer {}", model.api_key),
        });
        let mut body: Map<String, Value> = ["max_completion_tokens", "best_of", "temperature"]
            .map(|key| (key.to_owned(), Value::Null))
            .into_iter()
            .collect();
        body.extend(model.generation_kwargs.clone());
        let name = |text: &String| (!text.is_empty()).then(|| text.clone());
        let spec = RunSpec {
            servers: Servers {
                backend: backend.to_owned(),
                base_url: vec![base],
                model: name(&model.model),
                tokenizer: name(&model.path),
                header: key.into_iter().collect(),
                ..Servers::default()
            },
            load: config::Load {
                num_prompts: MOST,
                request_rate: Rate::Unlimited,
                // Times of a trace are kept to, whatever is in flight.
                max_concurrency: (!model.use_timestamp).then_some(model.batch_size),
                duration: self.pressure.then(|| Duration::from_secs(self.pressure_time)),
                seed: self.seed,
                ..config::Load::default()
            },
            prompts: config::Prompts {
                dataset_name: data.abbr.clone(),
                ..config::Prompts::default()
            },
            requests: Requests {
                stream: model.stream,
                ignore_eos: false,
                extra_request_body: Some(Object(body)),
                ..Requests::default()
            },
            before: Before { warmup_requests: 0, ..Before::default() },
            timeouts: Timeouts { retries: model.retry.saturating_sub(1), ..Timeouts::default() },
            outputs: Outputs {
                print_requests: self.debug,
                progress: !self.debug,
                ..Outputs::default()
            },
            ..RunSpec::default()
        };
        let source = Prompts {
            data: data.clone(),
            model: model.clone(),
            most: self.num_prompts,
            around: self.pressure,
        };
        let mut effective = Map::new();
        effective.insert("model_config".to_owned(), shown(model));
        effective.insert("dataset_config".to_owned(), shown(data));
        Ok(Job { spec, source: Some(Box::new(source)), effective, ..Job::default() })
    }
}

impl Flags {
    /// The prompts of the warm-up before the run that sends `data` to `model`; `None` without one.
    pub fn warm_up(&self, model: &Model, data: &Data) -> Option<Box<dyn Dataset>> {
        let prompts = Prompts {
            data: data.clone(),
            model: model.clone(),
            most: Some(self.num_warmups),
            // They are sent at once.
            around: true,
        };
        (self.num_warmups > 0)
            .then(|| Box::new(WarmUp(prompts, self.num_warmups)) as Box<dyn Dataset>)
    }
}

fn shown(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}
