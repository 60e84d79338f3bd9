//! A walk over every flag: each is taken, and changes what is sent, printed or written.
//!
//! A line of [`table::WALK`] is one flag. It is run twice, without the flag and with it, and the two runs are compared.
//! The bodies of the run without are those of [`table::BASES`]; a flag of the body changes what the line says and nothing else.

mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Arg;
use serde_json::{Value, json};

use self::table::Shows::{
    self, AtLeast, Body, Call, Each, Field, File, Header, Image, Key, Profile,
};
use self::table::Shows::{Refused, Requests, Row, Says};
use self::table::{
    BASES, EXEMPT, LOAD, Line, MADE, OLDER, OUTPUT, PROFILER, REFERENCE, SLOW, TARGET, TEXTS, WALK,
};
use crate::support::rbench::{RESULT, Rbench};
use crate::support::server::{Answer, MODEL, Request, Script};
use crate::support::wire::{WORDS, Wire};

// -- The runs --------------------------------------------------------------------------------------------------------

/// What a run did.
#[derive(Debug)]
struct Seen {
    bodies: Vec<Value>,
    requests: Vec<Request>,
    calls: Vec<String>,
    profile: Value,
    stdout: String,
    stderr: String,
    code: Option<i32>,
    result: Value,
    files: BTreeSet<String>,
    port: String,
}

/// A tokenizer that takes no time to read, with one token per word.
fn words() -> String {
    let words: serde_json::Map<String, Value> = (0..300)
        .map(|i: u32| (format!("word{i}"), i.into()))
        .chain([("<unk>".into(), 300.into())])
        .collect();
    let model = json!({"type": "WordLevel", "vocab": words, "unk_token": "<unk>"});
    let splits = json!({"type": "WhitespaceSplit"});
    json!({"version": "1.0", "added_tokens": [], "pre_tokenizer": splits, "model": model})
        .to_string()
}

fn generate(request: &Request) -> Answer {
    let wire = Wire::of(request.path.trim_start_matches("/proxy"));
    if request.json()["stream"] == true {
        Answer::stream(wire.events(WORDS))
    } else {
        Answer::json(&wire.whole(&WORDS.concat(), Some(WORDS.len() as u64)))
    }
}

/// A word with the server's URL for `@` at its beginning, and its port for `%`.
fn aimed(word: &str, url: &str, port: u16) -> String {
    match word.strip_prefix('@') {
        Some(path) => format!("{url}{path}"),
        None => word.replace('%', &port.to_string()),
    }
}

/// Runs the words against a server of its own, with files of every kind in the folder.
fn run(line: &str, slow: bool) -> Seen {
    let done = |_: &Request| Answer::body("200 OK", "text/plain", "");
    let models = json!({"object": "list", "data": [{"id": MODEL, "object": "model"}]});
    let list = move |request: &Request| {
        if slow && request.nth == 0 {
            Answer::body("503 Service Unavailable", "text/plain", "loading")
        } else {
            Answer::json(&models)
        }
    };
    let mut script =
        Script::new(generate).on("/v1/models", list.clone()).on("/proxy/v1/models", list);
    for path in ["/proxy/model_info", "/proxy/server_info"] {
        script = script.on(path, |_| Answer::not_found());
    }
    for path in [
        "/flush_cache",
        "/start_profile",
        "/stop_profile",
        "/prefill/start_profile",
        "/prefill/stop_profile",
        "/decode/start_profile",
        "/decode/stop_profile",
        "/decode2/start_profile",
        "/decode2/stop_profile",
    ] {
        script = script.on(path, done);
    }
    let server = script.whatever().start();
    let conversation = |question: &str, answer: &str| json!({"conversations": [{"value": question}, {"value": answer}]});
    let (first, second) = ("What is new?", "Who was it?");
    let trace = |times: [u64; 2], output: u64| {
        times
            .map(|time| {
                format!("{}\n", json!({"timestamp": time, "hash_ids": [], "output_length": output}))
            })
            .concat()
    };
    let long = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen";
    let round = |text: &str| json!({"messages": [{"role": "user", "content": text}]});
    let run = Rbench::new(["serve", "--output-file", RESULT, "--warmup-requests", "0"])
        .args(["--tokenizer", "words"])
        .args(line.split_whitespace().map(|word| aimed(word, &server.url(), server.port())))
        .file("q.json", json!([conversation(first, "one two three four five")]).to_string())
        .file("r.json", json!([conversation(second, "one two three four five")]).to_string())
        .file("two.json", json!([conversation(first, "one two"), conversation(first, long)]).to_string())
        .file("agents.json", json!({"conversations": [[round("first"), round("then")], [round("second")]]}).to_string())
        .file(
            "entropy.jsonl",
            "{\"category\": \"high_entropy\", \"turns\": [\"High.\"]}\n{\"category\": \"low_entropy\", \"turns\": [\"Low.\"]}\n",
        )
        .file("bad.jsonl", format!("{}\n{{\n", conversation(first, "one two three")))
        .file("trace.jsonl", trace([0, 50], 4))
        .file(".cache/rbench/mooncake/conversation_trace.jsonl", trace([0, 1], 6))
        .file(".cache/rbench/mooncake/toolagent_trace.jsonl", trace([0, 1], 7))
        .file("words/tokenizer.json", words())
        .file("words/tokenizer_config.json", r#"{"chat_template": "[{{ messages[0]['content'] }}]"}"#)
        .file("folder/tokenizer.json", words())
        .run();
    let result = std::fs::read_to_string(run.path(RESULT)).unwrap_or_default();
    let requests = server.inference();
    let mut profile =
        server.requests_to("/start_profile").first().map_or(Value::Null, Request::json);
    if let Some(folder) = profile["output_dir"].as_str().map(PathBuf::from) {
        // The last part is the time.
        profile["output_dir"] = folder.parent().unwrap().to_str().unwrap().into();
    }
    Seen {
        bodies: requests.iter().map(Request::json).collect(),
        requests,
        calls: server.calls(),
        profile,
        files: run.files().into_iter().collect(),
        result: serde_json::from_str(&result).unwrap_or_default(),
        port: server.port().to_string(),
        code: run.code,
        stdout: run.stdout,
        stderr: run.stderr,
    }
}

// -- The comparison --------------------------------------------------------------------------------------------------

/// The leaves of a body by their pointers.
fn leaves(value: &Value) -> BTreeMap<String, Value> {
    fn walk(at: &str, value: &Value, into: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(map) => {
                map.iter().for_each(|(key, value)| walk(&format!("{at}/{key}"), value, into));
            }
            Value::Array(list) if list.iter().any(Value::is_object) => {
                list.iter()
                    .enumerate()
                    .for_each(|(i, value)| walk(&format!("{at}/{i}"), value, into));
            }
            _ => _ = into.insert(at.to_owned(), value.clone()),
        }
    }
    let mut into = BTreeMap::new();
    walk("", value, &mut into);
    into
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Format, height x width and content of the first image of a chat body.
fn image(body: &Value) -> String {
    let uri = body["messages"][0]["content"][0]["image_url"]["url"].as_str().unwrap_or_default();
    let Some((head, data)) = uri.split_once(";base64,") else { return String::new() };
    let file = STANDARD.decode(data).unwrap();
    let format = head.trim_start_matches("data:image/");
    let pixels = image::load_from_memory(&file).unwrap().into_rgb8();
    let white = pixels.iter().all(|&channel| channel == 255);
    let content = if white { "white" } else { "noise" };
    format!("{format} {}x{} {content}", pixels.height(), pixels.width())
}

/// A row of the tables.
fn row<'a>(seen: &'a Seen, label: &str) -> Option<&'a str> {
    seen.stdout.lines().find_map(|line| line.strip_prefix(label)).map(str::trim)
}

/// Whether a run shows it.
fn shows(seen: &Seen, what: Shows, golden: &Value) -> bool {
    let first = seen.bodies.first().unwrap_or(&Value::Null);
    let field = |body: &Value, pointer: &str| body.pointer(pointer).cloned().unwrap_or_default();
    let number = |pointer: &str| seen.result.pointer(pointer).and_then(Value::as_f64);
    match what {
        Body(changes) => {
            let mut wanted = leaves(golden);
            wanted.extend(
                changes.iter().map(|(pointer, value)| ((*pointer).to_owned(), parsed(value))),
            );
            leaves(first) == wanted
        }
        Field(pointer, value) => !first.is_null() && field(first, pointer) == parsed(value),
        Each(pointer, values) => {
            let got: Vec<Value> = seen.bodies.iter().map(|body| field(body, pointer)).collect();
            got == values.iter().map(|value| parsed(value)).collect::<Vec<_>>()
        }
        Header(name, values) => {
            let end = |text: &str| text.rsplit('_').next().unwrap_or_default().to_owned();
            let got: Vec<_> =
                seen.requests.iter().map(|request| request.header(name).map(end)).collect();
            got == values.iter().map(|value| Some((*value).to_owned())).collect::<Vec<_>>()
        }
        Call(call) => seen.calls.iter().any(|made| made == call),
        Profile(pointer, value) => seen.profile.pointer(pointer) == Some(&parsed(value)),
        Requests(n) => seen.requests.len() == n,
        Image(what) => image(first) == what,
        Row(label, value) => row(seen, label) == Some(value),
        Key(pointer, value) => {
            seen.result.pointer(pointer) == Some(&parsed(&value.replace('%', &seen.port)))
        }
        AtLeast(pointer, least) => number(pointer).is_some_and(|number| number >= least),
        File(name) => seen.files.contains(name),
        Says(text) | Refused(text) => seen.stderr.contains(text),
    }
}

/// What to tell of a run that is not as it should be.
fn told(seen: &Seen) -> String {
    let Seen { code, calls, stderr, stdout, profile, .. } = seen;
    let body = seen.requests.first().map_or("", |request| &request.body);
    let figures: Vec<_> = ["total_input_tokens", "duration"].map(|key| &seen.result[key]).into();
    format!("{code:?} {calls:?} {figures:?}\n{body:.600}\n{profile}\n{stderr}{stdout}")
}

/// Runs the flags of one list, each without and with it.
fn walk(lines: &[Line]) {
    let mut bases: BTreeMap<&str, Seen> = BTreeMap::new();
    let mut wrong: Vec<String> = Vec::new();
    for &(flag, base, words, what) in lines {
        let (name, base_words, golden) =
            *BASES.iter().find(|(name, ..)| *name == base).unwrap_or_else(|| panic!("no {base}"));
        let golden = if golden.is_empty() { Value::Null } else { parsed(golden) };
        let without = bases.entry(name).or_insert_with(|| {
            let seen = run(base_words, name == SLOW);
            if !golden.is_null() {
                assert_eq!(leaves(&seen.bodies[0]), leaves(&golden), "{name}: {}", told(&seen));
            }
            seen
        });
        let with = run(&format!("{base_words} {words}"), name == SLOW);
        let code = if matches!(what, Refused(_)) { 2 } else { 0 };
        if with.code != Some(code) || !shows(&with, what, &golden) {
            wrong.push(format!("--{flag} does not show {what:?}: {}", told(&with)));
        }
        if shows(without, what, &golden) {
            wrong.push(format!("without --{flag} there is {what:?} too: {}", told(without)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn flags_of_the_target() {
    walk(TARGET);
}

#[test]
fn flags_of_the_load() {
    walk(LOAD);
}

#[test]
fn flags_of_texts() {
    walk(TEXTS);
}

#[test]
fn flags_of_made_up_prompts_and_traces() {
    walk(MADE);
}

#[test]
fn flags_of_the_profiler() {
    walk(PROFILER);
}

#[test]
fn flags_of_the_output() {
    walk(OUTPUT);
}

#[test]
fn no_flag_is_missing() {
    let walked: BTreeSet<&str> = WALK.iter().copied().flatten().map(|(flag, ..)| *flag).collect();
    let exempt: BTreeSet<&str> = EXEMPT.iter().map(|(flag, _)| *flag).collect();
    let command = rbench::cli::command();
    let serve = command.find_subcommand("serve").unwrap();
    let ours: BTreeSet<&str> = serve.get_arguments().filter_map(Arg::get_long).collect();
    let reference: BTreeSet<&str> =
        REFERENCE.split_whitespace().chain(OLDER.split_whitespace()).collect();
    let wanted: BTreeSet<&str> = ours.union(&reference).copied().collect();
    let missing: Vec<_> =
        wanted.difference(&walked).filter(|flag| !exempt.contains(*flag)).collect();
    assert!(missing.is_empty(), "add a line of what they change to the walk: {missing:?}");
    let unknown: Vec<_> = walked.difference(&wanted).collect();
    assert!(unknown.is_empty(), "the walk has flags that do not exist: {unknown:?}");
    // Each line names its flag.
    for (flag, _, words, _) in WALK.iter().copied().flatten() {
        assert!(words.contains(&format!("--{flag}")), "--{flag}: {words}");
    }
}

/// Flags that are no mistake where they do nothing, and are told of.
#[test]
fn flags_without_effect_are_told_of() {
    for (base, words, note) in [
        (
            "ids",
            "--sharegpt-output-len 9",
            "--sharegpt-output-len does nothing for --dataset-name random-ids",
        ),
        (
            "ids",
            "--dataset-path q.json",
            "--dataset-path does nothing for --dataset-name random-ids",
        ),
        (
            "native",
            "--random-output-len 9",
            "--random-output-len does nothing for --dataset-name sharegpt",
        ),
        ("native", "--port 1", "--port does nothing beside --base-url"),
        ("native", "--lora-zipf-alpha 2", "--lora-zipf-alpha does nothing without"),
        (
            "completions",
            "--return-logprob",
            "--return-logprob does nothing at /v1/completions without",
        ),
        (
            "chat",
            "--top-logprobs-num 2",
            "--top-logprobs-num does nothing at /v1/chat/completions without",
        ),
        ("trace", "--request-rate 5", "--request-rate does nothing here"),
        (
            "native",
            "--table sglang@0.5.15 --goodput ttft:1",
            "--goodput: the table of sglang@0.5.15 has no rows",
        ),
        (
            "native",
            "--table sglang@0.5.10 --cache-report",
            "--cache-report: the table of sglang@0.5.10 has no rows",
        ),
    ] {
        let (_, base_words, _) = BASES.iter().find(|(name, ..)| *name == base).unwrap();
        let seen = run(&format!("{base_words} {words}"), false);
        assert!(seen.code == Some(0) && seen.stderr.contains(note), "{words}: {}", told(&seen));
    }
    let seen = run(&format!("{} --table sglang@0.5.15 --cache-report", BASES[0].1), false);
    assert!(!seen.stderr.contains("has no rows"), "{}", told(&seen));
}
