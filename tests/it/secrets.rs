//! Keys, passwords and values of headers appear in nothing that a run writes, even if the server says them again.

use serde_json::json;

use crate::support::rbench::{Rbench, Run};
use crate::support::server::{Answer, Refusing, Request, Script};
use crate::support::wire::{DONE, WORDS, Wire, event};

/// The key of a file, and of the environment.
const KEY: &str = "sk-of-the-test-1";
/// The password of the URL; what of it is sent in another form.
const PASSWORD: &str = "p@ss-of-the-test-2";
const PASSWORD_IN_URL: &str = "p%40ss-of-the-test-2";
/// The value of a header.
const VALUE: &str = "value-of-the-test-3";
/// The password of a proxy.
const PROXY: &str = "proxy-of-the-test-4";
/// What all of them have in common.
const MARK: &str = "-of-the-";

/// `me` and the password, and the same for the proxy, as `Basic` has them.
const PAIRS: &[&str] = &["bWU6cEBzcy1vZi10aGUtdGVzdC0y", "bWU6cHJveHktb2YtdGhlLXRlc3QtNA=="];

/// Everything that the client has sent beside the body, said again.
fn echo(request: &Request) -> String {
    let headers: Vec<String> =
        request.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    format!("unwelcome: {}", headers.join(", "))
}

/// Checks that nothing which the run wrote has a secret, `files` apart.
fn check(what: &str, run: &Run, files: &[&str]) {
    let clean = |place: &str, text: &str| {
        let found = [MARK].iter().chain(PAIRS).find(|secret| text.contains(**secret));
        assert!(found.is_none(), "{what}: {place} has {found:?}: {text}");
    };
    clean("stdout", &run.stdout);
    clean("stderr", &run.stderr);
    for file in run.files() {
        let path = run.path(&file);
        if path.is_file() && !files.contains(&&*file) {
            clean(&file, &String::from_utf8_lossy(&std::fs::read(path).unwrap()));
        }
        clean("the name of a file", &file);
    }
}

/// A run with a key in a file, a password in the URL, and a secret header.
fn run(backend: &str, port: u16, words: &[&str]) -> Run {
    Rbench::plain_load(backend, &format!("http://me:{PASSWORD_IN_URL}@127.0.0.1:{port}"))
        .args(["--api-key-file", "key.txt", "--header", &format!("X-Secret={VALUE}")])
        .args(words)
        .file("key.txt", format!("{KEY}\n"))
        .run()
}

#[test]
fn a_server_that_says_again_what_it_was_sent() {
    let wire = Wire::Chat;
    let start = || {
        Script::new(move |request| {
            // Both at once cannot be sent: the key wins over what the URL has.
            assert_eq!(request.header("authorization"), Some(&*format!("Bearer {KEY}")));
            let said = format!("{PASSWORD} {PASSWORD_IN_URL} {}", echo(request));
            let cut = |at: usize| format!("{}{KEY}", "x".repeat(at - 8));
            let with = |text: &str| event(&wire.token(&[text, " two"], 0));
            match request.nth {
                0 => Answer::body("401 Unauthorized", "text/plain", &said),
                1 => Answer::body(
                    "422 Unprocessable",
                    "application/json",
                    &json!({"error": said}).to_string(),
                ),
                2 => Answer::stream([event(&json!({"error": {"message": said}}))]),
                3 => Answer::stream([format!("data: {said}\n\n")]),
                4 => Answer::head(
                    &format!("302 {KEY}"),
                    &[&format!("location: http://{KEY}@h/{KEY}?{KEY}"), "content-length: 0"],
                ),
                5 => Answer::stream([format!("event: error\ndata: {said}\n\n")]),
                6 => Answer::body(
                    "200 OK",
                    "application/json",
                    &wire.whole(&said, Some(4)).to_string(),
                ),
                // Over several events, so that no event has it whole.
                7 => Answer::stream([
                    with("sk-of-the"),
                    with("-test-1"),
                    event(&wire.closing(WORDS)[0]),
                    DONE.to_owned(),
                ]),
                8 => Answer::head(
                    "200 OK",
                    &[&format!("content-encoding: {VALUE}"), "content-length: 0"],
                ),
                // Where texts are cut a part of a key is left.
                9 => Answer::body("500 No", "text/plain", &cut(1024)),
                10 => Answer::stream([format!("data: {}\n\n", cut(120))]),
                11 => Answer::stream([
                    with(&cut(200)),
                    event(&wire.closing(WORDS)[0]),
                    DONE.to_owned(),
                ]),
                12 => Answer::stream([event(&json!({"error": cut(1007)}))]),
                _ => Answer::stream([with(&said), event(&wire.closing(WORDS)[0]), DONE.to_owned()]),
            }
        })
        .on("/v1/models", |request| {
            let key = request.header("authorization").unwrap().to_owned();
            Answer::json(&json!({"data": [{"id": format!("tiny {key}"), "root": key}]}))
        })
        .on("/server_info", |request| Answer::json(&json!({"said": echo(request), KEY: [KEY]})))
        .on("/start_profile", |request| Answer::body("500 No", "text/plain", &echo(request)))
        .on("/stop_profile", |request| Answer::body("500 No", "text/plain", &echo(request)))
        .start()
    };
    let little = ["--num-prompts", "15", "--max-concurrency", "1", "--low-memory"];
    let of_sums = run("sglang-oai-chat", start().port(), &little).exits(0);
    check("a run that keeps nothing", &of_sums, &["key.txt"]);
    assert_eq!(of_sums.result()["completed"], 5, "{:#}", of_sums.result());
    let server = start();
    let run = run(
        "sglang-oai-chat",
        server.port(),
        &[
            "--output-details",
            "--num-prompts",
            "15",
            "--max-concurrency",
            "1",
            "--print-requests",
            "--plot-throughput",
            "--profile",
            "--steady-state-concurrency-ratio",
            "0.5",
            "--steady-state-output-file",
            "steady.jsonl",
            "--tag",
            KEY,
            "--records",
            "records.jsonl",
            "--failed-file",
            "failed.jsonl",
        ],
    )
    .exits(0);
    check("a run", &run, &["key.txt"]);
    let lines = |file: &str| std::fs::read_to_string(run.path(file)).unwrap().lines().count();
    assert_eq!((lines("records.jsonl"), lines("failed.jsonl")), (1 + 15 + 1, 10));
    let result = run.result();
    assert_eq!(result["completed"], 5, "{result:#}");
    assert_eq!(result["generated_texts"][7], "***", "{result:#}");
    let text = result["generated_texts"][13].as_str().unwrap();
    assert!(
        text.starts_with("*** *** unwelcome: ") && text.contains("authorization: Bearer ***"),
        "{text}"
    );
    assert!(
        result["server_info"]["said"].as_str().unwrap().contains("x-secret")
            || !result["server_info"].is_null()
    );
}

#[test]
fn errors_that_end_a_run() {
    let refusal = |request: &Request| Answer::body("403 Forbidden", "text/plain", &echo(request));
    let server = Script::new(refusal).start();
    check(
        "a warm-up",
        &run("vllm", server.port(), &["--warmup-requests", "1"]).exits(1),
        &["key.txt"],
    );
    let server = Script::control_only().on("/v1/models", refusal).start();
    check("a model list", &run("vllm", server.port(), &[]).exits(1), &["key.txt"]);
    let server = Script::new(refusal).whatever().on("/flush_cache", refusal).start();
    check("a flush", &run("sglang", server.port(), &["--flush-cache"]).exits(1), &["key.txt"]);
    let port = Refusing::new().url().rsplit(':').next().unwrap().parse().unwrap();
    let run = run("vllm", port, &["--ready-check-timeout-sec", "0", "--model", "tiny"]).exits(1);
    check("nobody", &run.says(&["3 of 3 requests failed"]), &["key.txt"]);
}

#[test]
fn one_batch_that_fails() {
    let server = Script::new(|request| Answer::body("403 Forbidden", "text/plain", &echo(request)))
        .on("/flush_cache", |_| Answer::json(&json!({})))
        .start();
    let run = Rbench::new(["one-batch", "--base-url", &server.url(), "--api-key-file", "key.txt"])
        .args([
            "--tokenizer",
            "rbench-bundled",
            "--input-len",
            "8",
            "--output-len",
            "2",
            "--skip-warmup",
        ])
        .args(["--dataset-name", "random-ids"])
        .file("key.txt", KEY)
        .run()
        .exits(1)
        .says(&["authorization: Bearer ***"]);
    check("one-batch", &run, &["key.txt"]);
    assert_eq!(server.inference()[0].header("authorization"), Some(&*format!("Bearer {KEY}")));
}

#[test]
fn proxies_with_passwords() {
    // It answers for the server, as a proxy may.
    let proxy = Script::new(|request| {
        Answer::body("407 Proxy Authentication Required", "text/plain", &echo(request))
    })
    .whatever()
    .start();
    let run = |url: &str, port: u16| {
        Rbench::load("vllm", url)
            .env("http_proxy", format!("http://me:{PROXY}@127.0.0.1:{port}"))
            .env("https_proxy", format!("http://me:{PROXY}@127.0.0.1:{port}"))
            .env("OPENAI_API_KEY", KEY)
            .args(["--ready-check-timeout-sec", "0", "--model", "tiny"])
            .run()
            .exits(1)
            .says(&["the load goes through the proxy http://127.0.0.1"])
    };
    check("a proxy", &run("http://engine.example", proxy.port()), &[]);
    check("a way through a proxy", &run("https://engine.example", proxy.port()), &[]);
    assert!(
        proxy.inference().iter().all(|request| request.header("proxy-authorization").is_some())
    );
    let port = Refusing::new().url().rsplit(':').next().unwrap().parse().unwrap();
    check("no proxy", &run("http://engine.example", port), &[]);
}

#[test]
fn command_lines_that_are_not_usable() {
    let good = format!("{KEY}\n");
    let two = format!("{KEY} {KEY}");
    for (words, key) in [
        (&["--api-key-file", "none.txt"][..], &*good),
        (&["--api-key-file", "."], &good),
        (&["--api-key-file", "key.txt"], ""),
        (&["--api-key-file", "key.txt"], "\n"),
        (&["--api-key-file", "key.txt"], &two),
        (&["--api-key-file", "key.txt"], "OPENAI_API_KEY\nsk-of-the-test-1"),
        (&["--api-key-file", "key.txt"], "sk-of-the-test-1\u{e9}"),
        (&["--header", "sk-of-the-test-1"], &good),
        (&["--header", "a b=sk-of-the-test-1"], &good),
        (&["--base-url", "http://h/?key=sk-of-the-test-1"], &good),
        (&["--base-url", "ftp://me:sk-of-the-test-1@h"], &good),
        (&["--base-url", "http://me:sk-of-the-test-1@h:port"], &good),
    ] {
        let run =
            Rbench::new(["serve"]).args(words).file("key.txt", key).run().exits(2).prints_nothing();
        assert!(run.stderr.contains(words[0]), "{run:#?}");
        check("usage", &run, &["key.txt"]);
    }
}

#[test]
fn files_that_everybody_can_read_are_told_of() {
    use std::os::unix::fs::PermissionsExt as _;
    for (mode, told) in [(0o644, true), (0o640, false), (0o600, false)] {
        let server = Script::new(crate::support::wire::good).start();
        let run = Rbench::load("vllm", &server.url())
            .args(["--api-key-file", "key.txt"])
            .file("key.txt", KEY);
        run.set_mode("key.txt", std::fs::Permissions::from_mode(mode));
        let run = run.env("OPENAI_API_KEY", "another").run().exits(0);
        assert_eq!(
            run.stderr.contains("everybody on this machine can read it (mode 644)"),
            told,
            "{mode:o}"
        );
        // The flag wins over the environment.
        let authorization = format!("Bearer {KEY}");
        assert!(
            server
                .inference()
                .iter()
                .all(|request| request.header("authorization") == Some(&*authorization))
        );
    }
}

/// The list of processes shows the words of every command to everybody.
#[test]
#[cfg(target_os = "linux")]
fn no_process_has_a_key_among_its_words() {
    let look = "grep -lFf key.txt /proc/[0-9]*/cmdline > found.txt 2> none.txt; echo said $OPENAI_API_KEY; exit 1";
    let port = Refusing::new().url().rsplit(':').next().unwrap().to_owned();
    let run = Rbench::new([
        "serve",
        "--backend",
        "vllm",
        "--port",
        &port,
        "--host",
        "127.0.0.1",
        "--launch",
        look,
    ])
    .args(["--api-key-file", "key.txt", "--tokenizer", "rbench-bundled"])
    .env("OPENAI_API_KEY", KEY)
    .file("key.txt", KEY)
    .run()
    .exits(1)
    .says(&["said ***"]);
    check("a server that is started", &run, &["key.txt"]);
    assert_eq!(std::fs::read_to_string(run.path("found.txt")).unwrap(), "");
}
