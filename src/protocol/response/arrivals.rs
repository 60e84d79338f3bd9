//! The events of a response while it is read: a row for each, since each column would be one more place in memory to
//! wait for. Few of them are near when the next event of one stream of many comes.

use crate::model::TokenEvents;
use crate::sys;

/// Rows, in order of arrival.
#[derive(Debug, Default)]
pub(super) struct Arrivals(Vec<Arrival>);

/// An event with output, in 24 bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    /// In ns since the start of the run.
    pub(super) at_ns: u64,
    /// Tokens that it stands for in inter-token latencies.
    pub(super) tokens: u32,
    /// Where its piece ends in the text of its completion, in bytes; [`NONE`] where the protocol repeats the text.
    text_end: u32,
    /// Tokens that it brought by a running count beside it; [`NONE`] without such a count.
    counted: u32,
    /// The completion that it belongs to.
    pub(super) completion: u16,
}

/// Longer than any text that is kept, and more than any count that is believed.
const NONE: u32 = u32::MAX;

impl Arrival {
    /// An event of `completion` whose text is not told in pieces, beside no count.
    pub(super) fn new(completion: u16, at_ns: u64, tokens: u32) -> Self {
        Self { at_ns, tokens, text_end: NONE, counted: NONE, completion }
    }

    /// The same with the place where its piece of text ends, if it is told in pieces.
    pub(super) fn ending(self, text_end: Option<usize>) -> Self {
        let text_end = text_end.and_then(|end| u32::try_from(end).ok());
        Self { text_end: text_end.unwrap_or(NONE), ..self }
    }

    /// The same with the tokens that it brought by a count, if there is one.
    pub(super) fn counting(self, tokens: Option<u32>) -> Self {
        Self { counted: tokens.unwrap_or(NONE), ..self }
    }
}

impl Arrivals {
    /// Number of events.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Tokens that they stand for.
    pub(super) fn tokens(&self) -> u64 {
        self.0.iter().map(|event| u64::from(event.tokens)).sum()
    }

    /// Returns whether no event carried output.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Prefetches the place of the next event.
    pub(super) fn prefetch(&self) {
        sys::prefetch_end(&self.0);
    }

    /// Reserves room for `n` more.
    pub(super) fn reserve(&mut self, n: usize) {
        self.0.reserve(n);
    }

    /// Adds an event.
    pub(super) fn push(&mut self, arrival: Arrival) {
        self.0.push(arrival);
    }

    /// Bytes of memory that they have.
    pub(super) fn heap(&self) -> usize {
        self.0.capacity() * size_of::<Arrival>()
    }

    /// Forgets all but the first `n`.
    pub(super) fn shorten(&mut self, n: usize) {
        self.0.truncate(n);
        self.0.shrink_to_fit();
    }

    /// Where the text of `completion` ends, as far as it was told in pieces.
    pub(super) fn text_end(&self, completion: u16) -> usize {
        let of = |event: &&Arrival| event.completion == completion && event.text_end != NONE;
        self.0.iter().rfind(of).map_or(0, |event| event.text_end as usize)
    }

    /// All of them as columns, without memory for more.
    pub(super) fn into_columns(self) -> TokenEvents {
        let room = |is_wanted: bool| if is_wanted { self.0.len() } else { 0 };
        let first = self.0.first();
        let mut events = TokenEvents {
            at_ns: Vec::with_capacity(room(true)),
            tokens: Vec::with_capacity(room(true)),
            text_ends: Vec::with_capacity(room(first.is_some_and(|event| event.text_end != NONE))),
            counted: Vec::with_capacity(room(first.is_some_and(|event| event.counted != NONE))),
            completion: Vec::new(),
        };
        for event in self.0 {
            if event.counted != NONE {
                events.count(event.counted);
            }
            events.push(event.completion, event.at_ns, event.tokens);
            if event.text_end != NONE {
                events.text_ends.push(event.text_end as usize);
            }
        }
        events.settle();
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_what_rows_had() {
        let mut arrivals = Arrivals::default();
        arrivals.push(Arrival::new(0, 10, 1).ending(Some(3)).counting(Some(2)));
        arrivals.push(Arrival::new(1, 20, 4).ending(Some(0)).counting(Some(0)));
        let events = arrivals.into_columns();
        let want = TokenEvents {
            at_ns: vec![10, 20],
            tokens: vec![1, 4],
            text_ends: vec![3, 0],
            completion: vec![0, 1],
            counted: vec![2, 0],
        };
        assert_eq!(events, want);
        assert_eq!(size_of::<Arrival>(), 24);
    }

    #[test]
    fn counts_that_are_not_of_each_event_are_left_out() {
        let mut arrivals = Arrivals::default();
        arrivals.push(Arrival::new(0, 10, 1).counting(Some(2)));
        arrivals.push(Arrival::new(0, 20, 1));
        let events = arrivals.into_columns();
        assert_eq!(
            (events.len(), events.counted.capacity(), events.text_ends.capacity()),
            (2, 0, 0)
        );
    }
}
