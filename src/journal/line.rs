//! What all lines have in common.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::output::door;

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

/// How the checksum of a line stands at its end, before eight hexadecimal digits and `"}`.
const SEAL: &[u8] = b",\"crc32\":\"";

/// Bytes of the checksum at the end of a line, without the line end.
const SEALED: usize = SEAL.len() + 8 + 2;

/// What the checksum of a line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seal {
    /// It has none.
    Absent,
    /// The line is as it was written.
    Whole,
    /// It is not.
    Broken,
}

impl Seal {
    /// That of `line`, which has no line end.
    pub(super) fn of(line: &[u8]) -> Self {
        let Some((body, seal)) = line.split_at_checked(line.len().saturating_sub(SEALED)) else {
            return Self::Absent;
        };
        let digits = seal.strip_prefix(SEAL).and_then(|rest| rest.strip_suffix(b"\"}"));
        match digits {
            None => Self::Absent,
            Some(digits) if digits == checksum(body).as_bytes() => Self::Whole,
            Some(_) => Self::Broken,
        }
    }
}

/// The checksum of the part of a line before it: CRC-32 as zip and PNG have it, in eight hexadecimal digits.
fn checksum(body: &[u8]) -> String {
    format!("{:08x}", crc32fast::hash(body))
}

/// Adds `value`, which is an object with keys, its checksum as the last key, and a line end to `out`.
///
/// # Errors
/// As for [`push`].
pub(super) fn push_sealed(out: &mut Vec<u8>, value: &impl Serialize) -> std::io::Result<()> {
    let start = out.len();
    push(out, value)?;
    out.truncate(out.len() - b"}\n".len());
    let sum = checksum(&out[start..]);
    out.extend_from_slice(SEAL);
    out.extend_from_slice(sum.as_bytes());
    out.extend_from_slice(b"\"}\n");
    Ok(())
}

/// Adds `value` and a line end to `out`.
///
/// # Errors
/// If the value cannot be written as JSON, which those of this module always can.
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
