//! The requests before the run that nobody counts.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;

use super::session::Session;
use crate::config::Serve;
use crate::engine;
use crate::engine::progress::Progress;
use crate::engine::system;
use crate::engine::transport::Endpoint;
use crate::error::{Error, Kind};
use crate::model::{Failure, Outcome, PlannedRequest, REQUEST_BYTES, Row};
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
            Self::FirstRow => copies(spec, first, encoder),
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
fn copies(config: &Serve, first: Option<&Row>, encoder: &Encoder) -> Result<Plan, Error> {
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
    Ok(plan::warmup(&Row { lora, ..row.clone() }, n, encoder))
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
    // What goes wrong here is not counted against the run, and ends it only below.
    let options = engine::Options {
        threads: 1,
        max_errors: None,
        stop: engine::Stop::new(),
        // Nothing of it is kept.
        budget: options.budget.anew(),
        ..options.clone()
    };
    let records = engine::run(plan, endpoints, &options, &Progress::new())
        .map_err(|error| Error::new(Kind::System, "cannot start the warm-up").because(error))?
        .records;
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
