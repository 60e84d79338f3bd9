//! From records to a report: what the end of a run and `rbench report` have in common.

use rayon::prelude::*;

use crate::audit::{Audit, Streams};
use crate::backend::{Backend, CacheTelling};
use crate::ceiling::Headroom;
use crate::conversation;
use crate::fold::{self, Sums};
use crate::health::Health;
use crate::journal::{End, Header};
use crate::metric::{self, Run, SteadyState, event_tokens, per_endpoint, split_itl, steady_state};
use crate::model::{RequestRecord, VisionSource};
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
/// With `sums`, which their events and texts were added to, they have none any more.
/// `asked` gives the texts that the round of a record added to its conversation, if it is part of one.
pub(super) fn figures<'a, 'b>(
    header: &Header,
    end: Result<End, String>,
    records: &'a mut [RequestRecord],
    sums: Option<Sums>,
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
    if sums.is_none() {
        conversation::set_prompt_lengths(records, tokenizer, asked);
    }
    let vision_source = planned.map(|planned| vision::settle(records, planned));
    if vision_source == Some(VisionSource::Unknown) {
        ui.warn("the tokens of the images are not known: the model's files have no rule that rbench knows, and the server did not count the prompts");
    }
    let generates = backend.protocol.generates();
    let retokenized =
        if sums.is_some() { Vec::new() } else { retokenize(records, tokenizer, generates) };
    let records = &*records;
    let accept_length =
        server_info.as_ref().filter(|_| backend.is_sglang()).and_then(probe::accept_length);
    let whole = sums.is_none();
    let splits = whole && backend.splits_itl && accept_length.is_some_and(|a| a > 0.0);
    let split: Option<Vec<f64>> = splits.then(|| {
        records
            .par_iter()
            .filter(|record| record.completed())
            .flat_map_iter(|record| split_itl(record, |piece| tokenizer.count(piece)))
            .collect()
    });
    let counted = if whole { records } else { &[] };
    let event_tokens: Vec<Option<Vec<u32>>> = counted
        .par_iter()
        .map(|record| event_tokens(record, |piece| tokenizer.count(piece)))
        .collect();
    let stats = metric::compute(&Run {
        records,
        retokenized: &retokenized,
        split_itl: split.as_deref(),
        event_tokens: &event_tokens,
        folded: sums.as_ref().map(|sums| &sums.figures),
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
    let ceiling = header.ceiling.clone();
    let (streams, headroom, failures) = match sums {
        Some(Sums { streams, arrivals, failures, .. }) => {
            (streams, Headroom::of_arrivals(&arrivals, ceiling), failures.groups())
        }
        None => (Streams::of(records), Headroom::of(records, ceiling), report::failures(records)),
    };
    let scheduled = requests.unwrap_or(records.len() as u64);
    let report = Report {
        facts: Facts { vision_source, ..facts.clone() },
        stats,
        failures,
        token_sources: report::token_sources(records),
        server_info,
        audit: Audit::new(records, &streams, scheduled, unfinished, &health),
        health,
        headroom,
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

/// As [`fold::retokenize`], for all `records`.
fn retokenize(records: &mut [RequestRecord], tokenizer: &Tokenizer, generates: bool) -> Vec<u64> {
    records.par_iter_mut().map(|record| fold::retokenize(record, tokenizer, generates)).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::arrival::Rate;
    use crate::bundled;
    use crate::fold::{Fold, Rules};
    use crate::health::ClockSource;
    use crate::hub::Hub;
    use crate::journal::Command;
    use crate::metric::{Figure, Stat};
    use crate::model::{
        Failure, FailureKind, Outcome, OutputTokens, Phase, TokenEvents, TokenSource,
    };
    use crate::stats::Tally;

    const THRESHOLD: Duration = Duration::from_millis(500);

    fn header(backend: &'static Backend, requests: usize) -> Header {
        let facts = Facts {
            backend: backend.name,
            generates: true,
            dataset_name: "random".to_owned(),
            rate: Rate::Unlimited,
            max_concurrency: None,
            slos: vec!["ttft:300".parse().unwrap()],
            cache_report: true,
            tag: None,
            model: "m".to_owned(),
            tokenizer: bundled::NAME.to_owned(),
            vision_source: None,
            seed: 1,
            date: "2026-01-02T03:04:05+00:00".to_owned(),
            config: serde_json::Map::new(),
        };
        Header {
            facts,
            backend,
            clock: ClockSource::Kernel,
            endpoints: vec!["a".to_owned(), "b".to_owned()],
            command: Command::Serve,
            requests: Some(requests as u64),
            vision: None,
            stall_threshold: THRESHOLD,
            last_gap: Duration::ZERO,
            steady_state: None,
            ceiling: None,
        }
    }

    /// What a request is made of: its send in ms, its gaps in µs with the pieces that end them and the completions
    /// that these belong to, and how it ended.
    type Seed = (u64, Vec<(u64, String, u16)>, u8);

    /// The first request is sent at 0, has its first event then, and completes: seconds are counted from there in both ways.
    fn record(index: usize, (sent, events, end): &Seed) -> RequestRecord {
        let sent_ns = if index == 0 { 0 } else { sent * 1_000_000 };
        let mut record = crate::metric::testing::record(sent_ns / 1_000_000, &[], &[]);
        (record.index, record.endpoint) = (index, index % 2);
        let mut at = sent_ns;
        let mut texts = vec![String::new(); 3];
        for (i, (gap, piece, completion)) in events.iter().enumerate() {
            at += if i == 0 && index == 0 { 0 } else { gap * 1000 };
            record.events.push(*completion, at, 1);
            let text = &mut texts[usize::from(*completion)];
            text.push_str(piece);
            record.events.text_ends.push(text.len());
        }
        if *end == 4 {
            // The server's running count of each event.
            record.events.counted = events.iter().map(|(gap, ..)| (gap % 4) as u32).collect();
        }
        record.text = texts.remove(0);
        if events.iter().any(|(.., completion)| *completion > 0) {
            record.other_texts = texts;
        }
        record.done = Some(Duration::from_nanos(at + 5000));
        let count = events.len() as u64;
        let server = |count| Some(OutputTokens { count, source: TokenSource::Server });
        record.output_tokens = match end {
            0 => None,
            // More than one event has, so that pieces are counted.
            1 => server(count + 2),
            // Fewer, which a check finds.
            2 => server(count.saturating_sub(1)),
            _ => server(count),
        };
        if *end == 3 && index > 0 {
            record.outcome = Outcome::Failed(Failure {
                excerpt: Some("of the body".to_owned()),
                ..Failure::new(FailureKind::EarlyEnd, Phase::Stream, format!("cut after {count}"))
            });
        }
        record
    }

    /// Whether figure `b`, of counted samples, is figure `a`, of all of them.
    fn same(a: &Stat, b: &Stat) -> bool {
        let is_percentile =
            ["median_", "p90_", "p95_", "p99_"].iter().any(|q| a.key.starts_with(q));
        match (a.value, b.value) {
            (Figure::Real(x), Figure::Real(y)) if is_percentile => {
                (x - y).abs() <= (x * Tally::ERROR).max(Tally::STEP)
            }
            // Where all samples are equal, their deviation is what rounding leaves.
            (Figure::Real(x), Figure::Real(y)) if a.key.starts_with("std_") => {
                (x - y).abs() <= 1e-3
            }
            (Figure::Real(x), Figure::Real(y)) => (x - y).abs() <= x.abs() * 1e-9,
            (x, y) => x == y,
        }
    }

    fn seeds() -> impl Strategy<Value = Vec<Seed>> {
        let piece = prop_oneof![Just(""), Just(" a"), Just(" some words of text"), Just("漢字")];
        let event = (1_u64..800_000, piece.prop_map(str::to_owned), 0_u16..3);
        prop::collection::vec((0_u64..3000, prop::collection::vec(event, 1..12), 0_u8..6), 1..12)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Forall records: the report of sums is that of records, percentiles of events within the stated bound.
        #[test]
        fn sums_tell_what_records_tell(seeds in seeds(), splits: bool) {
            let tokenizer =
                Tokenizer::load(&[bundled::NAME.to_owned()], &Hub::from_env(false)).unwrap();
            let backend = Backend::find(if splits { "sglang-oai" } else { "vllm" }).unwrap();
            prop_assert_eq!(backend.splits_itl, splits);
            let mut records: Vec<RequestRecord> =
                seeds.iter().enumerate().map(|(i, seed)| record(i, seed)).collect();
            let header = header(backend, records.len());
            let info = json!({"internal_states": [{"avg_spec_accept_length": 2.5}]});
            let lane = crate::health::LaneHealth {
                events: records.iter().map(|record| record.events.len() as u64).sum(),
                bytes: 1_000_000,
                ..Default::default()
            };
            let end = || End {
                server_info: Some(info.clone()),
                health: Health { clock: ClockSource::Kernel, lanes: vec![lane.clone()] },
                ..End::default()
            };
            let mut fold = Fold::new(Rules {
                plan: &[],
                tokenizer: &tokenizer,
                generates: true,
                splits_itl: backend.splits_itl,
                stall_threshold: THRESHOLD,
            });
            let mut left: Vec<RequestRecord> =
                records.iter().map(|record| fold.take(record.clone())).collect();
            let none = |_: &RequestRecord| None;
            let whole =
                figures(&header, Ok(end()), &mut records, None, none, &tokenizer, Ui::new()).report;
            let sums = Some(fold.sums);
            let folded =
                figures(&header, Ok(end()), &mut left, sums, none, &tokenizer, Ui::new()).report;
            prop_assert_eq!(whole.stats.len(), folded.stats.len());
            for (a, b) in whole.stats.iter().zip(&folded.stats) {
                prop_assert_eq!(&a.key, &b.key);
                prop_assert!(same(a, b), "{:?} {:?}", a, b);
            }
            prop_assert_eq!(whole.failures, folded.failures);
            prop_assert_eq!(whole.token_sources, folded.token_sources);
            prop_assert_eq!(whole.endpoints, folded.endpoints);
            prop_assert_eq!(whole.audit.checks, folded.audit.checks);
            prop_assert_eq!(whole.audit.ledger, folded.audit.ledger);
            prop_assert_eq!(whole.headroom.events_per_s, folded.headroom.events_per_s);
            for record in folded.records {
                let TokenEvents { at_ns, tokens, text_ends, completion, counted } = &record.events;
                prop_assert_eq!((at_ns.capacity(), tokens.capacity()), (1, 0));
                prop_assert_eq!((text_ends.capacity(), completion.capacity()), (0, 0));
                prop_assert_eq!(counted.capacity(), 0);
                prop_assert!(record.texts().all(str::is_empty));
            }
        }
    }
}
