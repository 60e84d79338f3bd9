//! `--low-memory`: the reporter that aggregates records while a run goes on.

use std::io;
use std::thread;

use super::reporter::{self, Reporter};
use crate::analysis::intake::{Intake, Rules, Taken};
use crate::engine::event::{Ends, RunEvent, Wants};
use crate::engine::{Options, Ran};
use crate::secrets::Secrets;

/// Aggregates records as requests leave.
struct Aggregator<'a> {
    intake: Intake<'a>,
    /// A server may repeat those that it was shown.
    secrets: &'a Secrets,
}

impl Reporter for Aggregator<'_> {
    type Found = Taken;
    const THREAD: &'static str = "rbench-aggregate";
    const WANTS: Wants = Wants { sends: false, ends: Some(Ends::Records), ticks: false };

    fn hear(&mut self, event: RunEvent) {
        // The memory of the answer is given back when it is counted.
        if let RunEvent::Ended { mut record, charge: _charge } = event {
            self.secrets.take_out_of_record(&mut record);
            self.intake.take(&record);
        }
    }

    fn end(self, _: u64) -> Taken {
        self.intake.finish()
    }
}

/// Runs `load`, whose records are aggregated by `rules` as its requests end, or left alone without rules;
/// then all subscriptions are ended. A server may repeat the `secrets` that it was shown.
///
/// # Errors
/// If a thread cannot be started, or that of `load`.
pub(super) fn run(
    rules: Option<Rules<'_>>,
    secrets: &Secrets,
    options: &mut Options,
    load: impl FnOnce(&Options) -> io::Result<Ran>,
) -> io::Result<(Ran, Option<Taken>)> {
    let Some(rules) = rules else {
        let ran = load(options);
        options.subscribers.clear();
        return Ok((ran?, None));
    };
    let backlog = options.budget.backlog();
    let records = options.subscribers.subscribe(Aggregator::WANTS, backlog);
    thread::scope(|scope| {
        let follow =
            move || reporter::follow(Aggregator { intake: Intake::new(rules), secrets }, records);
        let aggregating = thread::Builder::new()
            .name(Aggregator::THREAD.into())
            .spawn_scoped(scope, follow)
            .inspect_err(|_| options.subscribers.clear())?;
        let ran = load(options);
        // Reporters end with the last who could send to them.
        options.subscribers.clear();
        let aggregated = aggregating.join();
        let ran = ran?;
        let taken = aggregated
            .map_err(|_| io::Error::other("the thread that aggregates records has a defect"))?;
        Ok((ran, Some(taken)))
    })
}
