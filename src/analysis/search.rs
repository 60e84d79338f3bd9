//! The search for the highest load that meets objectives, which takes for granted that a higher load is never easier
//! to bear: it looks for a load that meets them and one that does not, and closes in between the two.

/// The loads that may be tried, and how.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    /// Lowest load.
    pub lowest: f64,
    /// Highest load.
    pub highest: f64,
    /// The load that is tried first.
    pub first: f64,
    /// How many times as large the next load is until one does not meet the objectives, or as small until one does.
    pub factor: f64,
    /// Which load is tried between two.
    pub middle: Middle,
    /// Loads that differ by less than this share are the same.
    pub precision: f64,
}

/// The load between two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Middle {
    /// The whole number at half the way, or below it.
    Half,
    /// The whole number at half the way in the logarithm, or below it.
    Whole,
    /// That at half the way in the logarithm, with four digits.
    Real,
}

/// The interval that has the answer.
#[derive(Debug, Clone)]
pub struct Bracket {
    range: Range,
    /// The highest load that is known to meet the objectives.
    pub good: Option<f64>,
    /// The lowest load above it that is known not to.
    pub bad: Option<f64>,
}

impl Bracket {
    /// A search of which nothing is known.
    pub fn new(range: Range) -> Self {
        let first = range.first.clamp(range.lowest, range.highest);
        Self { range: Range { first, ..range }, good: None, bad: None }
    }

    /// The next load to try; `None` if the answer is found.
    pub fn next_load(&self) -> Option<f64> {
        let Range { lowest, highest, first, factor, .. } = self.range;
        match (self.good, self.bad) {
            (None, None) => Some(first),
            (Some(good), None) => (good < highest).then(|| (good * factor).min(highest)),
            (None, Some(bad)) => (bad > lowest).then(|| self.even(bad / factor).max(lowest)),
            (Some(good), Some(bad)) => {
                if bad <= good * (1.0 + self.range.precision) {
                    return None;
                }
                let middle = match self.range.middle {
                    Middle::Half => good.midpoint(bad),
                    Middle::Whole | Middle::Real => (good * bad).sqrt(),
                };
                let middle = self.even(middle);
                // The logarithm of small whole numbers has its middle below them.
                let middle = if middle <= good { good + 1.0 } else { middle };
                (middle < bad).then_some(middle)
            }
        }
    }

    /// Takes in whether `load` meets the objectives.
    pub fn tried(&mut self, load: f64, met: bool) {
        if met {
            // What is met above a load that does not meet them shows nothing of the loads between.
            if self.bad.is_none_or(|bad| load < bad) {
                self.good = Some(self.good.map_or(load, |good| good.max(load)));
            }
        } else {
            self.bad = Some(self.bad.map_or(load, |bad| bad.min(load)));
            self.good = self.good.filter(|&good| good < load);
        }
    }

    /// A load that can be tried.
    fn even(&self, load: f64) -> f64 {
        match self.range.middle {
            Middle::Half | Middle::Whole => load.floor(),
            Middle::Real => four_digits(load),
        }
    }
}

/// `value` with four significant digits.
pub fn four_digits(value: f64) -> f64 {
    // The shortest number that is written so.
    format!("{value:.3e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(range: Range, capacity: f64) -> (Vec<f64>, Bracket) {
        let mut bracket = Bracket::new(range);
        let mut tried = Vec::new();
        while let Some(load) = bracket.next_load() {
            tried.push(load);
            bracket.tried(load, load <= capacity);
            assert!(tried.len() < 100, "{tried:?}");
        }
        (tried, bracket)
    }

    const WHOLE: Range = Range {
        lowest: 1.0,
        highest: 1024.0,
        first: 32.0,
        factor: 4.0,
        middle: Middle::Whole,
        precision: 0.05,
    };

    #[test]
    fn whole_loads() {
        let (tried, bracket) = found(WHOLE, 100.0);
        assert_eq!(tried, [32.0, 128.0, 64.0, 90.0, 107.0, 98.0, 102.0]);
        assert_eq!((bracket.good, bracket.bad), (Some(98.0), Some(102.0)));
        let (tried, bracket) = found(WHOLE, 3.0);
        assert_eq!(tried, [32.0, 8.0, 2.0, 4.0, 3.0]);
        assert_eq!((bracket.good, bracket.bad), (Some(3.0), Some(4.0)));
        let (tried, bracket) = found(WHOLE, 0.0);
        assert_eq!((tried.last(), bracket.good), (Some(&1.0), None));
        let (tried, bracket) = found(WHOLE, 5000.0);
        assert_eq!((tried.last(), bracket.bad), (Some(&1024.0), None));
    }

    proptest! {
        /// Forall capacities: the answer is at most the precision below it, within ten loads.
        #[test]
        fn the_answer_is_near(capacity in 1.0_f64..1024.0, rate in 0.3_f64..1.05) {
            let (tried, bracket) = found(WHOLE, capacity);
            let (good, bad) = (bracket.good.unwrap(), bracket.bad.unwrap_or(1025.0));
            prop_assert!(good <= capacity && capacity < bad);
            prop_assert!(bad <= good * 1.05 || bad - good <= 1.0);
            prop_assert!(tried.len() <= 10, "{:?}", tried);
            let range =
                Range { lowest: 0.01, highest: 1.1, first: 0.8, factor: 2.0, middle: Middle::Real, ..WHOLE };
            let (tried, bracket) = found(range, rate);
            let good = bracket.good.unwrap();
            prop_assert!(good <= rate && rate < good * 1.05 && tried.len() <= 8, "{:?}", tried);
        }
    }
}
