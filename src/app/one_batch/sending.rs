//! Sends one batch by the engine of the load, and finds out what came of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::analysis::RunMetadata;
use crate::app::server::server_info;
use crate::app::session::Session;
use crate::app::{calls, figures, load, recording};
use crate::config::one_batch::OneBatch;
use crate::engine::progress::Progress;
use crate::engine::system::{self, Budget};
use crate::engine::transport::Endpoint;
use crate::engine::{self, Options, Ran};
use crate::error::{Error, Kind};
use crate::journal::{Command, End, Header};
use crate::model::{
    EVENT_BYTES, FailureKind, MAX_TOKENS, OutputTokens, PlannedRequest, REQUEST_BYTES,
    RequestRecord,
};
use crate::output::terminal::Ui;
use crate::protocol::backend::leave_out;
use crate::protocol::batch::{Answer, Ask, Shape, Wire, answer, prefixes, request};
use crate::workload::arrival::Rate;
use crate::workload::lora::Adapters;
use crate::workload::plan::Planned;

/// vLLM's counters of prompt tokens that were looked for in its prefix cache, and found there.
const PREFIX_CACHE: [&str; 2] = ["vllm:prefix_cache_queries_total", "vllm:prefix_cache_hits_total"];

/// Bytes of text of a token, about.
const TOKEN_TEXT: u64 = 4;

/// Prompts that are ready to be sent.
pub(super) struct Batch {
    pub(super) shape: Shape,
    pub(super) prompts: Vec<Vec<u32>>,
}

impl Batch {
    pub(super) fn tokens(&self) -> u64 {
        self.prompts.iter().map(|ids| ids.len() as u64).sum()
    }
}

/// What came of a batch.
pub(super) struct Sent {
    pub(super) answer: Answer,
    /// What the server reports of itself afterwards, if it was asked.
    pub(super) server_info: Option<Value>,
}

/// Where batches go.
pub(super) struct Sender<'a> {
    config: &'a OneBatch,
    session: &'a Session,
    endpoint: Arc<Endpoint>,
    ui: Ui,
}

impl<'a> Sender<'a> {
    /// A sender to the server of `session`.
    ///
    /// # Errors
    /// If the server has no usable URL, or TLS cannot be spoken.
    pub(super) fn new(config: &'a OneBatch, session: &'a Session, ui: Ui) -> Result<Self, Error> {
        let serve = &config.serve;
        let url = format!("{}{}", serve.target.first().base, serve.backend.path);
        let protocol = serve.backend.protocol;
        let endpoint = Endpoint::new(&url, &serve.target.load, protocol, true, &session.route)?;
        Ok(Self { config, session, endpoint: Arc::new(endpoint), ui })
    }

    /// Sends the warm-up `batch`; the inner error is that of the batch.
    ///
    /// # Errors
    /// If nothing can be sent.
    pub(super) fn warm_up(&self, batch: &Batch, ask: &Ask) -> Result<Result<(), String>, Error> {
        let (request, options) = self.ready(batch, ask)?;
        let (record, _) = self.run(request, options)?;
        Ok(failure(&record).map_or(Ok(()), Err))
    }

    /// Has a share of each prompt of `batch` cached; the inner error is that of the batch.
    ///
    /// # Errors
    /// If nothing can be sent.
    pub(super) fn cache_prefixes(
        &self,
        batch: &Batch,
        ask: &Ask,
        share: f64,
    ) -> Result<Result<(), String>, Error> {
        let request = (share > 0.0).then(|| prefixes(ask, &batch.prompts, share)).flatten();
        let Some(request) = request else { return Ok(Ok(())) };
        let (record, _) = self.run(request, self.options())?;
        Ok(uncached(&record)
            .map_or(Ok(()), |reason| Err(format!("its prefixes cannot be cached: {reason}"))))
    }

    /// Has the prefixes cached, sends `batch`, and records it; the inner error is that of the batch.
    ///
    /// # Errors
    /// If nothing can be sent, or records cannot be written.
    pub(super) fn measure(
        &self,
        batch: &Batch,
        ask: &Ask,
        share: f64,
    ) -> Result<Result<Sent, String>, Error> {
        if let Err(reason) = self.cache_prefixes(batch, ask, share)? {
            return Ok(Err(reason));
        }
        let before = self.prefix_cache()?;
        let (request, mut options) = self.ready(batch, ask)?;
        let header = self.header(batch, &options);
        let serve = &self.config.serve;
        let plan: Arc<[PlannedRequest]> = Arc::from([request.clone()]);
        let result = &self.config.result_file;
        let recording = recording::start(serve, result, &header, &plan, &mut options, self.ui)?;
        let recording =
            recording.inspect(|recording| self.session.signals.write_first(recording.backlog()));
        let budget = options.budget.clone();
        let (record, Ran { health, ended_early, .. }) = self.run(request, options)?;
        let after = self.prefix_cache()?;
        let asked = Instant::now();
        let is_asked = serve.backend.is_sglang() && record.completed();
        let info = if is_asked { server_info(serve, &self.session.probe) } else { Ok(None) };
        let mut failed_calls = Vec::new();
        let info = info.unwrap_or_else(|lost| {
            self.ui.warn(&format!("the server's own figures of this batch are missing: {lost}"));
            failed_calls.push(serve.target.secrets.hide(&lost).into_owned());
            None
        });
        let info = info.map(|mut info| {
            serve.target.secrets.take_out_of(&mut info);
            info
        });
        let end = End {
            health,
            server_info: info.clone(),
            server_info_time: asked.elapsed(),
            failed_calls,
            partial: ended_early.clone().filter(|_| record.unfinished()),
            memory: budget.spent(),
        };
        let recorded = recording
            .map_or(Ok(()), |recording| recording.finish(std::slice::from_ref(&record), &end));
        let judged = self.judge(&header, end, &record);
        recorded?;
        if let Some(why) = ended_early {
            return Err(Error::new(Kind::EndedEarly, format!("the run was ended: {why}")));
        }
        let tokens = match judged {
            Ok(tokens) => tokens,
            Err(reason) => return Ok(Err(reason)),
        };
        let Some(mut answer) = answer(&record, tokens, self.config.wire, batch.prompts.len())
        else {
            return Ok(Err("the response held no generated token".to_owned()));
        };
        if let Some((before, after)) = before.zip(after)
            && after.0.checked_sub(before.0) == Some(batch.tokens())
        {
            // Else others have used the server meanwhile.
            answer.cached_tokens = Some(after.1.saturating_sub(before.1));
            answer.prompt_tokens = Some(batch.tokens());
        }
        Ok(Ok(Sent { answer, server_info: info }))
    }

    /// Counts the output tokens of `record` if the server did not, and warns of what its figures rest on.
    ///
    /// # Errors
    /// The failure of a batch that did not complete.
    fn judge(
        &self,
        header: &Header,
        end: End,
        record: &RequestRecord,
    ) -> Result<Option<OutputTokens>, String> {
        if let Some(reason) = failure(record) {
            return Err(reason);
        }
        let records = std::slice::from_ref(record);
        let none = |_: &RequestRecord| None;
        let tokenizer = &self.session.tokenizer;
        let analysis = figures::of_records(header, Ok(end), records, none, tokenizer, self.ui);
        for reason in analysis.audit.reasons() {
            self.ui.warn(&format!("the measurement of this batch is not sound: {reason}"));
        }
        Ok(analysis.requests().next().and_then(|request| request.counts.output))
    }

    /// The request of `batch`, and how it is sent.
    ///
    /// # Errors
    /// If what it asks for cannot be kept.
    fn ready(&self, batch: &Batch, ask: &Ask) -> Result<(PlannedRequest, Options), Error> {
        let serve = &self.config.serve;
        let names = |adapters: &Adapters| -> Vec<Arc<str>> {
            (0..batch.prompts.len()).map(|i| adapters.of(serve.seed, i)).collect()
        };
        let adapters = serve.adapters.as_ref().map(names).unwrap_or_default();
        let request = request(ask, &batch.prompts, batch.shape.output_len, &adapters);
        for (flags, tokens) in [
            ("--input-len", request.prompt_len as u64),
            ("--output-len", request.output_len as u64),
        ] {
            if tokens > MAX_TOKENS {
                let n = batch.prompts.len();
                let message = format!(
                    "--batch-size {n}: {tokens} tokens by {flags} are above {MAX_TOKENS}, the most that are counted of one request"
                );
                return Err(Error::new(Kind::Input, message).hint("use a smaller --batch-size"));
            }
        }
        let free = system::free_memory();
        let need = (request.output_len as u64)
            .saturating_mul(EVENT_BYTES as u64 + TOKEN_TEXT)
            .saturating_add(REQUEST_BYTES as u64);
        let n = batch.prompts.len();
        let what = format!("the answers to {n} prompts of --batch-size");
        system::check_room(&what, need, free)
            .map_err(|error| error.hint("use a smaller --batch-size or --output-len"))?;
        let options = Options { budget: Budget::of_run(need, free), ..self.options() };
        Ok((request, options))
    }

    /// Returns how requests are sent: by one thread, which reads each event when it arrives.
    fn options(&self) -> Options {
        Options {
            threads: 1,
            max_in_flight: None,
            max_errors: None,
            read_batch: Duration::ZERO,
            ..load::options(&self.config.serve, 1)
        }
    }

    /// Sends one request, and returns its record and what else came of it.
    fn run(
        &self,
        request: PlannedRequest,
        options: Options,
    ) -> Result<(RequestRecord, Ran), Error> {
        let failed = |error| Error::new(Kind::System, "cannot start the run").because(error);
        // From here on a signal ends the run, with all that was begun for it.
        let running = self.session.signals.running(options.stop.clone())?;
        let endpoints = std::slice::from_ref(&self.endpoint);
        let plan: Arc<[PlannedRequest]> = Arc::from([request]);
        let ran = engine::run(plan.clone(), endpoints, &options, &Progress::new());
        // Recording ends with the last sender of records, which is among the options.
        drop((running, options));
        let mut ran = ran.map_err(failed)?;
        let mut record = ran.records.pop().unwrap_or_else(|| RequestRecord::unsent(&plan[0]));
        self.config.serve.target.secrets.take_out_of_record(&mut record);
        Ok((record, ran))
    }

    /// Returns what vLLM has counted so far: tokens that were looked for in its prefix cache, and found there.
    /// Its answers count the cached tokens of a first prompt alone.
    ///
    /// # Errors
    /// If the system has no means for the call.
    fn prefix_cache(&self) -> Result<Option<(u64, u64)>, Error> {
        if self.config.wire != Wire::Completions {
            return Ok(None);
        }
        let counters = calls::run(self.session.probe.counters(PREFIX_CACHE))?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        let count = |counter: f64| counter as u64;
        Ok(counters.ok().and_then(|[queries, hits]| Some((count(queries?), count(hits?)))))
    }

    /// Returns what is known of the run of `batch` before it begins.
    fn header(&self, batch: &Batch, options: &Options) -> Header {
        let (config, session) = (self.config, self.session);
        let serve = &config.serve;
        let secrets = &serve.target.secrets;
        let Shape { batch_size, input_len, output_len } = batch.shape;
        let mut effective = serve.effective.clone();
        for (key, value) in [
            ("batch_size", json!(batch_size)),
            ("input_len", json!(input_len)),
            ("output_len", json!(output_len)),
            ("run_name", json!(config.run_name)),
            ("cache_hit_rate", json!(config.cache_share)),
            ("disable_ignore_eos", json!(!serve.ignore_eos)),
        ] {
            let mut value = value;
            secrets.take_out_of(&mut value);
            effective.insert(key.to_owned(), value);
        }
        Header {
            metadata: RunMetadata {
                backend: serve.backend.name,
                generates: serve.backend.protocol.generates(),
                dataset_name: config.dataset_name().to_owned(),
                rate: Rate::Unlimited,
                max_concurrency: None,
                slos: Vec::new(),
                cache_report: false,
                tag: None,
                model: secrets.hide(&session.served.model).into_owned(),
                tokenizer: secrets.hide(session.tokenizer.name()).into_owned(),
                vision_source: None,
                seed: serve.seed,
                date: jiff::Zoned::now().strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
                config: effective,
                planned: Planned::default(),
            },
            backend: serve.backend,
            clock: engine::clock(options, std::slice::from_ref(&self.endpoint)),
            endpoints: vec![serve.target.first().shown.clone()],
            command: Command::OneBatch,
            requests: Some(1),
            vision: None,
            stall_threshold: serve.client.stall_threshold,
            last_gap: Duration::ZERO,
            steady_state: None,
            ceiling: None,
        }
    }
}

/// Returns why the request of `record` failed, with what the server said and what may help.
fn failure(record: &RequestRecord) -> Option<String> {
    let failure = record.failure()?;
    let said = match &failure.excerpt {
        Some(excerpt) => format!("{}: {excerpt}", failure.message),
        None => failure.message.clone(),
    };
    let advice = leave_out(&said).filter(|_| matches!(failure.status, Some(400 | 422)));
    Some(advice.map_or(said.clone(), |advice| format!("{said} ({advice})")))
}

/// Returns why the request for prefixes of `record` failed. That its one token has no text is no failure.
fn uncached(record: &RequestRecord) -> Option<String> {
    let is_silent = record.failure().is_some_and(|f| f.kind == FailureKind::NoTokens);
    failure(record).filter(|_| !is_silent)
}
