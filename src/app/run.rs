//! A run: prompts are made and sent, and what became of them is returned.
//!
//! Nothing here prints or writes a result. What follows a run while it goes on are its [`Reporters`].

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rayon::prelude::*;

use super::counting;
use super::cycles::{self, Around};
use super::header::header;
use super::limits;
use super::load;
use super::prepare::{Prepared, prepare};
use super::profiling::Profiling;
pub(super) use super::reporters::Files;
use super::reporters::{Begun, Followed, Reporters};
use super::server::server_info;
use super::session::Session;
use super::signals::Reporting;
use super::tokenizing;
use super::warm_up::{self, WarmUp};
use crate::analysis::aggregate::Aggregate;
use crate::analysis::intake::Taken;
use crate::config::Serve;
use crate::engine::progress::Progress;
use crate::engine::schedule::Schedule;
use crate::engine::transport::Endpoint;
use crate::engine::{self, Options, Ran};
use crate::error::{Error, Kind};
use crate::journal::{Command, End, Header};
use crate::model::{PlannedRequest, RequestRecord};
use crate::secrets::Secrets;
use crate::workload::arrival::Rate;

/// What came of a run.
pub(super) struct Outcome {
    /// What is known of the run without its records.
    pub(super) ran: Measured,
    /// One record per request and round, in the order of the plan; empty if they were aggregated.
    pub(super) records: Vec<RequestRecord>,
    /// What is left to be done when the results are published.
    pub(super) closing: Closing,
}

/// What is known of a run without its records.
pub(super) struct Measured {
    /// Run metadata.
    pub(super) header: Header,
    /// Client health, the server's account, and how the run ended.
    pub(super) end: End,
    /// The aggregate of `--low-memory`, in place of records.
    pub(super) aggregate: Option<Aggregate>,
    /// What was planned; of a run with an end in time, its first round.
    pub(super) plan: Arc<[PlannedRequest]>,
    /// Requests in flight at most.
    pub(super) most_in_flight: u64,
}

/// How a run is closed once its results are published. A signal waits for that while this lives.
pub(super) struct Closing {
    /// What became of the files that were written while the run went on.
    pub(super) files: Files,
    ended_early: Option<String>,
    _reporting: Reporting,
}

impl Closing {
    /// Whether the run is whole.
    ///
    /// # Errors
    /// If a file that was asked for is not whole, or the run was ended before its plan was done.
    pub(super) fn close(self) -> Result<(), Error> {
        self.files.written?;
        match self.ended_early {
            // What ends the program with it has an exit code of its own.
            Some(why) => Err(Error::new(Kind::EndedEarly, format!("the run was ended: {why}"))),
            None => Ok(()),
        }
    }
}

/// Makes the requests of `spec`, sends them to the servers of `session` after `warm_up`, and has `reporters` follow.
///
/// # Errors
/// If the requests cannot be made or sent, or a reporter cannot start. Requests that fail are no error.
pub(super) fn execute(
    session: &Session,
    spec: &Serve,
    command: Command,
    warm_up: &WarmUp,
    reporters: Reporters,
) -> Result<Outcome, Error> {
    let Session { probe, tokenizer, ui, signals, .. } = session;
    let prepared = prepare(spec, session);
    // What nobody has counted looks like too few tokens.
    tokenizing::check(tokenizer)?;
    let prepared = prepared?;
    let Prepared { plan, encoder, .. } = &prepared;
    check_times(spec, command, prepared.rate)?;
    let budget = limits::memory(spec, plan, *ui)?;
    let endpoints = session.endpoints(spec, encoder.common.stream)?;
    let requests = plan.iter().map(PlannedRequest::rounds).sum();
    let mut options = Options { budget: budget.clone(), ..load::options(spec, requests) };
    warm_up::try_first(session, spec, prepared.first.as_ref(), encoder, &endpoints, &options)?;
    let copies = warm_up.requests(session, spec, prepared.first.as_ref(), encoder)?;
    warm_up::send(spec, copies, &endpoints, &options, *ui)?;
    session.flush(spec)?;
    warm_up::cache(session, spec, &prepared.before, encoder, &endpoints, &options)?;

    let date = jiff::Zoned::now();
    // From here on a signal ends a run, with all that was begun for it.
    let running = signals.running(options.stop.clone())?;
    let profiling = Profiling::start(spec.profile.as_ref(), probe, epoch_s(&date), signals, *ui)?;
    let progress = Progress::new();
    let counted = counting::counters(session, spec);
    let header = header(session, spec, command, &prepared, &options, &endpoints, &date);
    let begun = Begun { spec, header: &header, plan, tokenizer, date: &date, signals };
    let followed = reporters.follow(&begun, &mut options, |options| {
        send(spec, &prepared, session, &endpoints, options, &progress)
    });
    let reporting = running.reporting();
    let ended = Instant::now();
    let failed_calls = profiling.stop();
    let Followed { ran, taken, recording, result } = followed?;

    let mut account = Account::ask(session, spec, ended, failed_calls);
    if let Some(growth) = counted.and_then(|before| counting::growth(session, spec, &before)) {
        counting::put(&mut account.server_info, growth);
    }
    let Ran { mut records, health, started: _, ended_early } = ran;
    let secrets = &spec.target.secrets;
    // A server may repeat the keys that it was shown; the files of the run are without them already.
    if !secrets.is_empty() {
        records.par_iter_mut().for_each(|record| secrets.take_out_of_record(record));
    }
    let partial = ended_early.clone().filter(|_| is_cut(spec, taken.as_ref(), &records));
    let Account { server_info, server_info_time, failed_calls } = account.without(secrets);
    let memory = budget.spent();
    let end = End { health, server_info, server_info_time, failed_calls, partial, memory };
    let unsent = taken.as_ref().map_or(&records, |taken| &taken.unsent);
    let files = Files::close(result, recording, unsent, &end);
    let most_in_flight = progress.most_in_flight();
    let plan = plan.clone();
    let aggregate = taken.map(|taken| taken.aggregate);
    Ok(Outcome {
        ran: Measured { header, end, aggregate, plan, most_in_flight },
        records,
        closing: Closing { files, ended_early, _reporting: reporting },
    })
}

/// Refuses rows with times of their own where everything is sent at once.
fn check_times(spec: &Serve, command: Command, rate: Rate) -> Result<(), Error> {
    if !matches!((command, rate), (Command::Offline, Rate::Trace)) {
        return Ok(());
    }
    let message = format!(
        "--dataset-name {} does not apply to `rbench offline`, which sends everything at once: its rows have times of their own",
        spec.dataset_name
    );
    Err(Error::new(Kind::Usage, message).hint("`rbench serve` replays it"))
}

/// Sends the requests of a plan, or goes around its rows for a time.
fn send(
    spec: &Serve,
    prepared: &Prepared,
    session: &Session,
    endpoints: &[Arc<Endpoint>],
    options: &Options,
    progress: &Arc<Progress>,
) -> io::Result<Ran> {
    let Prepared { plan, rows, encoder, .. } = prepared;
    match (spec.duration, spec.closes) {
        (None, None) => engine::run(plan.clone(), endpoints, options, progress),
        (None, Some(closes)) => {
            let due: Vec<Duration> = plan.iter().map(|request| request.due).collect();
            let at_once = due.iter().filter(|due| due.is_zero()).count();
            let schedule = Schedule::until(due.into_iter(), closes, options.max_in_flight);
            let source = Arc::new(plan.clone());
            engine::run_source(source, schedule, at_once, endpoints, options, progress)
        }
        (Some(lasts), _) => {
            let (first, tokenizer) = (plan.clone(), &session.tokenizer);
            let around = Around { rows, first, lasts, encoder, tokenizer };
            cycles::run(around, spec, endpoints, options, progress)
        }
    }
}

/// Seconds from the epoch to `date`.
pub(super) fn epoch_s(date: &jiff::Zoned) -> f64 {
    date.timestamp().as_duration().as_secs_f64()
}

/// Whether a run that was ended early has left something undone: of a time something always is.
fn is_cut(spec: &Serve, taken: Option<&Taken>, records: &[RequestRecord]) -> bool {
    let is_left = match taken {
        Some(taken) => taken.aggregate.account().evidence.unfinished() > 0,
        None => records.iter().any(RequestRecord::unfinished),
    };
    spec.duration.is_some() || is_left
}

/// The server's account of a run.
struct Account {
    server_info: Option<serde_json::Value>,
    /// How long after the end of the load it was there.
    server_info_time: Duration,
    /// Control calls that failed.
    failed_calls: Vec<String>,
}

impl Account {
    /// Asks the server for its figures after a load that ended at `ended`.
    fn ask(session: &Session, spec: &Serve, ended: Instant, mut failed_calls: Vec<String>) -> Self {
        let stopped = ended.elapsed();
        let server_info = server_info(spec, &session.probe).unwrap_or_else(|lost| {
            session
                .ui
                .warn(&format!("the server's own figures after the load are missing: {lost}"));
            failed_calls.push(lost);
            None
        });
        // SGLang's client counts both into its duration, the second for SGLang's servers only.
        let server_info_time = if spec.backend.is_sglang() { ended.elapsed() } else { stopped };
        Self { server_info, server_info_time, failed_calls }
    }

    /// The same without `secrets`.
    fn without(mut self, secrets: &Secrets) -> Self {
        if let Some(info) = &mut self.server_info {
            secrets.take_out_of(info);
        }
        for call in &mut self.failed_calls {
            secrets.take_out(call);
        }
        self
    }
}
