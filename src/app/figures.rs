//! From requests to a report: what the end of a run and `rbench report` have in common.

use std::time::Duration;

use rayon::prelude::*;
use serde_json::Value;

use super::run::Measured;
use crate::analysis::account::Account;
use crate::analysis::aggregate::{self, Sums};
use crate::analysis::audit::{Asked, Audit, Lengths};
use crate::analysis::ceiling::Headroom;
use crate::analysis::metric::{self, Close, Ended, Shares, Stat, SteadyState, Terms, steady_state};
use crate::analysis::report::{Report, RunMetadata};
use crate::analysis::vision;
use crate::control::probe::{self, State};
use crate::health::Health;
use crate::journal::{End, Header};
use crate::model::{RequestRecord, TokenSource, VisionSource};
use crate::output::terminal::Ui;
use crate::protocol::backend::{Backend, CacheTelling};
use crate::workload::conversation;
use crate::workload::tokenizer::Tokenizer;

/// What is told of a run.
pub(super) struct Figures<'a> {
    pub(super) report: Report<'a>,
    /// Its steady state, if that is asked for and there is one.
    pub(super) steady: Option<SteadyState>,
}

/// The figures of a run whose `records` are as it left them.
pub(super) fn of_run<'a>(
    ran: Measured,
    records: &'a mut [RequestRecord],
    tokenizer: &Tokenizer,
    ui: Ui,
) -> Figures<'a> {
    let Measured { header, end, aggregate, plan, most_in_flight } = ran;
    let asked = |record: &RequestRecord| conversation::asked(&plan, record);
    match aggregate {
        Some(sums) => of_sums(&header, end, sums, most_in_flight, ui),
        None => of_records(&header, Ok(end), records, asked, tokenizer, ui),
    }
}

/// The figures of `records`, which are in the order of the plan and as the run left them.
///
/// `end` is what only the end of a run tells; without it what has no record did not end, and the error says why.
/// `asked` gives the texts that the round of a record added to its conversation, if it is part of one.
pub(super) fn of_records<'a, 'b>(
    header: &Header,
    end: Result<End, String>,
    records: &'a mut [RequestRecord],
    asked: impl Fn(&RequestRecord) -> Option<Vec<&'b str>> + Sync,
    tokenizer: &Tokenizer,
    ui: Ui,
) -> Figures<'a> {
    let Header { backend, vision: planned, .. } = header;
    let (end, unfinished) = end.map_or_else(
        |why| {
            let health = Health { clock: header.clock, ..Health::default() };
            let known = records.len() as u64;
            let unfinished = header.requests.map_or(0, |n| n.saturating_sub(known));
            (End { health, partial: Some(why), ..End::default() }, unfinished)
        },
        |end| (end, 0),
    );
    conversation::set_prompt_lengths(records, tokenizer, asked);
    let generates = backend.protocol.generates();
    let retokenized: Vec<u64> = records
        .par_iter_mut()
        .map(|record| aggregate::retokenize(record, tokenizer, generates))
        .collect();
    if let Some(why) = tokenizer.trouble() {
        ui.warn(&format!(
            "the server did not count all answers again, and those counts are too low: {why}"
        ));
    }
    let account = Account::of(records, &header.endpoints, *planned);
    if let Some(planned) = *planned {
        vision::settle(records, planned);
    }
    let records = &*records;
    let accept_length = accept_length(backend, &end);
    let shares = Shares::of(backend.splits_itl, accept_length);
    let pieces: Vec<Option<Vec<u32>>> =
        records.par_iter().map(|record| aggregate::pieces(record, shares, tokenizer)).collect();
    let requests =
        records.iter().zip(&retokenized).zip(&pieces).map(|((record, &retokenized), pieces)| {
            Ended { record, retokenized, pieces: pieces.as_deref() }
        });
    let origin = metric::first_send(records);
    let terms = Terms { origin, shares, ..terms(header, true) };
    let stats = metric::compute(&requests, &terms, close(header, &end, accept_length));
    let steady = header.steady_state.and_then(|ratio| steady_state(records, &retokenized, ratio));
    if header.steady_state.is_some() && steady.is_none() {
        ui.warn("there is no steady state to report: no request completed");
    }
    Figures { report: report(header, end, unfinished, stats, account, records, ui), steady }
}

/// The figures of requests that were added to sums.
pub(super) fn of_sums(
    header: &Header,
    end: End,
    sums: Sums,
    peak_in_flight: u64,
    ui: Ui,
) -> Figures<'static> {
    let Sums { metrics, account, unsent: _ } = sums;
    let settled = account.vision.map(vision::Settling::settle);
    let accept_length = accept_length(header.backend, &end);
    let stats = metrics.stats(Close {
        peak_in_flight,
        vision_tokens: settled.map_or(0, |(_, tokens)| tokens),
        ..close(header, &end, accept_length)
    });
    Figures { report: report(header, end, 0, stats, account, &[], ui), steady: None }
}

/// What metrics are to gather of a run; `keeps` says whether they keep their samples.
pub(super) fn terms(header: &Header, keeps: bool) -> Terms<'_> {
    Terms {
        keeps,
        origin: Duration::ZERO,
        shares: if header.backend.splits_itl { Shares::Perhaps } else { Shares::Never },
        stall_threshold: header.stall_threshold,
        slos: &header.metadata.slos,
        cache_report: header.metadata.cache_report,
    }
}

fn close(header: &Header, end: &End, accept_length: Option<f64>) -> Close {
    Close {
        accept_length,
        vision_tokens: 0,
        peak_in_flight: 0,
        last_gap: header.last_gap,
        server_info_time: end.server_info_time,
        percentiles: header.metadata.percentiles(),
    }
}

/// What the server told of speculative decoding.
fn accept_length(backend: &Backend, end: &End) -> Option<f64> {
    end.server_info
        .as_ref()
        .filter(|_| backend.is_sglang())
        .and_then(|info| probe::accept_length(info, State::First))
}

/// The report of a run, of whose requests `unfinished` have no record because the program died.
fn report<'a>(
    header: &Header,
    end: End,
    unfinished: u64,
    stats: Vec<Stat>,
    account: Account,
    records: &'a [RequestRecord],
    ui: Ui,
) -> Report<'a> {
    let Header { metadata, backend, requests, .. } = header;
    let End { health, server_info, server_info_time: _, failed_calls, partial, memory } = end;
    let token_sources = account.token_sources();
    let Account { evidence, arrivals, failures, endpoints, vision, .. } = account;
    let vision_source = vision.map(|settling| settling.settle().0);
    if vision_source == Some(VisionSource::Unknown) {
        ui.warn("the tokens of the images are not known: the model's files have no rule that rbench knows, and the server did not count the prompts");
    }
    if metadata.cache_report && !account.tells_cache {
        warn_of_silent_cache(backend, ui);
    }
    if let Some(note) = token_note(&token_sources) {
        ui.warn(&note);
    }
    let scheduled = requests.unwrap_or_else(|| evidence.records());
    Report {
        metadata: RunMetadata { vision_source, ..metadata.clone() },
        stats,
        failures: failures.groups(),
        token_sources,
        server_info,
        failed_calls,
        audit: Audit::new(evidence, asked(header), scheduled, unfinished, &health),
        health,
        headroom: Headroom::of(&arrivals, header.ceiling.clone()),
        partial,
        memory,
        endpoints: endpoints.figures(),
        storage_backend: account.storage_backend,
        records,
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
    use crate::analysis::aggregate::{Aggregator, Rules};
    use crate::analysis::measure::{Measure, Statistic};
    use crate::analysis::metric::{Figure, PerEndpoint, Stat};
    use crate::analysis::report::PERCENTILES;
    use crate::analysis::stats::Tally;
    use crate::health::ClockSource;
    use crate::journal::Command;
    use crate::model::{
        CacheTiers, CachedTokens, Failure, FailureKind, Outcome, OutputTokens, Phase,
    };
    use crate::secrets::Secrets;
    use crate::workload::arrival::Rate;
    use crate::workload::bundled;
    use crate::workload::hub::Hub;

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
        let mut record = crate::analysis::metric::testing::record(sent_ns / 1_000_000, &[], &[]);
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

    fn seeds() -> impl Strategy<Value = Vec<Seed>> {
        let piece = prop_oneof![Just(""), Just(" a"), Just(" some words of text"), Just("漢字")];
        let event = (1_u64..800_000, piece.prop_map(str::to_owned), 0_u16..3);
        prop::collection::vec((0_u64..3000, prop::collection::vec(event, 1..12), 0_u8..6), 1..12)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Forall records: the report of sums is that of records, percentiles of events within the stated bound.
        #[test]
        fn sums_tell_what_records_tell(seeds in seeds(), splits: bool, images: bool) {
            let tokenizer =
                Tokenizer::load(&[bundled::NAME.to_owned()], &Hub::from_env(false)).unwrap();
            let backend = Backend::find(if splits { "sglang-oai" } else { "vllm" }).unwrap();
            prop_assert_eq!(backend.splits_itl, splits);
            let mut records: Vec<RequestRecord> =
                seeds.iter().enumerate().map(|(i, seed)| record(i, seed)).collect();
            let vision = images.then_some(VisionSource::Unknown);
            let header = Header { vision, ..header(backend, records.len()) };
            let info = json!({"internal_states": [{"avg_spec_accept_length": 2.5}]});
            let worker = crate::health::WorkerHealth {
                events: records.iter().map(|record| record.events.len() as u64).sum(),
                bytes: 1_000_000,
                ..Default::default()
            };
            let end = || End {
                server_info: Some(info.clone()),
                health: Health { workers: vec![worker.clone()], ..Health::default() },
                ..End::default()
            };
            let secrets = Secrets::default();
            let mut aggregate = Aggregator::new(Rules {
                plan: &[],
                tokenizer: &tokenizer,
                secrets: &secrets,
                generates: true,
                terms: terms(&header, false),
                endpoints: &header.endpoints,
                vision: header.vision,
            });
            for record in &records { aggregate.take(record.clone()); }
            let sums = aggregate.finish();
            prop_assert!(sums.unsent.is_empty());
            let none = |_: &RequestRecord| None;
            let whole =
                of_records(&header, Ok(end()), &mut records, none, &tokenizer, Ui::new()).report;
            let Figure::Count(peak) = whole.figure(Measure::MaxConcurrentRequests) else { panic!() };
            let aggregated = of_sums(&header, end(), sums, peak, Ui::new()).report;
            prop_assert_eq!(whole.stats.len(), aggregated.stats.len());
            for (a, b) in whole.stats.iter().zip(&aggregated.stats) {
                prop_assert_eq!(a.measure, b.measure);
                prop_assert!(same(a, b), "{:?} {:?}", a, b);
            }
            prop_assert_eq!(whole.failures, aggregated.failures);
            prop_assert_eq!(whole.token_sources, aggregated.token_sources);
            prop_assert_eq!(whole.endpoints.len(), aggregated.endpoints.len());
            for (a, b) in whole.endpoints.iter().zip(&aggregated.endpoints) {
                prop_assert!(near(a, b), "{:?} {:?}", a, b);
            }
            prop_assert_eq!(whole.audit.checks, aggregated.audit.checks);
            prop_assert_eq!(whole.audit.ledger, aggregated.audit.ledger);
            prop_assert_eq!(whole.headroom.events_per_s, aggregated.headroom.events_per_s);
            prop_assert_eq!(whole.audit.offered_rate, aggregated.audit.offered_rate);
            prop_assert_eq!(whole.audit.achieved_rate, aggregated.audit.achieved_rate);
            prop_assert_eq!(whole.metadata.vision_source, aggregated.metadata.vision_source);
            prop_assert_eq!(whole.storage_backend, aggregated.storage_backend);
        }
    }
}
