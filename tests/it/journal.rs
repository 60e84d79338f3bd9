//! Records on disk: `--records`, `--failed-file`, and `rbench report`.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::rbench::{Process, RESULT, Rbench, Run};
use crate::support::server::{Answer, Request, Script, Server};
use crate::support::wire::{self, DONE, WORDS, Wire, event};

const RECORDS: &str = "records.jsonl";

/// How long to wait for a row; far above what a loaded machine needs.
const PATIENCE: Duration = Duration::from_secs(20);

fn lines(path: &Path) -> Vec<Value> {
    let text =
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// `rbench report` on the records of `run`.
fn report(run: &Run, flags: &[&str]) -> Run {
    Rbench::new(["report"]).arg(run.path(RECORDS)).args(flags).run()
}

/// How a server answers.
type Answers = fn(&Request) -> Answer;

/// Every third request is refused.
fn good_and_bad(request: &Request) -> Answer {
    if request.nth % 3 == 1 {
        Answer::body("503 Busy", "text/plain", "zu voll 😀")
    } else {
        wire::good(request)
    }
}

// -- Runs that end ---------------------------------------------------------------------------------------------------

/// Two conversations, of three rounds and of one.
fn conversations() -> String {
    let round = |text: &str| json!({"messages": [{"role": "user", "content": text}]});
    json!({"conversations": [[round("one"), round("two and two"), round("three")], [round("alone")]]})
        .to_string()
}

/// Answers without a count of anything, so that everything is counted by this program.
fn uncounted(request: &Request) -> Answer {
    if request.nth == 1 {
        return Answer::body("500 Oops", "text/plain", "");
    }
    let wire = Wire::of(&request.path);
    let mut events: Vec<String> = (0..WORDS.len()).map(|n| event(&wire.token(WORDS, n))).collect();
    events.push(event(&wire.closing(WORDS)[0]));
    events.push(DONE.to_owned());
    Answer::stream(&events)
}

#[test]
fn a_report_of_records_is_what_the_run_printed() {
    let accepts = json!({"internal_states": [{"avg_spec_accept_length": 2.7}], "odd": 0.1});
    let answers: &[(&str, Answers, &[&str])] = &[
        ("vllm", wire::good, &[]),
        ("vllm", good_and_bad, &["--request-rate", "300", "--num-prompts", "7", "--tag", "é"]),
        ("sglang", good_and_bad, &["--goodput", "ttft:0.7", "e2el:9000", "--cache-report"]),
        ("sglang-oai", wire::good, &["--steady-state-concurrency-ratio", "0.5"]),
        ("sglang-oai-chat", wire::good, &["--table", "sglang@0.4.6", "--jsonl", "sglang@0.5.1"]),
        ("vllm", wire::good, &["--quiet-extras", "--worker-threads", "2", "--disable-stream"]),
        ("sglang-embedding", wire::good, &["--random-output-len", "0"]),
        (
            "vllm-chat",
            uncounted,
            &[
                "--dataset-name",
                "agentic-trace",
                "--dataset-path",
                "agents.json",
                "--num-prompts",
                "2",
            ],
        ),
        (
            "vllm-chat",
            wire::good,
            &["--dataset-name", "image", "--image-resolution", "28x28", "--image-count", "1"],
        ),
    ];
    for (backend, answer, flags) in answers {
        let info = accepts.clone();
        let server = Script::new(*answer).on("/server_info", move |_| Answer::json(&info)).start();
        let run = Rbench::load(backend, &server.url())
            .file("agents.json", conversations())
            .args(["--records", RECORDS])
            .args(*flags)
            .run()
            .exits(0);
        let again = run.path("again.jsonl");
        let told = report(&run, &["--output-file", again.to_str().unwrap()]).exits(0);
        assert_eq!(told.stdout, run.stdout, "{backend} {flags:?}");
        let line = std::fs::read_to_string(&again).unwrap();
        assert_eq!(line, run.result_text(), "{backend} {flags:?}");
        // And once more, as far as the flags of the report itself go.
        let plain = report(&run, &["--table", "sglang@0.2.15", "--quiet-extras"]).exits(0);
        assert!(!plain.stdout.contains("= Measurement ="), "{plain:?}");
        assert!(plain.files().is_empty(), "a report writes what it is asked for: {plain:?}");
    }
}

#[test]
fn a_report_of_a_run_that_was_interrupted_or_sent_again_or_spread() {
    let process = Process::default();
    let seen = process.clone();
    let interrupted = Script::new(move |request| {
        if request.nth < 2 {
            return wire::good(request);
        }
        seen.signal(Signal::INT);
        Answer::events().chunk(event(&Wire::Completions.token(WORDS, 0))).hang()
    })
    .start();
    let busy = Script::new(|request| {
        if request.nth < 2 {
            return Answer::head("503 Busy", &["retry-after: 0", "content-length: 0"]);
        }
        wire::good(request)
    })
    .start();
    let other = Script::new(good_and_bad).start();
    let url = other.url();
    for (server, process, flags, code) in [
        (
            &interrupted,
            process,
            ["--max-concurrency", "1", "--num-prompts", "5", "--grace", "0"],
            130,
        ),
        (
            &busy,
            Process::default(),
            ["--max-concurrency", "1", "--num-prompts", "3", "--retries", "3"],
            0,
        ),
        (&other, Process::default(), ["--base-url", &url, "--num-prompts", "6", "--tag", "x"], 0),
    ] {
        let run = Rbench::load("vllm", &server.url())
            .args(flags)
            .args(["--records", RECORDS, "--failed-file", "failed.jsonl"])
            .known_as(&process)
            .run()
            .exits(code);
        let (again, failed) = (run.path("again.jsonl"), run.path("failed-again.jsonl"));
        let told = Rbench::new(["report"])
            .args([&run.path(RECORDS), Path::new("--output-file"), &again])
            .args([Path::new("--failed-file"), &failed])
            .run()
            .exits(0);
        assert_eq!(told.stdout, run.stdout);
        assert_eq!(std::fs::read_to_string(&again).unwrap(), run.result_text());
        // A run writes them as they fail.
        let by_index = |path: &Path| {
            let mut all = lines(path);
            all.sort_by_key(|line| line["index"].as_u64());
            all
        };
        assert_eq!(by_index(&failed), by_index(&run.path("failed.jsonl")));
        let ledger = &run.result()["rbench"]["ledger"];
        let lost = [&ledger["failed"], &ledger["cancelled"]].map(|n| n.as_u64().unwrap());
        assert_eq!(lines(&failed).len() as u64, lost.iter().sum::<u64>());
    }
}

#[test]
fn throughput_alone_has_records_as_well() {
    let server = Script::new(good_and_bad).start();
    let run = Rbench::new(["offline", "--backend", "vllm", "--base-url", &server.url()])
        .args(["--tokenizer", "rbench-bundled", "--dataset-name", "random-ids"])
        .args(["--random-input-len", "8", "--random-output-len", "4", "--num-prompts", "6"])
        .args(["--allow-failed", "100%"])
        .args(["--skip-warmup", "--output-file", RESULT, "--records", RECORDS])
        .run()
        .exits(0);
    let again = run.path("again.jsonl");
    let told = report(&run, &["--output-file", again.to_str().unwrap()]).exits(0);
    assert_eq!(told.stdout, run.stdout);
    assert_eq!(std::fs::read_to_string(&again).unwrap(), run.result_text());
}

#[test]
fn what_the_run_did_not_ask_for_can_be_asked_of_its_records() {
    let server = Script::new(wire::good).start();
    let run = Rbench::load("vllm", &server.url()).args(["--records", RECORDS]).run().exits(0);
    let again = run.path("again.jsonl");
    let told = report(&run, &["--goodput", "ttft:90000", "--output-file", again.to_str().unwrap()])
        .exits(0);
    assert_eq!(told.row("SLOs (ms):"), Some("ttft:90000"));
    let line = &lines(&again)[0];
    assert_eq!(line["slo_attainment"], 1.0);
    assert_eq!(line["rbench"]["config"]["goodput"], json!(["ttft:90000"]));
    let steady = report(&run, &["--steady-state-concurrency-ratio", "0.5", "--plot-throughput"]);
    let steady = steady.exits(0).says(&["Requests in flight, in slices of"]);
    assert_eq!(steady.row("Concurrency ratio:"), Some("0.50"));
    let _ = report(&run, &["--goodput", "nope:1"]).exits(2).says(&["--goodput"]);
    let _ = report(&run, &["--output-details"]).exits(2).says(&["--output-file"]);
    let _ = report(&run, &["--tokenizer", "absent"]).exits(1).says(&["absent", "--tokenizer PATH"]);
    let shown = run.path(RECORDS).display().to_string();
    let same = report(&run, &["--output-file", &shown]);
    let _ = same.exits(2).says(&["RECORDS and --output-file both name", RECORDS]);
}

#[test]
fn runs_are_added_to_a_file_of_records() {
    let server = Script::new(wire::good).start();
    let run = Rbench::load("vllm", &server.url())
        .args(["--multi", "--request-rate-range", "300,400", "--records", RECORDS])
        .run()
        .exits(0);
    let told = report(&run, &[]).exits(0).says(&["run 1 of 2", "run 2 of 2"]);
    assert_eq!(told.stdout, run.stdout);
    let records = lines(&run.path(RECORDS));
    let starts = records.iter().filter(|line| line["rbench_records"] == 1);
    assert_eq!(starts.count(), 2);
}

#[test]
fn a_file_of_something_else_is_not_written_to() {
    let server = Script::untouched().start();
    for (flags, says) in [
        (&["--records", "q.txt"][..], &["--records q.txt: the file holds something else"][..]),
        (&["--records", RESULT], &["--output-file and --records both name", RESULT]),
        (&["--failed-file", "x", "--records", "x"], &["--records and --failed-file both name x"]),
        (&["--records", "absent/r"], &["--records absent/r: its folder does not exist"]),
        (&["--failed-file", "absent/r"], &["--failed-file absent/r: its folder does not exist"]),
    ] {
        let run = Rbench::load("vllm", &server.url()).file("q.txt", "mine").args(flags).run();
        let run = run.exits(2).prints_nothing().says(says);
        assert_eq!(run.files(), ["q.txt"]);
        assert_eq!(std::fs::read_to_string(run.path("q.txt")).unwrap(), "mine");
    }
    let run = Rbench::new(["report", "q.txt"]).file("q.txt", "{}\n").run();
    let _ = run.exits(1).prints_nothing().says(&["q.txt line 1", "--records"]);
    let _ = Rbench::new(["report", "absent"]).run().exits(1).says(&["cannot read absent"]);
}

// -- Failures --------------------------------------------------------------------------------------------------------

#[test]
fn failed_requests_have_a_file() {
    let server = Script::new(good_and_bad).start();
    let run = Rbench::load("vllm", &server.url())
        .args(["--num-prompts", "6", "--max-concurrency", "1"])
        .args(["--records", RECORDS, "--failed-file", "failed.jsonl"])
        .run()
        .exits(0);
    let failed = lines(&run.path("failed.jsonl"));
    assert_eq!(failed.iter().map(|line| &line["index"]).collect::<Vec<_>>(), [1, 4]);
    let first = &failed[0];
    for (key, value) in [
        ("run", run.result()["rbench"]["date"].clone()),
        ("round", 0.into()),
        ("attempts", 1.into()),
        ("outcome", "failed".into()),
        ("kind", "http_status".into()),
        ("phase", "headers".into()),
        ("status", 503.into()),
        ("message", "HTTP status 503 Busy".into()),
        ("excerpt", "zu voll 😀".into()),
        ("due_s", 0.0.into()),
        ("sent_s", run.result()["rbench"]["sent_s"][1].clone()),
        ("first_token_s", Value::Null),
        ("done_s", run.result()["rbench"]["done_s"][1].clone()),
        ("events", 0.into()),
    ] {
        assert_eq!(first[key], value, "{key}");
    }
    // The report can write it too.
    let again = run.path("again.jsonl");
    let _ = report(&run, &["--failed-file", again.to_str().unwrap()])
        .exits(0)
        .says(&["2 failed requests appended to"]);
    assert_eq!(lines(&again), failed);
}

// -- Runs that die ---------------------------------------------------------------------------------------------------

/// A server that answers the first `n` requests and lets the others wait for ever; tells of each that waits.
fn answers(n: usize) -> (Server, mpsc::Receiver<()>) {
    let (tell, waits) = mpsc::channel();
    let server = Script::new(move |request| {
        if request.nth < n {
            return good_and_bad(request);
        }
        // The test may be over.
        let _ = tell.send(());
        let first = event(&Wire::Completions.token(WORDS, 0));
        Answer::events().chunk(first).hang()
    });
    (server.start(), waits)
}

/// Waits until the file at `path` has `n` rows after its first line.
fn await_rows(path: &Path, n: usize) {
    let begun = Instant::now();
    while std::fs::read_to_string(path).unwrap_or_default().matches('\n').count() <= n {
        assert!(begun.elapsed() < PATIENCE, "the run goes on without {n} rows");
        std::thread::yield_now();
    }
}

/// The index of each row of a file of records.
fn indices(path: &Path) -> Vec<u64> {
    let mut rows: Vec<u64> = lines(path).iter().filter_map(|line| line["index"].as_u64()).collect();
    rows.sort_unstable();
    rows
}

#[test]
fn nothing_that_ended_is_lost_with_a_program_that_is_killed() {
    const ENDED: usize = 40;
    const AT_ONCE: usize = 4;
    let (server, waits) = answers(ENDED);
    let run = Rbench::load("vllm", &server.url())
        .args(["--num-prompts", "100", "--max-concurrency", "4"])
        .args(["--records", RECORDS, "--failed-file", "failed.jsonl"])
        .killed(|folder| {
            // A place is free only when the client has seen an end: all 40 have ended for it then.
            for _ in 0..AT_ONCE {
                waits.recv_timeout(PATIENCE).expect("the load stands still");
            }
            await_rows(&folder.join(RECORDS), ENDED);
        });
    assert_eq!(run.code, None, "{run:?}");
    let ended = indices(&run.path(RECORDS));
    assert_eq!(ended.len(), ENDED);
    let (result, failed) = (run.path("result.jsonl"), run.path("again.jsonl"));
    let flags = ["--output-file", result.to_str().unwrap(), "--failed-file"];
    let told = report(&run, &[&flags[..], &[failed.to_str().unwrap()]].concat()).exits(0);
    let told = told.says(&["the run did not end; 40 of 100 requests have a record"]);
    assert_eq!(told.row("Successful requests:"), Some("27"));
    assert_eq!(told.row("Requests planned:"), Some("100 (40 sent, 0 not sent, 60 unknown)"));
    assert_eq!(told.row("Requests sent:"), Some("40 (27 ok, 13 failed, 0 cancelled)"));
    assert!(told.stdout.starts_with("PARTIAL RESULT: the run did not end"), "{told:?}");
    let line = &lines(&result)[0];
    assert_eq!(line["partial"], true);
    let own = &line["rbench"];
    assert_eq!(own["partial_reason"], "the run did not end; 40 of 100 requests have a record");
    assert_eq!(own["ledger"]["unfinished"], 60);
    assert_eq!(own["index"], json!(ended));
    assert_eq!(line["total_output_tokens"], 27 * WORDS.len());
    assert_eq!(lines(&failed).len(), 13);
    assert_eq!(lines(&run.path("failed.jsonl")).len(), 13);
}

#[test]
fn a_result_with_details_has_records_beside_it_until_it_is_there() {
    let (server, waits) = answers(2);
    let killed =
        Rbench::load("vllm", &server.url()).args(["--max-concurrency", "1"]).killed(|folder| {
            waits.recv_timeout(PATIENCE).expect("the load stands still");
            await_rows(&folder.join("out.jsonl.records"), 2);
        });
    assert_eq!(killed.files(), ["out.jsonl.records"]);
    let left = std::fs::read(killed.path("out.jsonl.records")).unwrap();
    let again = Script::new(wire::good).start();
    let run = Rbench::load("vllm", &again.url())
        .file("out.jsonl.records", &left)
        .run()
        .exits(0)
        .says(&["out.jsonl.records was left by a run that did not end", "rbench report"]);
    let mut files = run.files();
    files.sort();
    assert_eq!(files, [RESULT, "out.jsonl.records"]);
    assert_eq!(std::fs::read(run.path("out.jsonl.records")).unwrap(), left, "it is kept");
    let told = Rbench::new(["report"]).arg(run.path("out.jsonl.records")).run().exits(0);
    assert_eq!(told.row("Successful requests:"), Some("1"));
}

// -- Files that cannot be written -----------------------------------------------------------------------------------

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_told_once_and_nothing_is_lost() {
    let server = Script::new(wire::good).start();
    let run = Rbench::load("vllm", &server.url())
        .args(["--num-prompts", "20", "--records", "/dev/full"])
        .run()
        .exits(1)
        .prints_a_table()
        .says(&[
            "warning: cannot write to /dev/full: No space left on device",
            "the run goes on",
            "error: cannot write to /dev/full",
        ]);
    assert_eq!(run.stderr.matches("warning:").count(), 1, "{run:?}");
    assert_eq!(run.result()["completed"], 20, "the result is complete");

    let run = Rbench::load("vllm", &server.url()).args(["--output-file", "/dev/full"]).run();
    let run = run.exits(1).prints_a_table().says(&["cannot append the result to /dev/full"]);
    let line = run.stderr.lines().find(|line| line.starts_with('{')).unwrap();
    assert_eq!(serde_json::from_str::<Value>(line).unwrap()["completed"], 3);
}

#[test]
fn a_folder_that_is_removed_while_the_run_goes_on() {
    for records in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let gone = path.clone();
        let server = Script::new(move |request| {
            if request.nth == 1 {
                std::fs::remove_dir_all(&gone).unwrap();
            }
            wire::good(request)
        })
        .start();
        let result = path.join("out.jsonl");
        let mut run = Rbench::load("vllm", &server.url()).args(["--max-concurrency", "1"]);
        run = if records {
            run.arg("--records").arg(path.join("r.jsonl"))
        } else {
            run.arg("--output-file").arg(&result)
        };
        let run = run.run().exits(1).prints_a_table();
        assert_eq!(run.row("Successful requests:"), Some("3"));
        let run = run.says(&["it was removed; the run goes on"]);
        if records {
            assert_eq!(run.result()["completed"], 3);
        } else {
            let line = run.stderr.lines().find(|line| line.starts_with('{')).unwrap();
            assert_eq!(serde_json::from_str::<Value>(line).unwrap()["completed"], 3);
            let _ = run.says(&["cannot append the result to"]);
        }
    }
}

// -- Secrets ---------------------------------------------------------------------------------------------------------

#[test]
fn no_secret_reaches_a_file() {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = seen.clone();
    let server = Script::new(move |request| {
        count.fetch_add(
            usize::from(request.header("x-token") == Some("secret-header")),
            Ordering::Relaxed,
        );
        good_and_bad(request)
    })
    .start();
    let url = server.url().replace("http://", "http://secret-user:secret-password@");
    let run = Rbench::load("vllm", &url)
        .args(["--header", "X-Token=secret-header"])
        .env("OPENAI_API_KEY", "secret-key")
        .args(["--records", RECORDS, "--failed-file", "failed.jsonl"])
        .run()
        .exits(0);
    assert_eq!(seen.load(Ordering::Relaxed), 3, "the secret was used");
    let told = report(&run, &[]).exits(0);
    let mut texts = vec![run.stdout.clone(), run.stderr.clone(), told.stdout, told.stderr];
    for file in [RESULT, RECORDS, "failed.jsonl"] {
        texts.push(std::fs::read_to_string(run.path(file)).unwrap());
    }
    for text in texts {
        assert!(!text.contains("secret"), "{text}");
    }
}
