//! What the machine kept from the client.

use std::time::Duration;

/// What kept the whole program from running while a run went on.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Machine {
    /// How often nothing of the program ran for long: it was stopped, frozen or starved, or its machine was.
    pub stops: u64,
    /// For how long in all.
    pub stopped: Duration,
    /// The longest of them.
    pub longest_stop: Duration,
    /// How long the machine slept meanwhile, which the run's clock does not count.
    pub slept: Duration,
    /// The share of the machine's CPU time that its host gave to others; `None` if the system does not tell.
    pub steal: Option<f64>,
    /// The share of the periods of its CPU quota in which the program had used it up; `None` without a quota.
    pub throttled: Option<f64>,
}

impl Machine {
    /// Adds a time in which nothing ran.
    pub fn add_stop(&mut self, length: Duration) {
        self.stops += 1;
        self.stopped += length;
        self.longest_stop = self.longest_stop.max(length);
    }
}
