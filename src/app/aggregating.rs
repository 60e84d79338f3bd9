//! `--low-memory`: the thread that aggregates records while a run goes on.

use std::io;
use std::thread;

use crate::analysis::intake::{Intake, Rules, Taken};
use crate::engine::outbox::{self, Inbox};
use crate::engine::system::Charge;
use crate::engine::{Options, Ran};
use crate::model::RequestRecord;
use crate::secrets::Secrets;

/// Runs `run`, whose records are aggregated by `rules` as its requests end, or left alone without rules.
/// A server may repeat the `secrets` that it was shown.
///
/// # Errors
/// If a thread cannot be started, or that of `run`.
pub(super) fn run(
    rules: Option<Rules<'_>>,
    secrets: &Secrets,
    options: &mut Options,
    run: impl FnOnce(&Options) -> io::Result<Ran>,
) -> io::Result<(Ran, Option<Taken>)> {
    let Some(rules) = rules else { return Ok((run(options)?, None)) };
    let (sink, mut records) = outbox::bounded(options.budget.backlog());
    options.sink = Some(sink);
    thread::scope(|scope| {
        let aggregating = thread::Builder::new()
            .name("rbench-aggregate".into())
            .spawn_scoped(scope, move || aggregate(&mut records, rules, secrets))?;
        let ran = run(options);
        // The thread ends with the last who could send.
        options.sink = None;
        let aggregated = aggregating.join();
        let ran = ran?;
        let taken = aggregated
            .map_err(|_| io::Error::other("the thread that aggregates records has a defect"))?;
        Ok((ran, Some(taken)))
    })
}

/// Aggregates what comes, each with the memory that it takes, until nothing can come any more.
fn aggregate(
    records: &mut Inbox<(RequestRecord, Option<Charge>)>,
    rules: Rules<'_>,
    secrets: &Secrets,
) -> Taken {
    let mut intake = Intake::new(rules);
    while let Ok((mut record, charge)) = records.recv() {
        secrets.take_out_of_record(&mut record);
        intake.take(&record);
        drop((record, charge));
        records.done();
    }
    intake.finish()
}
