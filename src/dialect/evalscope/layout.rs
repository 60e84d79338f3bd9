//! The layouts of EvalScope's releases, and how they write numbers.

use std::str::FromStr;

use crate::analysis::stats::Method;

/// Whose tables are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layout {
    /// The summary of all runs of 0.16, with its recommendations.
    V0_16,
    /// The tables of a run from 1.6 to 1.9.
    V1_6,
    /// The tables of 1.14.
    V1_14,
}

impl FromStr for Layout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "0.16" => Ok(Self::V0_16),
            "1.6" => Ok(Self::V1_6),
            "1.14" => Ok(Self::V1_14),
            _ => Err("must be 0.16, 1.6 or 1.14".to_owned()),
        }
    }
}

impl Layout {
    /// How the percentiles of its tables are taken.
    pub fn method(self) -> Method {
        match self {
            Self::V0_16 | Self::V1_6 => Method::Next,
            Self::V1_14 => Method::NearestRank,
        }
    }

    /// Whether its percentile table has the extremes.
    pub(super) fn has_extremes(self) -> bool {
        self >= Self::V1_14
    }

    /// `value` with at most so many decimals; a hyphen where there is none.
    pub(super) fn number(self, value: Option<f64>, decimals: usize) -> String {
        match self {
            Self::V0_16 | Self::V1_6 => value.map_or("-".to_owned(), |value| format!("{value:.2}")),
            Self::V1_14 => number(value, decimals),
        }
    }
}

/// `value` with at most so many decimals and no zeros at their end; a hyphen where there is none.
pub(super) fn number(value: Option<f64>, decimals: usize) -> String {
    let Some(value) = value else { return "-".to_owned() };
    let text = format!("{value:.decimals$}");
    if !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The concurrency of a run; `open` where nothing limits it.
pub(super) fn parallel(parallel: Option<usize>, open: &str) -> String {
    parallel.map_or_else(|| open.to_owned(), |n| n.to_string())
}

/// The rate of a run; `none` where there is none.
pub(super) fn rate(rate: Option<f64>, none: &str) -> String {
    rate.map_or_else(|| none.to_owned(), |rate| number(Some(rate), 2))
}
