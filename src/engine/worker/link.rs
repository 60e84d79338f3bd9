//! A connection of a worker.

use std::time::Duration;

use super::arrival_clock::Arriving;
use crate::engine::in_flight::InFlight;
use crate::engine::transport::connection::Connection;

/// A connection and what it is used for.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) connection: Connection,
    /// The request on it; boxed, so that a connection without one is small.
    pub(super) in_flight: Option<Box<InFlight>>,
    /// Index of the server that it goes to.
    pub(super) endpoint: usize,
    /// Index of the server's address.
    pub(super) address: usize,
    /// Whether a request was answered over it before.
    pub(super) is_reused: bool,
    /// When it is not to be used any more, if the server has named a time.
    pub(super) idle_until: Option<Duration>,
    /// Whether more may be waiting than was read when others had their turn, and the other end had closed by then.
    pub(super) unread: Option<bool>,
    /// What came over it so far.
    pub(super) arriving: Arriving,
}

impl Link {
    /// A new connection to the address `address` of the server `endpoint`, for `in_flight` if there is one.
    pub(super) fn new(
        connection: Connection,
        in_flight: Option<Box<InFlight>>,
        endpoint: usize,
        address: usize,
    ) -> Self {
        Self {
            connection,
            in_flight,
            endpoint,
            address,
            is_reused: false,
            idle_until: None,
            unread: None,
            arriving: Arriving::default(),
        }
    }
}
