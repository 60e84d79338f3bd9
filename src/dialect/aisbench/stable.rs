//! The stable stage: the stretch of a run in which the concurrency is at its cap.

use std::time::Duration;

use super::flags::Rule;
use super::times::end;
use crate::model::RequestRecord;

/// How far below the cap the concurrency may fall, as a share, by [`Rule::Near`].
const NEAR: f64 = 0.02;

/// A dip of the concurrency that is as short is none, by the same rule.
const DIP: Duration = Duration::from_millis(1);

/// A stretch of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Its beginning, from the start of the run.
    pub from: Duration,
    /// Its end.
    pub to: Duration,
}

impl Window {
    /// Whether it holds an instant; both ends are inside.
    pub fn holds(self, at: Duration) -> bool {
        (self.from..=self.to).contains(&at)
    }

    /// Its length in s.
    pub fn seconds(self) -> f64 {
        self.to.saturating_sub(self.from).as_secs_f64()
    }
}

/// The stable window of a run whose concurrency has the cap `cap`; `None` if there is none.
pub fn window(records: &[RequestRecord], cap: usize, rule: Rule) -> Option<Window> {
    let spans = records.iter().filter_map(|record| Some((record.sent?, end(record)?)));
    let mut edges: Vec<(Duration, i64)> =
        spans.flat_map(|(sent, end)| [(sent, 1), (end, -1)]).collect();
    // What ends at an instant makes room for what starts there.
    edges.sort_unstable();
    let last_sent = edges.iter().filter(|(_, step)| *step > 0).map(|(at, _)| *at).max()?;
    let cap = i64::try_from(cap).ok()?;
    let (mut now, mut reached) = (0, 0);
    let mut from = None;
    let mut last = None;
    let mut below: Option<Duration> = None;
    #[expect(clippy::cast_possible_truncation, reason = "caps are small")]
    let least = (cap as f64 * (1.0 - NEAR)).ceil() as i64;
    for (at, step) in edges {
        now += step;
        if step > 0 && now == cap {
            reached += 1;
            if reached == 2 {
                from = Some(at);
            }
        }
        match rule {
            Rule::Cap => {
                if now == cap {
                    last = Some(at);
                }
            }
            Rule::Near if from.is_some() => {
                if below.is_some_and(|since| at.saturating_sub(since) > DIP) {
                    break;
                }
                if now >= least {
                    below = None;
                    last = Some(at);
                } else if below.is_none() {
                    below = Some(at);
                    last = Some(at);
                }
                if at >= last_sent {
                    last = Some(at);
                    break;
                }
            }
            Rule::Near => {}
        }
    }
    let (from, to) = (from?, last?);
    (to > from).then_some(Window { from, to })
}
