//! What happens during a run: one type of event, and the subscriptions through which whatever follows a run hears it.
//!
//! Events are per request and per tick. The path of the stream makes none: it adds to the counters of
//! [`Progress`](super::progress::Progress), and each tick carries what they say.

use std::time::{Duration, SystemTime};

use super::outbox::{self, Inbox, Outbox};
use super::progress::Snapshot;
use super::system::Charge;
use crate::model::{PlannedRequest, REQUEST_BYTES, RequestRecord};

/// Characters of an answer that a brief record keeps.
pub const EXCERPT: usize = 200;

/// Bytes that the send of a request, and a brief record, count for while they wait: about what a long one takes.
const BRIEF: u64 = 2 << 10;

/// Bytes that a tick counts for while it waits.
const TICK_BYTES: u64 = 256;

/// Something that happens during a run. Instants are offsets from the start of the load.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a box would cost each record an allocation")]
pub enum RunEvent {
    /// The load begins, at this time of day.
    Started(SystemTime),
    /// A round of a request was sent for the first time.
    Sent {
        /// The request.
        request: PlannedRequest,
        /// Round of its conversation, from 0.
        round: usize,
        /// When.
        at: Duration,
    },
    /// A round of a request has ended, or was given up.
    Ended {
        /// What became of it.
        record: RequestRecord,
        /// The memory that its answer takes, where the record itself is handed over, with the last round of a request.
        charge: Option<Charge>,
    },
    /// Some time has passed.
    Tick(Snapshot),
    /// The load has ended.
    Finished,
}

/// What a subscriber hears of rounds that end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// Each record without all that can be long, as soon as the round has ended.
    Brief,
    /// A copy of each record as soon as the round has ended. One without room is noted as missed if the run keeps it.
    Copies,
    /// The records themselves, which the run does not keep: all rounds of a request when the last has ended.
    /// Without room the bare request is left of a record. One subscriber at most has them.
    Records,
}

/// What a subscriber wants to hear beside the start and the end of the load.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wants {
    /// Sends.
    pub sends: bool,
    /// Rounds that end.
    pub ends: Option<Ends>,
    /// Ticks.
    pub ticks: bool,
}

/// Who follows a run. Each has a bounded channel, which the load never waits for.
#[derive(Debug, Clone, Default)]
pub struct Subscribers(Vec<Subscription>);

#[derive(Debug, Clone)]
struct Subscription {
    wants: Wants,
    outbox: Outbox<RunEvent>,
}

impl Subscribers {
    /// Adds one that `wants` these events, of which `backlog` bytes may wait.
    pub fn subscribe(&mut self, wants: Wants, backlog: u64) -> Inbox<RunEvent> {
        let (outbox, inbox) = outbox::bounded(backlog);
        self.0.push(Subscription { wants, outbox });
        inbox
    }

    /// Ends all subscriptions: whoever receives finds the end of its channel.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Where the records themselves go, if the run does not keep them.
    pub(super) fn owner(&self) -> Option<&Outbox<RunEvent>> {
        self.that(|wants| wants.ends == Some(Ends::Records)).next()
    }

    /// Whether any wants sends.
    pub(super) fn want_sends(&self) -> bool {
        self.that(|wants| wants.sends).next().is_some()
    }

    /// Whether any wants ticks.
    pub(super) fn want_ticks(&self) -> bool {
        self.that(|wants| wants.ticks).next().is_some()
    }

    fn that(&self, want: fn(&Wants) -> bool) -> impl Iterator<Item = &Outbox<RunEvent>> {
        let wanting = self.0.iter().filter(move |subscription| want(&subscription.wants));
        wanting.map(|subscription| &subscription.outbox)
    }

    /// The load begins at `wall`.
    pub(super) fn started(&self, wall: SystemTime) {
        self.that(|_| true).for_each(|outbox| outbox.push(0, RunEvent::Started(wall)));
    }

    /// `round` of `request` was sent at `at`.
    pub(super) fn sent(&self, request: &PlannedRequest, round: usize, at: Duration) {
        for outbox in self.that(|wants| wants.sends) {
            outbox.offer(BRIEF, || RunEvent::Sent { request: request.clone(), round, at });
        }
    }

    /// The round of `record` has ended.
    pub(super) fn ended(&self, record: &RequestRecord) {
        for Subscription { wants, outbox } in &self.0 {
            let of = |record| RunEvent::Ended { record, charge: None };
            match wants.ends {
                Some(Ends::Brief) => {
                    outbox.offer(BRIEF, || of(record.brief(EXCERPT)));
                }
                Some(Ends::Copies) => {
                    let is_sent = outbox.offer(weight(record), || of(record.clone()));
                    if !is_sent && self.owner().is_none() {
                        // The record is there when the run is over.
                        outbox.miss(record.index, record.round);
                    }
                }
                Some(Ends::Records) | None => {}
            }
        }
    }

    /// So much has happened by now.
    pub(super) fn tick(&self, snapshot: &Snapshot) {
        for outbox in self.that(|wants| wants.ticks) {
            outbox.offer(TICK_BYTES, || RunEvent::Tick(snapshot.clone()));
        }
    }

    /// The load has ended.
    pub(super) fn finished(&self) {
        self.that(|_| true).for_each(|outbox| outbox.push(0, RunEvent::Finished));
    }
}

/// Bytes that a record takes while it waits for another thread.
pub(super) fn weight(record: &RequestRecord) -> u64 {
    (record.heap() + REQUEST_BYTES) as u64
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::engine::in_flight::tests::in_flight;

    const WIDE: u64 = 1 << 20;

    /// A record with `events` events of a letter each.
    fn record(index: usize, events: u64) -> RequestRecord {
        let mut record = in_flight(index, Duration::ZERO).settle(Ok(()), Duration::from_secs(1));
        record.text = "a".repeat(usize::try_from(events).unwrap());
        (0..events).for_each(|at| record.events.push(0, at + 1, 1));
        record
    }

    /// What has come, by name.
    fn heard(inbox: &mut Inbox<RunEvent>) -> Vec<String> {
        let name = |event| match event {
            RunEvent::Started(_) => "started".to_owned(),
            RunEvent::Sent { request, .. } => format!("sent {}", request.index),
            RunEvent::Ended { record, .. } => {
                format!("ended {} {}", record.index, record.events.len())
            }
            RunEvent::Tick(Snapshot { done, .. }) => format!("tick {done}"),
            RunEvent::Finished => "finished".to_owned(),
        };
        std::iter::from_fn(|| inbox.try_recv().ok()).map(name).collect()
    }

    #[test]
    fn each_hears_what_it_wants() {
        let mut all = Subscribers::default();
        let mut subscribe = |wants| all.subscribe(wants, WIDE);
        let mut nothing = subscribe(Wants::default());
        let mut log = subscribe(Wants { sends: true, ends: Some(Ends::Brief), ticks: false });
        let mut copies = subscribe(Wants { ends: Some(Ends::Copies), ..Wants::default() });
        let mut line = subscribe(Wants { ticks: true, ..Wants::default() });
        assert!(all.want_sends() && all.want_ticks() && all.owner().is_none());
        all.started(UNIX_EPOCH);
        all.sent(&in_flight(3, Duration::ZERO).request, 0, Duration::ZERO);
        all.ended(&record(3, 1000));
        all.tick(&Snapshot { done: 1, ..Snapshot::default() });
        all.finished();
        assert_eq!(heard(&mut nothing), ["started", "finished"]);
        assert_eq!(heard(&mut log), ["started", "sent 3", "ended 3 1", "finished"]);
        assert_eq!(heard(&mut copies), ["started", "ended 3 1000", "finished"]);
        assert_eq!(heard(&mut line), ["started", "tick 1", "finished"]);
        all.clear();
        assert!(line.recv().is_err(), "its channel has an end");
    }

    #[test]
    fn brief_records_are_short() {
        let record = record(0, 1000).brief(EXCERPT);
        assert_eq!((record.text.len(), record.events.len()), (EXCERPT, 1));
        assert_eq!(record.first_token(), Some(Duration::from_nanos(1)));
        assert!(record.completed());
    }

    #[test]
    fn copies_without_room_are_missed_where_the_run_keeps_them() {
        let mut all = Subscribers::default();
        let mut copies = all.subscribe(Wants { ends: Some(Ends::Copies), ..Wants::default() }, 1);
        (0..2).for_each(|index| all.ended(&record(index, 1)));
        assert_eq!(heard(&mut copies), ["ended 0 1"]);
        assert_eq!((copies.backlog().missed(), copies.backlog().left_out()), (vec![(1, 0)], 1));
        // Where they go elsewhere, nobody can make up for them.
        let owns = Wants { ends: Some(Ends::Records), ..Wants::default() };
        let mut records = all.subscribe(owns, WIDE);
        assert!(all.owner().is_some());
        all.ended(&record(2, 1));
        assert_eq!((copies.backlog().missed(), copies.backlog().left_out()), (vec![], 2));
        assert_eq!(heard(&mut records), [""; 0], "the record itself comes when the request leaves");
    }
}
