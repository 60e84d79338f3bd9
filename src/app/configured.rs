//! The configuration of a run as a file: `rbench serve --print-config` writes it, `rbench run` runs it.

use std::borrow::Cow;
use std::io::Read as _;
use std::path::Path;

use super::serve::{self, Looks};
use crate::cli::run::RunArgs;
use crate::config::{self, Job, Keys, RunSpec};
use crate::error::{Error, Kind};
use crate::output::terminal::Ui;

/// Longest configuration that is read, in bytes.
const LONGEST: u64 = 16 << 20;

/// Where the engine of `--mock` would listen, which it does not for a configuration.
const NOWHERE: &str = "http://127.0.0.1:0";

/// `rbench serve --print-config`.
///
/// # Errors
/// If the flags do not go together, or the configuration would hold a key.
pub(super) fn print(mut job: Job, ui: Ui) -> Result<(), Error> {
    for note in &job.notes {
        ui.status(note);
    }
    let looks = Looks::of(&mut job.spec.layouts)?;
    let spec = job.spec.clone();
    let text = spec.to_json()?;
    // What the run would refuse is refused here.
    let keys = Keys::read(spec.connection.api_key_file.as_deref())?;
    let mock = spec.servers.mock.then_some(NOWHERE);
    let resolved = config::resolve(job, &keys, mock)?;
    if let Cow::Owned(_) = resolved.target.secrets.mask(text.as_bytes()) {
        let message =
            "--print-config: a flag has a key or a password, which no configuration holds";
        return Err(Error::new(Kind::Usage, message)
            .hint("keys come from OPENAI_API_KEY, API_KEY or the file of --api-key-file"));
    }
    let unprinted = looks.table.unprinted(!resolved.slos.is_empty(), resolved.cache_report);
    for note in resolved.notes.iter().chain(&unprinted) {
        ui.status(note);
    }
    for variable in spec.variables()? {
        ui.status(&format!("rbench run takes the value of a header from {variable}"));
    }
    ui.data(&text)
        .map_err(|error| Error::new(Kind::System, "cannot write to stdout").because(error))
}

/// `rbench run`.
///
/// # Errors
/// If the file is no configuration, or those of the run.
pub(super) fn run(args: &RunArgs, ui: Ui) -> Result<(), Error> {
    let text = read(&args.config)?;
    let spec = RunSpec::from_json(&text).map_err(|error| {
        let message = format!("{}: {}", args.config.display(), error.message);
        Error { message, ..error }
    })?;
    serve::serve(Job::of(spec)?, ui)
}

/// The text of the file at `path`, or of the standard input.
fn read(path: &Path) -> Result<String, Error> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().take(LONGEST).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(LONGEST).read_to_string(&mut text))
    };
    match read {
        Ok(_) => Ok(text),
        Err(error) => {
            let message = format!("{}: cannot read the configuration", path.display());
            Err(Error::new(Kind::Usage, message).because(error))
        }
    }
}
