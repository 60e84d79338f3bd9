//! What is learnt of the server before a run.

use std::net::{IpAddr, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::calls;
use crate::config::Serve;
use crate::control::probe::{self, ListedModel, Probe, Ready};
use crate::error::{Error, Kind};
use crate::mock;
use crate::output::terminal::Ui;
use crate::workload::tokenizer::{Name, Origin};

/// What routers call a model whose name they were not given.
const UNKNOWN: &str = "unknown";

/// What was learnt of the server before the run.
pub(super) struct Served {
    /// Name to send.
    pub(super) model: String,
    /// Where a tokenizer may be had, the best first.
    pub(super) tokenizers: Vec<Name>,
}

impl Served {
    /// What is known of a server that is not asked.
    pub(super) fn unasked(config: &Serve) -> Self {
        let own = config.target.own.then(|| mock::MODEL.to_owned());
        let model = config.served_model_name.clone().or_else(|| config.model.clone()).or(own);
        let named = config.tokenizer.iter().chain(&config.model).take(1);
        Self {
            model: model.unwrap_or_else(|| "MODEL".to_owned()),
            tokenizers: named.map(|name| Name::of_user(name)).collect(),
        }
    }
}

/// Waits for the server at `shown` if that is asked for, and returns what it answers when it is asked for its models.
///
/// # Errors
/// If it does not become ready.
pub(super) async fn wait_for(
    config: &Serve,
    probe: &Probe,
    shown: &str,
    ui: Ui,
) -> Result<Ready, Error> {
    let Some(timeouts) = config.ready_timeout else {
        if !config.backend.lists_models {
            return Ok(Ready::Answers);
        }
        let list = probe.json("/v1/models").await;
        return Ok(list.map_or_else(|none| Ready::Unlisted(none.message), Ready::Lists));
    };
    let started = Instant::now();
    let waiting = |reason: &str| {
        ui.status(&format!("waiting up to {} s for {shown}: {reason}", timeouts.as_secs_f64()));
    };
    let named = config.model.is_some();
    let ready = probe.ready(config.backend, timeouts, shown, named, waiting).await?;
    if started.elapsed() > Duration::from_secs(1) {
        ui.status(&format!("server ready after {:.1} s", started.elapsed().as_secs_f64()));
    }
    if let Ready::Unlisted(reason) = &ready {
        ui.warn(&format!("{shown} does not list its models, and --model goes on: {reason}"));
    }
    Ok(ready)
}

/// Waits for the server and asks it what it serves.
///
/// # Errors
/// If it does not become ready, or nobody knows its model.
pub(super) async fn discover(config: &Serve, probe: &Probe, ui: Ui) -> Result<Served, Error> {
    let shown = &config.target.first().shown;
    let (list, reason) = match wait_for(config, probe, shown, ui).await? {
        Ready::Lists(list) => (Some(list), None),
        Ready::Answers => (None, None),
        Ready::Unlisted(reason) => (None, Some(reason)),
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
            let because = reason.map_or(String::new(), |reason| format!(": {reason}"));
            let message = format!("{shown} lists no model{because}");
            return Err(Error::new(Kind::Unreachable, message)
                .hint("pass --model with the name that the server knows"));
        }
    };
    if config.model.is_none() && model == UNKNOWN {
        unknown(config, shown, ui)?;
    }
    let tokenizers = match &config.tokenizer {
        Some(name) => vec![Name::of_user(name)],
        None => tokenizers(config, probe, listed, &model).await,
    };
    let model = config.served_model_name.clone().unwrap_or(model);
    ui.status(&format!("{} at {shown}, model {model}", config.backend.name));
    Ok(Served { model, tokenizers })
}

/// Says that a router does not know the model of its servers.
///
/// # Errors
/// If that leaves no way to a tokenizer.
fn unknown(config: &Serve, shown: &str, ui: Ui) -> Result<(), Error> {
    let what = format!(
        "{shown} lists its model as {UNKNOWN:?}, as routers do that were not given its name"
    );
    if config.tokenizer.is_none() {
        return Err(Error::new(Kind::Unreachable, what)
            .hint("pass --model with the name that the servers behind it know; its tokenizer is looked for under that name")
            .hint("or pass --tokenizer"));
    }
    ui.warn(&format!("{what}: that name is sent; --model gives another"));
    Ok(())
}

/// Where the tokenizer of `model` may be had, the best first.
async fn tokenizers(
    config: &Serve,
    probe: &Probe,
    listed: Option<ListedModel>,
    model: &str,
) -> Vec<Name> {
    // Servers that know it are SGLang's; nothing is missing where there are other ways.
    let info = probe.json("/model_info").await.unwrap_or(Value::Null);
    let told = |key: &str| info.get(key).and_then(Value::as_str).map(str::to_owned);
    let (bases, root) = listed.map_or((Vec::new(), None), |listed| (listed.bases, listed.root));
    let told = [told("tokenizer_path"), told("model_path")].into_iter().flatten();
    let server = if is_here(config) { Origin::ServerHere } else { Origin::ServerElsewhere };
    let mut names: Vec<Name> = Vec::new();
    let typed = config.model.as_deref().map(Name::of_user);
    let listed = told.chain(bases).chain(root).chain([model.to_owned()]);
    for name in listed.map(|text| Name { text, origin: server }).chain(typed) {
        let is_new = !names.iter().any(|known| known.text == name.text);
        if name.origin == Origin::User {
            // What the user says is believed, also where the server says it too.
            match names.iter_mut().find(|known| known.text == name.text) {
                Some(known) => known.origin = Origin::User,
                None => names.push(name),
            }
        } else if is_new && !name.text.is_empty() {
            names.push(name);
        }
    }
    names
}

/// Whether the server is on this machine, so that its paths are those of this one.
fn is_here(config: &Serve) -> bool {
    let target = &config.target;
    if target.own || target.first().socket.is_some() || config.launch.is_some() {
        return true;
    }
    let Ok(url) = url::Url::parse(&target.first().base) else { return false };
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => is_own(address.into()),
        Some(url::Host::Ipv6(address)) => is_own(address.into()),
        None => false,
    }
}

/// Whether an address is one of this machine: only then can something be bound to it.
fn is_own(address: IpAddr) -> bool {
    address.is_loopback() || UdpSocket::bind((address, 0)).is_ok()
}

/// What the server reports of itself after the load; the error says that it was asked and gave nothing.
///
/// Servers other than SGLang's have no such call and answer it in many ways: theirs is lost only without an answer.
pub(super) fn server_info(config: &Serve, probe: &Probe) -> Result<Option<Value>, String> {
    let asked = calls::run(probe.json("/server_info")).map_err(|error| error.to_string())?;
    let sglang = config.backend.is_sglang();
    asked.map(Some).or_else(|lost| {
        let is_known = lost.is_absent() || lost.status.is_some() && !sglang;
        if is_known { Ok(None) } else { Err(lost.message) }
    })
}
