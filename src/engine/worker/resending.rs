//! Sending once more what a kept connection lost: the server had closed it, and no byte of an answer came.
//!
//! Servers close idle connections whenever they like, some right after an answer, and the next request may be on its way
//! by then. It is sent over a new connection, never over another kept one, so that this happens once for each attempt.
//! After any byte of an answer the server is known to have the request, which is then not sent again.

use super::Worker;

impl Worker {
    /// Whether the request on a connection that broke is to be sent once more.
    pub(super) fn is_lost(&self, key: usize) -> bool {
        self.links.get(key).is_some_and(|link| {
            link.is_reused && link.in_flight.is_some() && link.connection.is_unanswered()
        })
    }

    /// Sends the request on a connection that broke once more, over a new one.
    pub(super) fn resend(&mut self, key: usize) {
        if self.shared.options.stop.is_draining() {
            // Nothing is sent any more.
            self.cancel(key);
            return;
        }
        let Some(mut link) = self.links.try_remove(key) else { return };
        let Some(mut in_flight) = link.in_flight.take() else { return };
        in_flight.resend(self.clock.now());
        if let Err((Some(in_flight), failure)) = self.connect(Some(in_flight), link.endpoint, 0) {
            self.conclude(in_flight, &failure);
        }
    }
}
