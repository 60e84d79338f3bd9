//! Wires the stages in order. The only file that names every stage; nothing imports it.

mod engine;
mod printer;
mod publish;
mod save;

use std::ffi::OsString;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rayon::prelude::*;
use serde_json::Value;

use crate::arrival::{self, Rate};
use crate::backend::{self, CacheTelling, Common};
use crate::cli::{self, ServeWords, Words};
use crate::config::{self, Keys, Serve};
use crate::conversation;
use crate::dataset::{Context, Reading, Rows};
use crate::dispatch;
use crate::error::{EXIT_OK, Error, Kind};
use crate::hub::Hub;
use crate::limits;
use crate::lora::Adapters;
use crate::metric::{self, Run, split_itl, steady_state};
use crate::mock;
use crate::model::{
    Failure, Outcome, OutputTokens, PlannedRequest, Prompt, RequestRecord, Row, TokenSource,
    VisionSource,
};
use crate::plan::{self, Encoder, Render};
use crate::probe::{self, Probe};
use crate::profiler::{Running, Said};
use crate::progress::{Bar, Progress};
use crate::report::{self, Facts, Report};
use crate::tokenizer::Tokenizer;
use crate::transport::Endpoint;
use crate::ui::Ui;
use crate::vision;

/// Runs the program with `words`, its name first, and returns its exit code.
pub fn run(words: impl IntoIterator<Item = OsString>) -> u8 {
    let ui = Ui::new();
    let words = match cli::parse(words) {
        Ok(words) => words,
        Err(error) => {
            // Help and version go to stdout with code 0, usage errors to stderr with code 2.
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(crate::error::EXIT_USAGE);
        }
    };
    // Fails only if a provider is there already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let result = match words {
        Words::Mock(opts) => run_mock(*opts, ui),
        Words::Serve(words) => serve(*words, ui),
    };
    match result {
        Ok(()) => EXIT_OK,
        Err(error) => {
            ui.error(&error);
            error.kind.exit_code()
        }
    }
}

/// `rbench mock`.
fn run_mock(opts: mock::Opts, ui: Ui) -> Result<(), Error> {
    // Thousands of clients need as many descriptors.
    limits::raise_descriptors();
    let name = match &opts.tokenizer {
        Some(path) => path.display().to_string(),
        None => crate::bundled::NAME.to_owned(),
    };
    let tokenizer = Tokenizer::load(&[name], &Hub::from_env(false))?;
    let vocabulary = mock::vocabulary_from(tokenizer.inner());
    if !vocabulary.exact {
        ui.warn("this tokenizer splits the mock's words: answers have other token counts than they claim");
    }
    mock::run(opts, vocabulary, |server| {
        ui.status(&format!("{}{}", engine::LISTENING, server.url()));
    })
    .map_err(|error| Error::new(Kind::System, format!("failed to {error}")).because(error))
}

/// `rbench serve`.
fn serve(words: ServeWords, ui: Ui) -> Result<(), Error> {
    for note in &words.notes {
        ui.status(note);
    }
    let engine = if words.args.mock { Some(engine::Engine::start(&words.args)?) } else { None };
    let mut config =
        config::resolve(words, &Keys::from_env(), engine.as_ref().map(engine::Engine::url))?;
    if engine.is_some() && !config.backend.lists_models {
        // Nobody can be asked for the name, and --mock leaves no choice of it.
        config.model = Some(mock::MODEL.to_owned());
    }
    for note in &config.notes {
        ui.status(note);
    }
    let limit = limits::raise_descriptors();
    let at_once = config.max_concurrency.unwrap_or(usize::MAX).min(config.num_prompts) as u64;
    match limits::check_descriptors(at_once, limit) {
        Err(error) if config.rate == Rate::Unlimited || config.max_concurrency.is_some() => {
            return Err(error);
        }
        Err(_) => ui.warn(
            "should the server fall behind, more requests may be open than the file descriptor limit allows: set --max-concurrency",
        ),
        Ok(()) => {}
    }
    save::check("--output-file", config.output_file.as_deref())?;
    save::check("--steady-state-output-file", config.steady_state_file.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::new(Kind::System, "can not start a runtime").because(error))?;
    let probe = Probe::new(&config.target.base, config.target.control.clone())?;
    let served = runtime.block_on(discover(&config, &probe, ui))?;
    let tokenizer = Tokenizer::load(&served.tokenizers, &Hub::from_env(ui.terminal()))?;
    if tokenizer.has_template() == Some(false) && config.backend.protocol.generates() {
        ui.warn(&format!(
            "the tokenizer {} has no chat template; base models may answer with text whose tokens can not be counted well",
            tokenizer.name()
        ));
    }
    let Prepared { plan, rate, last_gap, encoder, first, vision } =
        prepare(&config, &served, &tokenizer, ui)?;
    let endpoint = Arc::new(Endpoint {
        url: format!("{}{}", config.target.base, config.backend.path)
            .parse()
            .map_err(|_| Error::new(Kind::Usage, "--base-url does not give a URL"))?,
        headers: config.target.load.clone(),
        protocol: config.backend.protocol,
        streams: encoder.common.stream,
    });
    let mut options = dispatch::Options {
        threads: config.threads,
        max_in_flight: config.max_concurrency,
        log: None,
    };
    warm_up(&config, first.as_ref(), &encoder, &endpoint, &options, ui)?;
    if let Some(timeout) = config.flush {
        runtime.block_on(probe.flush(config.backend.flush, timeout))?;
        ui.status("prefix cache emptied");
    }
    let date = jiff::Zoned::now();
    let say = |said| match said {
        Said::Done(text) => ui.status(&text),
        Said::Failed(text) => ui.warn(&text),
    };
    let epoch_s = date.timestamp().as_duration().as_secs_f64();
    let profilers = config
        .profile
        .as_ref()
        .map(|profile| runtime.block_on(Running::start(profile, &probe, epoch_s, say)));
    let progress = Progress::new();
    let requests = plan.iter().map(PlannedRequest::rounds).sum();
    let bar = (config.progress && ui.terminal())
        .then(|| Bar::start(progress.clone(), requests, ui.color()));
    let failed = |error| Error::new(Kind::System, "can not start the run").because(error);
    let printer = if config.print_requests {
        let (printer, log) = printer::Printer::start(ui).map_err(failed)?;
        options.log = Some(log);
        Some(printer)
    } else {
        None
    };
    let ran = dispatch::run(plan.clone(), &endpoint, &options, &progress).map_err(failed);
    // The printer ends with the last log.
    options.log = None;
    drop((bar, printer));
    let ended = Instant::now();
    if let Some(profilers) = profilers {
        runtime.block_on(profilers.stop(say));
    }
    let (mut records, _clock) = ran?;
    let stopped = ended.elapsed();
    let server_info = runtime.block_on(probe.json("/server_info"));
    // SGLang's client counts both into its duration, the second for SGLang's servers only.
    let server_info_time = if config.backend.is_sglang() { ended.elapsed() } else { stopped };
    drop(engine);

    conversation::set_prompt_lengths(&plan, &mut records, &tokenizer);
    let vision = vision.map(|planned| vision::settle(&mut records, planned));
    if vision == Some(VisionSource::Unknown) {
        ui.warn("the tokens of the images are not known: the model's files have no rule that rbench knows, and the server did not count the prompts");
    }
    let retokenized = retokenize(&mut records, &tokenizer, config.backend.protocol.generates());
    let accept_length =
        server_info.as_ref().filter(|_| config.backend.is_sglang()).and_then(probe::accept_length);
    let split: Option<Vec<f64>> =
        (config.backend.splits_itl && accept_length.is_some_and(|a| a > 0.0)).then(|| {
            records
                .par_iter()
                .filter(|record| record.completed())
                .flat_map_iter(|record| split_itl(record, |piece| tokenizer.count(piece)))
                .collect()
        });
    let stats = metric::compute(&Run {
        records: &records,
        retokenized: &retokenized,
        split_itl: split.as_deref(),
        slos: &config.slos,
        cache_report: config.cache_report,
        accept_length,
        last_gap,
        server_info_time,
    });
    warn_of_silent_cache(&config, &records, ui);
    let report = Report {
        facts: facts(&config, rate, &served, &tokenizer, vision, &date),
        stats,
        failures: report::failures(&records),
        token_sources: report::token_sources(&records),
        server_info,
        records: &records,
    };
    let steady = config.steady_state.and_then(|ratio| steady_state(&records, &retokenized, ratio));
    publish::publish(&report, steady.as_ref(), &config, &date, ui)
}

/// Warns if a report on the prefix cache is asked for and the server told nothing of it.
fn warn_of_silent_cache(config: &Serve, records: &[RequestRecord], ui: Ui) {
    let told = |record: &RequestRecord| record.completed() && record.cached.is_some();
    if !config.cache_report || records.iter().any(told) {
        return;
    }
    let name = config.backend.name;
    let advice = match config.backend.cache {
        CacheTelling::Never => "its endpoint has no word for it",
        _ if config.backend.is_sglang() => {
            "the server may be too old to tell them; --backend sglang asks another endpoint"
        }
        _ => "start a vLLM server with --enable-prompt-tokens-details and --enable-prefix-caching",
    };
    ui.warn(&format!(
        "--cache-report: --backend {name} told no cached prompt tokens, which the result counts as 0: {advice}"
    ));
}

/// What was learnt of the server before the run.
struct Served {
    /// Name to send.
    model: String,
    /// Where a tokenizer may be had, the best first.
    tokenizers: Vec<String>,
}

/// Waits for the server and asks it what it serves.
async fn discover(config: &Serve, probe: &Probe, ui: Ui) -> Result<Served, Error> {
    let shown = &config.target.shown;
    let list = match config.ready_timeout {
        Some(patience) => {
            let started = Instant::now();
            let waiting = |reason: &str| {
                ui.status(&format!(
                    "waiting up to {} s for {shown}: {reason}",
                    patience.as_secs_f64()
                ));
            };
            let list = probe.ready(config.backend, patience, shown, waiting).await?;
            if started.elapsed() > Duration::from_secs(1) {
                ui.status(&format!("server ready after {:.1} s", started.elapsed().as_secs_f64()));
            }
            list
        }
        None if config.backend.lists_models => probe.json("/v1/models").await,
        None => None,
    };
    let listed = match (&config.model, &list) {
        (Some(model), Some(list)) => probe::find_model(list, model),
        (None, Some(list)) => probe::first_model(list),
        _ => None,
    };
    let model = match (&config.model, &listed) {
        (Some(model), _) => model.clone(),
        (None, Some(listed)) => listed.id.clone(),
        (None, None) => {
            return Err(Error::new(Kind::Unreachable, format!("{shown} lists no model"))
                .hint("pass --model with the name that the server knows"));
        }
    };
    let tokenizers = if let Some(name) = &config.tokenizer {
        vec![name.clone()]
    } else {
        let info = probe.json("/model_info").await.unwrap_or(Value::Null);
        let told = |key: &str| info.get(key).and_then(Value::as_str).map(str::to_owned);
        let root = listed.and_then(|listed| listed.root);
        let mut names: Vec<String> = Vec::new();
        for name in [told("tokenizer_path"), told("model_path"), root, Some(model.clone())] {
            if let Some(name) = name.filter(|name| !name.is_empty() && !names.contains(name)) {
                names.push(name);
            }
        }
        names
    };
    let model = config.served_model_name.clone().unwrap_or(model);
    ui.status(&format!("{} at {shown}, model {model}", config.backend.name));
    Ok(Served { model, tokenizers })
}

/// What is ready before the first request.
struct Prepared {
    plan: Arc<[PlannedRequest]>,
    /// How the requests arrive.
    rate: Rate,
    /// The gap that would follow the last of them.
    last_gap: Duration,
    encoder: Encoder,
    /// The first row, which warm-ups repeat.
    first: Option<Row>,
    /// Where the image tokens come from, if there are images.
    vision: Option<VisionSource>,
}

/// Refuses messages that are no conversation where only text can be sent, and both for embeddings.
fn check_messages(config: &Serve, rows: &Rows) -> Result<(), Error> {
    if config.backend.accepts_messages {
        return Ok(());
    }
    let refused = |prompt: &Prompt| match prompt {
        Prompt::Messages(_) => true,
        Prompt::Rounds(_) => !config.backend.protocol.generates(),
        Prompt::Text(_) | Prompt::Ids(_) => false,
    };
    if !rows.rows.iter().any(|row| refused(&row.prompt)) {
        return Ok(());
    }
    let chat = backend::ALL.iter().filter(|backend| backend.accepts_messages);
    Err(Error::new(
        Kind::Usage,
        format!(
            "--dataset-name {} gives chat messages, which --backend {} does not take",
            config.dataset_name, config.backend.name
        ),
    )
    .hint(format!(
        "use --backend {}",
        chat.map(|backend| backend.name).collect::<Vec<_>>().join(", ")
    )))
}

/// When requests are due, by the dataset's own times if it always has them or the user asks for them, else by the rate.
fn arrivals(config: &Serve, rows: &Rows) -> Result<(Rate, Vec<Duration>, Duration), Error> {
    if rows.replay || config.trace {
        let times: Option<Vec<Duration>> = rows.rows.iter().map(|row| row.at).collect();
        let times = times.ok_or_else(|| {
            Error::new(
                Kind::Usage,
                format!(
                    "--use-trace-timestamps does not apply to --dataset-name {}, whose rows have no times",
                    config.dataset_name
                ),
            )
            .hint("use --request-rate, or a dataset with times such as mooncake")
        })?;
        return Ok((Rate::Trace, times, Duration::ZERO));
    }
    let (due, last_gap) = arrival::due_times(config.rate, rows.rows.len(), config.seed);
    Ok((config.rate, due, last_gap))
}

/// Makes the rows and the plan.
fn prepare(
    config: &Serve,
    served: &Served,
    tokenizer: &Tokenizer,
    ui: Ui,
) -> Result<Prepared, Error> {
    let started = Instant::now();
    let hub = Hub::from_env(ui.terminal());
    let mut rows = config.dataset.load(&Context {
        tokenizer,
        hub: &hub,
        path: config.dataset_path.as_deref(),
        n: config.num_prompts,
        seed: config.seed,
        ids: config.tokenize_prompt,
        reading: &Reading { now: jiff::Zoned::now(), ..config.reading.clone() },
    })?;
    for note in &rows.notes {
        ui.warn(note);
    }
    for line in &rows.told {
        ui.status(line);
    }
    let encoder = Encoder {
        protocol: config.backend.protocol,
        common: Arc::new(Common {
            model: served.model.clone(),
            stream: config.stream,
            ignore_eos: config.ignore_eos,
            extra: config.extra.clone(),
            sampling: config.sampling.clone(),
        }),
        render: (!config.backend.accepts_messages
            && rows.rows.iter().any(|row| matches!(row.prompt, Prompt::Rounds(_))))
        .then(|| {
            // A tokenizer without a template is no error here: there is another way to write a conversation.
            let template = tokenizer.chat_template(&jiff::Zoned::now()).ok();
            let render =
                move |messages: &[Value]| conversation::as_text(messages, template.as_ref());
            Arc::new(render) as Render
        }),
    };
    if let Some(adapters) = &config.adapters {
        for (i, row) in rows.rows.iter_mut().enumerate() {
            row.lora = Some(adapters.of(config.seed, i));
        }
    }
    check_messages(config, &rows)?;
    let (rate, due, last_gap) = arrivals(config, &rows)?;
    let (first, vision) = (rows.rows.first().cloned(), vision::planned(&rows.rows));
    let images = image_totals(&rows.rows);
    let plan = plan::build(rows.rows, &due, &encoder);
    let total = |len: fn(&PlannedRequest) -> usize| plan.iter().map(len).sum::<usize>();
    ui.status(&format!(
        "{} requests of {}: {} input tokens, {} output tokens asked for, prepared in {:.2} s",
        plan.len(),
        config.dataset_name,
        total(|request| request.prompt_len),
        total(|request| request.output_len),
        started.elapsed().as_secs_f64(),
    ));
    if let Some(line) = images {
        ui.status(&line);
    }
    Ok(Prepared { plan, rate, last_gap, encoder, first, vision })
}

/// How many images the rows have, how large they are, and what they count for; `None` if there are none.
fn image_totals(rows: &[Row]) -> Option<String> {
    let counts = || rows.iter().map(|row| row.images.len());
    let (images, fewest, most) = (counts().sum::<usize>(), counts().min()?, counts().max()?);
    if images == 0 {
        return None;
    }
    let per_request = if fewest == most {
        format!("{most} in each request")
    } else {
        let mean = images as f64 / rows.len() as f64;
        format!("{fewest} to {most} in a request, {mean:.2} on average")
    };
    let bytes: usize = rows.iter().flat_map(|row| &row.images).map(|image| image.len()).sum();
    let text: usize = rows.iter().map(|row| row.prompt_len - row.vision_len).sum();
    let tokens = match vision::planned(rows) {
        Some(VisionSource::PatchRule) => {
            let vision: usize = rows.iter().map(|row| row.vision_len).sum();
            format!("{vision} image tokens by the rule of the model")
        }
        _ => "image tokens are known after the run, if the server tells".to_owned(),
    };
    Some(format!(
        "{images} images, {per_request}, {} bytes each on average as data URIs; {text} text tokens, {tokens}",
        bytes / images
    ))
}

/// Sends the warm-up requests and stops the program if none succeeds.
fn warm_up(
    config: &Serve,
    first: Option<&Row>,
    encoder: &Encoder,
    endpoint: &Arc<Endpoint>,
    options: &dispatch::Options,
    ui: Ui,
) -> Result<(), Error> {
    let Some(row) = first.filter(|_| config.warmup > 0) else { return Ok(()) };
    let lora = config.adapters.as_ref().map(Adapters::first);
    let row = Row { lora, ..row.clone() };
    let plan = plan::warmup(&row, config.warmup, encoder);
    let options = dispatch::Options { threads: 1, ..options.clone() };
    let (records, _) = dispatch::run(plan, endpoint, &options, &Progress::new())
        .map_err(|error| Error::new(Kind::System, "can not start the warm-up").because(error))?;
    let good = records.iter().filter(|record| record.completed()).count();
    if good > 0 {
        ui.status(&format!("warm-up done: {good} of {} requests succeeded", records.len()));
        return Ok(());
    }
    let failure = records.iter().find_map(|record| match &record.outcome {
        Outcome::Failed(failure) => Some(failure),
        _ => None,
    });
    Err(failure.map_or_else(
        || Error::new(Kind::Rejected, "the warm-up did not run"),
        |failure| warmup_error(failure, config),
    ))
}

/// Says what the server answered, and what may help.
fn warmup_error(failure: &Failure, config: &Serve) -> Error {
    let answer = match &failure.excerpt {
        Some(excerpt) => format!("{}: {excerpt}", failure.message),
        None => failure.message.clone(),
    };
    let path = config.backend.path;
    let error =
        Error::new(Kind::Rejected, format!("the warm-up request to {path} failed: {answer}"));
    match failure.status {
        Some(401 | 403) => {
            error.hint("set OPENAI_API_KEY, or API_KEY for a key that is sent as it is")
        }
        Some(404) => error.hint(format!(
            "either the server has no {path} (try another --backend), or it does not know the model (see --model)"
        )),
        Some(400 | 413 | 422) => {
            error.hint("the server does not accept the request: look at the lengths, --model and --extra-request-body")
        }
        Some(_) => error.hint("look at the server's log"),
        None => error.hint("check --host and --port or --base-url"),
    }
}

/// Counts each text again; completed requests whose tokens nobody counted take that count.
fn retokenize(records: &mut [RequestRecord], tokenizer: &Tokenizer, generates: bool) -> Vec<u64> {
    records
        .par_iter_mut()
        .map(|record| {
            if !record.completed() || !generates {
                return 0;
            }
            let count = tokenizer.count(&record.text) as u64;
            let fallback = OutputTokens { count, source: TokenSource::Retokenized };
            record.output_tokens.get_or_insert(fallback);
            count
        })
        .collect()
}

fn facts(
    config: &Serve,
    rate: Rate,
    served: &Served,
    tokenizer: &Tokenizer,
    vision_source: Option<VisionSource>,
    date: &jiff::Zoned,
) -> Facts {
    Facts {
        backend: config.backend.name,
        generates: config.backend.protocol.generates(),
        dataset_name: config.dataset_name.clone(),
        rate,
        max_concurrency: config.max_concurrency,
        slos: config.slos.clone(),
        cache_report: config.cache_report,
        tag: config.tag.clone(),
        model: served.model.clone(),
        tokenizer: tokenizer.name().to_owned(),
        vision_source,
        seed: config.seed,
        date: date.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
        config: config.facts.clone(),
    }
}
