//! What tests stand on.

/// A simulated server that batches.
pub(crate) mod batching;
/// Certificates that are made for a test.
pub(crate) mod certificates;
/// Servers that speak HTTP/2 alone.
pub(crate) mod http2;
/// A proxy.
pub(crate) mod mock;
pub(crate) mod proxy;
/// A run of the program in an empty environment and a folder of its own.
pub(crate) mod rbench;
/// Requests as a scripted server reads them.
mod reading;
/// A scripted HTTP server.
pub(crate) mod server;
/// The server's end of a connection.
pub(crate) mod stream;
/// What well-behaved engines answer.
pub(crate) mod wire;
