//! The requests before the run that nobody counts.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::Rng;

use super::session::Session;
use super::{calls, cycles};
use crate::config::Serve;
use crate::engine;
use crate::engine::progress::Progress;
use crate::engine::system;
use crate::engine::transport::Endpoint;
use crate::error::{Error, Kind};
use crate::model::{Failure, Outcome, PlannedRequest, REQUEST_BYTES, RequestRecord, Row};
use crate::output::terminal::Ui;
use crate::protocol::backend::leave_out;
use crate::rng;
use crate::workload::dataset::{Context, Dataset, Reading};
use crate::workload::lora::Adapters;
use crate::workload::plan::{self, Encoder};

/// Statuses that no later request is spared: a load of them would measure nothing.
const REFUSALS: [u16; 4] = [401, 403, 404, 422];

/// Requests with their bodies ready.
type Plan = Arc<[PlannedRequest]>;

/// Prompts of a warm-up that are not those of the run, at most.
const PROMPTS: usize = 16;

/// What is sent before a run.
pub(super) enum WarmUp {
    /// Copies of the first request, as many as `--warmup-requests` asks for.
    FirstRow,
    /// Prompts of a dataset of their own, so that the run finds none of its prefixes cached.
    Prompts(Box<dyn Dataset>),
    /// Nothing.
    Nothing,
}

impl WarmUp {
    /// The requests of the warm-up of a run whose first row is `first`.
    ///
    /// # Errors
    /// If they do not fit into memory, or cannot be made.
    pub(super) fn requests(
        &self,
        session: &Session,
        spec: &Serve,
        first: Option<&Row>,
        encoder: &Encoder,
    ) -> Result<Plan, Error> {
        match self {
            Self::FirstRow => copies(session, spec, first, encoder),
            Self::Prompts(dataset) => prompts(session, dataset.as_ref(), spec, encoder),
            Self::Nothing => Ok(Arc::default()),
        }
    }
}

/// Prompts of `dataset`.
fn prompts(
    session: &Session,
    dataset: &dyn Dataset,
    spec: &Serve,
    encoder: &Encoder,
) -> Result<Plan, Error> {
    let rows = dataset.load(&Context {
        tokenizer: &session.tokenizer,
        hub: &session.hub,
        path: None,
        n: spec.num_prompts.min(PROMPTS),
        seed: rng::stream(spec.seed, "offline/warm-up", 0).next_u64(),
        ids: false,
        reading: &Reading::default(),
    })?;
    let due = vec![Duration::ZERO; rows.rows.len()];
    Ok(plan::build(rows.rows, &due, encoder))
}

/// Copies of the first row, as many as are asked for at each server.
///
/// # Errors
/// If they do not fit into memory.
fn copies(
    session: &Session,
    config: &Serve,
    first: Option<&Row>,
    encoder: &Encoder,
) -> Result<Plan, Error> {
    let Some(row) = first else { return Ok(Arc::default()) };
    let lora = config.adapters.as_ref().map(Adapters::first);
    // Servers take turns, so that each gets as many.
    let servers = config.target.servers.len();
    let n = config.warmup.saturating_mul(servers);
    // What becomes of each is kept until all have ended.
    let need = (n as u64).saturating_mul(REQUEST_BYTES as u64);
    let what = format!("{n} requests of --warmup-requests");
    system::check_room(&what, need, system::free_memory())
        .map_err(|error| error.hint("ask for fewer: one per server is enough for most"))?;
    let row = Row { lora, ..row.clone() };
    if config.manner.salts {
        return Ok(salted(session, config, &row, n, encoder));
    }
    Ok(plan::warmup(&row, n, encoder))
}

/// `n` copies of a row with a salt of its own before the text of each.
fn salted(session: &Session, config: &Serve, row: &Row, n: usize, encoder: &Encoder) -> Plan {
    let salt = |i| rng::stream(config.seed, "warm-up/salt", i as u64).next_u32();
    let rows = (0..n).map(|i| cycles::salted(row, salt(i), &session.tokenizer)).collect();
    plan::build(rows, &vec![Duration::ZERO; n], encoder)
}

/// Pause between two attempts at a first request.
const PAUSE: Duration = Duration::from_secs(5);

/// Sends a request like the first until it is answered, if that is asked for.
///
/// # Errors
/// If it is not within the time limit for the server; the error has the last answer.
pub(super) fn try_first(
    session: &Session,
    config: &Serve,
    first: Option<&Row>,
    encoder: &Encoder,
    endpoints: &[Arc<Endpoint>],
    options: &engine::Options,
) -> Result<(), Error> {
    let (Some(timeout), Some(row)) = (config.ready_timeout, first) else { return Ok(()) };
    if !config.manner.tries_first {
        return Ok(());
    }
    let started = Instant::now();
    loop {
        let plan = salted(session, config, row, 1, encoder);
        match attempt(plan, endpoints, options)?.into_iter().next() {
            Some(record) if record.completed() => {
                session.ui.status("the first request was answered");
                return Ok(());
            }
            record => {
                let left = timeout.saturating_sub(started.elapsed());
                let failure = record.and_then(|record| record.failure().map(Cow::into_owned));
                if left.is_zero() || session.signals.exit_code().is_some() {
                    return Err(failure.map_or_else(
                        || Error::new(Kind::Rejected, "the first request was not sent"),
                        |failure| warmup_error(&failure, config),
                    ));
                }
                calls::run(tokio::time::sleep(left.min(PAUSE)))?;
            }
        }
    }
}

/// Sends `plan`, of which nothing is counted.
fn attempt(
    plan: Plan,
    endpoints: &[Arc<Endpoint>],
    options: &engine::Options,
) -> Result<Vec<RequestRecord>, Error> {
    // What goes wrong here is not counted against the run.
    let options = engine::Options {
        threads: 1,
        max_errors: None,
        stop: engine::Stop::new(),
        // Nothing of it is kept.
        budget: options.budget.anew(),
        ..options.clone()
    };
    engine::run(plan, endpoints, &options, &Progress::new())
        .map(|ran| ran.records)
        .map_err(|error| Error::new(Kind::System, "cannot start the warm-up").because(error))
}

/// Sends the warm-up requests, if there are any, and stops the program if none succeeds.
pub(super) fn send(
    config: &Serve,
    plan: Plan,
    endpoints: &[Arc<Endpoint>],
    options: &engine::Options,
    ui: Ui,
) -> Result<(), Error> {
    if plan.is_empty() {
        return Ok(());
    }
    let records = attempt(plan, endpoints, options)?;
    let good = records.iter().filter(|record| record.completed()).count();
    let refused = records.iter().find_map(|record| match &record.outcome {
        Outcome::Failed(failure) if failure.status.is_some_and(|s| REFUSALS.contains(&s)) => {
            Some(failure)
        }
        _ => None,
    });
    if let Some(failure) = refused {
        return Err(warmup_error(failure, config));
    }
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

/// Sends `rows` to each server, so that the requests of the run find them in its cache.
///
/// # Errors
/// If nothing can be sent. A row that fails is a warning: the run finds less in the cache.
pub(super) fn cache(
    session: &Session,
    config: &Serve,
    rows: &[Row],
    encoder: &Encoder,
    endpoints: &[Arc<Endpoint>],
    options: &engine::Options,
) -> Result<(), Error> {
    if rows.is_empty() {
        return Ok(());
    }
    // Servers take turns, so that each gets all of them.
    let servers = endpoints.len().max(1);
    let rows: Vec<Row> =
        rows.iter().flat_map(|row| std::iter::repeat_n(row.clone(), servers)).collect();
    let due = vec![Duration::ZERO; rows.len()];
    let most = options.max_in_flight.unwrap_or(CACHED_AT_ONCE).min(CACHED_AT_ONCE);
    let options = engine::Options { max_in_flight: Some(most), ..options.clone() };
    let records = attempt(plan::build(rows, &due, encoder), endpoints, &options)?;
    let good = records.iter().filter(|record| record.completed()).count();
    let text = format!("{good} of {} prefixes were sent for the cache", records.len());
    if good == records.len() {
        session.ui.status(&text);
        return Ok(());
    }
    let why = records.iter().find_map(|record| record.failure().map(|f| f.message.clone()));
    let why = config.target.secrets.hide(&why.unwrap_or_default()).into_owned();
    session.ui.warn(&format!("{text}, so that the run finds less in it: {why}"));
    Ok(())
}

/// Prefixes that are sent for the cache at the same time, at most.
const CACHED_AT_ONCE: usize = 16;

/// Says what the server answered, and what may help.
fn warmup_error(failure: &Failure, config: &Serve) -> Error {
    let answer = match &failure.excerpt {
        Some(excerpt) => format!("{}: {excerpt}", failure.message),
        None => failure.message.clone(),
    };
    let path = config.backend.path;
    let error =
        Error::new(Kind::Rejected, format!("the warm-up request to {path} failed: {answer}"));
    let error = match failure.status {
        Some(400 | 422) => match leave_out(&answer) {
            Some(hint) => error.hint(hint),
            None => error,
        },
        _ => error,
    };
    match failure.status {
        Some(401 | 403) => {
            error.hint("set OPENAI_API_KEY, or API_KEY for a key that is sent as it is, or give --api-key-file FILE")
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
