//! What a thread used of the machine.

use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};

/// What the calling thread has used since it began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    cpu: Duration,
    run_delay: Option<Duration>,
}

impl Usage {
    /// Up to now.
    pub(super) fn now() -> Self {
        Self { cpu: cpu(), run_delay: run_delay() }
    }

    /// CPU time since `earlier`, and the time without a CPU, if the system tells.
    pub(super) fn since(&self, earlier: &Self) -> (Duration, Option<Duration>) {
        let delay = self.run_delay.zip(earlier.run_delay);
        (self.cpu.saturating_sub(earlier.cpu), delay.map(|(now, then)| now.saturating_sub(then)))
    }
}

/// CPU time of the calling thread since it began.
pub(super) fn cpu() -> Duration {
    #[cfg(target_os = "linux")]
    let who = UsageWho::RUSAGE_THREAD;
    #[cfg(not(target_os = "linux"))]
    let who = UsageWho::RUSAGE_SELF;
    let time = |value: nix::sys::time::TimeVal| {
        let (seconds, us) = (value.tv_sec(), value.tv_usec());
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
            + Duration::from_micros(u64::try_from(us).unwrap_or(0))
    };
    getrusage(who)
        .map_or(Duration::ZERO, |usage| time(usage.user_time()) + time(usage.system_time()))
}

/// The second number of the scheduler's statistics: time runnable without a CPU, in ns.
fn run_delay() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_ascii_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
}
