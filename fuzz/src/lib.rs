//! What is fuzzed: everything that reads bytes which somebody else has written.
//!
//! A target is a function of bytes that panics if something does not hold. libFuzzer (`fuzz_targets/`) and the short run
//! of the gate (`examples/short.rs`) call the same functions. `README.md` beside this says how to run them.

mod files;
mod streams;

pub use files::{datasets, records, tokenizers};
pub use streams::{batch, collector, http1, sse};

/// A target: its name, which is that of its corpus, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const ALL: &[Target] = &[
    ("http1", http1),
    ("sse", sse),
    ("collector", collector),
    ("batch", batch),
    ("datasets", datasets),
    ("tokenizers", tokenizers),
    ("records", records),
];

/// The first `N` bytes of an input, which choose what is done with the rest.
fn choices<const N: usize>(data: &[u8]) -> Option<([u8; N], &[u8])> {
    let (first, rest) = data.split_first_chunk::<N>()?;
    Some((*first, rest))
}

/// Cuts `bytes` into pieces whose lengths depend on `seed`.
fn pieces(bytes: &[u8], seed: u8) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    let (mut rest, mut state) = (bytes, u32::from(seed) | 1);
    while !rest.is_empty() {
        // Any sequence does that has short and long pieces.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let len = 1 + (state >> 24) as usize % if state & 0x10_0000 == 0 { 4 } else { 60 };
        let (piece, after) = rest.split_at(len.min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}
