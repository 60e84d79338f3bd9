//! How much longer the steps of a tokenizer can make a text.
//!
//! A file of some hundred bytes may say that each letter becomes two, forty times in a row. The library does as it says.

use base64::Engine as _;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// Bytes that one byte of a text may become; those of models' tokenizers become up to some dozens.
const MOST_FOLD: f64 = 4096.0;

/// Bytes that may be added to a text besides.
const MOST_ADDED: f64 = 1_048_576.0;

/// The steps of a `tokenizer.json` that rewrite texts.
#[derive(Deserialize)]
struct Steps<'a> {
    #[serde(borrow)]
    normalizer: Option<&'a RawValue>,
    #[serde(borrow)]
    pre_tokenizer: Option<&'a RawValue>,
    #[serde(borrow)]
    decoder: Option<&'a RawValue>,
}

/// A text of n bytes has up to `fold` n + `added` bytes afterwards.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Growth {
    fold: f64,
    added: f64,
}

impl Growth {
    const NONE: Self = Self { fold: 1.0, added: 0.0 };

    fn fold(fold: f64) -> Self {
        Self { fold: fold.max(1.0), added: 0.0 }
    }

    fn then(self, next: Self) -> Self {
        Self { fold: self.fold * next.fold, added: self.added * next.fold + next.added }
    }
}

/// Checks that the steps of the `tokenizer.json` in `text` keep texts of a length that can be handled.
///
/// # Errors
/// If they do not. A file that cannot be read is not judged here.
pub(super) fn check(text: &[u8]) -> Result<(), String> {
    let Ok(steps) = serde_json::from_slice::<Steps<'_>>(text) else { return Ok(()) };
    let growth = |step: Option<&RawValue>| {
        let value = step.and_then(|step| serde_json::from_str::<Value>(step.get()).ok());
        value.as_ref().map_or(Growth::NONE, of)
    };
    let encoding = growth(steps.normalizer).then(growth(steps.pre_tokenizer));
    for (what, growth) in [("normalizer", encoding), ("decoder", growth(steps.decoder))] {
        if growth.fold > MOST_FOLD || growth.added > MOST_ADDED {
            return Err(format!(
                "its {what} makes a text up to {:.0} times as long",
                growth.fold.max(growth.added)
            ));
        }
    }
    Ok(())
}

/// The growth by one step, or by a list of them.
fn of(step: &Value) -> Growth {
    let len = |key: &str| step.get(key).and_then(Value::as_str).map_or(0, str::len) as f64;
    match step.get("type").and_then(Value::as_str).unwrap_or_default() {
        "Sequence" => ["normalizers", "pretokenizers", "decoders"]
            .iter()
            .filter_map(|key| step.get(key)?.as_array())
            .flatten()
            .fold(Growth::NONE, |growth, step| growth.then(of(step))),
        "Replace" => match step.pointer("/pattern/String").and_then(Value::as_str) {
            Some(pattern) if !pattern.is_empty() => {
                Growth::fold(len("content") / pattern.len() as f64)
            }
            // A pattern may be found between any two letters.
            _ => Growth { fold: 1.0 + len("content"), added: len("content") },
        },
        "Prepend" => Growth { fold: 1.0, added: len("prepend") },
        "Precompiled" => Growth::fold(longest_in(step)),
        "ByteLevel" => Growth { fold: 2.0, added: 2.0 },
        "BertNormalizer" | "Metaspace" => Growth { fold: 3.0, added: 3.0 },
        "CTC" => Growth::fold(1.0 + len("word_delimiter_token")),
        _ => Growth::NONE,
    }
}

/// The length of the longest text in a table of characters: after the length of its tree and that, each with a zero.
fn longest_in(step: &Value) -> f64 {
    let table = step.get("precompiled_charsmap").and_then(Value::as_str).unwrap_or_default();
    let table = base64::engine::general_purpose::STANDARD.decode(table).unwrap_or_default();
    let texts = table
        .split_first_chunk::<4>()
        .and_then(|(len, rest)| rest.get(usize::try_from(u32::from_le_bytes(*len)).ok()?..));
    let longest = texts.unwrap_or(&table).split(|&byte| byte == 0).map(<[u8]>::len).max();
    longest.unwrap_or(0) as f64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn growths() {
        let replace = |pattern: &str, content: &str| json!({"type": "Replace", "pattern": {"String": pattern}, "content": content});
        let many = |step: &Value, n: usize| json!({"type": "Sequence", "normalizers": vec![step.clone(); n]});
        let table = |text: &str| {
            let bytes =
                [&4_u32.to_le_bytes()[..], b"tree", b"a\0", text.as_bytes(), b"\0"].concat();
            let table = base64::engine::general_purpose::STANDARD.encode(bytes);
            json!({"type": "Precompiled", "precompiled_charsmap": table})
        };
        let double = replace("a", "aa");
        let regex = json!({"type": "Replace", "pattern": {"Regex": "x*"}, "content": "yyyyyyy"});
        for (normalizer, fits) in [
            (Value::Null, true),
            (many(&double, 12), true),
            (many(&double, 13), false),
            (many(&many(&double, 5), 3), false),
            (many(&replace("aa", "a"), 1000), true),
            (many(&regex, 5), false),
            (replace(" ", "▁"), true),
            (json!({"type": "Prepend", "prepend": "▁"}), true),
            (json!({"type": "Prepend", "prepend": "x".repeat(2 << 20)}), false),
            (table("a text of 33 bytes, as one letter"), true),
            (table(&"x".repeat(5000)), false),
            (many(&json!({"type": "ByteLevel"}), 40), false),
            (json!({"type": "NFKC"}), true),
        ] {
            let file = json!({"model": {}, "normalizer": normalizer}).to_string();
            assert_eq!(check(file.as_bytes()).is_ok(), fits, "{:.200}", normalizer.to_string());
        }
        let decoder = json!({"type": "Sequence", "decoders": vec![double; 40]});
        let error = check(json!({"decoder": decoder}).to_string().as_bytes()).unwrap_err();
        assert!(error.contains("decoder"), "{error}");
        assert_eq!(check(b"no JSON"), Ok(()));
    }
}
