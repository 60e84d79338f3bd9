//! `rbench evalscope perf`: runs of `rbench serve` with what EvalScope's flags mean.

mod tuning;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::calls;
use super::figures;
use super::publish::{partial_mark, tell_failures};
use super::reporters::Reporters;
use super::run::{Outcome, execute};
use super::save;
use super::serve::{self, Session};
use super::warm_up::WarmUp;
use crate::config::{self, Keys, Serve};
use crate::dialect::evalscope::report::{self, About};
use crate::dialect::evalscope::{Figures, Flags, Load, Terms, endpoint, files, seed_of, table};
use crate::error::{Error, Kind};
use crate::journal::Command;
use crate::output::block;
use crate::output::object::own;
use crate::output::terminal::Ui;

/// `rbench evalscope perf`.
pub(super) fn perf(mut flags: Flags, ui: Ui) -> Result<(), Error> {
    flags.read_files().map_err(usage)?;
    let loads = flags.loads().map_err(usage)?;
    for note in flags.notes() {
        ui.status(&note);
    }
    if flags.sla_auto_tune {
        tuning::check(&flags, &loads)?;
    }
    let seed = flags.seed.unwrap_or_else(own_seed);
    let folder = folder(&flags);
    let first = flags.job(&loads[0], 0, seed)?;
    let (engine, _, spec) = serve::begin(first, ui)?;
    let session = Session::open(&spec, ui)?;
    let mut job = Job { flags, session, seed, folder, offset: 0, runs: 0, partial: None, ui };
    job.offset = job.flags.dataset_offset;
    let result = if job.flags.sla_auto_tune {
        tuning::tune(&mut job, &loads)
    } else {
        sweep(&mut job, &loads)
    };
    let result = job.session.explained(result);
    drop(engine);
    result
}

/// The runs of one command line.
struct Job {
    flags: Flags,
    session: Session,
    seed: u64,
    /// The folder of all results.
    folder: PathBuf,
    /// Rows of the dataset that runs have used.
    offset: usize,
    /// Runs until now.
    runs: usize,
    /// Why the last run was ended before its plan was done, if it was.
    partial: Option<Error>,
    ui: Ui,
}

/// One run for each of `loads`, and the report of all.
fn sweep(job: &mut Job, loads: &[Load]) -> Result<(), Error> {
    let mut runs = Vec::new();
    for (i, load) in loads.iter().enumerate() {
        if i > 0 {
            job.pause();
        }
        if loads.len() > 1 {
            job.ui.status(&format!("run {} of {}: {}", i + 1, loads.len(), name(load, false)));
        }
        // A load that is listed again has a folder of its own.
        let before = loads[..i].iter().filter(|earlier| *earlier == load).count();
        let again = if before > 0 { format!("_{}", before + 1) } else { String::new() };
        let folder = job.folder.join(name(load, true) + &again);
        runs.push(job.run(load, &folder)?);
        if job.partial.is_some() {
            break;
        }
    }
    job.report(&runs)?;
    match job.partial.take() {
        Some(ended) => Err(ended),
        None => some_succeeded(&runs),
    }
}

/// An error if no request of a run succeeded: there is nothing that its figures could be of.
fn some_succeeded(runs: &[Figures]) -> Result<(), Error> {
    let without: Vec<String> =
        runs.iter().filter(|run| run.succeeded == 0).map(|run| name(&run.load, false)).collect();
    if without.is_empty() {
        return Ok(());
    }
    let message = format!("no request succeeded at {}", without.join(", "));
    Err(Error::new(Kind::AllFailed, message))
}

/// A load for people, or as the name of a folder.
fn name(load: &Load, folder: bool) -> String {
    match (load.parallel, load.rate) {
        (Some(parallel), _) if folder => format!("parallel_{parallel}_number_{}", load.number),
        (None, rate) if folder => {
            format!("rate_{:?}_number_{}", rate.unwrap_or(-1.0), load.number)
        }
        (Some(parallel), _) => format!("concurrency {parallel}"),
        (None, Some(rate)) => format!("{rate} requests/s"),
        (None, None) => "the times of the trace".to_owned(),
    }
}

impl Job {
    /// One run, whose files go to `folder`.
    fn run(&mut self, load: &Load, folder: &Path) -> Result<Figures, Error> {
        let Self { flags, session, ui, .. } = self;
        let seed = seed_of(self.seed, self.runs);
        let warm_up = flags.warm_up(load.number);
        let before = if flags.open_loop { warm_up } else { 0 };
        if before > 0 {
            let warming = Load { parallel: Some(before), rate: None, number: before };
            let spec = resolved(flags.job(&warming, self.offset, seed)?)?;
            let quiet = Reporters::of(&spec, None, *ui);
            drop(execute(session, &spec, Command::Serve, &WarmUp::Nothing, quiet)?);
        }
        let in_stream = if flags.open_loop { 0 } else { warm_up };
        let sent = Load { number: load.number + in_stream, ..*load };
        let mut spec = resolved(flags.job(&sent, self.offset + before, seed)?)?;
        make(folder)?;
        spec.records = Some(folder.join("records.jsonl"));
        spec.closes = flags.duration.map(Duration::from_secs_f64);
        self.offset += sent.number + before;
        self.runs += 1;
        let reporters = Reporters::of(&spec, None, *ui);
        let outcome = execute(session, &spec, Command::Serve, &WarmUp::Nothing, reporters)?;
        let Outcome { ran, records, closing } = outcome;
        let analysis = figures::of_run(ran, &records, &session.tokenizer, *ui);
        let terms = Terms {
            load: *load,
            warm_up: in_stream,
            generates: flags.generates(),
            streams: flags.streams(),
            multi_turn: flags.multi_turn,
            timed: flags.duration.is_some(),
            method: flags.layout.method(),
            speculation: None,
        };
        let run = Figures::of(analysis.requests(), &terms);
        let own = own(&analysis, &[], false);
        self.write(&run, own, folder)?;
        let handoff = self.flags.enable_pd_metrics;
        let mut shown = partial_mark(&analysis);
        shown += &block::block(&analysis, false);
        shown += &table::render(&run, self.flags.layout, handoff);
        self.print(&(shown + "\n"))?;
        tell_failures(&analysis, self.ui);
        self.partial = closing.close().err();
        Ok(run)
    }

    /// Writes the files of a run.
    fn write(&self, run: &Figures, own: Value, folder: &Path) -> Result<(), Error> {
        let handoff = self.flags.enable_pd_metrics;
        let mut all = vec![
            ("benchmark_args.json", self.arguments(run, folder)),
            ("benchmark_summary.json", files::summary(run, handoff, own)),
            ("benchmark_percentile.json", files::percentiles(run, handoff)),
            ("workload_throughput.json", files::throughput(run)),
            ("workload_timeline.json", files::timeline(run)),
        ];
        all.extend(files::traces(run).map(|traces| ("trace_summary.json", traces)));
        for (name, value) in all {
            save_json(&folder.join(name), &value)?;
        }
        self.ui.status(&format!("results written to {}", folder.display()));
        Ok(())
    }

    /// The arguments of a run as they took effect.
    fn arguments(&self, run: &Figures, folder: &Path) -> Value {
        let mut all = self.flags.shown(&self.session.served.model);
        let mut put = |key: &str, value: Value| all.insert(key.to_owned(), value);
        put("number", run.load.number.into());
        put("parallel", run.load.parallel.into());
        put("rate", run.load.rate.unwrap_or(-1.0).into());
        put("outputs_dir", folder.display().to_string().into());
        put("drawn_with_seed", self.seed.into());
        all.into()
    }

    /// Prints the report of all runs, and writes it.
    fn report(&self, runs: &[Figures]) -> Result<(), Error> {
        let about = About {
            model: self.session.served.model.clone(),
            alias: self.flags.alias.clone(),
            dataset: self.flags.dataset.clone(),
            api: self.flags.api.clone(),
            endpoint: endpoint(&self.flags.url),
            output: self.folder.display().to_string(),
            handoff: self.flags.enable_pd_metrics,
        };
        let shown = report::render(&about, runs, self.flags.layout);
        save::replace(&self.folder.join("performance_summary.txt"), &shown)?;
        self.print(&shown)
    }

    fn print(&self, text: &str) -> Result<(), Error> {
        let printed = self.ui.data(text);
        printed.map_err(|error| Error::new(Kind::System, "cannot write to stdout").because(error))
    }

    /// Waits between two runs; a signal ends the program.
    fn pause(&self) {
        let seconds = self.flags.sleep_interval;
        if seconds > 0 && self.session.signals.exit_code().is_none() {
            self.ui.status(&format!("{seconds} s until the next run (--sleep-interval)"));
            let pause = async move { tokio::time::sleep(Duration::from_secs(seconds)).await };
            // Without a runtime there is no pause.
            let _ = calls::run(pause);
        }
    }
}

/// The resolved configuration of a further run.
fn resolved(job: config::Job) -> Result<Serve, Error> {
    let keys = Keys::read(job.spec.connection.api_key_file.as_deref())?;
    config::resolve(job, &keys, None)
}

fn usage(message: String) -> Error {
    Error::new(Kind::Usage, message)
}

/// A seed for what is drawn where none is given, so that no two command lines send the same prompts.
fn own_seed() -> u64 {
    let now = jiff::Timestamp::now().as_nanosecond();
    // Small enough for readers of JSON that have no whole numbers.
    u64::try_from(now / 1000 % (1 << 31)).unwrap_or(0)
}

/// The folder of the results.
fn folder(flags: &Flags) -> PathBuf {
    let name = flags.name.as_ref().or(flags.model.as_ref()).map_or("model", String::as_str);
    let name = name.rsplit('/').find(|part| !part.is_empty()).unwrap_or("model");
    if flags.no_timestamp {
        return flags.outputs_dir.join(name);
    }
    let now = jiff::Zoned::now().strftime("%Y%m%d_%H%M%S").to_string();
    flags.outputs_dir.join(now).join(name)
}

fn make(folder: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(folder).map_err(|error| {
        usage(format!("--outputs-dir: {} cannot be made", folder.display())).because(error)
    })
}

fn save_json(path: &Path, value: &Value) -> Result<(), Error> {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    save::replace(path, &text)
}
