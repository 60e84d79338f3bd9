//! Looking ahead: what the next reads need of memory is asked for at once.
//!
//! Of hundreds of streams nothing is near when the next event of one comes, and a read goes from one place to the next,
//! with a call of the kernel before the first: it would wait for each of them. Here all reads that a look at the queue
//! asked for, or the next few of them, ask for the same kind of place together, and wait once.

use std::hint::black_box;

use mio::event::Event;

use super::{Lane, Link};

/// Reads that ask together. More would push each other out again before their turn.
pub(super) const AHEAD: usize = 16;

impl Lane {
    /// Has the memory of the connections near that the next `events` are about, at most [`AHEAD`] of them.
    pub(super) fn look_ahead<'a>(&self, events: impl Iterator<Item = &'a Event>) {
        let mut links: [Option<&Link>; AHEAD] = [None; AHEAD];
        for (link, event) in links.iter_mut().zip(events) {
            *link = self.links.get(event.token().0);
        }
        let exchanges = || links.iter().flatten().filter_map(|link| link.exchange.as_deref());
        // What is found there is of no use: it was looked at, and no compiler can leave that out.
        for link in links.iter().flatten() {
            black_box(link.connection.glance() ^ usize::from(link.exchange.is_some()));
        }
        for exchange in exchanges() {
            black_box(exchange.glance());
        }
        for exchange in exchanges() {
            black_box(exchange.glance_further());
        }
    }
}
