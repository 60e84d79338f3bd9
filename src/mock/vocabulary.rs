//! The words an answer is made of, and how prompts are counted.
//!
//! A client under test often counts tokens by encoding the text again. It can only be checked if
//! the simulated text has as many tokens as were announced, hence the care taken here.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand::seq::IndexedRandom;
use tokenizers::Tokenizer;

/// Words kept at most; enough for varied text, and it bounds the time to start.
const MOST_WORDS: usize = 4096;

/// Words in the text that checks a vocabulary.
const CHECKED_WORDS: usize = 200;

/// What the simulated engine says, and how it counts what it is told.
pub struct Vocabulary {
    /// Texts of one token each, which are still one token each when they are concatenated.
    pub words: Vec<String>,
    /// Whether that promise was verified; without it a client that encodes the text again finds
    /// a somewhat different number of tokens.
    pub exact: bool,
    /// Counts the tokens of a prompt.
    pub count: Box<dyn Fn(&str) -> usize + Send + Sync>,
}

impl fmt::Debug for Vocabulary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vocabulary")
            .field("words", &self.words.len())
            .field("exact", &self.exact)
            .finish_non_exhaustive()
    }
}

/// Makes a vocabulary from a tokenizer.
///
/// A word is a space followed by ASCII lower-case letters that the tokenizer encodes as a single
/// token; those with the lowest token numbers are kept. If there are none, words that add one
/// token to a text before them are taken, which suits tokenizers that treat the start of a text
/// in their own way; if there are none of these either, the only word is ` token`.
///
/// A random text of 200 words is then encoded. [`Vocabulary::exact`] tells if it had 200 tokens;
/// the words are kept in either case.
///
/// Prompts are counted without special tokens, and without the truncation or padding that the
/// tokenizer may be set up with. The tokenizer is copied.
pub fn vocabulary_from(tokenizer: &Tokenizer) -> Vocabulary {
    let mut tokenizer = tokenizer.clone();
    tokenizer.with_padding(None);
    // Removing truncation cannot fail: only a new limit is checked.
    let _ = tokenizer.with_truncation(None);
    let candidates = candidates(&tokenizer);
    let count = move |text: &str| {
        tokenizer.encode_fast(text, false).map_or(0, |encoding| encoding.get_ids().len())
    };

    let mut words = keep(&candidates, |word| count(word) == 1);
    if words.is_empty() {
        let before = count("a");
        words = keep(&candidates, |word| count(&format!("a{word}")) == before + 1);
    }
    if words.is_empty() {
        words.push(" token".to_owned());
    }
    let exact = count(&sample(&words)) == CHECKED_WORDS;
    Vocabulary { words, exact, count: Box::new(count) }
}

/// The entries that look like a word, each with one space before it, by token number.
fn candidates(tokenizer: &Tokenizer) -> Vec<String> {
    let by_number: BTreeMap<u32, String> = tokenizer
        .get_vocab(false)
        .into_iter()
        .filter_map(|(entry, number)| {
            // Byte-level vocabularies write a leading space as `Ġ`, SentencePiece ones as `▁`,
            // and word-based ones leave it out.
            let letters = entry.strip_prefix(['Ġ', '▁', ' ']).unwrap_or(&entry);
            let is_word =
                !letters.is_empty() && letters.bytes().all(|byte| byte.is_ascii_lowercase());
            is_word.then(|| (number, format!(" {letters}")))
        })
        .collect();
    let mut seen = HashSet::new();
    by_number.into_values().filter(|word| seen.insert(word.clone())).collect()
}

/// The first candidates that pass `test`.
fn keep(candidates: &[String], test: impl Fn(&str) -> bool) -> Vec<String> {
    candidates.iter().filter(|word| test(word)).take(MOST_WORDS).cloned().collect()
}

/// A random text of [`CHECKED_WORDS`] words, always the same for the same words.
fn sample(words: &[String]) -> String {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    (0..CHECKED_WORDS).filter_map(|_| words.choose(&mut rng)).map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn byte_level(max_length: Option<usize>) -> Tokenizer {
        let settings = json!({
            "version": "1.0",
            "truncation": max_length.map(|max_length| json!({
                "max_length": max_length, "strategy": "LongestFirst", "stride": 0,
                "direction": "Right",
            })),
            "padding": null, "added_tokens": [], "normalizer": null, "post_processor": null,
            "pre_tokenizer": {
                "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                "use_regex": true,
            },
            "decoder": null,
            "model": {
                "type": "BPE",
                "vocab": {
                    "a": 0, "b": 1, "Ġ": 2, "ab": 3, "Ġb": 4, "Ġa": 5, "Ġab": 6, "Ġbb": 7,
                    "B": 8, "ĠB": 9,
                },
                "merges": ["Ġ a", "Ġ b", "Ġa b", "a b", "Ġ B"],
            },
        });
        Tokenizer::from_bytes(settings.to_string()).unwrap()
    }

    fn word_level(words: &[&str]) -> Tokenizer {
        let vocab: serde_json::Map<_, _> =
            words.iter().zip(0..).map(|(word, id)| ((*word).to_owned(), json!(id))).collect();
        let settings = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
            "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null,
            "decoder": null,
            "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]"},
        });
        Tokenizer::from_bytes(settings.to_string()).unwrap()
    }

    #[test]
    fn words_are_single_tokens_in_order_of_their_numbers() {
        let vocabulary = vocabulary_from(&byte_level(None));
        // No merge reaches ` bb`, so its text is two tokens; ` B` is not in lower case.
        assert_eq!(vocabulary.words, [" a", " b", " ab"]);
        assert!(vocabulary.exact);
        assert_eq!((vocabulary.count)(" a ab b"), 3);
    }

    #[test]
    fn prompts_are_counted_without_truncation() {
        let vocabulary = vocabulary_from(&byte_level(Some(2)));
        assert_eq!((vocabulary.count)(" a ab b a"), 4);
        assert!(vocabulary.exact);
    }

    #[test]
    fn entries_without_a_marker_are_words_too() {
        let vocabulary = vocabulary_from(&word_level(&["[UNK]", "two", "one", "Three"]));
        assert_eq!(vocabulary.words, [" two", " one"]);
        assert!(vocabulary.exact);
    }

    #[test]
    fn a_tokenizer_without_words_leaves_a_single_one() {
        let vocabulary = vocabulary_from(&word_level(&["[UNK]", "1", "2"]));
        assert_eq!(vocabulary.words, [" token"]);
    }
}
