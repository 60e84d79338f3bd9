//! What a dialect decides of a run beside its configuration, and how arrivals come of both.

use super::{Load, usage};
use crate::error::Error;
use crate::protocol::backend::Style;
use crate::workload::arrival::{Pattern, Ramp};

/// What a dialect decides of a run beside its configuration.
#[derive(Debug, Clone, Default)]
pub struct Manner {
    /// Which optional keys bodies have.
    pub style: Style,
    /// Path of the endpoint below the base URL, in the place of the backend's.
    pub path: Option<String>,
    /// Whether nobody named a dataset, so that another may stand in for it.
    pub any_dataset: bool,
    /// Whether due times are stretched; see [`Pattern::stretched`].
    pub stretched: bool,
    /// What stands before the number of each request in its header `x-request-id`, which it then has.
    pub request_ids: Option<String>,
    /// Counters of the server whose growth over the run is reported.
    pub counters: &'static [&'static str],
    /// Whether the first request is sent until it is answered, before the run.
    pub tries_first: bool,
    /// Whether requests before the run are as long as the first one, and have a salt of their own before their text,
    /// so that the run finds no prefix cached.
    pub salts: bool,
}

/// How arrivals vary around their rate.
pub(super) fn pattern(load: &Load, manner: &Manner) -> Result<Pattern, Error> {
    let (burstiness, stretched) = (load.burstiness, manner.stretched);
    let Some(strategy) = load.ramp_up_strategy else {
        return Ok(Pattern { burstiness, ramp: None, stretched });
    };
    let (Some(from), Some(to)) = (load.ramp_up_start_rps, load.ramp_up_end_rps) else {
        return Err(usage(
            "--ramp-up-strategy needs --ramp-up-start-rps and --ramp-up-end-rps".to_owned(),
        ));
    };
    if from > to || from <= 0.0 {
        return Err(usage(format!(
            "--ramp-up-start-rps {from} must be above 0 and at most --ramp-up-end-rps {to}"
        )));
    }
    Ok(Pattern { burstiness, ramp: Some(Ramp { strategy, from, to }), stretched })
}
