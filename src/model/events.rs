//! Arrivals of output, and what belongs to one completion of several.
//!
//! A request has one completion, unless it asks for more; the first needs no memory beyond its columns.

use std::time::Duration;

/// The events of one response that carried output, as columns of equal length.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenEvents {
    /// Arrival of each event in ns since the start of the run.
    pub at_ns: Vec<u64>,
    /// Tokens that each event stands for in inter-token latencies.
    pub tokens: Vec<u32>,
    /// End of each event's piece in the text of its completion, in bytes.
    /// Empty where the protocol repeats the whole text in each event.
    pub text_ends: Vec<usize>,
    /// The completion that each event belongs to. Empty where all belong to the first.
    pub completion: Vec<u16>,
    /// Tokens that each event brought by a running count of the server beside it, where `tokens` says nothing of that.
    /// Empty unless the server told such a count with each event.
    pub counted: Vec<u32>,
}

/// An event of a completion that had one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Position of the event.
    pub event: usize,
    /// Arrival of the event before it of the same completion, in ns since the start of the run.
    pub from_ns: u64,
    /// Its own arrival.
    pub to_ns: u64,
    /// Tokens that it stands for.
    pub tokens: u32,
}

impl Gap {
    /// Its length.
    pub fn length(&self) -> Duration {
        Duration::from_nanos(self.to_ns.saturating_sub(self.from_ns))
    }
}

/// One value for each completion of a request; the first, which is nearly always the only one, lies inline.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PerCompletion<T> {
    /// That of the first completion.
    pub first: T,
    /// Those of the others, in order. Empty, and so without memory of its own, for one completion.
    pub others: Vec<T>,
}

impl<T> PerCompletion<T> {
    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> + '_ {
        std::iter::once(&self.first).chain(&self.others)
    }
}

impl<T: Default> PerCompletion<T> {
    /// That of `completion`; it and those before it begin to exist with this.
    pub fn entry(&mut self, completion: u16) -> &mut T {
        let Some(other) = usize::from(completion).checked_sub(1) else { return &mut self.first };
        if self.others.len() <= other {
            self.others.resize_with(other + 1, T::default);
        }
        &mut self.others[other]
    }
}

impl TokenEvents {
    /// Number of events.
    pub fn len(&self) -> usize {
        self.at_ns.len()
    }

    /// Whether no event carried output.
    pub fn is_empty(&self) -> bool {
        self.at_ns.is_empty()
    }

    /// Adds an event of `completion`.
    pub fn push(&mut self, completion: u16, at_ns: u64, tokens: u32) {
        if completion != 0 || !self.completion.is_empty() {
            // The column begins with the first event that is not of the first completion.
            self.completion.resize(self.at_ns.len(), 0);
            self.completion.push(completion);
        }
        self.at_ns.push(at_ns);
        self.tokens.push(tokens);
    }

    /// Notes, before [`Self::push`] adds it, how many tokens the server counted for an event.
    /// Once this was left out for an event the column stays short, and [`Self::settle`] removes it.
    pub fn count(&mut self, tokens: u32) {
        if self.counted.len() == self.at_ns.len() {
            self.counted.push(tokens);
        }
    }

    /// Ends the columns, as no more events follow: what was not told of each event is removed,
    /// and no memory is kept for more.
    pub fn settle(&mut self) {
        if self.counted.len() != self.at_ns.len() {
            self.counted = Vec::new();
        }
        let Self { at_ns, tokens, text_ends, completion, counted } = self;
        at_ns.shrink_to_fit();
        tokens.shrink_to_fit();
        text_ends.shrink_to_fit();
        completion.shrink_to_fit();
        counted.shrink_to_fit();
    }

    /// Bytes of memory of the columns.
    pub fn heap(&self) -> usize {
        fn of<T>(column: &Vec<T>) -> usize {
            column.capacity() * size_of::<T>()
        }
        let Self { at_ns, tokens, text_ends, completion, counted } = self;
        of(at_ns) + of(tokens) + of(text_ends) + of(completion) + of(counted)
    }

    /// The completion that an event belongs to.
    pub fn completion_of(&self, event: usize) -> u16 {
        self.completion.get(event).copied().unwrap_or(0)
    }

    /// Each event that is not the first of its completion, in order of arrival.
    pub fn gaps(&self) -> impl Iterator<Item = Gap> + '_ {
        let mut last: PerCompletion<Option<u64>> = PerCompletion::default();
        self.at_ns.iter().zip(&self.tokens).enumerate().filter_map(
            move |(event, (&to_ns, &tokens))| {
                let last = last.entry(self.completion_of(event));
                Some(Gap { event, from_ns: last.replace(to_ns)?, to_ns, tokens })
            },
        )
    }

    /// Each event that is the first of its completion, as its arrival in ns since the start of the run.
    pub fn firsts(&self) -> impl Iterator<Item = u64> + '_ {
        let mut seen: PerCompletion<bool> = PerCompletion::default();
        self.at_ns.iter().enumerate().filter_map(move |(event, &at_ns)| {
            let seen = seen.entry(self.completion_of(event));
            (!std::mem::replace(seen, true)).then_some(at_ns)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_column_begins_with_the_second_completion() {
        let mut events = TokenEvents::default();
        events.push(0, 10, 1);
        events.push(0, 20, 2);
        assert_eq!(events.completion.capacity(), 0);
        events.push(2, 25, 3);
        events.push(0, 40, 1);
        events.push(2, 50, 4);
        assert_eq!(events.completion, [0, 0, 2, 0, 2]);
        let gaps: Vec<_> =
            events.gaps().map(|gap| (gap.event, gap.length().as_nanos(), gap.tokens)).collect();
        assert_eq!(gaps, [(1, 10, 2), (3, 20, 1), (4, 25, 4)]);
        assert_eq!(events.firsts().collect::<Vec<_>>(), [10, 25]);
    }

    #[test]
    fn counts_that_are_not_of_each_event_are_dropped() {
        let events = |counts: &[Option<u32>]| {
            let mut events = TokenEvents::default();
            for (&count, at) in counts.iter().zip(0..) {
                if let Some(count) = count {
                    events.count(count);
                }
                events.push(0, at, 1);
            }
            events.settle();
            events.counted
        };
        assert_eq!(events(&[Some(1), Some(3), Some(0)]), [1, 3, 0]);
        assert_eq!(events(&[None, None]).capacity(), 0);
        assert_eq!(events(&[Some(1), None, Some(2)]).capacity(), 0);
        assert_eq!(events(&[None, Some(1), Some(2)]).capacity(), 0);
        assert_eq!(events(&[Some(1), Some(2), None]).capacity(), 0);
    }

    #[test]
    fn entries_begin_with_those_before_them() {
        let mut counts = PerCompletion::<u32>::default();
        *counts.entry(0) += 1;
        assert_eq!(counts.others.capacity(), 0);
        *counts.entry(2) += 5;
        *counts.entry(1) += 3;
        assert_eq!(counts.iter().copied().collect::<Vec<_>>(), [1, 3, 5]);
    }
}
