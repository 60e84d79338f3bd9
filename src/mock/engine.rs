//! The plan of one completion: when each event is due and how many tokens it holds.
//!
//! Pure and seeded. It knows no clock and no wire format, so the same request number gives the
//! same answer at any speed.

use std::time::Duration;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use super::distribution::Distribution;
use super::vocabulary::Vocabulary;

/// The latest an event may be due; it keeps sums of long draws within what a clock can hold.
const LATEST: Duration = Duration::from_secs(1_000_000_000);

/// The pace of the simulated engine, the same for all requests.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    pub(super) ttft: Distribution,
    pub(super) itl: Distribution,
    pub(super) tokens_per_event: u64,
    pub(super) seed: u64,
}

/// The number by which a completion of a request draws; that of the first is the request's own.
pub(super) fn draws_of(request: u64, completion: u16) -> u64 {
    request.wrapping_add(u64::from(completion) << 40)
}

/// One event of a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Due time, from the instant the request took its slot.
    pub(super) due: Duration,
    /// Tokens in this event.
    pub(super) tokens: u64,
    /// Tokens of the completion up to and with this event.
    pub(super) produced: u64,
    /// Whether the tokens are reasoning.
    pub(super) reasoning: bool,
    /// Whether the completion ends here.
    pub(super) last: bool,
}

/// The events of one completion, in order.
///
/// The first event is due after one draw of the time to first token. The gap before a later event
/// of `k` tokens is the sum of `k` draws of the inter-token latency. An event never holds both
/// reasoning and answer tokens.
#[derive(Debug)]
pub(super) struct Schedule {
    rng: ChaCha8Rng,
    pace: Pace,
    due: Duration,
    produced: u64,
    total: u64,
    reasoning: u64,
}

impl Schedule {
    /// Plans `total` tokens for the given request number, the first `reasoning` being reasoning.
    pub(super) fn new(pace: &Pace, request: u64, total: u64, reasoning: u64) -> Self {
        let rng = stream(pace.seed, request.wrapping_mul(2));
        Self { rng, pace: pace.clone(), due: Duration::ZERO, produced: 0, total, reasoning }
    }
}

impl Iterator for Schedule {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        if self.produced == self.total {
            return None;
        }
        let reasoning = self.produced < self.reasoning;
        let end = if reasoning { self.total.min(self.reasoning) } else { self.total };
        let tokens = self.pace.tokens_per_event.min(end - self.produced);
        if self.produced == 0 {
            self.due = self.pace.ttft.draw(&mut self.rng);
        } else {
            for _ in 0..tokens {
                self.due = self.due.saturating_add(self.pace.itl.draw(&mut self.rng)).min(LATEST);
            }
        }
        self.produced += tokens;
        let last = self.produced == self.total;
        Some(Step { due: self.due, tokens, produced: self.produced, reasoning, last })
    }
}

/// The text of one completion, drawn word by word.
///
/// It has its own random numbers, so that the text does not change with the pace.
#[derive(Debug)]
pub(super) struct Words(ChaCha8Rng);

impl Words {
    pub(super) fn new(seed: u64, request: u64) -> Self {
        Self(stream(seed, request.wrapping_mul(2).wrapping_add(1)))
    }

    /// Appends `n_tokens` words to `text`.
    pub(super) fn append(&mut self, vocabulary: &Vocabulary, n_tokens: u64, text: &mut String) {
        if vocabulary.words.is_empty() {
            return;
        }
        for _ in 0..n_tokens {
            text.push_str(&vocabulary.words[self.0.random_range(0..vocabulary.words.len())]);
        }
    }
}

/// The random numbers of one purpose; streams of one seed never overlap.
fn stream(seed: u64, number: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(number);
    rng
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(ttft: &str, itl: &str, tokens_per_event: u64) -> Pace {
        Pace { ttft: ttft.parse().unwrap(), itl: itl.parse().unwrap(), tokens_per_event, seed: 42 }
    }

    fn steps(pace: &Pace, request: u64, total: u64, reasoning: u64) -> Vec<Step> {
        Schedule::new(pace, request, total, reasoning).collect()
    }

    #[test]
    fn due_times_are_the_running_sum() {
        let dues: Vec<_> = steps(&pace("20ms", "10ms", 1), 0, 4, 0)
            .iter()
            .map(|step| (step.due.as_millis(), step.produced, step.last))
            .collect();
        assert_eq!(dues, [(20, 1, false), (30, 2, false), (40, 3, false), (50, 4, true)]);
    }

    #[test]
    fn an_event_waits_for_each_of_its_tokens() {
        let dues: Vec<_> = steps(&pace("20ms", "10ms", 3), 0, 7, 0)
            .iter()
            .map(|step| (step.due.as_millis(), step.tokens, step.produced))
            .collect();
        assert_eq!(dues, [(20, 3, 3), (50, 3, 6), (60, 1, 7)]);
    }

    #[test]
    fn reasoning_and_answer_are_never_in_one_event() {
        let kinds: Vec<_> = steps(&pace("0", "0", 4), 0, 8, 5)
            .iter()
            .map(|step| (step.tokens, step.reasoning))
            .collect();
        assert_eq!(kinds, [(4, true), (1, true), (3, false)]);
        assert!(steps(&pace("0", "0", 1), 0, 2, 5).iter().all(|step| step.reasoning));
    }

    #[test]
    fn one_seed_gives_the_same_draws_and_each_request_its_own() {
        let pace = pace("exponential:20ms", "lognormal:10ms,0.5", 1);
        let first = steps(&pace, 3, 50, 0);
        assert_eq!(first, steps(&pace, 3, 50, 0));
        assert_ne!(first, steps(&pace, 4, 50, 0));
        assert_ne!(first, steps(&Pace { seed: 43, ..pace }, 3, 50, 0));
    }

    #[test]
    fn words_repeat_with_the_seed() {
        let words = (b'a'..=b'z').map(|letter| format!(" {}", char::from(letter))).collect();
        let vocabulary = Vocabulary { words, exact: true, count: Box::new(str::len) };
        let text = |request| {
            let mut text = String::new();
            Words::new(42, request).append(&vocabulary, 20, &mut text);
            text
        };
        assert_eq!(text(0), text(0));
        assert_ne!(text(0), text(1));
        assert_eq!(text(0).len(), 40);
    }
}
