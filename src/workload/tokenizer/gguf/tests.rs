//! GGUF files against the tokenizers that they were made from, and what is refused.

use expect_test::{Expect, expect};

use super::*;
use crate::workload::tokenizer::golden;

fn keys(file: &str) -> Keys {
    Keys(header(&mut &golden::bytes(file)[..]).unwrap())
}

#[test]
fn ids_are_those_of_the_models() {
    for pre in
        ["gpt-2", "smollm", "llama-bpe", "qwen2", "qwen35", "gpt-4o", "tekken", "deepseek-v3"]
    {
        let mut keys = keys("bytes.gguf");
        keys.0.insert("ggml.pre".into(), Item::Text(pre.into()));
        golden::check(&format!("gguf {pre}"), convert("bytes.gguf", &keys).unwrap().tokenizer);
    }
    for name in ["pairs", "likely"] {
        let found = read(&golden::path(&format!("{name}.gguf"))).unwrap();
        golden::check(&format!("sentencepiece {name}"), found.tokenizer);
    }
}

#[test]
fn texts_begin_as_the_file_or_the_family_says() {
    let ids = |change: &[(&str, Item)]| {
        let mut keys = keys("bytes.gguf");
        keys.0.extend(change.iter().map(|(key, item)| ((*key).to_owned(), item.clone())));
        let found = convert("bytes.gguf", &keys).unwrap();
        golden::tokenizer(&found.tokenizer)
            .encode_fast("a<|end|>", true)
            .unwrap()
            .get_ids()
            .to_vec()
    };
    let pre = |pre: &str| ("ggml.pre", Item::Text(pre.into()));
    assert_eq!(ids(&[pre("qwen2")]).len(), 2);
    assert_eq!(ids(&[pre("qwen2")])[1], 701);
    assert_eq!(ids(&[pre("llama-bpe")])[0], 700);
    assert_eq!(ids(&[pre("llama-bpe"), ("ggml.add_bos_token", Item::Flag(false))]).len(), 2);
    let both = [("ggml.add_bos_token", Item::Flag(true)), ("ggml.add_eos_token", Item::Flag(true))];
    assert_eq!(ids(&[pre("qwen2"), both[0].clone(), both[1].clone()]).len(), 4);
}

#[test]
fn the_template_and_its_tokens_are_found() {
    let config = config(&keys("bytes.gguf"));
    expect![[r#"{"chat_template":"{{ bos_token }}{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}","bos_token":"<|begin|>","eos_token":"<|end|>","unk_token":null,"pad_token":null}"#]]
        .assert_eq(&config.to_string());
}

fn check_refused(file: &str, change: &[(&str, Option<Item>)], expect: &Expect) {
    let mut keys = keys(file);
    for (key, item) in change {
        match item {
            Some(item) => keys.0.insert((*key).to_owned(), item.clone()),
            None => keys.0.remove(*key),
        };
    }
    expect.assert_eq(&convert(file, &keys).unwrap_err().message);
}

#[test]
fn what_is_not_known_is_refused() {
    let text = |text: &str| Some(Item::Text(text.into()));
    check_refused(
        "bytes.gguf",
        &[("ggml.pre", text("superbpe"))],
        &expect![[
            r#"bytes.gguf has the tokenizer.ggml.pre "superbpe", whose pattern of words is not known"#
        ]],
    );
    check_refused(
        "bytes.gguf",
        &[("ggml.pre", None)],
        &expect!["bytes.gguf has no tokenizer.ggml.pre, so its pattern of words is not known"],
    );
    check_refused(
        "bytes.gguf",
        &[("ggml.model", text("bert"))],
        &expect![[
            r#"bytes.gguf has a tokenizer of the kind "bert"; gpt2, llama and t5 are supported"#
        ]],
    );
    check_refused(
        "bytes.gguf",
        &[("ggml.model", None)],
        &expect!["bytes.gguf has no tokenizer.ggml.model"],
    );
    check_refused(
        "bytes.gguf",
        &[("ggml.pre", text("qwen2")), ("ggml.merges", Some(Item::Texts(vec!["ab".into()])))],
        &expect![[r#"bytes.gguf has the merge "ab", which is no pair"#]],
    );
    check_refused(
        "pairs.gguf",
        &[("ggml.scores", None)],
        &expect!["pairs.gguf has no list tokenizer.ggml.scores"],
    );
    check_refused(
        "pairs.gguf",
        &[("ggml.scores", Some(Item::Floats(vec![0.0])))],
        &expect!["pairs.gguf has 700 tokens and 1 scores"],
    );
    check_refused(
        "pairs.gguf",
        &[("ggml.token_type", Some(Item::Wholes(vec![0])))],
        &expect!["pairs.gguf has 700 tokens and 1 types"],
    );
}

#[test]
fn broken_headers_are_refused() {
    let bytes = golden::bytes("bytes.gguf");
    let with = |at: usize, value: &[u8]| {
        let mut bytes = bytes.clone();
        bytes[at..at + value.len()].copy_from_slice(value);
        header(&mut &bytes[..]).unwrap_err().to_string()
    };
    assert_eq!(with(0, b"GGML"), "it does not begin with GGUF");
    assert_eq!(with(4, &[1]), "its version is 1; 2 and 3 are supported, little-endian");
    assert_eq!(
        with(4, &[0, 0, 0, 3]),
        "its version is 50331648; 2 and 3 are supported, little-endian"
    );
    assert_eq!(with(16, &[0xff; 8]), "it ends within its header");
    assert_eq!(with(24, &[0xff; 8]), "a text of 18446744073709551615 bytes");
    // Forall lengths: a file that is cut off within its header is told of, and nothing worse.
    let full = keys("bytes.gguf").0;
    for length in (0..bytes.len()).step_by(97) {
        if let Ok(keys) = header(&mut &bytes[..length]) {
            assert_eq!(keys, full);
        }
    }
}

/// Forall files with some bytes changed: there is a tokenizer or an error.
#[test]
fn changed_bytes_do_no_harm() {
    let bytes = golden::bytes("pairs.gguf");
    let places = 0..bytes.len();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let changes = proptest::collection::vec((places, proptest::num::u8::ANY), 1..4);
    runner
        .run(&changes, |changes| {
            let mut bytes = bytes.clone();
            for (at, byte) in changes {
                bytes[at] = byte;
            }
            if let Ok(keys) = header(&mut &bytes[..])
                && let Ok(found) = convert("changed.gguf", &Keys(keys))
                && let Ok(tokenizer) =
                    tokenizers::Tokenizer::from_bytes(found.tokenizer.to_string())
            {
                let _ = tokenizer.encode_fast("some words of a text", true);
            }
            Ok(())
        })
        .unwrap();
}
