//! What is written is read back, whole and torn.

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use serde_json::{Map, json};

use super::end::EndLine;
use super::row::Row;
use super::*;
use crate::analysis::testing::record;
use crate::engine::event::RunEvent;
use crate::engine::outbox;
use crate::engine::system::Spent;
use crate::health::{Machine, WorkerHealth};
use crate::model::{
    CacheTiers, CachedTokens, Failure, FailureKind, Impossible, MAX_TOKENS, Outcome, OutputTokens,
    Phase, PlannedRequest, RequestRecord, TokenEvents, TokenSource,
};
use crate::protocol::backend::Backend;
use crate::workload::arrival::Rate;
use crate::workload::lengths::{Distribution, Drawn, Summary};
use crate::workload::plan::{Planned, PlannedCache};

// -- Things to write -------------------------------------------------------------------------------------------------

fn header(requests: u64) -> Header {
    let metadata = RunMetadata {
        backend: "vllm",
        generates: true,
        dataset_name: "random-ids".to_owned(),
        rate: Rate::PerSecond(0.1),
        max_concurrency: Some(4),
        slos: vec!["ttft:0.3".parse().unwrap()],
        cache_report: true,
        tag: None,
        model: "m".to_owned(),
        tokenizer: "rbench-bundled".to_owned(),
        vision_source: None,
        seed: 7,
        date: "2026-01-02T03:04:05+00:00".to_owned(),
        config: Map::from_iter([("random_range_ratio".to_owned(), json!(0.1 + 0.2))]),
        planned: Planned {
            lengths: Drawn {
                input: Summary::of(&Distribution::uniform(1, 3), [1, 2, 2].into_iter()),
                output: None,
            },
            cache: Some(PlannedCache { prompt_tokens: 5, cached_tokens: 2, warm_up_tokens: 1 }),
        },
    };
    Header {
        metadata,
        backend: Backend::find("vllm").unwrap(),
        clock: ClockSource::Kernel,
        endpoints: vec!["http://127.0.0.1:1".to_owned()],
        command: Command::Serve,
        requests: Some(requests),
        vision: Some(VisionSource::PatchRule),
        stall_threshold: Duration::from_millis(1),
        last_gap: Duration::from_nanos(123_456_789),
        steady_state: Some(0.8),
        ceiling: None,
    }
}

fn end() -> End {
    let mut worker = WorkerHealth { reads: 5, run_delay: None, ..WorkerHealth::default() };
    worker.lag.add(Duration::from_millis(1500), Duration::from_micros(70));
    worker.lag.close_second();
    worker.tls.add(Duration::from_millis(3));
    (worker.held, worker.held_longest) = (2, Duration::from_millis(7));
    worker.gathered = 3;
    let mut machine = Machine { steal: Some(0.25), throttled: None, ..Machine::default() };
    machine.add_stop(Duration::from_millis(90));
    machine.slept = Duration::from_secs(3);
    End {
        health: Health { clock: ClockSource::User, workers: vec![worker], machine },
        server_info: Some(json!({"b": 1.1, "a": [null, 0.1 + 0.2]})),
        server_info_time: Duration::from_nanos(17),
        failed_calls: vec!["GET /server_info: reset".to_owned()],
        partial: Some("SIGINT came".to_owned()),
        memory: Some(Spent { most: 1 << 20, cut: 2, uncounted: 3 }),
    }
}

/// Bytes that may wait to be written.
const ROOM: u64 = 1 << 30;

fn plan(n: usize) -> Arc<[PlannedRequest]> {
    let request = |index| PlannedRequest {
        index,
        due: Duration::ZERO,
        body: bytes::Bytes::new(),
        prompt_len: 5,
        vision_len: 0,
        routing_key: None,
        output_len: 2,
        conversation: None,
        asked: crate::model::Asked::default(),
    };
    (0..n).map(request).collect()
}

fn records(n: usize) -> Vec<RequestRecord> {
    let piece = ["é", "\"\n"];
    let each = |index| RequestRecord { index, ..record(index as u64, &[10, 20], &piece) };
    (0..n).map(each).collect()
}

fn failed_record(index: usize) -> RequestRecord {
    let failure = Failure {
        kind: FailureKind::HttpStatus,
        phase: Phase::Headers,
        status: Some(503),
        message: "HTTP status 503".to_owned(),
        excerpt: Some("zu voll".to_owned()),
    };
    RequestRecord {
        index,
        outcome: Outcome::Failed(failure),
        output_tokens: None,
        events: TokenEvents::default(),
        text: String::new(),
        ..record(5, &[], &[])
    }
}

// -- The thread ------------------------------------------------------------------------------------------------------

/// The end of the round of `record`.
fn ended(record: &RequestRecord) -> RunEvent {
    RunEvent::Ended { record: record.clone(), charge: None }
}

/// Returns what was told while `records` were written, and what became of it.
fn write(files: &Files, records: &[RequestRecord]) -> (Vec<String>, Result<(), Lost>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let warn = {
        let told = told.clone();
        Box::new(move |text: &str| told.lock().unwrap().push(text.to_owned()))
    };
    let n = records.len();
    let (sender, events) = outbox::bounded(ROOM);
    let journal = Journal::start(files, &header(n as u64), plan(n), events, warn).unwrap();
    // The last one is not sent, as if it had never been.
    for record in &records[..n - 1] {
        assert!(sender.offer(1, || ended(record)));
    }
    drop(sender);
    let result = journal.finish(records, &end());
    (std::mem::take(&mut *told.lock().unwrap()), result)
}

fn files(folder: &Path) -> Files {
    Files {
        records: Some(folder.join("r.jsonl")),
        failed: Some(folder.join("f.jsonl")),
        ..Files::default()
    }
}

/// Returns what an end comes to; histograms that are told apart by nothing else differ in their outermost values.
fn line_of(end: &End) -> Value {
    serde_json::to_value(EndLine::new(end, 3)).unwrap()
}

#[test]
fn runs_are_read_back_whole() {
    let folder = tempfile::tempdir().unwrap();
    let files = files(folder.path());
    let mut written = records(3);
    written[1] = failed_record(1);
    // A file that holds runs gets another.
    for _ in 0..2 {
        assert_eq!(write(&files, &written), (vec![], Ok(())));
    }
    let path = files.records.unwrap();
    let runs = read(&path).unwrap();
    assert_eq!(runs.len(), 2);
    for run in &runs {
        assert_eq!(run.records, written);
        // Debug shows every field.
        assert_eq!(format!("{:?}", run.header), format!("{:?}", header(3)));
        assert_eq!(line_of(run.end.as_ref().unwrap()), line_of(&end()));
    }
    let failed = std::fs::read_to_string(files.failed.unwrap()).unwrap();
    let line = json!({
        "run": "2026-01-02T03:04:05+00:00", "index": 1, "round": 0, "outcome": "failed",
        "kind": "http_status", "phase": "headers", "status": 503, "message": "HTTP status 503",
        "excerpt": "zu voll", "endpoint": 0, "attempts": 1, "due_s": 0.005, "sent_s": 0.005, "headers_s": 0.005,
        "first_token_s": null, "done_s": null, "events": 0,
    });
    assert_eq!(failed, format!("{line}\n{line}\n"));
}

#[test]
fn a_file_cut_anywhere_has_the_rows_before() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files { failed: None, ..files(folder.path()) };
    let written = records(3);
    let _ = write(&files, &written);
    let path = files.records.clone().unwrap();
    let whole = std::fs::read(&path).unwrap();
    for cut in (0..whole.len()).step_by(5) {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let lines = whole[..cut].split(|&byte| byte == b'\n').count() - 1;
        if lines == 0 {
            assert!(read(&path).unwrap_err().message.contains("no whole line"), "{cut}");
        } else {
            let [run] = <[Recorded; 1]>::try_from(read(&path).unwrap()).unwrap();
            assert_eq!(run.records, written[..lines - 1], "{cut}");
            assert!(run.end.is_none());
        }
    }
    // Another run after half a line, and one after half a line of the other.
    let half = whole.len() - 30;
    std::fs::write(&path, &whole[..half]).unwrap();
    let _ = write(&files, &written);
    let runs = read(&path).unwrap();
    assert_eq!(runs.iter().map(|run| run.records.len()).collect::<Vec<_>>(), [3, 3]);
    assert!(runs[0].end.is_none() && runs[1].end.is_some());
}

#[test]
fn what_is_no_record_is_told_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files { failed: None, ..files(folder.path()) };
    let _ = write(&files, &records(3));
    let path = files.records.unwrap();
    // As the first releases wrote it, so that what a line says is all that is wrong with it.
    let text = unsealed(&std::fs::read_to_string(&path).unwrap());
    let lines: Vec<&str> = text.lines().collect();
    let with = |line: usize, new: &str| {
        let mut lines = lines.clone();
        lines[line - 1] = new;
        lines.join("\n") + "\n"
    };
    let row = lines[1];
    for (text, says) in [
        (with(1, "{}"), "r.jsonl line 1: this is not how a file of records begins"),
        (with(1, "{\"rbench_records\" :1}"), "line 1: this is not how a file of records begins"),
        (
            with(1, "{\"rbench_records\":1}"),
            "line 1: expected the first line of a run: missing field `version`",
        ),
        (
            with(1, &lines[0].replace("{\"rbench_records\":1", "{\"rbench_records\":2")),
            "line 1: its layout is number 2, and this rbench reads number 1",
        ),
        (
            with(1, &lines[0].replace("\"vllm\"", "\"nope\"")),
            "line 1: expected the first line of a run: no --backend `nope`",
        ),
        (
            with(1, &lines[0].replace("\"request_rate\":0.1", "\"request_rate\":-1")),
            "line 1: expected the first line of a run: request_rate is -1",
        ),
        (with(2, "{\"ind"), "line 2: expected a row of records: EOF"),
        (with(2, "{}"), "line 2: missing field `index`"),
        (
            with(2, &row.replace("completed", "lost")),
            "line 2: outcome is `lost`, and not one of completed, failed, cancelled, not_sent",
        ),
        (
            with(2, &row.replace("completed", "failed")),
            "line 2: outcome is `failed`, and no failure",
        ),
        (
            with(2, &row.replace("\"gaps_ns\":[", "\"gaps_ns\":[1,")),
            "line 2: the columns of events do not fit together: gaps_ns has 3 values",
        ),
        (
            with(2, &row.replace("\"gaps_ns\":[", "\"gaps_ns\":[-").replace("piece", "x")),
            "line 2: the columns of events do not fit together",
        ),
        (
            with(2, &row.replace("\"piece_bytes\":[", "\"piece_bytes\":[-")),
            "line 2: invalid value: integer `-",
        ),
        (
            with(2, &row.replace("\"input_tokens\":", "\"input_tokens\":99999999")),
            "input_tokens has 99999999",
        ),
        (
            with(2, &row.replace("\"due_ns\":", "\"due_ns\":99999999999999999")),
            "something happened 9",
        ),
        (with(3, row), "the run of 2026-01-02T03:04:05+00:00: two rows are of request 0, round 0"),
        (with(3, lines[4]), "line 3: the run had 3 rows by its last line, and 1 are here"),
        ([&lines[..], &[row, ""]].concat().join("\n"), "line 6: the run has ended before"),
        (
            with(1, &lines[0].replace("\"requests\":3", "\"requests\":2")),
            "line 4: index is 2, and 2 requests were planned",
        ),
        (with(2, &without(row, "sent_ns")), "line 2: sent_ns is missing, and the request was sent"),
        (with(2, &without(row, "done_ns")), "line 2: done_ns is missing"),
        (
            with(2, &row.replace("completed", "not_sent")),
            "line 2: sent_ns is there, and it was never sent",
        ),
        (with(2, &row.replacen('{', "{\"attempts\":0,", 1)), "line 2: attempts is 0"),
        (
            with(2, &row.replacen('{', "{\"endpoint\":1,", 1)),
            "line 2: endpoint is 1, and the run had 1",
        ),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = read(&path).unwrap_err();
        assert!(error.message.contains(says), "{says}: {}", error.message);
    }
}

/// `text` without the checksums of its lines.
fn unsealed(text: &str) -> String {
    let line = |line: &str| {
        let (body, seal) = line.rsplit_once(",\"crc32\":").unwrap();
        assert_eq!(seal.len(), "\"12345678\"}".len());
        format!("{body}}}\n")
    };
    text.lines().map(line).collect()
}

/// A row with `null` for the value of `key`.
fn without(row: &str, key: &str) -> String {
    let (before, after) = row.split_once(&format!("\"{key}\":")).unwrap();
    let (_, after) = after.split_once(',').unwrap();
    format!("{before}\"{key}\":null,{after}")
}

#[test]
fn what_was_changed_after_it_was_written_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files { failed: None, ..files(folder.path()) };
    let _ = write(&files, &records(3));
    let path = files.records.unwrap();
    let whole = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let changed = "its checksum does not fit";
    for (number, from, to, says) in [
        (1, "\"seed\":", "\"seed\":1", changed),
        (2, "\"due_ns\":", "\"due_ns\":1", changed),
        (4, "\"output_tokens\":", "\"output_tokens\":1", changed),
        (5, "\"partial\":\"SIGINT", "\"partial\":\"SIGTERM", changed),
        (3, ",\"crc32\":", ",\"crc\":", "it has no checksum, and the run has them"),
    ] {
        let line = lines[number - 1].replace(from, to);
        assert_ne!(line, lines[number - 1], "{from}");
        let mut lines = lines.clone();
        lines[number - 1] = &line;
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
        let error = read(&path).unwrap_err().message;
        assert!(error.contains(&format!("line {number}")) && error.contains(says), "{error}");
    }
    // Those of the first releases have none, and are read.
    std::fs::write(&path, unsealed(&whole)).unwrap();
    assert_eq!(read(&path).unwrap()[0].records, records(3));
}

#[test]
fn a_newer_layout_is_not_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.jsonl");
    for (text, newer) in [
        ("{\"rbench_records\":2,\"version\":\"9\"}\n", Some(2)),
        ("{\"rbench_records\":1}\n{\"index\":0}\n{\"rbench_records\":17}\n", Some(17)),
        ("{\"rbench_records\":1}\n{\"rbench_records\":18446744073709551615", Some(u64::MAX)),
        ("{\"rbench_records\":1}\n{\"index\":0}\n", None),
    ] {
        std::fs::write(&path, text).unwrap();
        match (check(&path), newer) {
            (Err(Refusal::Newer(found)), Some(layout)) => assert_eq!(found, layout),
            (Ok(()), None) => {}
            (other, _) => panic!("{text}: {other:?}"),
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn rows_that_could_not_wait_are_written_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files { failed: None, ..files(folder.path()) };
    let (sender, events) = outbox::bounded(1);
    let journal = Journal::start(&files, &header(3), plan(3), events, Box::new(|_| {})).unwrap();
    let records = records(3);
    // Fills the room until it is written; the second finds none at times.
    for record in &records {
        if !sender.offer(2, || ended(record)) {
            sender.miss(record.index, record.round);
        }
    }
    drop(sender);
    assert_eq!(journal.finish(&records, &end()), Ok(()));
    assert_eq!(read(files.records.as_ref().unwrap()).unwrap()[0].records, records);
    // Where nobody keeps them, that is said.
    let (sender, events) = outbox::bounded(0);
    let journal = Journal::start(&files, &header(3), plan(3), events, Box::new(|_| {})).unwrap();
    let mut left_out = 0;
    while left_out == 0 {
        left_out += u64::from(!sender.offer(1, || ended(&records[0])));
    }
    drop(sender);
    let lost = journal.finish(&[], &end()).unwrap_err().records.unwrap();
    assert!(lost.contains("1 requests ended faster than their rows could be written"), "{lost}");
}

#[test]
fn a_file_that_is_cut_while_it_is_written_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files { failed: None, ..files(folder.path()) };
    let (sender, events) = outbox::bounded::<RunEvent>(ROOM);
    let journal = Journal::start(&files, &header(1), plan(1), events, Box::new(|_| {})).unwrap();
    // As logrotate does with copytruncate.
    File::create(files.records.as_ref().unwrap()).unwrap();
    drop(sender);
    let lost = journal.finish(&records(1), &end()).unwrap_err().records.unwrap();
    assert!(lost.contains("it was cut to 0 bytes, of "), "{lost}");
}

#[test]
fn a_file_of_something_else_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.jsonl");
    assert!(check(&path).is_ok(), "there is none yet");
    assert!(!path.exists());
    std::fs::write(&path, "").unwrap();
    assert!(check(&path).is_ok());
    for text in ["{\"backend\": \"sglang\"}\n", "x"] {
        std::fs::write(&path, text).unwrap();
        assert!(matches!(check(&path), Err(Refusal::NoRecords)), "{text}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
    // The program died before the first line was whole.
    std::fs::write(&path, "{\"rbench_re").unwrap();
    assert!(check(&path).is_ok());
    let first = super::writer::hold(&path).unwrap();
    assert!(matches!(check(&path), Err(Refusal::InUse)));
    drop(first);
    assert!(check(&path).is_ok());
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_told_once_and_the_rest_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let full = Files { records: Some("/dev/full".into()), ..files(folder.path()) };
    let mut written = records(3);
    written[0] = failed_record(0);
    let (told, result) = write(&full, &written);
    let [told] = <[String; 1]>::try_from(told).unwrap();
    let lost = result.unwrap_err();
    assert!(told.contains("cannot write to /dev/full: No space left on device"), "{told}");
    assert!(told.contains("the run goes on"), "{told}");
    assert!(lost.records.is_some() && lost.failed.is_none(), "{lost:?}");
    let failed = std::fs::read_to_string(folder.path().join("f.jsonl")).unwrap();
    assert_eq!(failed.lines().count(), 1, "the other file is written all the same");
}

#[test]
fn a_removed_folder_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files { failed: None, ..files(folder.path()) };
    let (sender, events) = outbox::bounded::<RunEvent>(ROOM);
    let journal = Journal::start(&files, &header(1), plan(1), events, Box::new(|_| {})).unwrap();
    folder.close().unwrap();
    drop(sender);
    let lost = journal.finish(&records(1), &end()).unwrap_err().records.unwrap();
    assert!(lost.contains("it was removed"), "{lost}");
}

// -- Rows ------------------------------------------------------------------------------------------------------------

fn times() -> impl Strategy<Value = Option<Duration>> {
    proptest::option::of((0..=1_u64 << 53).prop_map(Duration::from_nanos))
}

prop_compose! {
    fn token_events()(
        columns in proptest::collection::vec((0..=1_u64 << 53, 0..1_u32 << 20, any::<usize>(), any::<u16>()), 0..8),
        ones in any::<bool>(), pieces in any::<bool>(), several in any::<bool>(), counted in any::<bool>(),
    ) -> TokenEvents {
        // Texts only grow, and are shorter than half of the memory.
        let mut text_ends: Vec<usize> =
            columns.iter().filter(|_| pieces).map(|c| c.2 / 2).collect();
        text_ends.sort_unstable();
        TokenEvents {
            at_ns: columns.iter().map(|c| c.0 / 2).collect(),
            tokens: columns.iter().map(|c| if ones { 1 } else { c.1 }).collect(),
            text_ends,
            completion: columns.iter().filter(|_| several).map(|c| c.3).collect(),
            counted: columns.iter().filter(|_| counted).map(|c| c.1).collect(),
        }
    }
}

prop_compose! {
    fn any_record()(
        place in (any::<usize>(), any::<usize>(), 0..1_usize << 24, 0..1_usize << 24, any::<usize>()),
        times in (times(), times(), times(), times(), times(), times()),
        outcome in prop_oneof![
            Just(Outcome::Completed),
            Just(Outcome::NotSent),
            Just(Outcome::Cancelled(Phase::FirstToken)),
            (".*", proptest::option::of(".*"), any::<Option<u16>>()).prop_map(|(message, excerpt, status)| {
                let (kind, phase) = (FailureKind::EarlyEnd, Phase::Stream);
                Outcome::Failed(Failure { kind, phase, status, message, excerpt })
            }),
        ],
        events in token_events(),
        again in (1..u32::MAX, times(), any::<usize>(), times()),
        text in ".*",
        other_texts in proptest::collection::vec(".*", 0..3),
        counts in (believed(), believed(), believed(), proptest::option::of(".*")),
        early_stops in any::<Option<u16>>(),
    ) -> RequestRecord {
        let tiers = |storage_backend| {
            let tiers = CacheTiers { device: 1, host: 2, storage: 3, storage_backend };
            Some(tiers)
        };
        RequestRecord {
            index: place.0,
            round: place.1,
            due: times.0.unwrap_or_default(),
            released: times.1.unwrap_or_default(),
            sent: times.2,
            connect: times.3,
            headers: times.4,
            done: times.5,
            endpoint: again.2,
            attempts: again.0,
            first_sent: again.1,
            resent: again.3,
            outcome,
            events,
            text,
            other_texts,
            prompt_len: place.2,
            vision_len: place.3,
            output_len: place.4,
            server_prompt_tokens: counts.0,
            cached: counts.1.map(|total| CachedTokens { total, tiers: counts.3.and_then(|b| tiers(Some(b))).map(Box::new) }),
            output_tokens: counts.2.map(|count| OutputTokens { count, source: TokenSource::Events }),
            impossible: Impossible { output: counts.0, prompt: counts.1, cached: counts.2 }.kept(),
            early_stops,
        }
    }
}

/// A count that one request can have, if any.
fn believed() -> impl Strategy<Value = Option<u64>> {
    proptest::option::of(0..=MAX_TOKENS)
}

proptest! {
    /// Forall records: a row is one line, and reads back the same.
    #[test]
    fn rows_read_back(record in any_record(), asked in proptest::option::of(proptest::collection::vec(".*", 0..3))) {
        let texts = asked.as_ref().map(|texts| texts.iter().map(String::as_str).collect());
        let line = serde_json::to_string(&Row::new(&record, texts)).unwrap();
        prop_assert!(!line.contains('\n'));
        let row: Row<'_> = serde_json::from_str(&line).unwrap();
        prop_assert_eq!(row.record().unwrap(), (record, asked));
    }
}
