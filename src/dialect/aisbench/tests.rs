//! The tables of the document that AISBench's users read, from records with those values.

use std::time::Duration;

use expect_test::expect_file;

use super::figures::{Figures, Row, SERIES, Series, Stage};
use super::flags::{Layout, Rule};
use super::stable::{Window, window};
use super::{files, table};
use crate::analysis::testing::{ended, record};
use crate::model::{Outcome, OutputTokens, RequestRecord, TokenEvents, TokenSource};

fn at(ms: f64) -> Duration {
    Duration::from_secs_f64(ms / 1e3)
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
    one.sent = Some(at(sent));
    one.events = TokenEvents::default();
    let mut now = sent + ttft;
    let mut push = |now: f64| one.events.push(0, u64::try_from(at(now).as_nanos()).unwrap(), 1);
    push(now);
    for gap in gaps {
        now += gap;
        push(now);
    }
    one.done = Some(at(now));
    one.output_tokens = Some(OutputTokens { count: output, source: TokenSource::Server });
    one
}

/// Output tokens, end-to-end latency and time to first token of each request, in ms.
const REQUESTS: [(u64, f64, f64, usize); 10] = [
    (69, 3081.5736, 439.7145, 34),
    (91, 3943.4725, 433.8511, 40),
    (95, 4017.3985, 427.1432, 55),
    (78, 3371.4291, 412.7042, 62),
    (95, 3986.1341, 414.5032, 130),
    (100, 4175.327, 346.7154, 131),
    (99, 4124.0041, 383.3279, 166),
    (100, 4121.7447, 417.1926, 172),
    (100, 4132.884, 425.0863, 216),
    (94, 4010.1659, 415.3874, 228),
];

/// Gaps of the lengths of the document, `n` that sum up to `sum`.
fn spread(n: usize, sum: f64, longest: f64) -> Vec<f64> {
    let mut gaps = vec![longest];
    gaps.extend([39.2; 13]);
    gaps.extend([39.0; 16]);
    let mut missing = sum - gaps.iter().sum::<f64>();
    while missing >= 38.9 {
        gaps.push(38.9);
        missing -= 38.9;
    }
    gaps.push(missing);
    assert!(gaps.len() <= n, "{} gaps of {n}", gaps.len());
    // Tokens that came together.
    gaps.resize(n, 0.0);
    gaps
}

#[test]
fn the_document_has_both_tables() {
    let records: Vec<RequestRecord> = REQUESTS
        .iter()
        .enumerate()
        .map(|(i, &(output, latency, ttft, input))| {
            let longest = if i == 9 { 156.5 } else { 117.1 };
            let n = usize::try_from(output).unwrap() - if i == 0 { 3 } else { 2 };
            let sent = if i == 5 { 0.1215 } else { 0.0 };
            request(i, sent, ttft, &spread(n, latency - ttft, longest), input, output)
        })
        .collect();
    let figures = Figures::of(ended(&records), Stage::Total, true, Some(32));
    let shown = table::render(&[figures], Layout::V3_0);
    expect_file!["../../../tests/data/aisbench/total-3.0.txt"].assert_eq(&shown);
}

#[test]
fn tables_without_known_prompts_have_no_prefill() {
    let rows: [[f64; 7]; 7] = [
        [6.1909, 5.0714, 8.4648, 6.1266, 6.4752, 6.8335, 7.8979],
        [0.6933, 0.096, 2.1615, 0.7474, 0.8709, 1.0323, 1.6208],
        [0.0216, 0.0178, 0.0321, 0.0213, 0.0231, 0.0245, 0.0291],
        [0.0255, 0.0, 1.9511, 0.0188, 0.0197, 0.0373, 0.1218],
        [0.0; 7],
        [256.0; 7],
        [41.6779, 30.243, 50.4791, 41.7847, 44.6424, 45.6484, 46.0932],
    ];
    let row =
        |((label, series, unit), statistics): (&(&'static str, Series, &'static str), [f64; 7])| {
            Row { label, series: *series, unit, statistics, requests: 1500 }
        };
    let figures = Figures {
        stage: Stage::Total,
        rows: SERIES.iter().zip(rows).map(row).collect(),
        duration: 582.099_681_6,
        total: 1500,
        succeeded: 1500,
        concurrency: 15.9532,
        cap: Some(16),
        input: 0,
        output: 384_000,
        prefill: None,
    };
    let shown = table::render(&[figures], Layout::V3_1);
    expect_file!["../../../tests/data/aisbench/images-3.1.txt"].assert_eq(&shown);
}

#[test]
fn the_first_token_is_the_first_with_output() {
    // An event with a role alone is no output, so that no record has it.
    let mut one = request(0, 0.0, 200.0, &[10.0; 3], 5, 4);
    one.headers = Some(at(1.0));
    let figures = Figures::of(ended(&[one]), Stage::Total, true, None);
    assert!((figures.rows[1].statistics[0] - 0.2).abs() < 1e-12);
}

#[test]
fn a_usage_event_adds_neither_latency_nor_a_gap() {
    let mut one = request(0, 0.0, 100.0, &[10.0, 10.0], 5, 3);
    one.done = Some(at(420.0));
    let figures = Figures::of(ended(&[one]), Stage::Total, true, None);
    assert!((figures.rows[0].statistics[0] - 0.12).abs() < 1e-9, "{figures:?}");
    assert!((figures.rows[3].statistics[1] - 0.01).abs() < 1e-9, "{figures:?}");
    assert!((figures.duration - 0.12).abs() < 1e-9);
}

#[test]
fn answers_that_were_not_streamed_have_no_first_token() {
    let one = request(0, 0.0, 100.0, &[], 5, 3);
    let figures = Figures::of(ended(&[one]), Stage::Total, false, None);
    let labels: Vec<&str> = figures.rows.iter().map(|row| row.label).collect();
    assert_eq!(labels, ["E2EL", "InputTokens", "OutputTokens", "OutputTokenThroughput"]);
}

/// Four clients, the first request at 0 and the others later, each of 100 ms, until 1 s.
fn clients() -> Vec<RequestRecord> {
    let of_client = |client: usize| {
        (0..10 - client).map(move |i| {
            let sent = client as f64 * 30.0 + i as f64 * 100.0;
            request(client * 10 + i, sent, 40.0, &[30.0, 29.999], 5, 3)
        })
    };
    (0..4).flat_map(of_client).collect()
}

#[test]
fn the_stable_stage_begins_with_the_second_request_at_the_cap() {
    let records = clients();
    let found = window(&records, 4, Rule::Cap).unwrap();
    // The fourth client is there at 90 ms; the next request that brings the cap back is that of the first at 100 ms.
    assert_eq!(found.from, at(100.0));
    assert_eq!(found.to, at(760.0));
    let figures = Figures::of(ended(&records), Stage::Stable(found), true, Some(4));
    assert!(figures.concurrency <= 4.0 && figures.total < records.len() as u64);
    assert_eq!(window(&records, 5, Rule::Cap), None);
    let near = window(&records, 4, Rule::Near).unwrap();
    assert_eq!(near.from, at(100.0));
    assert!(near.to >= at(760.0) && near.to < at(800.0), "{near:?}");
}

#[test]
fn a_window_holds_its_ends() {
    let window = Window { from: at(1.0), to: at(2.0) };
    assert!(window.holds(at(1.0)) && window.holds(at(2.0)) && !window.holds(at(2.1)));
}

#[test]
fn files_have_numbers_and_reasons() {
    let mut records =
        vec![request(0, 0.0, 100.0, &[10.0], 5, 2), request(1, 0.0, 100.0, &[], 5, 2)];
    records[1].outcome = Outcome::NotSent;
    records[1].sent = None;
    let figures = [Figures::of(ended(&records), Stage::Total, true, Some(2))];
    let common = files::common(&figures, Layout::V3_1, serde_json::Value::Null);
    assert_eq!(common["Failed Requests"]["total"], 1);
    assert_eq!(common["Benchmark Duration"]["total"], "110.0 ms");
    let csv = files::csv(&figures, Layout::V3_1);
    assert!(
        csv.starts_with("Performance Parameters,Stage,Average,Min,Max,Median,P75,P90,P99,N\r\n"),
        "{csv}"
    );
    assert!(csv.contains("E2EL,total,110.0 ms,"), "{csv}");
    let failed = files::failed(&[], &records);
    assert!(
        failed.contains("\"error_info\":\"not sent\"") && failed.lines().count() == 1,
        "{failed}"
    );
    assert_eq!(files::details(&[], ended(&records)).lines().count(), 2);
}
