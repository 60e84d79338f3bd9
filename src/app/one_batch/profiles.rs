//! Batches that are sent once more, to be profiled.

use super::{Bench, calls};
use crate::app::profiling::Profiling;
use crate::app::run::epoch_s;
use crate::config::one_batch::Planned;
use crate::dialect::one_batch::Traces;
use crate::error::Error;
use crate::protocol::batch::Shape;

impl Bench<'_> {
    /// Sends each of `measured` again with the profilers on; returns where the traces are, if there are some.
    ///
    /// What goes wrong with a profile is a warning: the batches are measured by then.
    ///
    /// # Errors
    /// If the run was ended, or the system has no means for it.
    pub(super) fn profiled(&self, measured: &[&Planned]) -> Result<Vec<Option<Traces>>, Error> {
        let Some(profile) = &self.config.serve.profile else {
            return Ok(measured.iter().map(|_| None).collect());
        };
        let mut folders = Vec::with_capacity(measured.len());
        for planned in measured {
            let batch = self.prompts(planned, true)?;
            let Shape { batch_size, input_len, .. } = batch.shape;
            let named = format!("the batch of {batch_size} prompts of {input_len} tokens");
            calls::run(self.flush())??;
            let share = self.config.cache_share;
            let cached = self.sender.cache_prefixes(&batch, &self.ask, share)?;
            let profile = profile.of_part(&format!("bs-{batch_size}-il-{input_len}"));
            let epoch_s = epoch_s(&jiff::Zoned::now());
            let probe = &self.session.probe;
            let profiling =
                Profiling::start(Some(&profile), probe, epoch_s, &self.session.signals, self.ui)?;
            let sent = self.sender.warm_up(&batch, &self.ask);
            let calls_failed = !profiling.stop().is_empty();
            if let Err(reason) = cached.and(sent?) {
                self.ui.warn(&format!("{named} failed when it was profiled: {reason}"));
            }
            folders.push((!calls_failed).then(|| profile.folder(epoch_s)));
        }
        Ok(folders.into_iter().map(|folder| self.traces(folder?)).collect())
    }

    /// The traces of a folder, whose names are known where the server runs on this machine.
    fn traces(&self, folder: String) -> Option<Traces> {
        if !self.config.serve.backend.is_sglang() {
            // The server has a folder of its own.
            return None;
        }
        Some(Traces::of(&folder).unwrap_or_else(|error| {
            self.ui.warn(&format!("the traces of {folder} cannot be listed here: {error}"));
            Traces { folder, ..Traces::default() }
        }))
    }
}
