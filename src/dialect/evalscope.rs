//! The command line, the tables and the files of `evalscope perf`, of 1.14.

pub mod advice;
mod conversation;
mod figures;
pub mod files;
mod flags;
mod job;
mod layout;
mod prompts;
pub mod report;
mod series;
pub mod sla;
pub mod table;
mod times;
mod values;
mod workload;

#[cfg(test)]
mod tests;

pub use self::figures::{Figures, Load, Speculation, Terms};
pub use self::flags::{Flags, Tool};
pub use self::job::{endpoint, seed_of};
pub use self::layout::Layout;
pub use self::prompts::Prompts;
pub use self::series::{Series, Values};
