//! From the outcome of a run to its analysis: what the end of a run and `rbench report` have in common.

use rayon::prelude::*;
use serde_json::Value;

use super::run::Measured;
use super::terms::terms;
use crate::analysis::audit::{Asked, Lengths};
use crate::analysis::counts::{Counter, Ended, Shares};
use crate::analysis::gather::{Close, Origins, Terms};
use crate::analysis::{Analysis, Requests, RunOutcome, analyse};
use crate::control::probe::{self, State};
use crate::health::Health;
use crate::journal::{End, Header};
use crate::model::{RequestRecord, TokenSource, VisionSource};
use crate::output::terminal::Ui;
use crate::protocol::backend::{Backend, CacheTelling};
use crate::workload::conversation;
use crate::workload::tokenizer::Tokenizer;

/// The analysis of a run that left `records`.
pub(super) fn of_run<'a>(
    ran: Measured,
    records: &'a [RequestRecord],
    tokenizer: &Tokenizer,
    ui: Ui,
) -> Analysis<'a> {
    let Measured { header, end, aggregate, plan, most_in_flight } = ran;
    let asked = |record: &RequestRecord| conversation::asked(&plan, record);
    let Some(aggregate) = aggregate else {
        return of_records(&header, Ok(end), records, asked, tokenizer, ui);
    };
    let close = close(&header, &end, most_in_flight);
    let requests = Requests::Aggregate(Box::new(aggregate));
    let analysis = analyse(outcome(&header, end, 0, close, requests), &terms(&header, false));
    warn_of(&analysis, &header, ui);
    analysis
}

/// The analysis of `records`, which are in the order of the plan and as the run left them.
///
/// `end` is what only the end of a run tells; without it what has no record did not end, and the error says why.
/// `asked` gives the texts that the round of a record added to its conversation, if it is part of one.
pub(super) fn of_records<'a, 'b>(
    header: &Header,
    end: Result<End, String>,
    records: &'a [RequestRecord],
    asked: impl Fn(&RequestRecord) -> Option<Vec<&'b str>> + Sync,
    tokenizer: &Tokenizer,
    ui: Ui,
) -> Analysis<'a> {
    let (end, unfinished) = end.map_or_else(
        |why| {
            let health = Health { clock: header.clock, ..Health::default() };
            let known = records.len() as u64;
            let unfinished = header.requests.map_or(0, |n| n.saturating_sub(known));
            (End { health, partial: Some(why), ..End::default() }, unfinished)
        },
        |end| (end, 0),
    );
    let counter = Counter { tokenizer, generates: header.backend.protocol.generates() };
    let counts = counter.count_all(records, asked);
    if let Some(why) = tokenizer.trouble() {
        ui.warn(&format!(
            "the server did not count all answers again, and those counts are too low: {why}"
        ));
    }
    if !tokenizer.counts() {
        warn_of_uncounted(records, ui);
    }
    let close = close(header, &end, 0);
    let shares = Shares::of(header.backend.splits_itl, close.accept_length);
    let pieces = records
        .par_iter()
        .zip(&counts)
        .map(|(record, &counts)| counter.pieces(&Ended { record, counts, pieces: None }, shares))
        .collect();
    let terms = Terms { origins: Origins::of(records), shares, ..terms(header, true) };
    let requests = Requests::Records { records, counts, pieces };
    let analysis = analyse(outcome(header, end, unfinished, close, requests), &terms);
    warn_of(&analysis, header, ui);
    analysis
}

fn close(header: &Header, end: &End, peak_in_flight: u64) -> Close {
    Close {
        accept_length: accept_length(header.backend, end),
        vision_tokens: 0,
        peak_in_flight,
        last_gap: header.last_gap,
        server_info_time: end.server_info_time,
        percentiles: header.metadata.percentiles(),
    }
}

/// The server's report on speculative decoding.
fn accept_length(backend: &Backend, end: &End) -> Option<f64> {
    end.server_info
        .as_ref()
        .filter(|_| backend.is_sglang())
        .and_then(|info| probe::accept_length(info, State::First))
}

/// What a run left, of whose requests `unfinished` have no record because the program died.
fn outcome<'a>(
    header: &Header,
    end: End,
    unfinished: u64,
    close: Close,
    requests: Requests<'a>,
) -> RunOutcome<'a> {
    let End { health, server_info, server_info_time: _, failed_calls, partial, memory } = end;
    RunOutcome {
        metadata: header.metadata.clone(),
        requests,
        scheduled: header.requests,
        unfinished,
        endpoints: header.endpoints.clone(),
        vision: header.vision,
        asked: asked(header),
        steady_state: header.steady_state,
        ceiling: header.ceiling.clone(),
        close,
        health,
        server_info,
        failed_calls,
        partial,
        memory,
    }
}

/// Warns of what a reader of the figures has to know.
fn warn_of(analysis: &Analysis<'_>, header: &Header, ui: Ui) {
    let is_kept = !analysis.records.is_empty();
    if header.steady_state.is_some() && analysis.steady.is_none() && is_kept {
        ui.warn("there is no steady state to report: no request completed");
    }
    if analysis.metadata.vision_source == Some(VisionSource::Unknown) {
        ui.warn("the tokens of the images are not known: the model's files have no rule that rbench knows, and the server did not count the prompts");
    }
    if analysis.metadata.cache_report && !analysis.tells_cache {
        warn_of_silent_cache(header.backend, ui);
    }
    if let Some(note) = token_note(&analysis.token_sources) {
        ui.warn(&note);
    }
}

/// What to say where the server did not count all output tokens.
fn token_note(sources: &[(TokenSource, u64)]) -> Option<String> {
    let of = |source| sources.iter().find(|(s, _)| *s == source).map_or(0, |&(_, n)| n);
    let all: u64 = sources.iter().map(|&(_, n)| n).sum();
    let (texts, events) = (of(TokenSource::Retokenized), of(TokenSource::Events));
    let how = match (texts, events) {
        (0, 0) => return None,
        (_, 0) => "the local tokenizer counted their text".to_owned(),
        (0, _) => "their events with output are counted as tokens".to_owned(),
        _ => format!(
            "the local tokenizer counted the text of {texts}, and the events with output of {events} are counted as tokens"
        ),
    };
    Some(format!(
        "the server told no usable count of output tokens for {} of {all} completed requests: {how}",
        texts + events
    ))
}

/// What was asked of the server.
pub(super) fn asked(header: &Header) -> Asked {
    let Header { metadata, backend, vision, .. } = header;
    let is_set = |key: &str| metadata.config.get(key).and_then(Value::as_bool).unwrap_or(false);
    let extra = metadata.config.get("extra_request_body");
    let lengths = match extra.map_or(Lengths::Exact, lengths) {
        Lengths::Exact if is_set("disable_ignore_eos") => Lengths::AtMost,
        lengths => lengths,
    };
    Asked {
        lengths,
        streams: metadata.generates && !is_set("disable_stream"),
        messages: backend.accepts_messages,
        images: vision.is_some(),
        cache: metadata.planned.cache,
    }
}

/// How long answers are to be where the user adds `extra` to each body.
fn lengths(extra: &Value) -> Lengths {
    const LIMITS: [&str; 5] =
        ["max_tokens", "max_completion_tokens", "max_new_tokens", "min_tokens", "min_new_tokens"];
    const ENDS: [&str; 9] = [
        "ignore_eos",
        "stop",
        "stop_token_ids",
        "stop_regex",
        "response_format",
        "json_schema",
        "regex",
        "structured_outputs",
        "tools",
    ];
    let Value::Object(extra) = extra else { return Lengths::Exact };
    let of_key = |(key, value): (&String, &Value)| {
        if LIMITS.contains(&key.as_str()) {
            Lengths::Unknown
        } else if ENDS.contains(&key.as_str()) {
            Lengths::AtMost
        } else {
            // Parameters of sampling may be one level down.
            lengths(value)
        }
    };
    extra.iter().map(of_key).fold(Lengths::Exact, |all, one| match (all, one) {
        (Lengths::Unknown, _) | (_, Lengths::Unknown) => Lengths::Unknown,
        (Lengths::AtMost, _) | (_, Lengths::AtMost) => Lengths::AtMost,
        _ => Lengths::Exact,
    })
}

/// Warns of answers without a count of their prompts, where nobody but the server counts.
fn warn_of_uncounted(records: &[RequestRecord], ui: Ui) {
    let completed = || records.iter().filter(|record| record.completed());
    let uncounted = completed().filter(|record| record.server_prompt_tokens.is_none()).count();
    if uncounted > 0 {
        ui.warn(&format!(
            "--tokenizer none: the server told no prompt tokens for {uncounted} of {} completed requests, which count as 0",
            completed().count()
        ));
    }
}

/// Warns that a report on the prefix cache is asked for and the server told nothing of it.
fn warn_of_silent_cache(backend: &Backend, ui: Ui) {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::analysis::aggregate::Aggregate;
    use crate::analysis::counts::Counts;
    use crate::analysis::intake::{Intake, Rules};
    use crate::analysis::measure::{Measure, Statistic};
    use crate::analysis::metric::{Figure, PerEndpoint, Stat};
    use crate::analysis::stats::Tally;
    use crate::analysis::{PERCENTILES, RunMetadata};
    use crate::health::ClockSource;
    use crate::journal::Command;
    use crate::model::{
        CacheTiers, CachedTokens, Failure, FailureKind, Outcome, OutputTokens, Phase,
    };
    use crate::workload::arrival::Rate;
    use crate::workload::bundled;
    use crate::workload::hub::Hub;
    use crate::workload::plan::Planned;

    const THRESHOLD: Duration = Duration::from_millis(500);

    fn header(backend: &'static Backend, requests: usize) -> Header {
        let metadata = RunMetadata {
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
            config: serde_json::Map::from_iter([(PERCENTILES.to_owned(), json!([75, 99]))]),
            planned: Planned::default(),
        };
        Header {
            metadata,
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
        let mut record = crate::analysis::testing::record(sent_ns / 1_000_000, &[], &[]);
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
        if index % 3 == 1 {
            // Sent again, over a connection that had to be opened.
            record.attempts = 2;
            record.due = Duration::from_nanos(sent_ns / 2);
            record.released = record.due;
            record.first_sent = Some(record.due);
            record.connect = Some(Duration::from_nanos(sent_ns / 4));
        }
        if *end > 2 {
            let storage_backend = Some(format!("storage of {index}"));
            let tiers = CacheTiers { device: 1, host: 0, storage: *sent % 2, storage_backend };
            record.cached = Some(CachedTokens { total: 3, tiers: Some(Box::new(tiers)) });
        }
        // The server counts images, which no rule tells, and for one of many it may tell nothing.
        record.server_prompt_tokens = (*sent < 2900).then_some(5 + sent % 7);
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
        let is_percentile = matches!(a.measure, Measure::Of(Statistic::Percentile(_), _));
        let is_deviation =
            matches!(a.measure, Measure::Of(Statistic::Std | Statistic::SampleStd, _));
        match (a.value, b.value) {
            (Figure::Real(x), Figure::Real(y)) if is_percentile => {
                (x - y).abs() <= (x * Tally::ERROR).max(Tally::STEP)
            }
            // Where all samples are equal, their deviation is what rounding leaves.
            (Figure::Real(x), Figure::Real(y)) if is_deviation => (x - y).abs() <= 1e-3,
            (Figure::Real(x), Figure::Real(y)) => (x - y).abs() <= x.abs() * 1e-9,
            (x, y) => x == y,
        }
    }

    /// Whether the figures `b` of a server, of counted samples, are its figures `a`, of all of them.
    fn near(a: &PerEndpoint, b: &PerEndpoint) -> bool {
        let latencies = |one: &PerEndpoint| [one.ttft_ms, one.e2e_ms].concat();
        let close = |(x, y): (Option<f64>, Option<f64>)| match (x, y) {
            (Some(x), Some(y)) => (x - y).abs() <= (x * Tally::ERROR).max(Tally::STEP),
            (x, y) => x == y,
        };
        let exact = PerEndpoint { ttft_ms: a.ttft_ms, e2e_ms: a.e2e_ms, ..b.clone() };
        exact == *a && latencies(a).into_iter().zip(latencies(b)).all(close)
    }

    /// Whether analysis `b` is analysis `a`: to the last digit, or within the bounds of counted samples.
    fn agree(a: &Analysis<'_>, b: &Analysis<'_>, is_exact: bool) -> Result<(), TestCaseError> {
        prop_assert_eq!(a.measures.stats.len(), b.measures.stats.len());
        for (a, b) in a.measures.stats.iter().zip(&b.measures.stats) {
            prop_assert_eq!(a.measure, b.measure);
            prop_assert!(if is_exact { a == b } else { same(a, b) }, "{:?} {:?}", a, b);
        }
        prop_assert_eq!(&a.failures, &b.failures);
        prop_assert_eq!(&a.token_sources, &b.token_sources);
        prop_assert_eq!(a.endpoints.len(), b.endpoints.len());
        for (a, b) in a.endpoints.iter().zip(&b.endpoints) {
            prop_assert!(if is_exact { a == b } else { near(a, b) }, "{:?} {:?}", a, b);
        }
        // Sums of floats depend on the order to the last digit, which a detail does not show.
        prop_assert_eq!(&a.audit.checks, &b.audit.checks);
        prop_assert_eq!(a.audit.ledger, b.audit.ledger);
        prop_assert_eq!(&a.audit.notes, &b.audit.notes);
        prop_assert_eq!(a.headroom.events_per_s, b.headroom.events_per_s);
        prop_assert_eq!(a.audit.offered_rate, b.audit.offered_rate);
        prop_assert_eq!(a.audit.achieved_rate, b.audit.achieved_rate);
        prop_assert_eq!(a.metadata.vision_source, b.metadata.vision_source);
        prop_assert_eq!(&a.storage_backend, &b.storage_backend);
        prop_assert_eq!(a.tells_cache, b.tells_cache);
        Ok(())
    }

    fn records(seeds: &[Seed]) -> Vec<RequestRecord> {
        seeds.iter().enumerate().map(|(i, seed)| record(i, seed)).collect()
    }

    /// The end of a run of `records`.
    fn end(records: &[RequestRecord]) -> End {
        let worker = crate::health::WorkerHealth {
            events: records.iter().map(|record| record.events.len() as u64).sum(),
            bytes: 1_000_000,
            ..Default::default()
        };
        End {
            server_info: Some(json!({"internal_states": [{"avg_spec_accept_length": 2.5}]})),
            health: Health { workers: vec![worker], ..Health::default() },
            ..End::default()
        }
    }

    fn seeds() -> impl Strategy<Value = Vec<Seed>> {
        let piece = prop_oneof![Just(""), Just(" a"), Just(" some words of text"), Just("漢字")];
        let event = (1_u64..800_000, piece.prop_map(str::to_owned), 0_u16..3);
        prop::collection::vec((0_u64..3000, prop::collection::vec(event, 1..12), 0_u8..6), 1..12)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Forall records: the analysis of what was counted while they came is that of the records, percentiles of
        /// events within the stated bound.
        #[test]
        fn counted_and_kept_agree(seeds in seeds(), splits: bool, images: bool) {
            let tokenizer =
                Tokenizer::load(&[bundled::NAME.to_owned()], &Hub::from_env(false)).unwrap();
            let backend = Backend::find(if splits { "sglang-oai" } else { "vllm" }).unwrap();
            prop_assert_eq!(backend.splits_itl, splits);
            let records = records(&seeds);
            let vision = images.then_some(VisionSource::Unknown);
            let header = Header { vision, ..header(backend, records.len()) };
            let mut intake = Intake::new(Rules {
                plan: &[],
                counter: Counter { tokenizer: &tokenizer, generates: true },
                terms: terms(&header, false),
                endpoints: &header.endpoints,
                vision: header.vision,
            });
            for record in &records {
                intake.take(record);
            }
            let taken = intake.finish();
            prop_assert!(taken.unsent.is_empty());
            let none = |_: &RequestRecord| None;
            let ui = Ui::new();
            let whole = of_records(&header, Ok(end(&records)), &records, none, &tokenizer, ui);
            let Figure::Count(most_in_flight) = whole.figure(Measure::MaxConcurrentRequests) else { panic!() };
            let ran = Measured {
                header: header.clone(),
                end: end(&records),
                aggregate: Some(taken.aggregate),
                plan: [].into(),
                most_in_flight,
            };
            agree(&whole, &of_run(ran, &[], &tokenizer, ui), false)?;
        }

        /// Forall records and cuts: the merged aggregates of two parts are the aggregate of the whole; kept samples
        /// give every figure to the last digit, counted ones within the stated bound.
        #[test]
        fn merged_parts_are_the_whole(seeds in seeds(), cut in 0.0..=1.0_f64, images: bool) {
            let records = records(&seeds);
            let vision = images.then_some(VisionSource::Unknown);
            let header = Header { vision, ..header(Backend::find("vllm").unwrap(), records.len()) };
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place")]
            let cut = (records.len() as f64 * cut) as usize;
            for keeps in [true, false] {
                let terms = Terms { origins: Origins::of(&records), ..terms(&header, keeps) };
                let of = |records: &[RequestRecord]| {
                    let mut aggregate = Aggregate::new(&terms, &header.endpoints, vision);
                    for record in records {
                        let counts = Counts { retokenized: 3, ..Counts::of(record) };
                        aggregate.add(&Ended { counts, ..Ended::of(record) });
                    }
                    aggregate
                };
                let analysis = |aggregate| {
                    let (end, requests) = (end(&records), Requests::Aggregate(Box::new(aggregate)));
                    let close = close(&header, &end, 1);
                    analyse(outcome(&header, end, 0, close, requests), &terms)
                };
                let mut merged = of(&records[..cut]);
                merged.merge(of(&records[cut..]));
                agree(&analysis(of(&records)), &analysis(merged), keeps)?;
            }
        }
    }
}
