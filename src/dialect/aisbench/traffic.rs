//! When requests arrive: gaps of a shape, at a rate that may rise.

use std::time::Duration;

use rand_distr::{Distribution, Gamma};

use super::scenario::{Model, Traffic};
use crate::rng;

/// Below this rate in requests/s nothing is paced.
const UNPACED: f64 = 1e-3;

/// The rates of the first and of the last request, and whether they rise exponentially.
struct Ramp {
    start: f64,
    end: f64,
    exponential: bool,
}

impl Traffic {
    /// The ramp, if there is one.
    fn ramp(&self) -> Option<Ramp> {
        let exponential = self.ramp_up_strategy.as_deref()? == "exponential";
        Some(Ramp { start: self.ramp_up_start_rps?, end: self.ramp_up_end_rps?, exponential })
    }
}

/// Whether requests of `model` are paced by a rate.
pub(super) fn is_paced(model: &Model) -> bool {
    model.traffic_cfg.ramp().is_some() || model.request_rate >= UNPACED
}

/// The due times of `n` requests from the first one, or `None` where they are not paced.
///
/// Gaps are fixed with a burstiness of 0, and follow a gamma distribution of that shape otherwise. Without a ramp they
/// are scaled so that all of them together take n requests at the rate.
pub(super) fn due(model: &Model, n: usize, seed: u64) -> Option<Vec<Duration>> {
    if !is_paced(model) {
        return None;
    }
    let ramp = model.traffic_cfg.ramp();
    let shape = model.traffic_cfg.burstiness.unwrap_or(1.0);
    let mut rng = rng::stream(seed, "aisbench/arrival", 0);
    let gamma = (shape > 0.0).then(|| Gamma::new(shape, 1.0 / shape).ok()).flatten();
    let rate = |i: usize| match &ramp {
        None => model.request_rate,
        Some(ramp) => {
            let share = if n > 1 { i as f64 / (n - 1) as f64 } else { 0.0 };
            if ramp.exponential {
                ramp.start * (ramp.end / ramp.start).powf(share)
            } else {
                ramp.start + (ramp.end - ramp.start) * share
            }
        }
    };
    let mut at = 0.0;
    let times = (0..n).map(|i| {
        let gap = gamma.as_ref().map_or(1.0, |gamma| gamma.sample(&mut rng)) / rate(i);
        at += gap;
        at
    });
    let times: Vec<f64> = times.collect();
    let last = times.last().copied().unwrap_or(0.0);
    let scale = match &ramp {
        None if last > 0.0 => n as f64 / model.request_rate / last,
        _ => 1.0,
    };
    let first = times.first().copied().unwrap_or(0.0);
    let since = |at: f64| Duration::try_from_secs_f64((at - first) * scale).unwrap_or_default();
    Some(times.into_iter().map(since).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(text: &str) -> Model {
        serde_json::from_str(text).unwrap()
    }

    /// The coefficient of variation of the gaps.
    fn variation(due: &[Duration]) -> f64 {
        let gaps: Vec<f64> =
            due.windows(2).map(|w| w[1].saturating_sub(w[0]).as_secs_f64()).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let squares = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>();
        (squares / gaps.len() as f64).sqrt() / mean
    }

    #[test]
    fn the_shape_says_how_gaps_vary() {
        for (burstiness, want) in [("0", 0.0), ("1", 1.0), ("4", 0.5), ("0.25", 2.0)] {
            let text =
                format!(r#"{{"request_rate": 50, "traffic_cfg": {{"burstiness": {burstiness}}}}}"#);
            let due = due(&model(&text), 20_000, 1).unwrap();
            let found = variation(&due);
            assert!((found - want).abs() < 0.1 + want * 0.05, "{burstiness}: {found}");
        }
    }

    #[test]
    fn a_schedule_takes_as_long_as_its_rate_says() {
        let due = due(&model(r#"{"request_rate": 50, "traffic_cfg": {"burstiness": 0}}"#), 100, 3);
        let due = due.unwrap();
        assert_eq!((due[0], due[99].as_secs_f64()), (Duration::ZERO, 1.98));
        assert!(super::due(&model(r#"{"request_rate": 0}"#), 5, 1).is_none());
    }

    #[test]
    fn a_ramp_goes_from_its_first_rate_to_its_last() {
        let text = r#"{"traffic_cfg": {"burstiness": 0, "ramp_up_strategy": "linear", "ramp_up_start_rps": 1, "ramp_up_end_rps": 10}}"#;
        let due = due(&model(text), 10, 1).unwrap();
        let gaps: Vec<f64> =
            due.windows(2).map(|w| w[1].saturating_sub(w[0]).as_secs_f64()).collect();
        assert!((gaps[0] - 0.5).abs() < 1e-9 && (gaps[8] - 0.1).abs() < 1e-9, "{gaps:?}");
    }
}
