//! `rbench report`: the figures of a run from its records, whatever became of it.

use std::path::Path;

use serde_json::Value;

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
    let runs = journal::read(&args.records)?;
    let n = runs.len();
    let mut shown = Vec::new();
    let published = runs.into_iter().enumerate().try_for_each(|(i, run)| {
        if n > 1 {
            ui.status(&format!("run {} of {n}, of {}", i + 1, run.header.metadata.date));
        }
        one(run, args, &mut shown, ui)
    });
    let written = match &args.html {
        Some(path) if !shown.is_empty() => write_page(path, &shown, ui),
        _ => Ok(()),
    };
    published.and(written)
}

/// Writes the page of `runs`.
fn write_page(path: &Path, runs: &[html::Run], ui: Ui) -> Result<(), Error> {
    std::fs::write(path, html::page(runs)).map_err(|error| {
        Error::new(Kind::System, format!("cannot write the page to {}", path.display()))
            .because(error)
    })?;
    ui.status(&format!("page written to {}", path.display()));
    Ok(())
}

/// Prints the result of one run, and adds the run to those that the page shows, if there is to be a page.
fn one(
    mut run: Recorded,
    args: &ReportArgs,
    shown: &mut Vec<html::Run>,
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
        ui.warn(&format!("{}: {why}", args.records.display()));
    }
    if let Some(path) = &args.failed_file {
        append_failed(path, &records, &header.metadata.date, ui)?;
    }
    let asked = |record: &RequestRecord| asked.of(record);
    let analysis = figures::of_records(&header, end, &records, asked, &tokenizer, ui);
    if args.html.is_some() {
        shown.push(html::Run::of(analysis.metadata.date.clone(), &analysis));
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
