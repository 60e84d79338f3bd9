//! The points of a sweep: command lines that differ in the values of some flags.

use std::ffi::{OsStr, OsString};

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Command};

use super::values::values;
use crate::flags::{DATA, FLOW, LOAD, OUTPUT, REQUEST, TARGET};

/// The command.
pub(in crate::cli) const NAME: &str = "sweep";

/// Most points of one sweep.
const MOST: usize = 10_000;

/// The flag with values for the command of a server.
const VARY: &str = "vary";

/// The beginning of the word with that command.
const LAUNCH: &str = "--launch=";

/// The flag that may be a multiple of another.
const PROMPTS: &str = "num-prompts";

/// The flag that it is a multiple of.
const CONCURRENCY: &str = "max-concurrency";

/// A flag with its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Axis {
    /// Name of the flag, without hyphens, or what stands in braces in the command of a server.
    pub flag: String,
    /// Whether the values are of the command of a server.
    pub is_server: bool,
    /// At least one.
    pub values: Vec<String>,
}

/// A command line of which some flags have several values.
#[derive(Debug, Default)]
pub(super) struct Grid {
    /// The other args, the program and the command first.
    fixed: Vec<OsString>,
    /// The flags with several values, in the order of the command line.
    pub(super) axes: Vec<Axis>,
    /// `--num-prompts` as it was given, if it is a multiple.
    multiple: Option<String>,
    /// `--max-concurrency`, if it has one value.
    concurrency: Option<String>,
}

impl Grid {
    /// Takes the flags with several values out of `args`, which `command` is to read.
    ///
    /// # Errors
    /// If a list or a range cannot be read.
    pub(super) fn of(args: &[OsString], command: &mut Command) -> Result<Self, clap::Error> {
        let known = command.clone();
        let Some(sweep) = known.find_subcommand(NAME) else { return Ok(Self::default()) };
        let mut grid = Self { fixed: args.iter().take(2).cloned().collect(), ..Self::default() };
        let mut rest = args.iter().skip(2);
        while let Some(word) = rest.next() {
            let typed = word.to_str().and_then(|word| word.strip_prefix("--"));
            let Some((name, inline)) = typed.map(split) else {
                grid.fixed.push(word.clone());
                continue;
            };
            let arg = sweep.get_arguments().find(|arg| arg.get_long() == Some(name));
            let value = match (arg, inline) {
                (Some(arg), None) if takes_one(arg) || name == VARY => rest.next().cloned(),
                (_, inline) => inline.map(OsString::from),
            };
            let text = value.as_deref().and_then(OsStr::to_str);
            if let (true, Some(text)) = (name == VARY, text) {
                let axis = varied(text).map_err(|what| {
                    let message = format!("invalid value for '--{VARY}': {what}");
                    command.error(ErrorKind::ValueValidation, message)
                })?;
                grid.forget(&axis.flag);
                grid.axes.push(axis);
                continue;
            }
            if let (Some(arg), Some(text)) = (arg.filter(|arg| takes_one(arg)), text) {
                grid.forget(name);
                if let Some(several) = several(arg, text, sweep) {
                    let values = several.map_err(|what| {
                        let message = format!("invalid value for '--{name}': {what}");
                        command.error(ErrorKind::ValueValidation, message)
                    })?;
                    let flag = name.to_owned();
                    grid.axes.push(Axis { flag, is_server: false, values });
                    continue;
                }
                if name == CONCURRENCY {
                    grid.concurrency = Some(text.to_owned());
                }
            }
            grid.fixed.push(match &value {
                // One word, so that a value may begin with a hyphen.
                Some(value) => joined(name, value),
                None => word.clone(),
            });
        }
        grid.set_multiple();
        let without = |axis: &&Axis| axis.is_server && !grid.launches_with(&axis.flag);
        if let Some(axis) = grid.axes.iter().find(without) {
            let message = format!("--{VARY} {0}: --launch has no {{{0}}}", axis.flag);
            return Err(command.error(ErrorKind::ArgumentConflict, message));
        }
        Ok(grid)
    }

    /// Whether the command of the server has `name` in braces.
    fn launches_with(&self, name: &str) -> bool {
        let place = format!("{{{name}}}");
        let has = |word: &str| word.starts_with(LAUNCH) && word.contains(&place);
        self.fixed.iter().filter_map(|word| word.to_str()).any(has)
    }

    /// Drops what an earlier occurrence of the flag gave: the last one counts.
    fn forget(&mut self, flag: &str) {
        self.axes.retain(|axis| axis.flag != flag);
        if flag == CONCURRENCY {
            self.concurrency = None;
        }
    }

    /// Keeps one multiple apart from the flags with several values.
    fn set_multiple(&mut self) {
        let is_one = |axis: &Axis| axis.flag == PROMPTS && axis.values.len() == 1;
        if let Some(at) = self.axes.iter().position(is_one) {
            self.multiple = self.axes.remove(at).values.pop();
        }
    }

    /// The points: the last flag varies fastest, or all vary together with `zip`.
    ///
    /// # Errors
    /// If there are too many, or flags that vary together have different numbers of values.
    pub(super) fn points(&self, zip: bool) -> Result<Vec<Vec<String>>, String> {
        let lengths = || self.axes.iter().map(|axis| axis.values.len());
        if zip {
            let n = lengths().max().unwrap_or(1);
            if lengths().any(|length| length != n) {
                let all: Vec<String> = self
                    .axes
                    .iter()
                    .map(|axis| format!("--{} has {}", axis.flag, axis.values.len()))
                    .collect();
                return Err(format!("--zip needs as many values of each flag: {}", all.join(", ")));
            }
            let point = |i: usize| self.axes.iter().map(|axis| axis.values[i].clone()).collect();
            return Ok((0..n).map(point).collect());
        }
        let n = lengths().try_fold(1_usize, usize::checked_mul).filter(|&n| n <= MOST);
        if n.is_none() {
            return Err(format!("the lists and ranges make more than {MOST} points"));
        }
        let mut points = vec![Vec::new()];
        for axis in &self.axes {
            let with = |point: &Vec<String>, value: &String| {
                point.iter().chain([value]).cloned().collect::<Vec<_>>()
            };
            points = points
                .iter()
                .flat_map(|point| axis.values.iter().map(move |value| with(point, value)))
                .collect();
        }
        Ok(points)
    }

    /// The args of a point, with `more` flags in the place of those of the command line.
    ///
    /// # Errors
    /// If the number of prompts is a multiple of a concurrency that is not given.
    pub(super) fn args(
        &self,
        point: &[String],
        more: &[(&str, String)],
    ) -> Result<Vec<OsString>, String> {
        let values = || self.axes.iter().zip(point);
        let mut flags: Vec<(&str, String)> = values()
            .filter(|(axis, _)| !axis.is_server)
            .map(|(axis, value)| (axis.flag.as_str(), value.clone()))
            .collect();
        flags.extend(self.multiple.iter().map(|multiple| (PROMPTS, multiple.clone())));
        flags.retain(|(flag, _)| !more.iter().any(|(other, _)| other == flag));
        flags.extend(more.iter().cloned());
        let concurrency = flags.iter().find(|(flag, _)| *flag == CONCURRENCY);
        let concurrency =
            concurrency.map(|(_, value)| value).or(self.concurrency.as_ref()).cloned();
        for (flag, value) in &mut flags {
            if let Some(factor) = value.strip_suffix('x').filter(|_| *flag == PROMPTS) {
                *value = multiple(factor, concurrency.as_deref())
                    .ok_or_else(|| {
                        format!("--num-prompts {factor}x is that many times --max-concurrency, which has to be above 0")
                    })?
                    .to_string();
            }
        }
        let flags = flags.iter().map(|(flag, value)| joined(flag, OsStr::new(value)));
        let in_place = |word: &OsString| {
            let Some(text) = word.to_str().filter(|text| text.starts_with(LAUNCH)) else {
                return word.clone();
            };
            let of_server = values().filter(|(axis, _)| axis.is_server);
            let put = |text: String, (axis, value): (&Axis, &String)| {
                text.replace(&format!("{{{}}}", axis.flag), value)
            };
            of_server.fold(text.to_owned(), put).into()
        };
        Ok(self.fixed.iter().map(in_place).chain(flags).collect())
    }
}

/// The values of NAME=LIST for the command of a server.
fn varied(text: &str) -> Result<Axis, String> {
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    let (name, list) = text
        .split_once('=')
        .filter(|(name, _)| is_name(name))
        .ok_or("expected NAME=LIST, such as tp=1,2,4, where NAME is of letters, digits, - and _")?;
    Ok(Axis { flag: name.to_owned(), is_server: true, values: values(list)? })
}

/// So many times the concurrency, rounded up.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, bounded")]
fn multiple(factor: &str, concurrency: Option<&str>) -> Option<usize> {
    let factor: f64 = factor.parse().ok().filter(|factor| *factor > 0.0 && *factor <= 1e6)?;
    let concurrency: u32 = concurrency?.parse().ok().filter(|&concurrency| concurrency > 0)?;
    Some((factor * f64::from(concurrency)).ceil() as usize)
}

/// A flag and its value in one word.
fn joined(flag: &str, value: &OsStr) -> OsString {
    let mut word = OsString::from(format!("--{flag}="));
    word.push(value);
    word
}

fn split(flag: &str) -> (&str, Option<&str>) {
    flag.split_once('=').map_or((flag, None), |(flag, value)| (flag, Some(value)))
}

/// Whether the flag takes one value, of which the last counts.
fn takes_one(arg: &Arg) -> bool {
    let one = arg.get_num_args().is_none_or(|n| n.min_values() == 1 && n.max_values() == 1);
    one && matches!(arg.get_action(), ArgAction::Set)
}

/// The values of a flag whose `text` is no value of it but a list, a range or a multiple.
fn several(arg: &Arg, text: &str, sweep: &Command) -> Option<Result<Vec<String>, String>> {
    let is_run = arg.get_help_heading().is_some_and(|heading| {
        [TARGET, LOAD, REQUEST, DATA, FLOW].contains(&heading) || heading.starts_with("Dataset: ")
    });
    let long = arg.get_long().unwrap_or_default();
    let is_list = text.contains(',') || text.contains("..");
    let is_multiple = long == PROMPTS && text.ends_with('x');
    if !is_run || !(is_list || is_multiple) || arg.get_help_heading() == Some(OUTPUT) {
        return None;
    }
    let alone = [OsString::from(NAME), joined(long, OsStr::new(text))];
    match sweep.clone().try_get_matches_from(alone) {
        // A text may have commas of its own.
        Err(error)
            if matches!(error.kind(), ErrorKind::InvalidValue | ErrorKind::ValueValidation) =>
        {
            Some(values(text))
        }
        _ => None,
    }
}
