//! Latencies that requests are to keep within: service level objectives (SLOs).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::counts::Ended;
use super::measure::{Latency, Measure};
use super::measures::ms;

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

    /// Whether a completed request kept within it; one that has no such latency did.
    pub fn met_by(&self, request: &Ended<'_>) -> bool {
        latency(self.latency, request).is_none_or(|latency| latency <= self.ms)
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

/// A latency of a completed request, in ms.
fn latency(which: Latency, request: &Ended<'_>) -> Option<f64> {
    let record = request.record;
    match which {
        Latency::Ttft => record.ttft().map(ms),
        Latency::Tpot => {
            let after_first = record.e2e()?.saturating_sub(record.ttft()?);
            // From whole nanoseconds, so that what is exactly at an objective stays there.
            Some(after_first.as_nanos() as f64 / request.steps()? / 1e6)
        }
        Latency::E2el => record.e2e().map(ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::testing::record;

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
    fn the_time_per_token_is_that_of_one_completion() {
        let mut record = record(0, &[100, 150, 200, 400], &["a", "x", "b", "y"]);
        record.events.completion = vec![0, 1, 0, 1];
        record.other_texts = vec!["xy".into()];
        // Two tokens in each of two completions, so one step in 300 ms.
        assert_eq!(latency(Latency::Tpot, &Ended::of(&record)), Some(300.0));
        record.other_texts.push("z".into());
        record.other_texts.push("z".into());
        assert_eq!(latency(Latency::Tpot, &Ended::of(&record)), None);
    }
}
