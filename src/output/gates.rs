//! What became of objectives: lines for people, Markdown, JUnit XML, and the files of services that follow figures.

use serde_json::{Map, Value, json};

use super::comparison::escaped;
use super::json;
use crate::analysis::comparison::{Compared, Direction, Judged, Met};
use crate::analysis::statistics::Estimate;

/// The word for a decision.
pub(super) fn word(met: Met) -> &'static str {
    match met {
        Met::Yes => "met",
        Met::No => "not met",
        Met::Open => "inconclusive",
    }
}

/// A figure with its unit.
fn figure(metric: Compared, value: f64) -> String {
    match metric {
        _ if !value.is_finite() => "?".to_owned(),
        Compared::Success | Compared::Goodput => format!("{:.3} %", value * 1e2),
        _ => format!("{value:.2} {}", metric.unit()),
    }
}

/// One objective on a line: what was measured, between which bounds, and the decision.
pub fn line(judged: &Judged) -> String {
    let Judged { objective, value, bounds, met } = judged;
    let metric = objective.metric;
    let Some(value) = value else {
        return format!("{objective}: {}, the run has no such figure", word(*met));
    };
    let bounds = bounds.map_or("no interval".to_owned(), |(low, high)| {
        format!("between {} and {}", figure(metric, low), figure(metric, high))
    });
    format!("{objective}: {}, {} ({bounds})", word(*met), figure(metric, *value))
}

/// The objectives as a section of Markdown.
pub fn markdown(title: &str, all: &[Judged]) -> String {
    let mut text = format!(
        "### rbench: {}\n\n| objective | measured | bounds | decision |\n|---|--:|--:|---|\n",
        escaped(title)
    );
    for Judged { objective, value, bounds, met } in all {
        let metric = objective.metric;
        let value = value.map_or("n/a".to_owned(), |value| figure(metric, value));
        let bounds = bounds.map_or("n/a".to_owned(), |(low, high)| {
            format!("{} to {}", figure(metric, low), figure(metric, high))
        });
        text += &format!(
            "| {} | {value} | {bounds} | {} |\n",
            escaped(&objective.to_string()),
            word(*met)
        );
    }
    text + "\n"
}

/// A figure and its bounds for services that follow figures over time.
#[derive(Debug, Clone)]
pub struct Followed {
    /// The figure.
    pub metric: Compared,
    /// The estimate.
    pub estimate: Estimate,
}

impl Followed {
    /// The value in the unit that is shown, and its 95 % interval as far as it is known and finite.
    fn figures(&self) -> (f64, Option<f64>, Option<f64>) {
        let factor = if self.metric.is_share() { 1e2 } else { 1.0 };
        let finite = |x: f64| Some(x * factor).filter(|x| x.is_finite());
        let interval = self.estimate.interval(crate::analysis::statistics::CONFIDENCE);
        let (low, high) = interval.map_or((None, None), |(low, high)| (finite(low), finite(high)));
        (self.estimate.value * factor, low, high)
    }
}

/// The Bencher Metric Format: each measure of the benchmark `name` with its bounds.
pub fn bencher(name: &str, all: &[Followed]) -> String {
    let measures: Map<String, Value> = all
        .iter()
        .map(|followed| {
            let (value, low, high) = followed.figures();
            let mut measure = json!({"value": value});
            if let Some(low) = low {
                measure["lower_value"] = low.into();
            }
            if let Some(high) = high {
                measure["upper_value"] = high.into();
            }
            (followed.metric.to_string(), measure)
        })
        .collect();
    json::line(&json!({name: measures})) + "\n"
}

/// The custom format of github-action-benchmark, whose files have figures of one direction alone.
pub fn action(name: &str, all: &[Followed], direction: Direction) -> String {
    let figures = all.iter().filter(|followed| followed.metric.direction() == direction);
    let figure = |followed: &Followed| {
        let (value, low, high) = followed.figures();
        let mut one = json!({
            "name": format!("{name} {}", followed.metric),
            "unit": followed.metric.unit(),
            "value": value,
        });
        if let (Some(low), Some(high)) = (low, high) {
            one["range"] = format!("{low:.3} to {high:.3}").into();
        }
        one
    };
    json::line(&figures.map(figure).collect()) + "\n"
}
