//! CPU time that the host of a virtual machine gave to others.

/// Less time tells nothing, over all CPUs: the system counts in hundredths of a second.
const TICKS: u64 = 100;

/// What the system counts, in ticks since it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Steal {
    stolen: u64,
    all: u64,
}

impl Steal {
    /// Up to now; `None` if the system does not tell.
    pub(super) fn now() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/stat").ok()?)
    }

    /// Reads the sum over all CPUs, which is the first line: user, nice, system, idle, iowait, irq, softirq, steal, and
    /// what is in user and nice already.
    fn parse(text: &str) -> Option<Self> {
        let numbers = text.lines().next()?.strip_prefix("cpu ")?.split_ascii_whitespace().take(8);
        let numbers: Vec<u64> = numbers.map_while(|number| number.parse().ok()).collect();
        let &[.., stolen] = numbers.as_slice() else { return None };
        (numbers.len() == 8).then(|| Self { stolen, all: numbers.iter().sum() })
    }

    /// The share of all time since `earlier`; `None` if that was too short.
    pub(super) fn share_since(self, earlier: Self) -> Option<f64> {
        let all = self.all.saturating_sub(earlier.all);
        (all >= TICKS).then(|| self.stolen.saturating_sub(earlier.stolen) as f64 / all as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_the_host_is_read() {
        let text = "cpu  400 0 100 400 50 20 10 20 7 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        let then = Steal::parse(text).unwrap();
        assert_eq!(then, Steal { stolen: 20, all: 1000 });
        let now = Steal { stolen: 120, all: 1400 };
        assert_eq!(now.share_since(then), Some(0.25));
        assert_eq!(Steal { all: 1010, ..then }.share_since(then), None, "too short");
        for other in ["", "cpu", "cpu  1 2 3\n", "intr 5\n", "cpu  1 2 3 4 5 6 7 x\n"] {
            assert_eq!(Steal::parse(other), None, "{other}");
        }
    }
}
