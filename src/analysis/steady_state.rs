//! The steady state: the longest stretch of a run in which enough requests were in flight.
//!
//! - Over completed requests that took time, the number in flight is a step function; what starts and ends at one
//!   instant is netted.
//! - The threshold is the ratio times the peak of that function, rounded up, at least 1.
//! - The window is the longest stretch without a gap at or above the threshold, the first of several as long.
//!
//! Within the window, from `a` to `b`:
//!
//! - completed: requests that ended from `a` to `b`;
//! - input tokens: those of requests sent from `a` to before `b`;
//! - output tokens: for each request its tokens times the share of its token times from `a` to `b`;
//! - average concurrency: the time that requests spent in the window, over its duration;
//! - peak output throughput: most tokens in one of the seconds counted from `a`, where a token on the border of two
//!   belongs to the first.
//!
//! A token's time is its event's; the events that share a gap spread it evenly.

use std::time::Duration;

use super::counts::Ended;
use super::token_times::{nanos, token_times};

/// What the steady state of a run was.
#[derive(Debug, Clone, PartialEq)]
pub struct SteadyState {
    /// The share of the peak that was asked for.
    pub ratio: f64,
    /// Begin of the window, in s from the start of the run.
    pub start_s: f64,
    /// Its end.
    pub end_s: f64,
    /// Requests in flight that the window has at least.
    pub threshold: u64,
    /// Requests that ended within it.
    pub completed: u64,
    /// Prompt tokens of requests that were sent within it.
    pub input_tokens: u64,
    /// Output tokens within it.
    pub output_tokens: f64,
    /// The same by the local tokenizer's count.
    pub output_tokens_retokenized: f64,
    /// Mean number of requests in flight within it.
    pub average_concurrency: f64,
    /// Most requests in flight in the whole run.
    pub peak_concurrency: u64,
    /// Most output tokens in one second of it.
    pub peak_output_throughput: f64,
}

impl SteadyState {
    /// The length of the window in s.
    pub fn duration_s(&self) -> f64 {
        self.end_s - self.start_s
    }
}

/// The steady state of `requests` at `ratio`, above 0 and at most 1, of the peak.
///
/// `None` if no request completed and took time.
pub fn steady_state<'a>(
    requests: impl Iterator<Item = Ended<'a>>,
    ratio: f64,
) -> Option<SteadyState> {
    let span = |request: Ended<'a>| {
        let record = request.completed()?;
        let (sent, done) = (nanos(record.sent?), nanos(record.done?));
        (sent < done).then_some(Span { request, sent, done })
    };
    let spans: Vec<Span<'_>> = requests.filter_map(span).collect();
    let steps = steps(spans.iter().map(|span| (span.sent, span.done)));
    let peak = steps.iter().map(|step| step.in_flight).max()?;
    // At most the peak, so the cast neither wraps nor cuts.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded")]
    let threshold = ((peak as f64 * ratio).ceil() as u64).max(1);
    let (start, end) = window(&steps, threshold)?;
    let inside = |at: u64| (start..=end).contains(&at);
    let (start_s, end_s) = (seconds(start), seconds(end));
    let mut result = SteadyState {
        ratio,
        start_s,
        end_s,
        threshold,
        completed: 0,
        input_tokens: 0,
        output_tokens: 0.0,
        output_tokens_retokenized: 0.0,
        average_concurrency: 0.0,
        peak_concurrency: peak,
        peak_output_throughput: 0.0,
    };
    let mut per_second = vec![0.0; second_of(end_s - start_s) + 1];
    let mut busy = 0;
    for span in &spans {
        result.completed += u64::from(inside(span.done));
        if (start..end).contains(&span.sent) {
            result.input_tokens += span.request.counts.prompt as u64;
        }
        busy += span.done.min(end).saturating_sub(span.sent.max(start));
        let times: Vec<f64> = token_times(span.request.record).collect();
        if times.is_empty() {
            continue;
        }
        let output = span.request.output() as f64;
        let weight = output / times.len() as f64;
        let mut within = 0_u64;
        for at in times.iter().filter(|at| (start_s..=end_s).contains(*at)) {
            within += 1;
            if let Some(tokens) = per_second.get_mut(second_of(at - start_s)) {
                *tokens += weight;
            }
        }
        let share = within as f64 / times.len() as f64;
        result.output_tokens += output * share;
        result.output_tokens_retokenized += span.request.counts.retokenized as f64 * share;
    }
    result.average_concurrency = seconds(busy) / result.duration_s();
    result.peak_output_throughput = per_second.into_iter().fold(0.0, f64::max);
    Some(result)
}

/// A completed request that took time.
struct Span<'a> {
    request: Ended<'a>,
    sent: u64,
    done: u64,
}

/// A stretch between two instants at which the number in flight may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    start: u64,
    end: u64,
    in_flight: u64,
}

/// The number in flight over time, in order, as stretches that follow each other without a gap.
fn steps(spans: impl Iterator<Item = (u64, u64)>) -> Vec<Step> {
    let mut edges: Vec<(u64, i64)> =
        spans.flat_map(|(start, end)| [(start, 1), (end, -1)]).collect();
    edges.sort_unstable_by_key(|&(at, _)| at);
    let mut now = 0_i64;
    let mut steps = Vec::new();
    for (i, &(at, change)) in edges.iter().enumerate() {
        now += change;
        if let Some(&(next, _)) = edges.get(i + 1)
            && at < next
        {
            steps.push(Step { start: at, end: next, in_flight: now.unsigned_abs() });
        }
    }
    steps
}

/// The longest stretch with at least `threshold` in flight, the first of several as long.
fn window(steps: &[Step], threshold: u64) -> Option<(u64, u64)> {
    let mut best: Option<(u64, u64)> = None;
    let mut current: Option<(u64, u64)> = None;
    for step in steps {
        if step.in_flight < threshold {
            current = None;
            continue;
        }
        let grown = (current.map_or(step.start, |(start, _)| start), step.end);
        current = Some(grown);
        if best.is_none_or(|(start, end)| grown.1 - grown.0 > end - start) {
            best = Some(grown);
        }
    }
    best
}

/// The second to which an offset belongs; a border belongs to the second before it.
fn second_of(at: f64) -> usize {
    // Offsets within a run are small and not negative.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded")]
    let whole = at.max(0.0).ceil() as usize;
    whole.saturating_sub(1)
}

fn seconds(ns: u64) -> f64 {
    Duration::from_nanos(ns).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::analysis::counts::Counts;
    use crate::analysis::testing::{record, records};
    use crate::model::RequestRecord;

    fn counted<'a>(
        records: &'a [RequestRecord],
        retokenized: &'a [u64],
    ) -> impl Iterator<Item = Ended<'a>> {
        records.iter().zip(retokenized).map(|(record, &retokenized)| Ended {
            counts: Counts { retokenized, ..Counts::of(record) },
            ..Ended::of(record)
        })
    }

    /// Tries every pair of instants.
    fn naive(spans: &[(u64, u64)], threshold: u64) -> Option<(u64, u64)> {
        let mut instants: Vec<u64> = spans.iter().flat_map(|&(a, b)| [a, b]).collect();
        instants.sort_unstable();
        instants.dedup();
        let in_flight = |at: u64| spans.iter().filter(|&&(a, b)| a <= at && at < b).count() as u64;
        let mut best: Option<(u64, u64)> = None;
        for &start in &instants {
            for &end in instants.iter().filter(|&&end| end > start) {
                let enough = (start..end).all(|at| in_flight(at) >= threshold);
                if enough && best.is_none_or(|(a, b)| end - start > b - a) {
                    best = Some((start, end));
                }
            }
        }
        best
    }

    proptest! {
        /// Forall spans and thresholds: the window is the one that trying every pair of instants finds.
        #[test]
        fn the_window_is_the_longest(
            spans in prop::collection::vec((0_u64..40, 1_u64..15), 1..12),
            threshold in 1_u64..6,
        ) {
            let spans: Vec<(u64, u64)> = spans.into_iter().map(|(a, len)| (a, a + len)).collect();
            let steps = steps(spans.iter().copied());
            prop_assert_eq!(window(&steps, threshold), naive(&spans, threshold));
        }

        /// Forall requests that are alone: every token is in the window, to the last one, whose instant is its end.
        #[test]
        fn a_request_alone_is_steady(
            sent in 0_u64..5000,
            gaps in prop::collection::vec(1_u64..900, 1..20),
        ) {
            let times: Vec<u64> =
                gaps.iter().scan(sent, |at, gap| { *at += gap; Some(*at) }).collect();
            let record = record(sent, &times, &vec!["a"; times.len()]);
            let steady = steady_state(counted(&[record], &[7]), 0.9).unwrap();
            prop_assert!((steady.output_tokens - times.len() as f64).abs() < 1e-9);
            prop_assert!((steady.output_tokens_retokenized - 7.0).abs() < 1e-9);
        }

        /// Forall runs and ratios: the figures stay within those of the whole run, and a window is found.
        #[test]
        fn figures_stay_within_the_run(
            spans in prop::collection::vec((0_u64..5000, prop::collection::vec(1_u64..900, 1..8)), 1..12),
            ratio in 0.01_f64..=1.0,
        ) {
            let records = records(&spans);
            let retokenized: Vec<u64> = records.iter().map(RequestRecord::output_count).collect();
            let steady = steady_state(counted(&records, &retokenized), ratio).unwrap();
            let total: u64 = retokenized.iter().sum();
            prop_assert!(steady.duration_s() > 0.0);
            prop_assert!(steady.output_tokens <= total as f64 + 1e-9);
            prop_assert!((steady.output_tokens - steady.output_tokens_retokenized).abs() < 1e-9);
            prop_assert!(steady.peak_output_throughput <= steady.output_tokens + 1e-9);
            prop_assert!(steady.completed <= records.len() as u64);
            prop_assert!(steady.average_concurrency >= steady.threshold as f64 - 1e-6);
            prop_assert!(steady.average_concurrency <= steady.peak_concurrency as f64 + 1e-6);
        }
    }

    #[test]
    fn ends_and_starts_at_one_instant_are_netted() {
        // One after the other without a gap: one in flight throughout.
        let steps = steps([(0, 5), (5, 9)].into_iter());
        assert_eq!(window(&steps, 1), Some((0, 9)));
        assert_eq!(window(&steps, 2), None);
    }

    #[test]
    fn the_first_of_equally_long_windows() {
        let steps = steps([(0, 3), (10, 13)].into_iter());
        assert_eq!(window(&steps, 1), Some((0, 3)));
    }

    #[test]
    fn figures_of_a_window() {
        // Two in flight from 500 to 3000 ms, so that is the window at a ratio of 1.
        let records = [
            record(0, &[500, 1500, 2500, 4000], &["a", "b", "c", "d"]),
            record(500, &[1000, 3000], &["a", "b"]),
        ];
        let steady = steady_state(counted(&records, &[8, 2]), 1.0).unwrap();
        let want = SteadyState {
            ratio: 1.0,
            start_s: 0.5,
            end_s: 3.0,
            threshold: 2,
            completed: 1,
            input_tokens: 5,
            // Three of four, and both of two.
            output_tokens: 5.0,
            output_tokens_retokenized: 8.0,
            average_concurrency: 2.0,
            peak_concurrency: 2,
            // 0.5, 1.0 and 1.5 s fall into the first second.
            peak_output_throughput: 3.0,
        };
        assert_eq!(steady, want);
        let half = steady_state(counted(&records, &[8, 2]), 0.5).unwrap();
        assert_eq!((half.threshold, half.start_s, half.end_s, half.completed), (1, 0.0, 4.0, 2));
    }

    #[test]
    fn nothing_completed() {
        assert_eq!(steady_state(counted(&[], &[]), 0.8), None);
        let instant = record(5, &[5], &["a"]);
        assert_eq!(steady_state(counted(&[instant], &[1]), 0.8), None);
    }
}
