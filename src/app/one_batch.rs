//! `rbench one-batch`: batches of prompts, each in one request.

mod profiles;
mod sending;
mod summary;

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use self::sending::{Batch, Sender, Sent};
use super::calls;
use super::engine::Engine;
use super::prepare::check_room;
use super::recording;
use super::save;
use super::serve::Looks;
use super::server::server_info;
use super::session::Session;
use super::signals;
use super::tokenizing;
use crate::analysis::Analysis;
use crate::config::Keys;
use crate::config::one_batch::{Batches, OneBatch, Planned, is_sized, resolve_batches};
use crate::control::probe::{self, State};
use crate::dialect::one_batch as output;
use crate::engine::system;
use crate::error::{Error, Kind};
use crate::journal::Header;
use crate::model::{Prompt, RequestRecord, TokenSource};
use crate::output::door;
use crate::output::terminal::Ui;
use crate::protocol::batch::{Ask, Case, Shape, answer};
use crate::workload::dataset::{Context, Reading};

/// How often a server is asked to empty its cache before that is an error.
const FLUSHES: usize = 3;

/// Pause before it is asked again.
const FLUSH_PAUSE: Duration = Duration::from_secs(2);

/// Time limit of one such call.
const FLUSH_TIMEOUT: Duration = Duration::from_mins(1);

/// Measured cache hit rates that differ from the share that was asked for by more than this are pointed out.
const FAR: f64 = 0.1;

/// Tokens of an answer for each of its arrivals from which on something gathers them: no server decodes as many at once.
const GATHERED: usize = 16;

/// `rbench one-batch`.
pub(super) fn one_batch(mut batches: Batches, ui: Ui) -> Result<(), Error> {
    signals::catch(ui)?;
    let job = &mut batches.job;
    for note in &job.notes {
        ui.status(note);
    }
    Looks::of(&mut job.spec.layouts)?;
    let spec = &job.spec;
    let engine = if spec.servers.mock { Some(Engine::start(spec.load.seed)?) } else { None };
    let url = engine.as_ref().map(Engine::url);
    let keys = Keys::read(spec.connection.api_key_file.as_deref())?;
    let config = resolve_batches(batches, &keys, url)?;
    door::keep_secret(&config.serve.target.secrets);
    save::check("--result-filename", Some(&config.result_file))?;
    save::check("--pydantic-result-filename", config.reports.list.as_deref())?;
    save::check("--records", config.serve.records.as_deref())?;
    recording::check(config.serve.records.as_deref())?;
    system::raise_descriptors();
    let session = Session::open_with(&config.serve, false, ui)?;
    let result = session.explained(Bench::new(&config, &session, ui).and_then(|bench| bench.run()));
    drop(engine);
    result
}

/// What a server has room for, as far as it tells.
#[derive(Debug, Default)]
struct Room {
    /// Requests that run at one time.
    requests: Option<u64>,
    /// Tokens in its cache.
    tokens: Option<u64>,
    /// GPUs that share a model.
    gpus: Option<u64>,
}

impl Room {
    fn of(info: &Value) -> Self {
        let states = info.get("internal_states").and_then(Value::as_array);
        let Some(states) = states.filter(|states| !states.is_empty()) else {
            return Self::default();
        };
        let number = |key: &str| states[0].get(key).and_then(Value::as_u64).filter(|&n| n > 0);
        let groups = number("dp_size").unwrap_or(1) * number("attn_dp_size").unwrap_or(1);
        let capacity = |state: &Value| state.get("memory_usage")?.get("token_capacity")?.as_u64();
        Self {
            requests: number("effective_max_running_requests_per_dp").map(|n| n * groups),
            tokens: states.iter().map(capacity).sum(),
            gpus: info.get("tp_size").and_then(Value::as_u64),
        }
    }
}

struct Bench<'a> {
    config: &'a OneBatch,
    session: &'a Session,
    ask: Ask,
    sender: Sender<'a>,
    room: Room,
    metadata: output::RunMetadata,
    ui: Ui,
}

impl<'a> Bench<'a> {
    fn new(config: &'a OneBatch, session: &'a Session, ui: Ui) -> Result<Self, Error> {
        let serve = &config.serve;
        let ask = Ask {
            wire: config.wire,
            model: session.served.model.clone(),
            temperature: config.temperature,
            ignore_eos: serve.ignore_eos,
            logprobs: serve.sampling.return_logprob,
            stream_interval: config.stream_interval,
            parallel: config.parallel,
            extra: serve.extra.clone(),
        };
        let info =
            if serve.backend.is_sglang() { server_info(serve, &session.probe) } else { Ok(None) };
        let info = info.unwrap_or_else(|lost| {
            ui.warn(&format!("it is not known what the server has room for: {lost}"));
            None
        });
        let room = info.as_ref().map(Room::of).unwrap_or_default();
        let metadata = output::RunMetadata {
            run_name: config.run_name.clone(),
            backend: serve.backend.name,
            model: serve.target.secrets.hide(&session.served.model).into_owned(),
            tokenizer: serve.target.secrets.hide(session.tokenizer.name()).into_owned(),
            dataset: config.dataset_name().to_owned(),
            seed: serve.seed,
            ignore_eos: serve.ignore_eos,
            cache_share: config.cache_share,
            date: jiff::Zoned::now().strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
        };
        Ok(Self {
            ask,
            sender: Sender::new(config, session, ui)?,
            room,
            metadata,
            config,
            session,
            ui,
        })
    }

    /// Warms up, runs all cases, and reports.
    fn run(&self) -> Result<(), Error> {
        for planned in &self.config.warm_ups {
            let batch = self.prompts(planned, false)?;
            if self.skip(&batch).is_some() {
                continue;
            }
            let ask = Ask { ignore_eos: true, ..self.ask.clone() };
            calls::run(self.flush())??;
            self.sender.warm_up(&batch, &ask)?.map_err(|reason| failed(&batch, &reason))?;
            self.ui.status(&format!("warm-up done: batch size {}", batch.shape.batch_size));
        }
        let (mut cases, mut failed) = (Vec::new(), Vec::new());
        let mut measured = Vec::new();
        for planned in &self.config.cases {
            let batch = self.prompts(planned, true)?;
            if let Some(reason) = self.skip(&batch) {
                self.ui.warn(&reason);
                continue;
            }
            self.warn_of_one_wave(&batch);
            match self.measure(&batch)? {
                Ok(case) => {
                    self.publish(&case)?;
                    cases.push(case);
                    measured.push(planned);
                }
                // The server may take the next one.
                Err(error) => {
                    if self.config.cases.len() > 1 {
                        self.ui.warn(&error.message);
                    }
                    failed.push(error);
                }
            }
        }
        let n = failed.len();
        let failed = failed.into_iter().next().map(|first| match cases.len() + n {
            1 => first,
            all => Error::new(Kind::Rejected, format!("{n} of {all} batches failed")),
        });
        if cases.is_empty() {
            if let Some(error) = failed {
                return Err(error);
            }
            return Err(Error::new(Kind::AllFailed, "no batch was sent: the server has room for none")
                .hint("use a smaller --batch-size, or --enable-multi-batch and --skip-token-capacity-check"));
        }
        self.ui.status(&format!("results appended to {}", self.config.result_file.display()));
        // Profilers slow a server down, so batches are profiled when all are measured.
        let traces = self.profiled(&measured)?;
        self.report_all(&cases.into_iter().zip(traces).collect::<Vec<_>>())?;
        failed.map_or(Ok(()), Err)
    }

    fn say(&self, text: &str) -> Result<(), Error> {
        self.ui
            .data(text)
            .map_err(|error| Error::new(Kind::System, "cannot write to stdout").because(error))
    }

    /// Empties the caches, sends one batch and computes its figures; the inner error is that of the batch.
    ///
    /// # Errors
    /// If the caches cannot be emptied, or nothing can be sent.
    fn measure(&self, batch: &Batch) -> Result<Result<Case, Error>, Error> {
        calls::run(self.flush())??;
        let sent = self.sender.measure(batch, &self.ask, self.config.cache_share)?;
        let Sent { answer, server_info } = match sent {
            Ok(sent) => sent,
            Err(reason) => return Ok(Err(failed(batch, &reason))),
        };
        let number = |of: fn(&Value, State) -> Option<f64>| of(server_info.as_ref()?, State::Last);
        let case = Case {
            shape: batch.shape,
            input_tokens: batch.tokens(),
            answer,
            last_generation_throughput: number(probe::last_generation_throughput),
            accept_length: number(probe::accept_length),
        };
        self.warn_of(&case);
        Ok(Ok(case))
    }

    /// Says what of a batch is not as it was asked for, or was not to be measured.
    fn warn_of(&self, case: &Case) {
        let (made, asked) = (case.answer.output_tokens, case.requested());
        // Who else counted has been told.
        let is_counted = case.answer.source == TokenSource::Server;
        if is_counted && self.ask.ignore_eos && made != asked {
            self.ui.warn(&format!(
                "{made} tokens were generated, and {asked} were asked for: the server's limits may be lower"
            ));
        }
        if !self.ask.ignore_eos && case.answer.window.is_none() {
            self.ui.warn(
                "there is no full-batch window: an answer ended before the last prompt had output",
            );
        }
        if case.came_at_once() {
            self.ui.warn("all output came at once, as through a proxy that gathers it: there is no output throughput");
        } else {
            let steps = case.shape.output_len.saturating_sub(1) / self.ask.stream_interval.max(1);
            let arrivals = case.answer.later_arrivals;
            if arrivals < (steps / GATHERED) as u64 {
                self.ui.warn(&format!(
                    "the output came in {arrivals} pieces, as through a proxy that gathers it: the output throughput is that of the pieces"
                ));
            }
        }
        let asked = self.config.cache_share;
        match case.cache_hit_rate() {
            Some(rate) if asked > 0.0 && (rate - asked).abs() > FAR => self.ui.warn(&format!(
                "{rate:.4} of the prompt tokens were cached, and --cache-hit-rate asks for {asked}: servers cache whole blocks of tokens"
            )),
            None if asked > 0.0 => self.ui.warn("it is not known how many of the prompt tokens were cached: the server does not count them"),
            _ => {}
        }
    }

    fn publish(&self, case: &Case) -> Result<(), Error> {
        let printed = self.say(&output::lines(case, &self.metadata));
        let line = output::line(case, &self.metadata);
        if let Err(error) = save::append(&self.config.result_file, &line) {
            // What was measured is not lost with the file.
            self.ui.status(line.trim_end());
            return Err(error);
        }
        printed
    }

    /// Empties the prefix cache; a server that is still busy is asked again.
    async fn flush(&self) -> Result<(), Error> {
        let (probe, serve) = (&self.session.probe, &self.config.serve);
        let mut left = FLUSHES;
        while let Err(error) = probe.flush(serve.backend.flush, FLUSH_TIMEOUT).await {
            left -= 1;
            if left == 0 {
                return Err(error);
            }
            tokio::time::sleep(FLUSH_PAUSE).await;
        }
        if self.config.flush_storage {
            let path = "/hicache/storage-backend/clear";
            let url = format!("{}{path}", serve.target.first().base);
            probe.post(&url, &json!({}), FLUSH_TIMEOUT).await.map_err(|reason| {
                Error::new(
                    Kind::Rejected,
                    format!("--flush-hicache-storage: POST {path}: {reason}"),
                )
            })?;
        }
        Ok(())
    }

    /// Returns why the server has no room for a batch, if it has none.
    fn skip(&self, batch: &Batch) -> Option<String> {
        let Shape { batch_size, input_len, output_len } = batch.shape;
        let size = batch_size as u64;
        let named = format!(
            "batch size {batch_size}, input length {input_len}, output length {output_len} is left out"
        );
        if let Some(most) = self.room.requests
            && size > most
            && !self.config.multi_batch
        {
            return Some(format!(
                "{named}: the server runs at most {most} requests at one time (see --enable-multi-batch)"
            ));
        }
        let at_once = match self.room.requests {
            Some(most) if self.config.multi_batch => size.min(most),
            _ => size,
        };
        let each = batch.tokens() / size.max(1) + output_len as u64;
        let needed = if at_once == size {
            batch.tokens() + size * output_len as u64
        } else {
            at_once * each
        };
        let room = self.room.tokens.filter(|_| self.config.capacity_check)?;
        (needed > room).then(|| {
            format!(
                "{named}: it needs {needed} tokens, and the server has room for {room} (see --skip-token-capacity-check)"
            )
        })
    }

    /// Says if a batch does not exceed what the server runs at one time although that is allowed.
    fn warn_of_one_wave(&self, batch: &Batch) {
        let size = batch.shape.batch_size;
        if let Some(most) = self.room.requests
            && self.config.multi_batch
        {
            let effect = if size as u64 <= most {
                "does nothing for"
            } else {
                "leaves only the overall throughput with a meaning for"
            };
            self.ui.warn(&format!(
                "--enable-multi-batch {effect} batch size {size}: the server runs {most} requests at one time"
            ));
        }
    }

    /// Makes the prompts of a batch; `measured` ones have the lengths that `--input-len-list` gives.
    fn prompts(&self, planned: &Planned, measured: bool) -> Result<Batch, Error> {
        let batch = self.made(planned, measured)?;
        tokenizing::check(&self.session.tokenizer)?;
        Ok(batch)
    }

    fn made(&self, planned: &Planned, measured: bool) -> Result<Batch, Error> {
        let (config, session) = (self.config, self.session);
        let serve = &config.serve;
        let n = planned.shape.batch_size;
        let mut shape = planned.shape;
        if config.fixed_prompt.is_some() {
            let ids = self.fixed_prompt()?;
            shape.input_len = ids.len();
            let need = (ids.len() as u64).saturating_mul(8).saturating_mul(n as u64);
            let what = format!("{n} prompts of --batch-size");
            system::check_room(&what, need, system::free_memory())?;
            return Ok(Batch { shape, prompts: vec![ids; n] });
        }
        let name = serve.dataset_name.as_str();
        let random = is_sized(name);
        check_room(serve, planned.dataset.as_ref(), n)?;
        let rows = planned.dataset.load(&Context {
            tokenizer: &session.tokenizer,
            hub: &session.hub,
            path: serve.dataset_path.as_deref(),
            n,
            seed: serve.seed,
            ids: random,
            reading: &Reading { now: jiff::Zoned::now(), repeat: true, ..serve.reading.clone() },
        })?;
        let mut prompts: Vec<Vec<u32>> = rows
            .rows
            .into_iter()
            .filter_map(|row| match row.prompt {
                Prompt::Ids(ids) => Some(ids),
                Prompt::Text(text) => Some(session.tokenizer.encode_with_special(&text)),
                Prompt::Texts(_) | Prompt::Messages(_) | Prompt::Rounds(_) => None,
            })
            .collect();
        if name == "longbench_v2" {
            // Real documents, cut to the length that is asked for.
            prompts.retain(|ids| ids.len() >= shape.input_len);
            for ids in &mut prompts {
                ids.truncate(shape.input_len);
            }
        }
        prompts.truncate(n);
        if prompts.len() < n {
            return Err(Error::new(
                Kind::Input,
                format!(
                    "--dataset-name {name} has {} prompts for a batch of {n}{}",
                    prompts.len(),
                    if name == "longbench_v2" {
                        format!(", of at least {} tokens", shape.input_len)
                    } else {
                        String::new()
                    },
                ),
            )
            .hint("use a smaller --batch-size, or a larger file"));
        }
        if measured && !config.lengths.is_empty() {
            for (ids, &len) in prompts.iter_mut().zip(config.lengths.iter().cycle()) {
                *ids = ids.iter().copied().cycle().take(len).collect();
            }
        }
        if !random || !config.lengths.is_empty() {
            let total: usize = prompts.iter().map(Vec::len).sum();
            shape.input_len = total / n;
        }
        if name == "generated-shared-prefix" {
            shape.output_len = config.output_lens.first().copied().unwrap_or(shape.output_len);
        }
        Ok(Batch { shape, prompts })
    }

    /// The tokens of the prompt in `--fixed-prompt-file`.
    fn fixed_prompt(&self) -> Result<Vec<u32>, Error> {
        let Some(path) = &self.config.fixed_prompt else { return Ok(Vec::new()) };
        let named = || format!("--fixed-prompt-file {}", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| {
            Error::new(Kind::Input, format!("{}: cannot be read as text", named())).because(error)
        })?;
        let tokenizer = &self.session.tokenizer;
        let ids = if self.config.template {
            let template = tokenizer.chat_template(&jiff::Zoned::now())?;
            let message = json!({"role": "user", "content": text});
            tokenizer.encode(&template.render(&[message], None, true)?)
        } else {
            tokenizer.encode_with_special(&text)
        };
        if ids.is_empty() {
            return Err(Error::new(Kind::Input, format!("{}: holds no tokens", named())));
        }
        Ok(ids)
    }
}

/// The error of a batch that did not complete.
fn failed(batch: &Batch, reason: &str) -> Error {
    let Shape { batch_size, input_len, .. } = batch.shape;
    let named = format!("the batch of {batch_size} prompts of {input_len} tokens");
    Error::new(Kind::Rejected, format!("{named} failed: {reason}"))
}

/// Prints a recorded batch once more, and appends its line to `file`.
///
/// # Errors
/// If the batch failed, its records do not say what it asked for, or something cannot be written.
pub(super) fn publish_again(
    header: &Header,
    report: &Analysis<'_>,
    file: Option<&Path>,
    ui: Ui,
) -> Result<(), Error> {
    let config = &header.metadata.config;
    let number = |key: &str| config.get(key).and_then(Value::as_u64);
    let length = |key: &str| {
        let length = number(key).and_then(|n| usize::try_from(n).ok());
        length.ok_or_else(|| Error::new(Kind::Input, format!("the records do not have `{key}`")))
    };
    let shape = Shape {
        batch_size: length("batch_size")?,
        input_len: length("input_len")?,
        output_len: length("output_len")?,
    };
    let request = report.requests().next();
    let record = request.map(|request| request.record);
    let wire = header.backend.batch.ok_or_else(|| {
        let message = format!("the records are of --backend {}", header.backend.name);
        Error::new(Kind::Input, message + ", which takes no batches")
    })?;
    let done = request.and_then(|request| {
        let tokens = request.counts.output;
        let answer = answer(request.completed()?, tokens, wire, shape.batch_size)?;
        Some((request.counts.prompt as u64, answer))
    });
    let Some((input_tokens, answer)) = done else {
        let why = record.and_then(RequestRecord::failure);
        let why = why.map_or(String::new(), |failure| format!(": {}", failure.message));
        return Err(Error::new(Kind::AllFailed, format!("the batch did not complete{why}")));
    };
    let info = report.server_info.as_ref();
    let told = |of: fn(&Value, State) -> Option<f64>| of(info?, State::Last);
    let case = Case {
        shape,
        input_tokens,
        answer,
        last_generation_throughput: told(probe::last_generation_throughput),
        accept_length: told(probe::accept_length),
    };
    let text = |key: &str| config.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let is_set = |key: &str| config.get(key).and_then(Value::as_bool).unwrap_or(false);
    let metadata = output::RunMetadata {
        run_name: text("run_name"),
        backend: header.metadata.backend,
        model: header.metadata.model.clone(),
        tokenizer: header.metadata.tokenizer.clone(),
        dataset: header.metadata.dataset_name.clone(),
        seed: header.metadata.seed,
        ignore_eos: !is_set("disable_ignore_eos"),
        cache_share: config.get("cache_hit_rate").and_then(Value::as_f64).unwrap_or(0.0),
        date: header.metadata.date.clone(),
    };
    let stored = file.map_or(Ok(()), |file| save::append(file, &output::line(&case, &metadata)));
    let printed = ui.data(&output::lines(&case, &metadata));
    stored?;
    printed.map_err(|error| Error::new(Kind::System, "cannot write to stdout").because(error))
}
