//! The files of `tests/data/tokenizers`, and the ids that other programs give for the same files and texts.

use std::path::PathBuf;

use serde_json::{Value, json};

pub(super) fn path(file: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/data/tokenizers", file].iter().collect()
}

pub(super) fn bytes(file: &str) -> Vec<u8> {
    std::fs::read(path(file)).unwrap()
}

pub(super) fn tokenizer(json: &Value) -> tokenizers::Tokenizer {
    tokenizers::Tokenizer::from_bytes(json.to_string()).unwrap()
}

/// Forall texts: the ids are those that the other program gave under `key`.
///
/// The other programs take special tokens in a text for text, so none are added here.
/// A model of likely pieces takes the names of special tokens and bytes for pieces; such texts are left out.
pub(super) fn check(key: &str, mut json: Value) {
    json["added_tokens"] = json!([]);
    let tokenizer = tokenizer(&json);
    let golden: Value = serde_json::from_slice(&bytes("golden.json")).unwrap();
    let texts = golden["texts"].as_array().unwrap();
    let ids = golden["ids"][key].as_array().unwrap_or_else(|| panic!("no {key}"));
    assert_eq!(texts.len(), ids.len());
    let mut wrong = Vec::new();
    let unigram = json["model"]["type"] == "Unigram";
    for (text, ids) in texts.iter().zip(ids) {
        let text = text.as_str().unwrap();
        if unigram && ["<s>", "<0x"].iter().any(|name| text.contains(name)) {
            continue;
        }
        let encoding = tokenizer.encode_fast(text, false).unwrap();
        let ids: Vec<u32> = serde_json::from_value(ids.clone()).unwrap();
        if encoding.get_ids() != ids {
            wrong.push((text, ids.clone(), encoding.get_ids().to_vec()));
        }
    }
    assert!(wrong.is_empty(), "{key}: text, their ids, ours: {wrong:#?}");
}
