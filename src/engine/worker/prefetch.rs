//! Prefetches the memory that the next reads need while the ones before them are read.
//!
//! Of hundreds of streams nothing is near when the next event of one comes, and a read goes from one place to the next:
//! from the connection to the request on it, to what has come of its response, to the ends of the text and of the events.
//! Each would be waited for by itself. A read takes much longer than memory does, so that a read or two ahead is enough.

use mio::Events;
use mio::event::Iter;
use slab::Slab;

use super::link::Link;
use crate::engine::in_flight::InFlight;
use crate::sys;

/// The reads that one look at the queue asked for, by how much of what each needs is prefetched.
#[derive(Debug)]
pub(super) struct Prefetch<'a> {
    /// Those whose connection was not; two ahead of the one that is next.
    links: Iter<'a>,
    /// Those whose request was not; one ahead.
    requests: Iter<'a>,
    /// Those of which nothing further was: the next one, whose read begins with a call of the kernel.
    streams: Iter<'a>,
}

impl<'a> Prefetch<'a> {
    /// Begins with the first of `events`, which are about `links`.
    pub(super) fn begin(events: &'a Events, links: &Slab<Link>) -> Self {
        let mut ahead =
            Self { links: events.iter(), requests: events.iter(), streams: events.iter() };
        for _ in 0..2 {
            ahead.prefetch_link(links);
        }
        ahead.prefetch_request(links);
        ahead
    }

    /// Goes one read further; to be called before each.
    pub(super) fn step(&mut self, links: &Slab<Link>) {
        self.prefetch_link(links);
        self.prefetch_request(links);
        if let Some(in_flight) = in_flight(&mut self.streams, links) {
            in_flight.prefetch_further();
        }
    }

    fn prefetch_link(&mut self, links: &Slab<Link>) {
        if let Some(link) = link(&mut self.links, links) {
            sys::prefetch(link);
        }
    }

    fn prefetch_request(&mut self, links: &Slab<Link>) {
        if let Some(in_flight) = in_flight(&mut self.requests, links) {
            in_flight.prefetch();
        }
    }
}

/// The connection that the next event is about, if it is still there.
fn link<'l>(events: &mut Iter<'_>, links: &'l Slab<Link>) -> Option<&'l Link> {
    links.get(events.next()?.token().0)
}

/// The request on it, if there is one.
fn in_flight<'l>(events: &mut Iter<'_>, links: &'l Slab<Link>) -> Option<&'l InFlight> {
    link(events, links)?.in_flight.as_deref()
}
