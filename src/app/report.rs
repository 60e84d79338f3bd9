//! `rbench report`: the figures of a run from its records, whatever became of it.

mod folder;

use std::path::Path;

use serde_json::Value;

use self::folder::{Source, Sources};
use super::connection;
use super::figures;
use super::offline::publish_throughput;
use super::one_batch;
use super::publish::{Outputs, publish};
use super::save;
use crate::analysis::RunMetadata;
use crate::cli::report::ReportArgs;
use crate::config;
use crate::dialect::Choice;
use crate::engine::transport::tls::Trust;
use crate::error::{Error, Kind};
use crate::journal::{self, Command, Recorded, failed};
use crate::model::RequestRecord;
use crate::output::html;
use crate::output::terminal::Ui;
use crate::workload::tokenizer::Tokenizer;

/// `rbench report`.
pub(super) fn report(args: &ReportArgs, ui: Ui) -> Result<(), Error> {
    save::check("--output-file", args.output_file.as_deref())?;
    save::check("--failed-file", args.failed_file.as_deref())?;
    save::check("--html", args.html.as_deref())?;
    config::files_differ(&[
        ("RECORDS", Some(&args.records)),
        ("--output-file", args.output_file.as_deref()),
        ("--failed-file", args.failed_file.as_deref()),
        ("--html", args.html.as_deref()),
    ])?;
    let Sources { files, sweep } = folder::sources(&args.records)?;
    let mut pages = args.html.as_ref().map(|_| Pages { of: files.len(), runs: Vec::new() });
    let mut published = Ok(());
    for file in &files {
        // A run without a completed request does not hide the others.
        match each(file, args, &mut pages, ui) {
            Err(error) if error.kind == Kind::AllFailed => published = published.and(Err(error)),
            result => result?,
        }
    }
    let written = match (&args.html, pages) {
        (Some(path), Some(Pages { runs, .. })) if !runs.is_empty() => {
            save::page(path, &html::page(&runs, sweep.as_ref())).map(|()| {
                ui.status(&format!("page written to {}", path.display()));
            })
        }
        _ => Ok(()),
    };
    published.and(written)
}

/// The runs that a page shows.
struct Pages {
    /// Files that they are from.
    of: usize,
    runs: Vec<html::Run>,
}

/// Prints the results of the runs in one file.
fn each(file: &Source, args: &ReportArgs, pages: &mut Option<Pages>, ui: Ui) -> Result<(), Error> {
    let runs = journal::read(&file.path)?;
    let n = runs.len();
    for (i, run) in runs.into_iter().enumerate() {
        let date = &run.header.metadata.date;
        if n > 1 {
            ui.status(&format!("run {} of {n}, of {date}", i + 1));
        } else if let Some(name) = &file.name {
            ui.status(&format!("{name}, of {date}"));
        }
        one(run, file, args, pages, n, ui)?;
    }
    Ok(())
}

/// Prints the result of one run, and adds the run to those that the page shows, if there is to be a page.
fn one(
    mut run: Recorded,
    file: &Source,
    args: &ReportArgs,
    pages: &mut Option<Pages>,
    in_file: usize,
    ui: Ui,
) -> Result<(), Error> {
    let tokenizer = tokenizer(&run, args, ui)?;
    let header = &mut run.header;
    tokenizer.name().clone_into(&mut header.metadata.tokenizer);
    if !args.goodput.is_empty() {
        let slos = config::objectives(&args.goodput, header.backend)?;
        let shown = slos.iter().map(ToString::to_string).collect();
        header.metadata.config.insert("goodput".to_owned(), shown);
        header.metadata.slos = slos;
    }
    header.steady_state = args.steady_state_concurrency_ratio.or(header.steady_state);
    let outputs = outputs(&header.metadata, args)?;
    let Recorded { header, records, end, asked, .. } = run;
    let end = end.ok_or_else(|| {
        let of = header.requests.map(|n| format!(" of {n}")).unwrap_or_default();
        format!("the run did not end; {}{of} requests have a record", records.len())
    });
    if let Err(why) = &end {
        ui.warn(&format!("{}: {why}", file.path.display()));
    }
    if let Some(path) = &args.failed_file {
        append_failed(path, &records, &header.metadata.date, ui)?;
    }
    let asked = |record: &RequestRecord| asked.of(record);
    let analysis = figures::of_records(&header, end, &records, asked, &tokenizer, ui);
    if let Some(pages) = pages {
        let date = &analysis.metadata.date;
        let name = match &file.name {
            None => date.clone(),
            Some(name) if in_file == 1 => name.clone(),
            Some(name) => format!("{name}, {date}"),
        };
        pages.runs.push(html::Run::of(name, &analysis, pages.of.max(in_file)));
    }
    match header.command {
        Command::Serve => publish(&analysis, &outputs, ui),
        Command::OneBatch => {
            one_batch::publish_again(&header, &analysis, outputs.file.as_deref(), ui)
        }
        Command::Offline => {
            let Outputs { table, jsonl, file, .. } = outputs;
            publish_throughput(&analysis, table, jsonl, file.as_deref(), ui)
        }
    }
}

/// The tokenizer of the run, or the one that is asked for.
fn tokenizer(run: &Recorded, args: &ReportArgs, ui: Ui) -> Result<Tokenizer, Error> {
    let download = &args.download;
    let trust = Trust::load(download.cacert.as_deref(), None, download.insecure)?;
    let hub = connection::hub_with(&trust, download.no_proxy, ui);
    match &args.tokenizer {
        Some(name) => Tokenizer::load(std::slice::from_ref(name), &hub),
        None => Tokenizer::load(std::slice::from_ref(&run.header.metadata.tokenizer), &hub),
    }
}

/// How and where the run is told of: as it was to be, where nothing else is said.
fn outputs(metadata: &RunMetadata, args: &ReportArgs) -> Result<Outputs, Error> {
    let was = |key: &str| metadata.config.get(key).and_then(Value::as_bool).unwrap_or(false);
    let choice = |flag: Option<Choice>, key: &str| {
        let name = metadata.config.get(key).and_then(Value::as_str).unwrap_or_default();
        flag.map_or_else(|| name.parse(), Ok).map_err(|what: String| {
            let message = format!("the run had --{key} {name}, which {what}");
            Error::new(Kind::Input, message).hint(format!("choose one with --{key}"))
        })
    };
    Ok(Outputs {
        table: choice(args.table, "table")?,
        jsonl: choice(args.jsonl, "jsonl")?,
        quiet: args.quiet_extras || was("quiet_extras"),
        verbose: args.verbose || was("verbose"),
        plot: args.plot_throughput,
        file: args.output_file.clone(),
        json: false,
        csv: None,
        details: args.output_details || was("output_details"),
        beside: None,
        steady_file: None,
        strict: false,
        allow_failed: None,
    })
}

/// Appends the lines of `--failed-file`.
fn append_failed(path: &Path, records: &[RequestRecord], run: &str, ui: Ui) -> Result<(), Error> {
    let mut lines = Vec::new();
    let mut n = 0;
    let written = records
        .iter()
        .filter(|record| failed::belongs(record))
        .try_for_each(|record| {
            n += 1;
            failed::push(&mut lines, record, run)
        })
        .and_then(|()| save::append_lines(path, &lines));
    written.map_err(|error| {
        Error::new(Kind::System, format!("cannot write to {}", path.display())).because(error)
    })?;
    ui.status(&format!("{n} failed requests appended to {}", path.display()));
    Ok(())
}
