//! From records to a report: what the end of a run and `rbench report` have in common.

use rayon::prelude::*;

use crate::audit::Audit;
use crate::backend::{Backend, CacheTelling};
use crate::ceiling::Headroom;
use crate::conversation;
use crate::health::Health;
use crate::journal::{End, Header};
use crate::metric::{self, Run, SteadyState, event_tokens, per_endpoint, split_itl, steady_state};
use crate::model::{OutputTokens, RequestRecord, TokenSource, VisionSource};
use crate::probe;
use crate::report::{self, Facts, Report};
use crate::tokenizer::Tokenizer;
use crate::ui::Ui;
use crate::vision;

/// What is told of a run.
pub(super) struct Figures<'a> {
    pub(super) report: Report<'a>,
    /// Its steady state, if that is asked for and there is one.
    pub(super) steady: Option<SteadyState>,
}

/// The figures of `records`, which are in the order of the plan and as the run left them.
///
/// `end` is what only the end of a run tells; without it what has no record did not end, and `partial` says why.
/// `asked` gives the texts that the round of a record added to its conversation, if it is part of one.
pub(super) fn figures<'a, 'b>(
    header: &Header,
    end: Result<End, String>,
    records: &'a mut [RequestRecord],
    asked: impl Fn(&RequestRecord) -> Option<Vec<&'b str>> + Sync,
    tokenizer: &Tokenizer,
    ui: Ui,
) -> Figures<'a> {
    let Header { facts, backend, requests, vision: planned, .. } = header;
    let (unfinished, end) = match end {
        Ok(end) => (0, end),
        Err(partial) => {
            let health = Health { clock: header.clock, lanes: Vec::new() };
            let unfinished = requests.map_or(0, |n| n.saturating_sub(records.len() as u64));
            (unfinished, End { health, partial: Some(partial), ..End::default() })
        }
    };
    let End { health, server_info, server_info_time, partial } = end;
    conversation::set_prompt_lengths(records, tokenizer, asked);
    let vision_source = planned.map(|planned| vision::settle(records, planned));
    if vision_source == Some(VisionSource::Unknown) {
        ui.warn("the tokens of the images are not known: the model's files have no rule that rbench knows, and the server did not count the prompts");
    }
    let retokenized = retokenize(records, tokenizer, backend.protocol.generates());
    let records = &*records;
    let accept_length =
        server_info.as_ref().filter(|_| backend.is_sglang()).and_then(probe::accept_length);
    let split: Option<Vec<f64>> = (backend.splits_itl && accept_length.is_some_and(|a| a > 0.0))
        .then(|| {
            records
                .par_iter()
                .filter(|record| record.completed())
                .flat_map_iter(|record| split_itl(record, |piece| tokenizer.count(piece)))
                .collect()
        });
    let event_tokens: Vec<Option<Vec<u32>>> = records
        .par_iter()
        .map(|record| event_tokens(record, |piece| tokenizer.count(piece)))
        .collect();
    let stats = metric::compute(&Run {
        records,
        retokenized: &retokenized,
        split_itl: split.as_deref(),
        event_tokens: &event_tokens,
        stall_threshold: header.stall_threshold,
        slos: &facts.slos,
        cache_report: facts.cache_report,
        accept_length,
        last_gap: header.last_gap,
        server_info_time,
    });
    if facts.cache_report {
        warn_of_silent_cache(backend, records, ui);
    }
    let report = Report {
        facts: Facts { vision_source, ..facts.clone() },
        stats,
        failures: report::failures(records),
        token_sources: report::token_sources(records),
        server_info,
        audit: Audit::new(records, requests.unwrap_or(records.len() as u64), unfinished, &health),
        health,
        headroom: Headroom::of(records, header.ceiling.clone()),
        partial,
        endpoints: per_endpoint(records, &header.endpoints),
        records,
    };
    let steady = header.steady_state.and_then(|ratio| steady_state(records, &retokenized, ratio));
    if header.steady_state.is_some() && steady.is_none() {
        ui.warn("there is no steady state to report: no request completed");
    }
    Figures { report, steady }
}

/// Warns if a report on the prefix cache is asked for and the server told nothing of it.
fn warn_of_silent_cache(backend: &Backend, records: &[RequestRecord], ui: Ui) {
    if records.iter().any(|record| record.completed() && record.cached.is_some()) {
        return;
    }
    let name = backend.name;
    let advice = match backend.cache {
        CacheTelling::Never => "its endpoint has no word for it",
        _ if backend.is_sglang() => {
            "the server may be too old to tell them; --backend sglang asks another endpoint"
        }
        _ => "start a vLLM server with --enable-prompt-tokens-details and --enable-prefix-caching",
    };
    ui.warn(&format!(
        "--cache-report: --backend {name} told no cached prompt tokens, which the result counts as 0: {advice}"
    ));
}

/// Counts each text again; completed requests whose tokens nobody counted take that count.
fn retokenize(records: &mut [RequestRecord], tokenizer: &Tokenizer, generates: bool) -> Vec<u64> {
    records
        .par_iter_mut()
        .map(|record| {
            if !record.completed() || !generates {
                return 0;
            }
            let count = record.texts().map(|text| tokenizer.count(text) as u64).sum();
            let fallback = OutputTokens { count, source: TokenSource::Retokenized };
            record.output_tokens.get_or_insert(fallback);
            count
        })
        .collect()
}
