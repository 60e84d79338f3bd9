//! The figures of one run as EvalScope defines them, from its requests.
//!
//! What that client defines in a way that gives a wrong number is defined in another way here; the page on EvalScope
//! of the book has each difference.

use std::time::Duration;

use super::conversation::{self, Traces};
use super::series::{SERIES, Series, Values};
use super::times::{end, input};
use super::workload::{self, Workload};
use crate::analysis::counts::Ended;
use crate::analysis::stats::Method;
use crate::model::Outcome;

/// The load of one run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Requests in flight at most; `None` in an open loop.
    pub parallel: Option<usize>,
    /// Requests per second; `None` without pacing.
    pub rate: Option<f64>,
    /// Requests or conversations.
    pub number: usize,
}

/// What the run was asked to do, as far as its figures depend on it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Terms {
    /// The load.
    pub load: Load,
    /// Requests at the beginning that are not measured.
    pub warm_up: usize,
    /// Whether requests generate tokens.
    pub generates: bool,
    /// Whether answers were streamed.
    pub streams: bool,
    /// Whether requests are turns of conversations.
    pub multi_turn: bool,
    /// Whether the run ended after a time: what it had not sent by then is no part of it.
    pub timed: bool,
    /// How percentiles are taken.
    pub method: Method,
    /// What the server counted of speculative decoding during the run.
    pub speculation: Option<Speculation>,
}

/// What a server counted of speculative decoding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speculation {
    /// Tokens that came of one step in the mean, at least 1.
    pub tokens_per_step: f64,
    /// The share of drafted tokens that were accepted, from 0 to 1, if the server counts them.
    pub accepted: Option<f64>,
}

/// The figures of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// The load.
    pub load: Load,
    /// Whether requests generate tokens.
    pub generates: bool,
    /// Requests that were sent, or were to be sent and never were.
    pub total: u64,
    /// Those whose whole answer arrived.
    pub succeeded: u64,
    /// Those of them that were streamed.
    pub streamed: u64,
    /// From the first send to the last end, failures included, in s; `None` if nothing was sent.
    pub duration: Option<f64>,
    /// From the start of the run to the last end, in s.
    pub wall: f64,
    /// Prompt tokens of the requests that succeeded.
    pub input: u64,
    /// Output tokens of the same.
    pub output: u64,
    values: Vec<Values>,
    /// What the server counted of speculative decoding.
    pub speculation: Option<Speculation>,
    /// The conversations, if there are any.
    pub traces: Option<Traces>,
    /// Throughput by windows.
    pub workload: Workload,
}

impl Figures {
    /// The figures of `requests`, which are in the order of the plan.
    pub fn of<'a>(requests: impl Iterator<Item = Ended<'a>>, terms: &Terms) -> Self {
        let is_measured = |request: &Ended<'_>| {
            let left_out = terms.timed && request.record.outcome == Outcome::NotSent;
            request.record.index >= terms.warm_up && !left_out
        };
        let measured: Vec<Ended<'_>> = requests.filter(is_measured).collect();
        let succeeded: Vec<Ended<'_>> =
            measured.iter().copied().filter(|request| request.record.completed()).collect();
        let times = measured.iter().map(|request| request.record);
        let times = times.filter_map(|record| Some((record.sent?, end(record)?)));
        let span = times.fold(None, |span: Option<(Duration, Duration)>, (sent, end)| {
            let (first, last) = span.unwrap_or((sent, end));
            Some((first.min(sent), last.max(end)))
        });
        let duration = span.map(|(first, last)| last.saturating_sub(first).as_secs_f64());
        let values = SERIES.iter().map(|series| {
            let of = |request: &Ended<'_>| series.samples(request, terms.streams);
            Values::of(succeeded.iter().flat_map(of).collect(), terms.method)
        });
        Self {
            load: terms.load,
            generates: terms.generates,
            total: measured.len() as u64,
            succeeded: succeeded.len() as u64,
            streamed: if terms.streams { succeeded.len() as u64 } else { 0 },
            duration: duration.filter(|seconds| *seconds > 0.0),
            wall: span.map_or(0.0, |(_, last)| last.as_secs_f64()),
            input: succeeded.iter().map(input).sum(),
            output: succeeded.iter().map(Ended::output).sum(),
            values: values.collect(),
            speculation: terms.speculation,
            traces: terms.multi_turn.then(|| conversation::traces(&measured)),
            workload: workload::of(&succeeded, span.map_or(Duration::ZERO, |(first, _)| first)),
        }
    }

    /// The figures that stand for the samples of `series`.
    pub fn of_series(&self, series: Series) -> &Values {
        let at = SERIES.iter().position(|other| *other == series);
        at.and_then(|at| self.values.get(at)).unwrap_or(const { &Values::NONE })
    }

    /// Requests that did not succeed.
    pub fn failed(&self) -> u64 {
        self.total - self.succeeded
    }

    /// Requests that succeeded as a percentage of all.
    pub fn success_rate(&self) -> Option<f64> {
        (self.total > 0).then(|| self.succeeded as f64 * 100.0 / self.total as f64)
    }

    /// `amount` per second of the run.
    fn per_second(&self, amount: u64) -> Option<f64> {
        self.duration.map(|seconds| amount as f64 / seconds)
    }

    /// Requests that succeeded per second.
    pub fn request_throughput(&self) -> Option<f64> {
        self.per_second(self.succeeded)
    }

    /// Prompt tokens per second of the run.
    pub fn input_throughput(&self) -> Option<f64> {
        self.per_second(self.input)
    }

    /// Output tokens per second.
    pub fn output_throughput(&self) -> Option<f64> {
        self.per_second(self.output)
    }

    /// Prompt and output tokens per second.
    pub fn total_throughput(&self) -> Option<f64> {
        self.per_second(self.input + self.output)
    }

    /// Output tokens per second of one request after its first token: the inverse of the mean time per output token.
    pub fn decode_rate(&self) -> Option<f64> {
        self.of_series(Series::Tpot).mean.filter(|ms| *ms > 0.0).map(|ms| 1e3 / ms)
    }
}
