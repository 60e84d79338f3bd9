//! `rbench vllm bench serve`: a run with what vLLM's flags mean.

use super::serve;
use crate::dialect::vllm::Flags;
use crate::error::{Error, Kind};
use crate::output::terminal::Ui;

/// `rbench vllm bench serve`.
pub(super) fn serve(flags: Flags, ui: Ui) -> Result<(), Error> {
    if let Some(folder) = flags.result_dir.as_ref().filter(|_| flags.save_result) {
        std::fs::create_dir_all(folder).map_err(|error| {
            let message = format!("--result-dir {}: cannot be made", folder.display());
            Error::new(Kind::Usage, message).because(error)
        })?;
    }
    serve::serve(flags.job()?, ui)
}
