//! Reads: what happened on a socket, and the bytes that it gave.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use mio::event::Event;

use super::link::Link;
use super::{Scratch, Worker};
use crate::engine::in_flight::Step;
use crate::engine::transport::connection::{Arrived, Opening};
use crate::engine::transport::http2::Fed;
use crate::engine::transport::message::Part;
use crate::engine::transport::tls;
use crate::model::{Failure, FailureKind, Phase};

/// Reads of one connection before the others have their turn.
const TURN: u32 = 16;

impl Worker {
    /// Deals with whatever happened on a socket.
    pub(super) fn ready(&mut self, event: &Event) {
        let key = event.token().0;
        let Some(link) = self.pool.links.get_mut(key) else { return };
        if !link.connection.is_open() {
            match link.connection.go_on() {
                Ok(Opening::Waiting) => {}
                Ok(Opening::Open) => {
                    let is_encrypted = link.connection.is_encrypted();
                    self.opened(key);
                    // What came right behind the handshake, or unasked, came with the same event.
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
        let mut buffer = std::mem::take(&mut self.scratch.buffer);
        let mut control = std::mem::take(&mut self.scratch.control);
        let mut turn = TURN;
        while let Some(link) = self.pool.links.get_mut(key) {
            if turn == 0 {
                // The others first, and time limits: this one may have no end.
                self.pool.leave_unread(key, closed);
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
        self.scratch = Scratch { buffer, control };
    }

    /// Goes on with connections that had more to read than one turn takes.
    pub(super) fn read_on(&mut self) {
        for key in self.pool.take_unread() {
            if let Some(closed) = self.pool.is_unread(key) {
                self.read_caught(key, closed);
            }
        }
    }

    /// Hands on bytes that the kernel received at `stamp`.
    pub(super) fn take(&mut self, key: usize, bytes: &[u8], stamp: Option<Duration>) {
        let now = self.clock.now();
        self.recorder.read(bytes.len());
        let Some(link) = self.pool.links.get_mut(key) else { return };
        let at = if let Some(stamp) = stamp {
            let Link { arriving, connection, .. } = link;
            let at = self.arrivals.arrival(arriving, stamp, now, || connection.disorder());
            self.recorder.stamped(now, at);
            at
        } else {
            self.recorder.unstamped();
            now
        };
        let Some(in_flight) = &mut link.in_flight else {
            // Nobody asked for anything: but for what HTTP/2 says by itself, the connection is of no use any more.
            if !link.connection.is_unmoved_by(bytes) {
                self.pool.forget(key);
            }
            return;
        };
        let before = in_flight.events();
        let (mut tokens, mut step) = (0, Step::Open);
        let endpoint = &*self.shared.servers[link.endpoint].endpoint;
        let fed = link.connection.feed(bytes, &mut |part| {
            let (new, after) = in_flight.part(part, at, endpoint)?;
            tokens += new;
            step = after;
            Ok::<(), Failure>(())
        });
        let events = self.recorder.events(before, in_flight.events(), tokens, || {
            let disorder = || link.connection.disorder();
            stamp.is_some() && self.arrivals.is_over_gap(&mut link.arriving, at, now, disorder)
        });
        if stamp.is_some() {
            self.coalescer.read(events);
        }
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
                self.limits.ended(link.endpoint);
                self.end(key, Ok(()), reuse);
            }
            Ok(Fed::Cut { unread: true, .. }) if link.is_reused => self.resend(key),
            Ok(Fed::Cut { why, .. }) => {
                let result = in_flight.broken(&why, false, at);
                self.end(key, result, false);
            }
            Ok(Fed::Read { .. }) => {
                if in_flight.is_whole() {
                    self.limits.await_end(key, link.endpoint, now);
                }
            }
        }
    }

    /// Ends the request on a connection that the other end closed, or that broke with `error`; `whole` if all that was sent has arrived.
    pub(super) fn closed(&mut self, key: usize, whole: bool, error: Option<&io::Error>) {
        let now = self.clock.now();
        let trouble = error.and_then(|error| tls::trouble(error));
        if trouble.is_none() && self.is_lost(key) {
            self.resend(key);
            return;
        }
        let Some(link) = self.pool.links.get_mut(key) else { return };
        let Some(in_flight) = &mut link.in_flight else {
            self.pool.forget(key);
            return;
        };
        // A body without a length ends like this.
        let result = if whole && link.connection.ends_with_close() {
            in_flight.part(Part::End, now, &self.shared.servers[link.endpoint].endpoint).map(drop)
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

    /// Ends a request whose response a defect of this program showed in; the others go on.
    pub(super) fn panicked(&mut self, key: usize) {
        self.scratch = Scratch::new();
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
