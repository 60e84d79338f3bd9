//! What the server counted during the run, and what probes beside the load met: kept with its account of itself.

use serde_json::Value;

use super::totals::shown_real;
use crate::analysis::Analysis;

/// The key of the growth of counters in the server's account.
pub const GROWTH: &str = "counters";

/// The key of the probes there.
pub const PROBES: &str = "probes";

/// The counters of speculative and of diffusion decoding.
pub const COUNTERS: &[&str] = &[
    DRAFTS,
    DRAFT_TOKENS,
    ACCEPTED,
    ACCEPTED_AT,
    "vllm:diffusion_num_denoising_steps_total",
    "vllm:diffusion_num_canvas_positions_total",
    "vllm:diffusion_num_committed_tokens_total",
];

const DRAFTS: &str = "vllm:spec_decode_num_drafts_total";
const DRAFT_TOKENS: &str = "vllm:spec_decode_num_draft_tokens_total";
const ACCEPTED: &str = "vllm:spec_decode_num_accepted_tokens_total";
const ACCEPTED_AT: &str = "vllm:spec_decode_num_accepted_tokens_per_pos_total";

/// How speculative decoding went.
struct Speculation {
    drafts: f64,
    draft_tokens: f64,
    accepted: f64,
    /// Tokens that were accepted at each position of a draft, as a share of the drafts.
    positions: Vec<f64>,
}

impl Speculation {
    /// What the counters of the report say; `None` if nothing was drafted.
    fn of(report: &Analysis<'_>) -> Option<Self> {
        let growth = report.server_info.as_ref()?.get(GROWTH)?;
        let number = |key: &str| growth.get(key).and_then(Value::as_f64);
        let drafts = number(DRAFTS).filter(|drafts| *drafts > 0.0)?;
        let at = growth.get(format!("{ACCEPTED_AT}:position")).and_then(Value::as_object);
        let mut positions: Vec<(u32, f64)> = at
            .into_iter()
            .flatten()
            .filter_map(|(at, accepted)| Some((at.parse().ok()?, accepted.as_f64()? / drafts)))
            .collect();
        positions.sort_unstable_by_key(|(at, _)| *at);
        Some(Self {
            drafts,
            draft_tokens: number(DRAFT_TOKENS).unwrap_or(0.0),
            accepted: number(ACCEPTED).unwrap_or(0.0),
            positions: positions.into_iter().map(|(_, share)| share).collect(),
        })
    }

    /// Accepted tokens as a percentage of drafted ones.
    fn rate(&self) -> Option<f64> {
        (self.draft_tokens > 0.0).then(|| self.accepted / self.draft_tokens * 100.0)
    }

    /// Tokens of a step: what was accepted of its draft, and the one that the model itself gave.
    fn length(&self) -> f64 {
        1.0 + self.accepted / self.drafts
    }
}

/// The keys of a result for what was counted.
pub(super) fn keys(report: &Analysis<'_>) -> Vec<(String, Value)> {
    let probes = report.server_info.as_ref().and_then(|info| info.get(PROBES)?.as_object());
    let mut keys: Vec<(String, Value)> =
        probes.into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
    let Some(speculation) = Speculation::of(report) else { return keys };
    #[expect(clippy::cast_possible_truncation, reason = "counters are whole numbers")]
    let whole = |x: f64| Value::from(x as i64);
    for (key, value) in [
        ("acceptance_rate", speculation.rate().into()),
        ("acceptance_length", speculation.length().into()),
        ("num_drafts", whole(speculation.drafts)),
        ("draft_tokens", whole(speculation.draft_tokens)),
        ("accepted_tokens", whole(speculation.accepted)),
        ("per_position_acceptance_rates", speculation.positions.into()),
    ] {
        keys.push((format!("spec_decode_{key}"), value));
    }
    keys
}

/// A block of the table: its title and its rows.
type Block = (&'static str, Vec<(String, String)>);

/// The block of speculative decoding.
pub(super) fn block(report: &Analysis<'_>) -> Option<Block> {
    let speculation = Speculation::of(report)?;
    let row = |label: &str, value: String| (label.to_owned(), value);
    let mut rows = vec![
        row("Acceptance rate (%):", shown_real(speculation.rate())),
        row("Acceptance length:", format!("{:.2}", speculation.length())),
        row("Drafts:", format!("{:.0}", speculation.drafts)),
        row("Draft tokens:", format!("{:.0}", speculation.draft_tokens)),
        row("Accepted tokens:", format!("{:.0}", speculation.accepted)),
    ];
    if !speculation.positions.is_empty() {
        rows.push(row("Per-position acceptance (%):", String::new()));
        rows.extend(
            speculation
                .positions
                .iter()
                .enumerate()
                .map(|(at, share)| (format!("  Position {at}:"), format!("{:.2}", share * 100.0))),
        );
    }
    Some(("Speculative Decoding", rows))
}

/// The block of probes.
pub(super) fn probes(report: &Analysis<'_>) -> Option<Block> {
    let probes = report.server_info.as_ref()?.get(PROBES)?;
    let count = |key: &str| probes.get(key).and_then(Value::as_u64).unwrap_or(0).to_string();
    let real = |key: &str| shown_real(probes.get(key).and_then(Value::as_f64));
    let rows = [
        ("Probe requests completed:", count("probe_completed")),
        ("Probe requests failed:", count("probe_failed")),
        ("Median probe E2EL (ms):", real("probe_median_e2el_ms")),
        ("P99 probe E2EL (ms):", real("probe_p99_e2el_ms")),
        ("Max probe E2EL (ms):", real("probe_max_e2el_ms")),
    ];
    let rows = rows.into_iter().map(|(label, value)| (label.to_owned(), value)).collect();
    Some(("Probe Requests", rows))
}
