//! Which run of several was best, and what to try next.

use super::figures::Figures;
use super::series::Series;

/// Success of requests below which a load is not called stable, in percent.
const STABLE: f64 = 95.0;

/// How many times as long as at the lowest load the mean latency at the highest may be.
const STRESS: f64 = 3.0;

/// The best runs and the advice, of several runs; nothing of one.
///
/// Runs of which no request succeeded are best at nothing. Of runs that are equal, the one of the lower load is best.
pub fn render(runs: &[Figures]) -> String {
    let mut sorted: Vec<&Figures> = runs.iter().collect();
    sorted.sort_by(|a, b| load(a).total_cmp(&load(b)));
    let [lowest, .., highest] = sorted[..] else { return String::new() };
    let measured = || sorted.iter().copied().filter(|run| run.succeeded > 0);
    let rps = |run: &Figures| run.request_throughput().unwrap_or(0.0);
    let latency = |run: &Figures| run.of_series(Series::Latency).mean;
    let better = |best: Option<_>, run| match best {
        Some(best) if rps(run) <= rps(best) => Some(best),
        _ => Some(run),
    };
    let best = measured().fold(None, better);
    let quickest = measured()
        .filter_map(|run| Some((run, latency(run)?)))
        .min_by(|(_, a), (_, b)| a.total_cmp(b));
    let (Some(best), Some((quickest, seconds))) = (best, quickest) else { return String::new() };
    let mut out = "Best Performance Configuration\n".to_owned();
    out += &format!("Highest RPS:      {} ({:.2} req/sec)\n", name(best), rps(best));
    out += &format!("Lowest Latency:   {} ({seconds:.3} seconds)\n", name(quickest));
    out += "\nPerformance Recommendations:\n";
    out += &if std::ptr::eq(best, highest) {
        "* The system seems not to have reached its performance bottleneck, try higher concurrency\n"
            .to_owned()
    } else if std::ptr::eq(best, lowest) {
        "* The lowest load has the highest throughput: the system is overloaded from there on, \
         try lower concurrency\n"
            .to_owned()
    } else {
        format!("* The optimal load is around {}\n", name(best))
    };
    if highest.success_rate().is_some_and(|rate| rate < STABLE) {
        let rate = highest.success_rate().unwrap_or(0.0);
        out += &format!(
            "* At {} only {rate:.1}% of the requests succeed: the system is not stable there\n",
            name(highest)
        );
    }
    let factor = latency(highest).zip(latency(lowest)).map(|(high, low)| high / low);
    if let Some(factor) = factor.filter(|factor| *factor > STRESS) {
        out += &format!(
            "* At {} the average latency is {factor:.1} times that at {}: the system is under \
             significant stress\n",
            name(highest),
            name(lowest)
        );
    }
    out
}

/// The load of a run: its concurrency, or its rate where nothing limits that.
fn load(run: &Figures) -> f64 {
    run.load.parallel.map_or(run.load.rate.unwrap_or(f64::INFINITY), |parallel| parallel as f64)
}

fn name(run: &Figures) -> String {
    match (run.load.parallel, run.load.rate) {
        (Some(parallel), _) => format!("Concurrency {parallel}"),
        (None, Some(rate)) => format!("Rate {rate}"),
        (None, None) => "Unlimited concurrency".to_owned(),
    }
}
