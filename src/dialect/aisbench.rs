//! Scenarios, the tables and the files of AISBench's performance mode, of 3.1.

mod figures;
pub mod files;
mod flags;
mod job;
mod lengths;
mod prompts;
mod scenario;
mod stable;
pub mod table;
mod times;
mod traffic;

#[cfg(test)]
mod tests;

pub use self::figures::{Figures, Stage};
pub use self::flags::{Flags, Layout, Rule};
pub use self::scenario::{Data, Model, Scenario};
pub use self::stable::window;
