//! `rbench aisbench`: runs of `rbench serve` with what a scenario of AISBench means.

use std::path::{Path, PathBuf};

use super::figures;
use super::publish::{none_completed, partial_mark, tell_failures};
use super::reporters::Reporters;
use super::run::{Outcome, execute};
use super::save;
use super::serve::{self, Session};
use super::warm_up::WarmUp;
use crate::dialect::aisbench::{
    Data, Figures, Flags, Model, Scenario, Stage, files, table, window,
};
use crate::error::{Error, Kind};
use crate::journal::Command;
use crate::output::block;
use crate::output::html;
use crate::output::object::own;
use crate::output::terminal::Ui;

/// `rbench aisbench`.
pub(super) fn bench(flags: &Flags, ui: Ui) -> Result<(), Error> {
    let scenario = Scenario::read(&flags.scenario)?;
    let tasks = scenario.selected(&flags.models, &flags.datasets)?;
    let stamp = jiff::Zoned::now().strftime("%Y%m%d_%H%M%S").to_string();
    let folder = flags.work_dir.join(stamp).join("performances");
    let mut result = Ok(());
    for (model, data) in &tasks {
        if tasks.len() > 1 {
            ui.status(&format!("task {}/{}", model.abbr, data.abbr));
        }
        let done = task(flags, model, data, &folder.join(name(&model.abbr)), ui);
        match done {
            Ok(()) => {}
            // One task without an answer does not keep the others from running.
            Err(error) if error.kind == Kind::AllFailed && tasks.len() > 1 => {
                ui.error(&error);
                result = Err(error);
            }
            Err(error) => return Err(error),
        }
    }
    result
}

/// An abbr as the name of a file.
fn name(abbr: &str) -> String {
    abbr.replace(['/', '\\'], "_")
}

/// One run, its tables and its files.
fn task(flags: &Flags, model: &Model, data: &Data, folder: &Path, ui: Ui) -> Result<(), Error> {
    let (engine, _, mut spec) = serve::begin(flags.job(model, data)?, ui)?;
    std::fs::create_dir_all(folder).map_err(|error| {
        let message = format!("--work-dir: {} cannot be made", folder.display());
        Error::new(Kind::Usage, message).because(error)
    })?;
    let file = |ending: &str| -> PathBuf { folder.join(format!("{}{ending}", name(&data.abbr))) };
    spec.records = Some(file("_records.jsonl"));
    let session = Session::open(&spec, ui)?;
    let reporters = Reporters::of(&spec, None, ui);
    let warm_up = flags.warm_up(model, data).map_or(WarmUp::Nothing, WarmUp::Prompts);
    let outcome = execute(&session, &spec, Command::Serve, &warm_up, reporters)?;
    let Outcome { ran, records, closing } = outcome;
    let plan = ran.plan.clone();
    let analysis = figures::of_run(ran, &records, &session.tokenizer, ui);
    let cap = spec.max_concurrency;
    let stage = if flags.summarizer == "stable_stage" {
        let cap = cap.ok_or_else(|| {
            let message = "--summarizer stable_stage: a run at the times of its dataset has no cap";
            Error::new(Kind::Usage, message)
        })?;
        match window(&records, cap, flags.stable_rule) {
            Some(window) => Ok(Stage::Stable(window)),
            None => Err(Error::new(
                Kind::AllFailed,
                format!("there is no stable stage: the concurrency did not reach batch_size {cap} twice"),
            )
            .hint("send more requests, or lower batch_size; --summarizer default_perf has the figures of the whole run")),
        }
    } else {
        Ok(Stage::Total)
    };
    let shown = stage.as_ref().copied().unwrap_or(Stage::Total);
    let stages = [Figures::of(analysis.requests(), shown, model.stream, cap)];
    let common = files::common(&stages, flags.layout, own(&analysis, &[], false));
    let common = serde_json::to_string_pretty(&common).unwrap_or_default() + "\n";
    let title = format!("{}/{}", model.abbr, data.abbr);
    let failed = files::failed(&plan, &records);
    for (path, text) in [
        (file(".csv"), files::csv(&stages, flags.layout)),
        (file(".json"), common),
        (file("_details.jsonl"), files::details(&plan, analysis.requests())),
    ] {
        save::replace(&path, &text)?;
    }
    let run = html::Run::of(title.clone(), &analysis, 1);
    save::page(&file("_plot.html"), &html::page(&[run], None))?;
    if !failed.is_empty() {
        save::replace(&file("_failed.jsonl"), &failed)?;
    }
    ui.status(&format!("results written to {}", folder.display()));
    let mut out = partial_mark(&analysis);
    out += &block::block(&analysis, false);
    out += &format!("Performance Results of task [{title}]:\n");
    out += &table::render(&stages, flags.layout);
    let printed = ui.data(&out);
    printed.map_err(|error| Error::new(Kind::System, "cannot write to stdout").because(error))?;
    tell_failures(&analysis, ui);
    drop(engine);
    none_completed(&analysis)?;
    closing.close()?;
    stage.map(drop)
}
