//! Records of recorded responses, whose arrival times are part of the recording, and statistics against plain oracles.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;
use rbench::analysis::aggregate::compute;
use rbench::analysis::metric::{Close, Ended, Stat, Terms};
use rbench::analysis::stats::{Sorted, peak_overlap};
use rbench::model::{
    CacheTiers, CachedTokens, FailureKind, Outcome, OutputTokens, Phase, PlannedRequest,
    RequestRecord,
    TokenSource::{self, Events, Retokenized, Server},
};
use rbench::output::names::{Name, name};
use rbench::protocol::backend::Backend;
use rbench::protocol::response::{Collector, Expect, Framing};
use serde_json::{Value, json};

// -- Recordings ------------------------------------------------------------------------------------------------------

/// The chunks of a recording with their arrival times.
///
/// A line `@ MS` starts a chunk, and a chunk that does not end with a line end is closed by a backslash.
fn chunks(name: &str) -> Vec<(Duration, Vec<u8>)> {
    let path = format!("{}/tests/data/streams/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut chunks: Vec<(Duration, Vec<u8>)> = Vec::new();
    for line in text.split_inclusive('\n') {
        if let Some(at) = line.strip_prefix("@ ") {
            chunks.push((Duration::from_millis(at.trim().parse().unwrap()), Vec::new()));
            continue;
        }
        let line = line.strip_suffix("\\\n").unwrap_or(line);
        chunks.last_mut().unwrap().1.extend_from_slice(line.as_bytes());
    }
    chunks
}

/// Where a chunk of some length is cut.
type Cuts<'a> = &'a dyn Fn(usize) -> Vec<usize>;

/// The record of a request that nothing is known of yet.
fn unsent() -> RequestRecord {
    RequestRecord::unsent(&PlannedRequest {
        index: 0,
        due: Duration::ZERO,
        body: bytes::Bytes::new(),
        prompt_len: 8,
        output_len: 16,
        conversation: None,
        asked: rbench::model::Asked::default(),
        vision_len: 0,
        routing_key: None,
    })
}

/// The record of a recording.
fn read(name: &str, backend: &str, sent: u64) -> RequestRecord {
    read_cut(name, backend, sent, &|_| Vec::new())
}

/// The record of a recording whose chunks are cut, all pieces of one arriving at once.
fn read_cut(name: &str, backend: &str, sent: u64, cuts: Cuts<'_>) -> RequestRecord {
    let backend = Backend::find(backend).unwrap();
    let generates = backend.protocol.generates();
    let whole = name.ends_with("whole") || !generates;
    let mut collector = Collector::new(
        backend.protocol.decoder(),
        if whole { Framing::Whole } else { Framing::Events },
        if generates { Expect::Tokens } else { Expect::NoTokens },
    );
    let chunks = chunks(name);
    let end = chunks.last().map_or(Duration::ZERO, |&(at, _)| at);
    let mut feed = || {
        for (at, bytes) in &chunks {
            let mut places = cuts(bytes.len());
            places.extend([0, bytes.len()]);
            places.sort_unstable();
            for pair in places.windows(2) {
                collector.chunk(&bytes[pair[0]..pair[1]], *at)?;
            }
        }
        collector.finish(end)
    };
    let outcome = match feed() {
        Ok(()) => Outcome::Completed,
        Err(failure) => Outcome::Failed(failure),
    };
    let mut record = unsent();
    record.sent = Some(Duration::from_millis(sent));
    record.outcome = outcome;
    collector.store(&mut record);
    record
}

/// What a recording is to give, all times in ms.
struct Case {
    name: &'static str,
    backend: &'static str,
    sent: u64,
    ttft: f64,
    itl: &'static [f64],
    e2e: f64,
    tpot: f64,
    tokens: u64,
    source: TokenSource,
    prompt_tokens: Option<u64>,
    text: &'static str,
}

/// A recording of several completions, all times in ms; the server counts the tokens.
struct Several {
    name: &'static str,
    backend: &'static str,
    ttft: f64,
    itl: &'static [f64],
    e2e: f64,
    tpot: f64,
    tokens: u64,
    /// Token times: gaps and first events.
    times: f64,
    texts: &'static [&'static str],
}

const SEVERAL: &[Several] = &[
    Several {
        name: "native-n",
        backend: "sglang",
        ttft: 10.0,
        // The second completion from 12, the first from 10 with two tokens, the first again.
        itl: &[8.0, 8.0, 8.0, 14.0],
        e2e: 41.0,
        // 3.5 tokens per completion.
        tpot: 31.0 / 2.5,
        tokens: 7,
        times: 6.0,
        texts: &["A b c d", "X y z"],
    },
    Several {
        name: "native-n-whole",
        backend: "sglang",
        ttft: 30.0,
        itl: &[],
        e2e: 30.0,
        tpot: 0.0,
        tokens: 6,
        times: 2.0,
        texts: &["A b", "X y z"],
    },
    Several {
        name: "completions-n",
        backend: "vllm",
        ttft: 10.0,
        itl: &[8.0, 10.0],
        e2e: 31.0,
        tpot: 15.75,
        tokens: 7,
        times: 5.0,
        texts: &["a b", "x y", "k l m"],
    },
    Several {
        // Without a closing total the counts of the completions are added up.
        name: "completions-n-each",
        backend: "sglang-oai",
        ttft: 10.0,
        itl: &[8.0, 10.0],
        e2e: 31.0,
        tpot: 15.75,
        tokens: 7,
        times: 5.0,
        texts: &["a b", "x y", "k l m"],
    },
    Several {
        name: "completions-n-whole",
        backend: "vllm",
        ttft: 30.0,
        itl: &[],
        e2e: 30.0,
        tpot: 0.0,
        tokens: 6,
        times: 3.0,
        texts: &["a b", "x y", "k"],
    },
    Several {
        name: "chat-n",
        backend: "sglang-oai-chat",
        ttft: 10.0,
        itl: &[6.0, 6.0],
        e2e: 21.0,
        tpot: 11.0,
        tokens: 4,
        times: 4.0,
        texts: &["hi", "HI"],
    },
];

const CASES: &[Case] = &[
    Case {
        name: "completions",
        backend: "sglang-oai",
        sent: 2,
        ttft: 10.0,
        itl: &[8.0, 15.0],
        e2e: 35.0,
        tpot: 25.0 / 3.0,
        tokens: 4,
        source: Server,
        prompt_tokens: Some(9),
        text: "Hello, wörld",
    },
    Case {
        name: "completions-uneven",
        backend: "vllm",
        sent: 0,
        ttft: 10.0,
        // An event counts where its last byte arrives.
        itl: &[0.0, 22.0, 8.0],
        e2e: 40.0,
        tpot: 10.0,
        tokens: 4,
        source: Server,
        prompt_tokens: Some(3),
        text: "a b c d",
    },
    Case {
        name: "completions-no-usage",
        backend: "lmdeploy",
        sent: 0,
        ttft: 10.0,
        itl: &[4.0, 6.0],
        e2e: 21.0,
        tpot: 5.5,
        tokens: 3,
        source: Retokenized,
        prompt_tokens: None,
        text: "a b c",
    },
    Case {
        name: "completions-no-text",
        backend: "vllm",
        sent: 0,
        // Only the counter tells of tokens: the first arrived at the end of generation at the latest.
        ttft: 40.0,
        itl: &[],
        e2e: 41.0,
        // And when the others came is not known.
        tpot: 0.0,
        tokens: 3,
        source: Server,
        prompt_tokens: Some(9),
        text: "",
    },
    Case {
        name: "chat",
        backend: "sglang-oai-chat",
        sent: 0,
        // The chunk that only names the role is no output.
        ttft: 15.0,
        itl: &[3.0, 12.0],
        e2e: 31.0,
        tpot: 8.0,
        tokens: 3,
        source: Server,
        prompt_tokens: Some(11),
        text: "hma b",
    },
    Case {
        // A running count beside each event changes nothing of the gaps between events.
        name: "chat-counted",
        backend: "vllm-chat",
        sent: 0,
        ttft: 10.0,
        itl: &[10.0, 30.0],
        e2e: 52.0,
        tpot: 7.0,
        tokens: 7,
        source: Server,
        prompt_tokens: Some(9),
        text: "a b cd",
    },
    Case {
        name: "chat-tools",
        backend: "vllm-chat",
        sent: 0,
        ttft: 16.0,
        itl: &[10.0, 8.0],
        e2e: 35.0,
        tpot: 3.8,
        tokens: 6,
        source: Server,
        prompt_tokens: Some(11),
        text: "look{\"at\":1}",
    },
    Case {
        name: "chat-named-events",
        backend: "vllm-chat",
        sent: 0,
        ttft: 12.0,
        itl: &[6.0],
        e2e: 19.0,
        tpot: 7.0,
        tokens: 2,
        source: Retokenized,
        prompt_tokens: None,
        text: "ab",
    },
    Case {
        name: "chat-cached",
        backend: "sglang-oai-chat",
        sent: 0,
        ttft: 10.0,
        itl: &[8.0],
        e2e: 20.0,
        tpot: 10.0,
        tokens: 2,
        source: Server,
        prompt_tokens: Some(9),
        text: "ab",
    },
    Case {
        name: "chat-whole",
        backend: "sglang-oai-chat",
        sent: 5,
        ttft: 20.0,
        itl: &[],
        e2e: 20.0,
        tpot: 0.0,
        tokens: 2,
        source: Server,
        prompt_tokens: Some(3),
        text: "hi there",
    },
    Case {
        name: "native",
        backend: "sglang",
        sent: 0,
        ttft: 10.0,
        // One token, then three that share the gap since the last event that brought one.
        itl: &[10.0, 10.0, 10.0, 10.0],
        e2e: 52.0,
        tpot: 8.4,
        tokens: 6,
        source: Server,
        prompt_tokens: Some(7),
        text: "A b c! d e f",
    },
    Case {
        name: "native-pieces",
        backend: "sglang-native",
        sent: 1,
        ttft: 9.0,
        itl: &[10.0, 7.0, 7.0],
        e2e: 34.0,
        tpot: 25.0 / 3.0,
        tokens: 4,
        source: Server,
        prompt_tokens: Some(7),
        text: "Hello you",
    },
    Case {
        name: "native-ids",
        backend: "sglang",
        sent: 0,
        ttft: 10.0,
        itl: &[3.0, 3.0, 8.0],
        e2e: 24.0,
        tpot: 14.0 / 3.0,
        tokens: 4,
        source: Server,
        prompt_tokens: Some(7),
        text: "",
    },
    Case {
        name: "trt",
        backend: "trt",
        sent: 0,
        ttft: 10.0,
        itl: &[6.0, 24.0],
        e2e: 40.0,
        tpot: 15.0,
        tokens: 3,
        source: Events,
        prompt_tokens: None,
        text: "a b",
    },
    Case {
        name: "predict",
        backend: "truss",
        sent: 0,
        ttft: 10.0,
        itl: &[5.0, 10.0],
        e2e: 25.0,
        tpot: 7.5,
        tokens: 3,
        source: Retokenized,
        prompt_tokens: None,
        text: "x y z",
    },
];

fn near(got: f64, want: f64) -> bool {
    (got - want).abs() < 1e-9
}

/// A figure of a run that has one record.
fn figure(record: &RequestRecord, key: &str) -> f64 {
    let request = [Ended::of(record)];
    let stats = compute(&request.into_iter(), &Terms::default(), &Close::default()).stats;
    let name_of = |stat: &&Stat| name(stat.measure) == Some(Name::Own(key.to_owned()));
    stats.iter().find(name_of).and_then(|stat| stat.value.number()).unwrap()
}

#[test]
fn cached_prompt_tokens_keep_their_parts() {
    // The usage that follows tells the sum again, and nothing of where the tokens lay.
    let record = read("chat-cached", "sglang-oai-chat", 0);
    let storage_backend = Some("HiCacheFile".to_owned());
    let tiers = CacheTiers { device: 4, host: 2, storage: 1, storage_backend };
    assert_eq!(record.cached, Some(CachedTokens { total: 7, tiers: Some(Box::new(tiers)) }));
    assert_eq!(read("chat", "sglang-oai-chat", 0).cached, None);
}

#[test]
fn recordings_give_exact_latencies() {
    for case in CASES {
        let mut record = read(case.name, case.backend, case.sent);
        let name = case.name;
        assert_eq!(record.outcome, Outcome::Completed, "{name}");
        if case.source == Retokenized {
            // That is done after the run.
            assert_eq!(record.output_tokens, None, "{name}");
            record.output_tokens = Some(OutputTokens { count: case.tokens, source: Retokenized });
        }
        for (key, want) in [
            ("mean_ttft_ms", case.ttft),
            ("mean_e2e_latency_ms", case.e2e),
            ("mean_tpot_ms", case.tpot),
        ] {
            let got = figure(&record, key);
            assert!(near(got, want), "{name}: {key} {got}, want {want}");
        }
        let itl: Vec<f64> = record.itl().map(|seconds| seconds * 1e3).collect();
        let same =
            itl.len() == case.itl.len() && itl.iter().zip(case.itl).all(|(&a, &b)| near(a, b));
        assert!(same, "{name}: gaps {itl:?}, want {:?}", case.itl);
        let tokens = record.output_tokens.unwrap_or_else(|| panic!("{name}: {record:?}"));
        assert_eq!((tokens.count, tokens.source), (case.tokens, case.source), "{name}");
        assert_eq!(record.server_prompt_tokens, case.prompt_tokens, "{name}");
        assert_eq!(record.text, case.text, "{name}");
        if !record.events.text_ends.is_empty() {
            assert_eq!(record.pieces().collect::<String>(), case.text, "{name}");
            assert_eq!(record.events.text_ends.len(), record.events.len(), "{name}");
        }
        assert_eq!(record.events.tokens.len(), record.events.len(), "{name}");
    }
}

#[test]
fn completions_of_one_request_are_kept_apart() {
    for case in SEVERAL {
        let record = read(case.name, case.backend, 0);
        let name = case.name;
        assert_eq!(record.outcome, Outcome::Completed, "{name}");
        for (key, want) in [
            ("mean_ttft_ms", case.ttft),
            ("mean_e2e_latency_ms", case.e2e),
            ("mean_tpot_ms", case.tpot),
        ] {
            let got = figure(&record, key);
            assert!(near(got, want), "{name}: {key} {got}, want {want}");
        }
        let same = |got: &[f64], want: &[f64]| {
            got.len() == want.len() && got.iter().zip(want).all(|(&a, &b)| near(a, b))
        };
        let itl: Vec<f64> = record.itl().map(|seconds| seconds * 1e3).collect();
        assert!(same(&itl, case.itl), "{name}: gaps {itl:?}, want {:?}", case.itl);
        // All within one second.
        assert!(near(figure(&record, "max_output_tokens_per_s"), case.times), "{name}");
        let tokens = record.output_tokens.unwrap_or_else(|| panic!("{name}: {record:?}"));
        assert_eq!((tokens.count, tokens.source), (case.tokens, Server), "{name}");
        assert_eq!(record.texts().collect::<Vec<_>>(), case.texts, "{name}");
        assert_eq!(record.completions(), case.texts.len(), "{name}");
        assert_eq!(record.events.completion.len(), record.events.len(), "{name}");
        if !record.events.text_ends.is_empty() {
            let mut joined = vec![String::new(); case.texts.len()];
            for (piece, &completion) in record.pieces().zip(&record.events.completion) {
                joined[usize::from(completion)] += piece;
            }
            assert_eq!(joined, case.texts, "{name}");
        }
    }
    // Completions share the prompt, so what the first found in the cache is what the request did.
    let cached = |name| read(name, "sglang", 0).cached.map(|cached| cached.total);
    assert_eq!((cached("native-n"), cached("native-n-whole")), (Some(4), Some(0)));
}

#[test]
fn running_counts_tell_the_tokens_of_each_event() {
    let record = read("chat-counted", "vllm-chat", 0);
    // What came without text is of the next event with text; what came after the last one is of none.
    assert_eq!(record.events.counted, [1, 2, 3]);
    assert_eq!(record.events.tokens, [1, 1, 1]);
    for (key, want) in [
        ("mean_token_itl_ms", 8.0),
        ("max_token_itl_ms", 10.0),
        ("mean_event_itl_ms", 20.0),
        ("peak_output_tokens_per_s", 6.0),
    ] {
        let got = figure(&record, key);
        assert!(near(got, want), "{key} {got}, want {want}");
    }
    // Each completion has a count of its own.
    let record = read("completions-n-each", "sglang-oai", 0);
    assert_eq!(record.events.counted, [1, 1, 1, 1, 3]);
    assert!(near(figure(&record, "peak_output_tokens_per_s"), 7.0));
}

#[test]
fn counts_that_do_not_run_with_the_events_are_no_counts() {
    let counted = |counts: &[Option<u64>]| {
        let backend = Backend::find("vllm").unwrap();
        let mut collector =
            Collector::new(backend.protocol.decoder(), Framing::Events, Expect::Tokens);
        for (count, at) in counts.iter().zip(1..) {
            let usage = count.map_or(Value::Null, |n| json!({"completion_tokens": n}));
            let choice = json!({"index": 0, "text": "a", "finish_reason": null});
            let event = json!({"choices": [choice], "usage": usage});
            collector
                .chunk(format!("data: {event}\n\n").as_bytes(), Duration::from_millis(at))
                .unwrap();
        }
        let closing =
            b"data: {\"choices\":[],\"usage\":{\"completion_tokens\":9}}\n\ndata: [DONE]\n\n";
        collector.chunk(closing, Duration::from_secs(1)).unwrap();
        let mut record = unsent();
        collector.store(&mut record);
        assert_eq!(record.events.tokens, vec![1; counts.len()]);
        // A total below a running count is none.
        let told = record
            .output_tokens
            .map(|tokens| tokens.count)
            .or(record.impossible.and_then(|counts| counts.output));
        assert_eq!(told, Some(9));
        record.events.counted
    };
    assert_eq!(counted(&[Some(2), Some(2), Some(9)]), [2, 0, 7]);
    let not_running: &[&[Option<u64>]] = &[
        &[None, None, None],
        // A place that is filled in at the end.
        &[Some(0), Some(0), Some(0)],
        &[Some(1), None, Some(3)],
        &[None, Some(2), Some(3)],
        &[Some(3), Some(2), Some(4)],
        &[Some(u64::MAX), Some(u64::MAX)],
    ];
    for counts in not_running {
        assert_eq!(counted(counts).capacity(), 0, "{counts:?}");
    }
}

#[test]
fn one_completion_needs_no_column() {
    for case in CASES {
        let record = read(case.name, case.backend, case.sent);
        if case.name != "chat-counted" {
            assert_eq!(record.events.counted.capacity(), 0, "{}", case.name);
        }
        assert!(record.events.completion.is_empty(), "{}", case.name);
        assert_eq!(record.events.completion.capacity(), 0, "{}", case.name);
        assert!(record.other_texts.is_empty(), "{}", case.name);
    }
}

#[test]
fn gaps_of_running_counts_add_up_to_the_tokens_after_the_first_event() {
    for name in ["native", "native-pieces", "native-ids"] {
        let record = read(name, "sglang", 0);
        let first = u64::from(record.events.tokens[0]);
        assert_eq!(record.itl().count() as u64, record.output_count() - first, "{name}");
    }
}

#[test]
fn embeddings_have_one_latency_and_no_tokens() {
    let record = read("embeddings", "sglang-embedding", 4);
    assert_eq!(record.outcome, Outcome::Completed);
    assert_eq!(record.e2e(), Some(Duration::from_millis(26)));
    assert_eq!((record.ttft(), record.output_tokens), (None, None));
    assert_eq!(record.server_prompt_tokens, Some(5));
    assert!(record.events.is_empty() && record.text.is_empty());
}

/// Recordings that fail: why, when, what the message says, and how many events are kept.
const FAILURES: &[(&str, &str, FailureKind, Phase, &str, usize)] = &[
    ("completions-cut", "vllm", FailureKind::EarlyEnd, Phase::Stream, "finish reason", 2),
    ("completions-error", "vllm", FailureKind::ServerError, Phase::Stream, "out of memory", 1),
    ("completions-malformed", "vllm", FailureKind::Malformed, Phase::Stream, "JSON", 1),
    ("completions-silent", "vllm", FailureKind::NoTokens, Phase::FirstToken, "no generated", 0),
    ("chat-error-event", "vllm-chat", FailureKind::ServerError, Phase::FirstToken, "overloaded", 0),
    ("native-abort", "sglang", FailureKind::ServerError, Phase::FirstToken, "prompt too long", 0),
    // A completion without an end.
    ("native-n-cut", "sglang", FailureKind::EarlyEnd, Phase::Stream, "finish reason", 3),
    (
        "completions-n-unfinished",
        "vllm",
        FailureKind::EarlyEnd,
        Phase::Stream,
        "each completion",
        3,
    ),
    ("native-n-abort", "sglang", FailureKind::ServerError, Phase::Stream, "out of memory", 1),
    ("empty", "sglang", FailureKind::NoTokens, Phase::FirstToken, "empty", 0),
    ("empty", "trt", FailureKind::NoTokens, Phase::FirstToken, "empty", 0),
    ("empty", "sglang-embedding", FailureKind::NoTokens, Phase::FirstToken, "empty", 0),
];

#[test]
fn recordings_that_fail_say_why_and_keep_what_had_arrived() {
    for (name, backend, kind, phase, says, events) in FAILURES {
        let record = read(name, backend, 0);
        let Outcome::Failed(failure) = &record.outcome else { panic!("{name} did not fail") };
        assert_eq!((failure.kind, failure.phase), (*kind, *phase), "{name}: {failure:?}");
        assert!(failure.message.contains(says), "{name}: {failure:?}");
        assert_eq!(record.events.len(), *events, "{name}");
    }
}

#[test]
fn no_recording_lies_unused() {
    let folder = format!("{}/tests/data/streams", env!("CARGO_MANIFEST_DIR"));
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let used = CASES.iter().any(|case| case.name == name)
            || SEVERAL.iter().any(|case| case.name == name)
            || FAILURES.iter().any(|(failure, ..)| *failure == name)
            || name == "embeddings";
        assert!(used, "{name}");
    }
}

proptest! {
    /// Forall recordings and cuts: pieces that arrive at once give the record of the whole.
    #[test]
    fn any_cut_gives_the_same_record(cuts in prop::collection::vec(any::<Index>(), 0..10)) {
        let good = CASES.iter().map(|case| (case.name, case.backend));
        let bad = FAILURES.iter().map(|&(name, backend, ..)| (name, backend));
        let several = SEVERAL.iter().map(|case| (case.name, case.backend));
        for (name, backend) in good.chain(several).chain(bad).chain([("embeddings", "sglang-embedding")]) {
            let whole = read(name, backend, 1);
            let at = |len| cuts.iter().map(|cut| cut.index(len + 1)).collect();
            prop_assert_eq!(read_cut(name, backend, 1, &at), whole, "{}", name);
        }
    }
}

#[test]
fn one_byte_at_a_time_gives_the_same_record() {
    for case in CASES {
        let whole = read(case.name, case.backend, 1);
        assert_eq!(
            read_cut(case.name, case.backend, 1, &|len| (0..len).collect()),
            whole,
            "{}",
            case.name
        );
    }
}

// -- Statistics ------------------------------------------------------------------------------------------------------

/// The k-th smallest value, by counting.
fn kth(values: &[i32], k: usize) -> i32 {
    let below = |x: i32| values.iter().filter(|&&v| v < x).count();
    let upto = |x: i32| values.iter().filter(|&&v| v <= x).count();
    *values.iter().find(|&&x| below(x) <= k && k < upto(x)).unwrap()
}

fn sorted(values: &[i32]) -> Sorted {
    Sorted::new(values.iter().copied().map(f64::from).collect())
}

proptest! {
    /// Forall samples and tenths of a percent: the percentile is the exact fraction between the two closest ranks.
    #[test]
    fn percentiles_are_those_of_integer_arithmetic(
        values in prop::collection::vec(any::<i32>(), 1..60),
        tenths in 0_usize..=1000,
    ) {
        let rank = tenths * (values.len() - 1);
        let (low, share) = (rank / 1000, i128::try_from(rank % 1000).unwrap());
        let high = low + usize::from(share > 0);
        let exact = i128::from(kth(&values, low)) * (1000 - share) + i128::from(kth(&values, high)) * share;
        let want = exact as f64 / 1000.0;
        let got = sorted(&values).percentile(tenths as f64 / 10.0).unwrap();
        // A rank that is not a whole number of steps is rounded, and moves along the widest gap.
        prop_assert!((got - want).abs() <= 1e-3, "{} {}", got, want);
    }

    /// Forall samples: percentiles rise with q, from the smallest sample to the largest.
    #[test]
    fn percentiles_rise(values in prop::collection::vec(-1e9_f64..1e9, 1..60)) {
        let sorted = Sorted::new(values.clone());
        let at: Vec<f64> = (0..=400).map(|q| sorted.percentile(f64::from(q) / 4.0).unwrap()).collect();
        prop_assert!(at.is_sorted());
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        prop_assert_eq!((at[0], at[400], sorted.max()), (least, most, Some(most)));
    }

    /// Forall samples: mean and deviation are those of whole-number sums.
    #[test]
    fn mean_and_deviation_are_those_of_integer_arithmetic(values in prop::collection::vec(-100_000_i32..100_000, 1..200)) {
        let n = i128::try_from(values.len()).unwrap();
        let sum: i128 = values.iter().map(|&v| i128::from(v)).sum();
        let squares: i128 = values.iter().map(|&v| i128::from(v) * i128::from(v)).sum();
        let sorted = sorted(&values);
        let (mean, std) = (sorted.mean().unwrap(), sorted.std().unwrap());
        prop_assert!((mean - sum as f64 / n as f64).abs() < 1e-6);
        let want = ((n * squares - sum * sum) as f64).sqrt() / n as f64;
        prop_assert!((std - want).abs() < 1e-6 * (1.0 + want), "{} {}", std, want);
    }

    /// Forall half-open intervals: the peak is the most that hold one of the starts.
    #[test]
    fn peaks_are_found_by_looking_at_each_start(spans in prop::collection::vec((0_u64..40, 0_u64..15), 0..40)) {
        let intervals: Vec<(u64, u64)> = spans.iter().map(|&(start, len)| (start, start + len)).collect();
        let holding = |t: u64| intervals.iter().filter(|&&(start, end)| start <= t && t < end).count();
        let want = intervals.iter().map(|&(start, _)| holding(start)).max().unwrap_or(0);
        prop_assert_eq!(peak_overlap(&intervals), want);
    }
}

#[test]
fn statistics_of_nothing_are_absent() {
    let none = Sorted::new(Vec::new());
    assert!(none.is_empty());
    assert_eq!(
        (none.mean(), none.std(), none.percentile(50.0), none.max()),
        (None, None, None, None)
    );
    assert_eq!(peak_overlap(&[]), 0);
}

#[test]
fn the_percentile_of_the_reference_example() {
    let sorted = sorted(&[3, 1, 4, 2]);
    assert_eq!(sorted.percentile(90.0), Some(3.7));
    assert_eq!(sorted.std(), Some(1.25_f64.sqrt()));
}
