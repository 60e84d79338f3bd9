//! `rbench vllm bench serve`: a run with what vLLM's flags mean.

use std::ffi::OsString;

use super::serve;
use crate::dialect::vllm::{Flags, args};
use crate::error::{Error, Kind};
use crate::output::terminal::Ui;

/// The argument list with what vLLM's own parser puts into it, if it is one of `rbench vllm bench serve`.
///
/// # Errors
/// If the file of `--config` cannot be used, or dots lead nowhere.
pub(super) fn arguments(typed: Vec<OsString>) -> Result<Vec<OsString>, Error> {
    let usage = |message: String| Error::new(Kind::Usage, message);
    let Some(path) = args::config(&typed) else { return args::undotted(typed).map_err(usage) };
    let shown = path.display().to_string();
    let file = std::fs::read_to_string(path)
        .map_err(|error| usage(format!("--config {shown}: cannot be read")).because(error))?;
    let all = args::with_config(&typed, &file)
        .map_err(|what| usage(format!("--config {shown}: {what}")))?;
    args::undotted(all).map_err(usage)
}

/// `rbench vllm bench serve`.
pub(super) fn serve(flags: &Flags, ui: Ui) -> Result<(), Error> {
    // A word that vLLM's own client reads in the same way.
    let pytorch = std::env::var("SAVE_TO_PYTORCH_BENCHMARK_FORMAT");
    let job = flags.job(pytorch.is_ok_and(|on| !on.is_empty() && on != "0"))?;
    if let Some(folder) = flags.result_dir.as_ref().filter(|_| flags.save_result) {
        std::fs::create_dir_all(folder).map_err(|error| {
            let message = format!("--result-dir {}: cannot be made", folder.display());
            Error::new(Kind::Usage, message).because(error)
        })?;
    }
    serve::serve(job, ui)
}
