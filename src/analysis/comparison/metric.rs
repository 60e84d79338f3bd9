//! The metrics that are compared, gated and searched by.

use std::fmt;
use std::str::FromStr;

use super::sample::Request;
use crate::analysis::measure::Percent;
use crate::analysis::statistics::Scale;

/// A change of the share of completed requests for the worse that is tolerated.
pub(super) const TOLERATED_SHARE: f64 = 0.01;

/// A latency of requests, in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sample {
    /// Time to first token.
    Ttft,
    /// Time per output token after the first.
    Tpot,
    /// Inter-token latency: the gaps of all requests.
    Itl,
    /// End-to-end latency.
    E2e,
}

impl Sample {
    /// Every latency.
    pub const ALL: [Self; 4] = [Self::Ttft, Self::Tpot, Self::Itl, Self::E2e];

    /// The samples of a request.
    pub(super) fn of(self, request: &Request) -> &[f64] {
        match self {
            Self::Ttft => request.ttft_ms.as_slice(),
            Self::Tpot => request.tpot_ms.as_slice(),
            Self::Itl => &request.itl_ms,
            Self::E2e => request.e2e_ms.as_slice(),
        }
    }

    /// The name that results have, without the unit.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ttft => "ttft",
            Self::Tpot => "tpot",
            Self::Itl => "itl",
            Self::E2e => "e2e_latency",
        }
    }

    /// Whether users may call it `name`.
    fn is(self, name: &str) -> bool {
        name == self.name() || (self == Self::E2e && matches!(name, "e2e" | "e2el"))
    }
}

/// A figure of a run that can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compared {
    /// The mean of a latency, in ms.
    Mean(Sample),
    /// A percentile of a latency, in ms.
    Percentile(Percent, Sample),
    /// Completed requests per second.
    RequestThroughput,
    /// Output tokens per second.
    OutputThroughput,
    /// The share of requests that completed.
    Success,
    /// The share of requests that completed within the objectives of `--goodput`.
    Goodput,
}

/// What is compared where nothing else is asked for.
pub const DEFAULT: [Compared; 11] = {
    const fn p50(sample: Sample) -> Compared {
        Compared::Percentile(Percent::whole(50), sample)
    }
    const fn p99(sample: Sample) -> Compared {
        Compared::Percentile(Percent::whole(99), sample)
    }
    [
        p50(Sample::Ttft),
        p99(Sample::Ttft),
        p50(Sample::Tpot),
        p99(Sample::Tpot),
        p50(Sample::Itl),
        p99(Sample::Itl),
        p50(Sample::E2e),
        p99(Sample::E2e),
        Compared::OutputThroughput,
        Compared::RequestThroughput,
        Compared::Success,
    ]
};

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Less is.
    Lower,
    /// More is.
    Higher,
}

impl Compared {
    /// Which way is better.
    pub fn direction(self) -> Direction {
        match self {
            Self::Mean(_) | Self::Percentile(..) => Direction::Lower,
            Self::RequestThroughput | Self::OutputThroughput | Self::Success | Self::Goodput => {
                Direction::Higher
            }
        }
    }

    /// How differences are measured.
    pub fn scale(self) -> Scale {
        if self.is_share() { Scale::Absolute } else { Scale::Relative }
    }

    /// Whether it is a share of requests.
    pub fn is_share(self) -> bool {
        matches!(self, Self::Success | Self::Goodput)
    }

    /// Whether it is a percentile, which only samples give for several runs together.
    pub fn is_percentile(self) -> bool {
        matches!(self, Self::Percentile(..))
    }

    /// Its unit, as outputs show it.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Mean(_) | Self::Percentile(..) => "ms",
            Self::RequestThroughput => "req/s",
            Self::OutputThroughput => "tok/s",
            Self::Success | Self::Goodput => "%",
        }
    }
}

impl fmt::Display for Compared {
    /// Writes the key that results have: `median_ttft_ms`, `p99_itl_ms`, `output_throughput`, `success`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mean(sample) => write!(f, "mean_{}_ms", sample.name()),
            Self::Percentile(percent, sample) if *percent == Percent::whole(50) => {
                write!(f, "median_{}_ms", sample.name())
            }
            Self::Percentile(percent, sample) => write!(f, "p{percent}_{}_ms", sample.name()),
            Self::RequestThroughput => f.write_str("request_throughput"),
            Self::OutputThroughput => f.write_str("output_throughput"),
            Self::Success => f.write_str("success"),
            Self::Goodput => f.write_str("goodput"),
        }
    }
}

impl FromStr for Compared {
    type Err = String;

    /// Reads a key of results; `_ms` may be left out, and `p50` stands for `median`.
    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || {
            // The text is not repeated: it may be a key.
            "expected mean, median or pN of ttft, tpot, itl or e2e, such as p99_ttft_ms, or request_throughput, output_throughput, success, goodput".to_owned()
        };
        match text {
            "request_throughput" => return Ok(Self::RequestThroughput),
            "output_throughput" => return Ok(Self::OutputThroughput),
            "success" => return Ok(Self::Success),
            "goodput" => return Ok(Self::Goodput),
            _ => {}
        }
        let (statistic, sample) = text.split_once('_').ok_or_else(unknown)?;
        let sample = sample.strip_suffix("_ms").unwrap_or(sample);
        let sample = Sample::ALL.into_iter().find(|s| s.is(sample)).ok_or_else(unknown)?;
        match statistic {
            "mean" => Ok(Self::Mean(sample)),
            "median" => Ok(Self::Percentile(Percent::whole(50), sample)),
            other => {
                let percent = other.strip_prefix('p').and_then(|n| n.parse().ok());
                let percent = percent.and_then(Percent::new).ok_or_else(unknown)?;
                Ok(Self::Percentile(percent, sample))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_results_and_read_back() {
        for metric in DEFAULT {
            assert_eq!(metric.to_string().parse(), Ok(metric));
        }
        for (text, want) in [
            ("p99_ttft", "p99_ttft_ms"),
            ("p50_e2e", "median_e2e_latency_ms"),
            ("p99.9_itl_ms", "p99.9_itl_ms"),
            ("mean_e2el_ms", "mean_e2e_latency_ms"),
        ] {
            assert_eq!(text.parse::<Compared>().unwrap().to_string(), want);
        }
        for text in ["", "ttft", "p101_ttft", "p99_", "max_ttft_ms", "throughput"] {
            assert!(text.parse::<Compared>().unwrap_err().contains("p99_ttft_ms"), "{text}");
        }
    }
}
