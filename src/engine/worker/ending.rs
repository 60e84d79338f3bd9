//! Ends rounds: one becomes a record, the next round begins, or the next request may go.

use std::time::Duration;

use super::{Worker, recorder};
use crate::engine::in_flight::InFlight;
use crate::engine::schedule::Claim;
use crate::model::{Failure, RequestRecord};

impl Worker {
    /// Ends the round on a connection and begins the next one, or frees the connection.
    pub(super) fn end(&mut self, key: usize, result: Result<(), Failure>, reuse: bool) {
        self.pool.note_end(key);
        let Some(link) = self.pool.links.get_mut(key) else { return };
        let Some(in_flight) = link.in_flight.take() else { return };
        let endpoint = link.endpoint;
        link.is_reused = true;
        link.idle_until = in_flight.usable_for().map(|idle| self.clock.now().saturating_add(idle));
        let keep = reuse && !self.shared.options.connection_per_request;
        if !keep {
            self.pool.links.remove(key);
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
            if let Some(link) = self.pool.links.get_mut(key).filter(|_| keep) {
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
            self.pool.keep(key, now, self.next == Claim::Over);
        }
        self.leave(in_flight, record, now);
    }

    /// Goes on to the next round; returns `record`, that of the round before, if there is none or the run is to end.
    fn next_round(&self, in_flight: &mut InFlight, record: RequestRecord) -> Option<RequestRecord> {
        if self.is_draining() {
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
        let Some(mut link) = self.pool.links.try_remove(key) else { return };
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
        recorder::report_end(&self.shared, record);
    }

    /// Ends requests whose answer has been whole for a while: their bodies may have no end.
    pub(super) fn end_trailing(&mut self, now: Duration) {
        for key in self.limits.take_trailing(now) {
            // Its place may be another's since, or its request the next one.
            let Some(link) = self.pool.links.get_mut(key) else { continue };
            let whole = link.in_flight.as_mut().filter(|in_flight| in_flight.is_whole());
            if let Some(result) = whole.map(|in_flight| in_flight.finish(now)) {
                self.limits.not_ended(link.endpoint);
                self.end(key, result, false);
            }
        }
    }

    /// Stores the records of a request and lets the next one go.
    fn leave(&mut self, in_flight: Box<InFlight>, record: RequestRecord, now: Duration) {
        self.shared.leave(in_flight.endpoint);
        self.recorder.leave(&self.shared.options, in_flight.into_earlier(), record, now);
        self.shared.release(now);
        if self.next == Claim::Full {
            // Sent after the read that is under way, which may free more.
            self.next = Claim::Until(Duration::ZERO);
        }
    }
}
