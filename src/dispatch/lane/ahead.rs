//! Looking ahead: the memory that the next reads need is fetched while the ones before them are read.
//!
//! Of hundreds of streams nothing is near when the next event of one comes, and a read goes from one place to the next:
//! from the connection to the request on it, to what has come of its response, to the ends of the text and of the events.
//! Each would be waited for by itself. A read takes much longer than memory does, so being one read ahead is enough.

use mio::Events;
use mio::event::Iter;
use slab::Slab;

use super::Link;
use crate::raw;

/// The reads that one look at the queue asked for, by how much of what each needs was fetched.
#[derive(Debug)]
pub(super) struct Ahead<'a> {
    /// Those whose connection was not; three reads ahead.
    links: Iter<'a>,
    /// Those whose request was not; two reads ahead.
    exchanges: Iter<'a>,
    /// Those of which nothing further was; one read ahead.
    streams: Iter<'a>,
}

impl<'a> Ahead<'a> {
    /// Begins with the first of `events`, which are about `links`.
    pub(super) fn begin(events: &'a Events, links: &Slab<Link>) -> Self {
        let mut ahead =
            Self { links: events.iter(), exchanges: events.iter(), streams: events.iter() };
        for _ in 0..2 {
            ahead.fetch_link(links);
        }
        ahead.fetch_exchange(links);
        ahead
    }

    /// Goes one read further.
    pub(super) fn step(&mut self, links: &Slab<Link>) {
        self.fetch_link(links);
        self.fetch_exchange(links);
        if let Some(exchange) =
            next(&mut self.streams, links).and_then(|link| link.exchange.as_ref())
        {
            exchange.fetch_further();
        }
    }

    fn fetch_link(&mut self, links: &Slab<Link>) {
        if let Some(link) = next(&mut self.links, links) {
            raw::fetch(link);
        }
    }

    fn fetch_exchange(&mut self, links: &Slab<Link>) {
        if let Some(exchange) =
            next(&mut self.exchanges, links).and_then(|link| link.exchange.as_ref())
        {
            exchange.fetch();
        }
    }
}

/// The connection that the next event is about, if it is still there.
fn next<'l>(events: &mut Iter<'_>, links: &'l Slab<Link>) -> Option<&'l Link> {
    links.get(events.next()?.token().0)
}
