//! Sends again what was not answered: what a kept connection lost, what a server turned away, and what waits in line for a
//! connection.
//!
//! Servers close idle connections whenever they like, some right after an answer, and the next request may be on its way
//! by then. It is sent over a new connection, never over another kept one, so that this happens once for each attempt.
//! After any byte of an answer the server is known to have the request, which is then not sent again.

use std::time::SystemTime;

use super::{Worker, retry_queue, waiting_line};
use crate::engine::in_flight::InFlight;
use crate::model::Failure;

impl Worker {
    /// Returns whether the request on a connection that broke is to be sent once more.
    pub(super) fn is_lost(&self, key: usize) -> bool {
        self.pool.links.get(key).is_some_and(|link| {
            link.is_reused && link.in_flight.is_some() && link.connection.is_unanswered()
        })
    }

    /// Sends the request on a connection that broke once more, over a new one.
    pub(super) fn resend(&mut self, key: usize) {
        if self.is_draining() {
            // Nothing is sent any more.
            self.cancel(key);
            return;
        }
        let Some(mut link) = self.pool.links.try_remove(key) else { return };
        let Some(mut in_flight) = link.in_flight.take() else { return };
        in_flight.resend(self.clock.now());
        if let Err((Some(in_flight), failure)) = self.connect(Some(in_flight), link.endpoint, 0) {
            self.conclude(in_flight, &failure);
        }
    }

    /// Keeps the request for another attempt, unless its failure is final or its time would be over by then;
    /// then it is given back.
    pub(super) fn keep_for_later(
        &mut self,
        in_flight: Box<InFlight>,
        failure: &Failure,
    ) -> Option<Box<InFlight>> {
        if self.is_draining() {
            return Some(in_flight);
        }
        let (attempts, retries) = (in_flight.attempts, self.shared.options.retries);
        let retry_after = in_flight.retry_after();
        let wait = retry_queue::wait(failure, attempts, retries, retry_after, SystemTime::now);
        let Some(wait) = wait else { return Some(in_flight) };
        let at = self.clock.now() + wait;
        let limit = self.shared.options.limits.request;
        if limit.is_some_and(|limit| at > in_flight.taken_up() + limit) {
            return Some(in_flight);
        }
        self.shared.leave(in_flight.endpoint);
        self.retries.push(at, in_flight, failure.clone());
        None
    }

    /// Sends again what has waited long enough.
    pub(super) fn send_again(&mut self) {
        if self.retries.is_empty() {
            return;
        }
        loop {
            let now = self.clock.now();
            let Some(mut in_flight) = self.retries.pop_due(now) else { return };
            in_flight.again();
            in_flight.begun = now;
            let (index, attempt) = (in_flight.request.index, in_flight.attempts);
            in_flight.endpoint = self.shared.choose(index, attempt);
            self.begin(in_flight);
        }
    }

    /// Gives up what waits to be sent again: the last failure of each counts.
    pub(super) fn send_no_more(&mut self) {
        while let Some((in_flight, failure)) = self.retries.pop() {
            // It leaves the server once more.
            self.shared.enter(in_flight.endpoint);
            self.conclude(in_flight, &failure);
        }
    }

    /// Tries again to open connections for those in line, if that may go well now.
    pub(super) fn connect_again(&mut self) {
        if self.line.is_empty() {
            return;
        }
        let now = self.clock.now();
        if !self.line.may_move(now, self.pool.links.len()) {
            return;
        }
        let mut line = self.line.take();
        while let Some((in_flight, shortage)) = line.pop_front() {
            if let Some(failure) = self.shared.options.limits.passed(in_flight.waiting(), now) {
                let failure = waiting_line::explain(in_flight.locate(failure), shortage);
                self.conclude(in_flight, &failure);
                continue;
            }
            let endpoint = in_flight.endpoint;
            if let Err((Some(in_flight), failure)) = self.connect(Some(in_flight), endpoint, 0) {
                self.conclude(in_flight, &failure);
            }
            if let Some(first) = self.line.take_back() {
                line.push_front(first);
                break;
            }
        }
        self.line.put_back(line, now, self.pool.links.len());
    }

    /// Gives up those in line, since the run is to end.
    pub(super) fn give_up_line(&mut self) {
        let now = self.clock.now();
        for (in_flight, _) in self.line.take() {
            self.give_up(in_flight, now);
        }
    }
}
