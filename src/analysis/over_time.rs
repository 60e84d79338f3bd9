//! Figures over time: output tokens per second and requests in flight, in equal slices of the run.
//!
//! - Tokens per second of a slice: the tokens of completed requests in it, over its length. A token's time is its
//!   event's; the events that share a gap spread it evenly; the tokens of a request are shared among its token times.
//! - In flight in a slice: the most at one instant of it, failed requests included.

use super::counts::Ended;
use super::token_times::token_times;

/// A run in slices.
#[derive(Debug, Clone, PartialEq)]
pub struct OverTime {
    /// Length of a slice in s.
    pub slice_s: f64,
    /// Output tokens per second in each.
    pub tokens_per_s: Vec<f64>,
    /// Most requests in flight in each.
    pub in_flight: Vec<u64>,
}

/// Lengths of slices, in ms, up to one second; then their multiples of ten.
const SLICES_MS: [u64; 9] = [1, 2, 5, 10, 20, 50, 100, 200, 500];

/// `requests` in at most `most` slices of a round length; `None` if no request took time.
pub fn over_time<'a>(
    requests: impl Iterator<Item = Ended<'a>> + Clone,
    most: usize,
) -> Option<OverTime> {
    let span = |Ended { record, .. }: Ended<'a>| {
        Some((record.sent?.as_secs_f64(), record.done?.as_secs_f64()))
    };
    let spans: Vec<(f64, f64)> = requests.clone().filter_map(span).collect();
    let end = spans.iter().map(|&(_, done)| done).fold(0.0, f64::max);
    if end <= 0.0 || most == 0 {
        return None;
    }
    let slice_s = slice(end / most as f64);
    let count = index(end, slice_s) + 1;
    let last = count - 1;
    let mut tokens = vec![0.0; count];
    for request in requests {
        let Some(record) = request.completed() else { continue };
        let times: Vec<f64> = token_times(record).collect();
        let weight = request.output() as f64 / times.len().max(1) as f64;
        for at in times {
            tokens[index(at, slice_s).min(last)] += weight;
        }
    }
    // What ends and what starts at one instant do not overlap.
    let mut edges: Vec<(f64, i64)> =
        spans.iter().flat_map(|&(sent, done)| [(sent, 1), (done, -1)]).collect();
    edges.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut in_flight = vec![0; count];
    let (mut now, mut reached) = (0_i64, 0);
    for (at, step) in edges {
        let here = index(at, slice_s).min(last);
        // Nothing changed in the slices between.
        for slot in &mut in_flight[reached..=here] {
            *slot = now.max(*slot);
        }
        reached = here;
        now += step;
        in_flight[here] = now.max(in_flight[here]);
    }
    Some(OverTime {
        slice_s,
        tokens_per_s: tokens.into_iter().map(|n| n / slice_s).collect(),
        in_flight: in_flight.into_iter().map(i64::unsigned_abs).collect(),
    })
}

/// The shortest round length of at least `least` seconds.
fn slice(least: f64) -> f64 {
    let mut unit = 1.0;
    loop {
        for ms in SLICES_MS {
            let length = ms as f64 * unit / 1e3;
            if length >= least {
                return length;
            }
        }
        unit *= 1e3;
    }
}

fn index(at: f64, slice_s: f64) -> usize {
    // Offsets within a run are small and not negative.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded")]
    let index = (at / slice_s) as usize;
    index
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::analysis::testing::{ended, record, records};
    use crate::model::RequestRecord;

    #[test]
    fn slices_of_a_small_run() {
        let records = [
            record(0, &[500, 1500, 2500], &["a", "b", "c"]),
            record(1000, &[1200, 1400], &["a", "b"]),
        ];
        let over = over_time(ended(&records), 3).unwrap();
        let want =
            OverTime { slice_s: 1.0, tokens_per_s: vec![1.0, 3.0, 1.0], in_flight: vec![1, 2, 1] };
        assert_eq!(over, want);
    }

    #[test]
    fn lengths_of_slices_are_round() {
        for (least, length) in [
            (0.0001, 0.001),
            (0.0011, 0.002),
            (0.03, 0.05),
            (0.5, 0.5),
            (0.51, 1.0),
            (7.0, 10.0),
            (301.0, 500.0),
            (700.0, 1000.0),
        ] {
            assert!((slice(least) - length).abs() < 1e-12, "{least}");
        }
    }

    #[test]
    fn nothing_took_time() {
        assert_eq!(over_time(ended(&[]), 10), None);
    }

    proptest! {
        /// Forall runs: no more slices than asked for and one, every token is in one of them, and the most in flight
        /// is that of the run.
        #[test]
        fn slices_keep_what_is_in_the_run(
            spans in prop::collection::vec((0_u64..5000, prop::collection::vec(1_u64..900, 1..8)), 1..12),
            most in 1_usize..200,
        ) {
            let records = records(&spans);
            let over = over_time(ended(&records), most).unwrap();
            prop_assert!(over.in_flight.len() <= most + 1);
            prop_assert_eq!(over.in_flight.len(), over.tokens_per_s.len());
            let tokens: u64 = records.iter().map(RequestRecord::output_count).sum();
            let shown: f64 = over.tokens_per_s.iter().map(|rate| rate * over.slice_s).sum();
            prop_assert!((shown - tokens as f64).abs() < 1e-6);
            let spans: Vec<(u64, u64)> = spans
                .iter()
                .map(|(sent, gaps)| (*sent, sent + gaps.iter().sum::<u64>()))
                .collect();
            let peak = crate::analysis::stats::peak_overlap(&spans) as u64;
            prop_assert_eq!(over.in_flight.into_iter().max(), Some(peak));
        }
    }
}
