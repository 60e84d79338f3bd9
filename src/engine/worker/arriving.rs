//! When bytes have arrived: by the kernel's stamp, unless that is of another clock, or of bytes that nobody could read yet.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Worker;
use crate::engine::transport::clock::Offset;
use crate::engine::transport::socket::Disorder;

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
pub(super) const ASKS: u32 = 500;

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
    /// Their number, when somebody last asked.
    packets: u32,
    /// When that was first seen.
    seen: Duration,
}

impl Arriving {
    /// When bytes could be read that had arrived at `at` and were read at `now`, where the system tells of `disorder`:
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

impl Arriving {
    /// Whether bytes that had arrived at `at` and were read at `now` came over a gap that was closed lately.
    #[cold]
    pub(super) fn over_gap(
        &mut self,
        disorder: Option<Disorder>,
        at: Duration,
        now: Duration,
    ) -> bool {
        disorder.is_some_and(|disorder| self.readable(at, now, disorder).is_some())
    }
}

impl Worker {
    /// When the bytes that were read from connection `key` at `now` had arrived, by the kernel's `stamp` of the last
    /// of them.
    #[inline]
    pub(super) fn arrival(&mut self, key: usize, stamp: Duration, now: Duration) -> Duration {
        let at = self.offset.since_start(stamp);
        let Some(link) = self.links.get_mut(key) else { return at.min(now) };
        if at < link.arriving.last || at > now || now.saturating_sub(at) > OLD {
            return self.odd_arrival(key, stamp, now);
        }
        link.arriving.last = at;
        at
    }

    /// The same, of a stamp that is not what is to be expected.
    #[cold]
    fn odd_arrival(&mut self, key: usize, stamp: Duration, now: Duration) -> Duration {
        let then = self.offset;
        let day = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if then.since_start(day).abs_diff(self.clock.now()) > MOVED {
            self.offset = Offset::measure(self.clock);
            self.health.clock_error_ns = self.health.clock_error_ns.max(self.offset.error_ns);
        }
        let at = Offset::arrival([then, self.offset], stamp, now);
        let Some(link) = self.links.get_mut(key) else { return at };
        // Bytes can be read when those before them can.
        let mut at = at.max(link.arriving.last);
        // What came before the last look, and was not read after it, could not be.
        if now.saturating_sub(at) > OLD && at < self.looked && self.asks > 0 {
            self.asks -= 1;
            let disorder = link.connection.disorder();
            if let Some(readable) =
                disorder.and_then(|disorder| link.arriving.readable(at, now, disorder))
            {
                self.health.held += 1;
                self.health.held_longest =
                    self.health.held_longest.max(readable.saturating_sub(at));
                at = readable;
            }
        }
        link.arriving.last = at;
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_read_yet_is_told_from_what_was_not_read_yet() {
        let ms = Duration::from_millis;
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
}
