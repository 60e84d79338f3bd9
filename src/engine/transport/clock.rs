//! The clock of a run, and how the kernel's clock relates to it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Offsets from the start of a run, on a clock that never jumps.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
    wall: SystemTime,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { start: Instant::now(), wall: SystemTime::now() }
    }

    /// Time since the start.
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// The start.
    pub fn started(&self) -> Instant {
        self.start
    }

    /// The time of day at the start.
    pub fn wall(&self) -> SystemTime {
        self.wall
    }
}

/// Looks at the clocks in a row, of which the closest is taken.
const LOOKS: usize = 5;

/// What to subtract from the time of day in ns to get ns since the start of the run.
///
/// The kernel stamps what it receives with the time of day, which may be set or slewed while a run lasts,
/// so this is measured again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offset {
    ns: i128,
    /// At most this much off, in ns: half the time that the closest look took.
    pub error_ns: u64,
}

impl Offset {
    /// Measures it.
    pub fn measure(clock: Clock) -> Self {
        let look = || {
            let before = clock.now();
            let wall = SystemTime::now();
            let after = clock.now();
            (after.saturating_sub(before), before, wall)
        };
        let (took, before, wall) =
            (0..LOOKS).map(|_| look()).min_by_key(|(took, ..)| *took).unwrap_or_else(look);
        let wall = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        let ns = wall.as_nanos().cast_signed() - (before + took / 2).as_nanos().cast_signed();
        Self { ns, error_ns: u64::try_from(took.as_nanos() / 2).unwrap_or(u64::MAX) }
    }

    /// The time since the start of the run at `wall`, a time of day since the epoch.
    pub fn since_start(self, wall: Duration) -> Duration {
        let ns = wall.as_nanos().cast_signed() - self.ns;
        Duration::from_nanos(u64::try_from(ns).unwrap_or(0))
    }

    /// When something had arrived that was stamped with `stamp` and seen at `now`, where `known` may differ since the time
    /// of day was set, before the stamp was made or after.
    pub fn arrival(known: [Self; 2], stamp: Duration, now: Duration) -> Duration {
        // Of what can be, the later: data is read soon, and never before it came.
        let at = known.map(|offset| offset.since_start(stamp));
        at.into_iter().filter(|at| *at <= now).max().unwrap_or(now)
    }

    /// Returns how far the time of day has moved against the run's clock since `earlier`, in ns.
    pub fn moved_since(self, earlier: Self) -> u64 {
        u64::try_from((self.ns - earlier.ns).abs()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_day_that_was_set_makes_nothing_late() {
        let ms = Duration::from_millis;
        let day = ms(1_000_000);
        let known = |wall: i64| {
            let ns = day.as_nanos().cast_signed() + i128::from(wall) * 1_000_000;
            Offset { ns, error_ns: 0 }
        };
        // It arrived at 5,000 ms and was read at 5,001.
        for step in [-3000, -10, 0, 10, 3000] {
            let offsets = [known(0), known(step)];
            let stamped_before = day + ms(5000);
            let stamped_after = Duration::from_nanos_u128(
                (stamped_before.as_nanos().cast_signed() + i128::from(step) * 1_000_000)
                    .cast_unsigned(),
            );
            for stamp in [stamped_before, stamped_after] {
                let at = Offset::arrival(offsets, stamp, ms(5001));
                // A step forward leaves a choice, of which the later is the one that is not the client's.
                assert_eq!(at, ms(5000), "{step} {stamp:?}");
            }
        }
        assert_eq!(Offset::arrival([known(0); 2], day + ms(9000), ms(5001)), ms(5001));
    }

    #[test]
    fn times_of_day_become_offsets() {
        let clock = Clock::start();
        let offset = Offset::measure(clock);
        let before = clock.now();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let after = clock.now();
        let error = Duration::from_nanos(offset.error_ns) * 2 + Duration::from_micros(50);
        let at = offset.since_start(wall);
        assert!(at + error >= before && at <= after + error, "{before:?} {at:?} {after:?}");
        assert_eq!(offset.since_start(Duration::ZERO), Duration::ZERO);
        assert_eq!(offset.moved_since(offset), 0);
    }
}
