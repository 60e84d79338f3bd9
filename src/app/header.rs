//! What is known of a run before it begins.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::prepare::Prepared;
use super::session::Session;
use crate::analysis::ceiling::{self, Ceiling, Host};
use crate::analysis::{MACHINE, RunMetadata};
use crate::config::Serve;
use crate::engine::transport::Endpoint;
use crate::engine::{self, Options, system};
use crate::journal::{Command, Header};
use crate::model::PlannedRequest;
use crate::output::terminal::Ui;

/// The header of a run of `command` that begins at `date`.
pub(super) fn header(
    session: &Session,
    spec: &Serve,
    command: Command,
    prepared: &Prepared,
    options: &Options,
    endpoints: &[Arc<Endpoint>],
    date: &jiff::Zoned,
) -> Header {
    let mut metadata = metadata(session, spec, prepared, date);
    metadata.config.insert(MACHINE.to_owned(), machine().into());
    if let Some(path) = &session.dataset_path {
        metadata.config.insert("dataset_path".to_owned(), path.display().to_string().into());
    }
    if let Some(proxy) = endpoints.iter().find_map(|endpoint| endpoint.proxy.as_ref()) {
        metadata.config.insert("proxy".to_owned(), proxy.shown.clone().into());
    }
    let requests: usize = prepared.plan.iter().map(PlannedRequest::rounds).sum();
    let has_end = spec.duration.is_none();
    Header {
        metadata,
        backend: spec.backend,
        clock: engine::clock(options, endpoints),
        endpoints: spec.target.servers.iter().map(|server| server.shown.clone()).collect(),
        command,
        // Without an end in the plan all that is sent is scheduled.
        requests: has_end.then_some(requests as u64),
        vision: prepared.vision,
        stall_threshold: spec.client.stall_threshold,
        // Where the plan has no end, nothing follows the last request that could have been waited for.
        last_gap: if has_end { prepared.last_gap } else { Duration::ZERO },
        steady_state: spec.steady_state,
        ceiling: known_ceiling(session.ui),
    }
}

/// The machine, and the program that runs on it: its commit, which builds for development do not know, and its target.
fn machine() -> Map<String, Value> {
    let mut machine = system::machine();
    let commit = Some(env!("RBENCH_COMMIT")).filter(|commit| !commit.is_empty());
    machine.insert("commit".to_owned(), commit.into());
    machine.insert("target".to_owned(), env!("RBENCH_TARGET").into());
    machine
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
    session: &Session,
    spec: &Serve,
    prepared: &Prepared,
    date: &jiff::Zoned,
) -> RunMetadata {
    let shown = |text: &str| spec.target.secrets.hide(text).into_owned();
    RunMetadata {
        backend: spec.backend.name,
        generates: spec.backend.protocol.generates(),
        dataset_name: spec.dataset_name.clone(),
        rate: prepared.rate,
        max_concurrency: spec.max_concurrency,
        slos: spec.slos.clone(),
        cache_report: spec.cache_report,
        tag: spec.tag.as_deref().map(shown),
        model: shown(&session.served.model),
        tokenizer: shown(session.tokenizer.name()),
        vision_source: None,
        seed: spec.seed,
        date: date.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
        config: spec.effective.clone(),
        planned: prepared.planned.clone(),
    }
}
