//! Reading: what happened on a socket, and the bytes that it gave.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use mio::event::Event;

use super::{BUFFER, TRAILING, Worker};
use crate::engine::in_flight::Step;
use crate::engine::transport::connection::{Arrived, Opening};
use crate::engine::transport::http2::Fed;
use crate::engine::transport::message::Part;
use crate::engine::transport::{socket, tls};
use crate::model::{Failure, FailureKind, Phase};

/// Reads of one connection before the others have their turn.
const TURN: u32 = 16;

impl Worker {
    /// Deals with whatever happened on a socket.
    pub(super) fn ready(&mut self, event: &Event) {
        let key = event.token().0;
        let Some(link) = self.links.get_mut(key) else { return };
        if !link.connection.is_open() {
            match link.connection.go_on() {
                Ok(Opening::Waiting) => {}
                Ok(Opening::Open) => {
                    let is_encrypted = link.connection.is_encrypted();
                    self.opened(key);
                    // What came right behind the handshake, or unasked, was told of by the same event.
                    if is_encrypted || event.is_readable() {
                        self.read_caught(key, false);
                    }
                }
                Err(error) => self.not_opened(key, &error),
            }
            return;
        }
        if event.is_writable()
            && link.connection.is_sending()
            && let Err(error) = link.connection.flush()
        {
            self.unsendable(key, &error);
            return;
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            let closed = event.is_read_closed() || event.is_error();
            self.read_caught(key, closed);
        }
    }

    /// Reads; a panic ends the request and nothing else.
    pub(super) fn read_caught(&mut self, key: usize, closed: bool) {
        if catch_unwind(AssertUnwindSafe(|| self.read(key, closed))).is_err() {
            self.panicked(key);
        }
    }

    /// Reads all that has arrived on a connection.
    pub(super) fn read(&mut self, key: usize, closed: bool) {
        // Taken out for the time of the read, since the rest of the worker is needed as well.
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut control = std::mem::take(&mut self.control);
        let mut turn = TURN;
        while let Some(link) = self.links.get_mut(key) {
            if turn == 0 {
                // The others first, and time limits: this one may have no end.
                link.unread = Some(closed);
                self.unread.push(key);
                break;
            }
            turn -= 1;
            match link.connection.receive(&mut buffer, &mut control) {
                Ok(Arrived::Nothing) => break,
                Ok(Arrived::Close { whole }) => {
                    self.closed(key, whole, None);
                    break;
                }
                Ok(Arrived::Bytes { len, stamp, more }) => {
                    if len > 0 {
                        self.take(key, &buffer[..len], stamp);
                    }
                    if !more && !closed {
                        break;
                    }
                }
                Err(error) => {
                    self.closed(key, false, Some(&error));
                    break;
                }
            }
        }
        (self.buffer, self.control) = (buffer, control);
    }

    /// Goes on with connections that had more to read than one turn takes.
    pub(super) fn read_on(&mut self) {
        for key in std::mem::take(&mut self.unread) {
            // Another connection may have its place meanwhile.
            if let Some(closed) = self.links.get_mut(key).and_then(|link| link.unread.take()) {
                self.read_caught(key, closed);
            }
        }
    }

    /// Hands on bytes that the kernel received at `stamp`.
    pub(super) fn take(&mut self, key: usize, bytes: &[u8], stamp: Option<Duration>) {
        let now = self.clock.now();
        let health = &mut self.health;
        health.reads += 1;
        health.bytes += bytes.len() as u64;
        let at = if let Some(stamp) = stamp {
            let at = self.arrival(key, stamp, now);
            self.health.lag.add(now, now.saturating_sub(at));
            at
        } else {
            health.unstamped += 1;
            now
        };
        let health = &mut self.health;
        let Some(link) = self.links.get_mut(key) else { return };
        let Some(in_flight) = &mut link.in_flight else {
            // Nobody asked for anything: but for what HTTP/2 says by itself, the connection is of no use any more.
            if !link.connection.is_unmoved_by(bytes) {
                self.forget(key);
            }
            return;
        };
        let before = in_flight.events();
        let (mut tokens, mut step) = (0, Step::Open);
        let endpoint = &*self.shared.endpoints[link.endpoint];
        let fed = link.connection.feed(bytes, &mut |part| {
            let (new, after) = in_flight.part(part, at, endpoint)?;
            tokens += new;
            step = after;
            Ok::<(), Failure>(())
        });
        // Of an answer that is cut fewer are kept than were read.
        self.lost_events += before.saturating_sub(in_flight.events()) as u64;
        let events = in_flight.events().saturating_sub(before);
        health.events += events as u64;
        if events > 1 {
            // Behind a packet that is missing, data of several events gathers whatever the client does.
            let is_asked = stamp.is_some() && self.asks > 0;
            self.asks -= u32::from(is_asked);
            if is_asked && link.arriving.over_gap(link.connection.disorder(), at, now) {
                health.gathered += events as u64 - 1;
            } else {
                health.merged += events as u64 - 1;
            }
        }
        if stamp.is_some() {
            self.window.read(events);
        }
        self.tokens = self.tokens.saturating_add(tokens);
        match fed {
            Err(failure) => {
                // What follows a whole answer breaks nothing of it.
                let result = if in_flight.is_whole() {
                    in_flight.finish(at)
                } else {
                    Err(in_flight.locate(failure))
                };
                self.end(key, result, false);
            }
            Ok(fed) if step == Step::Ended => {
                let clean = fed == (Fed::Read { clean: true }) && !link.connection.is_sending();
                let reuse = clean && in_flight.keep_alive();
                self.trails[link.endpoint] = TRAILING;
                self.end(key, Ok(()), reuse);
            }
            Ok(Fed::Cut { unread: true, .. }) if link.is_reused => self.resend(key),
            Ok(Fed::Cut { why, .. }) => {
                let result = in_flight.broken(&why, false, at);
                self.end(key, result, false);
            }
            Ok(Fed::Read { .. }) => {
                let is_noted = |&(_, noted): &(Duration, usize)| noted == key;
                if in_flight.is_whole() && !self.trailing.iter().any(is_noted) {
                    self.trailing.push((now + self.trails[link.endpoint], key));
                }
            }
        }
    }

    /// The other end closed the connection, or it broke with `error`; `whole` if all that was sent has arrived.
    pub(super) fn closed(&mut self, key: usize, whole: bool, error: Option<&io::Error>) {
        let now = self.clock.now();
        let trouble = error.and_then(|error| tls::trouble(error));
        if trouble.is_none() && self.is_lost(key) {
            self.resend(key);
            return;
        }
        let Some(link) = self.links.get_mut(key) else { return };
        let Some(in_flight) = &mut link.in_flight else {
            self.forget(key);
            return;
        };
        // A body without a length ends like this.
        let result = if whole && link.connection.ends_with_close() {
            in_flight.part(Part::End, now, &self.shared.endpoints[link.endpoint]).map(drop)
        } else {
            let why = match (&trouble, error) {
                (Some(trouble), _) => trouble.message.clone(),
                (None, Some(error)) => error.to_string(),
                (None, None) => {
                    "the connection was closed before the response was complete".to_owned()
                }
            };
            in_flight.broken(&why, trouble.is_some(), now)
        };
        self.end(key, result, false);
    }

    /// Closes a connection without a request.
    fn forget(&mut self, key: usize) {
        let link = self.links.remove(key);
        self.idle[link.endpoint].retain(|&idle| idle != key);
    }

    /// A defect of this program shows in one response; the others go on.
    pub(super) fn panicked(&mut self, key: usize) {
        self.buffer.resize(BUFFER, 0);
        self.control.resize(socket::CONTROL, 0);
        let failure = Failure {
            kind: FailureKind::Internal,
            phase: Phase::Stream,
            status: None,
            message: "the client failed: it panicked while it read the response".to_owned(),
            excerpt: None,
        };
        self.end(key, Err(failure), false);
    }
}
