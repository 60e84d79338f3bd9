//! What is spoken: the wire protocols, and the way from bytes to events and from events to a response.

pub mod backend;
pub mod batch;
pub mod response;
pub mod sse;
pub mod style;
