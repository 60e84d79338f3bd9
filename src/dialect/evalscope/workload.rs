//! Throughput by windows: tokens count when their request ends.

use std::time::Duration;

use super::times::{end, input};
use crate::analysis::counts::Ended;

/// The last window, in s.
pub(super) const LAST_S: f64 = 30.0;

/// The share of the time at the beginning that a steady window leaves out.
pub(super) const DROPPED: f64 = 0.2;

/// The tokens of all requests that had ended at some time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// From the first send, in s.
    pub at: f64,
    /// Output tokens until then.
    pub output: u64,
    /// Prompt tokens that were not cached.
    pub new: u64,
    /// Prompt tokens that the server had cached.
    pub cached: u64,
}

/// Tokens per second over all of the time, over the last [`LAST_S`], and without the first [`DROPPED`] of the time.
pub(super) type Windows = [f64; 3];

/// Throughput by windows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Workload {
    /// The first send, in s from the start of the run.
    pub start: f64,
    /// One point for each request that succeeded, in the order of their ends.
    pub points: Vec<Point>,
}

/// The throughput of `succeeded`, the first of all requests being sent at `start`.
pub(super) fn of(succeeded: &[Ended<'_>], start: Duration) -> Workload {
    let mut ends: Vec<(Duration, &Ended<'_>)> =
        succeeded.iter().filter_map(|request| Some((end(request.record)?, request))).collect();
    ends.sort_by_key(|(end, request)| (*end, request.record.index, request.record.round));
    let (mut output, mut new, mut cached) = (0, 0, 0);
    let points = ends.into_iter().map(|(end, request)| {
        let cached_of = request.record.cached.as_ref().map_or(0, |cached| cached.total);
        let known = cached_of.min(input(request));
        output += request.output();
        new += input(request) - known;
        cached += known;
        Point { at: end.saturating_sub(start).as_secs_f64(), output, new, cached }
    });
    Workload { start: start.as_secs_f64(), points: points.collect() }
}

impl Workload {
    /// From the first send to the last end, in s.
    pub fn wall(&self) -> f64 {
        self.points.last().map_or(0.0, |point| point.at)
    }

    /// The rows of the table: prompt tokens, those of them that were new and that were cached, and output tokens.
    pub fn rows(&self) -> [(&'static str, Windows); 4] {
        [
            ("Total Prompt tok/s", self.windows(|point| point.new + point.cached)),
            ("New Prompt tok/s", self.windows(|point| point.new)),
            ("Cached Prompt tok/s", self.windows(|point| point.cached)),
            ("Completion tok/s", self.windows(|point| point.output)),
        ]
    }

    fn windows(&self, tokens: fn(&Point) -> u64) -> Windows {
        let wall = self.wall();
        [0.0, (wall - LAST_S).max(0.0), wall * DROPPED].map(|from| {
            let until = |at: f64| {
                let ended = self.points.partition_point(|point| point.at <= at);
                ended.checked_sub(1).map_or(0, |last| tokens(&self.points[last]))
            };
            let before = if from > 0.0 { until(from) } else { 0 };
            let within = until(wall) - before;
            if wall > from { within as f64 / (wall - from) } else { 0.0 }
        })
    }
}
