//! What is remembered, against the tokenizers themselves.

use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;
use crate::workload::bundled;

fn bundled() -> Value {
    serde_json::from_slice(bundled::TOKENIZER).unwrap()
}

fn tokenizer(json: &Value) -> tokenizers::Tokenizer {
    tokenizers::Tokenizer::from_bytes(json.to_string().as_bytes()).unwrap()
}

fn byte_level(cuts: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": cuts})
}

/// The bundled vocabulary with every way of cutting that is known, and with a normalizer.
fn tokenizers() -> Vec<(tokenizers::Tokenizer, Memo)> {
    let patterns = byte_level::Words::ALL.iter().map(|words| {
        let split = |pattern| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
        let splits = words.patterns().into_iter().map(split);
        let all: Vec<Value> = splits.chain([byte_level(false)]).collect();
        json!({"type": "Sequence", "pretokenizers": all})
    });
    let mut files: Vec<Value> = patterns
        .chain([byte_level(true)])
        .map(|cuts| Value::Object(Map::from_iter([("pre_tokenizer".to_owned(), cuts)])))
        .collect();
    files.push(json!({"normalizer": {"type": "NFC"}}));
    files.push(json!({"post_processor": {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
    }}));
    let whole = |changes: Value| {
        let mut json = bundled();
        for (key, value) in changes.as_object().unwrap() {
            json[key] = value.clone();
        }
        let inner = tokenizer(&json);
        let memo = Memo::of(&inner).expect("a kind whose texts may be cut");
        (inner, memo)
    };
    files.into_iter().map(whole).collect()
}

fn remembered(inner: &tokenizers::Tokenizer, memo: &Memo, text: &str, special: bool) -> Vec<u32> {
    let mut ids = Vec::new();
    memo.each(inner, text, special, |some| ids.extend_from_slice(some)).unwrap();
    ids
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Forall texts and known tokenizers: what is remembered is what the whole text encodes to, and decodes to.
    #[test]
    fn parts_have_the_ids_of_the_whole(texts in prop::collection::vec(text(), 1..8)) {
        for (inner, memo) in tokenizers_once() {
            for text in &texts {
                for special in [false, true] {
                    let whole = inner.encode_fast(text.as_str(), special).unwrap();
                    prop_assert_eq!(
                        &remembered(inner, memo, text, special), whole.get_ids(),
                        "{:?} {:?}", text, serde_json::to_string(&inner.get_pre_tokenizer())
                    );
                    let ids: Vec<u32> = whole.get_ids().iter().copied().step_by(3).collect();
                    prop_assert_eq!(memo.decode(inner, &ids), inner.decode(&ids, false).ok());
                }
            }
        }
    }
}

fn tokenizers_once() -> &'static [(tokenizers::Tokenizer, Memo)] {
    static ALL: OnceLock<Vec<(tokenizers::Tokenizer, Memo)>> = OnceLock::new();
    ALL.get_or_init(tokenizers)
}

/// Texts of what makes cutting hard: kinds of space, marks, digits, scripts, contractions, special tokens.
fn text() -> impl Strategy<Value = String> {
    let atoms = [
        " ", " ", " ", "\n", "\n", "\r", "\t", "\u{a0}", "\u{3000}", "\u{85}", "\u{2028}", "a",
        "Ab", "word", "HTTP", "don't", "'", "'S", "7", "123", "4567", ".", "//", "!?", "_", "é",
        "e", "\u{301}", "中文", "の", "Ж", "ß", "¨", "½", "😀", "\u{200d}", "\u{1}", "\u{37e}",
        "\u{212a}", "<|end|>", "<|", "|>", "<s>", "the", " the",
    ];
    prop::collection::vec(prop::sample::select(atoms.to_vec()), 0..24)
        .prop_map(|atoms| atoms.concat())
}

#[test]
fn other_tokenizers_are_left_alone() {
    let split = |pattern: Value, behavior: &str| {
        let split =
            json!({"type": "Split", "pattern": pattern, "behavior": behavior, "invert": false});
        json!({"type": "Sequence", "pretokenizers": [split, byte_level(false)]})
    };
    let gpt2 = json!({"Regex": byte_level::Words::ALL[0].patterns()[0]});
    let mut prefix = byte_level(true);
    prefix["add_prefix_space"] = true.into();
    let mut dropout = bundled()["model"].clone();
    dropout["dropout"] = 0.1.into();
    let added = |content: &str, lstrip: bool| json!([{"id": 0, "content": content, "single_word": false, "lstrip": lstrip, "rstrip": false, "normalized": false, "special": true}]);
    for (key, value) in [
        ("pre_tokenizer", Value::Null),
        ("pre_tokenizer", prefix),
        ("pre_tokenizer", split(json!({"Regex": r"\S+\s"}), "Isolated")),
        ("pre_tokenizer", split(gpt2, "MergedWithNext")),
        ("normalizer", json!({"type": "Lowercase"})),
        ("model", dropout),
        ("added_tokens", added("two words", false)),
        ("added_tokens", added("<s>", true)),
    ] {
        let mut json = bundled();
        json[key] = value.clone();
        assert!(Memo::of(&tokenizer(&json)).is_none(), "{key}: {value}");
    }
}
