//! Latencies from the due time: what a user who comes by the schedule waits, whoever made him wait.
//!
//! - `ttft_from_due`: first output − `due`.
//! - `e2e_from_due`: `done` − `due`.
//!
//! Both over completed requests. Beside TTFT and E2E latency they contain the time under the cap on requests in flight,
//! the client's own lateness, and the opening of connections: nothing of the load is left out because it was late.

use super::{Metric, Run, Stat, distribution};

pub(super) const METRIC: Metric = Metric { name: "due", stats };

fn stats(run: &Run<'_>) -> Vec<Stat> {
    let ttft = run.completed().filter_map(|r| Some(r.first_token()?.saturating_sub(r.due)));
    let e2e = run.completed().filter_map(|r| Some(r.done?.saturating_sub(r.due)));
    let mut stats = distribution(run, "ttft_from_due", ttft.map(|t| t.as_secs_f64()).collect());
    stats.extend(distribution(run, "e2e_from_due", e2e.map(|t| t.as_secs_f64()).collect()));
    stats
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metric::Figure;
    use crate::metric::testing::{record, run};

    #[test]
    fn waiting_counts() {
        let mut late = record(500, &[700, 900], &["a", "b"]);
        late.due = Duration::from_millis(100);
        let records = [late];
        let stats = stats(&run(&records));
        let figure = |key: &str| stats.iter().find(|stat| stat.key == key).unwrap().value;
        assert_eq!(figure("mean_ttft_from_due_ms"), Figure::Real(600.0));
        assert_eq!(figure("mean_e2e_from_due_ms"), Figure::Real(800.0));
    }
}
