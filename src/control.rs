//! Calls around the load: readiness, models, caches, profilers.

pub mod probe;
pub mod profiler;
