//! Which file of a folder is taken, and what is told if none can be.

use expect_test::{Expect, expect};
use tempfile::TempDir;

use super::*;
use crate::workload::bundled;
use crate::workload::tokenizer::{Tokenizer, golden};

/// A folder with these files, each a copy of one of the golden ones.
fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    folder
}

fn tokenizer(path: &Path) -> Result<Tokenizer, Error> {
    Tokenizer::load(&[path.display().to_string()], &Hub::from_env(false))
}

#[test]
fn each_format_is_found_in_a_folder_and_by_its_path() {
    let ranks = golden::bytes("ranks.tiktoken");
    let pairs = golden::bytes("pairs.model");
    let gguf = golden::bytes("pairs.gguf");
    let kimi = br#"{"tokenizer_class": "TikTokenTokenizer"}"#;
    let qwen = br#"{"tokenizer_class": "QWenTokenizer"}"#;
    for (files, file) in [
        (&[("qwen.tiktoken", &ranks[..])][..], "qwen.tiktoken"),
        (&[("any.tiktoken", &ranks), ("tokenizer_config.json", qwen)], "any.tiktoken"),
        (&[("tiktoken.model", &ranks), ("tokenizer_config.json", kimi)], "tiktoken.model"),
        (&[("tokenizer.model", &pairs)], "tokenizer.model"),
        (&[("original/tokenizer.model", &pairs)], "original/tokenizer.model"),
        (&[("model-q4.gguf", &gguf)], "model-q4.gguf"),
        (
            &[
                ("m-00001-of-00002.gguf", &gguf),
                ("m-00002-of-00002.gguf", b""),
                ("mmproj-m.gguf", b""),
            ],
            "m-00001-of-00002.gguf",
        ),
        (&[("tokenizer.json", bundled::TOKENIZER), ("tokenizer.model", &pairs)], "tokenizer.json"),
    ] {
        let folder = folder(files);
        let text = "Two books, 12 pages: Grüße aus 北京.";
        let by_folder = tokenizer(folder.path()).unwrap();
        let by_path = tokenizer(&folder.path().join(file)).unwrap();
        let ids = by_folder.encode(text);
        assert!(ids.len() > 5, "{file}");
        assert_eq!(ids, by_path.encode(text), "{file}");
        assert_eq!(by_folder.decode(&ids), text, "{file}");
        // What makes prompts of exact lengths needs.
        assert!(by_folder.word_ids().len() > 50, "{file}");
        assert!(by_folder.plain_ids().len() >= 600, "{file}");
    }
}

#[test]
fn a_gguf_file_brings_its_template_along() {
    let folder = folder(&[]);
    let mut bytes = golden::bytes("bytes.gguf");
    let at = bytes.windows(8).position(|part| part == b"PRE-----").unwrap();
    // The length before it, and the value.
    let text = b"qwen2";
    bytes[at - 8] = text.len().try_into().unwrap();
    bytes.splice(at..at + 8, text.iter().copied());
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, bytes).unwrap();
    let tokenizer = tokenizer(&path).unwrap();
    assert_eq!(tokenizer.has_template(), Some(true));
    let template = tokenizer.chat_template(&jiff::Zoned::default()).unwrap();
    assert_eq!(template.bos(), Some("<|begin|>"));
    let messages = [serde_json::json!({"role": "user", "content": "hello"})];
    assert_eq!(template.render(&messages, None, false).unwrap(), "<|begin|>hello<|end|>");
}

fn check_refused(path: &Path, expect: &Expect) {
    let error = tokenizer(path).unwrap_err();
    let folder = path.parent().unwrap().display().to_string();
    expect.assert_eq(&error.message.replace(&folder, "…"));
    assert!(error.hints[0].contains("--tokenizer PATH"), "{error:?}");
}

#[test]
fn what_was_tried_is_told() {
    let ranks = golden::bytes("ranks.tiktoken");
    let whole = folder(&[
        ("none/config.json", b"{}"),
        ("two/a.gguf", b""),
        ("two/b.gguf", b""),
        ("unknown/a.tiktoken", &ranks),
        ("broken/tokenizer.model", b"\xff\xff\xff\xff"),
        ("broken/model.gguf", b"GGUF\x03\0\0\0"),
        ("broken/tokenizer.json", b"{}"),
    ]);
    let path = |name: &str| whole.path().join(name);
    check_refused(
        &path("none"),
        &expect![
            "no tokenizer could be loaded; tried …/none (the folder has no tokenizer of a known format: no tokenizer.json, tokenizer.model, tiktoken.model, one *.tiktoken, one *.gguf or original/tokenizer.model)"
        ],
    );
    check_refused(
        &path("two"),
        &expect![
            "no tokenizer could be loaded; tried …/two (the folder has 2 *.gguf files, such as a.gguf and b.gguf)"
        ],
    );
    check_refused(
        &path("unknown"),
        &expect![
            "no tokenizer could be loaded; tried …/unknown (…/unknown/a.tiktoken is a tiktoken file of 700 ranks with no tokenizer_class beside it, which tells no pattern of words; known are Kimi, Qwen, Llama 3, cl100k_base, o200k_base, r50k_base, p50k_base)"
        ],
    );
    check_refused(
        &path("broken/tokenizer.model"),
        &expect![
            "no tokenizer could be loaded; tried …/tokenizer.model (…/tokenizer.model is not a SentencePiece model: failed to decode Protobuf message: invalid varint)"
        ],
    );
    check_refused(
        &path("broken/model.gguf"),
        &expect![
            "no tokenizer could be loaded; tried …/model.gguf (…/model.gguf is not a GGUF file that can be read: it ends within its header)"
        ],
    );
    check_refused(
        &path("broken/tokenizer.json"),
        &expect![
            "no tokenizer could be loaded; tried …/tokenizer.json (…/tokenizer.json is not a tokenizer.json that can be read: Model missing. at line 1 column 2)"
        ],
    );
    check_refused(
        &path("not/there"),
        &expect!["no tokenizer could be loaded; tried …/there (no such file or folder)"],
    );
}
