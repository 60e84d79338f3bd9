//! `rbench serve`: one run from the input to the files.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rayon::prelude::*;

use super::aggregating;
use super::calls;
use super::connection;
use super::cycles::{self, Around};
use super::engine::Engine;
use super::figures;
use super::launch::Launched;
use super::load;
use super::offline::Offline;
use super::prepare::{Prepared, prepare};
use super::printer::Printer;
use super::profiling::Profiling;
use super::publish::{Outputs, publish};
use super::recording;
use super::save;
use super::server::{Served, discover, server_info, wait_for};
use super::signals;
use super::tokenizing;
use super::warm_up;
use crate::analysis::aggregate::Rules;
use crate::analysis::ceiling::{self, Ceiling, Host};
use crate::analysis::report::RunMetadata;
use crate::cli::ServeInput;
use crate::config::{self, Keys, Place, Serve};
use crate::control::probe::Probe;
use crate::engine::progress::{Bar, Progress, Towards};
use crate::engine::system;
use crate::engine::transport::{Endpoint, Route};
use crate::engine::{self, Ran};
use crate::error::{Error, Kind};
use crate::journal::{Command, End, Header};
use crate::mock;
use crate::model::{EVENT_BYTES, PlannedRequest, REQUEST_BYTES, RequestRecord};
use crate::output::door;
use crate::output::terminal::Ui;
use crate::workload::arrival::Rate;
use crate::workload::conversation;
use crate::workload::tokenizer::Tokenizer;

/// `rbench serve`.
pub(super) fn serve(input: ServeInput, ui: Ui) -> Result<(), Error> {
    let (engine, mut config) = begin(input, ui)?;
    save::check("--output-file", config.output_file.as_deref())?;
    save::check("--steady-state-output-file", config.steady_state_file.as_deref())?;
    check_recording(&config)?;
    let session = Session::open(&config, ui)?;
    let result = session.explained(run(&session, &mut config, ui));
    drop(engine);
    result
}

/// Checks the files that a run leaves while it goes on.
///
/// # Errors
/// If one can not be used.
pub(super) fn check_recording(config: &Serve) -> Result<(), Error> {
    save::check("--records", config.records.as_deref())?;
    save::check("--failed-file", config.failed_file.as_deref())?;
    recording::check(config.records.as_deref())
}

/// What is done before a server is looked for: the engine of `--mock`, what the input mean, limits of the system.
pub(super) fn begin(input: ServeInput, ui: Ui) -> Result<(Option<Engine>, Serve), Error> {
    signals::catch(ui)?;
    for note in &input.notes {
        ui.status(note);
    }
    let engine = if input.args.mock { Some(Engine::start(input.args.seed)?) } else { None };
    let keys = Keys::read(input.args.connection.api_key_file.as_deref())?;
    let mut config = config::resolve(input, &keys, engine.as_ref().map(Engine::url))?;
    door::keep_secret(&config.target.secrets);
    if engine.is_some() && !config.backend.lists_models {
        // Nobody can be asked for the name, and --mock leaves no choice of it.
        config.model = Some(mock::MODEL.to_owned());
    }
    for note in &config.notes {
        ui.status(note);
    }
    check_limits(&config, ui)?;
    Ok((engine, config))
}

/// Checks what the system allows to be open at once. What is certain to be needed is an error, what may be a warning.
fn check_limits(config: &Serve, ui: Ui) -> Result<(), Error> {
    let limit = system::raise_descriptors();
    let free = system::free_memory();
    system::check_threads(config.threads as u64, limit, free)?;
    let servers = 1 + config.target.others.len() as u64;
    for (flag, n) in [
        ("--num-prompts", config.num_prompts as u64),
        ("--warmup-requests", (config.warmup as u64).saturating_mul(servers)),
    ] {
        system::check_copies(flag, n, REQUEST_BYTES as u64, free)?;
    }
    let requests = match (config.duration, config.rate) {
        // Of a Poisson process, so about as many.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a number of requests"
        )]
        (Some(lasts), Rate::PerSecond(rate)) => (rate * lasts.as_secs_f64()).ceil() as usize,
        (Some(_), _) => usize::MAX,
        (None, _) => config.num_prompts,
    };
    let at_once = config.max_concurrency.unwrap_or(usize::MAX).min(requests) as u64;
    let is_certain = config.rate == Rate::Unlimited || config.max_concurrency.is_some();
    let checked = |result: Result<(), Error>, may: &str| match result {
        Err(error) if is_certain => Err(error),
        Err(_) => {
            ui.warn(&format!("should the server fall behind, {may}: set --max-concurrency"));
            Ok(())
        }
        Ok(()) => Ok(()),
    };
    checked(
        system::check_descriptors(at_once, limit),
        "more requests may be open than the file descriptor limit allows",
    )?;
    let places = config.target.places();
    if places.iter().all(|place| place.socket.is_some()) {
        return Ok(());
    }
    let (servers, ports) = (places.len() as u64, system::local_ports());
    checked(
        system::check_ports(at_once.div_ceil(servers), ports),
        "more connections may be open than there are local ports",
    )?;
    match config.rate {
        Rate::PerSecond(rate) if config.client.connection_per_request => {
            let lasts =
                config.duration.map_or(config.num_prompts as f64 / rate, |d| d.as_secs_f64());
            // A short run ends before its ports come back, and was checked above.
            if lasts > 60.0 {
                system::check_port_rate(rate / servers as f64, ports)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Checks that what `plan` finds can be kept, and returns the memory for it.
fn check_memory(
    config: &Serve,
    plan: &[PlannedRequest],
    ui: Ui,
) -> Result<Arc<system::Budget>, Error> {
    let free = system::free_memory();
    if config.duration.is_some() || config.low_memory {
        // How much will be sent is not known, or nothing of it will be kept.
        return Ok(system::Budget::of_run(0, free));
    }
    let requests: u64 = plan.iter().map(|request| request.rounds() as u64).sum();
    let tokens = |request: &PlannedRequest| {
        (request.rounds() as u64).saturating_mul(request.output_len as u64)
    };
    let has_events = config.backend.protocol.generates() && config.stream;
    let events = if has_events { plan.iter().map(tokens).fold(0, u64::saturating_add) } else { 0 };
    // A token has about four bytes of text.
    let need = events
        .saturating_mul(EVENT_BYTES as u64 + 4)
        .saturating_add(requests.saturating_mul(REQUEST_BYTES as u64));
    let warn = |note: &str| ui.warn(&format!("{note}: --low-memory needs hardly any"));
    match system::check_memory(need, free) {
        Ok(None) => {}
        Ok(Some(note)) => warn(&note),
        // Answers may end before the length that was asked for.
        Err(error) if has_events && !config.ignore_eos => warn(&error.message),
        Err(error) => return Err(error),
    }
    Ok(system::Budget::of_run(need, free))
}

/// One run, or one for each rate of `--multi`.
fn run(session: &Session, config: &mut Serve, ui: Ui) -> Result<(), Error> {
    if config.sweep.is_empty() {
        return session.measure(config, &Job::Serve);
    }
    let rates = config.sweep.clone();
    for (i, &rate) in rates.iter().enumerate() {
        if let Rate::PerSecond(rate) = rate {
            ui.status(&format!("run {} of {}: {rate} requests/s", i + 1, rates.len()));
        }
        config.set_rate(rate);
        session.measure(config, &Job::Serve)?;
    }
    Ok(())
}

/// How long after a failure the end of a launched server may become known.
const END_KNOWN_WITHIN: Duration = Duration::from_millis(500);

/// What differs among the commands that measure a load.
pub(super) enum Job<'a> {
    Serve,
    Offline(&'a Offline),
}

/// What all runs against one server share.
pub(super) struct Session {
    pub(super) route: Route,
    pub(super) probe: Probe,
    /// Those of more servers.
    others: Vec<Probe>,
    pub(super) served: Served,
    pub(super) tokenizer: Tokenizer,
    ui: Ui,
    /// The server, if it was started for this; ends with the session.
    launched: Option<Launched>,
}

impl Session {
    /// Waits for the server, asks it what it serves, and loads the tokenizer.
    pub(super) fn open(config: &Serve, ui: Ui) -> Result<Self, Error> {
        let route = connection::connection(config, ui)?;
        let probe = Probe::new(&config.target.base, config.target.control.clone(), &route)?;
        let launched = calls::run(launch(config, &probe, ui))??;
        let served = calls::run(served(config, &probe, launched.as_ref(), ui))??;
        let mut others = Vec::new();
        for place in &config.target.others {
            let route = connection::to(&route, place);
            let probe = Probe::new(&place.base, config.target.control.clone(), &route)?;
            calls::run(wait_for(config, &probe, &place.shown, ui))??;
            others.push(probe);
        }
        let tokenizer = tokenizing::load(config, &served, &probe, ui)?;
        if tokenizer.has_template() == Some(false) && config.backend.protocol.generates() {
            ui.warn(&format!(
                "the tokenizer {} has no chat template; base models may answer with text whose tokens can not be counted well",
                tokenizer.name()
            ));
        }
        Ok(Self { route, probe, others, served, tokenizer, ui, launched })
    }

    /// The result of what was done, after telling if a launched server has ended meanwhile.
    pub(super) fn explained(&self, result: Result<(), Error>) -> Result<(), Error> {
        let Some(launched) = &self.launched else { return result };
        // Requests fail a moment before the end of a process is known.
        let timeouts = if result.is_err() { END_KNOWN_WITHIN } else { Duration::ZERO };
        let ended = calls::run(async { tokio::time::timeout(timeouts, launched.ended()).await });
        if let Ok(Ok(how)) = ended
            && signals::exit_code().is_none()
        {
            self.ui.warn(&format!("the launched server ended during the run: {how}"));
            launched.show_output(self.ui);
        }
        result
    }

    /// One run, from its prompts to its files.
    pub(super) fn measure(&self, config: &Serve, job: &Job<'_>) -> Result<(), Error> {
        let Self { route, probe, others, served, tokenizer, ui, .. } = self;
        let ui = *ui;
        let prepared = prepare(config, served, tokenizer, ui);
        // What nobody has counted looks like too few tokens.
        tokenizing::check(tokenizer)?;
        let Prepared { plan, rate, mut last_gap, encoder, rows, first, vision } = prepared?;
        let budget = check_memory(config, &plan, ui)?;
        if matches!((job, rate), (Job::Offline(_), Rate::Trace)) {
            let message = format!(
                "--dataset-name {} does not apply to `rbench offline`, which sends everything at once: its rows have times of their own",
                config.dataset_name
            );
            return Err(Error::new(Kind::Usage, message).hint("`rbench serve` replays it"));
        }
        let places = config.target.places();
        let endpoint = |place: &Place| {
            Endpoint::new(
                &format!("{}{}", place.base, config.backend.path),
                &config.target.load,
                config.backend.protocol,
                encoder.common.stream,
                &connection::to(route, place),
            )
            .map(Arc::new)
        };
        let endpoints = places.iter().map(endpoint).collect::<Result<Vec<_>, _>>()?;
        let requests = plan.iter().map(PlannedRequest::rounds).sum::<usize>();
        let mut options = load::options(config, requests);
        options.budget = budget.clone();
        let warm_up = match job {
            Job::Serve => warm_up::copies(config, first.as_ref(), &encoder)?,
            Job::Offline(offline) => offline.warm_up(config, tokenizer, &encoder, ui)?,
        };
        warm_up::send(config, warm_up, &endpoints, &options, ui)?;
        if let Some(timeout) = config.flush {
            for probe in std::iter::once(probe).chain(others) {
                let flushed = calls::run(probe.flush(config.backend.flush, timeout))?;
                flushed.map_err(|error| {
                    let message = format!("--flush-cache: {}", error.message);
                    Error { message, ..error }
                })?;
            }
            ui.status("prefix cache emptied");
        }
        let date = jiff::Zoned::now();
        let epoch_s = date.timestamp().as_duration().as_secs_f64();
        // From here on a signal ends a run, with all that was begun for it.
        let running = signals::Running::new(options.stop.clone())?;
        let profiling = Profiling::start(config, probe, epoch_s, ui)?;
        let progress = Progress::new();
        let towards = config.duration.map_or(Towards::Requests(requests), Towards::Time);
        if config.duration.is_some() {
            // Nothing follows the last request that could have been waited for.
            last_gap = Duration::ZERO;
        }
        let mut metadata = metadata(config, rate, served, tokenizer, &date);
        if let Some(proxy) = endpoints.iter().find_map(|endpoint| endpoint.proxy.as_ref()) {
            metadata.config.insert("proxy".to_owned(), proxy.shown.clone().into());
        }
        let header = Header {
            metadata,
            backend: config.backend,
            clock: engine::clock(&options, &endpoints),
            endpoints: places.iter().map(|place| place.shown.clone()).collect(),
            command: match job {
                Job::Serve => Command::Serve,
                Job::Offline(_) => Command::Offline,
            },
            // Without an end in the plan all that is sent is scheduled.
            requests: config.duration.is_none().then_some(requests as u64),
            vision,
            stall_threshold: config.client.stall_threshold,
            last_gap,
            steady_state: config.steady_state,
            ceiling: known_ceiling(ui),
        };
        let bar = (config.progress && ui.terminal())
            .then(|| Bar::start(progress.clone(), towards, ui.color()));
        let failed = |error| Error::new(Kind::System, "can not start the run").because(error);
        let printer = if config.print_requests {
            let (printer, log) =
                Printer::start(ui, config.target.secrets.clone()).map_err(failed)?;
            options.log = Some(log);
            Some(printer)
        } else {
            None
        };
        let result = config.output_file.clone().unwrap_or_else(|| {
            config.jsonl.file_name(&header.metadata, &date.strftime("%m%d").to_string()).into()
        });
        if matches!(job, Job::Serve) && config.output_file.is_none() {
            save::check("the result file", Some(&result))
                .map_err(|error| error.hint("--output-file FILE names another"))?;
        }
        let recording = recording::start(config, &result, &header, &plan, budget.backlog(), ui)?;
        let recording = recording.map(|(recording, records)| {
            options.records = Some(records);
            signals::write_first(recording.backlog());
            recording
        });
        let secrets = &config.target.secrets;
        let rules = config.low_memory.then(|| Rules {
            // What goes around has no last request, and no conversations.
            plan: if config.duration.is_some() { &[] } else { &plan },
            tokenizer,
            secrets,
            generates: config.backend.protocol.generates(),
            terms: figures::terms(&header, false),
            endpoints: &header.endpoints,
            vision: header.vision,
        });
        let ran = aggregating::run(rules, &mut options, |options| {
            if let Some(lasts) = config.duration {
                let first = plan.clone();
                let around = Around { rows: &rows, first, lasts, encoder: &encoder, tokenizer };
                cycles::run(around, config, &endpoints, options, &progress)
            } else {
                engine::run(plan.clone(), &endpoints, options, &progress)
            }
        })
        .map_err(failed);
        // The printer ends with the last log, and what is recorded with the last who sends records.
        (options.log, options.records) = (None, None);
        drop((bar, printer));
        let _reporting = running.reporting();
        let ended = Instant::now();
        let mut failed_calls = profiling.stop();
        let (Ran { mut records, health, started: _, ended_early }, sums) = ran?;
        let stopped = ended.elapsed();
        let server_info = server_info(config, probe).unwrap_or_else(|lost| {
            ui.warn(&format!("the server's own figures after the load are missing: {lost}"));
            failed_calls.push(lost);
            None
        });
        // SGLang's client counts both into its duration, the second for SGLang's servers only.
        let server_info_time = if config.backend.is_sglang() { ended.elapsed() } else { stopped };

        // What a server has said again of the keys that it was shown; the files of the run are without it already.
        if !secrets.is_empty() {
            records.par_iter_mut().for_each(|record| secrets.take_out_of_record(record));
        }
        let server_info = server_info.map(|mut info| {
            secrets.take_out_of(&mut info);
            info
        });
        // What was done is all there was, if nothing is left; of a time something always is.
        let is_left = match &sums {
            Some(sums) => sums.account.evidence.unfinished() > 0,
            None => records.iter().any(RequestRecord::unfinished),
        };
        let is_cut = config.duration.is_some() || is_left;
        let partial = ended_early.clone().filter(|_| is_cut);
        for call in &mut failed_calls {
            secrets.take_out(call);
        }
        let memory = budget.spent();
        let end = End { health, server_info, server_info_time, failed_calls, partial, memory };
        let beside = recording.as_ref().and_then(|recording| recording.beside.clone());
        let unsent = sums.as_ref().map_or(&records, |sums| &sums.unsent);
        let recorded = recording.map_or(Ok(()), |recording| recording.finish(unsent, &end));
        let asked = |record: &RequestRecord| conversation::asked(&plan, record);
        let figures = match sums {
            Some(sums) => figures::of_sums(&header, end, sums, progress.most_in_flight(), ui),
            None => figures::of_records(&header, Ok(end), &mut records, asked, tokenizer, ui),
        };
        let published = match job {
            Job::Serve => publish(&figures, &outputs(config, result, beside), ui),
            Job::Offline(offline) => offline.publish(&figures.report, config, ui),
        };
        published.and(recorded)?;
        match ended_early {
            // What ends the program with it has an exit code of its own.
            Some(why) => Err(Error::new(Kind::EndedEarly, format!("the run was ended: {why}"))),
            None => Ok(()),
        }
    }
}

/// How and where a run is told of.
fn outputs(config: &Serve, result: PathBuf, beside: Option<PathBuf>) -> Outputs {
    Outputs {
        table: config.table,
        jsonl: config.jsonl,
        quiet: config.client.quiet_extras,
        plot: config.plot,
        file: Some(result),
        details: config.details,
        beside,
        steady_file: config.steady_state_file.clone(),
        strict: config.client.strict,
    }
}

/// Starts the server of `--launch`.
async fn launch(config: &Serve, probe: &Probe, ui: Ui) -> Result<Option<Launched>, Error> {
    let Some(launch) = &config.launch else { return Ok(None) };
    let shown = &config.target.shown;
    if probe.ready(config.backend, Duration::ZERO, shown, true, |_| {}).await.is_ok() {
        return Err(Error::new(
            Kind::Usage,
            format!(
                "--launch: a server answers at {shown} already, which would be measured instead"
            ),
        )
        .hint("end that server, or leave --launch out to measure it")
        .hint("--port names another port, which the command has to name as well"));
    }
    Launched::start(launch, ui).map(Some)
}

/// Waits for the server, unless it was launched and ends before it is ready.
async fn served(
    config: &Serve,
    probe: &Probe,
    launched: Option<&Launched>,
    ui: Ui,
) -> Result<Served, Error> {
    let Some(launched) = launched else { return discover(config, probe, ui).await };
    let result = tokio::select! {
        result = discover(config, probe, ui) => result,
        how = launched.ended() => Err(Error::new(
            Kind::Unreachable,
            format!("the launched server ended before it was ready: {how}"),
        )),
    };
    if result.is_err() && signals::exit_code().is_none() {
        launched.show_output(ui);
    }
    result
}

/// The ceiling that `rbench selftest` last found for this host.
fn known_ceiling(ui: Ui) -> Option<Ceiling> {
    let path = ceiling::file(|name| std::env::var(name).ok())?;
    ceiling::read(&path, &Host::here()).unwrap_or_else(|error| {
        ui.warn(&format!("the headroom is not known: {error}; rbench selftest writes it anew"));
        None
    })
}

fn metadata(
    config: &Serve,
    rate: Rate,
    served: &Served,
    tokenizer: &Tokenizer,
    date: &jiff::Zoned,
) -> RunMetadata {
    RunMetadata {
        backend: config.backend.name,
        generates: config.backend.protocol.generates(),
        dataset_name: config.dataset_name.clone(),
        rate,
        max_concurrency: config.max_concurrency,
        slos: config.slos.clone(),
        cache_report: config.cache_report,
        tag: config.tag.as_deref().map(|tag| config.target.secrets.hide(tag).into_owned()),
        model: config.target.secrets.hide(&served.model).into_owned(),
        tokenizer: config.target.secrets.hide(tokenizer.name()).into_owned(),
        vision_source: None,
        seed: config.seed,
        date: date.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
        config: config.effective.clone(),
    }
}
