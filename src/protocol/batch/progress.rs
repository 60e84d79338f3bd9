//! How far each prompt of a batch is, and what that says of the batch at the two instants that matter:
//! when the last prompt has its first output, and when the first answer ends.

use std::time::Duration;

/// An arrival and the tokens of the prompt's answer until then.
type Seen = (Duration, u64);

/// The stretch in which every prompt of a batch was being answered, and none had its whole answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    /// How long it was; above 0.
    pub duration: Duration,
    /// Tokens that were generated in it, over all prompts; above 0.
    pub tokens: f64,
}

impl Window {
    /// Tokens per second in it.
    pub fn throughput(&self) -> f64 {
        self.tokens / self.duration.as_secs_f64()
    }
}

/// How far each prompt is.
#[derive(Debug)]
pub struct Progress {
    last: Vec<Option<Seen>>,
    ended: Vec<bool>,
    waiting: usize,
    all_started: Option<Moment>,
    first_ended: Option<Moment>,
    /// Instants after `all_started` at which tokens came, and the last of them.
    later: (u64, Duration),
}

/// What was known of each prompt at an instant, and the first that was learnt after it.
///
/// Servers send what they made in one step one prompt after the other, so that at any instant the counts of some
/// prompts are a step behind. Counts are taken between the two arrivals around the instant, in proportion.
#[derive(Debug)]
struct Moment {
    at: Duration,
    before: Vec<Option<Seen>>,
    after: Vec<Option<Seen>>,
}

impl Moment {
    fn new(at: Duration, before: &[Option<Seen>]) -> Self {
        Self { at, before: before.to_vec(), after: vec![None; before.len()] }
    }

    /// Tokens of all prompts at the instant.
    fn tokens(&self) -> f64 {
        let each =
            self.before.iter().copied().zip(self.after.iter().copied()).map(|pair| match pair {
                (None, _) => 0.0,
                (Some((_, n)), None) => n as f64,
                (Some((from, n)), Some((to, m))) => {
                    let (gone, gap) = (self.at.saturating_sub(from), to.saturating_sub(from));
                    let share =
                        if gap.is_zero() { 1.0 } else { gone.as_secs_f64() / gap.as_secs_f64() };
                    n as f64 + m.saturating_sub(n) as f64 * share.min(1.0)
                }
            });
        each.sum()
    }
}

impl Progress {
    /// No prompt of `n` has output yet.
    pub fn new(n: usize) -> Self {
        Self {
            last: vec![None; n],
            ended: vec![false; n],
            waiting: n,
            all_started: None,
            first_ended: None,
            later: (0, Duration::ZERO),
        }
    }

    /// At `at` the answer to prompt `i`, which exists, has `tokens` tokens, and has ended if `ends`.
    /// A count that falls back changes nothing.
    pub fn record(&mut self, i: usize, at: Duration, tokens: u64, ends: bool) {
        let tokens = tokens.max(self.tokens_of(i));
        for instant in [&mut self.all_started, &mut self.first_ended].into_iter().flatten() {
            instant.after[i].get_or_insert((at, tokens));
        }
        let (instants, latest) = &mut self.later;
        if let Some(start) = &self.all_started
            && at > start.at.max(*latest)
            && tokens > self.last[i].map_or(0, |(_, n)| n)
        {
            (*instants, *latest) = (*instants + 1, at);
        }
        let started = self.last[i].is_some_and(|(_, n)| n > 0);
        self.last[i] = Some((at, tokens));
        if !started && tokens > 0 {
            self.waiting -= 1;
            if self.waiting == 0 {
                self.all_started = Some(Moment::new(at, &self.last));
            }
        }
        if ends && !std::mem::replace(&mut self.ended[i], true) && self.first_ended.is_none() {
            self.first_ended = Some(Moment::new(at, &self.last));
        }
    }

    /// Tokens of the answer to prompt `i` so far.
    pub fn tokens_of(&self, i: usize) -> u64 {
        self.last[i].map_or(0, |(_, tokens)| tokens)
    }

    /// Tokens of all answers so far.
    pub fn tokens(&self) -> u64 {
        (0..self.last.len()).map(|i| self.tokens_of(i)).sum()
    }

    /// When the last prompt had its first output, and the tokens of all answers then.
    pub fn all_started(&self) -> Option<(Duration, f64)> {
        self.all_started.as_ref().map(|instant| (instant.at, instant.tokens()))
    }

    /// Instants at which tokens came after the last prompt had its first output.
    pub fn later_arrivals(&self) -> u64 {
        self.later.0
    }

    /// Prompts without any output.
    pub fn silent(&self) -> Vec<usize> {
        (0..self.last.len()).filter(|&i| self.tokens_of(i) == 0).collect()
    }

    /// Prompts whose answers have not ended.
    pub fn unended(&self) -> Vec<usize> {
        (0..self.ended.len()).filter(|&i| !self.ended[i]).collect()
    }

    /// The stretch in which every prompt was being answered; `None` if there was none.
    pub fn window(&self) -> Option<Window> {
        let (start, end) = (self.all_started.as_ref()?, self.first_ended.as_ref()?);
        let duration = end.at.checked_sub(start.at).filter(|duration| !duration.is_zero())?;
        let tokens = end.tokens() - start.tokens();
        (tokens > 0.0).then_some(Window { duration, tokens })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_batch_in_lockstep() {
        let mut progress = Progress::new(2);
        // Steps of 100 ms; the second prompt arrives 10 ms after the first.
        for step in 1..=4 {
            progress.record(0, ms(step * 100), step, step == 4);
            progress.record(1, ms(step * 100 + 10), step, step == 4);
        }
        let (at, tokens) = progress.all_started().unwrap();
        assert_eq!(at, ms(110));
        assert!((tokens - 2.1).abs() < 1e-9, "{tokens}");
        let window = progress.window().unwrap();
        assert_eq!(window.duration, ms(290));
        // 4 and 3.9 tokens at 400 ms.
        assert!((window.tokens - 5.8).abs() < 1e-9, "{window:?}");
        assert!((window.throughput() - 20.0).abs() < 1e-9);
        // Three steps of two events each; the first prompt's second event is the first of them.
        assert_eq!(progress.later_arrivals(), 6);
        assert_eq!((progress.tokens(), progress.silent(), progress.unended()), (8, vec![], vec![]));
    }

    #[test]
    fn a_prompt_that_starts_after_another_has_ended() {
        let mut progress = Progress::new(2);
        progress.record(0, ms(10), 1, false);
        progress.record(0, ms(20), 2, true);
        assert_eq!(progress.silent(), [1]);
        progress.record(1, ms(30), 0, false);
        assert_eq!((progress.all_started(), progress.silent()), (None, vec![1]));
        progress.record(1, ms(40), 1, true);
        assert_eq!(progress.all_started(), Some((ms(40), 3.0)));
        assert_eq!(progress.window(), None);
    }

    #[test]
    fn one_event_for_each_answer() {
        let mut progress = Progress::new(2);
        progress.record(0, ms(10), 8, true);
        progress.record(1, ms(10), 8, true);
        assert_eq!(progress.all_started(), Some((ms(10), 16.0)));
        assert_eq!((progress.window(), progress.later_arrivals()), (None, 0));
    }
}
