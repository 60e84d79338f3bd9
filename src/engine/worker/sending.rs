//! Sending: a request goes over an idle connection, or over a new one as soon as it is open.

use std::io;

use mio::Token;

use super::arriving::Arriving;
use super::{Link, Worker, connect_failure, connect_kind};
use crate::engine::in_flight::InFlight;
use crate::engine::request_log;
use crate::engine::transport::connection::Connection;
use crate::engine::transport::{Version, tls};
use crate::health::ClockSource;
use crate::model::{Failure, FailureKind};

impl Worker {
    /// Sends the request of `in_flight` over an idle connection, or over a new one as soon as it is open.
    pub(super) fn begin(&mut self, in_flight: Box<InFlight>) {
        let endpoint = in_flight.endpoint;
        while let Some(key) = self.idle[endpoint].pop() {
            let Some(link) = self.links.get_mut(key) else { continue };
            // The server may be about to close it.
            let is_over = link.idle_until.is_some_and(|until| until <= self.clock.now());
            if is_over || link.connection.is_spent(&mut self.buffer, &mut self.control) {
                self.links.remove(key);
                continue;
            }
            link.in_flight = Some(in_flight);
            self.send(key);
            return;
        }
        let Some(in_flight) = self.wait_in_line(in_flight) else { return };
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
        let endpoint = self.shared.endpoints[at].clone();
        let addresses = match &endpoint.addresses {
            Ok(addresses) => addresses,
            Err(why) => {
                return Err((in_flight, connect_failure(FailureKind::Dns, why.as_str())));
            }
        };
        let stamps = self.shared.clock == ClockSource::Kernel;
        let mut failure = connect_failure(FailureKind::Dns, "the host has no address");
        while let Some(to) = addresses.get(address) {
            let entry = self.links.vacant_entry();
            let token = Token(entry.key());
            let registry = self.poll.registry();
            match Connection::open(to, &endpoint, stamps, registry, token) {
                Ok(connection) => {
                    entry.insert(Link {
                        connection,
                        in_flight,
                        endpoint: at,
                        address,
                        is_reused: false,
                        idle_until: None,
                        unread: None,
                        arriving: Arriving::default(),
                    });
                    self.health.connections += 1;
                    return Ok(());
                }
                Err(error) => {
                    if let Some(shortage) = self.shortage(&error) {
                        if self.close_idle() {
                            continue;
                        }
                        if let Some(in_flight) = in_flight.take() {
                            self.line_up(in_flight, shortage);
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
        let Some(link) = self.links.get_mut(key) else { return };
        let Some(in_flight) = &mut link.in_flight else { return };
        let endpoint = &self.shared.endpoints[link.endpoint];
        let head = link.connection.head(endpoint, &in_flight.request);
        let sent = self.clock.now();
        in_flight.sent = Some(sent);
        if !link.is_reused {
            self.crowds[link.endpoint].sent(key, sent);
        }
        if let Some(log) = &self.shared.options.log
            && !in_flight.is_resent()
        {
            let event = || request_log::Event::Start {
                request: in_flight.request.clone(),
                round: in_flight.round,
                sent,
                run: self.clock.wall(),
            };
            log.offer(request_log::WEIGHT, event);
        }
        if let Err(error) = link.connection.send(head, in_flight.request.body.clone()) {
            self.unsendable(key, &error);
        }
    }

    /// A request could not be sent. The server may have said why, and closed: then that is what counts.
    pub(super) fn unsendable(&mut self, key: usize, error: &io::Error) {
        self.read_caught(key, true);
        if self.is_lost(key) {
            self.resend(key);
        } else if self.links.get(key).is_some_and(|link| {
            // What was sent once more, or a next round, may have its place, on a connection that is being opened.
            link.in_flight.is_some() && link.connection.is_open()
        }) {
            let failure = connect_failure(FailureKind::Transport, error.to_string());
            self.end(key, Err(failure), false);
        }
    }

    pub(super) fn opened(&mut self, key: usize) {
        let Some(link) = self.links.get_mut(key) else { return };
        let took = link.connection.took();
        self.health.http2_connections += u64::from(link.connection.version() == Version::Http2);
        self.health.connecting.add(took.connect);
        if let Some(tls) = took.tls {
            self.health.tls.add(tls);
        }
        match &mut link.in_flight {
            Some(in_flight) => {
                let took = self.clock.now().saturating_sub(in_flight.begun);
                in_flight.connect = Some(took);
                if link.connection.speaks_unasked(&mut self.buffer, &mut self.control) {
                    let why = "the server sent bytes before it was asked for anything, as one does that speaks HTTP/2 alone (--http-version 2)";
                    let failure = connect_failure(FailureKind::Malformed, why);
                    self.end(key, Err(failure), false);
                    return;
                }
                self.send(key);
            }
            None => self.idle[link.endpoint].push(key),
        }
    }

    pub(super) fn not_opened(&mut self, key: usize, error: &io::Error) {
        let Some(link) = self.links.try_remove(key) else { return };
        let endpoint = &self.shared.endpoints[link.endpoint];
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
