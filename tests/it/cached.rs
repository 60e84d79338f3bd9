//! Prompts for a prefix cache, against a server that has one: what is planned, what is served, salts, real text.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use rbench::model::{Prompt, Row};
use rbench::workload::tokenizer::Tokenizer;
use serde_json::{Value, json};

use crate::datasets::{ask, bundled, bytes_with_bos};
use crate::support::rbench::{Rbench, Run};
use crate::support::server::{Answer, Request, Script, Server};

/// The tokens that two prompts begin with alike.
fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// A server with a prefix cache that has room for everything, and counts what it takes from there.
fn caching(has_cache: bool) -> Server {
    let (tokenizer, known) = (bundled(), Arc::new(Mutex::new(Vec::<Vec<u32>>::new())));
    let forgets = known.clone();
    let answer = move |request: &Request| {
        let body = request.json();
        let ids: Vec<u32> = match &body["input_ids"] {
            Value::Array(ids) => {
                ids.iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect()
            }
            _ => tokenizer.encode(body["text"].as_str().unwrap()),
        };
        let mut known = known.lock().unwrap();
        let cached = known.iter().map(|other| common(other, &ids)).max().unwrap_or(0);
        let cached = if has_cache { cached } else { 0 };
        let most = body["sampling_params"]["max_new_tokens"].as_u64().unwrap();
        let reason = json!({"type": "length", "length": most});
        let events = (1..=most).map(|n| {
            let done = (n == most).then_some(&reason);
            let event = json!({"text": "a".repeat(usize::try_from(n).unwrap()), "meta_info": {
                "completion_tokens": n, "prompt_tokens": ids.len(), "cached_tokens": cached,
                "finish_reason": done}});
            format!("data: {event}\n\n")
        });
        let answer = Answer::stream(events.chain(["data: [DONE]\n\n".to_owned()]));
        known.push(ids);
        answer
    };
    Script::new(answer)
        .on("/flush_cache", move |_| {
            forgets.lock().unwrap().clear();
            Answer::body("200 OK", "text/plain", "done")
        })
        .start()
}

fn serve(server: &Server, dataset: &str, flags: &[&str]) -> Run {
    Rbench::plain_load("sglang", &server.url())
        .args(["--dataset-name", dataset, "--num-prompts", "40", "--max-concurrency", "1"])
        .args([
            "--random-input-len",
            "100",
            "--random-output-len",
            "2",
            "--random-range-ratio",
            "1",
        ])
        .args(flags)
        .run()
        .exits(0)
}

fn rates(run: &Run) -> (f64, f64) {
    let cache = run.result()["rbench"]["prefix_cache"].clone();
    (cache["planned_rate"].as_f64().unwrap(), cache["served_rate"].as_f64().unwrap())
}

const WARM: &str = "the cache is warm from runs before";

#[test]
fn a_share_of_the_prompts_is_served_from_the_cache() {
    for dataset in ["random-ids", "corpus"] {
        for (share, popularity, ids) in [
            ("0.5", "uniform", false),
            ("0.9", "zipf(alpha=1.1)", false),
            ("0.25", "uniform", true),
        ] {
            let server = caching(true);
            let mut flags = vec![
                "--cache-hit-rate",
                share,
                "--cache-prefixes",
                "4",
                "--cache-popularity",
                popularity,
            ];
            flags.extend(ids.then_some("--tokenize-prompt"));
            let run = serve(&server, dataset, &flags);
            let (planned, served) = rates(&run);
            let wanted: f64 = share.parse().unwrap();
            assert!((planned - wanted).abs() < 0.01, "{dataset} {share}: {planned}");
            assert!((served - wanted).abs() < 0.01, "{dataset} {share}: {served}");
            assert_eq!(run.result()["total_input_tokens"], 4000, "{dataset} {share}");
            assert!(run.stderr.contains("prefixes were sent for the cache"), "{}", run.stderr);
            assert!(run.stdout.contains("Prefix cache, planned / served (%):"), "{}", run.stdout);
            assert!(!run.stdout.contains(WARM), "{}", run.stdout);
            // Four prefixes and forty prompts, each of the length that was asked for.
            let requests = server.inference();
            assert!((41..=44).contains(&requests.len()), "{}", requests.len());
        }
    }
}

#[test]
fn a_cache_that_is_off_is_pointed_out() {
    let run = serve(&caching(false), "random-ids", &["--cache-hit-rate", "0.5"]);
    let (planned, served) = rates(&run);
    assert!((planned - 0.5).abs() < 0.01 && served == 0.0, "{planned} {served}");
    let note = "0.0 % of the prompt tokens came from the server's prefix cache, and the prompts were made for 50.0 %";
    assert!(run.stdout.contains(note), "{}", run.stdout);
}

#[test]
fn a_salt_makes_prompts_that_no_run_before_had() {
    for dataset in ["random-ids", "random", "corpus"] {
        let path =
            if dataset == "random-ids" { vec![] } else { vec!["--dataset-path", "rbench-bundled"] };
        let server = caching(true);
        let with = |flags: &[&str]| serve(&server, dataset, &[&path[..], flags].concat());
        let first = with(&[]);
        assert!(!first.stdout.contains(WARM), "{dataset}: {}", first.stdout);
        let again = with(&[]);
        assert!(rates(&again).1 > 0.9, "{dataset}: {:?}", rates(&again));
        assert!(again.stdout.contains(WARM), "{dataset}: {}", again.stdout);
        for _ in 0..2 {
            let salted = with(&["--salt"]);
            let (planned, served) = rates(&salted);
            assert!(planned == 0.0 && served < 0.03, "{dataset}: {served}");
            assert!(!salted.stdout.contains(WARM), "{dataset}: {}", salted.stdout);
            assert_eq!(salted.result()["total_input_tokens"], 4000, "{dataset}");
        }
    }
}

#[test]
fn groups_keep_their_own_prefixes_under_a_salt() {
    let server = caching(true);
    let groups = [
        "--gsp-num-groups",
        "4",
        "--gsp-prompts-per-group",
        "10",
        "--gsp-system-prompt-len",
        "90",
        "--gsp-question-len",
        "10",
        "--gsp-output-len",
        "2",
    ];
    let with = |flags: &[&str]| {
        Rbench::plain_load("sglang", &server.url())
            .args([
                "--dataset-name",
                "generated-shared-prefix",
                "--num-prompts",
                "40",
                "--max-concurrency",
                "1",
            ])
            .args(groups)
            .args(flags)
            .run()
            .exits(0)
    };
    drop(with(&[]));
    let again = with(&[]);
    assert!(again.stdout.contains(WARM), "{}", again.stdout);
    let salted = with(&["--salt"]);
    let (planned, served) = rates(&salted);
    // All but the first of each group have their system prompt cached.
    assert!((planned - 0.8).abs() < 0.05, "{planned}");
    assert!((served - planned).abs() < 0.05, "{planned} {served}");
    assert!(!salted.stdout.contains(WARM), "{}", salted.stdout);
}

#[test]
fn a_salt_that_is_given_makes_the_same_prompts_again() {
    let texts = |flags: &[&str]| -> Vec<String> {
        let server = caching(true);
        drop(serve(&server, "random-ids", flags));
        server.inference().iter().map(|r| r.json()["text"].as_str().unwrap().to_owned()).collect()
    };
    let one = texts(&["--salt", "a"]);
    assert_eq!(one, texts(&["--salt", "a"]));
    assert_ne!(one, texts(&["--salt", "b"]));
    assert_ne!(one, texts(&[]));
    let refused =
        Rbench::new(["serve", "--mock", "--dataset-name", "sharegpt", "--salt"]).run().exits(2);
    assert!(
        refused.stderr.contains("--salt does not apply to --dataset-name sharegpt"),
        "{}",
        refused.stderr
    );
}

fn text(row: &Row) -> &str {
    let Prompt::Text(text) = &row.prompt else { panic!("no text") };
    text
}

/// A text of many different words.
fn book() -> String {
    let line =
        |i: usize| format!("The {i}th of {} words stands on its own line.\n", i * 7919 % 4001);
    (0..4000).map(line).collect::<Vec<_>>().concat()
}

#[test]
fn passages_of_a_text_have_exact_lengths_and_places_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("book.txt");
    std::fs::write(&path, book()).unwrap();
    let special = |tokenizer: &Tokenizer| tokenizer.special_tokens_added();
    for tokenizer in [bundled(), bytes_with_bos()] {
        let flags = ["--input-len-dist", "uniform(min=40,max=300)", "--output-len-dist", "4"];
        let rows =
            crate::datasets::Ask { path: &path, ..ask("corpus", &flags) }.load(&tokenizer).unwrap();
        let texts: Vec<&str> = rows.rows.iter().map(text).collect();
        for (row, text) in rows.rows.iter().zip(&texts) {
            let len = row.prompt_len;
            assert!((40 - special(&tokenizer)..=300).contains(&len), "{len}");
            assert_eq!(tokenizer.count(text), len, "{text}");
            // Real text, a run of the file.
            let inside: String = text.chars().take(text.chars().count() * 9 / 10).collect();
            assert!(book().contains(inside.trim()), "{text:?}");
        }
        let different: HashSet<&str> = texts.iter().copied().collect();
        assert_eq!(different.len(), texts.len());
        assert_eq!(rows.notes, [""; 0]);
    }
}

#[test]
fn files_that_are_no_text_are_named() {
    let run = |content: &[u8]| {
        Rbench::new(["serve", "--mock", "--dataset-name", "corpus", "--dataset-path", "book.txt"])
            .args(["--num-prompts", "2"])
            .file("book.txt", content)
            .run()
            .exits(1)
            .stderr
    };
    for (content, said) in [
        (&b"\x1f\x8b\x08\x00rest"[..], "is a gzip file: unpack it"),
        (&b"caf\xe9 au lait"[..], "is no UTF-8 text"),
        (&b" \n "[..], "holds no text"),
    ] {
        let stderr = run(content);
        assert!(stderr.contains(said) && stderr.contains("book.txt"), "{stderr}");
    }
}
