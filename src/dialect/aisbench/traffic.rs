//! When requests arrive: gaps of a shape, at a rate that may rise.

use std::time::Duration;

use super::scenario::{Model, Traffic};
use crate::workload::arrival::{Pattern, Ramp, Rate, Strategy, patterned};

/// Below this rate in requests/s nothing is paced.
const UNPACED: f64 = 1e-3;

impl Traffic {
    /// The ramp, if there is one.
    fn ramp(&self) -> Option<Ramp> {
        let exponential = self.ramp_up_strategy.as_deref()? == "exponential";
        let strategy = if exponential { Strategy::Exponential } else { Strategy::Linear };
        Some(Ramp { strategy, from: self.ramp_up_start_rps?, to: self.ramp_up_end_rps? })
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
    let shape = model.traffic_cfg.burstiness.unwrap_or(1.0);
    let burstiness = if shape > 0.0 { shape } else { f64::INFINITY };
    let pattern = Pattern { burstiness, ramp: model.traffic_cfg.ramp(), stretched: true };
    let (due, _) = patterned(Rate::PerSecond(model.request_rate), &pattern, n, seed);
    let first = due.first().copied().unwrap_or_default();
    Some(due.into_iter().map(|at| at.saturating_sub(first)).collect())
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
