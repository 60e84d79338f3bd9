//! Faults of the command line.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use clap::Arg;
use rbench::protocol::backend::{ALL, Backend};
use serde_json::{Map, Value, json};

use crate::support::rbench::{RESULT, Rbench, Run};
use crate::support::server::{Answer, Script};
use crate::support::wire;

/// Keys as they may stand at any place: of mixed characters, and of small letters alone.
const KEYS: [&str; 2] = ["sk-live-0A1b2C3d4E5f", "sk-verysecretkeyofthetest"];

/// What the parser says of `words`, if it refuses them.
fn refusal<T: Into<OsString>>(words: impl IntoIterator<Item = T>) -> Option<String> {
    rbench::cli::parse(words.into_iter().map(Into::into)).err().map(|error| error.to_string())
}

#[test]
fn no_argument_that_may_be_a_key_is_repeated_in_an_error() {
    let command = rbench::cli::command();
    let mut refused = 0;
    for key in KEYS {
        let mut lines: Vec<Vec<String>> = vec![vec![key.to_owned()], vec![format!("KEY={key}")]];
        for sub in command.get_subcommands() {
            let flags: Vec<&str> = sub.get_arguments().filter_map(Arg::get_long).collect();
            let line = |words: &[&str]| {
                ["rbench", sub.get_name()].iter().chain(words).map(|w| (*w).to_owned()).collect()
            };
            let forms =
                ["K", "K==", "{\"a\": \"K", "Authorization: Bearer K==", "K:1", "K,1", "1 K"]
                    .map(|form| form.replace('K', key));
            for form in forms.iter().filter(|_| ["serve", "mock"].contains(&sub.get_name())) {
                lines.push(line(&[form]));
                lines.push(line(&["--no-such-flag", form]));
                lines.push(line(&[&format!("--no-such-flag={form}")]));
                lines.push(line(&[&format!("-k{form}")]));
                lines.push(line(&[&format!("--{form}")]));
            }
            // `offline` has the flags of `serve`.
            let once = key == KEYS[0] && sub.get_name() != "offline";
            for flag in flags.iter().filter(|_| once) {
                lines.push(line(&[&format!("--{flag}"), &forms[2]]));
                lines.push(line(&[&format!("--{flag}={}", forms[4])]));
            }
        }
        for words in lines {
            let words: Vec<String> = if words[0] == "rbench" {
                words
            } else {
                std::iter::once("rbench".to_owned()).chain(words).collect()
            };
            if let Some(said) = refusal(&words) {
                refused += 1;
                assert!(!said.contains(key), "{words:?}: {said}");
            }
        }
    }
    assert!(refused > 300, "{refused}");
    // What the parser takes and a later look refuses.
    for key in &KEYS[..1] {
        for words in [
            &["--header", "Authorization Bearer K=="][..],
            &["--header", "Authorization:", "Bearer", "K=="],
            &["--header", "Authorization=Bearer", "K=="],
            &["--header", "K=="],
            &["--header", "K K=1"],
            &["--header", "a=K\n"],
            &["--api-key", "K"],
            &["--api-key=K"],
            &["--api-key-f", "K"],
            &["--api-key-file", "K"],
            &["--api-key-file", "K/K"],
            &["--base-url", "https://h", "--cert", "c.pem", "--key", "K"],
            &["--base-url", "https://h", "--cert", "K", "--key", "K"],
            &["--base-url", "https://h", "--cacert", "K"],
            &["--base-url", "http://me:K@h:port"],
            &["--base-url", "http://h/?key=K"],
            &["--base-url", "K@h"],
            &["--base-url", "http://h K"],
            &["--port", "1", "--extra-request-body", "{\"key\": \"K\""],
        ] {
            let words = words.iter().map(|word| word.replace('K', key));
            let run = Rbench::new(["serve"]).args(words).file("c.pem", "").run().prints_nothing();
            assert!(matches!(run.code, Some(1 | 2)), "{run:#?}");
            assert!(!run.stderr.contains(key), "{run:#?}");
        }
    }
}

#[test]
fn an_abbreviation_opens_nothing() {
    for (words, says) in [
        (
            "--api-key k",
            &["unexpected argument '--api-key'", "OPENAI_API_KEY", "--api-key-file"][..],
        ),
        ("--api-key-f k", &["unexpected argument '--api-key-f'"]),
        ("--api k", &["--backend"]),
        ("--cacer k", &["unexpected argument '--cacer'"]),
        ("--rec k", &["unexpected argument '--rec'"]),
        ("--fail k", &["unexpected argument '--fail'"]),
        ("--laun k", &["unexpected argument '--laun'"]),
        ("--ins", &["unexpected argument '--ins'"]),
        ("--quie", &["unexpected argument '--quie'"]),
        ("--jso x", &["unexpected argument '--jso'"]),
        ("--work 2", &["unexpected argument '--work'"]),
        ("--stri", &["unexpected argument '--stri'"]),
    ] {
        for command in ["serve", "offline", "one-batch"] {
            let said = refusal(["rbench", command].into_iter().chain(words.split(' ')));
            let said = said.unwrap_or_else(|| panic!("{command} {words}"));
            // What only one of the commands has is offered there alone.
            let says = if command == "serve" { says } else { &says[..1.min(says.len())] };
            let here = words != "--api k" || command == "serve";
            assert!(says.iter().all(|text| !here || said.contains(text)), "{command}: {said}");
        }
    }
}

#[test]
fn tips_name_the_counterpart_or_a_close_spelling_or_nothing() {
    for (words, tip) in [
        ("--endpoint /v1/chat/completions", Some("--backend sets the path of the endpoint")),
        ("--rate 5", Some("--request-rate")),
        ("--ignore-eos", Some("unless --disable-ignore-eos is given: leave it out")),
        ("--input-len 5", Some("--random-input-len")),
        ("--save-result", Some("--output-file: leave it out")),
        ("--num_warmups 2", Some("--warmup-requests")),
        ("--plot-timeline", Some("--plot-throughput")),
        ("--hf-split train", Some("has no counterpart")),
        ("--target http://h", Some("--base-url")),
        ("-n 5", Some("--num-prompts")),
        ("--num-promt 10", Some("'--num-prompts'")),
        ("--mock --num-promt 10", Some("'--num-prompts'")),
        ("--num_prompts 10", Some("'--num-prompts'")),
        ("--unheard-of", None),
        ("--superb", None),
        ("--backend openai-responses", Some("'vllm-responses'")),
        ("--backend sglag", Some("'sglang'")),
        ("--backend something", None),
        ("--dataset-name random-mm", Some("'image'")),
    ] {
        let said = refusal(["rbench", "serve"].into_iter().chain(words.split(' '))).unwrap();
        match tip {
            Some(tip) => assert!(said.contains("tip: ") && said.contains(tip), "{words}: {said}"),
            None => assert!(!said.contains("a similar"), "{words}: {said}"),
        }
        assert!(!said.contains("takes no value"), "{words}: {said}");
    }
    // A counterpart that this command lacks is none.
    let said = refusal(["rbench", "one-batch", "--rate", "5"]).unwrap();
    assert!(said.contains("rbench one-batch has no counterpart"), "{said}");
    // What is hidden is not offered.
    let said = refusal(["rbench", "serv"]).unwrap();
    assert!(said.contains("'serve'") && !said.contains("supervise"), "{said}");
}

/// Texts of numbers at the edges of what a computer knows.
const EXTREMES: &[&str] = &[
    "0",
    "-0",
    "0.0",
    "5e-324",
    "1e-320",
    "1e-308",
    "1e-7",
    "1",
    "4294967295",
    "4294967296",
    "9007199254740993",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "1e308",
    "1.7976931348623157e308",
    "1e309",
    "inf",
    "-1",
    "-inf",
    "nan",
    "0s",
    "1ns",
    "87600h",
    "999999h",
    "9223372036854775807s",
    "100%",
    "5e-324%",
    "ttft:1e308",
    "ttft:5e-324",
    "0x1x1",
    "18446744073709551615,18446744073709551615",
];

/// Flags of which so many make a run that is too large or too long for a test, whatever else becomes of it.
const LARGE: &[&str] = &[
    "duration",
    "num-prompts",
    "random-input-len",
    "random-output-len",
    "rust-worker-threads",
    "warmup-requests",
    "worker-threads",
];

#[test]
fn every_number_that_a_flag_takes_is_refused_or_runs() {
    let mut command = rbench::cli::command();
    let mut taken: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let names: Vec<String> =
        command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    for name in names {
        let sub = command.find_subcommand_mut(&name).unwrap();
        let takes = sub.get_arguments().filter(|arg| arg.get_action().takes_values());
        let flags: Vec<String> = takes.filter_map(Arg::get_long).map(str::to_owned).collect();
        for flag in flags {
            for extreme in EXTREMES {
                let words = [name.clone(), format!("--{flag}={extreme}")];
                let refused = sub.try_get_matches_from_mut(words).is_err();
                if name == "serve" && !refused {
                    taken.entry(flag.clone()).or_default().push(extreme);
                }
            }
        }
    }
    let text = |flag: &str| {
        let path =
            ["file", "path", "url", "cacert", "cert", "key", "launch", "records", "log", "host"];
        path.iter().any(|part| flag.ends_with(part)) || flag == "tokenizer" || flag == "header"
    };
    taken.retain(|flag, _| !LARGE.contains(&flag.as_str()) && !text(flag));
    assert!(taken.len() > 25, "{taken:?}");
    // The smallest and the largest that each takes, all at once, without what does not go together.
    for pick in [0, usize::MAX] {
        let mut line: Vec<(&str, &str)> = taken
            .iter()
            .map(|(flag, extremes)| (flag.as_str(), extremes[pick.min(extremes.len() - 1)]))
            .collect();
        let mut ran = false;
        for _ in 0..line.len() {
            let server = Script::new(wire::good)
                .on("/flush_cache", |_| Answer::body("200 OK", "text/plain", ""))
                .whatever()
                .start();
            let words = line.iter().map(|(flag, extreme)| format!("--{flag}={extreme}"));
            let run = Rbench::plain_load("sglang", &server.url())
                .args(words)
                .args(["--num-prompts", "1", "--flush-cache"])
                .run();
            if run.code != Some(2) {
                ran = true;
                break;
            }
            let before = line.len();
            line.retain(|(flag, _)| {
                let error = run.stderr.lines().next().unwrap_or_default();
                let mut named = error.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
                !named.any(|word| word.strip_prefix("--") == Some(flag))
            });
            assert!(line.len() < before, "{run:#?}");
        }
        assert!(ran && line.len() > 20, "{line:?}");
    }
}

/// A run of one request, whose body is returned.
fn body_of(backend: &str, words: &[&str]) -> Value {
    let server = Script::new(wire::good).start();
    let run = Rbench::plain_load(backend, &server.url())
        .args(["--num-prompts", "1", "--model", "tiny"])
        .args(words)
        .run();
    let requests = server.inference();
    assert!(!requests.is_empty(), "{run:#?}");
    requests[0].json()
}

#[test]
fn a_null_takes_any_default_key_out_of_any_body() {
    const KEPT: &[&str] = &["text", "prompt", "messages", "input", "text_input", "model", "stream"];
    // One of each endpoint: the others have the same bodies.
    let of_endpoint = |(i, one): &(usize, &Backend)| {
        // A form has fields in the place of keys.
        let is_json = one.protocol.content_type() == "application/json";
        one.refused.is_none() && is_json && ALL[..*i].iter().all(|other| other.path != one.path)
    };
    for (_, backend) in ALL.iter().enumerate().filter(of_endpoint) {
        let keys: Vec<String> = match body_of(backend.name, &[]) {
            Value::Object(body) => body.into_iter().map(|(key, _)| key).collect(),
            other => panic!("{other}"),
        };
        let nulls: Map<String, Value> = keys
            .into_iter()
            .filter(|key| !KEPT.contains(&key.as_str()))
            .map(|key| (key, Value::Null))
            .collect();
        let left =
            body_of(backend.name, &["--extra-request-body", &Value::Object(nulls).to_string()]);
        let left: Vec<&String> = left.as_object().unwrap().keys().collect();
        assert!(left.iter().all(|key| KEPT.contains(&key.as_str())), "{}: {left:?}", backend.name);
    }
    for (backend, extra, pointer, want) in [
        (
            "sglang",
            json!({"ignore_eos": null}),
            "/sampling_params",
            json!({"temperature": 0.0, "max_new_tokens": 4}),
        ),
        (
            "sglang",
            json!({"sampling_params": {"ignore_eos": null, "top_k": 5}}),
            "/sampling_params",
            json!({"temperature": 0.0, "max_new_tokens": 4, "top_k": 5}),
        ),
        // Without a null the whole object is replaced, as in the reference.
        (
            "sglang",
            json!({"sampling_params": {"top_k": 5}}),
            "/sampling_params",
            json!({"top_k": 5}),
        ),
        (
            "vllm",
            json!({"stream_options": {"include_usage": null, "x": 1}}),
            "/stream_options",
            json!({"include_usage": null, "x": 1}),
        ),
        ("vllm", json!({"unheard_of": null}), "/unheard_of", Value::Null),
    ] {
        let body = body_of(backend, &["--extra-request-body", &extra.to_string()]);
        let found = body.pointer(pointer).cloned().unwrap_or_default();
        assert_eq!(found, want, "{extra}: {body}");
    }
    let body = body_of("vllm", &["--extra-request-body", r#"{"stream": null}"#]);
    assert!(body.get("stream").is_none() && body.get("stream_options").is_none(), "{body}");
    // What the user asks for stays, where the default is taken out.
    let body =
        body_of("trt", &["--disable-ignore-eos", "--extra-request-body", r#"{"min_length": 2}"#]);
    assert_eq!((&body["min_length"], body.get("end_id")), (&json!(2), None), "{body}");
}

#[test]
fn a_server_that_refuses_a_default_key_can_be_measured() {
    let strict = || {
        Script::new(|request| {
            if request.json().get("ignore_eos").is_none() {
                return wire::good(request);
            }
            let said = json!({"detail": "Unexpected fields in the request: {'ignore_eos'}"});
            let status = if request.nth == 0 { "422 No" } else { "400 No" };
            Answer::body(status, "application/json", &said.to_string())
        })
        .start()
    };
    let hint = r#"hint: if the server does not take `ignore_eos`: --extra-request-body '{"ignore_eos": null}' leaves it out"#;
    for backend in ["vllm", "vllm-chat", "truss"] {
        let run = |words: &[&str]| {
            let words = ["--model", "tiny"].iter().chain(words);
            Rbench::plain_load(backend, &strict().url()).args(words).run()
        };
        if backend == "vllm" {
            let _ = run(&["--warmup-requests", "1"]).exits(1).says(&[hint]);
            let _ = run(&[]).exits(1).says(&["3 of 3 requests failed", hint]);
        }
        let _ = run(&["--disable-ignore-eos"]).exits(0);
        let _ = run(&["--extra-request-body", r#"{"ignore_eos": null}"#]).exits(0);
    }
}

fn load() -> Rbench {
    let server = Script::new(wire::good).start();
    let url = server.url();
    // Serves until the process of the test ends.
    std::mem::forget(server);
    Rbench::plain_load("vllm", &url)
}

/// The lines of [`RESULT`], each of which has to be an object, `cut` apart.
fn lines(run: &Run, cut: Option<&str>) -> usize {
    let text = run.result_text();
    assert!(text.is_empty() || text.ends_with('\n'), "{text}");
    for line in text.lines().filter(|line| Some(*line) != cut) {
        assert!(serde_json::from_str::<Map<String, Value>>(line).is_ok(), "{line}");
    }
    text.lines().count()
}

#[test]
fn a_result_stands_on_a_line_of_its_own_or_not_at_all() {
    // A line that was cut stays alone.
    for (before, cut, want) in
        [("{}\n{\"a\": ", Some("{\"a\": "), 3), ("{}\n", None, 2), ("", None, 1)]
    {
        let run = load().file(RESULT, before).run().exits(0);
        assert_eq!(lines(&run, cut), want, "{before}");
    }
    // What was half written is taken back. The limit stands for a full disk; its signal is ignored.
    for (before, cut, want) in [("{}\n", None, 1), ("{\"a\": ", Some("{\"a\": "), 1)] {
        let server = Script::new(wire::good).start();
        let run = Rbench::in_shell(
            "trap '' XFSZ; ulimit -f 2",
            ["serve", "--backend", "vllm", "--base-url", &server.url(), "--output-details"],
        );
        let run = run
            .args(["--tokenizer", "rbench-bundled", "--dataset-name", "random-ids"])
            .args(["--random-input-len", "8", "--random-output-len", "4", "--num-prompts", "20"])
            .args(["--output-file", RESULT])
            .file(RESULT, before)
            .run()
            .exits(1)
            .says(&["cannot append the result to out.jsonl", "because: File too large"]);
        assert_eq!(run.result_text(), before, "{cut:?} {want}");
        // What was measured is not lost.
        assert!(run.stderr.contains("\"completed\""), "{run:#?}");
    }
}

#[test]
fn a_path_is_the_same_file_however_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("there"), "").unwrap();
    std::fs::hard_link(path("there"), path("hard")).unwrap();
    std::os::unix::fs::symlink("there", path("soft")).unwrap();
    std::os::unix::fs::symlink("absent", path("dangling")).unwrap();
    std::os::unix::fs::symlink(".", path("folder")).unwrap();
    for (one, other) in [
        ("there", "./there"),
        ("there", "hard"),
        ("there", "soft"),
        ("there", "folder/there"),
        ("absent", "./absent"),
        ("absent", "dangling"),
        ("absent", "folder/absent"),
    ] {
        for (flag, apart) in [
            ("--output-file", "--records"),
            ("--records", "--failed-file"),
            ("--output-file", "--dataset-path"),
            ("--failed-file", "--launch-log"),
        ] {
            for (one, other) in [(one, other), (other, one)] {
                let run = load().args([flag, &path(one), apart, &path(other)]);
                let run =
                    if apart == "--launch-log" { run.args(["--launch", "true"]) } else { run };
                let _ = run.run().exits(2).says(&["both name"]);
            }
        }
    }
    let run = Rbench::new(["report", &path("there"), "--output-file", &path("soft")]).run();
    let _ = run.exits(2).says(&["both name"]);
    assert_eq!(std::fs::read_to_string(path("there")).unwrap(), "");
    assert!(!folder.path().join("absent").exists());
}

#[test]
fn a_named_pipe_takes_the_result_if_somebody_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || std::fs::read_to_string(pipe).unwrap()
    });
    let _ = load().arg("--output-file").arg(&pipe).arg("--output-details").run().exits(0);
    let text = reader.join().unwrap();
    assert!(serde_json::from_str::<Map<String, Value>>(&text).is_ok(), "{text}");
    let run = load().arg("--output-file").arg(&pipe).run().exits(1);
    let _ = run.says(&["nobody reads the named pipe", "\"completed\""]);
}

#[test]
fn a_path_that_is_no_text_costs_no_other_part_of_the_result() {
    let server = Script::new(wire::good).start();
    let plain = Rbench::plain_load("vllm", &server.url()).run().exits(0).result();
    let strange = OsStr::from_bytes(b"caf\xe9.jsonl");
    for flag in ["--records", "--failed-file", "--output-file"] {
        let run = Rbench::plain_load("vllm", &server.url()).arg(flag).arg(strange).run().exits(0);
        let path = if flag == "--output-file" {
            OsStr::new("caf\u{fffd}.jsonl")
        } else {
            OsStr::new(RESULT)
        };
        let entries = std::fs::read_dir(run.path(".")).unwrap().map(|entry| entry.unwrap());
        let result = entries
            .filter(|entry| entry.file_name().to_string_lossy() == path.to_string_lossy())
            .map(|entry| std::fs::read_to_string(entry.path()).unwrap())
            .next()
            .unwrap();
        let result: Value = serde_json::from_str(&result).unwrap();
        let keys = |result: &Value| {
            let config = result["rbench"]["config"].as_object().unwrap();
            config.keys().cloned().collect::<Vec<_>>()
        };
        assert_eq!(keys(&result), keys(&plain), "{flag}");
        let key = flag.trim_start_matches('-').replace('-', "_");
        assert_eq!(result["rbench"]["config"][&key], "caf\u{fffd}.jsonl", "{flag}");
    }
}

#[test]
fn blanks_around_a_url_are_none_of_it_and_within_are_refused() {
    let server = Script::new(wire::good).start();
    let url = server.url();
    for typed in [format!(" {url}"), format!("{url} "), format!("\t{url}/ \n")] {
        let run = Rbench::plain_load("vllm", &typed).run().exits(0);
        assert_eq!(run.result()["rbench"]["config"]["base_url"], url.as_str());
    }
    for typed in
        ["http://127.0.0.1:9/a b", "http://127.0.0.1: 9", "http://127.0.0.1:9/\u{a0}x", " "]
    {
        let _ = Rbench::plain_load("vllm", typed).run().exits(2).says(&["--base-url"]);
        let run = Rbench::plain_load("sglang", &url).args([
            "--profile",
            "--pd-separated",
            "--profile-prefill-url",
            typed,
        ]);
        let _ = run.run().exits(2).says(&["--profile-prefill-url"]);
    }
}

#[test]
fn a_folder_that_takes_no_file_is_noticed_before_the_load() {
    // Nobody, not even root, makes a file there.
    let server = Script::new(wire::good).whatever().start();
    for flag in ["--output-file", "--steady-state-output-file", "--records", "--failed-file"] {
        let run = Rbench::plain_load("vllm", &server.url()).args([
            flag,
            "/proc/rbench.jsonl",
            "--steady-state-concurrency-ratio",
            "0.5",
        ]);
        let _ =
            run.run().exits(2).says(&[&format!("{flag} /proc/rbench.jsonl: cannot be created")]);
    }
    let run =
        Rbench::in_shell("cd /proc", ["serve", "--backend", "vllm", "--base-url", &server.url()])
            .args(["--tokenizer", "rbench-bundled", "--dataset-name", "random-ids"])
            .args(["--num-prompts", "3", "--warmup-requests", "0"]);
    let _ = run.run().exits(2).says(&["cannot be created", "--output-file FILE"]);
    assert!(server.requests_to("/v1/completions").is_empty());
}
