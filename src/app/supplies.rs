//! The tokenizer and the files of the dataset: looked for together, so that a user learns of all that is missing at once.

use std::error::Error as StdError;
use std::fmt;
use std::path::PathBuf;

use super::server::Served;
use super::tokenizing;
use crate::config::Serve;
use crate::control::probe::Probe;
use crate::error::{Error, Kind};
use crate::output::terminal::Ui;
use crate::workload::bundled;
use crate::workload::hub::Hub;
use crate::workload::tokenizer::{NONE, Name, Tokenizer};

/// What a run needs beside its server.
pub(super) struct Supplies {
    /// Counts tokens.
    pub(super) tokenizer: Tokenizer,
    /// What stands in for the path of the dataset, where its own file cannot be had.
    pub(super) dataset_path: Option<PathBuf>,
}

/// Looks for the tokenizer and, if it is to be `read`, for the files of the dataset.
///
/// # Errors
/// If one of them, or both, cannot be had; the hints have a whole command that needs neither.
pub(super) fn gather(
    config: &Serve,
    served: &Served,
    probe: &Probe,
    hub: &Hub,
    read: bool,
    ui: Ui,
) -> Result<Supplies, Error> {
    let tokenizer = tokenizing::load(config, served, probe, hub, ui);
    let fetched = if read { fetch(config, hub, ui) } else { Ok(None) };
    match (tokenizer, fetched) {
        (Ok(tokenizer), Ok(dataset_path)) => Ok(Supplies { tokenizer, dataset_path }),
        // Nothing that is missing matters to a command line that cannot be used.
        (_, Err(dataset)) if dataset.kind == Kind::Usage => Err(dataset),
        (Err(tokenizer), _) if tokenizer.kind == Kind::Usage => Err(tokenizer),
        (Ok(_), Err(dataset)) => Err(first_hint(dataset, without(config, served, false, true))),
        (Err(tokenizer), Ok(_)) => Err(first_hint(tokenizer, without(config, served, true, false))),
        (Err(tokenizer), Err(dataset)) => {
            let what = "neither the tokenizer nor the dataset can be had".to_owned();
            let mut hints = vec![without(config, served, true, true)];
            for hint in tokenizer.hints.iter().chain(&dataset.hints) {
                if !hints.contains(hint) {
                    hints.push(hint.clone());
                }
            }
            let error = Error::new(Kind::Input, what).because(Two(
                format!("{}{}", tokenizer.message, cause(&tokenizer)),
                Last(format!("{}{}", dataset.message, cause(&dataset))),
            ));
            Err(hints.into_iter().fold(error, Error::hint))
        }
    }
}

/// Finds the files of the dataset; the path is what stands in for them.
fn fetch(config: &Serve, hub: &Hub, ui: Ui) -> Result<Option<PathBuf>, Error> {
    match config.dataset.fetch(hub, config.dataset_path.as_deref()) {
        Err(error) if config.manner.any_dataset && hub.is_away(&error) => {
            ui.warn(&format!(
                "the {} conversations stand in for --dataset-name {}: {}",
                bundled::NAME,
                config.dataset_name,
                error.message
            ));
            Ok(Some(PathBuf::from(bundled::NAME)))
        }
        fetched => fetched.map(|()| None),
    }
}

/// The same without a server to ask: where the tokenizer is not here, the bundled one counts.
///
/// # Errors
/// If the files of the dataset cannot be had.
pub(super) fn without_server(
    config: &Serve,
    served: &Served,
    hub: &Hub,
    ui: Ui,
) -> Result<Supplies, Error> {
    let dataset_path = fetch(config, hub, ui)?;
    let named = Tokenizer::load_named(&served.tokenizers, hub);
    let tokenizer = match named {
        Err(error) if config.tokenizer.is_some() => return Err(error),
        Ok(tokenizer) => tokenizer,
        Err(_) => {
            ui.warn(&format!(
                "lengths are counted by --tokenizer {}, since the model's is not known without the server",
                bundled::NAME
            ));
            Tokenizer::load_named(&[Name::of_user(bundled::NAME)], hub)?
        }
    };
    Ok(Supplies { tokenizer, dataset_path })
}

/// `error` with `hint` before its other hints.
fn first_hint(mut error: Error, hint: String) -> Error {
    error.hints.insert(0, hint);
    error
}

/// The cause of `error`, to stand after its message.
fn cause(error: &Error) -> String {
    error.cause.as_ref().map_or(String::new(), |cause| format!(": {cause}"))
}

/// A hint with a command for the same server that needs no file for the tokenizer or for the dataset, or for both.
fn without(config: &Serve, served: &Served, tokenizer: bool, dataset: bool) -> String {
    let mut command = format!("rbench serve --backend {}", config.backend.name);
    for server in &config.target.servers {
        command += &format!(" --base-url {}", server.shown);
    }
    if config.model.is_some() {
        command += &format!(" --model {}", shlex::try_quote(&served.model).unwrap_or_default());
    }
    // The server counts what it is given, and knows nothing of prompts that are made of tokens.
    let counted = if dataset || config.dataset.uses().vocabulary { bundled::NAME } else { NONE };
    let named = config.tokenizer.as_deref().filter(|_| !tokenizer);
    if let Some(tokenizer) = named.or(tokenizer.then_some(counted)) {
        command += &format!(" --tokenizer {tokenizer}");
    }
    if dataset {
        command += " --dataset-name random-ids";
    } else if !config.manner.any_dataset {
        command += &format!(" --dataset-name {}", config.dataset_name);
        if let Some(path) = &config.dataset_path {
            let path = path.display().to_string();
            command += &format!(" --dataset-path {}", shlex::try_quote(&path).unwrap_or_default());
        }
    }
    format!("this works without a download: {command}")
}

/// What is missing first, with what is missing beside it as its source.
#[derive(Debug)]
struct Two(String, Last);

/// What is missing last.
#[derive(Debug)]
struct Last(String);

impl fmt::Display for Two {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Last {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Two {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.1)
    }
}

impl StdError for Last {}
