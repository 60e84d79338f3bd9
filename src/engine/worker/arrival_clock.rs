//! When bytes have arrived: by the kernel's stamp, unless that is of another clock, or of bytes that nobody could read yet.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::engine::transport::Clock;
use crate::engine::transport::clock::Offset;
use crate::engine::transport::socket::Disorder;
use crate::health::WorkerHealth;

/// A stamp that is older than this when it is read is looked at.
const OLD: Duration = Duration::from_millis(2);

/// The clocks have moved against each other if they differ by more than this from what is known.
const MOVED: Duration = Duration::from_micros(100);

/// What is missing before a packet comes within this time, or the connection is as good as broken.
const MISSING: Duration = Duration::from_secs(3);

/// Ticks of the system, which counts the time since the last packet in them, are this long at most.
const TICK: Duration = Duration::from_millis(10);

/// Times that the system may be asked about a connection from one comparison of the clocks to the next: on a busy
/// machine every read is late, and the answer costs as much as half a read.
const ASKS: u32 = 500;

/// Time from one comparison of the clocks to the next.
const COMPARE: Duration = Duration::from_millis(500);

/// What came over one connection so far.
#[derive(Debug, Default)]
pub(super) struct Arriving {
    /// When the bytes that were read last had arrived.
    last: Duration,
    /// What the network lost or reordered, if there was anything.
    gaps: Option<Box<Gaps>>,
}

/// Packets that had come before others that belong before them.
#[derive(Debug)]
struct Gaps {
    /// Their number, at the last question.
    packets: u32,
    /// When that was first seen.
    seen: Duration,
}

impl Arriving {
    /// When bytes could be read that had arrived at `at` and were read at `now`, where the system reports `disorder`:
    /// `None` if nothing was missing before them.
    fn readable(&mut self, at: Duration, now: Duration, disorder: Disorder) -> Option<Duration> {
        let packets = disorder.packets;
        if packets != self.gaps.as_ref().map_or(0, |gaps| gaps.packets) {
            self.gaps = Some(Box::new(Gaps { packets, seen: now }));
        }
        // Packets may have come over several gaps, which are closed one after the other.
        self.gaps.as_ref().filter(|gaps| now.saturating_sub(gaps.seen) < MISSING)?;
        // What was missing came with the last packet, if not before.
        let since_last = disorder.since_last.saturating_sub(TICK);
        Some(now.saturating_sub(since_last).max(at))
    }
}

/// The clock of arrivals of one worker.
#[derive(Debug)]
pub(super) struct ArrivalClock {
    clock: Clock,
    /// How the kernel's clock relates to the run's.
    offset: Offset,
    /// The same at the start.
    first: Offset,
    /// How often the system may still be asked why data was read late, until the clocks are compared again.
    asks: u32,
    /// When the look before the last one at the sockets began, or earlier: what had arrived by then was seen by it.
    looked: Duration,
    /// When the last look began.
    looks: Duration,
    /// When the clocks were compared last.
    compared: Duration,
    /// The largest error of a comparison, in ns.
    error_ns: u64,
    /// Reads whose bytes the kernel had kept back, since bytes before them had not arrived.
    held: u64,
    /// The longest time that it kept them.
    held_longest: Duration,
}

impl ArrivalClock {
    /// An arrival clock for the run of `clock`, whose relation to the kernel's is measured now.
    pub(super) fn start(clock: Clock) -> Self {
        let offset = Offset::measure(clock);
        Self {
            clock,
            offset,
            first: offset,
            asks: ASKS,
            looked: Duration::ZERO,
            looks: clock.now(),
            compared: Duration::ZERO,
            error_ns: 0,
            held: 0,
            held_longest: Duration::ZERO,
        }
    }

    /// When bytes had arrived that were read at `now` from the connection of `arriving`, by the kernel's `stamp` of the
    /// last of them. `disorder` asks the system about the connection.
    #[inline]
    pub(super) fn arrival(
        &mut self,
        arriving: &mut Arriving,
        stamp: Duration,
        now: Duration,
        disorder: impl FnOnce() -> Option<Disorder>,
    ) -> Duration {
        let at = self.offset.since_start(stamp);
        if at < arriving.last || at > now || now.saturating_sub(at) > OLD {
            return self.odd_arrival(arriving, stamp, now, disorder);
        }
        arriving.last = at;
        at
    }

    /// The same, of a stamp that is not what is to be expected.
    #[cold]
    fn odd_arrival(
        &mut self,
        arriving: &mut Arriving,
        stamp: Duration,
        now: Duration,
        disorder: impl FnOnce() -> Option<Disorder>,
    ) -> Duration {
        let then = self.offset;
        let day = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if then.since_start(day).abs_diff(now) > MOVED {
            self.measure();
        }
        let at = Offset::arrival([then, self.offset], stamp, now);
        // Bytes can be read when those before them can.
        let mut at = at.max(arriving.last);
        // What came before the last look, and was not read after it, could not be.
        if now.saturating_sub(at) > OLD && at < self.looked && self.asks > 0 {
            self.asks -= 1;
            if let Some(readable) =
                disorder().and_then(|disorder| arriving.readable(at, now, disorder))
            {
                self.held += 1;
                self.held_longest = self.held_longest.max(readable.saturating_sub(at));
                at = readable;
            }
        }
        arriving.last = at;
        at
    }

    /// Returns whether bytes of `arriving` that had arrived at `at` and were read at `now` came over a gap that was
    /// closed lately: behind a packet that is missing, data of several events gathers whatever the client does.
    #[cold]
    pub(super) fn is_over_gap(
        &mut self,
        arriving: &mut Arriving,
        at: Duration,
        now: Duration,
        disorder: impl FnOnce() -> Option<Disorder>,
    ) -> bool {
        if self.asks == 0 {
            return false;
        }
        self.asks -= 1;
        disorder().is_some_and(|disorder| arriving.readable(at, now, disorder).is_some())
    }

    /// Notes that what a look at the sockets found was read by `now`, when the next look begins.
    pub(super) fn looked(&mut self, now: Duration) {
        self.looked = std::mem::replace(&mut self.looks, now);
    }

    /// Compares the clocks at `now`, if it is time.
    pub(super) fn compare(&mut self, now: Duration) {
        if now.saturating_sub(self.compared) >= COMPARE {
            self.compared = now;
            self.asks = ASKS;
            self.measure();
        }
    }

    fn measure(&mut self) {
        self.offset = Offset::measure(self.clock);
        self.error_ns = self.error_ns.max(self.offset.error_ns);
    }

    /// Reports how well the clocks were known, and what the kernel kept back.
    pub(super) fn report(&self, health: &mut WorkerHealth) {
        health.clock_error_ns = self.error_ns;
        health.clock_moved_ns = self.offset.moved_since(self.first);
        health.held = self.held;
        health.held_longest = self.held_longest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn what_could_not_be_read_yet_is_told_from_what_was_not_read_yet() {
        let told = |packets, since_last| Disorder { packets, since_last: ms(since_last) };
        let mut arriving = Arriving::default();
        // In order: whoever read it late is the client.
        assert_eq!(arriving.readable(ms(100), ms(150), told(0, 45)), None);
        // Over a gap, which was closed when the last packet came; the rest is the client's.
        assert_eq!(arriving.readable(ms(200), ms(300), told(2, 0)), Some(ms(300)));
        assert_eq!(arriving.readable(ms(210), ms(320), told(2, 25)), Some(ms(305)));
        // The packet is the one that was read.
        assert_eq!(arriving.readable(ms(310), ms(330), told(2, 35)), Some(ms(310)));
        // Long after that.
        assert_eq!(arriving.readable(ms(9000), ms(9100), told(2, 0)), None);
        assert_eq!(arriving.readable(ms(9200), ms(9300), told(3, 0)), Some(ms(9300)));
    }

    /// An arrival clock, and the time of day at which its run began.
    fn started() -> (ArrivalClock, Duration) {
        let clock = ArrivalClock::start(Clock::start());
        let day = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        // As the clock itself has it, to the nanosecond.
        let begun = day.saturating_sub(clock.offset.since_start(day));
        (clock, begun)
    }

    #[test]
    fn stamps_count_and_arrivals_neither_fall_nor_lie_ahead() {
        let (mut clock, begun) = started();
        let mut arriving = Arriving::default();
        let mut at = |stamp, now| {
            let unasked = || panic!("nothing is late");
            clock.arrival(&mut arriving, begun + stamp, now, unasked)
        };
        assert_eq!(at(ms(100), ms(101)), ms(100));
        // A stamp before the one before it: bytes can be read when those before them can.
        assert_eq!(at(ms(99), ms(101)), ms(100));
        assert!(at(ms(500), ms(102)) <= ms(102));
    }

    #[test]
    fn only_what_a_look_did_not_find_is_asked_about() {
        let (mut clock, begun) = started();
        let disorder = || Some(Disorder { packets: 1, since_last: ms(0) });
        let mut arriving = Arriving::default();
        // It came after the last look: the client was late.
        clock.looked(ms(40));
        let at = clock.arrival(&mut arriving, begun + ms(50), ms(90), || panic!("asked"));
        assert!(at.abs_diff(ms(50)) < ms(1), "{at:?}");
        // The last look should have found it.
        clock.looked(ms(200));
        clock.looked(ms(300));
        let at = clock.arrival(&mut arriving, begun + ms(150), ms(290), disorder);
        assert_eq!(at, ms(290));
        // The system is asked so often, and no more until the clocks are compared.
        clock.asks = 0;
        let mut late = Arriving::default();
        let at = clock.arrival(&mut late, begun + ms(150), ms(290), || panic!("asked"));
        assert!(at.abs_diff(ms(150)) < ms(1), "{at:?}");
        assert!(!clock.is_over_gap(&mut late, ms(150), ms(290), || panic!("asked")));
        clock.compare(ms(1000));
        assert_eq!(clock.asks, ASKS);
        assert!(clock.is_over_gap(&mut late, ms(150), ms(290), disorder));
        assert_eq!(clock.asks, ASKS - 1);
        let mut health = WorkerHealth::default();
        clock.report(&mut health);
        assert_eq!(health.held, 1);
        assert!(health.held_longest.abs_diff(ms(140)) < ms(1), "{:?}", health.held_longest);
    }
}
