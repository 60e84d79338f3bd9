//! Files of tiktoken against tiktoken itself, and what is refused.

use expect_test::{Expect, expect};
use serde_json::json;

use super::*;
use crate::workload::tokenizer::golden;

fn config(config: &Value) -> Map<String, Value> {
    config.as_object().unwrap().clone()
}

#[test]
fn ids_are_those_of_tiktoken() {
    let bytes = golden::bytes("ranks.tiktoken");
    for (key, name, beside) in [
        ("tiktoken qwen", "folder/qwen.tiktoken", json!({})),
        ("tiktoken qwen", "tokenizer.model", json!({"tokenizer_class": "QWenTokenizer"})),
        ("tiktoken kimi", "tiktoken.model", json!({"tokenizer_class": "TikTokenTokenizer"})),
        ("tiktoken cl100k_base", "cl100k_base.tiktoken", json!({"tokenizer_class": "Other"})),
        ("tiktoken o200k_base", "o200k_base.tiktoken", json!({})),
        ("tiktoken r50k_base", "r50k_base.tiktoken", json!({})),
    ] {
        golden::check(key, convert(name, &bytes, &config(&beside)).unwrap());
    }
}

#[test]
fn special_tokens_are_those_of_the_family_and_of_the_configuration() {
    let bytes = golden::bytes("ranks.tiktoken");
    let tokenizer = golden::tokenizer(&convert("qwen.tiktoken", &bytes, &Map::new()).unwrap());
    let ids = |tokenizer: &tokenizers::Tokenizer, text: &str| {
        tokenizer.encode_fast(text, true).unwrap().get_ids().to_vec()
    };
    assert_eq!(ids(&tokenizer, "<|im_start|><|im_end|><|extra_204|>"), [701, 702, 907]);
    let beside = json!({
        "tokenizer_class": "TikTokenTokenizer",
        "added_tokens_decoder": {"700": {"content": "[BOS]", "special": true}, "702": {"content": "<|im_end|>"}},
    });
    let json = convert("tiktoken.model", &bytes, &config(&beside)).unwrap();
    let tokenizer = golden::tokenizer(&json);
    assert_eq!(ids(&tokenizer, "[BOS]<|reserved_token_701|><|im_end|>"), [700, 701, 702]);
    assert_eq!(tokenizer.decode(&[700, 702], true).unwrap(), "");
    // Bytes of broken characters come back as marks, not as nothing.
    assert_eq!(
        tokenizer.decode(&ids(&tokenizer, "Grüße, 北京 🙂"), false).unwrap(),
        "Grüße, 北京 🙂"
    );
}

#[test]
fn llama_3_is_told_by_its_number_of_ranks_and_begins_texts() {
    let filler = |i: u32| format!("{} {i}\n", BASE64_STANDARD.encode(format!("\u{1}{i}")));
    let bytes: String = (0..=255_u8)
        .map(|i| format!("{} {i}\n", BASE64_STANDARD.encode([i])))
        .chain((256..128_000).map(filler))
        .collect();
    let json = convert("original/tokenizer.model", bytes.as_bytes(), &Map::new()).unwrap();
    let tokenizer = golden::tokenizer(&json);
    let ids =
        |text: &str, special| tokenizer.encode_fast(text, special).unwrap().get_ids().to_vec();
    assert_eq!(ids("ab", true), [128_000, 97, 98]);
    assert_eq!(ids("ab", false), [97, 98]);
    for (text, id) in [
        ("<|end_of_text|>", 128_001),
        ("<|reserved_special_token_0|>", 128_002),
        ("<|start_header_id|>", 128_006),
        ("<|end_header_id|>", 128_007),
        ("<|reserved_special_token_4|>", 128_008),
        ("<|eot_id|>", 128_009),
        ("<|reserved_special_token_5|>", 128_010),
        ("<|reserved_special_token_250|>", 128_255),
    ] {
        assert_eq!(ids(text, false), [id], "{text}");
    }
}

/// Forall texts: merging by the list of pairs gives what merging the lowest rank first gives.
#[test]
fn merges_follow_the_ranks() {
    let ranks = ranks("ranks.tiktoken", &golden::bytes("ranks.tiktoken")).unwrap();
    let known: HashMap<&[u8], u32> =
        ranks.iter().map(|(bytes, rank)| (bytes.as_slice(), *rank)).collect();
    let lowest_first = |text: &[u8]| -> Vec<u32> {
        let mut parts: Vec<Vec<u8>> = text.iter().map(|&byte| vec![byte]).collect();
        while let Some((_, at)) = (0..parts.len().saturating_sub(1))
            .filter_map(|at| Some((*known.get(parts[at..at + 2].concat().as_slice())?, at)))
            .min()
        {
            let next = parts.remove(at + 1);
            parts[at].extend(next);
        }
        parts.iter().map(|part| known[part.as_slice()]).collect()
    };
    let json = convert("qwen.tiktoken", &golden::bytes("ranks.tiktoken"), &Map::new()).unwrap();
    // Only the pairs, without the shortcut for words and without words.
    let mut json = json;
    json["model"]["ignore_merges"] = false.into();
    json["pre_tokenizer"] = json["pre_tokenizer"]["pretokenizers"][1].clone();
    let tokenizer = golden::tokenizer(&json);
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = "[a-e thrinos\u{e9}\u{4e2d}]{0,40}";
    runner
        .run(&proptest::string::string_regex(strategy).unwrap(), |text| {
            let ids = tokenizer.encode_fast(text.as_str(), false).unwrap().get_ids().to_vec();
            proptest::prop_assert_eq!(ids, lowest_first(text.as_bytes()));
            Ok(())
        })
        .unwrap();
}

fn check_refused(name: &str, text: &str, beside: &Value, expect: &Expect) {
    expect.assert_eq(&convert(name, text.as_bytes(), &config(beside)).unwrap_err().message);
}

#[test]
fn what_is_not_known_is_refused() {
    let text = String::from_utf8(golden::bytes("ranks.tiktoken")).unwrap();
    check_refused(
        "my.tiktoken",
        &text,
        &json!({"tokenizer_class": "MyTokenizer"}),
        &expect![
            "my.tiktoken is a tiktoken file of 700 ranks with the tokenizer_class MyTokenizer beside it, which tells no pattern of words; known are Kimi, Qwen, Llama 3, cl100k_base, o200k_base, r50k_base, p50k_base"
        ],
    );
    check_refused(
        "x.tiktoken",
        "YQ== 0\nYQ== one\n",
        &json!({}),
        &expect!["line 2 of x.tiktoken is not a token in base64, a space and a rank"],
    );
    check_refused(
        "qwen.tiktoken",
        "YQ== 0\n",
        &json!({}),
        &expect!["qwen.tiktoken has no token for the single byte 0x00"],
    );
    check_refused(
        "qwen.tiktoken",
        &format!("{text}YQ== 900\n"),
        &json!({}),
        &expect![[r#"qwen.tiktoken has the token "a" twice, as 64 and as 900"#]],
    );
    check_refused(
        "qwen.tiktoken",
        &text,
        &json!({"added_tokens_decoder": {"x": {"content": "a"}}}),
        &expect![
            "added_tokens_decoder in the tokenizer_config.json of qwen.tiktoken has an entry that is not an id with `content`"
        ],
    );
}
