//! What tests stand on.

/// A run of the program in an empty environment and a folder of its own.
pub(crate) mod rbench;
/// A scripted HTTP server.
pub(crate) mod server;
/// What well-behaved engines answer.
pub(crate) mod wire;
