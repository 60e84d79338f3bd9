//! The profilers of a run: started before its load, and stopped whatever ends it.

use std::time::Duration;

use super::calls;
use super::signals::Signals;
use crate::config::profile::Profile;
use crate::control::probe::Probe;
use crate::control::profiler::{Running, Said};
use crate::error::Error;
use crate::output::terminal::Ui;

/// How long a stop may take when a second signal ends the program: long enough for it to arrive.
const HURRY: Duration = Duration::from_secs(2);

/// Profilers that run; dropping stops them.
pub(super) struct Profiling {
    running: Option<Running>,
    /// Calls that failed.
    failed: Vec<String>,
    signals: Signals,
    ui: Ui,
}

impl Profiling {
    /// Starts the profilers of `profile`, if there is one, and has `signals` stop them; `epoch_s` names the folder of the traces.
    ///
    /// # Errors
    /// If the system has no means for the calls.
    pub(super) fn start(
        profile: Option<&Profile>,
        probe: &Probe,
        epoch_s: f64,
        signals: &Signals,
        ui: Ui,
    ) -> Result<Self, Error> {
        let signals = signals.clone();
        let mut profiling = Self { running: None, failed: Vec::new(), signals, ui };
        let Some(profile) = profile else { return Ok(profiling) };
        let mut running = Running::new(profile, probe);
        let hurry = running.clone();
        profiling.signals.before_end(Box::new(move || {
            // Nobody is left who could do something about a failure.
            let _ = calls::run(hurry.stop_within(HURRY, |_| {}));
        }));
        let failed = &mut profiling.failed;
        calls::run(running.start(epoch_s, |said| say(said, failed, ui)))?;
        profiling.running = Some(running);
        Ok(profiling)
    }

    /// Stops them; returns the calls that failed, the starts included.
    pub(super) fn stop(mut self) -> Vec<String> {
        self.end();
        std::mem::take(&mut self.failed)
    }

    fn end(&mut self) {
        let Some(running) = self.running.take() else { return };
        self.signals.nothing_before_end();
        let (failed, ui) = (&mut self.failed, self.ui);
        if let Err(error) = calls::run(running.stop(|said| say(said, failed, ui))) {
            say(Said::Failed(format!("the profilers were not stopped: {error}")), failed, ui);
        }
    }
}

impl Drop for Profiling {
    fn drop(&mut self) {
        self.end();
    }
}

fn say(said: Said, failed: &mut Vec<String>, ui: Ui) {
    match said {
        Said::Done(text) => ui.status(&text),
        Said::Failed(text) => {
            ui.warn(&text);
            failed.push(text);
        }
    }
}
