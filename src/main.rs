//! The `rbench` program.

fn main() {}
