//! Counts of each second of a run.

/// Counts of each second from some instant on.
#[derive(Debug, Clone, Default)]
pub struct BySecond(Vec<i64>);

impl BySecond {
    /// Adds `n` to a second.
    pub fn add(&mut self, second: u64, n: u32) {
        if let Some(slot) = self.slot(second) {
            *slot += i64::from(n);
        }
    }

    /// Adds the counts of `other`, whose seconds begin at the same instant.
    pub fn merge(&mut self, other: &Self) {
        self.0.resize(self.0.len().max(other.0.len()), 0);
        for (slot, more) in self.0.iter_mut().zip(&other.0) {
            *slot += more;
        }
    }

    /// The highest count.
    pub fn most(&self) -> u64 {
        self.0.iter().copied().max().unwrap_or(0).unsigned_abs()
    }

    fn slot(&mut self, second: u64) -> Option<&mut i64> {
        let second = usize::try_from(second).ok()?;
        if second >= self.0.len() {
            self.0.resize(second + 1, 0);
        }
        self.0.get_mut(second)
    }
}

/// How many stretches of time touch each second, by the second where each begins and the one after its end.
#[derive(Debug, Clone, Default)]
pub struct Touching(BySecond);

impl Touching {
    /// Adds a stretch from one second to another, both included; none if it ends before it begins.
    pub fn add(&mut self, from: u64, to: u64) {
        if from > to {
            return;
        }
        for (second, change) in [(from, 1), (to.saturating_add(1), -1)] {
            if let Some(slot) = self.0.slot(second) {
                *slot += change;
            }
        }
    }

    /// Adds the stretches of `other`, whose seconds begin at the same instant.
    pub fn merge(&mut self, other: &Self) {
        self.0.merge(&other.0);
    }

    /// Most of them that touch one second.
    pub fn most(&self) -> u64 {
        let mut now = 0;
        let level = |change: &i64| {
            now += change;
            now
        };
        self.0.0.iter().map(level).max().unwrap_or(0).unsigned_abs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_touch_the_seconds_of_their_ends() {
        let mut touching = Touching::default();
        assert_eq!(touching.most(), 0);
        for (from, to) in [(5, 7), (7, 7), (0, 4), (9, 8)] {
            touching.add(from, to);
        }
        assert_eq!(touching.most(), 2);
        touching.add(0, 9);
        assert_eq!(touching.most(), 3);
    }
}
