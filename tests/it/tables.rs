//! Tables and keys of older releases, compared with tables that those releases printed.

use expect_test::expect_file;
use rbench::analysis::audit::Audit;
use rbench::analysis::ceiling::Headroom;
use rbench::analysis::measure::{Measure, Series, Statistic};
use rbench::analysis::metric::{Figure, Stat};
use rbench::analysis::{Analysis, RunMetadata};
use rbench::dialect::Choice;
use rbench::health::Health;
use rbench::workload::arrival::Rate;
use rbench::workload::plan::Planned;
use serde_json::{Map, Value};

/// Labels of rows and the figures that they show.
const LABELS: &[(&str, Measure)] = &[
    ("Successful requests:", Measure::Completed),
    ("Benchmark duration (s):", Measure::Duration),
    ("Total input tokens:", Measure::InputTokens),
    ("Total input text tokens:", Measure::InputTextTokens),
    ("Total input vision tokens:", Measure::InputVisionTokens),
    ("Total generated tokens:", Measure::OutputTokens),
    ("Total generated tokens (retokenized):", Measure::RetokenizedTokens),
    ("Request throughput (req/s):", Measure::RequestThroughput),
    ("Input token throughput (tok/s):", Measure::InputThroughput),
    ("Output token throughput (tok/s):", Measure::OutputThroughput),
    ("Peak output token throughput (tok/s):", Measure::MaxOutputTokens),
    ("Peak concurrent requests:", Measure::MaxConcurrentRequests),
    ("Total token throughput (tok/s):", Measure::TotalThroughput),
    ("Concurrency:", Measure::Concurrency),
];

/// A report with the figures that a printed table shows.
fn report_of(table: &str, dataset: &str) -> Analysis<'static> {
    let mut metadata = RunMetadata {
        backend: "sglang",
        generates: true,
        dataset_name: dataset.to_owned(),
        rate: Rate::Unlimited,
        max_concurrency: None,
        slos: Vec::new(),
        cache_report: false,
        tag: None,
        model: String::new(),
        tokenizer: String::new(),
        vision_source: None,
        seed: 42,
        date: String::new(),
        config: Map::new(),
        planned: Planned::default(),
    };
    let mut stats = Vec::new();
    for line in table.lines().filter(|line| line.contains(':')) {
        let (label, value) = line.split_at(41);
        let (label, value) = (label.trim_end(), value.trim_end());
        match label {
            "Backend:" => {
                metadata.backend = ["sglang", "sglang-oai", "sglang-embedding"]
                    .into_iter()
                    .find(|name| *name == value)
                    .unwrap();
                metadata.generates = value != "sglang-embedding";
            }
            "Traffic request rate:" if value != "inf" => {
                metadata.rate = Rate::PerSecond(value.parse().unwrap());
            }
            "Traffic request rate:" => {}
            "Max request concurrency:" => metadata.max_concurrency = Some(value.parse().unwrap()),
            label => {
                let known = LABELS.iter().find(|(known, _)| *known == label);
                let measure = known.map_or_else(|| latency(label), |(_, measure)| *measure);
                let value = match value.parse() {
                    Ok(n) => Figure::Count(n),
                    Err(_) => Figure::Real(value.parse().unwrap()),
                };
                stats.push(Stat { measure, value });
            }
        }
    }
    Analysis {
        metadata,
        measures: stats.into(),
        failures: Vec::new(),
        token_sources: Vec::new(),
        server_info: None,
        failed_calls: Vec::new(),
        partial: None,
        memory: None,
        endpoints: Vec::new(),
        audit: Audit::default(),
        health: Health::default(),
        headroom: Headroom::default(),
        storage_backend: None,
        tells_cache: false,
        steady: None,
        records: &[],
        counts: Vec::new(),
        confidence: None,
    }
}

const STATISTICS: &[(&str, Statistic)] = &[
    ("Mean", Statistic::Mean),
    ("Median", Statistic::MEDIAN),
    ("Std", Statistic::Std),
    ("P90", Statistic::P90),
    ("P95", Statistic::P95),
    ("P99", Statistic::P99),
    ("Max", Statistic::Max),
];

const SERIES: &[(&str, Series)] = &[
    ("E2E Latency (ms):", Series::E2e),
    ("TTFT (ms):", Series::Ttft),
    ("TPOT (ms):", Series::Tpot),
    ("ITL (ms):", Series::Itl),
];

/// The measure of a row such as `P99 E2E Latency (ms):`.
fn latency(label: &str) -> Measure {
    let (what, of) = label.split_once(' ').unwrap();
    let statistic = STATISTICS.iter().find(|(name, _)| *name == what);
    let series = SERIES.iter().find(|(name, _)| *name == of);
    let (Some((_, statistic)), Some((_, series))) = (statistic, series) else { panic!("{label}") };
    Measure::Of(*statistic, *series)
}

fn choice(version: &str) -> Choice {
    format!("sglang@{version}").parse().unwrap()
}

/// Without the spaces at line ends, which documents do not keep.
fn trimmed(text: &str) -> String {
    text.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

#[test]
fn a_table_of_0_5_6_is_printed_again_byte_for_byte() {
    let printed = include_str!("../data/tables/0.5.6-random.txt");
    for version in ["0.5.6", "0.5.6.post2", "0.5.7"] {
        assert_eq!(choice(version).table(&report_of(printed, "random")), printed, "{version}");
    }
}

#[test]
fn documented_tables_are_printed_again() {
    for (versions, dataset, printed) in [
        (
            &["0.5.8", "0.5.9", "0.5.10", "0.5.10.post1"][..],
            "random",
            include_str!("../data/tables/0.5.10-completions.txt"),
        ),
        (&["0.5.8", "0.5.10"], "image", include_str!("../data/tables/0.5.10-images.txt")),
        (&["0.5.10"], "random", include_str!("../data/tables/0.5.10-embeddings.txt")),
        (&["0.2.15"], "sharegpt", include_str!("../data/tables/0.2.15-sharegpt.txt")),
    ] {
        for version in versions {
            let table = choice(version).table(&report_of(printed, dataset));
            assert_eq!(trimmed(&table), printed, "{version}");
            for line in table.lines().skip(1) {
                let width = if line.starts_with(['=', '-']) { 50 } else { 51 };
                assert!(line.len() == width || line.contains("sglang-embedding"), "{line:?}");
            }
        }
    }
}

const VERSIONS: &[&str] =
    &["0.2.15", "0.4.1", "0.4.6", "0.5.1", "0.5.6", "0.5.8", "0.5.10", "0.5.15", "0.5.23"];

/// A report in which every figure is there.
fn full_report() -> Analysis<'static> {
    let mut report = report_of("", "random");
    let latencies = SERIES.iter().flat_map(|(_, series)| {
        STATISTICS.iter().map(|(_, statistic)| Measure::Of(*statistic, *series))
    });
    let measures = LABELS.iter().map(|(_, measure)| *measure).chain(latencies);
    let real = |(i, measure)| Stat { measure, value: Figure::Real(i as f64 + 0.25) };
    let stats: Vec<Stat> = measures.chain([Measure::AcceptLength]).enumerate().map(real).collect();
    report.measures = stats.into();
    report
}

#[test]
fn each_release_has_its_rows() {
    for version in VERSIONS {
        let table = trimmed(&choice(version).table(&full_report()));
        expect_file![format!("../data/tables/rows-{version}.txt")].assert_eq(&table);
    }
}

#[test]
fn each_release_has_its_keys() {
    let mut shown = String::new();
    for (version, count) in VERSIONS.iter().zip([17, 18, 35, 35, 42, 43, 43, 49, 49]) {
        let line: Map<String, Value> =
            serde_json::from_str(&choice(version).line(&full_report(), false)).unwrap();
        let keys: Vec<&str> = line.keys().map(String::as_str).collect();
        let (last, keys) = keys.split_last().unwrap();
        assert_eq!(*last, "rbench");
        assert_eq!(keys.len(), count, "{version}");
        shown += &format!("{version}\n  {}\n", keys.join("\n  "));
    }
    expect_file!["../data/tables/keys.txt"].assert_eq(&shown);
}

#[test]
fn figures_without_a_key_of_the_release_are_kept() {
    let line: Value = serde_json::from_str(&choice("0.2.15").line(&full_report(), false)).unwrap();
    for key in ["request_throughput", "p99_ttft_ms", "max_output_tokens_per_s", "accept_length"] {
        assert!(line.get(key).is_none(), "{key}");
        assert!(line["rbench"][key].is_number(), "{key}");
    }
}

#[test]
fn file_names_of_releases() {
    let mut report = report_of("", "mooncake");
    report.metadata.config.insert("num_prompts".into(), 7.into());
    let name = |version| choice(version).file_name(&report.metadata, "0304");
    assert_eq!(name("0.5.1").to_str(), Some("sglang_0304_7_sharegpt.jsonl"));
    assert_eq!(name("0.5.6").to_str(), Some("sglang_0304_7_mooncake.jsonl"));
}
