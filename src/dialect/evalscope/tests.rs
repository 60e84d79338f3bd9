//! The tables of the documents that EvalScope's users read, from records with those values.

use std::time::Duration;

use expect_test::expect_file;

use super::figures::{Figures, Load, Speculation, Terms};
use super::layout::Layout;
use super::report::{self, About};
use super::{files, table};
use crate::analysis::testing::{ended, record};
use crate::model::{OutputTokens, RequestRecord, TokenSource};

fn ns(ms: f64) -> u64 {
    u64::try_from(Duration::from_secs_f64(ms / 1e3).as_nanos()).unwrap()
}

/// A request that was sent `sent` after the start, with its first output after `ttft` and further ones after `gaps`, all
/// in ms.
fn request(
    index: usize,
    sent: f64,
    ttft: f64,
    gaps: &[f64],
    input: usize,
    output: u64,
) -> RequestRecord {
    let mut one = record(0, &[1], &["a"]);
    (one.index, one.prompt_len, one.server_prompt_tokens) = (index, input, None);
    one.sent = Some(Duration::from_nanos(ns(sent)));
    one.events = crate::model::TokenEvents::default();
    let mut at = sent + ttft;
    one.events.push(0, ns(at), 1);
    for gap in gaps {
        at += gap;
        one.events.push(0, ns(at), 1);
    }
    one.done = Some(Duration::from_nanos(ns(at)));
    one.output_tokens = Some(OutputTokens { count: output, source: TokenSource::Server });
    one
}

fn terms(parallel: usize, number: usize, layout: Layout) -> Terms {
    Terms {
        load: Load { parallel: Some(parallel), rate: None, number },
        warm_up: 0,
        generates: true,
        streams: true,
        multi_turn: false,
        timed: false,
        method: layout.method(),
        speculation: None,
    }
}

/// The gaps of a request in ms, `n` that sum up to `sum`, spread as those of the document are.
fn spread(n: usize, sum: f64) -> Vec<f64> {
    // Up to these ranks, of a thousand, gaps have these lengths.
    const LOW: [(usize, f64); 7] = [
        (30, 41.84),
        (80, 42.14),
        (180, 42.22),
        (380, 42.36),
        (640, 42.57),
        (850, 42.80),
        (1000, 42.99),
    ];
    let mut gaps: Vec<f64> = (0..n)
        .map(|i| LOW.iter().find(|(rank, _)| i * 1000 < rank * n).map_or(42.99, |(_, gap)| *gap))
        .collect();
    // Some at the upper end are as long as the sum asks for.
    let mut missing = sum - gaps.iter().sum::<f64>();
    for i in (0..n).rev() {
        let most = if (n - i) * 55 < n { 49.84 } else { 49.24 };
        let more = most - gaps[i];
        if missing < more {
            gaps[n - 1] += missing;
            return gaps;
        }
        (gaps[i], missing) = (most, missing - more);
    }
    panic!("too few gaps");
}

#[test]
fn the_document_has_the_tables_of_a_run() {
    let quick = |ttft: f64| (42.7063 * 1.023e3 + ttft, ttft);
    let mut requests: Vec<(f64, f64)> = vec![quick(783.67), quick(784.4), quick(784.4)];
    requests.extend([quick(784.4), quick(784.4)]);
    requests.extend([(44469.5, 426.17), (44469.5, 426.5), (44469.5, 426.5), (44469.5, 426.87)]);
    requests.push((44474.9, 138.12));
    requests.extend([785.26, 786.0, 786.0, 786.85, 787.97].map(|ttft| (44860.0, ttft)));
    requests.extend([432.65; 4].map(|ttft| (44860.0, ttft)));
    requests.push((44860.0, 142.07));
    let records: Vec<RequestRecord> = requests
        .iter()
        .enumerate()
        .map(|(i, &(latency, ttft))| {
            // Two tokens came in one event here and there.
            let gaps = spread(if i < 11 { 1022 } else { 1023 }, latency - ttft);
            let sent = if i < 10 { 0.0 } else { 89337.2 - 44860.0 };
            request(i, sent, ttft, &gaps, 1024, 1024)
        })
        .collect();
    let layout = Layout::V1_6;
    let speculation = Some(Speculation { tokens_per_step: 1.0, accepted: Some(0.0) });
    let terms = Terms { speculation, ..terms(10, 20, layout) };
    let shown = table::render(&Figures::of(ended(&records), &terms), layout, false);
    expect_file!["../../../tests/data/evalscope/run-1.6.txt"].assert_eq(&shown);
}

#[test]
fn the_document_has_the_summary_of_a_sweep() {
    // The first request of the first run is sent late: the document has throughputs of the time after it, and the sum
    // of the whole times.
    let even = |sum: f64| vec![sum / 1023.0; 1023];
    let mut late: Vec<RequestRecord> = (0..9)
        .map(|i| request(i, 16470.0 + i as f64 * 14372.5, 79.4, &even(16080.0), 1024, 1024))
        .collect();
    late.push(request(9, 16470.0 + 145_455.0 - 16475.0, 85.0, &even(16390.0), 1024, 1024));
    let mut ten: Vec<RequestRecord> = Vec::new();
    for i in 0..20 {
        let sent = if i < 10 { 0.0 } else { 18404.0 };
        let (latency, ttft) = match i {
            0 => (18898.9, 562.0),
            19 => (19461.0, 499.9),
            _ => (18898.9, 499.9),
        };
        ten.push(request(i, sent, ttft, &even(latency - ttft), 1024, 1024));
    }
    let layout = Layout::V0_16;
    let runs = [
        Figures::of(ended(&late), &terms(1, 10, layout)),
        Figures::of(ended(&ten), &terms(10, 20, layout)),
    ];
    let about = About {
        model: "Qwen3-8B".to_owned(),
        alias: None,
        dataset: "random".to_owned(),
        api: "openai".to_owned(),
        endpoint: "127.0.0.1:8000".to_owned(),
        output: "outputs".to_owned(),
        handoff: false,
    };
    let shown = report::render(&about, &runs, layout);
    expect_file!["../../../tests/data/evalscope/summary-0.16.txt"].assert_eq(&shown);
}

#[test]
fn the_newest_layouts() {
    let run = |parallel, count: usize, latency: f64| {
        let records: Vec<RequestRecord> = (0..count)
            .map(|i| {
                let sent = (i / parallel) as f64 * latency;
                request(i, sent, 30.0 + i as f64, &[10.0, 12.5, 9.75], 15, 4)
            })
            .collect();
        Figures::of(ended(&records), &terms(parallel, count, Layout::V1_14))
    };
    let runs = [run(1, 4, 80.0), run(4, 8, 95.0)];
    let about = About {
        model: "mock-model".to_owned(),
        alias: Some("trial".to_owned()),
        dataset: "random".to_owned(),
        api: "openai".to_owned(),
        endpoint: "127.0.0.1:8000".to_owned(),
        output: "outputs/20260102_030405/mock-model".to_owned(),
        handoff: true,
    };
    let shown = table::render(&runs[1], Layout::V1_14, true)
        + "\n"
        + &report::render(&about, &runs, Layout::V1_14);
    expect_file!["../../../tests/data/evalscope/report-1.14.txt"].assert_eq(&shown);
}

#[test]
fn input_tokens_count_per_second_of_the_run() {
    // Eight requests at the same time: summed latencies would give an eighth of the rate.
    let records: Vec<RequestRecord> = (0..8).map(|i| request(i, 0.0, 100.0, &[], 50, 0)).collect();
    let terms = Terms { generates: false, streams: false, ..terms(8, 8, Layout::V1_14) };
    let run = Figures::of(ended(&records), &terms);
    assert!((run.input_throughput().unwrap() - 4000.0).abs() < 1e-6, "{run:?}");
}

#[test]
fn a_usage_event_after_the_output_adds_no_latency() {
    let mut one = request(0, 0.0, 100.0, &[10.0], 5, 2);
    one.done = Some(Duration::from_millis(410));
    let run = Figures::of(ended(&[one]), &terms(1, 1, Layout::V1_14));
    assert_eq!(run.of_series(super::Series::Latency).mean, Some(0.11));
    assert_eq!(run.of_series(super::Series::Tpot).mean.map(f64::round), Some(10.0));
}

#[test]
fn packed_events_are_no_accepted_drafts() {
    let one = request(0, 0.0, 100.0, &[20.0, 20.0], 5, 6);
    let run = Figures::of(ended(&[one]), &terms(1, 1, Layout::V1_14));
    let shown = table::render(&run, Layout::V1_14, false);
    assert!(!shown.contains("Spec") && !shown.contains("Tok/Iter"), "{shown}");
}

#[test]
fn nothing_that_succeeds_gives_no_numbers() {
    let mut one = request(0, 0.0, 100.0, &[], 5, 2);
    one.outcome = crate::model::Outcome::NotSent;
    (one.sent, one.done) = (None, None);
    let run = Figures::of(ended(&[one]), &terms(1, 1, Layout::V1_14));
    let shown = table::render(&run, Layout::V1_14, false);
    assert!(shown.contains("│ Avg TTFT (ms)             │         - │"), "{shown}");
    let summary = files::summary(&run, false, serde_json::Value::Null);
    assert_eq!(summary["Avg TTFT (ms)"], serde_json::Value::Null);
}

#[test]
fn warm_up_requests_are_not_measured() {
    let records: Vec<RequestRecord> =
        (0..4).map(|i| request(i, i as f64 * 500.0, 100.0, &[10.0], 5, 2)).collect();
    let terms = Terms { warm_up: 2, ..terms(1, 2, Layout::V1_14) };
    let run = Figures::of(ended(&records), &terms);
    assert_eq!((run.total, run.duration), (2, Some(0.61)));
}

#[test]
fn conversations_have_figures_of_their_own() {
    let mut records = Vec::new();
    for index in 0..2 {
        for round in 0..3 {
            let mut turn =
                request(index, round as f64 * 200.0, 40.0, &[10.0; 3], 10 * (round + 1), 4);
            turn.round = round;
            records.push(turn);
        }
    }
    let terms = Terms { multi_turn: true, ..terms(2, 2, Layout::V1_14) };
    let run = Figures::of(ended(&records), &terms);
    let traces = run.traces.unwrap();
    assert_eq!((traces.count, traces.turns, traces.cache_hit), (2, Some(3.0), None));
    assert_eq!(traces.rows[0].mean, Some(0.47));
    assert_eq!(traces.rows[2].mean, Some(0.44));
    let mut told = records.clone();
    for (i, turn) in told.iter_mut().enumerate() {
        let total = [0, 7, 12][i % 3];
        turn.cached = Some(crate::model::CachedTokens { total, tiers: None });
    }
    let traces = Figures::of(ended(&told), &terms).traces.unwrap();
    assert_eq!(traces.cache_hit, Some(19.0 * 100.0 / 60.0));
    assert_eq!(traces.rows[5].mean, Some(19.0 * 100.0 / (14.0 + 24.0)));
}
