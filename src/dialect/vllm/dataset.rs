//! The sources of prompts of vLLM's client.

mod columns;
pub mod file;
pub mod random;
pub mod trace;
