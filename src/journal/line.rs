//! What all lines have in common.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::door;

/// How the first line of a run begins.
pub(super) const HEADER: &str = "{\"rbench_records\":";

/// How its last line begins.
pub(super) const END: &str = "{\"rbench_end\":";

/// A length of time or an offset in whole ns.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Ns(u64);

impl From<Duration> for Ns {
    fn from(duration: Duration) -> Self {
        // 584 years are enough.
        Self(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl From<Ns> for Duration {
    fn from(ns: Ns) -> Self {
        Self::from_nanos(ns.0)
    }
}

/// Adds `value` and a line end to `out`.
///
/// # Errors
/// If the value can not be written as JSON, which those of this module always can.
pub(super) fn push(out: &mut Vec<u8>, value: &impl Serialize) -> std::io::Result<()> {
    let start = out.len();
    if let Err(error) = serde_json::to_writer(&mut *out, value) {
        // Half a line is none.
        out.truncate(start);
        return Err(error.into());
    }
    out.push(b'\n');
    door::json(out, start);
    Ok(())
}
