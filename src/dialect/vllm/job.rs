//! The run that flags ask for.

use rand::Rng as _;
use serde_json::Value;

use super::PYTORCH;
use super::counters::COUNTERS;
use super::flags::{Assignment, Flags, data};
use crate::config::values::Object;
use crate::config::{
    Before, Connection, Job, Layout, Layouts, Load, LoraDistribution, Manner, Outputs, Profiling,
    Prompts, Requests, RunSpec, Servers,
};
use crate::error::{Error, Kind};
use crate::protocol::backend::{Backend, Style};
use crate::rng;

fn usage(message: String) -> Error {
    Error::new(Kind::Usage, message)
}

impl Flags {
    /// The run that the flags ask for; `pytorch` is whether a file for the dashboard of `PyTorch` is written too.
    ///
    /// # Errors
    /// If they do not go together, or ask for what rbench does not have.
    pub fn job(&self, pytorch: bool) -> Result<Job, Error> {
        if let Some((what, instead)) = self.refused() {
            return Err(usage(what.to_owned()).hint(instead));
        }
        let backend = Backend::find(self.backend.ours)
            .ok_or_else(|| usage(format!("no --backend {}", self.backend.ours)))?;
        let generates = backend.protocol.generates();
        self.check(generates)?;
        let source = self.source(backend.accepts_messages).map_err(usage)?;
        let mut effective = self.effective(generates);
        if pytorch {
            effective.insert(PYTORCH.to_owned(), true.into());
        }
        effective.retain(|_, value| *value != Value::Null);
        let manner = Manner {
            style: Style::VLLM,
            path: self.path()?,
            any_dataset: false,
            stretched: true,
            request_ids: Some(self.request_ids()?),
            counters: if generates { COUNTERS } else { &[] },
            tries_first: self.load.ready_check_timeout_sec > 0,
            salts: true,
        };
        let header = self.header.iter().map(|header| header.parse()).collect::<Result<_, _>>();
        let header = header
            .map_err(|_| usage("--header takes arguments of the form KEY=VALUE".to_owned()))?;
        let (load, body, chosen) = (&self.load, &self.body, &self.data);
        let spec = RunSpec {
            servers: Servers {
                backend: backend.name.to_owned(),
                base_url: self.base_url.iter().cloned().collect(),
                host: self.host.clone(),
                port: Some(self.port),
                header,
                model: self.model.clone(),
                served_model_name: self.served_model_name.clone(),
                tokenizer: self.tokenizer.clone(),
                ..Servers::default()
            },
            connection: Connection { insecure: self.insecure, ..Connection::default() },
            load: Load {
                num_prompts: load.num_prompts,
                request_rate: load.request_rate,
                burstiness: load.burstiness,
                ramp_up_strategy: load.ramp_up_strategy,
                ramp_up_start_rps: load.ramp_up_start_rps.map(f64::from),
                ramp_up_end_rps: load.ramp_up_end_rps.map(f64::from),
                max_concurrency: load.max_concurrency,
                seed: load.seed,
                ..Load::default()
            },
            prompts: Prompts {
                dataset_name: chosen.dataset_name.clone(),
                dataset_path: chosen.file(),
                tokenize_prompt: source.ids,
                ..Prompts::default()
            },
            requests: Requests {
                ignore_eos: body.ignore_eos || source.ignores_eos,
                lora_name: body.lora_modules.clone(),
                lora_request_distribution: match body.lora_assignment {
                    Assignment::RoundRobin if body.lora_modules.len() > 1 => {
                        LoraDistribution::Distinct
                    }
                    _ => LoraDistribution::Uniform,
                },
                extra_request_body: Some(Object(body.keys())),
                ..Requests::default()
            },
            before: Before {
                warmup_requests: load.num_warmups,
                ready_check_timeout_sec: Some(load.ready_check_timeout_sec),
                flush_cache: load.reset_prefix_cache,
                ..Before::default()
            },
            profiling: Profiling { profile: self.profile, ..Profiling::default() },
            layouts: Layouts::both(&Layout("vllm".to_owned())),
            outputs: Outputs {
                goodput: load.goodput.clone(),
                output_details: self.save_detailed,
                progress: !self.disable_tqdm,
                ..Outputs::default()
            },
            ..RunSpec::default()
        };
        let notes = [
            (self.trust_remote_code, "--trust-remote-code is not needed: no code of models is run"),
            (
                self.tokenizer_mode != "auto",
                "--tokenizer-mode decides nothing: the kind of tokenizer is found out from its files",
            ),
            (chosen.no_stream, "--no-stream is not needed: files of the Hub are downloaded whole"),
        ];
        let notes = notes.into_iter().filter(|(is_typed, _)| *is_typed);
        let notes = notes.map(|(_, note)| note.to_owned());
        let notes = notes.chain(self.unused()).collect();
        Ok(Job { spec, source: Some(source.dataset), effective, notes, manner, ..Job::default() })
    }

    /// What stands before the number of each request in its id.
    ///
    /// # Errors
    /// If it cannot stand in a header.
    fn request_ids(&self) -> Result<String, Error> {
        let Some(prefix) = &self.request_id_prefix else {
            // Unlike all that is drawn, ids are to differ from run to run.
            let now = jiff::Timestamp::now().as_microsecond().cast_unsigned();
            return Ok(format!("bench-{:08x}-", rng::stream(now, "vllm/request-id", 0).next_u32()));
        };
        if prefix.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
            return Ok(prefix.clone());
        }
        let message =
            "--request-id-prefix takes visible ASCII characters, as it stands in a header";
        Err(usage(message.to_owned()))
    }

    /// A note for each flag of a dataset that is not the chosen one.
    fn unused(&self) -> impl Iterator<Item = String> + '_ {
        let chosen = self.data.dataset_name.as_str();
        let is_of_another = move |name: &&String| {
            data::readers(name).is_some_and(|readers| !readers.contains(&chosen))
        };
        let others = self.typed.iter().filter(is_of_another);
        others.map(move |name| format!("--{name} has no effect with --dataset-name {chosen}"))
    }

    /// The path of the endpoint, if it is not that of the backend.
    fn path(&self) -> Result<Option<String>, Error> {
        let Some(endpoint) = &self.endpoint else { return Ok(None) };
        let kind = self.backend;
        if !kind.suffixes.iter().any(|suffix| endpoint.ends_with(suffix)) {
            let message = format!(
                "--endpoint {endpoint}: the one of --backend {} ends with {}",
                kind.name,
                kind.suffixes.join(" or ")
            );
            return Err(usage(message).hint("leave --endpoint out, or choose another --backend"));
        }
        Ok(Some(format!("/{}", endpoint.trim_start_matches('/'))))
    }

    /// Refuses flags that the backend has no use for.
    fn check(&self, generates: bool) -> Result<(), Error> {
        let name = self.backend.name;
        let samples = generates && name != "openai-audio";
        if let Some(key) = self.body.sampling().keys().next().filter(|_| !samples) {
            let flag = key.replace('_', "-");
            return Err(usage(format!("--{flag} does not apply to --backend {name}")));
        }
        if self.body.logprobs.is_some() && !matches!(name, "openai" | "vllm") {
            return Err(usage(format!("--logprobs does not apply to --backend {name}"))
                .hint("it is for completions; --extra-body sends keys of other endpoints"));
        }
        if name == "openai-audio" && self.data.dataset_name != "custom_audio" {
            let message = "--backend openai-audio needs --dataset-name custom_audio";
            return Err(usage(message.to_owned()));
        }
        if !generates && !self.load.goodput.is_empty() {
            return Err(usage(format!("--goodput does not apply to --backend {name}")));
        }
        for (is_asked, flag, instead) in [
            (
                self.load.probe_request_rate > 0.0,
                "--probe-request-rate",
                "a second rbench beside this one can send probes",
            ),
            (self.load.num_runs > 1, "--num-runs", "run the command again"),
            (
                !self.load.sweep_max_concurrency.is_empty(),
                "--sweep-max-concurrency",
                "run the command once for each --max-concurrency",
            ),
            (
                !self.load.sweep_request_rate.is_empty(),
                "--sweep-request-rate",
                "run the command once for each --request-rate",
            ),
            (
                self.plot_timeline,
                "--plot-timeline",
                "--save-result --save-detailed stores the times of all requests",
            ),
            (!self.compare.is_empty(), "--compare", "both files hold the same keys"),
        ] {
            if is_asked {
                return Err(
                    usage(format!("{flag} cannot be used: rbench does not have it")).hint(instead)
                );
            }
        }
        Ok(())
    }
}
