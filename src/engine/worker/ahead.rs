//! Looking ahead: the memory that the next reads need is fetched while the ones before them are read.
//!
//! Of hundreds of streams nothing is near when the next event of one comes, and a read goes from one place to the next:
//! from the connection to the request on it, to what has come of its response, to the ends of the text and of the events.
//! Each would be waited for by itself. A read takes much longer than memory does, so that a read or two ahead is enough.

use mio::Events;
use mio::event::Iter;
use slab::Slab;

use super::Link;
use crate::engine::in_flight::Exchange;
use crate::sys;

/// The reads that one look at the queue asked for, by how much of what each needs was fetched.
#[derive(Debug)]
pub(super) struct Ahead<'a> {
    /// Those whose connection was not; two ahead of the one that is next.
    links: Iter<'a>,
    /// Those whose request was not; one ahead.
    exchanges: Iter<'a>,
    /// Those of which nothing further was: the next one, whose read begins with a call of the kernel.
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

    /// Goes one read further; to be called before each.
    pub(super) fn step(&mut self, links: &Slab<Link>) {
        self.fetch_link(links);
        self.fetch_exchange(links);
        if let Some(exchange) = exchange(&mut self.streams, links) {
            exchange.fetch_further();
        }
    }

    fn fetch_link(&mut self, links: &Slab<Link>) {
        if let Some(link) = link(&mut self.links, links) {
            sys::fetch(link);
        }
    }

    fn fetch_exchange(&mut self, links: &Slab<Link>) {
        if let Some(exchange) = exchange(&mut self.exchanges, links) {
            exchange.fetch();
        }
    }
}

/// The connection that the next event is about, if it is still there.
fn link<'l>(events: &mut Iter<'_>, links: &'l Slab<Link>) -> Option<&'l Link> {
    links.get(events.next()?.token().0)
}

/// The request on it, if there is one.
fn exchange<'l>(events: &mut Iter<'_>, links: &'l Slab<Link>) -> Option<&'l Exchange> {
    link(events, links)?.exchange.as_deref()
}
