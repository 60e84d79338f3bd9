//! Byte-level BPE, as tiktoken files and most GGUF files hold it, written as a `tokenizer.json`.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::error::{Error, Kind};

/// How text is cut into words before pairs are merged. No file holds it, so it must be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Words {
    /// GPT-2 and its kin.
    Gpt2,
    /// As GPT-2, with each digit a word of its own.
    Gpt2Digits,
    /// `cl100k_base` and Llama 3: up to three digits.
    Cl100k,
    /// Qwen, one digit.
    Qwen,
    /// Qwen 3.5, where marks belong to letters.
    Qwen35,
    /// `o200k_base`: a change of case begins a word.
    O200k,
    /// Mistral's Tekken.
    Tekken,
    /// Kimi: runs of Han characters are words.
    Kimi,
    /// DeepSeek V3.
    DeepSeekV3,
}

impl Words {
    /// All of them.
    pub(super) const ALL: [Self; 9] = [
        Self::Gpt2,
        Self::Gpt2Digits,
        Self::Cl100k,
        Self::Qwen,
        Self::Qwen35,
        Self::O200k,
        Self::Tekken,
        Self::Kimi,
        Self::DeepSeekV3,
    ];

    /// Whether one of them has these patterns.
    pub(super) fn have(patterns: &[String]) -> bool {
        Self::ALL.iter().any(|words| words.patterns() == patterns)
    }

    /// The patterns, each applied to what the one before left.
    pub(super) fn patterns(self) -> Vec<String> {
        const SPACES: &str = r"\s*[\r\n]+|\s+(?!\S)|\s+";
        const SHORT: &str = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
        let common = |digits: &str| {
            format!(
                r"{SHORT}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{SPACES}"
            )
        };
        // Words in which small letters follow capitals, then words of capitals.
        let cased = |but: &str, short: &str, digits: &str, tail: &str| {
            let any = r"[^\r\n\p{L}\p{N}]?";
            let upper = format!(r"[\p{{Lu}}\p{{Lt}}\p{{Lm}}\p{{Lo}}\p{{M}}{but}]");
            let lower = format!(r"[\p{{Ll}}\p{{Lm}}\p{{Lo}}\p{{M}}{but}]");
            format!(
                r"{any}{upper}*{lower}+{short}|{any}{upper}+{lower}*{short}|{digits}| ?[^\s\p{{L}}\p{{N}}]+{tail}|{SPACES}"
            )
        };
        let gpt2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
        let optional = format!("{SHORT}?");
        match self {
            Self::Gpt2 => vec![gpt2.to_owned()],
            Self::Gpt2Digits => vec![r"\p{N}".to_owned(), gpt2.to_owned()],
            Self::Cl100k => vec![common(r"\p{N}{1,3}")],
            Self::Qwen => vec![common(r"\p{N}")],
            Self::Qwen35 => vec![format!(
                r"{SHORT}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{SPACES}"
            )],
            Self::O200k => vec![cased("", &optional, r"\p{N}{1,3}", r"[\r\n/]*")],
            Self::Tekken => vec![cased("", "", r"\p{N}", r"[\r\n/]*")],
            Self::Kimi => vec![format!(
                r"[\p{{Han}}]+|{}",
                cased(r"&&[^\p{Han}]", &optional, r"\p{N}{1,3}", r"[\r\n]*")
            )],
            Self::DeepSeekV3 => vec![
                r"\p{N}{1,3}".to_owned(),
                "[一-龥\u{3040}-ゟ゠-ヿ]+".to_owned(),
                format!(
                    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{{|}}~][A-Za-z]+|[^\r\n\p{{L}}\p{{P}}\p{{S}}]?[\p{{L}}\p{{M}}]+| ?[\p{{P}}\p{{S}}]+[\r\n]*|{SPACES}"##
                ),
            ],
        }
    }
}

/// A token that is found in the text before anything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Added {
    pub id: u32,
    pub text: String,
    /// Whether it belongs to the machinery of the model rather than to text.
    pub special: bool,
}

impl Added {
    /// As it stands in a `tokenizer.json`.
    pub(super) fn json(&self) -> Value {
        json!({
            "id": self.id, "content": self.text, "special": self.special,
            "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        })
    }
}

/// What a file says of its vocabulary.
#[derive(Debug)]
pub(super) struct Vocabulary {
    /// Tokens, their bytes written as [`letters`].
    pub tokens: Vec<(String, u32)>,
    /// Pairs to merge, the first first.
    pub merges: Vec<(String, String)>,
    pub added: Vec<Added>,
    pub words: Words,
    /// Whether a word that is a token is that token, whatever the merges make of it.
    pub whole_words: bool,
    /// Whether characters are composed (NFC) before anything else.
    pub composed: bool,
    /// What a server puts before and after each text.
    pub ends: Ends,
}

/// Tokens around each text, as text and id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ends {
    pub before: Option<(String, u32)>,
    pub after: Option<(String, u32)>,
}

impl Ends {
    /// As it stands in a `tokenizer.json`.
    pub(super) fn json(&self) -> Value {
        if self.before.is_none() && self.after.is_none() {
            return Value::Null;
        }
        let token = |(text, _): &(String, u32)| json!({"SpecialToken": {"id": text, "type_id": 0}});
        let around = |sequences: &[&str]| -> Vec<Value> {
            let texts = sequences.iter().map(|id| json!({"Sequence": {"id": id, "type_id": 0}}));
            self.before.iter().map(token).chain(texts).chain(self.after.iter().map(token)).collect()
        };
        let mut tokens = Map::new();
        for (text, id) in self.before.iter().chain(&self.after) {
            tokens.insert(text.clone(), json!({"id": text, "ids": [id], "tokens": [text]}));
        }
        json!({
            "type": "TemplateProcessing", "special_tokens": tokens,
            "single": around(&["A"]), "pair": around(&["A", "B"]),
        })
    }
}

/// Tokens by their text, refusing one text with two ids.
///
/// # Errors
/// If a text has two ids.
pub(super) fn by_text(
    name: &str,
    tokens: impl IntoIterator<Item = (String, u32)>,
    added: &[Added],
) -> Result<Map<String, Value>, Error> {
    let mut vocabulary: HashMap<String, u32> = HashMap::new();
    let added = added.iter().map(|token| (token.text.clone(), token.id));
    for (text, id) in tokens.into_iter().chain(added) {
        if let Some(other) = vocabulary.insert(text.clone(), id)
            && other != id
        {
            return Err(Error::new(
                Kind::Input,
                format!("{name} has the token {text:?} twice, as {other} and as {id}"),
            ));
        }
    }
    let mut sorted: Vec<(String, u32)> = vocabulary.into_iter().collect();
    sorted.sort_unstable_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0].1 == pair[1].1) {
        return Err(Error::new(
            Kind::Input,
            format!("{name} has two tokens {}: {:?} and {:?}", pair[0].1, pair[0].0, pair[1].0),
        ));
    }
    Ok(sorted.into_iter().map(|(text, id)| (text, id.into())).collect())
}

/// The tokenizer as a `tokenizer.json`.
///
/// # Errors
/// If two tokens have one id, or one text two.
pub(super) fn tokenizer(name: &str, vocabulary: Vocabulary) -> Result<Value, Error> {
    let Vocabulary { tokens, merges, mut added, words, whole_words, composed, ends } = vocabulary;
    added.sort_by_key(|token| token.id);
    let mut cuts: Vec<Value> = words
        .patterns()
        .into_iter()
        .map(|pattern| {
            json!({
                "type": "Split", "pattern": {"Regex": pattern},
                "behavior": "Isolated", "invert": false,
            })
        })
        .collect();
    let bytes = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false,
    });
    cuts.push(bytes.clone());
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added.iter().map(Added::json).collect::<Vec<_>>(),
        "normalizer": composed.then(|| json!({"type": "NFC"})),
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": cuts},
        "post_processor": ends.json(),
        "decoder": bytes,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null,
            "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": whole_words,
            "vocab": by_text(name, tokens, &added)?,
            "merges": merges,
        },
    }))
}

/// Bytes as the visible letters that byte-level vocabularies write them with:
/// printable Latin 1 stands for itself, the others follow from U+0100 on.
pub(super) fn letters(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| letter(byte)).collect()
}

/// The byte that each of those letters stands for.
pub(super) fn bytes_of_letters() -> HashMap<char, u8> {
    (0..=u8::MAX).map(|byte| (letter(byte), byte)).collect()
}

fn letter(byte: u8) -> char {
    let shifted = |base: u32, from: u8| {
        char::from_u32(base + u32::from(byte - from)).unwrap_or(char::REPLACEMENT_CHARACTER)
    };
    match byte {
        0..=0x20 => shifted(0x100, 0),
        0x7f..=0xa0 => shifted(0x121, 0x7f),
        0xad => '\u{143}',
        _ => char::from(byte),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_byte_has_a_letter_of_its_own() {
        let all: Vec<u8> = (0..=255).collect();
        let letters = letters(&all);
        let unique: HashSet<char> = letters.chars().collect();
        assert_eq!(unique.len(), 256);
        assert!(letters.chars().all(|c| !c.is_whitespace() && !c.is_control()), "{letters}");
        // The tokenizers crate has the same alphabet.
        assert_eq!(
            unique,
            tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet().into_iter().collect()
        );
        assert_eq!(super::letters(b" a\n\xff\xad\x7f"), "\u{120}a\u{10a}\u{ff}\u{143}\u{121}");
    }

    #[test]
    fn tokens_are_not_mixed_up() {
        let token = |text: &str, id| (text.to_owned(), id);
        let error = by_text("x", [token("a", 1), token("a", 2)], &[]).unwrap_err();
        assert_eq!(error.message, "x has the token \"a\" twice, as 1 and as 2");
        let error = by_text("x", [token("a", 1), token("b", 1)], &[]).unwrap_err();
        assert_eq!(error.message, "x has two tokens 1: \"a\" and \"b\"");
    }

    #[test]
    fn words_are_cut_where_the_models_cut_them() {
        use tokenizers::PreTokenizer as _;
        let cut = |words: Words, text: &str| {
            let mut text = tokenizers::PreTokenizedString::from(text);
            for pattern in words.patterns() {
                tokenizers::pre_tokenizers::split::Split::new(
                    tokenizers::pre_tokenizers::split::SplitPattern::Regex(pattern),
                    tokenizers::SplitDelimiterBehavior::Isolated,
                    false,
                )
                .unwrap()
                .pre_tokenize(&mut text)
                .unwrap();
            }
            text.get_splits(tokenizers::OffsetReferential::Original, tokenizers::OffsetType::Byte)
                .into_iter()
                .map(|(text, _, _)| text.to_owned())
                .collect::<Vec<_>>()
                .join("|")
        };
        let text = "I'LL don't 12345 中文English混合HTTPServer  x\n\n /a//\nŚ́";
        let mut seen = String::new();
        for words in Words::ALL {
            seen += &format!("{words:?}: {}\n", cut(words, text).replace('\n', "⏎"));
        }
        expect_test::expect![[r"
            Gpt2: I|'|LL| don|'t| 12345| 中文English混合HTTPServer| | x|⏎⏎| /|a|//|⏎|Ś|́
            Gpt2Digits: I|'|LL| don|'t| |1|2|3|4|5| 中文English混合HTTPServer| | x|⏎⏎| /|a|//|⏎|Ś|́
            Cl100k: I|'LL| don|'t| |123|45| 中文English混合HTTPServer| | x|⏎⏎| /|a|//⏎|Ś|́
            Qwen: I|'LL| don|'t| |1|2|3|4|5| 中文English混合HTTPServer| | x|⏎⏎| /|a|//⏎|Ś|́
            Qwen35: I|'LL| don|'t| |1|2|3|4|5| 中文English混合HTTPServer| | x|⏎⏎| /|a|//⏎|Ś́
            O200k: I'LL| don't| |123|45| 中文English混合|HTTPServer| | x|⏎⏎| /|a|//⏎|Ś́
            Tekken: I|'LL| don|'t| |1|2|3|4|5| 中文English混合|HTTPServer| | x|⏎⏎| /|a|//⏎|Ś́
            Kimi: I'LL| don't| |123|45| |中文|English|混合|HTTPServer| | x|⏎⏎| /|a|//⏎|Ś́
            DeepSeekV3: I|'LL| don|'t| |123|45| |中文|English|混合|HTTPServer| | x|⏎⏎| /|a|//⏎|Ś́
        "]]
        .assert_eq(&seen);
    }
}
