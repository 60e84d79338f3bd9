//! Groups of flags that the command lines of dialects share, and how values of flags are read.

pub mod client;
pub mod connection;
pub mod launch;
pub mod profile;
pub mod timeouts;
pub mod values;

/// Heading of the flags about the servers.
pub const TARGET: &str = "Target";
/// Heading of the flags about how much is sent, and when.
pub const LOAD: &str = "Load";
/// Heading of the flags about what a request asks for.
pub const REQUEST: &str = "Requests";
/// Heading of the flags about prompts.
pub const DATA: &str = "Dataset";
/// Heading of the flags about what comes before the run.
pub const FLOW: &str = "Before the run";
/// Heading of the flags about results.
pub const OUTPUT: &str = "Output";
