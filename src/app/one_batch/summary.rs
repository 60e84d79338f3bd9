//! What is written of all batches of a run together.

use std::path::PathBuf;

use super::{Bench, save};
use crate::app::compare::STEP_SUMMARY;
use crate::dialect::one_batch::{self as output, Reported};
use crate::error::{Error, Kind};

impl Bench<'_> {
    /// Prints the table, appends it to the summary of the step of a workflow, and writes the list.
    ///
    /// # Errors
    /// If something cannot be written; the rest is written all the same.
    pub(super) fn report_all(&self, cases: &[Reported]) -> Result<(), Error> {
        let reports = &self.config.reports;
        let gpus = self.room.gpus.unwrap_or(1);
        let table = || {
            output::report(
                cases,
                &self.metadata,
                &self.config.input_lens,
                &self.config.output_lens,
                reports.hour * gpus as f64,
            )
        };
        let listed = reports.list.as_deref().map_or(Ok(()), |path| {
            let list = output::list(cases, &self.metadata, reports.server_args.as_deref());
            save::replace(path, &list)
        });
        let step = std::env::var_os(STEP_SUMMARY).map(PathBuf::from);
        let step = step.filter(|path| reports.summary && !path.as_os_str().is_empty());
        let summarised = step.map_or(Ok(()), |path| {
            let text =
                format!("### {} ({})\n{}\n", self.metadata.model, self.metadata.run_name, table());
            save::append_lines(&path, text.as_bytes()).map_err(|error| {
                Error::new(Kind::System, format!("cannot write {}", path.display())).because(error)
            })
        });
        let printed = if reports.table { self.say(&table()) } else { Ok(()) };
        listed.and(summarised).and(printed)
    }
}
