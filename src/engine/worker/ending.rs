//! Ending: a round becomes a record, the next round begins, or the next request may go.

use std::time::Duration;

use super::Worker;
use crate::engine::Sink;
use crate::engine::in_flight::InFlight;
use crate::engine::request_log;
use crate::engine::schedule::Claim;
use crate::engine::system::Charge;
use crate::model::{Failure, REQUEST_BYTES, RequestRecord};

impl Worker {
    /// Ends the round on a connection and begins the next one, or frees the connection.
    pub(super) fn end(&mut self, key: usize, result: Result<(), Failure>, reuse: bool) {
        self.note_end(key);
        let Some(link) = self.links.get_mut(key) else { return };
        let Some(in_flight) = link.in_flight.take() else { return };
        let endpoint = link.endpoint;
        link.is_reused = true;
        link.idle_until = in_flight.usable_for().map(|idle| self.clock.now().saturating_add(idle));
        let keep = reuse && !self.shared.options.connection_per_request;
        if !keep {
            self.links.remove(key);
        }
        let kept = match &result {
            Err(failure) => self.keep_for_later(in_flight, failure),
            Ok(()) => Some(in_flight),
        };
        let Some(mut in_flight) = kept else { return };
        let now = self.clock.now();
        let record = self.settle(&mut in_flight, result, now);
        let last = self.next_round(&mut in_flight, record);
        let Some(record) = last else {
            self.shared.progress.sent();
            if let Some(link) = self.links.get_mut(key).filter(|_| keep) {
                link.in_flight = Some(in_flight);
                self.send(key);
            } else if let Err((Some(in_flight), failure)) =
                self.connect(Some(in_flight), endpoint, 0)
            {
                self.conclude(in_flight, &failure);
            }
            return;
        };
        if keep {
            self.keep(key, now);
        }
        self.leave(in_flight, record, now);
    }

    /// Goes on to the next round; returns `record`, that of the round before, if there is none or the run is to end.
    fn next_round(&self, in_flight: &mut InFlight, record: RequestRecord) -> Option<RequestRecord> {
        if self.shared.options.stop.is_draining() {
            return Some(record);
        }
        in_flight.next_round(record, self.clock.now())
    }

    /// Ends a conversation whose server cannot be reached, with a record for each round that is left.
    pub(super) fn conclude(&mut self, in_flight: Box<InFlight>, failure: &Failure) {
        let Some(mut in_flight) = self.keep_for_later(in_flight, failure) else { return };
        loop {
            let now = self.clock.now();
            let record = self.settle(&mut in_flight, Err(failure.clone()), now);
            if let Some(record) = self.next_round(&mut in_flight, record) {
                self.leave(in_flight, record, now);
                return;
            }
            self.shared.progress.sent();
        }
    }

    /// Gives up the round on a connection, since the run is to end.
    pub(super) fn cancel(&mut self, key: usize) {
        let Some(mut link) = self.links.try_remove(key) else { return };
        let Some(in_flight) = link.in_flight.take() else { return };
        self.give_up(in_flight, self.clock.now());
    }

    /// Gives up a round, and the rounds after it.
    pub(super) fn give_up(&mut self, mut in_flight: Box<InFlight>, now: Duration) {
        let record = in_flight.cancel(now);
        self.report_end(&record);
        self.leave(in_flight, record, now);
    }

    /// Makes the record of a round that ended with `result`, and reports it.
    fn settle(
        &self,
        in_flight: &mut InFlight,
        result: Result<(), Failure>,
        now: Duration,
    ) -> RequestRecord {
        if result.is_err() {
            self.shared.count_failure();
        }
        let record = in_flight.settle(result, now);
        self.report_end(&record);
        record
    }

    fn report_end(&self, record: &RequestRecord) {
        self.shared.progress.ended(record);
        if let Some(log) = &self.shared.options.log {
            let event = || request_log::Event::end(record, self.clock.wall());
            log.offer(request_log::WEIGHT, event);
        }
        if let Some(records) = &self.shared.options.records {
            let kept = records.offer(weight(record), || record.clone());
            if !kept && self.shared.options.sink.is_none() {
                // It is written when the run is over.
                records.miss(record.index, record.round);
            }
        }
    }

    /// Hands a record to whoever folds records; of one that has no room there the bare request is left, and the number
    /// of its events is returned.
    fn pass_on(&self, sink: &Sink, record: RequestRecord, charge: Option<Charge>) -> u64 {
        if sink.has_room(weight(&record)) {
            sink.push(weight(&record), (record, charge));
            return 0;
        }
        self.shared.options.budget.count_uncounted();
        let lost = record.events.len() as u64;
        let record = record.uncounted();
        sink.push(weight(&record), (record, None));
        lost
    }

    /// Stores the records and lets the next request go.
    fn leave(&mut self, in_flight: Box<InFlight>, record: RequestRecord, now: Duration) {
        self.shared.left(in_flight.endpoint);
        self.ended.0 += 1;
        self.ended.1 += now.saturating_sub(record.sent.unwrap_or(now));
        let (earlier, charge) = in_flight.into_earlier();
        self.health.unseen += unseen(&earlier, &record, now);
        match &self.shared.options.sink {
            None => {
                self.records.extend(earlier.into_iter().chain([record]));
                charge.keep();
            }
            Some(sink) => {
                for record in earlier {
                    self.lost_events += self.pass_on(sink, record, None);
                }
                self.lost_events += self.pass_on(sink, record, Some(charge));
            }
        }
        self.count_in_flight(now);
        self.active -= 1;
        self.shared.release(now);
        if self.next == Claim::Full {
            // Sent after the read that is under way, which may free more.
            self.next = Claim::Until(Duration::ZERO);
        }
    }
}

/// How much of the time in flight of a request, which is seen to be over at `now`, is in none of its records.
fn unseen(earlier: &[RequestRecord], last: &RequestRecord, now: Duration) -> Duration {
    let records = || earlier.iter().chain([last]);
    let begun = records().find_map(RequestRecord::taken_up).unwrap_or(now);
    let told: Duration = records().filter_map(RequestRecord::in_flight).sum();
    now.saturating_sub(begun).saturating_sub(told)
}

/// Bytes that a record takes while it waits for another thread.
fn weight(record: &RequestRecord) -> u64 {
    (record.heap() + REQUEST_BYTES) as u64
}
