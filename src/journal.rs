//! Records on disk while a run goes on, so that what was measured outlives the program.
//!
//! A file of records has a line of JSON for each thing: the run, each round that ended, the end of the run.
//! `docs/records.md` has the keys. A run that is begun on a file that has runs is written after them.
//!
//! [`Journal`] is a thread that writes what the threads of the load send it over a channel; they format nothing and
//! wait for nothing. What was written is brought to the disk by a thread of its own, so that a slow disk holds back no
//! row. [`read`] gives back what was written, whatever became of the run.

mod end;
pub mod failed;
mod header;
mod line;
mod reader;
mod row;
mod sync;
mod writer;

use std::time::Duration;

use serde_json::Value;

pub use self::reader::{Asked, Recorded, is_records, read};
pub use self::writer::{Files, Journal, Lost, Refusal, check};
use crate::analysis::RunMetadata;
use crate::analysis::ceiling::Ceiling;
use crate::engine::system::Spent;
use crate::health::{ClockSource, Health};
use crate::model::VisionSource;
use crate::protocol::backend::Backend;

/// The layout that this program writes, and the newest that it reads.
pub const VERSION: u64 = 1;

/// What is known of a run before it begins, as far as its figures depend on it.
#[derive(Debug, Clone)]
pub struct Header {
    /// What the run is. Where the image tokens come from is known after it.
    pub metadata: RunMetadata,
    /// The kind of server.
    pub backend: &'static Backend,
    /// Where arrival times come from.
    pub clock: ClockSource,
    /// The servers that the load is spread over, without secrets.
    pub endpoints: Vec<String>,
    /// What the report looks like.
    pub command: Command,
    /// Requests of the plan, each round of a conversation by itself; `None` if the plan goes around.
    pub requests: Option<u64>,
    /// Where the image tokens come from as far as is known, if there are images.
    pub vision: Option<VisionSource>,
    /// A gap longer than this is a stall.
    pub stall_threshold: Duration,
    /// The gap that the arrival process drew after the last request.
    pub last_gap: Duration,
    /// What share of the peak in flight makes a steady state, if that is to be reported.
    pub steady_state: Option<f64>,
    /// What the host can read at most, if that is known.
    pub ceiling: Option<Ceiling>,
}

/// The commands whose runs are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// `rbench serve`.
    Serve,
    /// `rbench offline`.
    Offline,
    /// `rbench one-batch`: a run is a batch.
    OneBatch,
}

impl Command {
    /// The command as users type it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Serve => "serve",
            Self::Offline => "offline",
            Self::OneBatch => "one-batch",
        }
    }
}

/// What only the run tells, beside the records.
#[derive(Debug, Clone, Default)]
pub struct End {
    /// How the client kept up.
    pub health: Health,
    /// The server's own account of itself after the run.
    pub server_info: Option<Value>,
    /// What stopping the profilers and asking the server for that took.
    pub server_info_time: Duration,
    /// Calls around the load that failed, and how.
    pub failed_calls: Vec<String>,
    /// Why the run did not do all of its plan, if it did not.
    pub partial: Option<String>,
    /// What the memory for answers cost requests, if it did.
    pub memory: Option<Spent>,
}

#[cfg(test)]
mod tests;
