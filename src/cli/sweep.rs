//! `rbench sweep`: a run of `rbench serve` for each value of a flag.

mod grid;
mod values;

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use clap::error::ErrorKind;
use clap::{ArgAction, ArgMatches, Args, Command, FromArgMatches};

pub use self::grid::Axis;
use self::grid::Grid;
pub(super) use self::grid::NAME;
use super::compare::share;
use super::gates::decided_on;
use crate::analysis::comparison::{DecidedOn, Objective};
use crate::config::Job;
use crate::dialect::sglang::{self, ServeArgs};
use crate::error::{Error, Kind};
use crate::flags::values::count;

const SWEEP: &str = "Sweep";
const SEARCH: &str = "Search";

const SLO: &str =
    "Objective that each point is judged by, such as 'p99_ttft<500ms'; may be repeated";

/// Flags of `rbench serve` that a sweep has no use for, and what it has instead.
const REFUSED: &[(&str, &str)] = &[
    ("output_file", "--output-dir has the line of each point"),
    ("no_output_file", "--output-dir has the line of each point"),
    ("json", "--output-dir has the line of each point"),
    ("csv", "--output-dir has the points as comma-separated values"),
    ("dry_run", "`rbench serve` shows a run"),
    ("records", "--output-dir has the records of each point"),
    ("failed_file", "--output-dir has the records of each point, failed requests included"),
    ("steady_state_output_file", "--output-dir has the steady state of each point"),
    ("table", "a sweep prints a table of its own"),
    ("plot_throughput", "`rbench report RECORDS --plot-throughput` plots a point"),
    ("print_config", "a configuration is of one run"),
    ("multi", "--request-rate takes a list or a range, such as 2..32:2"),
    ("request_rate_range", "--request-rate takes a list or a range, such as 2..32:2"),
];

/// The order of the points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Drawn by the seed: caches and temperatures of before favour no end of a curve.
    Seed,
    /// As the command line has them.
    Given,
}

/// The load that a search looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Find {
    /// Requests in flight.
    MaxConcurrency,
    /// Requests per second.
    RequestRate,
}

impl Find {
    /// The flag, without hyphens.
    pub fn flag(self) -> &'static str {
        match self {
            Self::MaxConcurrency => "max-concurrency",
            Self::RequestRate => "request-rate",
        }
    }
}

/// Objectives that are to be met together.
#[derive(Debug, Clone, PartialEq)]
pub struct Tier {
    /// Its name.
    pub name: String,
    /// At least one.
    pub objectives: Vec<Objective>,
}

impl FromStr for Tier {
    type Err = String;

    /// Reads NAME:OBJECTIVE,...
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, objectives) =
            text.split_once(':').filter(|(name, _)| !name.trim().is_empty()).ok_or(
                "expected NAME:OBJECTIVE,..., such as 'fast:p99_ttft<200ms,p99_tpot<20ms'",
            )?;
        let objectives =
            objectives.split(',').map(|one| one.trim().parse()).collect::<Result<_, _>>()?;
        Ok(Self { name: name.trim().to_owned(), objectives })
    }
}

/// The flags.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct SweepArgs {
    /// Those of a run.
    #[command(flatten)]
    serve: ServeArgs,
    /// Those of the sweep.
    #[command(flatten)]
    pub options: Options,
}

/// The flags that runs do not have.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Options {
    /// Folder for the results: a manifest, a summary, and a folder for each point [default:
    /// rbench-sweep-DATE]
    #[arg(long, value_name = "FOLDER", help_heading = SWEEP)]
    pub output_dir: Option<PathBuf>,
    /// Skip the points that --output-dir has already, whose configuration is the same
    #[arg(long, requires = "output_dir", help_heading = SWEEP)]
    pub resume: bool,
    /// Take the first values of all lists together, then the second ones, instead of all combinations
    #[arg(long, help_heading = SWEEP)]
    pub zip: bool,
    /// Values of {NAME} in the command of --launch, such as tp=1,2,4: a server is started for each; may be repeated
    #[arg(long, value_name = "NAME=LIST", action = ArgAction::Append, requires = "launch", help_heading = SWEEP)]
    vary: Vec<String>,
    /// Runs of each point; each round of runs visits all points
    #[arg(long, value_name = "N", default_value = "1", value_parser = count, conflicts_with = "find", help_heading = SWEEP)]
    pub repeat: usize,
    /// Order of the points in each round: drawn by --seed, or as given
    #[arg(long, value_name = "seed|given", default_value = "seed", value_parser = order, conflicts_with = "find", help_heading = SWEEP)]
    pub order: Order,
    /// Send the same prompts at each point; otherwise each has prompts of its own, which no cache knows from another
    #[arg(long, help_heading = SWEEP)]
    pub same_prompts: bool,
    /// Objectives.
    #[arg(long, value_name = "OBJECTIVE", help = SLO, action = ArgAction::Append, help_heading = SWEEP)]
    pub slo: Vec<Objective>,
    /// What decides: the measured figure (point), or the bound that the truth keeps with 95 % (bound)
    #[arg(long, value_name = "point|bound", default_value = "bound", value_parser = decided_on, help_heading = SWEEP)]
    pub slo_on: DecidedOn,
    /// GPUs of the servers: adds output tokens per second and GPU to the summary
    #[arg(long, value_name = "N", value_parser = count, help_heading = SWEEP)]
    pub gpus: Option<usize>,
    /// Price of a GPU per hour: adds the cost of a million output tokens
    #[arg(long, value_name = "PRICE", value_parser = price, requires = "gpus", help_heading = SWEEP)]
    pub cost_per_gpu_hour: Option<f64>,
    /// Look for the highest max-concurrency or request-rate that meets the objectives; a range of that flag bounds it
    #[arg(long, value_name = "FLAG", value_parser = find, help_heading = SEARCH)]
    pub find: Option<Find>,
    /// Objectives to look for on their own, besides those of --slo; tiers share what is measured; may be repeated
    #[arg(long, value_name = "NAME:OBJECTIVE,...", action = ArgAction::Append, requires = "find", help_heading = SEARCH)]
    pub tier: Vec<Tier>,
    /// How near the answer is to be to a load that does not meet the objectives
    #[arg(long, value_name = "PERCENT", default_value = "5%", value_parser = share, requires = "find", help_heading = SEARCH)]
    pub precision: f64,
    /// Runs of a load, at most, where one does not decide
    #[arg(long, value_name = "N", default_value = "3", value_parser = count, requires = "find", help_heading = SEARCH)]
    pub probe_runs: usize,
}

impl Options {
    /// What runs are judged by: the tiers, each with the objectives that hold for all.
    pub fn tiers(&self) -> Vec<Tier> {
        let all = |tier: &Tier| Tier {
            name: tier.name.clone(),
            objectives: self.slo.iter().chain(&tier.objectives).copied().collect(),
        };
        if self.tier.is_empty() && !self.slo.is_empty() {
            return vec![Tier { name: "objectives".to_owned(), objectives: self.slo.clone() }];
        }
        self.tier.iter().map(all).collect()
    }
}

/// Reads the flag of a search.
fn find(text: &str) -> Result<Find, &'static str> {
    [Find::MaxConcurrency, Find::RequestRate]
        .into_iter()
        .find(|find| find.flag() == text)
        .ok_or("expected max-concurrency or request-rate")
}

/// Reads an order of points.
fn order(text: &str) -> Result<Order, &'static str> {
    match text {
        "seed" => Ok(Order::Seed),
        "given" => Ok(Order::Given),
        _ => Err("expected seed or given"),
    }
}

/// Reads a price above 0.
fn price(text: &str) -> Result<f64, &'static str> {
    match text.trim().parse::<f64>() {
        Ok(price) if price.is_finite() && price > 0.0 => Ok(price),
        _ => Err("expected a price above 0, such as 2.5"),
    }
}

/// A sweep as it was typed.
#[derive(Debug)]
pub struct Sweep {
    grid: Grid,
    /// Reads the command line of a point.
    command: Command,
    /// The values of each point, in the order of [`Sweep::axes`].
    pub points: Vec<Vec<String>>,
    /// The lowest and the highest load of a search, if the command line has a range.
    pub bounds: Option<(f64, f64)>,
    /// The flags that runs do not have.
    pub options: Options,
    /// What the user should know of how the flags were read.
    notes: Vec<String>,
}

impl Sweep {
    /// The flags with several values.
    pub fn axes(&self) -> &[Axis] {
        &self.grid.axes
    }

    /// A load for a search, with which the flags of a point can be read.
    pub fn some_load(&self) -> Vec<(&'static str, String)> {
        let load = self.bounds.map_or(1.0, |(lowest, _)| lowest);
        self.options.find.iter().map(|find| (find.flag(), load.to_string())).collect()
    }

    /// The run of a point, with `more` flags in the place of those of the command line.
    ///
    /// # Errors
    /// If the flags do not go together, or a value cannot be used.
    pub fn job(&mut self, point: &[String], more: &[(&str, String)]) -> Result<Job, Error> {
        self.read(point, more).map_err(|error| {
            let text = error.to_string();
            let what = text.strip_prefix("error: ").unwrap_or(&text).lines().next();
            Error::new(Kind::Usage, what.unwrap_or_default())
        })
    }

    /// Reads the command line of a point.
    fn read(&mut self, point: &[String], more: &[(&str, String)]) -> Result<Job, clap::Error> {
        let args = self.grid.args(point, more);
        let args = args.map_err(|what| self.command.error(ErrorKind::ArgumentConflict, what))?;
        // The program's name is not read by the command alone.
        let matches = self.command.try_get_matches_from_mut(args.into_iter().skip(1))?;
        let SweepArgs { serve, .. } = SweepArgs::from_arg_matches(&matches)?;
        let typed = matches.value_source("warmup_requests");
        let job = serve.job(&matches, self.notes.clone())?;
        Ok(Job { spec: waved(job.spec, typed.is_some_and(is_typed)), ..job })
    }
}

/// Whether a value was typed.
fn is_typed(source: clap::parser::ValueSource) -> bool {
    source == clap::parser::ValueSource::CommandLine
}

/// The configuration with a warm-up of one wave: as many requests as can be in flight, unless fewer are `typed`.
fn waved(mut spec: crate::config::RunSpec, typed: bool) -> crate::config::RunSpec {
    let cap = spec.load.max_concurrency.filter(|&cap| cap > 0);
    let Some(cap) = cap else { return spec };
    // Each server gets as many.
    let servers = spec.servers.base_url.len().max(1);
    let wave = cap.min(spec.load.num_prompts).div_ceil(servers);
    let asked = spec.before.warmup_requests;
    spec.before.warmup_requests = if typed { asked.min(wave) } else { wave };
    spec
}

/// The command with the flags of every dataset, without those that it refuses.
pub(super) fn shape(command: Command) -> Command {
    let command = sglang::with_datasets(command);
    REFUSED.iter().fold(command, |command, (flag, _)| command.mut_arg(flag, |arg| arg.hide(true)))
}

/// Reads the lists and ranges of `args`; returns them, and the args of the first point.
///
/// # Errors
/// If one cannot be read.
pub(super) fn first(
    args: &[OsString],
    command: &mut Command,
) -> Result<(Lists, Vec<OsString>), clap::Error> {
    let grid = Grid::of(args, command)?;
    let point: Vec<String> =
        grid.axes.iter().filter_map(|axis| axis.values.first().cloned()).collect();
    // A search knows concurrencies that the command line does not name; all points are read again.
    let some = [("num-prompts", "1".to_owned())];
    let args = grid.args(&point, &[]).or_else(|_| grid.args(&point, &some));
    let args = args.map_err(|what| command.error(ErrorKind::ArgumentConflict, what))?;
    Ok((Lists(grid), args))
}

/// The lists and ranges of a command line.
#[derive(Debug, Default)]
pub(super) struct Lists(Grid);

impl SweepArgs {
    /// The range of a search, which is taken out of `grid`.
    fn bounds(
        &self,
        find: Find,
        grid: &mut Grid,
        matches: &ArgMatches,
    ) -> Result<Option<(f64, f64)>, String> {
        let flag = find.flag();
        let tiers = self.options.tiers();
        if tiers.is_empty() {
            return Err(format!("--find {flag} needs an objective: --slo 'p99_ttft<500ms'"));
        }
        if let Some((i, tier)) = tiers
            .iter()
            .enumerate()
            .find(|(i, tier)| tiers[..*i].iter().any(|other| other.name == tier.name))
        {
            return Err(format!("--tier {}: tier {} has this name as well", tier.name, i));
        }
        let at = grid.axes.iter().position(|axis| axis.flag == flag);
        let Some(at) = at else {
            let typed = matches.value_source(&flag.replace('-', "_")).is_some_and(is_typed);
            return if typed {
                Err(format!(
                    "--find {flag} takes a range of loads, such as --{flag} 4..256, or none"
                ))
            } else {
                Ok(None)
            };
        };
        let values = grid.axes.remove(at).values;
        let number = |text: Option<&String>| text.and_then(|text| text.parse::<f64>().ok());
        match (number(values.first()), number(values.last())) {
            (Some(lowest), Some(highest))
                if lowest > 0.0 && highest >= lowest && highest.is_finite() =>
            {
                Ok(Some((lowest, highest)))
            }
            _ => Err(format!(
                "--find {flag} takes a range of loads above 0, such as --{flag} 4..256"
            )),
        }
    }

    /// The sweep over `lists`, all of whose points can be run.
    ///
    /// # Errors
    /// If one cannot, or a flag does not apply.
    pub(super) fn sweep(
        self,
        lists: Lists,
        matches: &ArgMatches,
        program: &mut Command,
        notes: Vec<String>,
    ) -> Result<Sweep, clap::Error> {
        let Lists(mut grid) = lists;
        let refused =
            REFUSED.iter().find(|(flag, _)| matches.value_source(flag).is_some_and(is_typed));
        if let Some((flag, instead)) = refused {
            let flag = flag.replace('_', "-");
            let message = format!("--{flag} does not apply to `rbench sweep`: {instead}");
            return Err(program.error(ErrorKind::ArgumentConflict, message));
        }
        let bounds = match self.options.find {
            None => None,
            Some(find) => self
                .bounds(find, &mut grid, matches)
                .map_err(|what| program.error(ErrorKind::ArgumentConflict, what))?,
        };
        let points = grid
            .points(self.options.zip)
            .map_err(|what| program.error(ErrorKind::ArgumentConflict, what))?;
        let command = program.find_subcommand(NAME).cloned().unwrap_or_default();
        let command = command.bin_name(format!("rbench {NAME}"));
        let mut sweep = Sweep { grid, command, points, bounds, options: self.options, notes };
        let some = sweep.some_load();
        for point in sweep.points.clone() {
            let _ = sweep.read(&point, &some)?;
        }
        Ok(sweep)
    }
}
