//! Goodput: requests that met every latency that was asked for, the service level objectives (SLOs).
//!
//! - `request_goodput`: completed requests that met every objective, per second of the run's duration.
//! - `slo_attainment`: the same as a share of all requests, failed ones included.
//! - `slo_attainment_ttft`, `_tpot`, `_e2el`: the share of all requests that completed and met that one objective.
//!
//! A completed request meets an objective if its latency is at most the objective.
//! One with a single output token has no TPOT and meets any.
//! Without objectives there are no figures.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{Ended, Gather, Metric, Run, Stat, ms, real};
use crate::analysis::measure::Measure;
use crate::model::RequestRecord;

pub(super) const METRIC: Metric = Metric {
    name: "goodput",
    gather: |terms| {
        let each = terms.slos.iter().map(|&slo| (slo, 0)).collect();
        Box::new(Goodput { good: 0, each })
    },
};

/// A latency that an objective can be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Latency {
    /// Time to first token.
    Ttft,
    /// Time per output token after the first.
    Tpot,
    /// End-to-end latency.
    E2el,
}

impl Latency {
    /// Every latency.
    pub const ALL: [Self; 3] = [Self::Ttft, Self::Tpot, Self::E2el];

    /// The latency as users and results spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ttft => "ttft",
            Self::Tpot => "tpot",
            Self::E2el => "e2el",
        }
    }

    /// The latency of a completed request, in ms.
    fn of(self, record: &RequestRecord) -> Option<f64> {
        match self {
            Self::Ttft => record.ttft().map(ms),
            Self::Tpot => {
                let after_first = record.e2e()?.saturating_sub(record.ttft()?);
                // From whole nanoseconds, so that what is exactly at an objective stays there.
                Some(after_first.as_nanos() as f64 / record.steps()? / 1e6)
            }
            Self::E2el => record.e2e().map(ms),
        }
    }
}

/// A latency that requests are to keep within.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slo {
    /// Which latency.
    pub latency: Latency,
    /// The most it may be, in ms; finite and above 0.
    pub ms: f64,
}

impl Slo {
    /// The share of requests that met this objective.
    pub fn measure(&self) -> Measure {
        Measure::SloAttainmentOf(self.latency)
    }

    fn met_by(&self, record: &RequestRecord) -> bool {
        self.latency.of(record).is_none_or(|latency| latency <= self.ms)
    }
}

impl FromStr for Slo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected ttft:MS, tpot:MS or e2el:MS";
        let (key, value) = text.split_once(':').ok_or(expected)?;
        let latency = Latency::ALL
            .into_iter()
            .find(|latency| latency.name() == key.trim())
            .ok_or(expected)?;
        match value.trim().parse::<f64>() {
            Ok(ms) if ms.is_finite() && ms > 0.0 => Ok(Self { latency, ms }),
            _ => Err(format!("{expected}, where MS is a number of milliseconds above 0")),
        }
    }
}

impl fmt::Display for Slo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.latency.name(), self.ms)
    }
}

impl Serialize for Slo {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Slo {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input)?.parse().map_err(de::Error::custom)
    }
}

/// How many completed requests met the objectives.
#[derive(Debug)]
struct Goodput {
    /// All of them.
    good: u64,
    /// Each, in the order in which they were given.
    each: Vec<(Slo, u64)>,
}

impl Gather for Goodput {
    fn add(&mut self, request: &Ended<'_>) {
        let Some(record) = request.completed() else { return };
        let mut is_good = true;
        for (slo, met) in &mut self.each {
            let meets = slo.met_by(record);
            *met += u64::from(meets);
            is_good &= meets;
        }
        self.good += u64::from(is_good);
    }

    fn stats(self: Box<Self>, run: &Run) -> Vec<Stat> {
        if self.each.is_empty() {
            return Vec::new();
        }
        let share = |n: u64| (run.requests > 0).then(|| n as f64 / run.requests as f64);
        let seconds = run.duration.as_secs_f64();
        let mut stats = vec![
            real(Measure::RequestGoodput, (seconds > 0.0).then(|| self.good as f64 / seconds)),
            real(Measure::SloAttainment, share(self.good)),
        ];
        stats.extend(self.each.iter().map(|(slo, met)| real(slo.measure(), share(*met))));
        stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::metric::testing::{ended, record, stats};
    use crate::analysis::metric::{Close, Figure, Terms};
    use crate::model::Outcome;

    fn slos(texts: &[&str]) -> Vec<Slo> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn figures(slos: &[Slo], records: &[RequestRecord]) -> Vec<Figure> {
        let terms = Terms { slos, ..Terms::default() };
        let stats = stats(&METRIC, ended(records), &terms, Close::default());
        stats.iter().map(|stat| stat.value).collect()
    }

    #[test]
    fn pairs() {
        assert_eq!("ttft:500".parse(), Ok(Slo { latency: Latency::Ttft, ms: 500.0 }));
        assert_eq!("e2el:25.5".parse::<Slo>().unwrap().to_string(), "e2el:25.5");
        for bad in ["", "ttft", "ttft:", "ttft:0", "tpot:-1", "e2el:inf", "tpot:nan", "itl:5", ":5"]
        {
            let error = bad.parse::<Slo>().unwrap_err();
            assert!(error.starts_with("expected ttft:MS, tpot:MS or e2el:MS"), "{bad}: {error}");
        }
    }

    #[test]
    fn every_objective_has_to_be_met_and_failures_meet_none() {
        let mut failed = record(0, &[10, 20], &["a", "b"]);
        failed.outcome = Outcome::NotSent;
        let records = [
            // TTFT 100, TPOT 50, E2E 200.
            record(0, &[100, 150, 200], &["a", "b", "c"]),
            // TTFT 50, TPOT 450, E2E 500.
            record(0, &[50, 500], &["a", "b"]),
            // One token: no TPOT.
            record(0, &[80], &["a"]),
            failed,
        ];
        for (texts, want) in [
            (&["ttft:100"][..], &[6.0, 0.75, 0.75][..]),
            (&["ttft:99.9", "tpot:50"], &[2.0, 0.25, 0.5, 0.5]),
            (&["e2el:200"], &[4.0, 0.5, 0.5]),
            (&["e2el:1"], &[0.0, 0.0, 0.0]),
            (&[], &[]),
        ] {
            let slos = slos(texts);
            let got: Vec<f64> =
                figures(&slos, &records).iter().map(|value| value.number().unwrap()).collect();
            assert_eq!(got, want, "{texts:?}");
        }
    }

    #[test]
    fn the_time_per_token_is_that_of_one_completion() {
        let mut record = record(0, &[100, 150, 200, 400], &["a", "x", "b", "y"]);
        record.events.completion = vec![0, 1, 0, 1];
        record.other_texts = vec!["xy".into()];
        // Two tokens in each of two completions, so one step in 300 ms.
        assert_eq!(Latency::Tpot.of(&record), Some(300.0));
        record.other_texts.push("z".into());
        record.other_texts.push("z".into());
        assert_eq!(Latency::Tpot.of(&record), None);
    }

    #[test]
    fn without_requests_there_is_no_share() {
        let slos = slos(&["ttft:1"]);
        assert!(figures(&slos, &[]).iter().all(|&value| value == Figure::Absent));
    }
}
