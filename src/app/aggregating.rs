//! `--low-memory`: the thread that folds records while a run goes on.

use std::io;
use std::thread;

use crate::analysis::aggregate::{Rules, Sums, aggregate};
use crate::engine::outbox;
use crate::engine::{Options, Ran};

/// Runs `run`, whose records are aggregated by `rules` as its requests end, or left alone without rules.
///
/// # Errors
/// If a thread cannot be started, or that of `run`.
pub(super) fn run(
    rules: Option<Rules<'_>>,
    options: &mut Options,
    run: impl FnOnce(&Options) -> io::Result<Ran>,
) -> io::Result<(Ran, Option<Sums>)> {
    let Some(rules) = rules else { return Ok((run(options)?, None)) };
    let (sink, mut records) = outbox::bounded(options.budget.backlog());
    options.sink = Some(sink);
    thread::scope(|scope| {
        let aggregating = thread::Builder::new()
            .name("rbench-fold".into())
            .spawn_scoped(scope, move || aggregate(&mut records, rules))?;
        let ran = run(options);
        // The thread ends with the last who could send.
        options.sink = None;
        let aggregated = aggregating.join();
        let ran = ran?;
        let sums = aggregated
            .map_err(|_| io::Error::other("the thread that folds records has a defect"))?;
        Ok((ran, Some(sums)))
    })
}
