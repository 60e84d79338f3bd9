//! What one worker knows of its part of the run: records, tokens, and how it kept up.

use std::time::Duration;

use crate::engine::Options;
use crate::engine::event::{RunEvent, weight};
use crate::engine::outbox::Outbox;
use crate::engine::shared::Shared;
use crate::engine::system::Charge;
use crate::engine::transport::Version;
use crate::engine::transport::connection::Took;
use crate::health::WorkerHealth;
use crate::model::RequestRecord;

/// What became of a worker's part of the load.
#[derive(Debug)]
pub(in crate::engine) struct Done {
    pub(in crate::engine) records: Vec<RequestRecord>,
    pub(in crate::engine) health: WorkerHealth,
}

/// The recorder of one worker.
#[derive(Debug)]
pub(super) struct Recorder {
    health: WorkerHealth,
    /// Tokens that came since [`Self::report_tokens`]: to report each would wait for all that was written before.
    tokens: u64,
    /// Events that were read of answers that could not be kept.
    lost_events: u64,
    /// Requests of this worker in flight.
    active: usize,
    /// When their number changed last.
    changed: Duration,
    /// Ended requests and the sum of their durations.
    ended: (u32, Duration),
    records: Vec<RequestRecord>,
}

impl Recorder {
    /// A recorder with room for `requests` records: nothing is moved while streams are read, and what is not used takes
    /// no memory.
    pub(super) fn new(requests: usize) -> Self {
        Self {
            health: WorkerHealth::default(),
            tokens: 0,
            lost_events: 0,
            active: 0,
            changed: Duration::ZERO,
            ended: (0, Duration::ZERO),
            records: Vec::with_capacity(requests),
        }
    }

    /// Begins the run: the connections so far were opened before it.
    pub(super) fn begin(&mut self) {
        self.health.connections_ahead = std::mem::take(&mut self.health.connections);
    }

    /// Notes that a connection begins to be opened.
    pub(super) fn connects(&mut self) {
        self.health.connections += 1;
    }

    /// Notes that a connection of `version` is open, and how long that `took`.
    pub(super) fn connected(&mut self, took: Took, version: Version) {
        self.health.http2_connections += u64::from(version == Version::Http2);
        self.health.connecting.add(took.connect);
        if let Some(tls) = took.tls {
            self.health.tls.add(tls);
        }
    }

    /// Returns whether any connection was ever open.
    pub(super) fn has_connected(&self) -> bool {
        !self.health.connecting.is_empty()
    }

    /// Notes that `bytes` bytes were read.
    #[inline]
    pub(super) fn read(&mut self, bytes: usize) {
        self.health.reads += 1;
        self.health.bytes += bytes as u64;
    }

    /// Notes that the bytes that were read at `now` have a stamp, and had arrived at `at`.
    #[inline]
    pub(super) fn stamped(&mut self, now: Duration, at: Duration) {
        self.health.lag.add(now, now.saturating_sub(at));
    }

    /// Notes that the bytes that were read have no stamp.
    #[inline]
    pub(super) fn unstamped(&mut self) {
        self.health.unstamped += 1;
    }

    /// Notes that a response had `before` events before a read and has `after` since, with `tokens` new tokens; returns
    /// how many events the read gave. If several, `is_over_gap` says whether they gathered behind a missing packet.
    #[inline]
    pub(super) fn events(
        &mut self,
        before: usize,
        after: usize,
        tokens: u64,
        is_over_gap: impl FnOnce() -> bool,
    ) -> usize {
        // Of an answer that is cut fewer are kept than were read.
        self.lost_events += before.saturating_sub(after) as u64;
        let events = after.saturating_sub(before);
        self.health.events += events as u64;
        if events > 1 {
            let shared = events as u64 - 1;
            if is_over_gap() {
                self.health.gathered += shared;
            } else {
                self.health.merged += shared;
            }
        }
        self.tokens = self.tokens.saturating_add(tokens);
        events
    }

    /// Events that were read.
    pub(super) fn events_read(&self) -> u64 {
        self.health.events
    }

    /// Reports the tokens that came since the last report.
    pub(super) fn report_tokens(&mut self, shared: &Shared) {
        if self.tokens > 0 {
            shared.progress.tokens(std::mem::take(&mut self.tokens));
        }
    }

    /// Returns whether a request of this worker is in flight.
    pub(super) fn has_active(&self) -> bool {
        self.active > 0
    }

    /// The mean time from the send to the end of the requests that have ended.
    pub(super) fn mean(&self) -> Option<Duration> {
        let (requests, sum) = self.ended;
        (requests > 0).then(|| sum / requests)
    }

    /// Notes that a request goes into flight at `now`.
    pub(super) fn enter(&mut self, now: Duration) {
        self.count_in_flight(now);
        self.active += 1;
    }

    /// Adds up the time in flight until `now`, when the number in flight is about to change.
    fn count_in_flight(&mut self, now: Duration) {
        let active = u32::try_from(self.active).unwrap_or(u32::MAX);
        self.health.in_flight += now.saturating_sub(self.changed) * active;
        self.changed = now;
    }

    /// Stores the records of a request that leaves at `now`: those of `earlier` rounds, and the last one.
    pub(super) fn leave(
        &mut self,
        options: &Options,
        (earlier, charge): (Vec<RequestRecord>, Charge),
        last: RequestRecord,
        now: Duration,
    ) {
        self.ended.0 += 1;
        self.ended.1 += now.saturating_sub(last.sent.unwrap_or(now));
        self.health.unseen += unseen(&earlier, &last, now);
        match options.subscribers.owner() {
            None => {
                self.records.extend(earlier.into_iter().chain([last]));
                charge.keep();
            }
            Some(owner) => {
                for record in earlier {
                    self.lost_events += pass_on(options, owner, record, None);
                }
                self.lost_events += pass_on(options, owner, last, Some(charge));
            }
        }
        self.count_in_flight(now);
        self.active -= 1;
    }

    /// The records and the health counts; what the other parts know is added to these.
    pub(super) fn finish(self) -> Done {
        let Self { mut health, records, lost_events, .. } = self;
        health.lag.close_second();
        // What is judged is what was kept; the rest came in bulk.
        health.events = health.events.saturating_sub(lost_events);
        health.merged = health.merged.saturating_sub(lost_events);
        Done { records, health }
    }
}

/// Reports the record of a round that has ended to whoever follows the run.
pub(super) fn report_end(shared: &Shared, record: &RequestRecord) {
    shared.progress.ended(record);
    shared.options.subscribers.ended(record);
}

/// Hands a record to its owner; of one that has no room there the bare request is left, and the number
/// of its events is returned.
fn pass_on(
    options: &Options,
    owner: &Outbox<RunEvent>,
    record: RequestRecord,
    charge: Option<Charge>,
) -> u64 {
    if owner.has_room(weight(&record)) {
        owner.push(weight(&record), RunEvent::Ended { record, charge });
        return 0;
    }
    options.budget.count_uncounted();
    let lost = record.events.len() as u64;
    let record = record.uncounted();
    owner.push(weight(&record), RunEvent::Ended { record, charge: None });
    lost
}

/// Returns how much of the time in flight of a request, which is seen to be over at `now`, is in none of its records.
fn unseen(earlier: &[RequestRecord], last: &RequestRecord, now: Duration) -> Duration {
    let records = || earlier.iter().chain([last]);
    let begun = records().find_map(RequestRecord::taken_up).unwrap_or(now);
    let recorded: Duration = records().filter_map(RequestRecord::in_flight).sum();
    now.saturating_sub(begun).saturating_sub(recorded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::event::{Ends, Wants};
    use crate::engine::in_flight::tests::in_flight;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Ends the request at `index`, which was sent at 10 ms, at `now`; its end is seen 5 ms later.
    fn leave(recorder: &mut Recorder, options: &Options, index: usize, now: Duration) {
        let mut in_flight = in_flight(index, ms(10));
        let record = in_flight.settle(Ok(()), now);
        recorder.leave(options, in_flight.into_earlier(), record, now + ms(5));
    }

    #[test]
    fn time_in_flight_is_that_of_all_requests() {
        let mut recorder = Recorder::new(2);
        let options = Options::default();
        assert_eq!((recorder.mean(), recorder.has_active()), (None, false));
        recorder.enter(ms(10));
        recorder.enter(ms(10));
        leave(&mut recorder, &options, 1, ms(30));
        leave(&mut recorder, &options, 0, ms(90));
        assert_eq!((recorder.mean(), recorder.has_active()), (Some(ms(55)), false));
        let Done { records, health } = recorder.finish();
        assert_eq!(records.iter().map(|record| record.index).collect::<Vec<_>>(), [1, 0]);
        // Twice 25 ms, and the second one 60 ms more; 5 ms of each are after its end.
        assert_eq!((health.in_flight, health.unseen), (ms(110), ms(10)));
    }

    #[test]
    fn events_of_answers_that_are_cut_do_not_count() {
        let mut recorder = Recorder::new(0);
        assert_eq!(recorder.events(0, 3, 3, || false), 3);
        assert_eq!(recorder.events(3, 4, 1, || panic!("one alone did not gather")), 1);
        // Those that gathered behind a gap are the network's.
        assert_eq!(recorder.events(4, 6, 2, || true), 2);
        // The answer is cut.
        assert_eq!(recorder.events(6, 5, 0, || false), 0);
        assert_eq!((recorder.tokens, recorder.events_read()), (6, 6));
        let health = recorder.finish().health;
        assert_eq!((health.events, health.merged, health.gathered), (5, 1, 1));
    }

    #[test]
    fn a_record_without_room_leaves_the_bare_request() {
        let mut options = Options::default();
        let owns = Wants { ends: Some(Ends::Records), ..Wants::default() };
        let mut inbox = options.subscribers.subscribe(owns, 1);
        let mut recorder = Recorder::new(0);
        recorder.enter(ms(10));
        recorder.enter(ms(10));
        leave(&mut recorder, &options, 0, ms(30));
        leave(&mut recorder, &options, 1, ms(30));
        let mut next = || match inbox.recv().unwrap() {
            RunEvent::Ended { record, charge } => (record, charge),
            other => panic!("{other:?}"),
        };
        let (first, charge) = next();
        assert!(first.completed() && charge.is_some());
        let (second, charge) = next();
        assert_eq!((second.index, charge.is_some()), (1, false));
        assert!(recorder.finish().records.is_empty());
    }
}
