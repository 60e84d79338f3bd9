//! `rbench sweep`: many runs of `rbench serve`, one folder with all that they found, and a summary.

mod book;
mod find;
mod point;
mod runner;
mod store;

use std::path::PathBuf;

use rand::seq::SliceRandom as _;
use serde_json::{Map, Value, json};

use self::book::Book;
use self::find::Search;
use self::point::{Made, Point};
use self::store::Store;
use super::serve;
use super::signals;
use crate::cli::sweep::{Axis, Find, Options, Order, Sweep};
use crate::error::{Error, Kind};
use crate::output::sweep::{self, Answer};
use crate::output::terminal::Ui;
use crate::rng;

/// `rbench sweep`.
///
/// # Errors
/// If the folder cannot be used, a point failed, or no load meets what is looked for; what can be measured is measured
/// all the same.
pub(super) fn sweep(mut input: Sweep, ui: Ui) -> Result<(), Error> {
    let options = input.options.clone();
    let folder = options.output_dir.clone().unwrap_or_else(default_folder);
    let values = input.points.first().cloned().unwrap_or_default();
    let some = input.some_load();
    let (engine, _, first) = serve::begin(input.job(&values, &some)?, ui)?;
    let made = Made {
        engine: engine.as_ref(),
        same: options.same_prompts,
        // Objectives that are missed end a probe.
        ended_by: if options.find.is_some() { tiers(&options).to_string() } else { String::new() },
    };
    let store = Store::open(folder, options.resume)?;
    let mut flags: Vec<String> = input.axes().iter().map(|axis| axis.flag.clone()).collect();
    flags.extend(options.find.map(|find| find.flag().to_owned()));
    let mut book = Book::new(flags, &options, &store, ui)?;
    let mut manifest = manifest(&input, &first.effective);
    let result = match options.find {
        None => all(&mut input, &mut book, &made, first.seed, |points| {
            store.manifest(&with_points(&manifest, points))
        }),
        Some(find) => {
            store.manifest(&Value::from(manifest.clone()))?;
            search(&mut input, &mut book, &made, find, &store)
        }
    };
    if options.find.is_some() {
        manifest.insert("points".to_owned(), book.points().into());
        store.manifest(&manifest.into())?;
    }
    // What was measured is shown, whatever ended the sweep.
    let answers = result.as_ref().map(Vec::as_slice).unwrap_or_default();
    let told = options
        .find
        .map_or(String::new(), |find| sweep::answers(&book.summary.flags, find.flag(), answers));
    book.show(&told)?;
    let answers = result?;
    if options.find.is_none() {
        return book.failed();
    }
    none_found(&answers, &book.summary.flags)
}

/// The folder of a sweep that names none.
fn default_folder() -> PathBuf {
    jiff::Zoned::now().strftime("rbench-sweep-%Y%m%d-%H%M%S").to_string().into()
}

/// Makes all runs: the points in their order, then again for each further run.
fn all(
    input: &mut Sweep,
    book: &mut Book<'_>,
    made: &Made<'_>,
    seed: u64,
    write: impl FnOnce(&[Point]) -> Result<(), Error>,
) -> Result<Vec<Answer>, Error> {
    let options = input.options.clone();
    let flags: Vec<String> = input.axes().iter().map(|axis| axis.flag.clone()).collect();
    let mut points = Vec::new();
    for values in input.points.clone() {
        for run in 1..=options.repeat {
            let job = input.job(&values, &[])?;
            points.push(Point::new(job, (flags.clone(), values.clone()), run, made)?);
        }
    }
    write(&points)?;
    for point in &points {
        book.plan(point);
    }
    let sessions: Vec<&str> = points.iter().map(|point| point.session.as_str()).collect();
    let order = order(&sessions, &options, seed);
    let (known, left): (Vec<usize>, Vec<usize>) =
        order.into_iter().partition(|&at| book.has(&points[at]));
    if !known.is_empty() {
        book.say(&format!("{} of {} runs are there already", known.len(), points.len()));
    }
    for at in known {
        let _ = book.take(&mut points[at], Some(at))?;
    }
    book.write_results()?;
    for (i, &at) in left.iter().enumerate() {
        let label = book.summary.label(&book.summary.rows[at]);
        book.say(&format!("run {} of {}: {label}", i + 1, left.len()));
        let _ = book.take(&mut points[at], Some(at))?;
        if signals::exit_code().is_some() {
            break;
        }
    }
    book.write_results()?;
    Ok(Vec::new())
}

/// Looks for the highest load at each combination of the other flags.
fn search(
    input: &mut Sweep,
    book: &mut Book<'_>,
    made: &Made<'_>,
    find: Find,
    store: &Store,
) -> Result<Vec<Answer>, Error> {
    let mut answers = Vec::new();
    for values in input.points.clone() {
        let found = Search::new(book, input, made, find, values).answers()?;
        let Some(found) = found else { break };
        answers.extend(found);
        store.answers(&sweep::answers_json(&book.summary.flags, find.flag(), &answers))?;
    }
    book.write_results()?;
    Ok(answers)
}

/// An error if nothing was found for a tier.
fn none_found(answers: &[Answer], flags: &[String]) -> Result<(), Error> {
    let without: Vec<String> = answers
        .iter()
        .filter(|answer| answer.load.is_none())
        .map(|answer| sweep::tier(flags, answer))
        .collect();
    if without.is_empty() {
        return Ok(());
    }
    let message = format!("no load meets the objectives: {}", without.join("; "));
    Err(Error::new(Kind::Gate, message))
}

/// The order of the runs with these sessions, by their positions: each round has all points, in an order of its own.
/// Within a round, runs with one session follow each other, so that a server is started once.
fn order(sessions: &[&str], options: &Options, seed: u64) -> Vec<usize> {
    let repeat = options.repeat.max(1);
    let round = |round: usize| {
        let mut order: Vec<usize> = (round..sessions.len()).step_by(repeat).collect();
        if options.order == Order::Seed {
            order.shuffle(&mut rng::stream(seed, "sweep/order", round as u64));
        }
        let first: Vec<&str> = order.iter().map(|&at| sessions[at]).collect();
        order.sort_by_key(|&at| first.iter().position(|&session| session == sessions[at]));
        order
    };
    (0..repeat).flat_map(round).collect()
}

/// The tiers by their names.
fn tiers(options: &Options) -> Value {
    let of = |tier: crate::cli::sweep::Tier| {
        let objectives: Vec<String> = tier.objectives.iter().map(ToString::to_string).collect();
        (tier.name, Value::from(objectives))
    };
    options.tiers().into_iter().map(of).collect::<Map<_, _>>().into()
}

/// What a sweep is, without its points: its flags, and the `config` that its first point has.
fn manifest(input: &Sweep, config: &Map<String, Value>) -> Map<String, Value> {
    let options = &input.options;
    let axis = |axis: &Axis| json!({"flag": axis.flag, "values": axis.values});
    let decided_on = match options.slo_on {
        crate::analysis::comparison::DecidedOn::Point => "point",
        crate::analysis::comparison::DecidedOn::Bound => "bound",
    };
    let all = json!({
        "rbench_sweep": 1,
        "version": env!("CARGO_PKG_VERSION"),
        "date": jiff::Zoned::now().strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
        "axes": input.axes().iter().map(axis).collect::<Vec<_>>(),
        "zip": options.zip,
        "repeat": options.repeat,
        "order": if options.order == Order::Seed { "seed" } else { "given" },
        "same_prompts": options.same_prompts,
        "tiers": tiers(options),
        "slo_on": decided_on,
        "find": options.find.map(Find::flag),
        "range": input.bounds.map(|(lowest, highest)| [lowest, highest]),
        "precision": options.precision,
        "probe_runs": options.probe_runs,
        "gpus": options.gpus,
        "cost_per_gpu_hour": options.cost_per_gpu_hour,
        "config": config,
    });
    match all {
        Value::Object(all) => all,
        _ => Map::new(),
    }
}

/// The manifest of a sweep over `points`: what they have in common, and each of them.
fn with_points(manifest: &Map<String, Value>, points: &[Point]) -> Value {
    let mut all = manifest.clone();
    if let Some(config) = all.get_mut("config").and_then(Value::as_object_mut) {
        config.retain(|key, value| {
            points.iter().all(|point| point.spec.effective.get(key) == Some(value))
        });
    }
    all.insert("points".to_owned(), points.iter().map(Point::told).collect());
    all.into()
}
