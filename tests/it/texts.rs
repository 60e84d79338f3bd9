//! Prompts of real text: what the flags make of them, and files of rows as users write them.

use rbench::error::Kind;
use rbench::model::Prompt;
use serde_json::json;
use tempfile::TempDir;

use crate::datasets::{Ask, ask, bundled, bytes_with_bos, fixture, text};
use crate::support::rbench::Rbench;

/// The rows of a dataset's fixture.
fn load(name: &str, flags: &[&str], n: usize) -> rbench::workload::dataset::Rows {
    let path = fixture(name).unwrap();
    Ask { path: &path, n, ..ask(name, flags) }.load(&bundled()).unwrap()
}

fn texts(name: &str, flags: &[&str], n: usize) -> Vec<String> {
    load(name, flags, n).rows.iter().map(|row| text(row).to_owned()).collect()
}

#[test]
fn a_suffix_stands_before_the_answer() {
    let plain = texts("custom", &[], 9);
    let with = texts("custom", &["--prompt-suffix", " Think!"], 9);
    assert_eq!(plain.len(), 4);
    for (plain, with) in plain.iter().zip(with) {
        let question = plain.strip_suffix("Assistant:").unwrap_or(plain);
        assert_eq!(with, format!("{question} Think!Assistant:"));
    }
}

#[test]
fn the_chat_template_is_applied() {
    let flags = ["--apply-chat-template", "--prompt-suffix", "!"];
    let rows = load("custom", &flags, 1).rows;
    let want = "<|begin|><|user|>\nSum 2 and 3. !Assistant:<|end|>\n<|assistant|>\n";
    assert_eq!(text(&rows[0]), want);
    assert_eq!(rows[0].prompt_len, bundled().count(want));
    let shared = ask("sharegpt", &["--apply-chat-template"]).rows(&bundled());
    assert!(shared.iter().all(|row| text(row).ends_with("<|assistant|>\n")));
}

#[test]
fn a_tokenizer_without_a_template_is_an_error() {
    let ask = ask("sharegpt", &["--apply-chat-template"]);
    let error = ask.load(&bytes_with_bos()).unwrap_err();
    assert!(error.message.contains("has no chat template"), "{error}");
    assert!(error.hints[0].contains("tokenizer_config.json"), "{error:?}");
}

#[test]
fn conversations_can_be_used_again() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("two.json");
    let turn = |text: &str| json!({"value": text});
    let item = |q, a| json!({"conversations": [turn(q), turn(a)]});
    let text = json!([item("one two three", "x"), item("four five six", "y")]).to_string();
    std::fs::write(&path, text).unwrap();
    let ask = |flags| Ask { path: &path, n: 5, ..ask("random", flags) };
    let error = ask(&[]).load(&bundled()).unwrap_err();
    assert!(error.message.contains('5') && error.message.contains('2'), "{error}");
    assert!(error.hints.iter().any(|hint| hint.contains("--allow-repeat")), "{error:?}");
    let rows = ask(&["--allow-repeat", "--random-input-len", "40"]).load(&bundled()).unwrap();
    assert_eq!(rows.rows.len(), 5);
    assert!(rows.notes[0].starts_with("the 2 conversations are used more than once"));
}

#[test]
fn speed_bench_goes_around() {
    let rows = load("speed-bench", &["--speed-bench-output-len", "7"], 10);
    let all: Vec<&str> = rows.rows.iter().map(text).collect();
    let (mut first, mut second) = (all[..4].to_vec(), all[4..8].to_vec());
    first.sort_unstable();
    second.sort_unstable();
    assert_eq!((all.len(), &first), (10, &second));
    assert!(rows.rows.iter().all(|row| row.output_len == 7));
    assert!(rows.notes[0].contains("more than once"), "{:?}", rows.notes);
    let low = texts("speed-bench", &["--speed-bench-category", "low_entropy"], 2);
    assert!(low.iter().all(|text| text.contains("Repeat") || text.contains("Copy")), "{low:?}");
}

#[test]
fn longbench_is_read_from_an_array_too() {
    let folder = TempDir::new().unwrap();
    let lines = std::fs::read_to_string(fixture("longbench_v2").unwrap()).unwrap();
    let path = folder.path().join("data.json");
    std::fs::write(&path, format!("[{}]", lines.trim().replace('\n', ","))).unwrap();
    let rows = Ask { path: &path, n: 3, ..ask("longbench_v2", &[]) }.rows(&bundled());
    assert_eq!(rows, load("longbench_v2", &[], 3).rows);
    assert!(text(&rows[0]).ends_with("\nAnswer:") && rows[0].output_len == 10);
    let path = folder.path().join("x.parquet");
    let error = Ask { path: &path, ..ask("longbench_v2", &[]) }.load(&bundled()).unwrap_err();
    assert!(error.message.contains("parquet"), "{error}");
}

#[test]
fn bodies_of_chats_keep_what_is_theirs() {
    let rows = load("openai", &["--sharegpt-output-len", "9"], 3).rows;
    assert!(rows.iter().all(|row| matches!(row.prompt, Prompt::Messages(_))));
    assert!(rows.iter().all(|row| row.output_len == 9));
    assert_eq!(rows[1].extra["stream"], false);
    let all = load("openai", &[], 9);
    assert_eq!(all.rows.len(), 4);
    assert!(all.notes[0].contains("fewer than --num-prompts 9"), "{:?}", all.notes);
    // Without a template the text is counted, and that is told.
    let path = fixture("openai").unwrap();
    let rows = Ask { path: &path, n: 3, ..ask("openai", &[]) }.load(&bytes_with_bos()).unwrap();
    assert!(rows.notes[0].contains("has no chat template"), "{:?}", rows.notes);
}

#[test]
fn bad_rows_are_named_or_left_out() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("rows.jsonl");
    for (dataset, good) in [
        ("custom", r#"{"conversations": [{"value": "one two"}, {"value": "three four"}]}"#),
        ("openai", r#"{"messages": [{"role": "user", "content": "hi"}]}"#),
        ("embedding", r#"{"input": "some text"}"#),
        ("speed-bench", r#"{"turns": ["some text"]}"#),
        ("mooncake", r#"{"timestamp": 5, "hash_ids": [1]}"#),
    ] {
        std::fs::write(
            &path,
            format!("{good}\n\n{{\"input\": 5, \"turns\": 5, \"conversations\": 5}}\n{good}\n"),
        )
        .unwrap();
        let ask = |flags| Ask { path: &path, n: 2, ..ask(dataset, flags) };
        let error = ask(&[]).load(&bundled()).unwrap_err();
        assert_eq!(error.kind, Kind::Input);
        assert!(error.message.contains("rows.jsonl, line 3: "), "{dataset}: {error}");
        assert!(error.hints[0].starts_with("expected {"), "{dataset}: {error:?}");
        let rows = ask(&["--skip-bad-rows"]).load(&bundled()).unwrap();
        assert_eq!(rows.rows.len(), 2, "{dataset}");
        let told = rows.notes.iter().any(|note| note.starts_with("1 of 3 rows of "));
        assert!(told, "{dataset}: {:?}", rows.notes);
    }
    for dataset in ["custom", "openai", "embedding", "speed-bench"] {
        let error = ask(dataset, &[]).load(&bundled()).unwrap_err();
        assert_eq!(error.kind, Kind::Usage, "{dataset}");
        assert!(error.message.ends_with("needs --dataset-path"), "{dataset}: {error}");
    }
}

#[test]
fn flags_that_a_dataset_has_no_use_for_are_refused() {
    for (words, want) in [
        (&["--dataset-name", "openai", "--apply-chat-template"][..], "--apply-chat-template"),
        (&["--dataset-name", "random", "--prompt-suffix", "x"], "--prompt-suffix"),
        (&["--dataset-name", "random-ids", "--skip-bad-rows"], "--skip-bad-rows"),
        (&["--dataset-name", "sharegpt", "--allow-repeat"], "--allow-repeat"),
        (&["--dataset-name", "embedding"], "sglang-embedding"),
        (
            &[
                "--dataset-name",
                "openai",
                "--dataset-path",
                "rows.jsonl",
                "--ready-check-timeout-sec",
                "0",
                "--model",
                "m",
                "--tokenizer",
                "rbench-bundled",
            ],
            "--backend sglang-oai-chat",
        ),
    ] {
        let _ = Rbench::new(["serve", "--base-url", "http://127.0.0.1:9"])
            .file("rows.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]}")
            .args(words)
            .run()
            .exits(2)
            .says(&[want])
            .prints_nothing();
    }
}

#[test]
fn rows_reach_a_server() {
    let read = |name| std::fs::read_to_string(fixture(name).unwrap()).unwrap();
    for (backend, dataset, requests) in [
        ("sglang-oai-chat", "openai", "3"),
        ("sglang", "custom", "4"),
        ("vllm", "speed-bench", "3"),
        ("sglang-embedding", "embedding", "3"),
        ("vllm-embedding", "custom", "4"),
    ] {
        let run = Rbench::new(["serve", "--mock", "--backend", backend, "--num-prompts", requests])
            .file("rows.jsonl", read(dataset))
            .args(["--dataset-name", dataset, "--dataset-path", "rows.jsonl"])
            .args(["--sharegpt-output-len", "4", "--speed-bench-output-len", "4"])
            .run()
            .exits(0);
        assert_eq!(run.row("Successful requests:"), Some(requests), "{backend} {dataset}");
    }
}

#[test]
fn the_template_is_no_mistake_for_random() {
    let _ = Rbench::new(["serve", "--mock", "--num-prompts", "2", "--apply-chat-template"])
        .args(["--dataset-name", "random", "--random-input-len", "8", "--random-output-len", "4"])
        .run()
        .exits(0)
        .says(&["--apply-chat-template does nothing for --dataset-name random"]);
}
