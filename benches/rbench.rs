//! Benchmarks of what runs while a server is measured, and of what the user waits for before and after.

#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a benchmark may panic")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use rand::RngExt;
use rbench::analysis::stats::Sorted;
use rbench::cli::{self, Input};
use rbench::model::{PlannedRequest, RequestRecord, Row};
use rbench::protocol::backend::{Backend, Common, Sampling, Style};
use rbench::protocol::response::{Collector, Expect, Framing};
use rbench::rng;
use rbench::workload::bundled;
use rbench::workload::dataset::{Context, Dataset, Reading};
use rbench::workload::hub::Hub;
use rbench::workload::plan;
use rbench::workload::tokenizer::Tokenizer;
use serde_json::{Value, json};

// -- Streams ---------------------------------------------------------------------------------------------------------

const EVENTS: usize = 1000;
/// What one read of a socket gives at most.
const CHUNK: usize = 16 * 1024;

/// The i-th event of a stream.
type Event = fn(usize) -> Value;

/// Backends and the events of their streams, each with one token.
const STREAMS: &[(&str, Event)] = &[
    ("sglang", |i| {
        json!({
            "text": " token".repeat(i + 1),
            "output_ids": [i],
            "meta_info": {"id": "0123456789abcdef", "finish_reason": null, "prompt_tokens": 512, "completion_tokens": i + 1, "cached_tokens": 0},
        })
    }),
    ("sglang-oai", |i| {
        json!({
            "id": "cmpl-0123456789abcdef",
            "object": "text_completion",
            "created": 1_700_000_000,
            "model": "some/model",
            "choices": [{"index": 0, "text": format!(" word{i}"), "logprobs": null, "finish_reason": null}],
            "usage": null,
        })
    }),
    ("sglang-oai-chat", |i| {
        json!({
            "id": "chatcmpl-0123456789abcdef",
            "object": "chat.completion.chunk",
            "created": 1_700_000_000,
            "model": "some/model",
            "choices": [{"index": 0, "delta": {"role": null, "content": format!(" word{i}"), "reasoning_content": null, "tool_calls": null}, "logprobs": null, "finish_reason": null}],
            "usage": null,
        })
    }),
    (
        "trt",
        |i| json!({"model_name": "ensemble", "model_version": "1", "sequence_end": false, "text_output": format!(" word{i}")}),
    ),
];

fn stream(event: Event) -> Vec<u8> {
    (0..EVENTS).fold(Vec::new(), |mut bytes, i| {
        bytes.extend_from_slice(format!("data: {}\n\n", event(i)).as_bytes());
        bytes
    })
}

/// Reads a whole stream as a client thread does.
fn read(backend: &Backend, stream: &[u8], request: &PlannedRequest) -> RequestRecord {
    let mut collector = Collector::new(backend.protocol.decoder(), Framing::Events, Expect::Tokens);
    for (i, chunk) in stream.chunks(CHUNK).enumerate() {
        collector.chunk(chunk, Duration::from_micros(i as u64)).unwrap();
    }
    // The streams have no end mark: what was read is the subject.
    let _ = collector.finish(Duration::from_secs(1));
    let mut record = RequestRecord::unsent(request);
    collector.store(&mut record);
    record
}

fn streams(criterion: &mut Criterion) {
    let request = PlannedRequest {
        index: 0,
        due: Duration::ZERO,
        body: bytes::Bytes::new(),
        prompt_len: 512,
        output_len: EVENTS,
        conversation: None,
        asked: rbench::model::Asked::default(),
        vision_len: 0,
        routing_key: None,
    };
    let mut group = criterion.benchmark_group("stream");
    for (name, event) in STREAMS {
        let backend = Backend::find(name).unwrap();
        let bytes = stream(*event);
        assert_eq!(read(backend, &bytes, &request).events.len(), EVENTS, "{name}");
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(*name, |bencher| {
            bencher.iter(|| read(backend, black_box(&bytes), &request));
        });
    }
    group.finish();
}

// -- Plans -----------------------------------------------------------------------------------------------------------

const PROMPTS: usize = 1000;
const PROMPT_LEN: usize = 256;

fn dataset(name: &str) -> Box<dyn Dataset> {
    let len = PROMPT_LEN.to_string();
    let mut words = vec!["rbench", "serve", "--dataset-name", name];
    if name != "sharegpt" {
        words.extend(["--random-input-len", &len, "--random-range-ratio", "1"]);
    }
    match cli::parse(words.into_iter().map(std::ffi::OsString::from)) {
        Ok(Input::Serve(input)) => input.spec.dataset().unwrap().build().unwrap(),
        other => panic!("not the words of serve: {other:?}"),
    }
}

fn plans(criterion: &mut Criterion) {
    let hub = Hub::from_env(false);
    let reading = Reading::default();
    // A new tokenizer knows no words yet, as at the beginning of a run.
    let tokenizer = || Tokenizer::load(&[bundled::NAME.to_owned()], &hub).unwrap();
    let load = |dataset: &dyn Dataset, tokenizer: &Tokenizer| -> Vec<Row> {
        let context = Context {
            tokenizer,
            hub: &hub,
            path: Some(Path::new(bundled::NAME)),
            n: PROMPTS,
            seed: 42,
            ids: false,
            reading: &reading,
        };
        dataset.load(&context).unwrap().rows
    };
    let common = Arc::new(Common {
        model: "some/model".to_owned(),
        stream: true,
        ignore_eos: true,
        extra: serde_json::Map::new(),
        sampling: Sampling::default(),
        style: Style::default(),
    });
    let backend = Backend::find("sglang-oai-chat").unwrap();
    let encoder = plan::Encoder { protocol: backend.protocol, common, render: None };
    let mut group = criterion.benchmark_group("plan");
    group.sample_size(10);
    for name in ["random", "random-ids", "sharegpt"] {
        let dataset = dataset(name);
        let rows = load(&*dataset, &tokenizer());
        // Tokens of prompts.
        let tokens: usize = rows.iter().map(|row| row.prompt_len).sum();
        group.throughput(Throughput::Elements(tokens as u64));
        group.bench_function(format!("rows/{name}"), |bencher| {
            let load = |tokenizer: Tokenizer| load(&*dataset, black_box(&tokenizer));
            bencher.iter_batched(tokenizer, load, BatchSize::PerIteration);
        });
        let due = vec![Duration::ZERO; rows.len()];
        group.bench_function(format!("bodies/{name}"), |bencher| {
            let build = |rows| plan::build(black_box(rows), &due, &encoder);
            bencher.iter_batched(|| rows.clone(), build, BatchSize::LargeInput);
        });
    }
    group.finish();
}

// -- Statistics ------------------------------------------------------------------------------------------------------

/// Latencies in ms with a long tail.
fn samples(n: usize) -> Vec<f64> {
    let mut rng = rng::stream(42, "bench", 0);
    (0..n).map(|_| 20.0 - 5.0 * rng.random_range(f64::MIN_POSITIVE..1.0).ln()).collect()
}

fn statistics(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("statistics");
    group.sample_size(10);
    for n in [1_000_000, 10_000_000] {
        let values = samples(n);
        group.throughput(Throughput::Elements(n as u64));
        group.bench_function(n.to_string(), |bencher| {
            bencher.iter_batched(
                || values.clone(),
                |values| {
                    let sorted = Sorted::new(values);
                    let percentiles = [50.0, 90.0, 95.0, 99.0].map(|q| sorted.percentile(q));
                    (percentiles, sorted.mean(), sorted.std(), sorted.max())
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, streams, plans, statistics);
criterion_main!(benches);
