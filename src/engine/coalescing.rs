//! Judges whether a coalescing window is worth waiting for, by what windows gathered so far.
//!
//! Data comes evenly or in bursts. After a burst has been read, a window gathers nothing and costs a wake-up; so what a
//! window gathered is remembered by its place in the row of windows since the thread last had to wait for data.
//!
//! Windows save nothing on some machines: where a wake-up is cheap, data that waited has gone cold, and reading at once
//! costs less. So the thread takes turns with and without windows, and stays with what costs less CPU.

use std::time::Duration;

/// Places that are told apart; later ones count as the last.
const PLACES: usize = 3;

/// Sockets that a window must be expected to gather.
const WORTH: f32 = 2.0;

/// A window that was not worth it is tried again after so many that were left out.
const AGAIN: u32 = 64;

/// How long a period lasts in the way that costs less, and one that looks at the other way.
const PERIOD: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(60);

/// Periods between two looks at the way that costs more.
const LOOK_AGAIN: u32 = 12;

/// A period with fewer events says nothing about costs, and goes on.
const EVENTS: u64 = 200;

/// Weight of the newest window in what is expected.
const WEIGHT: f32 = 0.125;

/// What the windows of one thread gathered.
#[derive(Debug)]
pub(super) struct Coalescing {
    /// Sockets with data after a window, at each place.
    expected: [f32; PLACES],
    /// Windows left out at each place since the last one that was waited for.
    left_out: [u32; PLACES],
    /// Windows since the thread last waited for data.
    place: usize,
    /// Whether windows are waited for in this period.
    on: bool,
    /// CPU time per event in ns, without windows and with them.
    cost: [Option<f64>; 2],
    periods: u32,
    /// When the period under way is over.
    over: Duration,
    /// CPU time and events of the thread when it began.
    begun: (Duration, u64),
}

impl Coalescing {
    /// Nothing is known of windows, so they are waited for; the thread has used `cpu` by `now`, for no event.
    pub(super) fn new(now: Duration, cpu: Duration) -> Self {
        Self {
            expected: [8.0; PLACES],
            left_out: [0; PLACES],
            place: 0,
            on: true,
            cost: [None; 2],
            periods: 0,
            over: now + PERIOD,
            begun: (cpu, 0),
        }
    }

    /// Returns whether to wait for a window now.
    pub(super) fn wanted(&mut self) -> bool {
        if !self.on {
            return false;
        }
        let place = self.place.min(PLACES - 1);
        if self.expected[place] >= WORTH || self.left_out[place] >= AGAIN {
            self.left_out[place] = 0;
            return true;
        }
        self.left_out[place] += 1;
        false
    }

    /// Notes that a window gathered data on `sockets` sockets.
    pub(super) fn gathered(&mut self, sockets: u16) {
        let place = self.place.min(PLACES - 1);
        self.expected[place] += (f32::from(sockets) - self.expected[place]) * WEIGHT;
        self.place += 1;
    }

    /// Returns whether the period under way is over by `now`, and may be judged.
    pub(super) fn is_over(&self, now: Duration) -> bool {
        now >= self.over
    }

    /// Judges the period that is over by `now`, at which the thread has used `cpu` and read `events` events in all:
    /// decides on windows in the next one.
    pub(super) fn judge(&mut self, now: Duration, cpu: Duration, events: u64) {
        let (cpu_before, events_before) = self.begun;
        let new = events - events_before;
        if new < EVENTS {
            self.over = now + LOOK;
            return;
        }
        self.begun = (cpu, events);
        self.periods += 1;
        // The first one has the sends of the beginning in it.
        if self.periods > 1 {
            let cost = cpu.saturating_sub(cpu_before).as_secs_f64() * 1e9 / new as f64;
            let known = &mut self.cost[usize::from(self.on)];
            *known = Some(known.map_or(cost, |old| f64::midpoint(old, cost)));
        }
        let (on, looks) = match self.cost {
            [Some(without), Some(with)] => {
                let looks = self.periods.is_multiple_of(LOOK_AGAIN);
                ((with <= without) != looks, looks)
            }
            // The first way was measured: now the other one.
            [None, Some(_)] | [Some(_), None] => (!self.on, true),
            [None, None] => (self.on, false),
        };
        self.on = on;
        self.over = now + if looks { LOOK } else { PERIOD };
    }

    /// Notes that the thread waits for data.
    pub(super) fn waits(&mut self) {
        self.place = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The share of windows that are waited for at a place, while each gathers what `gathers` has for its place.
    fn taken(gathers: [u16; 2]) -> [f32; 2] {
        let mut windows = Coalescing::new(Duration::ZERO, Duration::ZERO);
        let mut taken = [0.0; 2];
        for _ in 0..1000 {
            windows.waits();
            for place in 0..2 {
                if !windows.wanted() {
                    break;
                }
                taken[place] += 0.001;
                windows.gathered(gathers[place]);
            }
        }
        taken
    }

    #[test]
    fn windows_after_a_burst_are_left_out() {
        let [first, second] = taken([18, 0]);
        assert!(first > 0.99 && second < 0.05, "{first} {second}");
    }

    #[test]
    fn even_data_is_gathered_again_and_again() {
        let [first, second] = taken([12, 12]);
        assert!(first > 0.99 && second > 0.99, "{first} {second}");
    }

    /// The share of a minute with windows, where an event comes each 0.1 ms and costs what is given in µs.
    fn share_with_windows(with: u32, without: u32) -> f64 {
        let step = Duration::from_micros(100);
        let (mut now, mut cpu) = (Duration::ZERO, Duration::ZERO);
        let mut windows = Coalescing::new(now, cpu);
        let mut on = 0;
        for events in 1..=600_000 {
            now += step;
            cpu += Duration::from_micros(1) * if windows.on { with } else { without };
            on += u32::from(windows.on);
            if windows.is_over(now) {
                windows.judge(now, cpu, events);
            }
        }
        f64::from(on) / 600_000.0
    }

    #[test]
    fn what_costs_less_is_kept_and_the_other_way_is_looked_at_again() {
        let cheap = share_with_windows(4, 5);
        assert!((0.98..0.995).contains(&cheap), "{cheap}");
        let dear = share_with_windows(5, 4);
        assert!((0.01..0.05).contains(&dear), "{dear}");
    }

    #[test]
    fn a_period_goes_on_until_it_says_something() {
        let ms = Duration::from_millis;
        let mut windows = Coalescing::new(Duration::ZERO, Duration::ZERO);
        for i in 1..100 {
            windows.judge(PERIOD * i, ms(1) * i, u64::from(i));
            assert!(windows.on && windows.cost == [None; 2] && windows.periods == 0, "{i}");
        }
        windows.judge(PERIOD * 100, ms(1), EVENTS);
        assert_eq!(windows.periods, 1);
    }

    #[test]
    fn sparse_data_is_read_at_once() {
        let [first, second] = taken([0, 0]);
        assert!(first < 0.05 && second < 0.03, "{first} {second}");
    }
}
