//! Behaviour seen from outside: real sockets, the whole binary, files as users write them.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests may panic"
)]

/// What tests stand on: a server that does as it is told, and the program away from the user's environment.
mod support;

mod datasets;
mod dispatch;
mod output;
mod records;
/// What rbench makes of the bytes that servers send, protocol by protocol.
mod streams;
