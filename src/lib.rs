//! A serving benchmark for large language models.
//!
//! # Layout
//!
//! Typed words become a resolved configuration, the configuration becomes a plan of bytes and due times,
//! the plan runs, each request becomes one record, and records become figures and outputs:
//!
//! ```text
//! cli ─► config ─► plan ────────► dispatch ─────► transport ────► metric ─► report ─► output
//!                  dataset          due times       HTTP, clock     stats               table, JSONL
//!                  arrival          cap             response ◄ sse
//!                  backend.encode                   backend.decoder
//! ```
//!
//! Everything before and after "runs" is synchronous, pure and seeded.
//! `ARCHITECTURE.md` has the whole map, `METHODOLOGY.md` the definition of every figure.

pub mod analysis;
mod app;
pub mod cli;
pub mod config;
pub mod control;
pub mod dialect;
pub mod engine;
pub mod error;
pub mod flags;
pub mod health;
pub mod journal;
pub mod mock;
pub mod model;
pub mod output;
pub mod protocol;
pub mod rng;
pub mod secrets;
pub mod selftest;
mod sys;
pub mod workload;

pub use app::run;
