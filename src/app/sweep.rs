//! `rbench sweep`: many runs of `rbench serve`, one folder with all that they found, and a summary.

mod point;
mod runner;
mod store;

use std::path::PathBuf;

use rand::seq::SliceRandom as _;
use serde_json::{Value, json};

use self::point::Point;
use self::runner::{Ran, Runner};
use self::store::{RECORDS, Store};
use super::compare;
use super::engine::Engine;
use super::serve;
use super::signals;
use crate::analysis::comparison::Judged;
use crate::cli::sweep::{Options, Order, Sweep};
use crate::error::{Error, Kind};
use crate::output::sweep::{self, Row, State, Summary};
use crate::output::terminal::Ui;
use crate::rng;

/// `rbench sweep`.
///
/// # Errors
/// If the folder cannot be used, or a point failed; the others are measured all the same.
pub(super) fn sweep(mut input: Sweep, ui: Ui) -> Result<(), Error> {
    let options = input.options.clone();
    let folder = options.output_dir.clone().unwrap_or_else(default_folder);
    let values = input.points.first().cloned().unwrap_or_default();
    let (engine, _, first) = serve::begin(input.job(&values, &[])?, ui)?;
    let seed = first.seed;
    drop(first);
    let points = points(&mut input, engine.as_ref())?;
    let store = Store::open(folder, options.resume)?;
    store.manifest(&manifest(&input, &points))?;
    let flags = input.axes().iter().map(|axis| axis.flag.as_str()).collect();
    let rows = points.iter().map(|point| row(point, Ran::pending(), &options)).collect();
    let Options { gpus, cost_per_gpu_hour: price, repeat: runs, .. } = options;
    let mut all = All {
        summary: Summary { flags, runs, rows, gpus, price },
        folders: vec![None; points.len()],
        options: &options,
        store: &store,
        ui,
    };
    let order = order(points.len(), &options, seed);
    let result = all.run(points, &order);
    drop(engine);
    // What was measured is shown, whatever ended the sweep.
    all.show()?;
    result?;
    all.failed()
}

/// The folder of a sweep that names none.
fn default_folder() -> PathBuf {
    jiff::Zoned::now().strftime("rbench-sweep-%Y%m%d-%H%M%S").to_string().into()
}

/// All runs: the points in their order, then again for each further run.
fn points(input: &mut Sweep, engine: Option<&Engine>) -> Result<Vec<Point>, Error> {
    let flags: Vec<String> = input.axes().iter().map(|axis| axis.flag.clone()).collect();
    let (repeat, same) = (input.options.repeat, input.options.same_prompts);
    let mut all = Vec::new();
    for values in input.points.clone() {
        for run in 1..=repeat {
            let job = input.job(&values, &[])?;
            let named = (flags.clone(), values.clone());
            all.push(Point::new(job, named, run, same, engine)?);
        }
    }
    Ok(all)
}

/// The order of the runs, by their positions: each round has all points, in an order of its own.
fn order(runs: usize, options: &Options, seed: u64) -> Vec<usize> {
    let repeat = options.repeat.max(1);
    let round = |round: usize| {
        let mut order: Vec<usize> = (round..runs).step_by(repeat).collect();
        if options.order == Order::Seed {
            order.shuffle(&mut rng::stream(seed, "sweep/order", round as u64));
        }
        order
    };
    (0..repeat).flat_map(round).collect()
}

/// What a sweep is: its flags and its points.
fn manifest(input: &Sweep, points: &[Point]) -> Value {
    let options = &input.options;
    let axes = input.axes();
    let mut config = points.first().map(|point| point.spec.effective.clone()).unwrap_or_default();
    // What differs stands at the points.
    let same = |key: &String, value: &Value| {
        points.iter().all(|point| point.spec.effective.get(key) == Some(value))
    };
    config.retain(|key, value| key != "seed" && same(key, value));
    let axis = |axis: &crate::cli::sweep::Axis| json!({"flag": axis.flag, "values": axis.values});
    let point = |point: &Point| {
        json!({
            "name": point.name,
            "values": point.named(),
            "run": point.run,
            "num_prompts": point.spec.num_prompts,
            "seed": point.spec.seed,
            "digest": point.digest,
        })
    };
    json!({
        "rbench_sweep": 1,
        "version": env!("CARGO_PKG_VERSION"),
        "date": jiff::Zoned::now().strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
        "zip": options.zip,
        "repeat": options.repeat,
        "order": if options.order == Order::Seed { "seed" } else { "given" },
        "same_prompts": options.same_prompts,
        "slo": options.slo.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "gpus": options.gpus,
        "cost_per_gpu_hour": options.cost_per_gpu_hour,
        "axes": axes.iter().map(axis).collect::<Vec<_>>(),
        "config": config,
        "points": points.iter().map(point).collect::<Vec<_>>(),
    })
}

/// A row of the summary.
fn row(point: &Point, ran: Ran, options: &Options) -> Row {
    let judged: Vec<Judged> = if matches!(ran.state, State::Done) {
        options.slo.iter().map(|slo| slo.judge(&[&ran.run], options.slo_on)).collect()
    } else {
        Vec::new()
    };
    let Ran { state, note, run } = ran;
    let (values, repeat) = (point.values.clone(), point.run);
    Row { values, repeat, state, figures: run.figures, judged, note }
}

/// The sweep as far as it has come.
struct All<'a> {
    summary: Summary<'a>,
    /// The folders of the runs that are done.
    folders: Vec<Option<PathBuf>>,
    options: &'a Options,
    store: &'a Store,
    ui: Ui,
}

impl All<'_> {
    /// Makes the runs in `order`, except for those that are finished.
    fn run(&mut self, mut points: Vec<Point>, order: &[usize]) -> Result<(), Error> {
        self.find(&points)?;
        let skipped = self.folders.iter().flatten().count();
        if skipped > 0 {
            self.ui.status(&format!("{skipped} of {} runs are there already", points.len()));
        }
        let left: Vec<usize> =
            order.iter().copied().filter(|&at| self.folders[at].is_none()).collect();
        let mut runner = Runner::new(self.store, self.ui);
        for (i, &at) in left.iter().enumerate() {
            let point = &mut points[at];
            let label = self.summary.label(&self.summary.rows[at]);
            self.ui.status(&format!("run {} of {}: {label}", i + 1, left.len()));
            let ran = runner.run(point)?;
            if ran.state == State::Done {
                self.folders[at] =
                    point.spec.records.as_ref().and_then(|p| p.parent()).map(Into::into);
            }
            self.summary.rows[at] = row(point, ran, self.options);
            self.write_csv()?;
            if signals::exit_code().is_some() {
                break;
            }
        }
        self.write_results()
    }

    /// Takes what is finished from the folder.
    fn find(&mut self, points: &[Point]) -> Result<(), Error> {
        if !self.options.resume {
            return Ok(());
        }
        let mut finished = self.store.finished(State::Done.name(), self.ui)?;
        for (at, point) in points.iter().enumerate() {
            let Some((folder, stored)) = finished.remove(&point.digest) else { continue };
            let mut ran = Ran::of(stored, State::Done);
            if !self.options.slo.is_empty()
                && let Ok(runs) = compare::read(&folder.join(RECORDS), &[])
                && let Some(run) = runs.into_iter().next()
            {
                (ran.run.requests, ran.run.timed) = (run.requests, run.timed);
            }
            self.summary.rows[at] = row(point, ran, self.options);
            self.folders[at] = Some(folder);
        }
        self.write_results()?;
        self.write_csv()
    }

    fn write_results(&self) -> Result<(), Error> {
        let folders: Vec<PathBuf> = self.folders.iter().flatten().cloned().collect();
        self.store.results(&folders)
    }

    fn write_csv(&self) -> Result<(), Error> {
        let text = sweep::csv(&self.summary).map_err(|what| {
            Error::new(Kind::System, format!("cannot write the summary: {what}"))
        })?;
        self.store.csv(&text)
    }

    /// Prints the summary.
    fn show(&self) -> Result<(), Error> {
        let table = sweep::table(&self.summary);
        let printed = self.ui.data(&table);
        let counts = sweep::counts(&self.summary.rows);
        self.ui.status(&format!("{counts}; results in {}", self.store.folder.display()));
        printed.map_err(|error| Error::new(Kind::System, "cannot write to stdout").because(error))
    }

    /// An error if a run failed.
    fn failed(&self) -> Result<(), Error> {
        let rows = &self.summary.rows;
        let failed: Vec<String> = rows
            .iter()
            .filter(|row| row.state == State::Failed)
            .map(|row| self.summary.label(row))
            .collect();
        if failed.is_empty() {
            return Ok(());
        }
        let message =
            format!("{} of {} runs failed: {}", failed.len(), rows.len(), failed.join("; "));
        Err(Error::new(Kind::AllFailed, message).hint("--resume runs them again"))
    }
}
