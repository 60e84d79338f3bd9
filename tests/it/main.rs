//! Behaviour seen from outside: real sockets, the whole binary, files as users write them.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests may panic"
)]

mod datasets;
mod dispatch;
mod output;
mod records;
mod tables;
mod tidy;

#[test]
fn the_program_is_built() {
    assert!(std::path::Path::new(env!("CARGO_BIN_EXE_rbench")).exists());
}
