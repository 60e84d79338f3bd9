//! ITL: gaps between the arrivals of output within a completion, pooled over completed requests.
//!
//! Where events carry a running count, a gap that brought k tokens counts as k gaps of its k-th part.
//! On other endpoints an event is one gap, however many tokens it holds, unless the server reports an accept length
//! to a backend that asks for it: then each gap is shared among the tokens that retokenizing finds in its piece.

use super::{Metric, Run, Stat, counted, distribution};
use crate::model::RequestRecord;

pub(super) const METRIC: Metric = Metric { name: "itl", stats };

fn stats(run: &Run<'_>) -> Vec<Stat> {
    if let Some(folded) = run.folded {
        return counted(run, "itl", folded.itl(run.accept_length));
    }
    let seconds = match run.split_itl {
        Some(split) => split.to_vec(),
        None => run.completed().flat_map(RequestRecord::itl).collect(),
    };
    distribution(run, "itl", seconds)
}

/// The gaps of `record` in seconds, each shared among the tokens that `count` finds in its piece.
/// A piece without a token keeps its gap whole.
///
/// # Example
/// Gaps of 0.3 s and 0.6 s whose pieces hold 3 and 2 tokens give 0.1 three times and 0.3 twice.
pub fn split(record: &RequestRecord, count: impl Fn(&str) -> usize) -> Vec<f64> {
    let pieces: Vec<&str> = record.pieces().collect();
    let gaps = record.events.gaps();
    gaps.flat_map(|gap| {
        let tokens = pieces.get(gap.event).map_or(1, |piece| count(piece).max(1));
        std::iter::repeat_n(gap.length().as_secs_f64() / tokens as f64, tokens)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Figure;
    use crate::metric::testing::{record, run};

    #[test]
    fn gaps_are_shared_by_retokenized_pieces() {
        let words = |piece: &str| piece.split_whitespace().count();
        let records = [
            record(0, &[0, 300, 900], &["a", " b c d", " e f"]),
            record(0, &[0, 1000], &["a", " b"]),
        ];
        let split: Vec<f64> = records.iter().flat_map(|record| split(record, words)).collect();
        let mut run = run(&records);
        let plain = (METRIC.stats)(&run);
        assert_eq!(plain[0].value, Figure::Real(1900.0 / 3.0));
        run.split_itl = Some(&split);
        let figures: Vec<f64> =
            (METRIC.stats)(&run).iter().map(|stat| stat.value.number().unwrap()).collect();
        let want = [1900.0 / 6.0, 200.0, f64::NAN, 650.0, 825.0, 965.0, 1000.0];
        for (got, want) in figures.iter().zip(want) {
            assert!(want.is_nan() || (got - want).abs() < 1e-6, "{figures:?}");
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
        let close = |got: Vec<f64>, want: &[f64]| {
            got.len() == want.len() && got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-9)
        };
        assert!(close(record.itl().collect(), &[0.2, 0.3]));
        let words = |piece: &str| piece.split_whitespace().count();
        assert!(close(split(&record, words), &[0.2, 0.1, 0.1, 0.1]));
    }
}
