//! Sends requests: each goes over an idle connection, or over a new one as soon as that is open.

use std::io;

use mio::Token;

use super::link::Link;
use super::{Scratch, Worker, connect_failure, connect_kind, waiting_line};
use crate::engine::in_flight::InFlight;
use crate::engine::transport::connection::Connection;
use crate::engine::transport::tls;
use crate::health::ClockSource;
use crate::model::{Failure, FailureKind};

impl Worker {
    /// Sends the request of `in_flight` over an idle connection, or over a new one as soon as it is open.
    pub(super) fn begin(&mut self, in_flight: Box<InFlight>) {
        let endpoint = in_flight.endpoint;
        let Scratch { buffer, control } = &mut self.scratch;
        let idle = self.pool.take_idle(endpoint, |link| {
            // The server may be about to close it.
            let is_over = link.idle_until.is_some_and(|until| until <= self.clock.now());
            !is_over && !link.connection.is_spent(buffer, control)
        });
        if let Some(key) = idle {
            self.pool.links[key].in_flight = Some(in_flight);
            self.send(key);
            return;
        }
        let Some(in_flight) = self.line.wait_behind(in_flight) else { return };
        if let Err((Some(in_flight), failure)) = self.connect(Some(in_flight), endpoint, 0) {
            self.conclude(in_flight, &failure);
        }
    }

    /// Begins to open a connection to the address `address` of `endpoint`, or a later one, for `in_flight` if there is one.
    pub(super) fn connect(
        &mut self,
        mut in_flight: Option<Box<InFlight>>,
        at: usize,
        mut address: usize,
    ) -> Result<(), (Option<Box<InFlight>>, Failure)> {
        let endpoint = self.shared.servers[at].endpoint.clone();
        let addresses = match &endpoint.addresses {
            Ok(addresses) => addresses,
            Err(why) => {
                return Err((in_flight, connect_failure(FailureKind::Dns, why.as_str())));
            }
        };
        let stamps = self.shared.clock == ClockSource::Kernel;
        let mut failure = connect_failure(FailureKind::Dns, "the host has no address");
        while let Some(to) = addresses.get(address) {
            let entry = self.pool.links.vacant_entry();
            let token = Token(entry.key());
            let registry = self.poll.registry();
            match Connection::open(to, &endpoint, stamps, registry, token) {
                Ok(connection) => {
                    entry.insert(Link::new(connection, in_flight, at, address));
                    self.recorder.connects();
                    return Ok(());
                }
                Err(error) => {
                    let has_connected = self.recorder.has_connected();
                    if let Some(shortage) = waiting_line::shortage(&error, has_connected) {
                        if self.pool.close_idle() {
                            continue;
                        }
                        if let Some(in_flight) = in_flight.take() {
                            let (now, links) = (self.clock.now(), self.pool.links.len());
                            self.line.join(in_flight, shortage, now, links);
                            return Ok(());
                        }
                    }
                    failure = connect_failure(connect_kind(&error), error.to_string());
                }
            }
            address += 1;
        }
        Err((in_flight, failure))
    }

    /// Sends the request that waits on an open connection.
    pub(super) fn send(&mut self, key: usize) {
        let Some(link) = self.pool.links.get_mut(key) else { return };
        let Some(in_flight) = &mut link.in_flight else { return };
        let endpoint = &self.shared.servers[link.endpoint].endpoint;
        let head = link.connection.head(endpoint, &in_flight.request);
        let sent = self.clock.now();
        in_flight.sent = Some(sent);
        let subscribers = &self.shared.options.subscribers;
        if subscribers.want_sends() && !in_flight.is_resent() {
            subscribers.sent(&in_flight.request, in_flight.round, sent);
        }
        let is_first = !link.is_reused;
        let result = link.connection.send(head, in_flight.request.body.clone());
        if is_first {
            self.pool.note_first_send(key, sent);
        }
        if let Err(error) = result {
            self.unsendable(key, &error);
        }
    }

    /// Ends a request that could not be sent. The server may have said why, and closed: then that is what counts.
    pub(super) fn unsendable(&mut self, key: usize, error: &io::Error) {
        self.read_caught(key, true);
        if self.is_lost(key) {
            self.resend(key);
        } else if self.pool.links.get(key).is_some_and(|link| {
            // What was sent once more, or a next round, may have its place, on a connection that is being opened.
            link.in_flight.is_some() && link.connection.is_open()
        }) {
            let failure = connect_failure(FailureKind::Transport, error.to_string());
            self.end(key, Err(failure), false);
        }
    }

    /// Uses a connection that is open now.
    pub(super) fn opened(&mut self, key: usize) {
        let Some(link) = self.pool.links.get_mut(key) else { return };
        self.recorder.connected(link.connection.took(), link.connection.version());
        match &mut link.in_flight {
            Some(in_flight) => {
                let took = self.clock.now().saturating_sub(in_flight.begun);
                in_flight.connect = Some(took);
                if link
                    .connection
                    .speaks_unasked(&mut self.scratch.buffer, &mut self.scratch.control)
                {
                    let why = "the server sent bytes before it was asked for anything, as one does that speaks HTTP/2 alone (--http-version 2)";
                    let failure = connect_failure(FailureKind::Malformed, why);
                    self.end(key, Err(failure), false);
                    return;
                }
                self.send(key);
            }
            None => self.pool.add_idle(key),
        }
    }

    /// Goes on to the next address, since a connection could not be opened.
    pub(super) fn not_opened(&mut self, key: usize, error: &io::Error) {
        let Some(link) = self.pool.links.try_remove(key) else { return };
        let endpoint = &self.shared.servers[link.endpoint].endpoint;
        if tls::refuses_version(error) && endpoint.refuses(link.connection.version()) {
            if let Err((Some(in_flight), failure)) =
                self.connect(link.in_flight, link.endpoint, link.address)
            {
                self.conclude(in_flight, &failure);
            }
            return;
        }
        // Without a request nobody waits for another address.
        let Some(in_flight) = link.in_flight else { return };
        let mut failure = connect_failure(connect_kind(error), error.to_string());
        if let Some(trouble) = tls::trouble(error) {
            failure.kind = FailureKind::Tls;
            failure.message = trouble.message;
        } else if link.connection.is_greeting() {
            failure.kind = FailureKind::Tls;
            failure.message = format!("within the handshake of TLS: {error}");
        }
        if let Err((Some(in_flight), _)) =
            self.connect(Some(in_flight), link.endpoint, link.address + 1)
        {
            self.conclude(in_flight, &failure);
        }
    }
}
