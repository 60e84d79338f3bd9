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

pub mod account;
mod app;
pub mod arrival;
pub mod audit;
pub mod backend;
pub mod batch;
pub mod bundled;
pub mod ceiling;
pub mod cli;
pub mod config;
pub mod conversation;
pub mod dataset;
pub mod dispatch;
pub mod door;
pub mod download;
pub mod error;
pub mod filetype;
pub mod fold;
pub mod health;
pub mod hub;
pub mod journal;
pub mod limits;
pub mod lora;
pub mod metric;
pub mod mock;
pub mod model;
pub mod outbox;
pub mod output;
pub mod plan;
pub mod plot;
pub mod probe;
pub mod profiler;
pub mod progress;
mod raw;
pub mod report;
pub mod request_log;
pub mod response;
pub mod rng;
pub mod secrets;
pub mod selftest;
pub mod sse;
pub mod stats;
pub mod tokenizer;
pub mod transport;
pub mod ui;
pub mod vision;

pub use app::run;
