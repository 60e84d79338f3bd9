//! The series of past runs: the noise of each metric, and where its level changed.

use super::{ALPHA, Compared, Direction, Sampled, estimate};
use crate::analysis::statistics::{self, Change, Scale};

/// The fewest runs of a load that make a series.
pub const FEWEST: usize = 6;

/// A metric over the runs of one load.
#[derive(Debug, Clone)]
pub struct Series {
    /// Which.
    pub metric: Compared,
    /// Its value in each run; `None` where a run does not have it.
    pub values: Vec<Option<f64>>,
    /// Where its level changed by as much as matters: the places are those of the runs.
    pub changes: Vec<Change>,
    /// How the runs scatter around their level: one standard deviation, as a share of the last level, or in points
    /// for shares.
    pub noise: Option<f64>,
    /// The change that three runs would show, likewise.
    pub detectable: Option<f64>,
}

impl Series {
    /// The last change, if it began within the last `recent` runs.
    pub fn alarm(&self, recent: usize) -> Option<Change> {
        let last = self.changes.last()?;
        (last.at + recent >= self.values.len()).then_some(*last)
    }

    /// How large `change` is: as a share of the level before, or in points for shares.
    pub fn size(&self, change: &Change) -> f64 {
        match self.metric.scale() {
            Scale::Relative => change.after / change.before - 1.0,
            Scale::Absolute => change.after - change.before,
        }
    }

    /// Whether `change` is one for the worse.
    pub fn is_worse(&self, change: &Change) -> bool {
        (change.after > change.before) == (self.metric.direction() == Direction::Lower)
    }
}

/// The series of each of `metrics` that some run has; `runs` are of one load, in the order of time. Changes smaller
/// than `min_effect` do not matter.
pub fn history(runs: &[&Sampled], metrics: &[Compared], min_effect: f64) -> Vec<Series> {
    let series = |&metric: &Compared| {
        let value = |run: &&Sampled| {
            let value = estimate(&[run], metric)?.value;
            value.is_finite().then_some(value)
        };
        let values: Vec<Option<f64>> = runs.iter().map(value).collect();
        let known: Vec<(usize, f64)> =
            values.iter().enumerate().filter_map(|(i, value)| Some((i, (*value)?))).collect();
        if known.is_empty() {
            return None;
        }
        let numbers: Vec<f64> = known.iter().map(|(_, value)| *value).collect();
        let found =
            if numbers.len() < FEWEST { Vec::new() } else { statistics::changes(&numbers, ALPHA) };
        let from = found.last().map_or(0, |change| change.at);
        let level = numbers[from..].iter().sum::<f64>() / (numbers.len() - from) as f64;
        let unit = if metric.scale() == Scale::Relative { level } else { 1.0 };
        let scatter = statistics::scatter(&numbers, &found).filter(|_| numbers.len() >= FEWEST);
        let noise = scatter.map(|scatter| scatter / unit).filter(|noise| noise.is_finite());
        let detectable =
            noise.map(|noise| noise * statistics::shown_by_three(numbers.len() - from, ALPHA));
        let mut one = Series { metric, values, changes: Vec::new(), noise, detectable };
        let matters = |change: &Change| {
            metric.scale() == Scale::Absolute || one.size(change).abs() >= min_effect
        };
        one.changes = found
            .into_iter()
            .filter(matters)
            .map(|change| Change { at: known[change.at].0, ..change })
            .collect();
        Some(one)
    };
    metrics.iter().filter_map(series).collect()
}
