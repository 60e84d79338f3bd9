//! What EvalScope has percentiles of.

use super::times::{input, latency};
use crate::analysis::counts::Ended;
use crate::analysis::stats::{Distribution, Method};
use crate::model::RequestRecord;

/// What samples are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Series {
    /// Time from send to the last output, in s.
    Latency,
    /// Time to first token of streamed answers, in ms.
    Ttft,
    /// Gaps between events with output, in ms.
    Itl,
    /// Those after the first of each request.
    SteadyItl,
    /// The first gap of each request, in ms: the hand-over between prefill and decode.
    Handoff,
    /// What the first gap has beyond the median of the others, in ms, not below 0.
    Overhead,
    /// Time per output token after the first, in ms.
    Tpot,
    /// Prompt tokens.
    Input,
    /// Output tokens.
    Output,
    /// Prompt tokens per second of the request.
    InputRate,
    /// Output tokens per second of the request.
    OutputRate,
    /// Prompt and output tokens per second of the request.
    TotalRate,
    /// Output tokens per second after the first token.
    DecodeRate,
}

/// All of them.
pub(super) const SERIES: [Series; 13] = [
    Series::Latency,
    Series::Ttft,
    Series::Itl,
    Series::SteadyItl,
    Series::Handoff,
    Series::Overhead,
    Series::Tpot,
    Series::Input,
    Series::Output,
    Series::InputRate,
    Series::OutputRate,
    Series::TotalRate,
    Series::DecodeRate,
];

/// The percentiles between the smallest and the largest sample.
pub(super) const PERCENTS: [f64; 9] = [1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0];

/// Figures that stand for samples; `None` where there are none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Values {
    /// Arithmetic mean.
    pub mean: Option<f64>,
    /// Smallest sample.
    pub min: Option<f64>,
    /// Largest sample.
    pub max: Option<f64>,
    /// The percentiles of `PERCENTS`.
    pub percentiles: [Option<f64>; 9],
}

impl Values {
    /// Those of no sample.
    pub const NONE: Self = Self { mean: None, min: None, max: None, percentiles: [None; 9] };

    pub(super) fn of(samples: Vec<f64>, method: Method) -> Self {
        let mut distribution = Distribution::new(true);
        for sample in samples {
            distribution.add(sample);
        }
        Self {
            mean: distribution.mean(),
            min: distribution.min(),
            max: distribution.max(),
            percentiles: distribution.percentiles(PERCENTS, method),
        }
    }

    /// The median.
    pub fn median(&self) -> Option<f64> {
        self.percentiles[4]
    }

    /// The 90th percentile.
    pub fn p90(&self) -> Option<f64> {
        self.percentiles[6]
    }

    /// The 99th percentile.
    pub fn p99(&self) -> Option<f64> {
        self.percentiles[8]
    }
}

impl Series {
    /// The samples that a request that succeeded gives; `streams` says whether answers were streamed.
    pub(super) fn samples(self, request: &Ended<'_>, streams: bool) -> Vec<f64> {
        let record = request.record;
        let seconds = latency(record).map(|latency| latency.as_secs_f64());
        let per_second = |tokens: u64| {
            let seconds = seconds.filter(|seconds| *seconds > 0.0)?;
            Some(tokens as f64 / seconds)
        };
        let one = match self {
            Self::Latency => seconds,
            Self::Ttft => record.ttft().filter(|_| streams).map(|ttft| ttft.as_secs_f64() * 1e3),
            Self::Tpot => tpot(request).filter(|_| streams),
            Self::DecodeRate => tpot(request).filter(|ms| streams && *ms > 0.0).map(|ms| 1e3 / ms),
            Self::Input => Some(input(request) as f64),
            Self::Output => Some(request.output() as f64),
            Self::InputRate => per_second(input(request)),
            Self::OutputRate => per_second(request.output()),
            Self::TotalRate => per_second(input(request) + request.output()),
            Self::Itl => return gaps(record),
            Self::SteadyItl => return gaps(record).split_off(gaps(record).len().min(1)),
            Self::Handoff => gaps(record).first().copied(),
            Self::Overhead => overhead(&gaps(record)),
        };
        one.into_iter().collect()
    }
}

/// Gaps between events with output, in ms.
fn gaps(record: &RequestRecord) -> Vec<f64> {
    record.events.gaps().map(|gap| gap.length().as_secs_f64() * 1e3).collect()
}

/// Time per output token after the first, in ms; `None` with fewer than two tokens.
pub(super) fn tpot(request: &Ended<'_>) -> Option<f64> {
    let steps = request.steps()?;
    let decode = latency(request.record)?.saturating_sub(request.record.ttft()?);
    Some(decode.as_secs_f64() * 1e3 / steps)
}

/// What the first gap has beyond the median of the others.
fn overhead(gaps: &[f64]) -> Option<f64> {
    let (&first, rest) = gaps.split_first()?;
    let mut rest_of = Distribution::new(true);
    for gap in rest {
        rest_of.add(*gap);
    }
    Some((first - rest_of.percentile(50.0, Method::Linear)?).max(0.0))
}
