//! Goodput: requests that met every latency that was asked for, the service level objectives (SLOs).
//!
//! - `request_goodput`: completed requests that met every objective, per second of the run's duration.
//! - `slo_attainment`: the same as a share of all requests, failed ones included.
//! - `slo_attainment_ttft`, `_tpot`, `_e2el`: the share of all requests that completed and met that one objective.
//!
//! A completed request meets an objective if its latency is at most the objective.
//! One with a single output token has no TPOT and meets any.
//! Without objectives there are no figures.

use crate::analysis::counts::Ended;
use crate::analysis::gather::{Gather, Metric, Run};
use crate::analysis::goal::Slo;
use crate::analysis::measure::Measure;
use crate::analysis::measures::Measures;

pub(super) const METRIC: Metric = |terms| {
    let each = terms.slos.iter().map(|&slo| (slo, 0)).collect();
    Box::new(Goodput { good: 0, each })
};

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
        if request.completed().is_none() {
            return;
        }
        let mut is_good = true;
        for (slo, met) in &mut self.each {
            let meets = slo.met_by(request);
            *met += u64::from(meets);
            is_good &= meets;
        }
        self.good += u64::from(is_good);
    }

    fn merge(&mut self, other: Self) {
        self.good += other.good;
        for ((_, met), (_, more)) in self.each.iter_mut().zip(other.each) {
            *met += more;
        }
    }

    fn finish(self, run: &Run, measures: &mut Measures) {
        if self.each.is_empty() {
            return;
        }
        let share = |n: u64| (run.requests > 0).then(|| n as f64 / run.requests as f64);
        let seconds = run.duration.as_secs_f64();
        let rate = (seconds > 0.0).then(|| self.good as f64 / seconds);
        measures.real(Measure::RequestGoodput, rate);
        measures.real(Measure::SloAttainment, share(self.good));
        for (slo, met) in self.each {
            measures.real(slo.measure(), share(met));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::gather::{Close, Terms};
    use crate::analysis::measures::Figure;
    use crate::analysis::testing::{ended, record, stats};
    use crate::model::{Outcome, RequestRecord};

    fn slos(texts: &[&str]) -> Vec<Slo> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn figures(slos: &[Slo], records: &[RequestRecord]) -> Vec<Figure> {
        let terms = Terms { slos, ..Terms::default() };
        let stats = stats(METRIC, ended(records), &terms, Close::default());
        stats.iter().map(|stat| stat.value).collect()
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
    fn without_requests_there_is_no_share() {
        let slos = slos(&["ttft:1"]);
        assert!(figures(&slos, &[]).iter().all(|&value| value == Figure::Absent));
    }
}
