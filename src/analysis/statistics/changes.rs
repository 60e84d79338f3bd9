//! Change points of a series: where its level changes and stays changed.
//!
//! The splits are those of E-divisive (Matteson and James 2014), which maximise the distance between the
//! distributions on both sides. Its permutation test is replaced by Student's t-test, as Fleming et al. (2023) do in
//! Hunter, now Apache Otava, so that the same series always gives the same answer. The split is the best of many: its
//! probability is multiplied by the number of places that it could have been at.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// Points that a level has at least.
const LEAST: usize = 2;

/// The probability above which a split is not looked at.
const WEAK: f64 = 0.05;

/// A change of the level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// The first point of the new level.
    pub at: usize,
    /// The mean before it, back to the change before.
    pub before: f64,
    /// The mean from it on, up to the next change.
    pub after: f64,
    /// The probability of a change this large at the best of the places if there is none.
    pub p: f64,
}

/// The change points of `series`, in its order, each with a probability below `alpha`.
pub fn changes(series: &[f64], alpha: f64) -> Vec<Change> {
    let mut cuts = Vec::new();
    split(series, 0, &mut cuts);
    cuts.sort_unstable();
    // From the weakest on, those that the levels beside them do not bear out.
    loop {
        let found = between(series, &cuts);
        let weakest = (0..found.len()).max_by(|&a, &b| found[a].p.total_cmp(&found[b].p));
        match weakest {
            Some(weakest) if found[weakest].p >= alpha => drop(cuts.remove(weakest)),
            _ => return found,
        }
    }
}

/// The scatter of `series` around its levels, as a standard deviation; `None` with too few points.
pub fn scatter(series: &[f64], changes: &[Change]) -> Option<f64> {
    let cuts: Vec<usize> = changes.iter().map(|change| change.at).collect();
    let levels = levels(series, &cuts);
    let freedom = series.len().checked_sub(levels.len()).filter(|&n| n > 0)?;
    let squares: f64 = levels.iter().map(|level| squares(level)).sum();
    Some((squares / freedom as f64).sqrt())
}

/// The smallest step, in standard deviations of the scatter, that three runs show after a level of `before` runs.
pub fn shown_by_three(before: usize, alpha: f64) -> f64 {
    const AFTER: f64 = 3.0;
    let m = before.max(LEAST) as f64;
    let places = m + AFTER - 2.0 * LEAST as f64 + 1.0;
    let freedom = m + AFTER - 2.0;
    let least = StudentsT::new(0.0, 1.0, freedom)
        .map_or(f64::INFINITY, |student| student.inverse_cdf(1.0 - alpha / places / 2.0));
    least * (1.0 / m + 1.0 / AFTER).sqrt()
}

/// Adds the places where `part` of the series, which begins at `from`, is split, and where its parts are.
fn split(part: &[f64], from: usize, cuts: &mut Vec<usize>) {
    let Some(at) = best(part) else { return };
    let (left, right) = part.split_at(at);
    if student(left, right) < WEAK {
        cuts.push(from + at);
        split(left, from, cuts);
        split(right, from + at, cuts);
    }
}

/// The place that parts `series` best by the energy distance of both sides; `None` if it is too short.
fn best(series: &[f64]) -> Option<usize> {
    let n = series.len();
    let distance = |i: usize, others: std::ops::Range<usize>| -> f64 {
        series[others].iter().map(|x| (series[i] - x).abs()).sum()
    };
    let all: f64 = (0..n).map(|i| distance(i, 0..i)).sum();
    let (mut left, mut right) = (0.0, all);
    let mut best: Option<(f64, usize)> = None;
    for last in 0..n {
        left += distance(last, 0..last);
        right -= distance(last, last + 1..n);
        let (m, rest) = (last + 1, n - last - 1);
        if m < LEAST || rest < LEAST {
            continue;
        }
        let (m, rest) = (m as f64, rest as f64);
        let across = 2.0 * (all - left - right) / (m * rest);
        let within = left / (m * (m - 1.0) / 2.0) + right / (rest * (rest - 1.0) / 2.0);
        let energy = m * rest / (m + rest) * (across - within);
        if best.is_none_or(|(most, _)| energy > most) {
            best = Some((energy, last + 1));
        }
    }
    best.map(|(_, at)| at)
}

/// The parts of `series` between `cuts`.
fn levels<'a>(series: &'a [f64], cuts: &[usize]) -> Vec<&'a [f64]> {
    let ends = cuts.iter().copied().chain([series.len()]);
    let mut from = 0;
    ends.map(|end| &series[std::mem::replace(&mut from, end)..end]).collect()
}

/// The changes at `cuts`.
fn between(series: &[f64], cuts: &[usize]) -> Vec<Change> {
    let levels = levels(series, cuts);
    let change = |(pair, &at): (&[&[f64]], &usize)| {
        let (left, right) = (pair[0], pair[1]);
        let places = (left.len() + right.len()).saturating_sub(2 * LEAST) + 1;
        let p = (student(left, right) * places as f64).min(1.0);
        Change { at, before: mean(left), after: mean(right), p }
    };
    levels.windows(2).zip(cuts).map(change).collect()
}

fn mean(part: &[f64]) -> f64 {
    part.iter().sum::<f64>() / part.len() as f64
}

fn squares(part: &[f64]) -> f64 {
    let mean = mean(part);
    part.iter().map(|x| (x - mean) * (x - mean)).sum()
}

/// The probability of means this far apart if both sides are of one normal distribution: Student's two-sided t-test.
fn student(left: &[f64], right: &[f64]) -> f64 {
    let (m, n) = (left.len() as f64, right.len() as f64);
    let apart = (mean(left) - mean(right)).abs();
    // What rounding leaves is no change.
    if apart <= mean(left).abs() * 1e-9 {
        return 1.0;
    }
    let freedom = m + n - 2.0;
    let error = ((squares(left) + squares(right)) / freedom * (1.0 / m + 1.0 / n)).sqrt();
    if error <= 0.0 {
        return 0.0;
    }
    StudentsT::new(0.0, 1.0, freedom).map_or(1.0, |student| 2.0 * student.sf(apart / error))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Noise of up to 1.5 percent, by the mixer of `SplitMix64`.
    fn noise(i: usize) -> f64 {
        let mut x = (i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        1.0 + (((x ^ (x >> 31)) % 1000) as f64 / 1000.0 - 0.5) * 0.03
    }

    #[test]
    fn steps_are_found_where_they_are() {
        let level = |i: usize| match i {
            0..20 => 100.0,
            20..35 => 110.0,
            _ => 95.0,
        };
        let series: Vec<f64> = (0..50).map(|i| level(i) * noise(i)).collect();
        let found = changes(&series, 0.05);
        assert_eq!(found.iter().map(|change| change.at).collect::<Vec<_>>(), [20, 35]);
        assert!((found[0].after - 110.0).abs() < 2.0 && (found[1].after - 95.0).abs() < 2.0);
        let scatter = scatter(&series, &found).unwrap();
        assert!((0.5..1.5).contains(&scatter), "{scatter}");
    }

    #[test]
    fn the_energy_is_that_of_the_definition() {
        let series = [1.0, 4.0, 2.0, 9.0, 7.0, 8.0];
        let energy = |at: usize| {
            let (x, y) = series.split_at(at);
            let (m, n) = (x.len() as f64, y.len() as f64);
            let pairs = |a: &[f64], b: &[f64]| -> f64 {
                a.iter().flat_map(|p| b.iter().map(move |q| (p - q).abs())).sum()
            };
            // Each pair within a side is in the sum twice.
            let within = pairs(x, x) / (m * (m - 1.0)) + pairs(y, y) / (n * (n - 1.0));
            m * n / (m + n) * (2.0 * pairs(x, y) / (m * n) - within)
        };
        let want = (LEAST..=series.len() - LEAST).max_by(|&a, &b| energy(a).total_cmp(&energy(b)));
        assert_eq!(best(&series), want);
        assert_eq!(best(&series), Some(3));
    }

    #[test]
    fn what_does_not_scatter_does_not_change() {
        assert!(changes(&[], 0.05).is_empty());
        assert!(changes(&[1.0; 30], 0.05).is_empty());
        assert!(changes(&[5.0, 5.0, 9.0], 0.05).is_empty(), "one point is no level");
        let found = changes(&[5.0, 5.0, 5.0, 6.0, 6.0, 6.0], 0.05);
        assert_eq!(found.iter().map(|change| change.at).collect::<Vec<_>>(), [3]);
    }

    proptest! {
        /// Forall series and scales: the changes lie where those of the series lie, each level has points enough, and
        /// the answer is the same again.
        #[test]
        fn the_unit_does_not_matter(
            series in prop::collection::vec(1.0..100.0_f64, 0..40),
            scale in 0.01..1000.0_f64,
        ) {
            let at = |series: &[f64]| -> Vec<usize> {
                changes(series, 0.05).iter().map(|change| change.at).collect()
            };
            let found = at(&series);
            prop_assert_eq!(&found, &at(&series));
            let ends = found.iter().copied().chain([series.len()]);
            let mut from = 0;
            if !found.is_empty() {
                for end in ends {
                    prop_assert!(end - from >= LEAST);
                    from = end;
                }
            }
            let scaled: Vec<f64> = series.iter().map(|x| x * scale).collect();
            // A split at the very border of what is shown may fall to either side by rounding.
            let is_border = changes(&series, 0.06).len() != changes(&series, 0.04).len();
            prop_assert!(is_border || found == at(&scaled));
        }

        /// Forall places and steps far above the noise: the step is found just there.
        #[test]
        fn a_large_step_is_found(at in 3_usize..27, percent in 6.0..50.0_f64, up: bool) {
            let level = if up { 1.0 + percent / 1e2 } else { 1.0 - percent / 1e2 };
            let series: Vec<f64> =
                (0..30).map(|i| noise(i) * if i < at { 1.0 } else { level }).collect();
            let found = changes(&series, 0.05);
            prop_assert!(found.iter().any(|change| change.at == at), "{:?}", found);
        }
    }
}
