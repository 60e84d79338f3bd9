//! Objectives that a run has to meet: `--slo`.

use std::fmt;
use std::str::FromStr;

use super::{Compared, Sampled, estimate};

/// A figure and its limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Objective {
    /// The figure.
    pub metric: Compared,
    /// Whether it is to be at most the limit, or at least.
    pub at_most: bool,
    /// Whether the limit itself does not meet it.
    pub strict: bool,
    /// In the unit of the figure; a share for `success`.
    pub limit: f64,
}

/// What an objective is decided on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DecidedOn {
    /// The measured figure.
    Point,
    /// The bound of the interval, so that chance does not decide.
    #[default]
    Bound,
}

/// What became of an objective.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Met {
    /// It is met.
    Yes,
    /// It is not.
    No,
    /// The sample does not decide.
    Open,
}

/// An objective, and what was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// The objective.
    pub objective: Objective,
    /// The figure; `None` if the run has none.
    pub value: Option<f64>,
    /// Its bounds, each of which the truth is beyond with a probability of 5 %; `None` if there are none.
    pub bounds: Option<(f64, f64)>,
    /// The decision.
    pub met: Met,
}

/// The confidence of the two bounds together: each alone holds with 95 %.
const BOTH: f64 = 0.9;

impl Objective {
    /// Judges the runs together.
    pub fn judge(self, runs: &[&Sampled], on: DecidedOn) -> Judged {
        let estimate = estimate(runs, self.metric);
        let bounds = estimate.as_ref().and_then(|estimate| estimate.interval(BOTH));
        let value = estimate.map(|estimate| estimate.value);
        let met = match (on, value, bounds) {
            (_, None, _) | (DecidedOn::Bound, _, None) => Met::Open,
            (DecidedOn::Point, Some(value), _) => {
                if self.holds(value) {
                    Met::Yes
                } else {
                    Met::No
                }
            }
            (DecidedOn::Bound, _, Some((low, high))) => match (self.holds(low), self.holds(high)) {
                (true, true) => Met::Yes,
                (false, false) => Met::No,
                _ => Met::Open,
            },
        };
        Judged { objective: self, value, bounds, met }
    }

    /// Whether `value` meets it.
    fn holds(self, value: f64) -> bool {
        match (self.at_most, self.strict) {
            (true, true) => value < self.limit,
            (true, false) => value <= self.limit,
            (false, true) => value > self.limit,
            (false, false) => value >= self.limit,
        }
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.at_most { '<' } else { '>' };
        let equal = if self.strict { "" } else { "=" };
        let (limit, unit) = match self.metric {
            Compared::Success | Compared::Goodput => (self.limit * 1e2, "%"),
            Compared::Mean(_) | Compared::Percentile(..) => (self.limit, "ms"),
            Compared::RequestThroughput | Compared::OutputThroughput => (self.limit, ""),
        };
        // A share in percent may have lost its last digit.
        let limit = (limit * 1e9).round() / 1e9;
        write!(f, "{}{sign}{equal}{limit}{unit}", self.metric)
    }
}

impl FromStr for Objective {
    type Err = String;

    /// Reads METRIC<LIMIT, with <=, > and >= as well; latencies may have a unit, and shares are percentages.
    fn from_str(text: &str) -> Result<Self, String> {
        let expected =
            "expected METRIC<LIMIT or METRIC>LIMIT, such as p99_ttft<500ms or success>=99.9%";
        let at = text.find(['<', '>']).ok_or(expected)?;
        let (metric, rest) = text.split_at(at);
        let metric: Compared = metric.trim().parse()?;
        let at_most = rest.starts_with('<');
        let rest = &rest[1..];
        let strict = !rest.starts_with('=');
        let limit = rest.trim_start_matches('=').trim();
        let (number, factor) = match metric {
            Compared::Success | Compared::Goodput => (
                limit
                    .strip_suffix('%')
                    .ok_or("a share takes a percentage, such as success>=99.9%")?,
                1e-2,
            ),
            Compared::Mean(_) | Compared::Percentile(..) => {
                let units = [("ms", 1.0), ("us", 1e-3), ("s", 1e3)];
                let unit = units.into_iter().find(|(unit, _)| limit.ends_with(unit));
                unit.map_or((limit, 1.0), |(unit, factor)| (limit.trim_end_matches(unit), factor))
            }
            Compared::RequestThroughput | Compared::OutputThroughput => (limit, 1.0),
        };
        let number: f64 = number.trim().parse().map_err(|_| expected.to_owned())?;
        let limit = number * factor;
        let is_share = metric.is_share();
        if !limit.is_finite() || limit < 0.0 || (is_share && limit > 1.0) {
            return Err(expected.to_owned());
        }
        Ok(Self { metric, at_most, strict, limit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::comparison::Request;

    #[test]
    fn objectives_are_read_and_written() {
        for (text, want) in [
            ("p99_ttft<500ms", "p99_ttft_ms<500ms"),
            ("p99_ttft <= 0.5s", "p99_ttft_ms<=500ms"),
            ("median_itl<20", "median_itl_ms<20ms"),
            ("success>=99.9%", "success>=99.9%"),
            ("output_throughput>1000", "output_throughput>1000"),
        ] {
            assert_eq!(text.parse::<Objective>().unwrap().to_string(), want, "{text}");
        }
        for text in [
            "",
            "p99_ttft",
            "p99_ttft=5",
            "success>0.9",
            "success>=101%",
            "p99_ttft<-1ms",
            "p99_ttft<x",
        ] {
            assert!(text.parse::<Objective>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_bound_decides_and_a_near_miss_stays_open() {
        let mut run = Sampled::default();
        let request = |i: u32| Request {
            sent_s: f64::from(i),
            done_s: f64::from(i) + 0.5,
            completed: true,
            ttft_ms: Some(100.0 + f64::from(i * 37 % 101)),
            ..Request::default()
        };
        run.set_requests((0..500).map(request).collect(), true);
        let judge = |text: &str, on| text.parse::<Objective>().unwrap().judge(&[&run], on).met;
        for (text, point, bound) in [
            ("median_ttft<200ms", Met::Yes, Met::Yes),
            ("median_ttft<100ms", Met::No, Met::No),
            ("median_ttft<151ms", Met::Yes, Met::Open),
            ("median_ttft<149ms", Met::No, Met::Open),
            ("success>=99.9%", Met::Yes, Met::Open),
            ("success>=99%", Met::Yes, Met::Yes),
            // There is no such latency.
            ("p99_tpot<50ms", Met::Open, Met::Open),
        ] {
            assert_eq!(judge(text, DecidedOn::Point), point, "{text}");
            assert_eq!(judge(text, DecidedOn::Bound), bound, "{text}");
        }
    }
}
