//! From records to figures: metrics, the ledger, the audit, and the report that holds them.

pub mod account;
pub mod aggregate;
pub mod audit;
pub mod ceiling;
pub mod comparison;
pub mod measure;
pub mod metric;
pub mod report;
pub mod statistics;
pub mod stats;
pub mod vision;
