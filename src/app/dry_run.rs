//! `--dry-run`: what would be sent, without a word to the server.

use std::borrow::Cow;
use std::time::Duration;

use super::prepare::{Prepared, prepare};
use super::session::Session;
use crate::config::Serve;
use crate::dialect::Choice;
use crate::error::{Error, Kind};
use crate::model::PlannedRequest;
use crate::output::terminal::Ui;
use crate::workload::arrival::Rate;

/// What stands for the value of a header, which may be a key.
const HIDDEN: &str = "***";

/// Prints what the run of `spec` would send, with its first request as a command of curl.
///
/// # Errors
/// If the requests cannot be made, or stdout cannot be written to.
pub(super) fn show(spec: &Serve, jsonl: Choice, ui: Ui) -> Result<(), Error> {
    let session = Session::without_server(spec, ui)?;
    let prepared = prepare(spec, &session)?;
    let text = spec.target.secrets.hide(&text(spec, &session, &prepared, jsonl)).into_owned();
    ui.data(&text)
        .map_err(|error| Error::new(Kind::System, "cannot write to stdout").because(error))
}

/// The text, with a line end after each line.
fn text(spec: &Serve, session: &Session, prepared: &Prepared, jsonl: Choice) -> String {
    let plan = &prepared.plan;
    let mut text = String::new();
    let mut row = |label: &str, value: &str| text += &format!("{label:<22} {value}\n");
    for server in &spec.target.servers {
        row("Endpoint:", &format!("POST {}{} ({})", server.shown, spec.path(), spec.backend.name));
    }
    row("Model:", &session.served.model);
    row("Tokenizer:", session.tokenizer.name());
    row(
        "Requests:",
        &format!("{} of {}, after {} to warm up", plan.len(), spec.dataset_name, spec.warmup),
    );
    row("Input tokens:", &lengths(plan, |request| request.prompt_len));
    if spec.backend.protocol.generates() {
        row("Output tokens asked:", &lengths(plan, |request| request.output_len));
    }
    row("Arrivals:", &arrivals(spec, prepared));
    row("Expected duration:", &duration(spec, prepared));
    row("Result:", &result(spec, jsonl));
    if let Some(first) = plan.first() {
        text += &format!("First request:\n{}\n", curl(spec, first));
    }
    text += "Nothing was sent.\n";
    text
}

/// What lengths there are.
fn lengths(plan: &[PlannedRequest], length: fn(&PlannedRequest) -> usize) -> String {
    let all = || plan.iter().map(length);
    let (sum, n) = (all().sum::<usize>(), plan.len().max(1));
    let (min, max) = (all().min().unwrap_or(0), all().max().unwrap_or(0));
    format!("{sum} in all; mean {:.1}, min {min}, max {max}", sum as f64 / n as f64)
}

/// When requests go.
fn arrivals(spec: &Serve, prepared: &Prepared) -> String {
    let rate = match prepared.rate {
        Rate::PerSecond(rate) => format!("{rate} requests/s"),
        Rate::Trace => "at the times of the dataset".to_owned(),
        Rate::Unlimited => "all at once".to_owned(),
    };
    match spec.max_concurrency {
        Some(cap) => format!("{rate}, at most {cap} in flight"),
        None => rate,
    }
}

/// How long requests are sent, as far as that is not a matter of the server.
fn duration(spec: &Serve, prepared: &Prepared) -> String {
    let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
    if let Some(lasts) = spec.duration {
        return seconds(lasts);
    }
    let last = prepared.plan.iter().map(|request| request.due).max().unwrap_or_default();
    if last.is_zero() {
        return "as long as the server takes".to_owned();
    }
    format!("{} until the last request is sent, and its answer", seconds(last))
}

/// Where the result goes.
fn result(spec: &Serve, jsonl: Choice) -> String {
    let results = &spec.results;
    match &results.file {
        Some(path) => path.display().to_string(),
        None if results.json => "stdout".to_owned(),
        None if results.no_file => "no file".to_owned(),
        None => format!("a file in this folder that is named as {jsonl} does"),
    }
}

/// A request as a command of curl, without what may be a key.
fn curl(spec: &Serve, request: &PlannedRequest) -> String {
    let server = spec.target.first();
    let mut command = "curl -sN".to_owned();
    if let Some(socket) = &server.socket {
        command += &format!(" --unix-socket {}", quoted(&socket.display().to_string()));
    }
    let base = if server.socket.is_some() { &server.base } else { &server.shown };
    command += &format!(" {}", quoted(&format!("{base}{}", spec.path())));
    for (name, value) in &spec.target.load {
        let value = value.to_str().ok().filter(|_| !value.is_sensitive()).unwrap_or(HIDDEN);
        command += &format!(" -H {}", quoted(&format!("{name}: {value}")));
    }
    match std::str::from_utf8(&request.body) {
        Ok(body) => command + &format!(" -d {}", quoted(body)),
        Err(_) => command + &format!(" --data-binary @... # {} bytes", request.body.len()),
    }
}

/// `text` as one argument in a shell. No URL, header or JSON body has the NUL byte that cannot be quoted.
fn quoted(text: &str) -> Cow<'_, str> {
    shlex::try_quote(text).unwrap_or_default()
}
