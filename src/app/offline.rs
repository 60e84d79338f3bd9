//! `rbench offline`: everything is sent at once, and the throughput is told.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;

use super::publish::{none_completed, partial_mark, tell_failures};
use super::save;
use super::serve::{Job, Session, begin, check_recording};
use crate::analysis::report::Report;
use crate::cli::offline::OfflineInput;
use crate::config::Serve;
use crate::control::probe::{self, State};
use crate::dialect::Choice;
use crate::error::{Error, Kind};
use crate::model::PlannedRequest;
use crate::output::terminal::Ui;
use crate::protocol::backend::Backend;
use crate::rng;
use crate::workload::dataset::{Context, Dataset, Reading};
use crate::workload::hub::Hub;
use crate::workload::plan::{self, Encoder};
use crate::workload::tokenizer::Tokenizer;

/// Prompts of the warm-up at most.
const WARM_UP: usize = 16;

/// What `offline` does in its own way.
pub(super) struct Offline {
    warm_up: Option<Box<dyn Dataset>>,
    result_file: Option<PathBuf>,
}

/// `rbench offline`.
pub(super) fn offline(input: OfflineInput, ui: Ui) -> Result<(), Error> {
    let OfflineInput { mut serve, result_file, warm_up } = input;
    // When tokens arrive is of no interest, and streams cost both sides time.
    serve.args.disable_stream =
        Backend::find(&serve.args.backend).is_some_and(|backend| backend.can_disable_stream);
    let (engine, config) = begin(serve, ui)?;
    save::check("--result-filename", result_file.as_deref())?;
    check_recording(&config)?;
    let session = Session::open(&config, ui)?;
    let job = Offline { warm_up, result_file };
    let result = session.explained(session.measure(&config, &Job::Offline(&job)));
    drop(engine);
    result
}

impl Offline {
    /// The requests of the warm-up: prompts of their own, so that the run finds none of its prefixes cached.
    pub(super) fn warm_up(
        &self,
        config: &Serve,
        tokenizer: &Tokenizer,
        encoder: &Encoder,
        ui: Ui,
    ) -> Result<Arc<[PlannedRequest]>, Error> {
        let Some(dataset) = &self.warm_up else { return Ok(Arc::default()) };
        let rows = dataset.load(&Context {
            tokenizer,
            hub: &Hub::from_env(ui.terminal()),
            path: None,
            n: config.num_prompts.min(WARM_UP),
            seed: rng::stream(config.seed, "offline/warm-up", 0).next_u64(),
            ids: false,
            reading: &Reading::default(),
        })?;
        let due = vec![Duration::ZERO; rows.rows.len()];
        Ok(plan::build(rows.rows, &due, encoder))
    }

    /// Prints the table, tells of failures, and appends the line.
    ///
    /// # Errors
    /// If something could not be written, or no request succeeded.
    pub(super) fn publish(&self, report: &Report<'_>, config: &Serve, ui: Ui) -> Result<(), Error> {
        publish_throughput(report, config.table, config.jsonl, self.result_file.as_deref(), ui)
    }
}

/// Prints the table of throughput, tells of failures, and appends the line to `file`.
///
/// # Errors
/// If something could not be written, or no request succeeded.
pub(super) fn publish_throughput(
    report: &Report<'_>,
    table: Choice,
    jsonl: Choice,
    file: Option<&Path>,
    ui: Ui,
) -> Result<(), Error> {
    let last = report
        .server_info
        .as_ref()
        .and_then(|info| probe::last_generation_throughput(info, State::First));
    let printed = ui
        .data(&(partial_mark(report) + &table.offline_table(report, last)))
        .map_err(|error| Error::new(Kind::System, "can not write to stdout").because(error));
    tell_failures(report, ui);
    if let Some(path) = file {
        let line = jsonl.offline_line(report, last);
        if let Err(error) = save::append(path, &line) {
            // What was measured is not lost with the file.
            ui.status(line.trim_end());
            return Err(error);
        }
        ui.status(&format!("result appended to {}", path.display()));
    }
    printed?;
    none_completed(report)
}
