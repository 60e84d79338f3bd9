//! The table and the JSONL line of the sglang dialect, byte for byte, from records with exact times.

use std::collections::BTreeMap;
use std::time::Duration;

use expect_test::expect_file;
use rbench::analysis::aggregate::compute;
use rbench::analysis::audit::Asked;
use rbench::analysis::ceiling::Headroom;
use rbench::analysis::counts::Counts;
use rbench::analysis::measure::Measure;
use rbench::analysis::metric::{Close, Ended, Figure, Origins, Shares, Slo, Stat, Terms};
use rbench::analysis::{Analysis, Requests, RunMetadata, RunOutcome, analyse};
use rbench::dialect::Choice;
use rbench::health::Health;
use rbench::model::{
    CacheTiers, CachedTokens, Failure, FailureKind, Outcome, OutputTokens, Phase, PlannedRequest,
    RequestRecord, TokenEvents, TokenSource, VisionSource,
};
use rbench::output::names::{Name, name};
use rbench::workload::arrival::Rate;
use rbench::workload::plan::Planned;
use serde::Deserialize;
use serde_json::{Map, Value, json};

// -- Records ---------------------------------------------------------------------------------------------------------

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn unsent(index: usize, due: u64) -> RequestRecord {
    RequestRecord::unsent(&PlannedRequest {
        index,
        due: ms(due),
        body: bytes::Bytes::new(),
        prompt_len: 10 + index,
        output_len: 4,
        conversation: None,
        asked: rbench::model::Asked::default(),
        vision_len: 0,
        routing_key: None,
    })
}

/// A completed request with a piece of text at each instant, in ms; it ends with the last piece.
fn streamed(index: usize, sent: u64, pieces: &[(u64, &str)]) -> RequestRecord {
    let mut events = TokenEvents::default();
    let mut text = String::new();
    for (at, piece) in pieces {
        text.push_str(piece);
        events.at_ns.push(at * 1_000_000);
        events.tokens.push(1);
        events.text_ends.push(text.len());
    }
    RequestRecord {
        sent: Some(ms(sent)),
        headers: Some(ms(sent + 1)),
        done: pieces.last().map(|&(at, _)| ms(at)),
        outcome: Outcome::Completed,
        output_tokens: Some(OutputTokens {
            count: pieces.len() as u64,
            source: TokenSource::Server,
        }),
        server_prompt_tokens: Some(20 + index as u64),
        events,
        text,
        ..unsent(index, sent)
    }
}

fn failed(index: usize, sent: u64, done: u64, failure: Failure) -> RequestRecord {
    RequestRecord {
        sent: Some(ms(sent)),
        done: Some(ms(done)),
        outcome: Outcome::Failed(failure),
        ..unsent(index, sent)
    }
}

fn overloaded() -> Failure {
    Failure {
        kind: FailureKind::HttpStatus,
        phase: Phase::Headers,
        status: Some(503),
        message: "HTTP status 503 Service Unavailable".to_owned(),
        excerpt: Some("{\"error\":\"zu voll für mehr 😀\"}".to_owned()),
    }
}

fn refused() -> Failure {
    Failure {
        kind: FailureKind::ConnectRefused,
        phase: Phase::Connect,
        status: None,
        message: "Connection refused (os error 111)".to_owned(),
        excerpt: None,
    }
}

fn three_answers() -> Vec<RequestRecord> {
    vec![
        streamed(0, 0, &[(100, "one"), (110, " two"), (125, " three"), (140, " four")]),
        streamed(1, 5, &[(80, "a"), (100, " b c"), (140, " d e f")]),
        streamed(2, 1010, &[(1050, "naïve 漢"), (1075, " \"text\"\n")]),
    ]
}

fn embeddings() -> Vec<RequestRecord> {
    [(0, 0, 30), (1, 10, 45)]
        .map(|(index, sent, done)| RequestRecord {
            sent: Some(ms(sent)),
            headers: Some(ms(done)),
            done: Some(ms(done)),
            outcome: Outcome::Completed,
            server_prompt_tokens: Some(9),
            output_len: 0,
            ..unsent(index, sent)
        })
        .into()
}

fn some_failed() -> Vec<RequestRecord> {
    let early = Failure {
        kind: FailureKind::EarlyEnd,
        phase: Phase::Stream,
        status: Some(200),
        message: "the stream ended without a finish reason or [DONE]".to_owned(),
        excerpt: None,
    };
    // It failed after two pieces had arrived.
    let cut = RequestRecord {
        outcome: Outcome::Failed(early),
        output_tokens: None,
        ..streamed(3, 20, &[(90, "half"), (95, " an")])
    };
    vec![
        streamed(0, 0, &[(100, "one"), (110, " two"), (125, " three"), (140, " four")]),
        failed(1, 5, 9, overloaded()),
        failed(2, 6, 200, overloaded()),
        cut,
        unsent(4, 5000),
    ]
}

// -- Reports ---------------------------------------------------------------------------------------------------------

/// One run, as the test cases describe it.
struct Case {
    name: &'static str,
    backend: &'static str,
    generates: bool,
    rate: Rate,
    max_concurrency: Option<usize>,
    accept_length: Option<f64>,
    splits: bool,
    slos: Vec<Slo>,
    cache_report: bool,
    details: bool,
    records: Vec<RequestRecord>,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            name: "",
            backend: "sglang",
            generates: true,
            rate: Rate::Unlimited,
            max_concurrency: None,
            accept_length: None,
            splits: false,
            slos: Vec::new(),
            cache_report: false,
            details: false,
            records: three_answers(),
        }
    }
}

/// Cached prompt tokens of device, host and storage, and the storage's name.
type Tiers = (u64, u64, u64, Option<&'static str>);

/// The three answers with cached prompt tokens.
fn cached(tiers: &[Option<Tiers>]) -> Vec<RequestRecord> {
    let told = |&(device, host, storage, name): &Tiers| CachedTokens {
        total: device + host + storage,
        tiers: Some(Box::new(CacheTiers {
            device,
            host,
            storage,
            storage_backend: name.map(str::to_owned),
        })),
    };
    three_answers()
        .into_iter()
        .zip(tiers)
        .map(|(record, tiers)| RequestRecord { cached: tiers.as_ref().map(told), ..record })
        .collect()
}

fn slos(texts: &[&str]) -> Vec<Slo> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn cases() -> Vec<Case> {
    vec![
        Case { name: "plain", ..Case::default() },
        Case {
            name: "chat",
            backend: "sglang-oai-chat",
            rate: Rate::PerSecond(100.0),
            max_concurrency: Some(8),
            accept_length: Some(2.5),
            splits: true,
            ..Case::default()
        },
        Case {
            name: "embeddings",
            backend: "sglang-embedding",
            generates: false,
            records: embeddings(),
            ..Case::default()
        },
        Case {
            name: "accept-length-zero",
            max_concurrency: Some(1),
            accept_length: Some(0.0),
            ..Case::default()
        },
        Case {
            name: "some-failed",
            backend: "vllm",
            rate: Rate::PerSecond(7.5),
            records: some_failed(),
            ..Case::default()
        },
        Case {
            name: "all-failed",
            rate: Rate::PerSecond(1e-5),
            records: vec![failed(0, 0, 3, refused()), failed(1, 1, 4, refused())],
            ..Case::default()
        },
        Case { name: "details", details: true, records: some_failed(), ..Case::default() },
        Case {
            name: "goodput",
            slos: slos(&["ttft:90", "tpot:25.5", "e2el:1.5e6"]),
            ..Case::default()
        },
        Case {
            name: "goodput-one",
            backend: "vllm",
            slos: slos(&["e2el:100"]),
            records: some_failed(),
            ..Case::default()
        },
        Case {
            name: "cache",
            cache_report: true,
            details: true,
            slos: slos(&["e2el:100"]),
            records: cached(&[Some((12, 6, 3, Some("HiCacheFile"))), None, Some((1, 0, 0, None))]),
            ..Case::default()
        },
        Case {
            name: "cache-memory",
            cache_report: true,
            records: cached(&[Some((12, 6, 0, None)), Some((0, 0, 0, None)), None]),
            ..Case::default()
        },
        Case { name: "cache-silent", backend: "trt", cache_report: true, ..Case::default() },
    ]
}

fn case(name: &str) -> Case {
    cases().into_iter().find(|case| case.name == name).unwrap()
}

fn words(text: &str) -> usize {
    text.split_whitespace().count()
}

impl Case {
    fn stats(&self) -> Vec<Stat> {
        self.report().measures.stats
    }

    fn report(&self) -> Analysis<'_> {
        let mut config = Map::new();
        config.insert("num_prompts".into(), self.records.len().into());
        config.insert("request_rate".into(), serde_json::to_value(self.rate).unwrap());
        config.insert("random_input_len".into(), 1024.into());
        config.insert("random_output_len".into(), 128.into());
        config.insert("random_range_ratio".into(), 0.5.into());
        config.insert("sharegpt_output_len".into(), Value::Null);
        let server_info = self
            .accept_length
            .map(|length| json!({"internal_states": [{"avg_spec_accept_length": length}]}));
        let retokenized = |record: &RequestRecord| Counts {
            retokenized: words(&record.text) as u64,
            ..Counts::of(record)
        };
        let count = |piece: &str| u32::try_from(words(piece)).unwrap();
        let of_pieces = |r: &RequestRecord| Some(r.pieces().map(count).collect());
        let requests = Requests::Records {
            records: &self.records,
            counts: self.records.iter().map(retokenized).collect(),
            pieces: self.records.iter().map(of_pieces).collect(),
        };
        let terms = Terms {
            origins: Origins::of(&self.records),
            shares: Shares::of(self.splits, self.accept_length),
            slos: &self.slos,
            cache_report: self.cache_report,
            ..Terms::default()
        };
        let close = Close {
            accept_length: self.accept_length,
            last_gap: ms(500),
            server_info_time: ms(25),
            ..Close::default()
        };
        let outcome = RunOutcome {
            metadata: RunMetadata {
                backend: self.backend,
                generates: self.generates,
                dataset_name: "random".to_owned(),
                rate: self.rate,
                max_concurrency: self.max_concurrency,
                slos: self.slos.clone(),
                cache_report: self.cache_report,
                tag: (self.name == "chat").then(|| "näch".to_owned()),
                model: "some/model".to_owned(),
                tokenizer: "rbench-bundled".to_owned(),
                vision_source: None,
                seed: 42,
                date: "2025-03-04T05:06:07+00:00".to_owned(),
                config,
                planned: Planned::default(),
            },
            requests,
            scheduled: None,
            unfinished: 0,
            endpoints: Vec::new(),
            vision: None,
            asked: Asked::default(),
            steady_state: None,
            ceiling: None,
            close,
            health: Health::default(),
            server_info,
            failed_calls: Vec::new(),
            partial: None,
            memory: None,
        };
        Analysis { headroom: Headroom::default(), ..analyse(outcome, &terms) }
    }

    fn table(&self) -> String {
        dialect().table(&self.report())
    }

    fn line(&self) -> String {
        dialect().line(&self.report(), self.details)
    }

    fn value(&self) -> Value {
        serde_json::from_str(&self.line()).unwrap()
    }
}

fn dialect() -> Choice {
    "sglang".parse().unwrap()
}

// -- Golden files ----------------------------------------------------------------------------------------------------

#[test]
fn tables_match_their_golden_files() {
    for case in cases() {
        expect_file![format!("../data/output/{}.txt", case.name)].assert_eq(&case.table());
    }
}

#[test]
fn lines_match_their_golden_files() {
    let version = format!("\"version\": \"{}\"", env!("CARGO_PKG_VERSION"));
    for case in cases() {
        let line = case.line();
        assert!(line.contains(&version), "{}", case.name);
        let line = line.replace(&version, "\"version\": \"VERSION\"");
        expect_file![format!("../data/output/{}.jsonl", case.name)].assert_eq(&line);
    }
}

// -- The table -------------------------------------------------------------------------------------------------------

/// Headings with the fill on their left and right.
const HEADINGS: &[(&str, char, usize, usize)] = &[
    (" Serving Benchmark Result ", '=', 12, 12),
    ("End-to-End Latency", '-', 16, 16),
    ("Time to First Token", '-', 15, 16),
    ("Time per Output Token (excl. 1st token)", '-', 5, 6),
    ("Inter-Token Latency", '-', 15, 16),
    ("", '=', 50, 0),
];

fn heading((text, fill, left, right): (&str, char, usize, usize)) -> String {
    let fill = |n| fill.to_string().repeat(n);
    fill(left) + text + &fill(right)
}

#[test]
fn each_line_of_the_table_has_the_reference_width() {
    for case in cases() {
        let table = case.table();
        assert!(table.starts_with('\n') && table.ends_with("=\n"), "{}", case.name);
        let mut headings = 0;
        for line in table.lines().skip(1) {
            assert!(line.is_ascii(), "{line}");
            if line.starts_with(['=', '-']) {
                assert_eq!(line.len(), 50, "{line}");
                headings += 1;
                continue;
            }
            let (label, value) = line.split_at(41);
            assert!(label.trim_end().ends_with(':') && label.ends_with(' '), "{line:?}");
            let short = value.trim_end();
            if value.ends_with('%') {
                continue;
            }
            assert!(!short.is_empty() && !short.starts_with(' '), "{line:?}");
            assert_eq!(line.len(), 41 + short.len().max(10), "{line:?}");
        }
        let asked = usize::from(!case.slos.is_empty()) + usize::from(case.cache_report);
        assert_eq!(headings, asked + if case.generates { 6 } else { 3 }, "{}", case.name);
    }
}

#[test]
fn long_values_are_not_cut() {
    for (name, backend) in [("chat", "sglang-oai-chat"), ("embeddings", "sglang-embedding")] {
        let line = format!("{:<40} {backend}\n", "Backend:");
        assert!(case(name).table().contains(&line), "{name}");
    }
}

#[test]
fn headings_are_filled_as_in_the_reference() {
    let table = case("plain").table();
    let found: Vec<&str> = table.lines().filter(|line| line.starts_with(['=', '-'])).collect();
    let want: Vec<String> = HEADINGS.iter().map(|&parts| heading(parts)).collect();
    assert_eq!(found, want);
}

/// What the reference prints for a run with an accept length, headings included.
const REFERENCE_LINES: &[&str] = &[
    "",
    "============ Serving Benchmark Result ============",
    "Backend:",
    "Traffic request rate:",
    "Max request concurrency:",
    "Successful requests:",
    "Benchmark duration (s):",
    "Total input tokens:",
    "Total input text tokens:",
    "Total generated tokens:",
    "Total generated tokens (retokenized):",
    "Request throughput (req/s):",
    "Input token throughput (tok/s):",
    "Output token throughput (tok/s):",
    "Peak output token throughput (tok/s):",
    "Peak concurrent requests:",
    "Total token throughput (tok/s):",
    "Concurrency:",
    "Accept length:",
    "----------------End-to-End Latency----------------",
    "Mean E2E Latency (ms):",
    "Median E2E Latency (ms):",
    "P90 E2E Latency (ms):",
    "P95 E2E Latency (ms):",
    "P99 E2E Latency (ms):",
    "---------------Time to First Token----------------",
    "Mean TTFT (ms):",
    "Median TTFT (ms):",
    "P90 TTFT (ms):",
    "P95 TTFT (ms):",
    "P99 TTFT (ms):",
    "-----Time per Output Token (excl. 1st token)------",
    "Mean TPOT (ms):",
    "Median TPOT (ms):",
    "P90 TPOT (ms):",
    "P95 TPOT (ms):",
    "P99 TPOT (ms):",
    "---------------Inter-Token Latency----------------",
    "Mean ITL (ms):",
    "Median ITL (ms):",
    "P90 ITL (ms):",
    "P95 ITL (ms):",
    "P99 ITL (ms):",
    "Max ITL (ms):",
    "==================================================",
];

/// Labels and headings of a table.
fn labels(table: &str) -> Vec<&str> {
    table.lines().map(|line| line.get(..41).filter(|_| line.len() > 50).unwrap_or(line)).collect()
}

#[test]
fn labels_stand_in_the_order_of_the_reference() {
    let table = case("chat").table();
    let found: Vec<&str> = labels(&table).into_iter().map(str::trim_end).collect();
    assert_eq!(found, REFERENCE_LINES);
}

#[test]
fn embeddings_leave_out_what_concerns_generated_tokens() {
    let generated = |label: &str| {
        ["generated", "Output", "output", "Total token throughput", "Accept"]
            .iter()
            .any(|word| label.contains(word))
            || ["TTFT", "TPOT", "ITL", "Time ", "Inter-Token"].iter().any(|w| label.contains(w))
    };
    let want: Vec<&str> =
        REFERENCE_LINES.iter().copied().filter(|label| !generated(label)).collect();
    let table = case("embeddings").table();
    let found: Vec<&str> = labels(&table).into_iter().map(str::trim_end).collect();
    assert_eq!(found, want);
}

#[test]
fn the_accept_length_is_shown_unless_absent_or_zero() {
    for (length, shown) in [(None, None), (Some(0.0), None), (Some(2.5), Some("2.50"))] {
        let case = Case { accept_length: length, ..Case::default() };
        let table = case.table();
        let row = table.lines().find(|line| line.starts_with("Accept length:"));
        let value = row.map(|row| row[41..].trim_end());
        assert_eq!(value, shown, "{length:?}");
        assert_eq!(case.value()["accept_length"], json!(length));
    }
    // Embeddings show it too.
    let case = Case { accept_length: Some(2.5), ..case("embeddings") };
    assert!(case.table().contains("Accept length:"));
}

#[test]
fn rates_are_written_as_the_reference_writes_them() {
    for (rate, table, line) in [
        (Rate::Unlimited, "inf", json!("inf")),
        (Rate::PerSecond(100.0), "100.0", json!(100.0)),
        (Rate::PerSecond(7.5), "7.5", json!(7.5)),
        (Rate::PerSecond(1e-5), "1e-05", json!(1e-5)),
        (Rate::PerSecond(1e20), "1e+20", json!(1e20)),
    ] {
        let case = Case { rate, ..Case::default() };
        let row = format!("{:<40} {table:<10}\n", "Traffic request rate:");
        assert!(case.table().contains(&row), "{rate:?}");
        assert_eq!(case.value()["request_rate"], line);
    }
}

#[test]
fn the_concurrency_limit_is_shown() {
    for (limit, shown) in [(None, "not set"), (Some(8), "8")] {
        let case = Case { max_concurrency: limit, ..Case::default() };
        let row = format!("{:<40} {shown:<10}\n", "Max request concurrency:");
        assert!(case.table().contains(&row), "{limit:?}");
        assert_eq!(case.value()["max_concurrency"], json!(limit));
    }
}

#[test]
fn figures_of_known_records() {
    // Sent at 0, 5 and 1010 ms; output at 100 110 125 140, at 80 100 140, and at 1050 1075 ms.
    let rows = [
        ("Successful requests:", "3"),
        ("Benchmark duration (s):", "1.07"),
        ("Total input tokens:", "33"),
        ("Total input text tokens:", "33"),
        ("Total generated tokens:", "9"),
        ("Total generated tokens (retokenized):", "13"),
        ("Request throughput (req/s):", "2.79"),
        ("Input token throughput (tok/s):", "30.70"),
        ("Output token throughput (tok/s):", "8.37"),
        ("Peak output token throughput (tok/s):", "7.00"),
        ("Peak concurrent requests:", "2"),
        ("Total token throughput (tok/s):", "39.07"),
        // (140 + 135 + 65) / 1075.
        ("Concurrency:", "0.32"),
        ("Mean E2E Latency (ms):", "113.33"),
        ("Median E2E Latency (ms):", "135.00"),
        ("P90 E2E Latency (ms):", "139.00"),
        ("P95 E2E Latency (ms):", "139.50"),
        ("P99 E2E Latency (ms):", "139.90"),
        ("Mean TTFT (ms):", "71.67"),
        ("Median TTFT (ms):", "75.00"),
        ("P90 TTFT (ms):", "95.00"),
        // 40/3, 60/2 and 25.
        ("Mean TPOT (ms):", "22.78"),
        ("Median TPOT (ms):", "25.00"),
        ("P90 TPOT (ms):", "29.00"),
        // 10 15 15 20 25 40.
        ("Mean ITL (ms):", "20.83"),
        ("Median ITL (ms):", "17.50"),
        ("P90 ITL (ms):", "32.50"),
        ("P95 ITL (ms):", "36.25"),
        ("P99 ITL (ms):", "39.25"),
        ("Max ITL (ms):", "40.00"),
    ];
    let table = case("plain").table();
    for (label, value) in rows {
        let row = format!("\n{label:<40} {value:<10}\n");
        assert!(table.contains(&row), "{label} {value} in\n{table}");
    }
}

#[test]
fn a_run_without_a_success_has_a_table_and_a_line() {
    let case = case("all-failed");
    let table = case.table();
    for line in table.lines().filter(|line| line.contains("(ms):")) {
        assert_eq!(&line[41..], "n/a       ", "{line}");
    }
    assert!(table.contains(&format!("{:<40} {:<10}\n", "Successful requests:", "0")));
    assert!(table.contains(&format!("{:<40} {:<10}\n", "Request throughput (req/s):", "0.00")));
    let line = case.value();
    for (key, value) in line.as_object().unwrap().iter().filter(|(key, _)| key.ends_with("_ms")) {
        assert!(value.is_null(), "{key}: {value}");
    }
    assert_eq!(line["rbench"]["failures"][0]["count"], 2);
    assert_eq!(line["completed"], 0);
}

// -- The line --------------------------------------------------------------------------------------------------------

/// Keys of the line without details, in order.
const KEYS: &[&str] = &[
    "tag",
    "backend",
    "dataset_name",
    "request_rate",
    "max_concurrency",
    "sharegpt_output_len",
    "random_input_len",
    "random_output_len",
    "random_range_ratio",
    "server_info",
    "duration",
    "completed",
    "total_input_tokens",
    "total_input_text_tokens",
    "total_input_vision_tokens",
    "total_output_tokens",
    "total_output_tokens_retokenized",
    "request_throughput",
    "input_throughput",
    "output_throughput",
    "total_throughput",
    "mean_e2e_latency_ms",
    "median_e2e_latency_ms",
    "std_e2e_latency_ms",
    "p90_e2e_latency_ms",
    "p95_e2e_latency_ms",
    "p99_e2e_latency_ms",
    "mean_ttft_ms",
    "median_ttft_ms",
    "std_ttft_ms",
    "p90_ttft_ms",
    "p95_ttft_ms",
    "p99_ttft_ms",
    "mean_tpot_ms",
    "median_tpot_ms",
    "std_tpot_ms",
    "p90_tpot_ms",
    "p95_tpot_ms",
    "p99_tpot_ms",
    "mean_itl_ms",
    "median_itl_ms",
    "std_itl_ms",
    "p90_itl_ms",
    "p95_itl_ms",
    "p99_itl_ms",
    "concurrency",
    "accept_length",
    "max_output_tokens_per_s",
    "max_concurrent_requests",
];

/// Keys that objectives add, in order.
const GOODPUT: &[&str] =
    &["goodput_slos_ms", "request_goodput", "slo_attainment", "slo_attainment_by_metric"];

/// Keys that details add, in order.
const DETAILS: &[&str] =
    &["input_lens", "output_lens", "ttfts", "itls", "generated_texts", "errors"];

#[test]
fn keys_stand_in_the_order_of_the_reference() {
    for case in cases() {
        let value = case.value();
        let found: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
        let details: &[&str] = if case.details { DETAILS } else { &[] };
        let goodput: &[&str] = if case.slos.is_empty() { &[] } else { GOODPUT };
        let cache: &[&str] = if case.cache_report { &["cache_report"] } else { &[] };
        let cached: &[&str] = match (case.cache_report, case.details) {
            (true, true) => &["cached_tokens", "cached_tokens_details"],
            _ => &[],
        };
        let want = [KEYS, goodput, cache, details, cached, &["rbench"]].concat();
        assert_eq!(found, want, "{}", case.name);
    }
}

#[test]
fn lines_are_ascii_with_spaced_separators() {
    for case in cases() {
        let line = case.line();
        assert!(line.is_ascii(), "{}", case.name);
        assert_eq!(line.find('\n'), Some(line.len() - 1), "{}", case.name);
        // Outside strings, each comma and colon is followed by one space, and nothing else is spaced.
        let (mut inside, mut escaped, mut separated) = (false, false, false);
        for byte in line.trim_end().bytes() {
            if inside {
                inside = escaped || byte != b'"';
                escaped = !escaped && byte == b'\\';
                continue;
            }
            assert_eq!(byte == b' ', separated, "{}: {line}", case.name);
            separated = matches!(byte, b',' | b':');
            inside = byte == b'"';
        }
        for unreadable in ["NaN", "Infinity"] {
            assert!(!line.contains(unreadable), "{}", case.name);
        }
    }
}

#[test]
fn text_outside_ascii_is_escaped_and_reads_back() {
    let line = case("chat").line();
    assert!(line.starts_with(r#"{"tag": "n\u00e4ch", "backend": "sglang-oai-chat", "#), "{line}");
    assert_eq!(case("chat").value()["tag"], "näch");
    let details = case("details").line();
    assert!(details.contains(r"f\u00fcr mehr \ud83d\ude00"), "{details}");
}

/// The line as a reader who wants to know every key would declare it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read for their types alone")]
struct Line {
    tag: Option<String>,
    backend: String,
    dataset_name: String,
    request_rate: RateText,
    max_concurrency: Option<u64>,
    sharegpt_output_len: Option<u64>,
    random_input_len: u64,
    random_output_len: u64,
    random_range_ratio: f64,
    server_info: Option<Value>,
    duration: f64,
    completed: u64,
    total_input_tokens: u64,
    total_input_text_tokens: u64,
    total_input_vision_tokens: u64,
    total_output_tokens: u64,
    total_output_tokens_retokenized: u64,
    request_throughput: f64,
    input_throughput: f64,
    output_throughput: f64,
    total_throughput: f64,
    mean_e2e_latency_ms: Option<f64>,
    median_e2e_latency_ms: Option<f64>,
    std_e2e_latency_ms: Option<f64>,
    p90_e2e_latency_ms: Option<f64>,
    p95_e2e_latency_ms: Option<f64>,
    p99_e2e_latency_ms: Option<f64>,
    mean_ttft_ms: Option<f64>,
    median_ttft_ms: Option<f64>,
    std_ttft_ms: Option<f64>,
    p90_ttft_ms: Option<f64>,
    p95_ttft_ms: Option<f64>,
    p99_ttft_ms: Option<f64>,
    mean_tpot_ms: Option<f64>,
    median_tpot_ms: Option<f64>,
    std_tpot_ms: Option<f64>,
    p90_tpot_ms: Option<f64>,
    p95_tpot_ms: Option<f64>,
    p99_tpot_ms: Option<f64>,
    mean_itl_ms: Option<f64>,
    median_itl_ms: Option<f64>,
    std_itl_ms: Option<f64>,
    p90_itl_ms: Option<f64>,
    p95_itl_ms: Option<f64>,
    p99_itl_ms: Option<f64>,
    concurrency: f64,
    accept_length: Option<f64>,
    max_output_tokens_per_s: f64,
    max_concurrent_requests: u64,
    goodput_slos_ms: Option<BTreeMap<String, f64>>,
    request_goodput: Option<f64>,
    slo_attainment: Option<f64>,
    slo_attainment_by_metric: Option<BTreeMap<String, f64>>,
    cache_report: Option<CacheReport>,
    input_lens: Option<Vec<u64>>,
    output_lens: Option<Vec<u64>>,
    ttfts: Option<Vec<f64>>,
    itls: Option<Vec<Vec<f64>>>,
    generated_texts: Option<Vec<String>>,
    errors: Option<Vec<String>>,
    cached_tokens: Option<Vec<u64>>,
    cached_tokens_details: Option<Vec<Option<Map<String, Value>>>>,
    rbench: Own,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read for their types alone")]
struct CacheReport {
    total_prompt_tokens: u64,
    total_cached_tokens: u64,
    cache_hit_rate_pct: f64,
    device_cached_tokens: Option<u64>,
    host_cached_tokens: Option<u64>,
    storage_cached_tokens: Option<u64>,
    storage_backend: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
#[expect(dead_code, reason = "read for their types alone")]
enum RateText {
    Number(f64),
    Text(String),
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "read for their types alone")]
struct Own {
    version: String,
    date: String,
    model: String,
    tokenizer: String,
    seed: u64,
    failures: Vec<Group>,
    output_token_source: BTreeMap<String, u64>,
    client: Option<Value>,
    ledger: Ledger,
    offered_rate: Option<f64>,
    achieved_rate: Option<f64>,
    checks: Vec<Value>,
    verdict: Value,
    confidence: Option<Value>,
    histograms: Option<Value>,
    vision_token_source: Option<String>,
    server_input_tokens: Option<u64>,
    cache_reported_requests: Option<u64>,
    max_e2e_latency_ms: Option<f64>,
    max_ttft_ms: Option<f64>,
    max_tpot_ms: Option<f64>,
    max_itl_ms: Option<f64>,
    /// Figures that the reference does not have.
    #[serde(flatten)]
    figures: BTreeMap<String, Option<f64>>,
    reference: Reference,
    config: Map<String, Value>,
    due_s: Option<Vec<f64>>,
    sent_s: Option<Vec<Option<f64>>>,
    released_s: Option<Vec<f64>>,
    connect_s: Option<Vec<Option<f64>>>,
    headers_s: Option<Vec<Option<f64>>>,
    done_s: Option<Vec<Option<f64>>>,
    output_token_sources: Option<Vec<Option<String>>>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ledger {
    scheduled: usize,
    sent: usize,
    never_sent: usize,
    completed: usize,
    failed: usize,
    cancelled: usize,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    kind: String,
    phase: String,
    status: Option<u16>,
    message: String,
    excerpt: Option<String>,
    count: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reference {
    duration: f64,
    max_concurrent_requests: u64,
}

#[test]
fn lines_read_back_into_a_closed_structure() {
    for case in cases() {
        let line: Line = serde_json::from_str(&case.line()).unwrap();
        let ledger = &line.rbench.ledger;
        assert_eq!(ledger.scheduled, case.records.len(), "{}", case.name);
        assert_eq!(ledger.sent + ledger.never_sent, ledger.scheduled, "{}", case.name);
        let ended = ledger.completed + ledger.failed + ledger.cancelled;
        assert_eq!(ended, ledger.sent, "{}", case.name);
        let failures: u64 = line.rbench.failures.iter().map(|group| group.count).sum();
        assert_eq!(failures, ledger.failed as u64, "{}", case.name);
        assert_eq!(line.completed, ledger.completed as u64, "{}", case.name);
        assert!(line.rbench.reference.duration >= line.duration, "{}", case.name);
        // The reference counts whole seconds that are touched, and only of requests that completed.
        if ledger.failed == 0 {
            let touched = line.rbench.reference.max_concurrent_requests;
            assert!(touched >= line.max_concurrent_requests, "{}", case.name);
        }
    }
}

#[test]
fn details_have_one_entry_per_request_in_the_order_of_the_plan() {
    let line: Line = serde_json::from_str(&case("details").line()).unwrap();
    assert_eq!(line.input_lens, Some(vec![20, 11, 12, 23, 14]));
    assert_eq!(line.output_lens, Some(vec![4, 0, 0, 0, 0]));
    assert_eq!(line.ttfts, Some(vec![0.1, 0.0, 0.0, 0.07, 0.0]));
    let itls = vec![vec![0.01, 0.015, 0.015], vec![], vec![], vec![0.005], vec![]];
    assert_eq!(line.itls, Some(itls));
    let texts = ["one two three four", "", "", "", ""].map(String::from);
    assert_eq!(line.generated_texts, Some(texts.into()));
    let busy = "HTTP status 503 Service Unavailable: {\"error\":\"zu voll für mehr 😀\"}";
    let cut = "the stream ended without a finish reason or [DONE]";
    let errors = ["", busy, busy, cut, "not sent"].map(String::from);
    assert_eq!(line.errors, Some(errors.into()));
    let own = line.rbench;
    assert_eq!(own.due_s, Some(vec![0.0, 0.005, 0.006, 0.02, 5.0]));
    assert_eq!(own.sent_s, Some(vec![Some(0.0), Some(0.005), Some(0.006), Some(0.02), None]));
    assert_eq!(own.headers_s, Some(vec![Some(0.001), None, None, Some(0.021), None]));
    assert_eq!(own.done_s, Some(vec![Some(0.14), Some(0.009), Some(0.2), Some(0.095), None]));
    let sources = vec![Some("server".to_owned()), None, None, None, None];
    assert_eq!(own.output_token_sources, Some(sources));
    assert_eq!(own.output_token_source, BTreeMap::from([("server".to_owned(), 1)]));
    let ledger =
        Ledger { scheduled: 5, sent: 4, never_sent: 1, completed: 1, failed: 3, cancelled: 0 };
    assert_eq!(own.ledger, ledger);
    assert_eq!(own.failures.len(), 2);
    assert_eq!(
        own.failures[0],
        Group {
            kind: "http_status".into(),
            phase: "headers".into(),
            status: Some(503),
            message: "HTTP status 503 Service Unavailable".into(),
            excerpt: Some("{\"error\":\"zu voll für mehr 😀\"}".into()),
            count: 2,
        }
    );
}

#[test]
fn whole_and_broken_numbers_keep_their_kinds() {
    let line = case("plain").line();
    for part in [
        r#""max_output_tokens_per_s": 7.0, "#,
        r#""max_concurrent_requests": 2, "#,
        r#""duration": 1.075, "#,
        r#""completed": 3, "#,
        r#""request_rate": "inf", "#,
        r#""accept_length": null, "#,
        r#""server_info": null, "#,
    ] {
        assert!(line.contains(part), "{part} in {line}");
    }
}

#[test]
fn the_flags_of_a_real_command_line_reach_the_line() {
    let words = ["rbench", "serve", "--request-rate", "7.5", "--random-input-len", "77"]
        .map(std::ffi::OsString::from);
    let rbench::cli::Input::Serve(words) = rbench::cli::parse(words).unwrap() else {
        panic!("not the words of serve");
    };
    let config = rbench::config::resolve(*words, &rbench::config::Keys::default(), None).unwrap();
    let case = case("plain");
    let mut report = case.report();
    report.metadata.rate = config.rate;
    report.metadata.config = config.effective;
    let line: Value = serde_json::from_str(&dialect().line(&report, false)).unwrap();
    let want = [
        ("request_rate", json!(7.5)),
        ("sharegpt_output_len", json!(null)),
        ("random_input_len", json!(77)),
        ("random_output_len", json!(1024)),
        ("random_range_ratio", json!(0.0)),
    ];
    for (key, value) in want {
        assert_eq!(line[key], value, "{key}");
        assert_eq!(line["rbench"]["config"].get(key), Some(&value), "{key}");
    }
}

#[test]
fn image_tokens_are_told_with_their_source() {
    let mut record = streamed(0, 0, &[(100, "a"), (200, " b")]);
    (record.prompt_len, record.vision_len) = (90, 65);
    let case = Case { records: vec![record], ..Case::default() };
    let mut report = case.report();
    report.metadata.dataset_name = "image".to_owned();
    report.metadata.vision_source = Some(VisionSource::Server);
    let table = dialect().table(&report);
    let rows = "Total input tokens:                      90        \n\
                Total input text tokens:                 25        \n\
                Total input vision tokens:               65        \n\
                Total generated tokens:";
    assert!(table.contains(rows), "{table}");
    let line: Value = serde_json::from_str(&dialect().line(&report, false)).unwrap();
    assert_eq!(line["total_input_vision_tokens"], 65);
    assert_eq!(line["rbench"]["vision_token_source"], "server");
    assert_eq!(case.value()["rbench"].get("vision_token_source"), None);
}

#[test]
fn file_names_follow_the_dataset() {
    let case = case("plain");
    let mut report = case.report();
    report.metadata.config.insert("image_count".into(), 2.into());
    report.metadata.config.insert("image_resolution".into(), "random:360p-720p".into());
    for (dataset, want) in [
        ("random", "sglang_0304_3_1024_128.jsonl"),
        ("random-ids", "sglang_0304_3_1024_128.jsonl"),
        ("sharegpt", "sglang_0304_3_sharegpt.jsonl"),
        ("image", "sglang_0304_3_1024_128_2imgs_random:360p-720p.jsonl"),
        ("mmmu", "sglang_0304_3_mmmu.jsonl"),
    ] {
        report.metadata.dataset_name = dataset.to_owned();
        assert_eq!(dialect().file_name(&report.metadata, "0304").to_str(), Some(want));
    }
}

// -- Figures whose values are known ----------------------------------------------------------------------------------

/// The name of `measure`, those of the reference with that before it.
fn named(measure: Measure) -> String {
    match name(measure) {
        Some(Name::Own(name)) => name,
        Some(Name::Reference(name)) => format!("reference_{name}"),
        None => String::new(),
    }
}

fn figure(stats: &[Stat], key: &str) -> f64 {
    let stat = stats.iter().find(|stat| named(stat.measure) == key);
    stat.and_then(|stat| stat.value.number()).unwrap_or_else(|| panic!("no {key}"))
}

#[test]
fn shared_gaps_of_the_reference_example() {
    let records = vec![
        streamed(0, 0, &[(100, "a"), (400, " b c d"), (1000, " e f")]),
        streamed(1, 0, &[(100, "a"), (1100, " b")]),
    ];
    let case = Case { splits: true, accept_length: Some(2.5), records, ..Case::default() };
    let stats = case.stats();
    for (key, want) in [
        ("mean_itl_ms", 1900.0 / 6.0),
        ("median_itl_ms", 200.0),
        ("p90_itl_ms", 650.0),
        ("p95_itl_ms", 825.0),
        ("p99_itl_ms", 965.0),
        ("max_itl_ms", 1000.0),
        ("max_output_tokens_per_s", 3.0),
        ("max_concurrent_requests", 2.0),
        ("reference_max_concurrent_requests", 2.0),
    ] {
        let got = figure(&stats, key);
        assert!((got - want).abs() < 1e-6, "{key}: {got}, want {want}");
    }
    let plain = Case { splits: false, ..case }.stats();
    assert!((figure(&plain, "mean_itl_ms") - 1900.0 / 3.0).abs() < 1e-6);
}

#[test]
fn the_deviation_is_that_of_a_population() {
    let records = [10, 20, 30, 40].map(|end| streamed(0, 0, &[(end, "x")])).into();
    let stats = Case { records, ..Case::default() }.stats();
    assert!((figure(&stats, "std_e2e_latency_ms") - 125.0_f64.sqrt()).abs() < 1e-9);
    assert!((figure(&stats, "p90_e2e_latency_ms") - 37.0).abs() < 1e-9);
}

#[test]
fn the_gap_after_the_last_arrival_is_no_part_of_the_duration() {
    let records = [streamed(0, 0, &[(13, "x")])];
    let requests = records.iter().map(Ended::of);
    let close = Close { last_gap: ms(1840), server_info_time: ms(2), ..Close::default() };
    let stats = compute(&requests, &Terms::default(), &close).stats;
    assert!((figure(&stats, "duration") - 0.013).abs() < 1e-12);
    assert!((figure(&stats, "reference_duration") - 1.842).abs() < 1e-12);
    assert!((figure(&stats, "request_throughput") - 1.0 / 0.013).abs() < 1e-9);
}

#[test]
fn every_figure_is_finite_or_absent() {
    for case in cases() {
        for stat in case.stats() {
            if let Figure::Real(x) = stat.value {
                assert!(
                    x.is_finite() && x.is_sign_positive(),
                    "{}: {} {x}",
                    case.name,
                    named(stat.measure)
                );
            }
        }
    }
}
