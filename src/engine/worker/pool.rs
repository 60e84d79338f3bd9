//! The connection pool of one worker: connections with a request, idle ones, and those that are being opened.

use std::time::Duration;

use slab::Slab;

use super::crowding::Crowd;
use super::link::Link;
use crate::health::Times;

/// Connections that are being opened at once before a run: more would overflow the queues of many servers.
const OPENING: usize = 128;

/// The connections of a worker to one server, beside those with a request.
#[derive(Debug, Default)]
struct PerServer {
    /// Open connections without a request; the last used one is used first.
    idle: Vec<usize>,
    /// Requests over new connections.
    crowd: Crowd,
}

/// The connections of a worker.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) links: Slab<Link>,
    servers: Vec<PerServer>,
    /// Connections with more to read than one turn takes, which no event of the queue names.
    unread: Vec<usize>,
}

impl Pool {
    /// A pool without connections to `servers` servers.
    pub(super) fn new(servers: usize) -> Self {
        let servers = std::iter::repeat_with(PerServer::default).take(servers).collect();
        Self { links: Slab::new(), servers, unread: Vec::new() }
    }

    /// Number of connections without a request that are open.
    fn idle(&self) -> usize {
        self.servers.iter().map(|server| server.idle.len()).sum()
    }

    /// Returns whether all connections are open, where none has a request.
    pub(super) fn all_stand(&self) -> bool {
        self.links.len() == self.idle()
    }

    /// Returns how many of `left` more connections may begin to be opened now, where none has a request.
    pub(super) fn room_to_open(&self, left: usize) -> usize {
        OPENING.saturating_sub(self.links.len() - self.idle()).min(left)
    }

    /// Takes the idle connection to the server `endpoint` that was used last and that `is_usable`; closes those before it.
    pub(super) fn take_idle(
        &mut self,
        endpoint: usize,
        mut is_usable: impl FnMut(&mut Link) -> bool,
    ) -> Option<usize> {
        while let Some(key) = self.servers[endpoint].idle.pop() {
            let Some(link) = self.links.get_mut(key) else { continue };
            if is_usable(link) {
                return Some(key);
            }
            self.links.remove(key);
        }
        None
    }

    /// Makes an open connection without a request an idle one.
    pub(super) fn add_idle(&mut self, key: usize) {
        if let Some(link) = self.links.get(key) {
            self.servers[link.endpoint].idle.push(key);
        }
    }

    /// Turns the order of use around to that of opening: servers take connections up in that order.
    pub(super) fn use_oldest_first(&mut self) {
        self.servers.iter_mut().for_each(|server| server.idle.reverse());
    }

    /// Keeps a connection whose request ended at `now` for the next one, unless others wait for the worker of the server
    /// that serves it; `ends` says whether nothing is left to send.
    pub(super) fn keep(&mut self, key: usize, now: Duration, ends: bool) {
        let Some(link) = self.links.get(key) else { return };
        let PerServer { idle, crowd } = &mut self.servers[link.endpoint];
        idle.push(key);
        if crowd.wants_room(now, ends) {
            for idle in idle.drain(..) {
                self.links.try_remove(idle);
            }
        }
    }

    /// Notes that a request was sent at `sent` over a new connection.
    pub(super) fn note_first_send(&mut self, key: usize, sent: Duration) {
        if let Some(link) = self.links.get(key) {
            self.servers[link.endpoint].crowd.sent(key, sent);
        }
    }

    /// Notes that the request on a connection is about to end.
    pub(super) fn note_end(&mut self, key: usize) {
        if let Some(link) = self.links.get(key) {
            self.servers[link.endpoint].crowd.ended(key, &self.links);
        }
    }

    /// Closes an idle connection to any server; returns whether there was one.
    pub(super) fn close_idle(&mut self) -> bool {
        let key = self.servers.iter_mut().find_map(|server| server.idle.pop());
        key.is_some_and(|key| self.links.try_remove(key).is_some())
    }

    /// Closes all connections without a request, which may keep workers of the server busy.
    pub(super) fn close_unused(&mut self) {
        self.links.retain(|_, link| link.in_flight.is_some());
        self.servers.iter_mut().for_each(|server| server.idle.clear());
    }

    /// Closes a connection without a request.
    pub(super) fn forget(&mut self, key: usize) {
        let link = self.links.remove(key);
        self.servers[link.endpoint].idle.retain(|&idle| idle != key);
    }

    /// The connections with a request.
    pub(super) fn busy(&self) -> Vec<usize> {
        let busy = |(key, link): (usize, &Link)| link.in_flight.is_some().then_some(key);
        self.links.iter().filter_map(busy).collect()
    }

    /// Notes that a connection may have more to read, and whether the other end has `closed`.
    pub(super) fn leave_unread(&mut self, key: usize, closed: bool) {
        if let Some(link) = self.links.get_mut(key) {
            link.unread = Some(closed);
            self.unread.push(key);
        }
    }

    /// Returns whether a connection may have more to read.
    pub(super) fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// The connections that may have had more to read; for each [`Self::is_unread`] is to be asked.
    pub(super) fn take_unread(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.unread)
    }

    /// Returns whether the connection with this key, which may be another one since, has more to read, and whether the
    /// other end had closed.
    pub(super) fn is_unread(&mut self, key: usize) -> Option<bool> {
        self.links.get_mut(key)?.unread.take()
    }

    /// Returns how long requests waited because the servers' workers served kept connections.
    pub(super) fn into_waits(self) -> Times {
        let mut waits = Times::default();
        for server in self.servers {
            waits.merge(&server.crowd.into_waits());
        }
        waits
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use mio::{Poll, Token};

    use super::*;
    use crate::engine::in_flight::{InFlight, tests};
    use crate::engine::transport::Endpoint;
    use crate::engine::transport::connection::Connection;

    /// A pool, and what its connections go to.
    struct Fixture {
        pool: Pool,
        poll: Poll,
        endpoint: Endpoint,
        _listener: TcpListener,
    }

    impl Fixture {
        fn new() -> Self {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let url = format!("http://{}/generate", listener.local_addr().unwrap());
            let backend = crate::protocol::backend::Backend::find("sglang").unwrap();
            let endpoint = Endpoint::bare(&url, backend.protocol).unwrap();
            Self { pool: Pool::new(2), poll: Poll::new().unwrap(), endpoint, _listener: listener }
        }

        /// Adds a connection to the server `server`, with a request that was sent at `sent` if that is given.
        fn add(&mut self, server: usize, sent: Option<Duration>) -> usize {
            let entry = self.pool.links.vacant_entry();
            let key = entry.key();
            let address = &self.endpoint.addresses.as_ref().unwrap()[0];
            let registry = self.poll.registry();
            let connection =
                Connection::open(address, &self.endpoint, false, registry, Token(key)).unwrap();
            entry.insert(Link::new(connection, sent.map(in_flight), server, 0));
            key
        }
    }

    /// A request that was sent at `sent`.
    fn in_flight(sent: Duration) -> Box<InFlight> {
        tests::in_flight(0, sent)
    }

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_connection_takes_three_cache_lines() {
        // Each read prefetches them.
        assert!(size_of::<Link>() <= 3 * 64, "{}", size_of::<Link>());
    }

    #[test]
    fn the_connection_that_was_used_last_is_used_first() {
        let mut fixture = Fixture::new();
        let keys = [0, 0, 0, 1].map(|server| fixture.add(server, None));
        let pool = &mut fixture.pool;
        assert!(!pool.all_stand());
        for key in keys {
            pool.add_idle(key);
        }
        assert!(pool.all_stand());
        // The last one is of no use any more, and is closed.
        let mut looks = 0;
        let taken = pool.take_idle(0, |_| {
            looks += 1;
            looks > 1
        });
        assert_eq!((taken, looks), (Some(keys[1]), 2));
        assert_eq!(pool.links.len(), 3);
        assert_eq!(pool.take_idle(0, |_| true), Some(keys[0]));
        assert_eq!(pool.take_idle(0, |_| true), None);
        assert_eq!(pool.take_idle(1, |_| true), Some(keys[3]));
    }

    #[test]
    fn connections_opened_ahead_are_used_in_their_order() {
        let mut fixture = Fixture::new();
        let keys = [0, 0].map(|server| fixture.add(server, None));
        let pool = &mut fixture.pool;
        assert_eq!(pool.room_to_open(500), OPENING - 2);
        for key in keys {
            pool.add_idle(key);
        }
        assert_eq!((pool.room_to_open(500), pool.room_to_open(3)), (OPENING, 3));
        pool.use_oldest_first();
        assert_eq!(pool.take_idle(0, |_| true), Some(keys[0]));
    }

    #[test]
    fn only_connections_without_a_request_are_closed() {
        let mut fixture = Fixture::new();
        let busy = fixture.add(0, Some(ms(0)));
        let idle = [0, 1, 1].map(|server| fixture.add(server, None));
        let pool = &mut fixture.pool;
        for key in idle {
            pool.add_idle(key);
        }
        assert!(pool.close_idle());
        pool.forget(idle[2]);
        assert_eq!(pool.links.len(), 2);
        pool.close_unused();
        assert_eq!((pool.busy(), pool.links.len()), (vec![busy], 1));
        assert!(!pool.close_idle());
    }

    #[test]
    fn what_is_left_unread_is_read_once() {
        let mut fixture = Fixture::new();
        let keys = [0, 0].map(|server| fixture.add(server, None));
        let pool = &mut fixture.pool;
        pool.leave_unread(keys[0], false);
        pool.leave_unread(keys[1], true);
        pool.links.remove(keys[0]);
        assert!(pool.has_unread());
        let unread: Vec<_> =
            pool.take_unread().into_iter().map(|key| pool.is_unread(key)).collect();
        assert_eq!(unread, [None, Some(true)]);
        assert!(!pool.has_unread() && pool.is_unread(keys[1]).is_none());
    }

    /// Ends `n` requests over the kept connection `key`, each of which was sent after the first that waits.
    fn overtake(pool: &mut Pool, key: usize, n: usize) {
        for _ in 0..n {
            pool.links[key].in_flight = Some(in_flight(ms(10)));
            pool.note_end(key);
            pool.links[key].in_flight = None;
        }
    }

    #[test]
    fn a_kept_connection_makes_room_for_a_request_that_is_passed_over() {
        let mut fixture = Fixture::new();
        let waiting = fixture.add(0, Some(ms(0)));
        let kept = fixture.add(0, None);
        let pool = &mut fixture.pool;
        pool.note_first_send(waiting, ms(0));
        pool.links[kept].is_reused = true;
        overtake(pool, kept, 3);
        pool.keep(kept, ms(200), false);
        assert_eq!(pool.take_idle(0, |_| true), Some(kept), "three others are too few");
        overtake(pool, kept, 1);
        pool.keep(kept, ms(90), false);
        assert_eq!(pool.take_idle(0, |_| true), Some(kept), "it has not waited for long");
        pool.keep(kept, ms(200), false);
        assert_eq!(pool.busy(), [waiting]);
        assert_eq!(pool.links.len(), 1, "the kept one was closed");
    }

    #[test]
    fn a_wait_counts_if_room_was_what_the_request_waited_for() {
        for (headers, counted) in [(ms(210), 1), (ms(900), 0)] {
            let mut fixture = Fixture::new();
            let waiting = fixture.add(0, Some(ms(0)));
            let kept = fixture.add(0, None);
            let pool = &mut fixture.pool;
            pool.note_first_send(waiting, ms(0));
            pool.links[kept].is_reused = true;
            overtake(pool, kept, 4);
            pool.keep(kept, ms(200), false);
            if let Some(in_flight) = &mut pool.links[waiting].in_flight {
                in_flight.headers = Some(headers);
            }
            pool.note_end(waiting);
            assert_eq!(fixture.pool.into_waits().len(), counted, "{headers:?}");
        }
    }
}
