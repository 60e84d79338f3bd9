//! How well the client itself kept up: how late it read, how busy its threads were.
//!
//! Plain figures that the threads of a run collect and reports judge.

mod machine;

use std::time::Duration;

use hdrhistogram::Histogram;

pub use self::machine::Machine;

/// Where arrival times come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClockSource {
    /// The kernel, when it receives the data.
    #[default]
    Kernel,
    /// This program, when it reads them.
    User,
}

impl ClockSource {
    /// The source as one word for flags and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::User => "user",
        }
    }
}

/// How late data was read in one second of the run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LagSecond {
    /// Second of the run, from 0.
    pub second: u64,
    /// Reads.
    pub reads: u64,
    /// Median time from arrival to read, in ns.
    pub p50_ns: u64,
    /// 99th percentile of it, in ns.
    pub p99_ns: u64,
    /// The longest, in ns.
    pub max_ns: u64,
}

/// What one thread of the load saw of itself.
#[derive(Debug, Clone, Default)]
pub struct WorkerHealth {
    /// Time from the arrival of data in the kernel to its read, in ns; empty without stamps of the kernel.
    pub lag: Lag,
    /// Reads that gave bytes.
    pub reads: u64,
    /// Those of them without a stamp of the kernel.
    pub unstamped: u64,
    /// Those whose bytes the kernel had kept back, since bytes before them had not arrived.
    pub held: u64,
    /// Events that share their time with a later one since bytes before both had not arrived.
    pub gathered: u64,
    /// The longest time from the arrival of such bytes until those before them had arrived.
    pub held_longest: Duration,
    /// Events with output.
    pub events: u64,
    /// Those of them that share their arrival time with a later event of the same response, because one read gave both.
    pub merged: u64,
    /// Bytes read, in plain text where there is TLS.
    pub bytes: u64,
    /// Connections opened before the run.
    pub connections_ahead: u64,
    /// Connections opened in the run.
    pub connections: u64,
    /// Those of both that speak HTTP/2, once they were open.
    pub http2_connections: u64,
    /// How long each of all connections took to stand, the way through a proxy included.
    pub connecting: Times,
    /// How long the handshake of TLS took on each, after that.
    pub tls: Times,
    /// Requests that had to wait since the system had no file descriptor or local port for their connection.
    pub exhausted: u64,
    /// How long requests waited over new connections because the server's workers served kept ones.
    pub left_waiting: Times,
    /// How long the thread let data wait to be read with others', at the end of the run.
    pub window: Duration,
    /// How often it did so.
    pub pauses: u64,
    /// Requests in flight, added up over time as the thread saw them.
    pub in_flight: Duration,
    /// How much of that came after the ends of requests by their records: an end counts when it has arrived,
    /// and is seen when it is read. For conversations, from the end of a round to the send of the next.
    pub unseen: Duration,
    /// CPU time of the thread in the run.
    pub cpu: Duration,
    /// Time in the run in which the thread could have worked and had no CPU; `None` if the system does not tell.
    pub run_delay: Option<Duration>,
    /// Length of the thread's part in the run.
    pub wall: Duration,
    /// Largest error of the relation between the kernel's clock and the run's, in ns.
    pub clock_error_ns: u64,
    /// How far the time of day moved against the run's clock, in ns.
    pub clock_moved_ns: u64,
}

/// The longest lag that is told apart, in ns; longer ones count as this long.
const LONGEST_NS: u64 = 3_600_000_000_000;

/// How long things took. Costs nothing before the first.
#[derive(Debug, Clone, Default)]
pub struct Times(Option<Histogram<u64>>);

impl Times {
    /// Adds one.
    pub fn add(&mut self, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        if self.0.is_none() {
            self.0 = Histogram::new_with_max(LONGEST_NS, 2).ok();
        }
        if let Some(histogram) = &mut self.0 {
            histogram.saturating_record(ns);
        }
    }

    /// Takes those of `other` as well.
    pub fn merge(&mut self, other: &Self) {
        match (&mut self.0, &other.0) {
            // Both have the same bounds.
            (Some(ours), Some(theirs)) => drop(ours.add(theirs)),
            (ours @ None, theirs) => ours.clone_from(theirs),
            _ => {}
        }
    }

    /// Times in ns, to two digits, and how often each was added; rising.
    pub fn counts(&self) -> Vec<(u64, u64)> {
        self.0.as_ref().map(counts).unwrap_or_default()
    }

    /// Those that [`Self::counts`] told of.
    pub fn from_counts(counts: &[(u64, u64)]) -> Self {
        let mut histogram = Histogram::new_with_max(LONGEST_NS, 2).ok();
        fill(histogram.as_mut(), counts);
        Self(histogram.filter(|_| !counts.is_empty()))
    }

    /// Number of them.
    pub fn len(&self) -> u64 {
        self.0.as_ref().map_or(0, Histogram::len)
    }

    /// Returns whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The time that the share `q` of them does not exceed, in ns, to two digits.
    pub fn quantile_ns(&self, q: f64) -> u64 {
        self.0.as_ref().map_or(0, |all| all.value_at_quantile(q).min(all.max()))
    }

    /// The longest, in ns, to two digits.
    pub fn max_ns(&self) -> u64 {
        self.0.as_ref().map_or(0, Histogram::max)
    }
}

/// Returns what a histogram holds: values and how often each is there.
fn counts(histogram: &Histogram<u64>) -> Vec<(u64, u64)> {
    let recorded = histogram.iter_recorded();
    recorded.map(|value| (value.value_iterated_to(), value.count_at_value())).collect()
}

/// Adds what [`counts`] told of.
fn fill(histogram: Option<&mut Histogram<u64>>, counts: &[(u64, u64)]) {
    let Some(histogram) = histogram else { return };
    for &(ns, n) in counts {
        histogram.saturating_record_n(ns, n);
    }
}

/// Lags of reads: over the run, and second by second.
#[derive(Debug, Clone)]
pub struct Lag {
    /// Over the run, in ns; `None` only if no memory could be had.
    whole: Option<Histogram<u64>>,
    /// In the second under way.
    current: Option<Histogram<u64>>,
    second: u64,
    /// The seconds in which something was read, rising.
    pub seconds: Vec<LagSecond>,
}

impl Default for Lag {
    fn default() -> Self {
        Self {
            whole: Histogram::new_with_max(LONGEST_NS, 2).ok(),
            current: Histogram::new_with_max(LONGEST_NS, 1).ok(),
            second: 0,
            seconds: Vec::new(),
        }
    }
}

impl Lag {
    /// Adds a read at `now`, of data that had waited for `lag`.
    pub fn add(&mut self, now: Duration, lag: Duration) {
        if now.as_secs() != self.second {
            self.close_second();
            self.second = now.as_secs();
        }
        let ns = u64::try_from(lag.as_nanos()).unwrap_or(u64::MAX);
        for histogram in [&mut self.whole, &mut self.current].into_iter().flatten() {
            histogram.saturating_record(ns);
        }
    }

    /// Ends the second under way.
    pub fn close_second(&mut self) {
        let Some(current) = self.current.as_mut().filter(|current| !current.is_empty()) else {
            return;
        };
        self.seconds.push(LagSecond {
            second: self.second,
            reads: current.len(),
            p50_ns: current.value_at_quantile(0.5),
            p99_ns: current.value_at_quantile(0.99),
            max_ns: current.max(),
        });
        current.reset();
    }

    /// Lags in ns, to two digits, and how many reads had each; rising.
    pub fn counts(&self) -> Vec<(u64, u64)> {
        self.whole.as_ref().map(counts).unwrap_or_default()
    }

    /// The lags of a run that is over: those that [`Self::counts`] told of, and its seconds.
    pub fn from_parts(counts: &[(u64, u64)], seconds: Vec<LagSecond>) -> Self {
        let mut lag = Self { seconds, ..Self::default() };
        fill(lag.whole.as_mut(), counts);
        lag
    }

    /// Number of reads.
    pub fn len(&self) -> u64 {
        self.whole.as_ref().map_or(0, Histogram::len)
    }

    /// Returns whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The lag that the share `q` of the reads does not exceed, in ns.
    pub fn quantile_ns(&self, q: f64) -> u64 {
        self.whole.as_ref().map_or(0, |whole| whole.value_at_quantile(q))
    }

    /// The longest lag, in ns.
    pub fn max_ns(&self) -> u64 {
        self.whole.as_ref().map_or(0, Histogram::max)
    }

    /// Takes the reads of another thread as well.
    pub fn merge(&mut self, other: &Self) {
        if let (Some(whole), Some(other)) = (&mut self.whole, &other.whole) {
            // Both have the same bounds.
            let _ = whole.add(other);
        }
        for &theirs in &other.seconds {
            match self.seconds.binary_search_by_key(&theirs.second, |ours| ours.second) {
                Ok(i) => {
                    let ours = &mut self.seconds[i];
                    ours.reads += theirs.reads;
                    // Of two threads the worse one: percentiles cannot be joined.
                    ours.p50_ns = ours.p50_ns.max(theirs.p50_ns);
                    ours.p99_ns = ours.p99_ns.max(theirs.p99_ns);
                    ours.max_ns = ours.max_ns.max(theirs.max_ns);
                }
                Err(i) => self.seconds.insert(i, theirs),
            }
        }
    }
}

/// What a run tells of the client.
#[derive(Debug, Clone, Default)]
pub struct Health {
    /// Where arrival times come from.
    pub clock: ClockSource,
    /// One entry per thread of the load.
    pub workers: Vec<WorkerHealth>,
    /// What the machine kept from it.
    pub machine: Machine,
}

impl Health {
    /// The lags of all threads.
    pub fn lag(&self) -> Lag {
        let mut all = Lag::default();
        for worker in &self.workers {
            all.merge(&worker.lag);
        }
        all
    }

    /// Times of all threads.
    pub fn times(&self, which: impl Fn(&WorkerHealth) -> &Times) -> Times {
        let mut all = Times::default();
        for worker in &self.workers {
            all.merge(which(worker));
        }
        all
    }

    /// The sum of a figure over the threads.
    pub fn sum(&self, figure: impl Fn(&WorkerHealth) -> u64) -> u64 {
        self.workers.iter().map(figure).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_over_threads() {
        let worker = |times: &[u64]| {
            let mut worker = WorkerHealth::default();
            for &us in times {
                worker.tls.add(Duration::from_micros(us));
            }
            worker
        };
        let workers = vec![worker(&[]), worker(&[100, 200]), worker(&[300, 5000])];
        let health = Health { workers, ..Health::default() };
        let tls = health.times(|worker| &worker.tls);
        assert_eq!(tls.len(), 4);
        assert!((198_000..203_000).contains(&tls.quantile_ns(0.5)), "{}", tls.quantile_ns(0.5));
        assert!((4_950_000..5_050_000).contains(&tls.max_ns()), "{}", tls.max_ns());
        assert!(health.times(|worker| &worker.connecting).is_empty());
    }

    proptest! {
        /// Forall times: what is made of their counts tells the same.
        #[test]
        fn counts_tell_everything(times in proptest::collection::vec(0..2 * LONGEST_NS, 0..50)) {
            let (mut took, mut lag) = (Times::default(), Lag::default());
            for &ns in &times {
                took.add(Duration::from_nanos(ns));
                lag.add(Duration::ZERO, Duration::from_nanos(ns));
            }
            lag.close_second();
            let again = Times::from_counts(&took.counts());
            let late = Lag::from_parts(&lag.counts(), lag.seconds.clone());
            prop_assert_eq!(again.counts(), took.counts());
            prop_assert_eq!(late.counts(), lag.counts());
            prop_assert_eq!((again.len(), again.max_ns()), (took.len(), took.max_ns()));
            prop_assert_eq!((late.len(), late.max_ns()), (lag.len(), lag.max_ns()));
            for q in [0.0, 0.01, 0.5, 0.9, 0.99, 1.0] {
                prop_assert_eq!(again.quantile_ns(q), took.quantile_ns(q));
                prop_assert_eq!(late.quantile_ns(q), lag.quantile_ns(q));
            }
        }
    }

    #[test]
    fn lags_by_second_and_over_threads() {
        let ms = Duration::from_millis;
        let us = Duration::from_micros;
        let mut one = Lag::default();
        one.add(ms(100), us(10));
        one.add(ms(900), us(30));
        one.add(ms(2500), us(500));
        one.close_second();
        let seconds: Vec<(u64, u64)> = one.seconds.iter().map(|s| (s.second, s.reads)).collect();
        assert_eq!(seconds, [(0, 2), (2, 1)]);
        let mut other = Lag::default();
        other.add(ms(1500), us(70));
        other.add(ms(2000), us(900));
        other.close_second();
        one.merge(&other);
        assert_eq!(one.len(), 5);
        let seconds: Vec<u64> = one.seconds.iter().map(|second| second.second).collect();
        assert_eq!(seconds, [0, 1, 2]);
        assert!(one.seconds[2].max_ns >= 880_000 && one.max_ns() >= 890_000);
        assert!((29_000..72_000).contains(&one.quantile_ns(0.5)));
    }
}
