//! How often decisions are wrong, on simulated servers that batch: coverage of intervals, false alarms, power.
//!
//! `cargo bench --bench decisions -- 400` simulates 400 pairs of runs for each load.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark may panic and print")]

#[path = "../tests/it/support/batching.rs"]
mod batching;

use rand::SeedableRng as _;
use rand::rngs::ChaCha8Rng;
use rand_distr::{Distribution as _, StandardNormal};
use rayon::prelude::*;
use rbench::analysis::comparison::{
    Compared, DEFAULT, Pair, Row, Sampled, Terms, Verdict, Whole, compare, estimate, whole,
};
use rbench::analysis::statistics::{CONFIDENCE, changes};

use self::batching::{Arrivals, Batching, sampled};

/// The loads: how they are called, the server, and runs a side.
const LOADS: [(&str, Batching, u64); 6] = {
    const fn server(arrivals: Arrivals, requests: usize, places: usize, between: f64) -> Batching {
        Batching { arrivals, requests, places, pace: 1.0, between }
    }
    [
        ("closed loop of 32, 16 places", server(Arrivals::Closed(32), 2000, 16, 0.0), 1),
        ("closed loop of 16, 32 places", server(Arrivals::Closed(16), 2000, 32, 0.0), 1),
        ("9 requests/s", server(Arrivals::Open(9.0), 2000, 32, 0.0), 1),
        ("14 requests/s, near capacity", server(Arrivals::Open(14.0), 2000, 16, 0.0), 1),
        ("closed loop of 8, 500 requests", server(Arrivals::Closed(8), 500, 16, 0.0), 1),
        ("3 % between runs, 5 runs a side", server(Arrivals::Closed(32), 1000, 16, 0.03), 5),
    ]
};

fn side(server: Batching, seed: u64, runs: u64) -> Vec<Sampled> {
    (0..runs).map(|run| sampled(server.run(seed * 1000 + run))).collect()
}

fn rows(base: &[Sampled], new: &[Sampled]) -> Vec<Row> {
    let terms = Terms { metrics: DEFAULT.to_vec(), min_effect: 0.01, tolerance: 0.1 };
    let pair = Pair { base: base.iter().collect(), new: new.iter().collect() };
    compare(&[pair], &terms).remove(0)
}

/// The share of intervals of one side that have the mean of all values in them, for each metric.
fn coverage(all: &[Vec<(f64, (f64, f64))>]) -> Vec<f64> {
    let metrics = all.first().map_or(0, Vec::len);
    let of = |metric: usize| {
        let truth = all.iter().map(|one| one[metric].0).sum::<f64>() / all.len() as f64;
        let covers = |one: &&Vec<(f64, (f64, f64))>| {
            let (low, high) = one[metric].1;
            low <= truth && truth <= high
        };
        all.iter().filter(covers).count() as f64 / all.len() as f64
    };
    (0..metrics).map(of).collect()
}

/// A series of runs that scatter by `noise`, the last three of them five percent higher.
fn series(seed: u64, noise: f64) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let level = |i: usize| if i < 60 { 100.0 } else { 105.0 };
    let mut run = |i| -> f64 {
        let scatter: f64 = StandardNormal.sample(&mut rng);
        level(i) * (1.0 + noise * scatter)
    };
    (0..63).map(&mut run).collect()
}

/// Prints how often the history of runs raises an alarm, for no reason and for a step of 5 %.
fn histories(count: u64) {
    const ALPHA: f64 = 1.0 - CONFIDENCE;
    const RECENT: usize = 3;
    println!("\nhistory ({count} series of 60 runs, then a step of 5 %)");
    for noise in [0.005, 0.01, 0.015, 0.02] {
        let one = |seed: u64| {
            let all = series(seed, noise);
            let mut seen: Vec<usize> = Vec::new();
            for n in 6..=60 {
                for change in changes(&all[..n], ALPHA) {
                    if change.at + RECENT >= n
                        && !seen.iter().any(|at| at.abs_diff(change.at) <= RECENT)
                    {
                        seen.push(change.at);
                    }
                }
            }
            let found = (61..=63)
                .find(|&n| changes(&all[..n], ALPHA).iter().any(|c| (59..=61).contains(&c.at)));
            (seen.len(), found)
        };
        let all: Vec<_> = (0..count).into_par_iter().map(one).collect();
        let alarms: usize = all.iter().map(|(alarms, _)| alarms).sum();
        let points = all.len() * 55;
        let within =
            |n: usize| all.iter().filter(|(_, found)| found.is_some_and(|at| at <= n)).count();
        println!(
            "  noise {:.1} %: {:.2} false alarms in 100 points; found after 2 runs {:.1} %, after 3 {:.1} %",
            noise * 1e2,
            share(alarms, points),
            share(within(62), all.len()),
            share(within(63), all.len()),
        );
    }
}

fn share(n: usize, of: usize) -> f64 {
    n as f64 / of as f64 * 1e2
}

fn main() {
    let pairs = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(200_u64);
    let metrics: Vec<Compared> =
        DEFAULT.into_iter().filter(|metric| *metric != Compared::Success).collect();
    histories(pairs);
    for (name, server, runs) in LOADS {
        let slower = Batching { pace: 1.05, ..server };
        let one = |seed: u64| {
            let (a, b) = (side(server, 3 * seed, runs), side(server, 3 * seed + 1, runs));
            let c = side(slower, 3 * seed + 2, runs);
            let interval = |&metric: &Compared| {
                let estimate = estimate(&a.iter().collect::<Vec<_>>(), metric).unwrap();
                (estimate.value, estimate.interval(CONFIDENCE).unwrap())
            };
            let intervals: Vec<_> = metrics.iter().map(interval).collect();
            (intervals, rows(&a, &b), rows(&a, &c))
        };
        let all: Vec<_> = (0..pairs).into_par_iter().map(one).collect();
        println!("\n{name} ({pairs} pairs)");
        let covered = coverage(&all.iter().map(|(one, ..)| one.clone()).collect::<Vec<_>>());
        println!("{:<24} {:>9} {:>12} {:>12}", "metric", "coverage", "false alarms", "5 % found");
        for (metric, covered) in metrics.iter().zip(covered) {
            let shown = |rows: &Vec<Row>| {
                let row = rows.iter().find(|row| row.metric == *metric);
                row.is_some_and(|row| {
                    matches!(row.verdict, Verdict::Regression | Verdict::Improvement)
                })
            };
            let alarms = all.iter().filter(|(_, same, _)| shown(same)).count();
            let found = all.iter().filter(|(.., slower)| shown(slower)).count();
            let percent = |n: usize| n as f64 / pairs as f64 * 1e2;
            println!(
                "{:<24} {:>7.1} % {:>10.1} % {:>10.1} %",
                metric.to_string(),
                covered * 1e2,
                percent(alarms),
                percent(found)
            );
        }
        let is = |rows: &Vec<Row>, wanted: &[Whole]| {
            wanted.contains(&whole(&rows.iter().collect::<Vec<_>>()))
        };
        let alarm = [Whole::Regression, Whole::Improvement, Whole::Mixed];
        let alarms = all.iter().filter(|(_, same, _)| is(same, &alarm)).count();
        let found = all.iter().filter(|(.., slower)| is(slower, &[Whole::Regression])).count();
        println!(
            "all metrics together: {:.1} % false alarms, a regression of 5 % found in {:.1} %",
            alarms as f64 / pairs as f64 * 1e2,
            found as f64 / pairs as f64 * 1e2
        );
    }
}
