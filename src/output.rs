//! Outputs: how a report is written.
//!
//! A dialect is one tool's way to print and to store results: one file and one line of [`ALL`].

mod json;
mod sglang;

use crate::report::Report;

/// Every dialect.
pub static ALL: &[&dyn Dialect] = &[&sglang::Sglang];

/// One tool's way to print and to store results.
pub trait Dialect: Sync + std::fmt::Debug {
    /// Its name.
    fn name(&self) -> &'static str;

    /// The table for people, with a line end after each line.
    fn table(&self, report: &Report<'_>) -> String;

    /// The result as one line of JSON, with its line end; `details` adds arrays with one entry per request.
    fn line(&self, report: &Report<'_>, details: bool) -> String;

    /// The name of the result file when the user gives none; `date` is the local month and day.
    fn file_name(&self, report: &Report<'_>, date: &str) -> String;
}
