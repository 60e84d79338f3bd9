//! The tokenizer of a run: a file, or else what the server itself counts.

use super::calls;
use super::server::Served;
use crate::config::Serve;
use crate::control::probe::{Probe, Unanswered};
use crate::error::{Error, Kind};
use crate::output::terminal::Ui;
use crate::workload::hub::Hub;
use crate::workload::tokenizer::{Counter, Tokenizer};

/// A server that counts.
#[derive(Debug)]
struct Server {
    probe: Probe,
    model: String,
}

impl Counter for Server {
    fn ids(&self, text: &str, special: bool) -> Result<Vec<u32>, String> {
        flat(calls::run(self.probe.tokenize(&self.model, text, special)))
    }

    fn text(&self, ids: &[u32]) -> Result<String, String> {
        flat(calls::run(self.probe.detokenize(&self.model, ids)))
    }
}

fn flat<T>(asked: Result<Result<T, Unanswered>, Error>) -> Result<T, String> {
    asked.map_err(|error| error.to_string())?.map_err(|lost| lost.message)
}

/// Loads the tokenizer of `served`, or has the server count if there is none and nobody asked for one.
///
/// # Errors
/// If there is none, or the run needs more than counts.
pub(super) fn load(
    config: &Serve,
    served: &Served,
    probe: &Probe,
    hub: &Hub,
    ui: Ui,
) -> Result<Tokenizer, Error> {
    let loaded = Tokenizer::load_named(&served.tokenizers, hub);
    if let Ok(tokenizer) = &loaded
        && !tokenizer.counts()
    {
        check_uncounted(config)?;
        ui.status("--tokenizer none: all counts are the server's; lengths to ask for are estimated at 4 bytes per token");
    }
    let missing = match loaded {
        Err(missing) if config.tokenizer.is_none() => missing,
        result => return result,
    };
    let server = Server { probe: probe.clone(), model: served.model.clone() };
    // One that has the route knows a letter.
    if !server.ids("a", false).is_ok_and(|ids| !ids.is_empty()) {
        return Err(missing);
    }
    let name = &config.dataset_name;
    let refuse = |what: &str| {
        let message = format!("{what} needs a tokenizer on this machine: {}", missing.message);
        let error = Error::new(Kind::Input, message).hint(
            "the server counts tokens (/tokenize), which is enough for sharegpt, custom and other datasets of given text",
        );
        missing.hints.iter().fold(error, |error, hint| error.hint(hint.clone()))
    };
    if config.dataset.uses().vocabulary {
        return Err(refuse(&format!("--dataset-name {name}")));
    }
    if config.low_memory {
        // Answers are counted while the load goes on.
        return Err(refuse("--low-memory"));
    }
    ui.warn(&format!(
        "there is no tokenizer on this machine, and the server counts instead, over POST /tokenize: before the load and after it ({})",
        missing.message
    ));
    Ok(Tokenizer::of_server(format!("{}/tokenize", config.target.first().shown), Box::new(server)))
}

/// Refuses a run that needs tokens where nothing makes them.
fn check_uncounted(config: &Serve) -> Result<(), Error> {
    let name = &config.dataset_name;
    let refuse = |what: &str| {
        Err(Error::new(Kind::Usage, format!("--tokenizer none does not apply to {what}")).hint(
            "--tokenizer rbench-bundled is inside the program; its counts are not those of the model",
        ))
    };
    if config.dataset.uses().vocabulary {
        return refuse(&format!("--dataset-name {name}, whose prompts are made of tokens"));
    }
    if config.reading.template {
        return refuse("--apply-chat-template, which is that of the tokenizer");
    }
    Ok(())
}

/// Goes on only if the server has counted all that it was asked to.
///
/// # Errors
/// If it has not.
pub(super) fn check(tokenizer: &Tokenizer) -> Result<(), Error> {
    match tokenizer.trouble() {
        None => Ok(()),
        Some(why) if !tokenizer.counts() => Err(Error::new(Kind::Usage, why)
            .hint("use a dataset of given text, such as sharegpt, custom or openai")
            .hint("or --tokenizer rbench-bundled, whose counts are not those of the model")),
        Some(why) => Err(Error::new(
            Kind::Unreachable,
            format!("the server did not count the tokens of a prompt: {why}"),
        )
        .hint("pass --tokenizer with one of this machine")),
    }
}
