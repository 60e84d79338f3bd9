//! `--find`: the search for the highest load that meets objectives.
//!
//! A probe is a load with all of its runs. A run is judged on its bounds; where they decide nothing near the limit, the
//! load is run again and the runs are judged together. Tiers share probes: each looks at what is measured already
//! before it asks for more.

use serde_json::Value;

use super::super::hopeless::Watch;
use super::super::signals;
use super::book::Book;
use super::point::{Made, Point};
use crate::analysis::comparison::{DecidedOn, Judged, Met, Sampled};
use crate::analysis::search::{Bracket, Middle, Range, four_digits};
use crate::cli::sweep::{Find, Sweep, Tier};
use crate::error::{Error, Kind};
use crate::output::gates;
use crate::output::sweep::{Above, Answer, State};

/// Loads of `max-concurrency` where the command line has no range.
const CONCURRENCY: (f64, f64) = (1.0, 1024.0);

/// A figure this near its limit, as a share of it, is worth another run.
const NEAR: f64 = 0.25;

/// A load, and what is known of it.
struct Probe {
    load: f64,
    /// Its whole runs.
    runs: Vec<Sampled>,
    /// Runs that failed, or were ended as they could not meet anything.
    stopped: usize,
    /// Why the last of those was.
    why: String,
}

/// What a load does to the objectives of a tier.
#[derive(Debug, Clone)]
struct Decision {
    met: bool,
    /// Whether bounds decide, or the measured figures alone.
    sure: bool,
    /// What is missed.
    why: String,
}

/// A search at one combination of the other flags.
pub(super) struct Search<'s, 'a> {
    book: &'s mut Book<'a>,
    input: &'s mut Sweep,
    made: &'s Made<'s>,
    /// Which load is looked for.
    find: Find,
    /// The values of the other flags.
    values: Vec<String>,
    probes: Vec<Probe>,
}

/// A signal has come, and nothing more is to be measured.
struct Ended;

/// What a step of the search gives, unless a signal or an error ends it.
type Step<T> = Result<Result<T, Ended>, Error>;

impl<'s, 'a> Search<'s, 'a> {
    /// A search that has measured nothing.
    pub(super) fn new(
        book: &'s mut Book<'a>,
        input: &'s mut Sweep,
        made: &'s Made<'s>,
        find: Find,
        values: Vec<String>,
    ) -> Self {
        Self { book, input, made, find, values, probes: Vec::new() }
    }

    /// The answer for each tier; `None` if a signal came before.
    ///
    /// # Errors
    /// If a file cannot be written, or the range cannot be used.
    pub(super) fn answers(mut self) -> Result<Option<Vec<Answer>>, Error> {
        let Ok(range) = self.range()? else { return Ok(None) };
        let mut answers = Vec::new();
        for tier in 0..self.book.tiers.len() {
            match self.answer(tier, range)? {
                Ok(answer) => answers.push(answer),
                Err(Ended) => return Ok(None),
            }
        }
        Ok(Some(answers))
    }

    /// The loads to try: of the command line, or around what the server does at most.
    fn range(&mut self) -> Step<Range> {
        let precision = self.input.options.precision;
        let whole = self.find == Find::MaxConcurrency;
        let middle = if whole { Middle::Whole } else { Middle::Real };
        let between = |(lowest, highest): (f64, f64)| {
            let first = (lowest * highest).sqrt();
            let first = if whole { first.floor().max(lowest) } else { four_digits(first) };
            Range { lowest, highest, first, factor: 4.0, middle, precision }
        };
        match self.input.bounds {
            Some(bounds) => return Ok(Ok(between(bounds))),
            None if whole => return Ok(Ok(between(CONCURRENCY))),
            None => {}
        }
        // No rate that is met for long is above what comes of all at once.
        let most = match self.measure("inf", 1)? {
            Err(ended) => return Ok(Err(ended)),
            Ok((_, run, _)) => run.figures.get("request_throughput").and_then(Value::as_f64),
        };
        let Some(most) = most.filter(|&most| most > 0.0) else {
            let message = "--find request-rate: no request completed of those that were sent at once, so there is no rate to begin with";
            return Err(Error::new(Kind::AllFailed, message)
                .hint("give a range, such as --request-rate 0.5..8, or --max-concurrency"));
        };
        let [lowest, highest, first] = [1e-3, 1.1, 0.8].map(|share| four_digits(most * share));
        Ok(Ok(Range { lowest, highest, first, factor: 2.0, middle, precision }))
    }

    /// The answer for one tier.
    fn answer(&mut self, tier: usize, range: Range) -> Step<Answer> {
        loop {
            let mut bracket = match self.known(tier, range)? {
                Ok(bracket) => bracket,
                Err(ended) => return Ok(Err(ended)),
            };
            while let Some(load) = bracket.next_load() {
                match self.decide(tier, load, false)? {
                    Ok(decision) => bracket.tried(load, decision.met),
                    Err(ended) => return Ok(Err(ended)),
                }
            }
            // Both ends of the answer are to rest on more than a figure, where more runs can do that.
            let mut changed = false;
            for (load, met) in [(bracket.good, true), (bracket.bad, false)] {
                let Some(load) = load else { continue };
                match self.decide(tier, load, true)? {
                    Ok(decision) => changed |= decision.met != met,
                    Err(ended) => return Ok(Err(ended)),
                }
            }
            if !changed {
                return self.told(tier, &bracket);
            }
        }
    }

    /// What the probes of before say for a tier.
    fn known(&mut self, tier: usize, range: Range) -> Step<Bracket> {
        let mut bracket = Bracket::new(range);
        let mut loads: Vec<f64> = self.probes.iter().map(|probe| probe.load).collect();
        loads.sort_by(f64::total_cmp);
        for load in loads {
            match self.decide(tier, load, false)? {
                Ok(decision) => bracket.tried(load, decision.met),
                Err(ended) => return Ok(Err(ended)),
            }
        }
        Ok(Ok(bracket))
    }

    /// The answer that `bracket` has come to.
    fn told(&mut self, tier: usize, bracket: &Bracket) -> Step<Answer> {
        let mut decided = Vec::new();
        for load in self.probes.iter().map(|probe| probe.load).collect::<Vec<_>>() {
            match self.decide(tier, load, false)? {
                Ok(decision) => decided.push((load, decision)),
                Err(ended) => return Ok(Err(ended)),
            }
        }
        let at = |load: f64| decided.iter().find(|(other, _)| same(*other, load)).map(|(_, d)| d);
        let above = bracket.bad.and_then(|load| {
            let Decision { sure, why, .. } = at(load)?.clone();
            Some(Above { load: self.text(load), sure, why })
        });
        // Where a higher load is easier to bear, there is no one answer.
        let odd = bracket.bad.and_then(|bad| {
            let (higher, _) =
                decided.iter().find(|(load, decision)| *load > bad && decision.met && decision.sure)?;
            let (higher, bad) = (self.text(*higher), self.text(bad));
            Some(format!("{higher} meets them, yet {bad} does not: the figures do not change in one direction"))
        });
        let Book { tiers, .. } = &*self.book;
        Ok(Ok(Answer {
            values: self.values.clone(),
            tier: tiers[tier].name.clone(),
            load: bracket.good.map(|load| self.text(load)),
            sure: bracket.good.and_then(at).is_some_and(|decision| decision.sure),
            above,
            odd,
            probes: self.probes.len(),
            runs: self.probes.iter().map(|probe| probe.runs.len() + probe.stopped).sum(),
        }))
    }

    /// What `load` does to the objectives of a tier, after as many runs as that takes; `last` asks for all that may
    /// help.
    fn decide(&mut self, tier: usize, load: f64, last: bool) -> Step<Decision> {
        let most = self.input.options.probe_runs;
        loop {
            let at = self.probes.iter().position(|probe| same(probe.load, load));
            let at = at.unwrap_or_else(|| {
                self.probes.push(Probe { load, runs: Vec::new(), stopped: 0, why: String::new() });
                self.probes.len() - 1
            });
            let probe = &self.probes[at];
            let (whole, stopped) = (probe.runs.len(), probe.stopped);
            let ran = whole + stopped;
            if stopped > whole {
                // One may have been held up by chance: the end of an answer rests on two.
                let sure = stopped > 1;
                if sure || !last || ran >= most {
                    return Ok(Ok(Decision { met: false, sure, why: probe.why.clone() }));
                }
            } else if ran > 0 {
                let Book { tiers, on, .. } = &*self.book;
                let judged = judged(&tiers[tier], &probe.runs, *on);
                if let Some(decision) = decided(&judged, *on) {
                    let sure = decision.sure && stopped == 0;
                    return Ok(Ok(Decision { sure, ..decision }));
                }
                let open = judged.iter().filter(|one| one.met == Met::Open);
                if ran >= most || !(last || open.clone().any(is_near)) {
                    let by_point = judged_on_points(&tiers[tier], &probe.runs);
                    return Ok(Ok(by_point));
                }
            }
            let text = self.text(load);
            match self.measure(&text, ran + 1)? {
                Err(ended) => return Ok(Err(ended)),
                Ok((state, run, note)) => {
                    let probe = &mut self.probes[at];
                    if state == State::Done {
                        probe.runs.push(run);
                    } else {
                        (probe.stopped, probe.why) = (probe.stopped + 1, note.unwrap_or_default());
                    }
                }
            }
        }
    }

    /// Runs a load once more.
    fn measure(&mut self, load: &str, run: usize) -> Step<(State, Sampled, Option<String>)> {
        let flag = self.find.flag();
        let job = self.input.job(&self.values, &[(flag, load.to_owned())])?;
        let mut flags: Vec<String> =
            self.input.axes().iter().map(|axis| axis.flag.clone()).collect();
        flags.push(flag.to_owned());
        let mut values = self.values.clone();
        values.push(load.to_owned());
        let mut point = Point::new(job, (flags, values), run, self.made)?;
        if point.spec.duration.is_none() {
            let tiers: Vec<_> = self.book.tiers.iter().map(|tier| &tier.objectives[..]).collect();
            point.watch = Some(Watch::new(&tiers, point.spec.num_prompts));
        }
        let told = format!("probe: {flag} {load}, run {run}");
        self.book.say(&told);
        let ran = self.book.take(&mut point, None)?;
        if ran.is_none() || signals::exit_code().is_some() {
            return Ok(Err(Ended));
        }
        Ok(ran.map(|ran| (ran.state, ran.run, ran.note)).ok_or(Ended))
    }

    /// A load as the flag takes it.
    fn text(&self, load: f64) -> String {
        match self.find {
            Find::MaxConcurrency => format!("{load:.0}"),
            Find::RequestRate => load.to_string(),
        }
    }
}

fn same(a: f64, b: f64) -> bool {
    a.total_cmp(&b).is_eq()
}

/// The objectives of a tier over runs together.
fn judged(tier: &Tier, runs: &[Sampled], on: DecidedOn) -> Vec<Judged> {
    let runs: Vec<&Sampled> = runs.iter().collect();
    tier.objectives.iter().map(|objective| objective.judge(&runs, on)).collect()
}

/// The decision where none is open, or one is not met.
fn decided(judged: &[Judged], on: DecidedOn) -> Option<Decision> {
    let missed: Vec<String> =
        judged.iter().filter(|one| one.met == Met::No).map(gates::line).collect();
    let sure = on == DecidedOn::Bound;
    if !missed.is_empty() {
        return Some(Decision { met: false, sure, why: missed.join("; ") });
    }
    let all = judged.iter().all(|one| one.met == Met::Yes);
    all.then(|| Decision { met: true, sure, why: String::new() })
}

/// The decision by the measured figures; what has no figure is missed.
fn judged_on_points(tier: &Tier, runs: &[Sampled]) -> Decision {
    let judged = judged(tier, runs, DecidedOn::Point);
    let missed: Vec<String> =
        judged.iter().filter(|one| one.met != Met::Yes).map(gates::line).collect();
    Decision { met: missed.is_empty(), sure: false, why: missed.join("; ") }
}

/// Whether another run may decide.
fn is_near(judged: &Judged) -> bool {
    let Judged { objective, value, .. } = judged;
    value.is_some_and(|value| (value - objective.limit).abs() <= NEAR * objective.limit.abs())
}
