//! Comparisons of simulated servers that batch: how often they are wrong. `benches/decisions.rs` does the same at length.

use rand::SeedableRng as _;
use rand::rngs::ChaCha8Rng;
use rand_distr::{Distribution as _, StandardNormal};
use rbench::analysis::comparison::{DEFAULT, Pair, Terms, Whole, compare, whole};
use rbench::analysis::statistics::changes;

use crate::support::batching::{Arrivals, Batching, sampled};

/// Pairs of runs of both servers with verdict `wanted`.
fn verdicts(base: Batching, new: Batching, pairs: u64, wanted: Whole) -> usize {
    let terms = Terms { metrics: DEFAULT.to_vec(), min_effect: 0.01, tolerance: 0.1 };
    let verdict = |seed: u64| {
        let (a, b) = (sampled(base.run(2 * seed)), sampled(new.run(2 * seed + 1)));
        let rows = compare(&[Pair { base: vec![&a], new: vec![&b] }], &terms);
        whole(&rows[0].iter().collect::<Vec<_>>())
    };
    (0..pairs).filter(|&seed| verdict(seed) == wanted).count()
}

const SERVER: Batching =
    Batching { arrivals: Arrivals::Closed(16), requests: 400, places: 12, pace: 1.0, between: 0.0 };

#[test]
fn equal_servers_seldom_raise_an_alarm() {
    let pairs = 20;
    let open = Batching { arrivals: Arrivals::Open(8.0), ..SERVER };
    assert!(verdicts(open, open, 10, Whole::Regression) <= 1);
    let alarms = [Whole::Improvement, Whole::Regression, Whole::Mixed]
        .map(|verdict| verdicts(SERVER, SERVER, pairs, verdict));
    // At 5 % there are more than 3 in 20 once in 60 times; the seeds are fixed.
    assert!(alarms.iter().sum::<usize>() <= 3, "{alarms:?} of {pairs}");
}

#[test]
fn a_slower_server_is_found() {
    let slower = Batching { pace: 1.1, ..SERVER };
    assert_eq!(verdicts(SERVER, slower, 10, Whole::Regression), 10);
}

/// A series of runs that scatter by one and a half percent, the last `after` of them five percent higher.
fn series(seed: u64, before: usize, after: usize) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut run = |level: f64| {
        let noise: f64 = StandardNormal.sample(&mut rng);
        level * (1.0 + 0.015 * noise)
    };
    let mut series: Vec<f64> = (0..before).map(|_| run(100.0)).collect();
    series.extend((0..after).map(|_| run(105.0)));
    series
}

#[test]
fn a_step_in_a_series_is_found_within_three_runs() {
    let is_found = |seed: &u64| {
        let all = series(*seed, 30, 3);
        (1..=3).any(|after| {
            changes(&all[..30 + after], 0.05).iter().any(|change| (29..=31).contains(&change.at))
        })
    };
    let found = (0..40).filter(is_found).count();
    assert!(found >= 37, "{found} of 40");
}

#[test]
fn a_series_without_a_step_seldom_raises_an_alarm() {
    let mut alarms = 0;
    let mut points = 0;
    for seed in 0..20 {
        let all = series(1000 + seed, 50, 0);
        let mut seen: Vec<usize> = Vec::new();
        // Each night the whole series anew; what was seen before is no news.
        for n in 6..=all.len() {
            points += 1;
            for change in changes(&all[..n], 0.05) {
                if change.at + 3 >= n && !seen.iter().any(|at| at.abs_diff(change.at) <= 3) {
                    seen.push(change.at);
                    alarms += 1;
                }
            }
        }
    }
    assert!(alarms * 100 <= points, "{alarms} in {points}");
}
