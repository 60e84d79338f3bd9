//! When a comparison fails: `--fail-on`.

use std::fmt;
use std::str::FromStr;

use super::{Compared, Direction, Row, Verdict, Whole};
use crate::analysis::statistics::Scale;

/// What fails a comparison.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// A metric got worse.
    Regression,
    /// Nothing was decided.
    Inconclusive,
    /// Nothing does.
    Never,
    /// A change of one metric is shown, and larger than is allowed.
    Threshold(Threshold),
}

/// The largest change that is allowed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold {
    /// Of what.
    pub metric: Compared,
    /// The change from which on it fails, as a share, or in points for shares; its sign says in which direction.
    pub change: f64,
}

impl Threshold {
    fn is_exceeded(self, row: &Row) -> bool {
        let shown = matches!(row.verdict, Verdict::Improvement | Verdict::Regression);
        let change = row.difference.map_or(0.0, |difference| difference.change);
        let beyond = if self.change > 0.0 { change > self.change } else { change < self.change };
        row.metric == self.metric && shown && beyond
    }
}

impl Rule {
    /// Why `rows`, whose verdict is `whole`, fail by this rule; `None` if they do not.
    pub fn broken_by(self, rows: &[&Row], whole: Whole) -> Option<String> {
        match self {
            Self::Never => None,
            Self::Inconclusive => {
                (whole == Whole::Inconclusive).then(|| "the comparison is inconclusive".to_owned())
            }
            Self::Regression => {
                let mut worse = rows.iter().filter(|row| row.verdict == Verdict::Regression);
                worse.next().map(|row| format!("{} got worse by {}", row.metric, shown(row)))
            }
            Self::Threshold(threshold) => {
                let beyond = rows.iter().find(|row| threshold.is_exceeded(row))?;
                Some(format!("{} changed by {}, beyond {threshold}", beyond.metric, shown(beyond)))
            }
        }
    }

    /// The metric that it is about, if it is one.
    pub fn metric(self) -> Option<Compared> {
        match self {
            Self::Threshold(threshold) => Some(threshold.metric),
            _ => None,
        }
    }
}

/// The change of a row in percent, or in points for shares.
fn shown(row: &Row) -> String {
    let change = row.difference.map_or(0.0, |difference| difference.change);
    match row.metric.scale() {
        Scale::Relative => format!("{:+.1} %", change * 1e2),
        Scale::Absolute => format!("{:+.2} points", change * 1e2),
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.change > 0.0 { '>' } else { '<' };
        write!(f, "{}{sign}{:+}%", self.metric, self.change * 1e2)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Regression => f.write_str("regression"),
            Self::Inconclusive => f.write_str("inconclusive"),
            Self::Never => f.write_str("never"),
            Self::Threshold(threshold) => threshold.fmt(f),
        }
    }
}

impl FromStr for Rule {
    type Err = String;

    /// Reads `regression`, `inconclusive`, `never`, or METRIC>+5% and METRIC<-5%.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "regression" => return Ok(Self::Regression),
            "inconclusive" => return Ok(Self::Inconclusive),
            "never" => return Ok(Self::Never),
            _ => {}
        }
        let expected = "expected METRIC>+N%, METRIC<-N%, such as p99_ttft_ms>+5%, or regression, inconclusive, never";
        let at = text.find(['<', '>']).ok_or(expected)?;
        let (metric, rest) = text.split_at(at);
        let metric: Compared = metric.trim().parse()?;
        let is_more = rest.starts_with('>');
        let number = rest[1..].trim().strip_suffix('%').ok_or(expected)?;
        let percent: f64 = number.trim().parse().map_err(|_| expected.to_owned())?;
        if !percent.is_finite() || percent == 0.0 || (percent > 0.0) != is_more {
            return Err(format!("{expected}: > goes with a number above 0, < with one below"));
        }
        let worse = metric.direction() == Direction::Lower;
        if worse != is_more {
            let (better, sign) = if worse { ("less", ">+5%") } else { ("more", "<-5%") };
            return Err(format!("of {metric} {better} is better: write {metric}{sign}"));
        }
        Ok(Self::Threshold(Threshold { metric, change: percent / 1e2 }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_and_written() {
        for (text, want) in [
            ("p99_ttft_ms>+5%", "p99_ttft_ms>+5%"),
            ("p99_ttft > 5%", "p99_ttft_ms>+5%"),
            ("output_throughput<-2.5%", "output_throughput<-2.5%"),
            ("never", "never"),
            ("regression", "regression"),
        ] {
            assert_eq!(text.parse::<Rule>().unwrap().to_string(), want, "{text}");
        }
        for text in
            ["p99_ttft", "p99_ttft>-5%", "p99_ttft>5", "p99_ttft>0%", "nothing>5%", "p99_ttft>x%"]
        {
            assert!(text.parse::<Rule>().is_err(), "{text}");
        }
        let wrong = "p99_ttft<-5%".parse::<Rule>().unwrap_err();
        assert!(wrong.contains("write p99_ttft_ms>+5%"), "{wrong}");
    }
}
