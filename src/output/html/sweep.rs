//! What the page shows of a sweep beside its runs: the values of its points and its objectives.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::analysis::comparison::Objective;

/// A sweep.
#[derive(Debug, Clone, Serialize)]
pub struct Sweep {
    flags: Vec<String>,
    gpus: Option<u64>,
    slos: Vec<Slo>,
    points: Vec<Point>,
}

/// An objective as a line of a plot.
#[derive(Debug, Clone, Serialize)]
struct Slo {
    metric: String,
    limit: f64,
    at_most: bool,
    shown: String,
}

/// A run of a point.
#[derive(Debug, Clone, Serialize)]
pub struct Point {
    /// Its name among the runs of the page.
    pub name: String,
    /// The values of the flags that vary.
    pub values: Map<String, Value>,
    /// Which run of the point it is, from 1.
    pub repeat: u64,
}

impl Sweep {
    /// A sweep over `flags` on a number of accelerators, if that is known.
    pub fn new(
        flags: Vec<String>,
        gpus: Option<u64>,
        slos: &[Objective],
        points: Vec<Point>,
    ) -> Self {
        let limit = |slo: &Objective| Slo {
            metric: slo.metric.to_string(),
            limit: slo.limit,
            at_most: slo.at_most,
            shown: slo.to_string(),
        };
        Self { flags, gpus, slos: slos.iter().map(limit).collect(), points }
    }
}
