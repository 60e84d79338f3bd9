//! One seed in, one named stream of random numbers per consumer out.
//!
//! A new consumer never shifts the draws of another, and item *i* of a consumer can be drawn without the items before it.

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;

/// The generator behind every stream.
pub type Stream = ChaCha8Rng;

/// The stream of consumer `name` for item `index` under `seed`.
///
/// ```
/// use rand::Rng;
/// let draw = |seed, name, index| rbench::rng::stream(seed, name, index).next_u64();
/// assert_eq!(draw(42, "lengths", 7), draw(42, "lengths", 7));
/// assert_ne!(draw(42, "lengths", 7), draw(42, "lengths", 8));
/// assert_ne!(draw(42, "lengths", 7), draw(42, "arrival", 7));
/// ```
pub fn stream(seed: u64, name: &str, index: u64) -> Stream {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ hash(name));
    rng.set_stream(index);
    rng
}

/// The FNV-1a hash of a text, 64 bit, which is the same in every build and on every machine.
pub fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
