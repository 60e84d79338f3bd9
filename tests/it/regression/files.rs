//! Files, tokenizers and the environment: what is made of them, and what is said where they cannot be used.

use std::collections::HashSet;
use std::path::Path;
use std::sync::LazyLock;

use rbench::model::{Prompt, Row};
use rbench::workload::bundled;
use rbench::workload::hub::Hub;
use rbench::workload::tokenizer::Tokenizer;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::datasets::{Ask, ask, bundled, bytes_with_bos, text, words};
use crate::support::rbench::Rbench;
use crate::support::server::{Answer, Script};
use crate::support::wire;

/// Tokens that the smallest block of a server's prefix cache holds.
const BLOCK: usize = 16;

/// The first tokens of a row's prompt, of the part that is its own.
fn opening(row: &Row, tokenizer: &Tokenizer) -> Vec<u32> {
    let mut ids = match &row.prompt {
        Prompt::Ids(ids) => ids.clone(),
        _ => tokenizer.encode(text(row).rsplit("\n\n").next().unwrap()),
    };
    ids.truncate(BLOCK);
    ids
}

/// Forall made-up prompts of a run: no two share their first block, up to the last that the vocabulary allows.
#[test]
fn prompts_differ_within_their_first_block() {
    let (bundled, words, bytes) = (bundled(), words(), bytes_with_bos());
    let random = |len| vec!["--random-input-len", len, "--random-range-ratio", "1"];
    let gsp = |prompts, len| {
        let mut flags = vec!["--gsp-num-groups", "1", "--gsp-prompts-per-group", prompts];
        flags.extend(["--gsp-system-prompt-len", "5", "--gsp-question-len", len]);
        flags
    };
    let image = || {
        let mut flags = random("17");
        flags.extend(["--image-resolution", "8x8", "--image-content", "blank"]);
        flags
    };
    for (dataset, flags, tokenizer, ids, n) in [
        ("random-ids", random("17"), &bundled, false, 9_000),
        ("random-ids", random("16"), &bundled, true, 100_000),
        ("random-ids", random("2"), &bundled, false, 4_000),
        ("random-ids", random("17"), &words, false, 1_000),
        ("random-ids", random("40"), &bytes, false, 1_000),
        ("random-ids", random("17"), &bytes, true, 1_000),
        ("image", image(), &bundled, false, 1_000),
        ("generated-shared-prefix", gsp("2000", "17"), &bundled, false, 2_000),
        ("generated-shared-prefix", gsp("2000", "3"), &bundled, false, 2_000),
    ] {
        let what = format!("{dataset} {flags:?} ids {ids}");
        let loaded = Ask { n, ids, ..ask(dataset, &flags) }.load(tokenizer).unwrap();
        assert_eq!(loaded.rows.len(), n, "{what}");
        let told = loaded.notes.iter().any(|note| note.contains("prompts"));
        assert!(!told, "{what}: {:?}", loaded.notes);
        let openings: HashSet<Vec<u32>> =
            loaded.rows.iter().map(|row| opening(row, tokenizer)).collect();
        assert_eq!(openings.len(), n, "{what}");
    }
}

/// Forall runs of more prompts than can differ: that is said, with their number.
#[test]
fn prompts_that_can_not_differ_are_counted() {
    let bundled = bundled();
    let random = ["--random-input-len", "1", "--random-range-ratio", "1"];
    let groups = ["--gsp-num-groups", "9000", "--gsp-prompts-per-group", "2"];
    let groups =
        [&groups[..], &["--gsp-system-prompt-len", "1", "--gsp-question-len", "1"]].concat();
    for (dataset, flags, ids) in [
        ("random-ids", &random[..], false),
        ("random-ids", &random, true),
        ("random", &random, false),
        ("generated-shared-prefix", &groups, false),
    ] {
        let flags: Vec<&str> = [flags, &["--allow-repeat"]].concat();
        let flags = if dataset == "random" { &flags } else { &flags[..flags.len() - 1] };
        let n = if dataset == "random" { 60 } else { 25_000 };
        let loaded = Ask { n, ids, ..ask(dataset, flags) }.load(&bundled).unwrap();
        let distinct = loaded.rows.iter().map(|row| opening(row, &bundled)).collect::<HashSet<_>>();
        let copies = (loaded.rows.len() - distinct.len()).to_string();
        let mut told = loaded.notes.iter().chain(&loaded.told);
        let told = told.any(|note| note.contains(&format!("{copies} of ")));
        assert!(told, "{dataset} {copies}: {:?}", loaded.notes);
    }
}

/// The shortest output length depends on the dataset: a whole answer takes 4 tokens, anything else 1.
#[test]
fn fixed_output_lengths_are_refused_where_they_replace_an_answer_only() {
    for dataset in ["sharegpt", "custom", "openai", "longbench_v2", "agentic-trace"] {
        for (len, long) in [("0", false), ("1", false), ("3", false), ("4", true)] {
            let may = long || len != "0" && !matches!(dataset, "sharegpt" | "custom");
            let flags = ["--dataset-name", dataset, "--sharegpt-output-len", len];
            let words = ["rbench", "serve"].into_iter().chain(flags);
            match rbench::cli::parse(words.map(std::ffi::OsString::from)) {
                Ok(_) => assert!(may, "{flags:?}"),
                Err(error) => {
                    let told = error.to_string();
                    assert!(!may && told.contains("--sharegpt-output-len"), "{flags:?}: {told}");
                }
            }
        }
    }
}

// -- Tokenizers ------------------------------------------------------------------------------------------------------

/// A folder with these files.
fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn load(path: &Path) -> Result<Tokenizer, rbench::error::Error> {
    Tokenizer::load(&[path.display().to_string()], &Hub::from_env(false))
}

/// The bundled tokenizer, with `post_processor` and this configuration beside it.
fn configured(post_processor: &Value, config: &Value) -> Tokenizer {
    let mut json: Value = serde_json::from_slice(bundled::TOKENIZER).unwrap();
    json["post_processor"] = post_processor.clone();
    let (json, config) = (json.to_string(), config.to_string());
    let files = [("tokenizer.json", json.as_bytes()), ("tokenizer_config.json", config.as_bytes())];
    load(folder(&files).path()).unwrap()
}

/// What a post-processor puts around a text, by ids of the bundled tokenizer: 0 begins, 1 ends.
fn around(before: bool, after: bool) -> Value {
    let token = |text: &str| json!({"SpecialToken": {"id": text, "type_id": 0}});
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    let single: Vec<Value> =
        [before.then(|| token("<|begin|>")), Some(text), after.then(|| token("<|end|>"))]
            .into_iter()
            .flatten()
            .collect();
    let known = |text: &str, id: u32| json!({"id": text, "ids": [id], "tokens": [text]});
    json!({
        "type": "TemplateProcessing", "single": single, "pair": [],
        "special_tokens": {"<|begin|>": known("<|begin|>", 0), "<|end|>": known("<|end|>", 1)},
    })
}

/// Forall configurations beside a `tokenizer.json`: what begins and ends a text is what SGLang 0.5.23 with
/// transformers 5.19 makes of it.
#[test]
fn what_begins_a_text_is_what_the_configuration_says() {
    let bare = &Value::Null;
    let (begins, both) = (&around(true, false), &around(true, true));
    let llama = |mut more: Value| {
        let all = json!({"tokenizer_class": "LlamaTokenizer", "bos_token": "<|begin|>", "eos_token": "<|end|>"});
        for (key, value) in all.as_object().unwrap() {
            more.as_object_mut().unwrap().entry(key.clone()).or_insert(value.clone());
        }
        more
    };
    for (processor, config, before, after) in [
        // DeepSeek-V3: the file has no beginning, and the class has.
        (bare, llama(json!({"add_bos_token": true})), 1, 0),
        (bare, llama(json!({"bos_token": {"content": "<|begin|>", "lstrip": false}})), 1, 0),
        (bare, llama(json!({})), 1, 0),
        (bare, llama(json!({"add_bos_token": null})), 1, 0),
        (bare, llama(json!({"add_bos_token": false})), 0, 0),
        (bare, llama(json!({"add_eos_token": true})), 1, 0),
        (bare, llama(json!({"tokenizer_class": "LlamaTokenizerFast"})), 1, 0),
        (bare, llama(json!({"tokenizer_class": "GemmaTokenizer"})), 1, 0),
        (bare, llama(json!({"tokenizer_class": "CohereTokenizerFast"})), 1, 0),
        // Other classes leave it to the file.
        (
            bare,
            llama(json!({"tokenizer_class": "PreTrainedTokenizerFast", "add_bos_token": true})),
            0,
            0,
        ),
        (bare, llama(json!({"tokenizer_class": "Qwen2Tokenizer", "add_bos_token": true})), 0, 0),
        (bare, llama(json!({"tokenizer_class": null, "add_bos_token": true})), 0, 0),
        (begins, llama(json!({"add_bos_token": false})), 1, 0),
        (
            begins,
            llama(json!({"tokenizer_class": "PreTrainedTokenizerFast", "add_bos_token": false})),
            1,
            0,
        ),
        (begins, llama(json!({"bos_token": null})), 0, 0),
        (begins, json!({"tokenizer_class": "LlamaTokenizer"}), 1, 0),
        (both, llama(json!({})), 1, 0),
        (both, llama(json!({"add_bos_token": false})), 1, 1),
        (both, json!({}), 1, 1),
    ] {
        let tokenizer = configured(processor, &config);
        let text = "two words";
        let plain = tokenizer.encode(text);
        let want = [vec![0; before], plain, vec![1; after]].concat();
        assert_eq!(tokenizer.encode_with_special(text), want, "{config} {processor}");
        assert_eq!(tokenizer.special_tokens_added(), before + after, "{config}");
        assert_eq!(tokenizer.count_with_special(text), want.len(), "{config}");
    }
}

/// Forall tokens of a configuration that the `tokenizer.json` lacks: a text has them as one token each.
#[test]
fn tokens_of_the_configuration_are_tokens() {
    let token = json!({"content": "<tool>", "special": true});
    for config in [
        json!({"added_tokens_decoder": {"4096": token}}),
        json!({"added_tokens_decoder": {"9000": token}}),
        json!({"additional_special_tokens": ["<tool>"]}),
        json!({"additional_special_tokens": [token]}),
        json!({"extra_special_tokens": ["<tool>"]}),
        json!({"extra_special_tokens": {"tool_token": "<tool>"}}),
        json!({"mask_token": "<tool>"}),
        json!({"bos_token": "<tool>"}),
    ] {
        let tokenizer = configured(&Value::Null, &config);
        let (a, b) = (tokenizer.count("a"), tokenizer.count("b"));
        assert_eq!(tokenizer.encode("a<tool>b").len(), a + 1 + b, "{config}");
        assert_eq!(tokenizer.encode("<tool>"), [4096], "{config}");
        assert_eq!(tokenizer.decode(&[4096]), "<tool>", "{config}");
    }
    let strips = json!({"added_tokens_decoder": {"4096": {"content": "<tool>", "lstrip": true, "rstrip": true}}});
    assert_eq!(configured(&Value::Null, &strips).encode("  <tool> "), [4096]);
    // Those that the file has stay as they are.
    let again = json!({"added_tokens_decoder": {"2": {"content": "<|user|>", "special": true, "lstrip": true}}});
    let tokenizer = configured(&Value::Null, &again);
    assert_eq!(tokenizer.encode(" <|user|>"), bundled().encode(" <|user|>"));
    // What is malformed is named.
    let folder = folder(&[
        ("tokenizer.json", bundled::TOKENIZER),
        ("tokenizer_config.json", br#"{"added_tokens_decoder": {"x": {}}}"#),
    ]);
    let error = load(folder.path()).unwrap_err();
    assert!(error.message.contains("entry x of added_tokens_decoder"), "{error}");
}

/// What the server puts before a text is not sent as well, whatever makes the text.
#[test]
fn the_beginning_of_a_template_is_sent_once() {
    let config = json!({
        "tokenizer_class": "LlamaTokenizer", "bos_token": "<|begin|>",
        "chat_template": "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}",
    });
    let trace =
        json!({"conversations": [[{"messages": [{"role": "user", "content": "hello there"}]}]]});
    let rows = json!([{"conversations": [{"value": "hello there"}, {"value": "some answer"}]}]);
    for (dataset, path, template) in [
        ("sharegpt", "rows.json", true),
        ("custom", "rows.json", true),
        ("agentic-trace", "trace.json", false),
    ] {
        let server = Script::new(wire::good).start();
        let mut rbench = Rbench::new(["serve", "--backend", "sglang", "--base-url", &server.url()])
            .file("tokenizer.json", bundled::TOKENIZER)
            .file("tokenizer_config.json", config.to_string())
            .file("rows.json", rows.to_string())
            .file("trace.json", trace.to_string())
            .args([
                "--tokenizer",
                "tokenizer.json",
                "--dataset-name",
                dataset,
                "--dataset-path",
                path,
            ])
            .args(["--num-prompts", "1", "--warmup-requests", "0", "--sharegpt-output-len", "4"]);
        if template {
            rbench = rbench.arg("--apply-chat-template");
        }
        drop(rbench.run().exits(0));
        let body = server.inference()[0].json();
        assert_eq!(body["text"], "user: hello there\n", "{dataset}: {body}");
    }
}

/// BERT's family: the configuration has the last word on letters.
#[test]
fn small_letters_of_a_configuration_count() {
    let names = ["[UNK]", "hello", "Hello", "cafe", "caf\u{e9}"];
    let vocabulary: serde_json::Map<String, Value> =
        names.iter().zip(0_u32..).map(|(name, id)| ((*name).to_owned(), id.into())).collect();
    let json = json!({
        "version": "1.0", "added_tokens": [], "post_processor": null, "decoder": null,
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocabulary},
    })
    .to_string();
    for (config, want) in [
        (json!({"tokenizer_class": "BertTokenizer"}), [1, 3]),
        (json!({"tokenizer_class": "BertTokenizer", "do_lower_case": true}), [1, 3]),
        (
            json!({"tokenizer_class": "BertTokenizer", "do_lower_case": true, "strip_accents": false}),
            [1, 4],
        ),
        (json!({"tokenizer_class": "BertTokenizerFast", "do_lower_case": false}), [2, 4]),
        (json!({"tokenizer_class": "DistilBertTokenizer", "do_lower_case": false}), [2, 4]),
        (json!({"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": false}), [1, 3]),
    ] {
        let text = config.to_string();
        let files =
            [("tokenizer.json", json.as_bytes()), ("tokenizer_config.json", text.as_bytes())];
        let tokenizer = load(folder(&files).path()).unwrap();
        assert_eq!(tokenizer.encode("Hello caf\u{e9}"), want, "{config}");
    }
}

// -- The Hub's environment -------------------------------------------------------------------------------------------

/// A run with the tokenizer `acme/tiny` of the Hub, in an environment that a test makes.
fn from_the_hub() -> Rbench {
    let flags =
        "--dataset-name random-ids --random-input-len 8 --random-output-len 4 --num-prompts 2";
    Rbench::new(["serve", "--mock", "--tokenizer", "acme/tiny"]).args(flags.split(' '))
}

/// Forall variables that the Hub's own client documents for its cache: a file there is found.
#[test]
fn the_cache_is_where_the_environment_says() {
    for (variables, cache) in [
        (&[][..], ".cache/huggingface/hub"),
        (&[("XDG_CACHE_HOME", "caches")], "caches/huggingface/hub"),
        (&[("HF_HOME", "home")], "home/hub"),
        (&[("HF_HOME", "~/home")], "home/hub"),
        (&[("HF_HOME", "$HOME/a/${LAST}"), ("LAST", "b")], "a/b/hub"),
        (&[("HUGGINGFACE_HUB_CACHE", "old")], "old"),
        (&[("HF_HUB_CACHE", "new"), ("HUGGINGFACE_HUB_CACHE", "old")], "new"),
        (&[("HF_HUB_CACHE", ""), ("HF_HOME", "home")], "home/hub"),
        (&[("HF_HUB_CACHE", "new"), ("HF_HOME", "home"), ("XDG_CACHE_HOME", "x")], "new"),
    ] {
        let repo = format!("{cache}/models--acme--tiny");
        let mut rbench = from_the_hub()
            .env("HF_HOME", "")
            .file(&format!("{repo}/refs/main"), "c0ffee")
            .file(&format!("{repo}/snapshots/c0ffee/tokenizer.json"), bundled::TOKENIZER);
        for (name, value) in variables {
            rbench = rbench.env(name, value);
        }
        let run = rbench.run();
        assert_eq!(run.code, Some(0), "{variables:?}: {run:?}");
    }
}

/// Without a folder of the user, and without a file, the error says what to set.
#[test]
fn no_home_is_no_panic() {
    for home in ["", "/nowhere"] {
        let run = from_the_hub().env("HOME", home).env("HF_HOME", "").run();
        drop(run.exits(1).says(&["no tokenizer.json of acme/tiny", "--tokenizer PATH"]));
    }
}

/// Forall variables that forbid downloads: nobody is asked, and the variable is named.
#[test]
fn who_is_offline_says_by_which_variable() {
    for (variables, offline) in [
        (&[("HF_HUB_OFFLINE", "1")][..], Some("HF_HUB_OFFLINE is set")),
        (
            &[("HF_HUB_OFFLINE", ""), ("TRANSFORMERS_OFFLINE", "1")],
            Some("TRANSFORMERS_OFFLINE is set"),
        ),
        (
            &[("HF_HUB_OFFLINE", ""), ("TRANSFORMERS_OFFLINE", "ON")],
            Some("TRANSFORMERS_OFFLINE is set"),
        ),
        (&[("HF_HUB_OFFLINE", "0"), ("TRANSFORMERS_OFFLINE", "1")], None),
    ] {
        let hub = crate::support::server::Refusing::new();
        let mut rbench = from_the_hub().env("HF_ENDPOINT", hub.url());
        for (name, value) in variables {
            rbench = rbench.env(name, value);
        }
        let run = rbench.run().exits(1);
        match offline {
            Some(said) => {
                assert!(!run.stderr.contains("reached"), "{run:?}");
                drop(run.says(&[said]));
            }
            None => drop(run.says(&[&hub.url(), "cannot be reached"])),
        }
    }
}

/// Forall places of a token: it is sent, unless the environment forbids that, and never told.
#[test]
fn the_token_is_where_the_environment_says() {
    for (variables, file, sent) in [
        (&[("HF_TOKEN", "hf_hidden")][..], None, true),
        (&[("HUGGING_FACE_HUB_TOKEN", "hf_hidden")], None, true),
        (&[("HF_HOME", "home")], Some("home/token"), true),
        (&[("HF_HOME", "home"), ("HF_HUB_CACHE", "elsewhere/hub")], Some("home/token"), true),
        (&[("HF_TOKEN_PATH", "kept/token")], Some("kept/token"), true),
        (&[("HF_TOKEN", "hf_hidden"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")], None, false),
    ] {
        let hub = Script::control_only()
            .on("/acme/tiny/resolve/main/tokenizer.json", move |request| {
                let want = sent.then_some("Bearer hf_hidden");
                assert_eq!(request.header("authorization"), want);
                Answer::head(
                    "403 Forbidden",
                    &["x-error-message: closed to Bearer hf_hidden", "content-length: 0"],
                )
            })
            .start();
        let mut rbench = from_the_hub().env("HF_HUB_OFFLINE", "0").env("HF_ENDPOINT", hub.url());
        for (name, value) in variables {
            rbench = rbench.env(name, value);
        }
        if let Some(file) = file {
            rbench = rbench.file(file, "hf_hidden\n");
        }
        let run = rbench.run().exits(1).says(&["closed to Bearer"]);
        assert!(!sent || !run.stderr.contains("hidden"), "{run:?}");
    }
}

/// Forall refusals of a repository that exists: its own reason and the way in are said.
#[test]
fn closed_repositories_say_why_and_what_opens_them() {
    let gated = "Access to model acme/tiny is restricted. You must be authenticated to access it.";
    let header = format!("x-error-message: {gated}");
    for (status, header, body, token, says) in [
        ("401 Unauthorized", Some(header.as_str()), "", false, gated),
        ("403 Forbidden", Some(header.as_str()), "", true, gated),
        ("403 Forbidden", None, gated, true, gated),
        ("401 Unauthorized", None, "<html>log in</html>", false, "401 Unauthorized"),
    ] {
        let (header, body) = (header.map(str::to_owned), body.to_owned());
        let hub = Script::control_only()
            .on("/acme/tiny/resolve/main/tokenizer.json", move |_| {
                let length = format!("content-length: {}", body.len());
                let headers: Vec<&str> =
                    header.as_deref().into_iter().chain([length.as_str()]).collect();
                Answer::head(status, &headers).raw(body.as_bytes())
            })
            .start();
        let mut rbench = from_the_hub().env("HF_HUB_OFFLINE", "0").env("HF_ENDPOINT", hub.url());
        let mut hints = vec!["set HF_TOKEN to a token", "accept"];
        if token {
            rbench = rbench.env("HF_TOKEN", "hf_hidden");
            hints = vec!["ask for access", "HF_TOKEN"];
        }
        let run = rbench.run().exits(1).says(&[says]).says(&hints[..1]);
        assert!(!run.stderr.contains("hidden"), "{run:?}");
        // The way in comes before the way around.
        let at = |text: &str| run.stderr.find(text).unwrap();
        assert!(at(hints[0]) < at("--tokenizer PATH"), "{run:?}");
    }
}

// -- Rows ------------------------------------------------------------------------------------------------------------

/// Forall files whose rows are not all used: those that are not are counted with the reason, or refused with
/// their line and the cause that is.
#[test]
fn no_row_vanishes() {
    let turns = |a: &str, b: &str| json!({"conversations": [{"value": a}, {"value": b}]});
    let good = || turns("one two three", "four five six");
    let contents = json!({"conversations": [{"content": "one two"}, {"content": "three four"}]});
    let chat = json!({"messages": [{"role": "user", "content": "hi"}]});
    let options = ["A", "B", "C", "D"];
    let long: serde_json::Map<String, Value> = options
        .iter()
        .map(|x| (format!("choice_{x}"), json!("yes")))
        .chain([("context".to_owned(), json!("a b")), ("question".to_owned(), json!("c"))])
        .collect();
    let none: &[&str] = &[];
    for (dataset, rows, flags, used, says) in [
        (
            "sharegpt",
            vec![good(), chat.clone(), good()],
            none,
            2,
            "1 of 3 rows of rows.jsonl are left out: 1 without `conversations` (the first: line 2)",
        ),
        (
            "custom",
            vec![good(), chat.clone(), good()],
            none,
            2,
            "1 without `conversations` (the first: line 2)",
        ),
        (
            "random",
            vec![good(), chat.clone(), turns("five six", "x")],
            none,
            2,
            "1 without `conversations` (the first: line 2)",
        ),
        (
            "sharegpt",
            vec![good(), json!({"conversations": [{"value": "alone"}]})],
            none,
            1,
            "1 of 2 rows of rows.jsonl are left out: 1 with fewer than two turns (the first: line 2)",
        ),
        (
            "sharegpt",
            vec![good(), turns("x", "four five six"), turns("a b c", "x"), good()],
            none,
            2,
            "1 with a prompt of fewer than 2 tokens",
        ),
        (
            "sharegpt",
            vec![good(), turns("x", "four five six"), turns("a b c", "x"), good()],
            none,
            2,
            "1 with an answer of fewer than 2 tokens",
        ),
        (
            "sharegpt",
            vec![good(), turns("a b c d e f g h", "i j k")],
            &["--sharegpt-context-len", "8"],
            1,
            "1 longer than --sharegpt-context-len",
        ),
        (
            "longbench_v2",
            vec![Value::Object(long)],
            &["--sharegpt-context-len", "3"],
            0,
            "1 longer than --sharegpt-context-len",
        ),
        (
            "sharegpt",
            vec![good(), contents.clone()],
            none,
            0,
            "line 2: turn 1 has `content` in place of `value`",
        ),
        (
            "sharegpt",
            vec![good(), json!({"conversations": [{"value": "a"}, {"text": "b"}]})],
            none,
            1,
            "1 with a turn without `value` (the first: line 2)",
        ),
        (
            "custom",
            vec![good(), json!({"conversations": [{"text": "a"}, {"text": "b"}]})],
            none,
            1,
            "1 with a turn without `content` or `value` (the first: line 2)",
        ),
        ("custom", vec![good(), contents], none, 2, ""),
        (
            "openai",
            vec![chat.clone(), json!({"messages": []})],
            none,
            1,
            "1 of 2 rows of rows.jsonl are left out: 1 with no message (the first: line 2)",
        ),
        ("openai", vec![chat.clone(), good()], none, 0, "line 2: there is no `messages`"),
        (
            "speed-bench",
            vec![
                json!({"turns": ["a b"], "category": "mixed"}),
                json!({"turns": ["c d"], "category": "low_entropy"}),
            ],
            &["--speed-bench-category", "mixed"],
            1,
            "1 of another --speed-bench-category (the first: line 2)",
        ),
        (
            "random",
            vec![turns("", "x"), good()],
            none,
            1,
            "1 of 2 rows of rows.jsonl are left out: 1 with a question of no token",
        ),
        (
            "sharegpt",
            vec![chat.clone(), chat.clone()],
            none,
            0,
            "holds no usable rows: 2 of 2 rows",
        ),
        (
            "sharegpt",
            vec![turns("x", "y")],
            none,
            0,
            "none of the 1 rows of rows.jsonl can be used: 1 of 1 rows",
        ),
    ] {
        // These use what there is for more rows than that.
        let n = if matches!(dataset, "random" | "speed-bench") { used } else { rows.len() };
        let lines: String =
            rows.iter().flat_map(|row| [row.to_string(), "\n".to_owned()]).collect();
        let folder = folder(&[("rows.jsonl", lines.as_bytes())]);
        let path = folder.path().join("rows.jsonl");
        let (made, said) = outcome(&Ask { path: &path, n, ..ask(dataset, flags) });
        let said = said.replace(&path.display().to_string(), "rows.jsonl");
        assert!(said.contains(says), "{dataset} {rows:?}: {said}");
        assert_eq!(made, used, "{dataset} {rows:?}: {said}");
    }
    let conversation = |messages: Value| json!({"conversations": [[{"messages": [{"role": "user", "content": "hi"}]}], [{"messages": messages}]]});
    for (trace, used, says) in [
        (conversation(json!([])), 1, "trace.json are left out: 1 without a message"),
        (conversation(json!(["hi"])), 0, "no object as conversation 2, round 1, message 1"),
        (json!({"rounds": []}), 0, "missing field `conversations`"),
    ] {
        let folder = folder(&[("trace.json", trace.to_string().as_bytes())]);
        let path = folder.path().join("trace.json");
        let (made, said) = outcome(&Ask { path: &path, n: 2, ..ask("agentic-trace", &[]) });
        assert!(said.contains(says), "{trace}: {said}");
        assert_eq!(made, used, "{trace}: {said}");
    }
}

/// How many rows were made, and what is said of the others.
fn outcome(ask: &Ask<'_>) -> (usize, String) {
    static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(bundled);
    match ask.load(&TOKENIZER) {
        Ok(rows) => (rows.rows.len(), [rows.notes, rows.told].concat().join("\n")),
        Err(error) => {
            let cause = error.cause.as_ref().map_or(String::new(), ToString::to_string);
            (0, format!("{error} {cause} {:?}", error.hints))
        }
    }
}

/// Malformed rows are left out of arrays as they are of lines, if the user says so.
#[test]
fn malformed_elements_of_arrays_are_left_out_as_lines_are() {
    let good = r#"{"conversations": [{"value": "one two"}, {"value": "three four"}]}"#;
    for bad in [
        "{\"conversations\": [{\"value\": NaN}, {}]}",
        "{\"conversations\": }",
        "{'conversations': []}",
        "oops",
        "{\"conversations\": [{\"value\": \"caf\\x\"}, {}]}",
        "5",
    ] {
        for (name, text) in [
            ("rows.jsonl", format!("{good}\n{bad}\n{good}\n")),
            ("rows.json", format!("[{good},\n {bad},\n {good}]\n")),
        ] {
            let folder = folder(&[(name, text.as_bytes())]);
            let path = folder.path().join(name);
            let load = |flags| outcome(&Ask { path: &path, n: 3, ..ask("sharegpt", flags) });
            let (made, said) = load(&[]);
            assert!(made == 0 && said.contains("--skip-bad-rows"), "{text}: {said}");
            let (made, said) = load(&["--skip-bad-rows"]);
            let place = if name == "rows.json" { "item 2: " } else { "line 2: " };
            assert!(said.contains("1 of 3 rows of ") && said.contains(place), "{text}: {said}");
            assert_eq!(made, 2, "{text}");
        }
    }
}

/// Forall files of another kind than asked for, wherever a file is given: it is called what it is.
#[test]
fn a_file_is_called_what_it_is() {
    let files: &[(&str, &[u8], &str)] = &[
        ("x.gz", b"\x1f\x8b\x08\0\0\0\0\0", "a gzip file"),
        ("x.zst", b"\x28\xb5\x2f\xfd\0\0", "a Zstandard file"),
        ("x.zip", b"PK\x03\x04\0\0", "a zip file"),
        ("x.parquet", b"PAR1\x15\x04", "a Parquet file"),
        ("x.json", b"<!DOCTYPE html>\n<html><body>Log in</body></html>", "an HTML page"),
        (
            "y.json",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
            "a Git LFS pointer",
        ),
        ("z.json", b"\xff\xfe[\0]\0", "text in UTF-16"),
    ];
    let datasets =
        rbench::workload::dataset::ALL.iter().filter(|entry| entry.reads.contains(&"dataset-path"));
    let mut names: Vec<&str> = datasets.map(|entry| entry.name).collect();
    names.retain(|name| *name != "embedding");
    let folder = TempDir::new().unwrap();
    for (file, bytes, what) in files {
        let path = folder.path().join(file);
        std::fs::write(&path, bytes).unwrap();
        for dataset in &names {
            // That is what `mmmu` reads; this one is broken.
            if *dataset == "mmmu" && *what == "a Parquet file" {
                continue;
            }
            let error = Ask { path: &path, ..ask(dataset, &[]) }.load(&bundled()).unwrap_err();
            assert!(error.message.contains(what), "{dataset} {file}: {error}");
            assert!(error.message.contains(file), "{dataset} {file}: {error}");
        }
        for name in ["tokenizer.json", "tokenizer.model"] {
            let tokenizer = folder.path().join(name);
            std::fs::write(&tokenizer, bytes).unwrap();
            let error = load(&tokenizer).unwrap_err();
            assert!(error.message.contains(what), "{name} {file}: {error}");
        }
    }
}

// -- Memory ----------------------------------------------------------------------------------------------------------

/// Forall flags that say how much is to be made: an extreme is refused before anything is made of it.
#[test]
fn too_much_is_refused_before_it_is_made() {
    let (most, mut extreme) = (usize::MAX.to_string(), false);
    let random = |dataset| vec!["--dataset-name", dataset, "--random-output-len", "4"];
    let with = |mut flags: Vec<&'static str>, more: &[&'static str]| {
        flags.extend(more);
        flags
    };
    let gsp = || vec!["--dataset-name", "generated-shared-prefix", "--gsp-output-len", "4"];
    let image = &["--image-count", "60000", "--image-resolution", "4k", "--num-prompts", "60000"];
    for (flags, flag) in [
        (random("random"), "--random-input-len"),
        (random("random-ids"), "--random-input-len"),
        (random("image"), "--random-input-len"),
        (random("random-ids"), "--num-prompts"),
        (with(random("random-ids"), &["--num-prompts", "2"]), "--random-output-len"),
        (with(random("random-ids"), &["--num-prompts", "2"]), "--warmup-requests"),
        (with(random("image"), image), ""),
        (gsp(), "--gsp-system-prompt-len"),
        (gsp(), "--gsp-question-len"),
        (gsp(), "--gsp-num-turns"),
        (gsp(), "--gsp-output-len"),
        (gsp(), "--gsp-num-groups"),
        (gsp(), "--gsp-prompts-per-group"),
    ] {
        // Every other one at the end of what a number can be.
        extreme = !extreme;
        let value = if extreme { most.as_str() } else { "1000000000000" };
        let run = Rbench::new(["serve", "--base-url", "http://127.0.0.1:9", "--model", "m"])
            .args(["--ready-check-timeout-sec", "0", "--max-concurrency", "1"])
            .args(["--backend", "sglang-oai-chat", "--tokenizer", "rbench-bundled"])
            .args(["--dataset-path", "rbench-bundled", "--random-range-ratio", "1"])
            .args(&flags)
            .args(Some(flag).filter(|flag| !flag.is_empty()).map(|flag| format!("{flag}={value}")))
            .run()
            .prints_nothing();
        assert!(matches!(run.code, Some(1 | 2)), "{flags:?} {flag} {value}: {run:?}");
        let said = ["MiB are free", "is above"];
        assert!(said.iter().any(|said| run.stderr.contains(said)), "{flag} {value}: {run:?}");
    }
}
