//! What EvalScope's flags mean: the run at one load.

use std::time::Duration;

use rand::Rng;
use serde_json::{Map, Value};

use super::{Flags, Load, Prompts};
use crate::config::values::{Header, Object};
use crate::config::{self, Before, Job, Manner, Outputs, Requests, RunSpec, Servers, Timeouts};
use crate::error::{Error, Kind};
use crate::protocol::backend::Backend;
use crate::rng;
use crate::workload::arrival::Rate;
use crate::workload::dataset::Dataset;

/// The ends of URLs, and the backends that are asked there.
const ENDS: [(&str, &str); 4] = [
    ("/chat/completions", "vllm-chat"),
    ("/completions", "vllm"),
    ("/embeddings", "vllm-embedding"),
    ("/rerank", "vllm-rerank"),
];

fn usage(message: String) -> Error {
    Error::new(Kind::Usage, message)
}

/// The seed of run `n` of a command line: each run has prompts of its own.
pub fn seed_of(seed: u64, n: usize) -> u64 {
    if n == 0 { seed } else { rng::stream(seed, "evalscope/run", n as u64).next_u64() }
}

/// Host and port of a URL.
pub fn endpoint(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or_default();
    host.rsplit('@').next().unwrap_or_default().to_owned()
}

/// The backend and the base URL that `--url` and `--api` name.
fn target(flags: &Flags) -> Result<(&'static Backend, String), Error> {
    let url = flags.url.trim_end_matches('/');
    let wanted = match flags.api.as_str() {
        "openai" => &ENDS[..2],
        "openai_embedding" | "embedding" => &ENDS[2..3],
        _ => &ENDS[3..],
    };
    let (end, name) = wanted.iter().find(|(end, _)| url.ends_with(end)).unwrap_or(&wanted[0]);
    // Token ids go to the endpoint that takes them.
    let name = if flags.tokenize_prompt { "vllm" } else { name };
    let backend = Backend::find(name).ok_or_else(|| {
        usage(format!("--api {} is not there: no protocol of rbench is that of {end}", flags.api))
    })?;
    let base = url.strip_suffix(end).unwrap_or(url);
    let route = backend.path.trim_end_matches(end);
    let base = base.strip_suffix(route).unwrap_or(base);
    if url.ends_with(end) && format!("{base}{}", backend.path) != url && !flags.tokenize_prompt {
        return Err(usage(format!(
            "--url {}: expected a path that ends with {}",
            flags.url, backend.path
        )));
    }
    Ok((backend, base.to_owned()))
}

impl Flags {
    /// The run at `load`, whose rows begin at `offset` of the dataset and are drawn with `seed`.
    ///
    /// # Errors
    /// If the flags do not go together.
    pub fn job(&self, load: &Load, offset: usize, seed: u64) -> Result<Job, Error> {
        let (backend, base) = target(self)?;
        if self.no_apply_chat_template && backend.accepts_messages {
            let message =
                format!("--no-apply-chat-template: {} takes messages alone", backend.path);
            return Err(usage(message).hint("give a --url that ends with /v1/completions"));
        }
        if self.apply_chat_template && !backend.accepts_messages {
            let message = format!("--apply-chat-template: {} takes no messages", backend.path);
            return Err(usage(message).hint("give a --url that ends with /v1/chat/completions"));
        }
        let source: Box<dyn Dataset> = Box::new(Prompts::of(self, offset).map_err(usage)?);
        let pair = |(name, value): &(String, String)| Header::Pair {
            name: name.clone(),
            value: value.clone(),
        };
        let key = self.api_key.as_ref().map(|key| Header::Pair {
            name: "Authorization".to_owned(),
            value: format!("Bearer {key}"),
        });
        let seconds = |seconds: Option<u64>| seconds.map(Duration::from_secs);
        let timeouts = Timeouts::default();
        let spec = RunSpec {
            servers: Servers {
                backend: backend.name.to_owned(),
                base_url: vec![base],
                model: self.model.clone(),
                tokenizer: self.tokenizer_path.clone(),
                header: self.headers.iter().map(pair).chain(key).collect(),
                ..Servers::default()
            },
            load: config::Load {
                num_prompts: load.number,
                request_rate: load.rate.map_or(Rate::Unlimited, Rate::PerSecond),
                max_concurrency: load.parallel,
                seed,
                ..config::Load::default()
            },
            prompts: config::Prompts {
                dataset_name: self.dataset.clone(),
                ..config::Prompts::default()
            },
            requests: Requests {
                stream: !self.generates() || self.streams(),
                ignore_eos: false,
                extra_request_body: Some(Object(self.body().map_err(usage)?)),
                ..Requests::default()
            },
            before: Before {
                warmup_requests: 0,
                ready_check_timeout_sec: self.no_test_connection.then_some(0),
                ..Before::default()
            },
            timeouts: Timeouts {
                request_timeout: Duration::from_secs(self.total_timeout),
                idle_timeout: seconds(self.read_timeout).unwrap_or(timeouts.idle_timeout),
                connect_timeout: seconds(self.connect_timeout).unwrap_or(timeouts.connect_timeout),
                ..timeouts
            },
            outputs: Outputs {
                print_requests: self.debug,
                progress: !self.debug,
                ..Outputs::default()
            },
            ..RunSpec::default()
        };
        let effective = effective(self);
        // Its schedules end when the number of requests is due at the rate.
        let manner = Manner { stretched: true, ..Manner::default() };
        Ok(Job { spec, source: Some(source), effective, manner, ..Job::default() })
    }

    /// The flags as the file of arguments has them, without what may be secret; `model` is the name that is sent.
    pub fn shown(&self, model: &str) -> Map<String, Value> {
        let mut all = Map::new();
        all.insert("model".to_owned(), model.into());
        all.insert("model_id".to_owned(), model.into());
        if let Ok(Value::Object(flags)) = serde_json::to_value(self) {
            for (key, value) in flags {
                all.entry(key).or_insert(value);
            }
        }
        all.insert("url".to_owned(), shown_url(&self.url).into());
        all.insert("stream".to_owned(), self.streams().into());
        let headers = self.headers.iter().map(|(name, _)| (name.clone(), "***".into()));
        all.insert("headers".to_owned(), headers.collect::<Map<String, Value>>().into());
        all
    }
}

/// A URL without what stands before its host.
fn shown_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let path = rest.find('/').map_or("", |at| &rest[at..]);
    format!("{scheme}://{}{path}", endpoint(url))
}

fn effective(flags: &Flags) -> Map<String, Value> {
    match serde_json::to_value(flags) {
        Ok(Value::Object(mut map)) => {
            // The values of these are lists of all runs.
            for key in ["number", "parallel", "rate", "seed"] {
                map.shift_remove(key);
            }
            map.retain(|_, value| *value != Value::Null);
            map
        }
        _ => Map::new(),
    }
}
