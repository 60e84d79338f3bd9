//! What is learnt of the server before a run.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::config::Serve;
use crate::error::{Error, Kind};
use crate::probe::{self, Probe};
use crate::ui::Ui;

/// What was learnt of the server before the run.
pub(super) struct Served {
    /// Name to send.
    pub(super) model: String,
    /// Where a tokenizer may be had, the best first.
    pub(super) tokenizers: Vec<String>,
}

/// Waits for the server at `shown` if that is asked for, and returns the list of what it serves, if it has one.
///
/// # Errors
/// If it does not become ready.
pub(super) async fn wait_for(
    config: &Serve,
    probe: &Probe,
    shown: &str,
    ui: Ui,
) -> Result<Option<Value>, Error> {
    let Some(patience) = config.ready_timeout else {
        return Ok(if config.backend.lists_models { probe.json("/v1/models").await } else { None });
    };
    let started = Instant::now();
    let waiting = |reason: &str| {
        ui.status(&format!("waiting up to {} s for {shown}: {reason}", patience.as_secs_f64()));
    };
    let list = probe.ready(config.backend, patience, shown, waiting).await?;
    if started.elapsed() > Duration::from_secs(1) {
        ui.status(&format!("server ready after {:.1} s", started.elapsed().as_secs_f64()));
    }
    Ok(list)
}

/// Waits for the server and asks it what it serves.
pub(super) async fn discover(config: &Serve, probe: &Probe, ui: Ui) -> Result<Served, Error> {
    let shown = &config.target.shown;
    let list = wait_for(config, probe, shown, ui).await?;
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
