//! ITL: gaps between the arrivals of output within a completion, pooled over completed requests.
//!
//! Where events carry a running count, a gap that brought k tokens counts as k gaps of its k-th part.
//! On other endpoints an event is one gap, however many tokens it holds, unless the server reports an accept length
//! to a backend that asks for it: then each gap is shared among the tokens that retokenizing finds in its piece.

use crate::analysis::counts::{Ended, Shares};
use crate::analysis::gather::{Gather, Metric, Run, Terms};
use crate::analysis::latencies::itl;
use crate::analysis::measure::Series;
use crate::analysis::measures::Measures;
use crate::analysis::stats::Distribution;

pub(super) const METRIC: Metric = |terms| Box::new(Itl::new(terms));

/// In ms.
#[derive(Debug)]
struct Itl {
    /// By the running counts; not where gaps are sure to be shared by pieces.
    plain: Option<Distribution>,
    /// By the pieces; only where gaps may be shared by them.
    shared: Option<Distribution>,
}

impl Itl {
    fn new(terms: &Terms<'_>) -> Self {
        let samples = |is_wanted: bool| is_wanted.then(|| terms.samples());
        Self {
            plain: samples(terms.shares != Shares::Always),
            shared: samples(terms.shares != Shares::Never),
        }
    }
}

impl Gather for Itl {
    fn add(&mut self, request: &Ended<'_>) {
        if request.completed().is_none() {
            return;
        }
        for (samples, is_shared) in [(&mut self.plain, false), (&mut self.shared, true)] {
            if let Some(samples) = samples {
                itl(request, is_shared, |ms, times| samples.add_times(ms, times));
            }
        }
    }

    fn merge(&mut self, other: Self) {
        for (ours, theirs) in [(&mut self.plain, other.plain), (&mut self.shared, other.shared)] {
            if let Some((ours, theirs)) = ours.as_mut().zip(theirs) {
                ours.merge(theirs);
            }
        }
    }

    fn finish(self, run: &Run, measures: &mut Measures) {
        let shares = Shares::of(true, run.close.accept_length) == Shares::Always;
        let samples = match (self.plain, self.shared) {
            (Some(plain), Some(shared)) => Some(if shares { shared } else { plain }),
            (plain, shared) => plain.or(shared),
        };
        if let Some(samples) = samples {
            measures.latencies(run, Series::Itl, samples);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::gather::{Close, Terms};
    use crate::analysis::testing::{ended, record, stats};
    use crate::model::RequestRecord;

    fn words(piece: &str) -> u32 {
        piece.split_whitespace().map(|_| 1).sum()
    }

    /// The figures of ITL where gaps are shared as `shares` says, and the server tells `accept_length`.
    fn figures(records: &[RequestRecord], shares: Shares, accept_length: Option<f64>) -> Vec<f64> {
        let pieces: Vec<Vec<u32>> =
            records.iter().map(|record| record.pieces().map(words).collect()).collect();
        let counted = ended(records).zip(&pieces);
        let requests = counted.map(|(ended, pieces)| Ended { pieces: Some(pieces), ..ended });
        let close = Close { accept_length, ..Close::default() };
        let stats = stats(METRIC, requests, &Terms { shares, ..Terms::default() }, close);
        // Mean, median, deviation, three percentiles and the largest.
        stats.iter().take(7).map(|stat| stat.value.number().unwrap()).collect()
    }

    fn close(got: &[f64], want: &[f64]) -> bool {
        got.len() == want.len()
            && got.iter().zip(want).all(|(a, b)| b.is_nan() || (a - b).abs() < 1e-6)
    }

    #[test]
    fn gaps_are_shared_by_retokenized_pieces() {
        let records = [
            record(0, &[0, 300, 900], &["a", " b c d", " e f"]),
            record(0, &[0, 1000], &["a", " b"]),
        ];
        let any = f64::NAN;
        let plain = [1900.0 / 3.0, 600.0, any, any, any, any, 1000.0];
        let shared = [1900.0 / 6.0, 200.0, any, 650.0, 825.0, 965.0, 1000.0];
        for (shares, accept_length, want) in [
            (Shares::Never, None, &plain),
            (Shares::Perhaps, None, &plain),
            (Shares::Perhaps, Some(0.0), &plain),
            (Shares::Perhaps, Some(2.5), &shared),
            (Shares::Always, Some(2.5), &shared),
        ] {
            let got = figures(&records, shares, accept_length);
            assert!(close(&got, want), "{shares:?} {accept_length:?} {got:?}");
        }
    }

    #[test]
    fn gaps_are_those_within_a_completion() {
        let mut record = record(0, &[100, 150, 300, 450], &["a", " b c", " d", " e f g"]);
        record.events.completion = vec![0, 1, 0, 1];
        let (first, other) = ("a d", " b c e f g");
        record.text = first.to_owned();
        record.other_texts = vec![other.to_owned()];
        record.events.text_ends = vec![1, 4, first.len(), other.len()];
        assert!(close(&record.itl().collect::<Vec<_>>(), &[0.2, 0.3]));
        // 200 and three parts of 300.
        let mean = figures(&[record], Shares::Always, Some(2.0))[0];
        assert!((mean - 125.0).abs() < 1e-6, "{mean}");
    }
}
