//! Holds records against the server's log, request by request and event by event.

use std::collections::HashMap;

use crate::analysis::stats::Sorted;
use crate::mock::truth::Line;
use crate::model::RequestRecord;

/// Events of a streamed completion that carry no output: the counts and the end mark.
const CLOSING: usize = 2;

/// Errors in µs: a client's figure minus that of the server's log.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// How many.
    pub n: usize,
    /// Their median, with its sign: above 0 the client's figure is too large.
    pub bias: f64,
    /// Median without signs.
    pub p50: f64,
    /// 99th percentile without signs.
    pub p99: f64,
    /// The largest without signs.
    pub max: f64,
}

impl Spread {
    /// The spread of `errors`, all 0 if there are none.
    fn of(errors: Vec<f64>) -> Self {
        let sizes = Sorted::new(errors.iter().map(|error| error.abs()).collect());
        let errors = Sorted::new(errors);
        Self {
            n: errors.len(),
            bias: errors.percentile(50.0).unwrap_or(0.0),
            p50: sizes.percentile(50.0).unwrap_or(0.0),
            p99: sizes.percentile(99.0).unwrap_or(0.0),
            max: sizes.max().unwrap_or(0.0),
        }
    }
}

/// How far the client's figures are from the server's log.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Errors {
    /// Of the time to first token.
    pub ttft: Spread,
    /// Of the gaps between two events of a stream.
    pub itl: Spread,
    /// Of the time to the last event.
    pub e2e: Spread,
    /// How long the server's writes took: the log knows the instants no better than that.
    pub write: Spread,
    /// Share of the events with output that by the client's clock did not arrive while the server wrote them.
    pub outside: f64,
}

/// Records beside the server's log.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Compared {
    /// Requests that were compared.
    pub matched: usize,
    /// Requests that failed, or were never sent.
    pub failed: usize,
    /// Requests that completed, and whose line is missing or has another number of events.
    pub unmatched: usize,
    /// The errors of those compared; `None` if there are none.
    pub errors: Option<Errors>,
}

/// Compares `records`, whose run started at `start_ns` on the server's clock, with the lines of its log.
///
/// The line of a record is that whose key is the record's index.
/// Both times to first token count from the instant at which the client sent, so that instant cancels out, and their
/// difference is that of the arrivals; the same holds for the end.
pub fn compare(records: &[RequestRecord], lines: &[Line], start_ns: u64) -> Compared {
    let by_key: HashMap<&str, &Line> =
        lines.iter().filter_map(|line| Some((line.routing_key.as_deref()?, line))).collect();
    let mut compared = Compared::default();
    let (mut ttft, mut itl, mut e2e, mut write) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut events, mut outside) = (0_usize, 0_usize);
    let us = |client_ns: u64, server_ns: u64| (client_ns as f64 - server_ns as f64) / 1e3;
    for record in records {
        if !record.completed() {
            compared.failed += 1;
            continue;
        }
        let arrived: Vec<u64> = record.events.at_ns.iter().map(|at| start_ns + at).collect();
        let done = record.done.and_then(|done| u64::try_from(done.as_nanos()).ok());
        let line = by_key
            .get(record.index.to_string().as_str())
            .filter(|line| line.ended && line.sent_ns.len() == arrived.len() + CLOSING);
        let (Some(line), Some(done), Some(&first)) = (line, done, arrived.first()) else {
            compared.unmatched += 1;
            continue;
        };
        compared.matched += 1;
        ttft.extend(line.sent_ns.first().map(|&sent| us(first, sent)));
        e2e.extend(line.sent_ns.last().map(|&sent| us(start_ns + done, sent)));
        let gaps = |instants: &[u64]| -> Vec<f64> {
            instants.windows(2).map(|two| us(two[1], two[0])).collect()
        };
        // The closing events have no output; the last gap of the client's ends before them.
        itl.extend(
            gaps(&arrived).iter().zip(gaps(&line.sent_ns)).map(|(ours, truth)| ours - truth),
        );
        events += arrived.len();
        outside += arrived
            .iter()
            .zip(line.sent_ns.iter().zip(&line.took_ns))
            .filter(|&(&at, (&sent, &took))| at < sent || at > sent + took)
            .count();
        write.extend(line.took_ns.iter().map(|&took| us(took, 0)));
    }
    compared.errors = (compared.matched > 0).then(|| Errors {
        ttft: Spread::of(ttft),
        itl: Spread::of(itl),
        e2e: Spread::of(e2e),
        write: Spread::of(write),
        outside: outside as f64 / events.max(1) as f64,
    });
    compared
}
