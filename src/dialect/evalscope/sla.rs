//! The search for the highest load that meets objectives: what objectives are, and which loads are tried.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::figures::Figures;
use super::series::{Series, Values};
use crate::analysis::search::{self, Bracket, Middle};

/// What an objective is about.
#[derive(Debug, Clone, Copy)]
enum Metric {
    /// Completed requests per second.
    RequestRate,
    /// Output tokens per second.
    TokenRate,
    /// A figure of samples.
    Of(Series, fn(&Values) -> Option<f64>),
}

/// The names of metrics, what they are, and the unit of a number without one.
const METRICS: [(&str, Metric, &str); 13] = [
    ("avg_latency", Metric::Of(Series::Latency, |values| values.mean), "s"),
    ("p99_latency", Metric::Of(Series::Latency, Values::p99), "s"),
    ("avg_ttft", Metric::Of(Series::Ttft, |values| values.mean), "ms"),
    ("p50_ttft", Metric::Of(Series::Ttft, Values::median), "ms"),
    ("p90_ttft", Metric::Of(Series::Ttft, Values::p90), "ms"),
    ("p99_ttft", Metric::Of(Series::Ttft, Values::p99), "ms"),
    ("avg_tpot", Metric::Of(Series::Tpot, |values| values.mean), "ms"),
    ("p50_tpot", Metric::Of(Series::Tpot, Values::median), "ms"),
    ("p90_tpot", Metric::Of(Series::Tpot, Values::p90), "ms"),
    ("p99_tpot", Metric::Of(Series::Tpot, Values::p99), "ms"),
    ("rps", Metric::RequestRate, "req/s"),
    ("tps", Metric::TokenRate, "tok/s"),
    ("avg_itl", Metric::Of(Series::Itl, |values| values.mean), "ms"),
];

/// Metrics that requests without generated tokens have.
const POOLING: [&str; 3] = ["avg_latency", "p99_latency", "rps"];

/// What is asked of a metric.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Wanted {
    AtMost(f64),
    Below(f64),
    AtLeast(f64),
    Above(f64),
    Most,
    Least,
}

/// An objective.
#[derive(Debug, Clone, PartialEq)]
struct Criterion {
    /// Position in [`METRICS`].
    metric: usize,
    wanted: Wanted,
}

/// Objectives that are to hold together.
#[derive(Debug, Clone, PartialEq)]
pub struct Group(Vec<Criterion>);

/// Groups of objectives, each of which is looked for on its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Groups {
    /// At least one.
    pub all: Vec<Group>,
    /// As it was given.
    given: Value,
}

impl Serialize for Groups {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        self.given.serialize(out)
    }
}

impl FromStr for Groups {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let given: Value =
            serde_json::from_str(text).map_err(|error| format!("must be JSON: {error}"))?;
        let all = match &given {
            Value::Object(group) => vec![Group::of(group)?],
            Value::Array(groups) if !groups.is_empty() => {
                let of = |group: &Value| match group {
                    Value::Object(group) => Group::of(group),
                    _ => Err("a list holds objects, such as {\"p99_ttft\": \"<=2s\"}".to_owned()),
                };
                groups.iter().map(of).collect::<Result<_, _>>()?
            }
            _ => return Err("must be an object of objectives or a list of them".to_owned()),
        };
        Ok(Self { all, given })
    }
}

impl Groups {
    /// Checks that requests have the metrics.
    ///
    /// # Errors
    /// If one is of generated tokens, and none are generated.
    pub fn check(&self, generates: bool) -> Result<(), String> {
        let names = self.all.iter().flat_map(|group| &group.0).map(|one| METRICS[one.metric].0);
        let mut missing = names.filter(|name| !generates && !POOLING.contains(name));
        match missing.next() {
            None => Ok(()),
            Some(name) => Err(format!(
                "--sla-params: {name} is of generated tokens, of which these requests have none; use {}",
                POOLING.join(", ")
            )),
        }
    }
}

impl Group {
    fn of(group: &Map<String, Value>) -> Result<Self, String> {
        let criteria: Vec<Criterion> = group
            .iter()
            .map(|(name, wanted)| Criterion::of(name, wanted))
            .collect::<Result<_, _>>()?;
        let extreme = criteria.iter().any(|one| matches!(one.wanted, Wanted::Most | Wanted::Least));
        match criteria.len() {
            0 => Err("a group has no objective".to_owned()),
            1 => Ok(Self(criteria)),
            _ if extreme => Err("max and min stand alone in their group".to_owned()),
            _ => Ok(Self(criteria)),
        }
    }

    /// What is to be as large as can be, if that is what is looked for; it is negative where it is to be small.
    fn score(&self, probe: &Probe) -> Option<f64> {
        let [one] = &self.0[..] else { return None };
        let value = probe.values[one.metric]?;
        match one.wanted {
            Wanted::Most => Some(value),
            Wanted::Least => Some(-value),
            _ => None,
        }
    }

    fn is_extreme(&self) -> bool {
        self.0.iter().any(|one| matches!(one.wanted, Wanted::Most | Wanted::Least))
    }

    /// Whether `probe` meets all objectives; one with a failed request meets none.
    pub fn met(&self, probe: &Probe) -> bool {
        probe.valid() && self.0.iter().all(|one| one.met(probe))
    }

    /// The objectives that `probe` misses, for people.
    fn missed(&self, probe: &Probe) -> String {
        let missed = self.0.iter().filter(|one| !one.met(probe));
        let told = missed.map(|one| {
            let (name, _, unit) = METRICS[one.metric];
            match probe.values[one.metric] {
                Some(value) => {
                    format!("{name} is {} {unit}", super::layout::number(Some(value), 3))
                }
                None => format!("{name} is not known"),
            }
        });
        told.collect::<Vec<_>>().join(", ")
    }
}

impl std::fmt::Display for Group {
    /// Writes each objective with the unit that it has.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = self.0.iter().map(|one| {
            let (name, _, unit) = METRICS[one.metric];
            let number = |value: f64| super::layout::number(Some(value), 3);
            match one.wanted {
                Wanted::AtMost(value) => format!("{name} <= {} {unit}", number(value)),
                Wanted::Below(value) => format!("{name} < {} {unit}", number(value)),
                Wanted::AtLeast(value) => format!("{name} >= {} {unit}", number(value)),
                Wanted::Above(value) => format!("{name} > {} {unit}", number(value)),
                Wanted::Most => format!("{name} -> max"),
                Wanted::Least => format!("{name} -> min"),
            }
        });
        f.write_str(&shown.collect::<Vec<_>>().join(", "))
    }
}

impl Criterion {
    fn of(name: &str, wanted: &Value) -> Result<Self, String> {
        let metric = METRICS.iter().position(|(known, ..)| *known == name).ok_or_else(|| {
            let known: Vec<&str> = METRICS.iter().map(|(name, ..)| *name).collect();
            format!("{name} is not one of {}", known.join(", "))
        })?;
        let text = wanted.as_str().unwrap_or_default().trim();
        let wanted = match text {
            "max" => Wanted::Most,
            "min" => Wanted::Least,
            _ => bound(text, METRICS[metric].2).ok_or_else(|| {
                format!("{name}: expected max, min, or an operator and a number such as \"<=2s\"")
            })?,
        };
        Ok(Self { metric, wanted })
    }

    fn met(&self, probe: &Probe) -> bool {
        let Some(value) = probe.values[self.metric] else { return false };
        match self.wanted {
            Wanted::AtMost(bound) => value <= bound,
            Wanted::Below(bound) => value < bound,
            Wanted::AtLeast(bound) => value >= bound,
            Wanted::Above(bound) => value > bound,
            Wanted::Most | Wanted::Least => true,
        }
    }
}

/// An operator and a number in `unit`, which it may name.
fn bound(text: &str, unit: &str) -> Option<Wanted> {
    type Operator = (&'static str, fn(f64) -> Wanted);
    const OPERATORS: [Operator; 6] = [
        ("<=", Wanted::AtMost),
        ("≤", Wanted::AtMost),
        (">=", Wanted::AtLeast),
        ("≥", Wanted::AtLeast),
        ("<", Wanted::Below),
        (">", Wanted::Above),
    ];
    let (operator, rest) =
        OPERATORS.iter().find_map(|(sign, of)| Some((of, text.strip_prefix(sign)?)))?;
    let rest = rest.trim();
    let (number, given) = match (rest.strip_suffix("ms"), rest.strip_suffix('s')) {
        (Some(number), _) => (number, Some("ms")),
        (None, Some(number)) => (number, Some("s")),
        (None, None) => (rest, None),
    };
    let number: f64 = number.trim().parse().ok().filter(|number: &f64| number.is_finite())?;
    match (given, unit) {
        (None, _) => Some(operator(number)),
        (Some(given), unit) if given == unit => Some(operator(number)),
        (Some("s"), "ms") => Some(operator(number * 1e3)),
        (Some("ms"), "s") => Some(operator(number / 1e3)),
        _ => None,
    }
}

/// What the runs of one load measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Probe {
    /// Requests that succeeded, in all runs.
    pub succeeded: u64,
    /// Requests of all runs.
    pub total: u64,
    /// The metrics in their order, averaged over the runs.
    values: [Option<f64>; METRICS.len()],
}

impl Probe {
    /// The averages of `runs`.
    pub fn of(runs: &[Figures]) -> Self {
        let mean = |(_, metric, _): &(&str, Metric, &str)| {
            let values: Option<Vec<f64>> = runs.iter().map(|run| metric.of(run)).collect();
            values
                .filter(|all| !all.is_empty())
                .map(|all| all.iter().sum::<f64>() / all.len() as f64)
        };
        let mut values = [None; METRICS.len()];
        for (value, metric) in values.iter_mut().zip(&METRICS) {
            *value = mean(metric);
        }
        Self {
            succeeded: runs.iter().map(|run| run.succeeded).sum(),
            total: runs.iter().map(|run| run.total).sum(),
            values,
        }
    }

    fn valid(&self) -> bool {
        self.total > 0 && self.succeeded == self.total
    }
}

impl Metric {
    fn of(self, run: &Figures) -> Option<f64> {
        match self {
            Self::RequestRate => run.request_throughput(),
            Self::TokenRate => run.output_throughput(),
            Self::Of(series, figure) => figure(run.of_series(series)),
        }
    }
}

/// The loads that were tried, and what they measured.
pub type Probes = BTreeMap<usize, Probe>;

/// The range of loads, and the first one.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    /// Lowest load.
    pub lowest: usize,
    /// Highest load.
    pub highest: usize,
    /// The load that is tried first.
    pub first: usize,
}

/// What was found for a group.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    /// The load; `None` if none meets the objectives.
    pub load: Option<usize>,
    /// Why.
    pub reason: String,
}

/// The load that meets `group` best; `try_load` measures one, and is asked once for each.
///
/// # Errors
/// Those of `try_load`.
pub fn search<E>(
    group: &Group,
    range: Range,
    probes: &mut Probes,
    mut try_load: impl FnMut(usize) -> Result<Probe, E>,
) -> Result<Selection, E> {
    let mut probe = |load: usize, probes: &mut Probes| -> Result<Probe, E> {
        if let Some(known) = probes.get(&load) {
            return Ok(known.clone());
        }
        let new = try_load(load)?;
        probes.insert(load, new.clone());
        Ok(new)
    };
    let first = range.first.clamp(range.lowest, range.highest);
    if group.is_extreme() {
        return extreme(group, range, first, probes, &mut probe);
    }
    let mut bracket = Bracket::new(search::Range {
        lowest: range.lowest as f64,
        highest: range.highest as f64,
        first: first as f64,
        factor: 2.0,
        middle: Middle::Half,
        precision: 0.0,
    });
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, above 0")]
    let whole = |load: f64| load as usize;
    while let Some(load) = bracket.next_load() {
        bracket.tried(load, group.met(&probe(whole(load), probes)?));
    }
    let (good, bad) = (bracket.good.map(whole), bracket.bad.map(whole));
    Ok(selection(group, range, good, bad, probes))
}

/// What is said of a search that ended between a load that meets the objectives and one that does not.
fn selection(
    group: &Group,
    range: Range,
    good: Option<usize>,
    bad: Option<usize>,
    probes: &Probes,
) -> Selection {
    let Some(load) = good else {
        let reason = match probes.get(&range.lowest) {
            Some(probe) if !probe.valid() => format!("requests fail at {}", range.lowest),
            Some(probe) => format!("at {} {}", range.lowest, group.missed(probe)),
            None => "no load was tried".to_owned(),
        };
        return Selection { load: None, reason };
    };
    let mut reason = match bad.and_then(|bad| Some((bad, probes.get(&bad)?))) {
        None => "the upper bound meets the objectives: higher loads were not tried".to_owned(),
        Some((bad, probe)) if !probe.valid() => format!("requests fail at {bad}"),
        Some((bad, probe)) => format!("at {bad} {}", group.missed(probe)),
    };
    // The search takes for granted that a higher load is never easier to bear.
    let met = |(_, probe): &(&usize, &Probe)| group.met(probe);
    if let Some((above, _)) = probes.range(load + 1..).find(met) {
        reason += &format!("; yet {above} meets them: the figures do not change in one direction");
    } else if let Some((below, _)) = probes.range(..load).find(|probe| !met(probe)) {
        reason += &format!("; yet {below} misses them: the figures do not change in one direction");
    }
    Selection { load: Some(load), reason }
}

/// The load at which one figure is best: doubles and halves around the first, then looks between the best and its
/// neighbours.
fn extreme<E>(
    group: &Group,
    range: Range,
    first: usize,
    probes: &mut Probes,
    probe: &mut impl FnMut(usize, &mut Probes) -> Result<Probe, E>,
) -> Result<Selection, E> {
    let mut scores: BTreeMap<usize, f64> = BTreeMap::new();
    let mut next = vec![first];
    loop {
        for load in std::mem::take(&mut next) {
            let tried = probe(load, probes)?;
            let score = group.score(&tried).filter(|_| tried.valid());
            scores.insert(load, score.unwrap_or(f64::NEG_INFINITY));
        }
        let best = scores.iter().rev().max_by(|(_, a), (_, b)| a.total_cmp(b));
        let Some((&best, &score)) = best else { break };
        if score == f64::NEG_INFINITY && best == range.lowest {
            break;
        }
        let below = scores.range(..best).next_back().map(|(load, _)| *load);
        let above = scores.range(best + 1..).next().map(|(load, _)| *load);
        let lower = match below {
            Some(below) => below.midpoint(best),
            None => (best / 2).max(range.lowest),
        };
        let higher = match above {
            Some(above) => best.midpoint(above),
            None => best.saturating_mul(2).min(range.highest),
        };
        next = [lower, higher].into_iter().filter(|load| !scores.contains_key(load)).collect();
        if next.is_empty() {
            if score == f64::NEG_INFINITY {
                break;
            }
            let reason = format!("the best of {} loads", scores.len());
            return Ok(Selection { load: Some(best), reason });
        }
    }
    Ok(Selection { load: None, reason: "requests fail at every load".to_owned() })
}

/// The tables of the loads that were tried and of what was found for each group.
pub fn render(groups: &Groups, probes: &Probes, selections: &[Selection]) -> String {
    use crate::dialect::grid::{Align, LIGHT, table};
    let cells = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
    let mut rows = vec![cells(&["Pressure", "Succeeded/Total", "Run status", "Groups", "Reason"])];
    for (load, probe) in probes {
        let verdict = |(i, group): (usize, &Group)| {
            format!("{}:{}", i + 1, if group.met(probe) { "PASS" } else { "FAIL" })
        };
        let verdicts: Vec<String> = groups.all.iter().enumerate().map(verdict).collect();
        let reasons: Vec<String> = groups
            .all
            .iter()
            .filter(|group| !group.met(probe))
            .map(|group| group.missed(probe))
            .filter(|reason| !reason.is_empty())
            .collect();
        rows.push(vec![
            load.to_string(),
            format!("{}/{}", probe.succeeded, probe.total),
            if probe.valid() { "VALID" } else { "FAILED" }.to_owned(),
            verdicts.join(", "),
            if probe.valid() { reasons.join("; ") } else { "requests failed".to_owned() },
        ]);
    }
    let mut out = format!("Probes:\n{}", table(&LIGHT, &[Align::Left], &rows, 0));
    let mut rows = vec![cells(&["Criteria", "Selected", "Status", "Reason"])];
    for (group, selection) in groups.all.iter().zip(selections) {
        let load = selection.load.map_or("-".to_owned(), |load| load.to_string());
        let status = if selection.load.is_some() { "best_observed" } else { "none" };
        rows.push(vec![group.to_string(), load, status.to_owned(), selection.reason.clone()]);
    }
    out += &format!("\nSelections:\n{}", table(&LIGHT, &[Align::Left], &rows, 0));
    out
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// A probe whose latency is `seconds` and whose throughput is `rps`.
    fn probe(seconds: f64, rps: f64, failed: u64) -> Probe {
        let mut values = [None; METRICS.len()];
        (values[0], values[10]) = (Some(seconds), Some(rps));
        Probe { succeeded: 10 - failed, total: 10, values }
    }

    fn found(
        params: &str,
        first: usize,
        measure: impl Fn(usize) -> Probe,
    ) -> (Vec<usize>, Selection) {
        let groups: Groups = params.parse().unwrap();
        let mut probes = Probes::new();
        let mut tried = Vec::new();
        let range = Range { lowest: 1, highest: 64, first };
        let selection = search(&groups.all[0], range, &mut probes, |load| {
            tried.push(load);
            Ok::<_, Infallible>(measure(load))
        });
        (tried, selection.unwrap())
    }

    #[test]
    fn the_highest_load_that_meets_the_objectives() {
        let latency = |load: usize| probe(load as f64 * 0.1, 1.0, 0);
        for (params, first, load, tried) in [
            (r#"{"avg_latency": "<=1.1s"}"#, 4, Some(11), &[4, 8, 16, 12, 10, 11][..]),
            (r#"{"avg_latency": "<1100ms"}"#, 4, Some(10), &[4, 8, 16, 12, 10, 11]),
            (r#"{"avg_latency": "<=0.31"}"#, 32, Some(3), &[32, 16, 8, 4, 2, 3]),
            (r#"{"avg_latency": "≤ 100 s"}"#, 40, Some(64), &[40, 64]),
            (r#"{"avg_latency": "<0.05s"}"#, 2, None, &[2, 1]),
        ] {
            let (asked, selection) = found(params, first, latency);
            assert_eq!((selection.load, &asked[..]), (load, tried), "{params} {selection:?}");
        }
    }

    #[test]
    fn a_failed_request_meets_nothing() {
        let measure = |load: usize| probe(0.1, 1.0, u64::from(load > 5));
        let (_, selection) = found(r#"{"avg_latency": "<=1s"}"#, 1, measure);
        assert_eq!(selection.load, Some(5));
        assert!(selection.reason.contains("requests fail at 6"), "{selection:?}");
    }

    #[test]
    fn a_figure_that_goes_up_and_down_is_reported() {
        let measure = |load: usize| probe(if load == 2 { 9.0 } else { 0.1 }, 1.0, 0);
        let (_, selection) = found(r#"{"avg_latency": "<=1s"}"#, 4, measure);
        assert_eq!(selection.load, Some(64));
        let mut probes = Probes::new();
        let group = &r#"{"avg_latency": "<=1s"}"#.parse::<Groups>().unwrap().all[0];
        let range = Range { lowest: 1, highest: 64, first: 2 };
        probes.insert(8, measure(8));
        let one = search(group, range, &mut probes, |load| Ok::<_, Infallible>(measure(load)));
        let one = one.unwrap();
        assert_eq!(one.load, Some(1));
        assert!(one.reason.contains("yet 8 meets them"), "{one:?}");
    }

    #[test]
    fn the_best_of_one_figure() {
        let measure = |load: usize| probe(1.0, 100.0 - (load as f64 - 13.0).powi(2), 0);
        let (_, selection) = found(r#"{"rps": "max"}"#, 1, measure);
        assert_eq!(selection.load, Some(13));
        let (_, selection) =
            found(r#"{"avg_latency": "min"}"#, 8, |load| probe((load as f64 - 21.0).abs(), 1.0, 0));
        assert_eq!(selection.load, Some(21));
    }

    #[test]
    fn objectives_are_read() {
        let shown = |text: &str| {
            text.parse::<Groups>().map(|groups| {
                groups.all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | ")
            })
        };
        for (text, want) in [
            (
                r#"{"p99_ttft": "<=2s", "avg_tpot": "< 50"}"#,
                "p99_ttft <= 2000 ms, avg_tpot < 50 ms",
            ),
            (
                r#"[{"p99_ttft":"<=2000ms"},{"tps":">=10"}]"#,
                "p99_ttft <= 2000 ms | tps >= 10 tok/s",
            ),
            (r#"{"tps": "max"}"#, "tps -> max"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(want));
        }
        for text in [
            "",
            "[]",
            "{}",
            "3",
            r#"{"ttft": "<=2"}"#,
            r#"{"rps": "2"}"#,
            r#"{"rps": "<=2s"}"#,
            r#"{"rps": "max", "tps": "max"}"#,
            r#"{"avg_ttft": "<=nan"}"#,
            "[3]",
        ] {
            assert!(shown(text).is_err(), "{text}");
        }
    }
}
