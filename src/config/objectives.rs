//! The latencies of `--goodput`.

use super::usage;
use crate::analysis::metric::{Latency, Slo};
use crate::error::Error;
use crate::protocol::backend::Backend;

/// One objective per latency: a later one takes the place of an earlier one.
///
/// # Errors
/// If the answers of the backend do not have the latency.
pub fn objectives(given: &[Slo], backend: &Backend) -> Result<Vec<Slo>, Error> {
    let mut slos: Vec<Slo> = Vec::new();
    for slo in given {
        let name = slo.latency.name();
        if slo.latency != Latency::E2el && !backend.protocol.generates() {
            return Err(usage(format!(
                "--goodput {slo} does not apply to --backend {}, whose answers have no {}",
                backend.name,
                name.to_uppercase(),
            ))
            .hint("e2el is the latency that embeddings have"));
        }
        match slos.iter_mut().find(|known| known.latency == slo.latency) {
            Some(known) => *known = *slo,
            None => slos.push(*slo),
        }
    }
    Ok(slos)
}
