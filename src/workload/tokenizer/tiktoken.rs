//! Files of tiktoken: one token per line, its bytes in base64, then its rank.
//!
//! Such a file has neither the pattern that cuts text into words nor the special tokens.
//! They are known for the families below, which are told by the class in `tokenizer_config.json`,
//! by the name of the file, or by the number of ranks; any other file is refused.

use std::collections::HashMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value};

use super::byte_level::{self, Added, Ends, Vocabulary, Words, letters};
use crate::error::{Error, Kind};

/// Tokenizers that are published as such files.
struct Family {
    name: &'static str,
    /// The class in `tokenizer_config.json`.
    class: Option<&'static str>,
    /// The name of the file without its ending.
    stem: Option<&'static str>,
    /// How many ranks the published file has.
    ranks: Option<usize>,
    words: Words,
    /// The special tokens of a file with that many ranks.
    special: fn(u32) -> Vec<(u32, String)>,
    /// Whether texts are normalized to composed characters.
    composed: bool,
    /// What begins each text.
    begin: Option<&'static str>,
}

const END_OF_TEXT: &str = "<|endoftext|>";

const FAMILIES: &[Family] = &[
    Family {
        name: "Kimi",
        class: Some("TikTokenTokenizer"),
        stem: None,
        ranks: Some(163_584),
        words: Words::Kimi,
        special: |n| (n..n + 256).map(|id| (id, format!("<|reserved_token_{id}|>"))).collect(),
        composed: false,
        begin: None,
    },
    Family {
        name: "Qwen",
        class: Some("QWenTokenizer"),
        stem: Some("qwen"),
        ranks: Some(151_643),
        words: Words::Qwen,
        special: |n| {
            let named = [END_OF_TEXT, "<|im_start|>", "<|im_end|>"].map(str::to_owned);
            let extra = (0..205).map(|i| format!("<|extra_{i}|>"));
            (n..).zip(named.into_iter().chain(extra)).collect()
        },
        composed: true,
        begin: None,
    },
    Family {
        name: "Llama 3",
        class: None,
        stem: None,
        ranks: Some(128_000),
        words: Words::Cl100k,
        special: |n| {
            let name = |place| match place {
                0 => "<|begin_of_text|>".to_owned(),
                1 => "<|end_of_text|>".to_owned(),
                6 => "<|start_header_id|>".to_owned(),
                7 => "<|end_header_id|>".to_owned(),
                9 => "<|eot_id|>".to_owned(),
                2..=5 => format!("<|reserved_special_token_{}|>", place - 2),
                8 => "<|reserved_special_token_4|>".to_owned(),
                _ => format!("<|reserved_special_token_{}|>", place - 5),
            };
            (0..256).map(|place| (n + place, name(place))).collect()
        },
        composed: false,
        begin: Some("<|begin_of_text|>"),
    },
    Family {
        name: "cl100k_base",
        class: None,
        stem: Some("cl100k_base"),
        ranks: Some(100_256),
        words: Words::Cl100k,
        special: |n| {
            let named = [END_OF_TEXT, "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"];
            let mut all: Vec<_> = (n + 1..).zip(named.map(str::to_owned)).collect();
            all.push((n + 20, "<|endofprompt|>".to_owned()));
            all
        },
        composed: false,
        begin: None,
    },
    Family {
        name: "o200k_base",
        class: None,
        stem: Some("o200k_base"),
        ranks: Some(199_998),
        words: Words::O200k,
        special: |n| vec![(n + 1, END_OF_TEXT.to_owned()), (n + 20, "<|endofprompt|>".to_owned())],
        composed: false,
        begin: None,
    },
    Family {
        name: "r50k_base",
        class: None,
        stem: Some("r50k_base"),
        ranks: Some(50_256),
        words: Words::Gpt2,
        special: |n| vec![(n, END_OF_TEXT.to_owned())],
        composed: false,
        begin: None,
    },
    Family {
        name: "p50k_base",
        class: None,
        stem: Some("p50k_base"),
        ranks: Some(50_280),
        words: Words::Gpt2,
        // Its ranks leave the place of this token free.
        special: |_| vec![(50_256, END_OF_TEXT.to_owned())],
        composed: false,
        begin: None,
    },
];

/// Whether `text` begins with a line of such a file.
pub(super) fn is(text: &[u8]) -> bool {
    text.split(|&byte| byte == b'\n').next().is_some_and(|line| entry(line).is_some())
}

/// The bytes and the rank in a line.
fn entry(line: &[u8]) -> Option<(Vec<u8>, u32)> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let space = line.iter().position(|&byte| byte == b' ')?;
    let rank = std::str::from_utf8(&line[space + 1..]).ok()?.trim_end().parse().ok()?;
    Some((BASE64_STANDARD.decode(&line[..space]).ok()?, rank))
}

/// The file `name` with its `text` and the `tokenizer_config.json` beside it, as a `tokenizer.json`.
///
/// # Errors
/// If a line is none, or the family of the file is not known.
pub(super) fn convert(
    name: &str,
    text: &[u8],
    config: &Map<String, Value>,
) -> Result<Value, Error> {
    let ranks = ranks(name, text)?;
    let stem = std::path::Path::new(name).file_stem().and_then(|stem| stem.to_str());
    let class = config.get("tokenizer_class").and_then(Value::as_str);
    let family = family(name, stem, class, ranks.len())?;
    let count = u32::try_from(ranks.len()).unwrap_or(u32::MAX);
    let mut special: Vec<(u32, String)> = (family.special)(count);
    for token in configured(name, config)? {
        special.retain(|(id, _)| *id != token.id);
        special.push((token.id, token.text));
    }
    let begin = family.begin.and_then(|begin| {
        special.iter().find(|(_, text)| text == begin).map(|(id, text)| (text.clone(), *id))
    });
    let added = special.into_iter().map(|(id, text)| Added { id, text, special: true }).collect();
    let merges = merges(&ranks);
    let tokens = ranks.iter().map(|(bytes, rank)| (letters(bytes), *rank)).collect();
    byte_level::tokenizer(
        name,
        Vocabulary {
            tokens,
            merges,
            added,
            words: family.words,
            whole_words: true,
            composed: family.composed,
            ends: Ends { before: begin, after: None },
        },
    )
}

fn family(
    name: &str,
    stem: Option<&str>,
    class: Option<&str>,
    ranks: usize,
) -> Result<&'static Family, Error> {
    let by_class = || FAMILIES.iter().find(|family| class.is_some() && family.class == class);
    let by_stem = || FAMILIES.iter().find(|family| stem.is_some() && family.stem == stem);
    let by_ranks = || FAMILIES.iter().find(|family| family.ranks == Some(ranks));
    by_class().or_else(by_stem).or_else(by_ranks).ok_or_else(|| {
        let known: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
        let class = class.map_or("no tokenizer_class".to_owned(), |class| {
            format!("the tokenizer_class {class}")
        });
        Error::new(
            Kind::Input,
            format!(
                "{name} is a tiktoken file of {ranks} ranks with {class} beside it, which tells no pattern of words; known are {}",
                known.join(", ")
            ),
        )
    })
}

/// The tokens by rank, lowest first.
fn ranks(name: &str, text: &[u8]) -> Result<Vec<(Vec<u8>, u32)>, Error> {
    let mut ranks = Vec::new();
    for (line, text) in (1..).zip(text.split(|&byte| byte == b'\n')) {
        if text.trim_ascii().is_empty() {
            continue;
        }
        let entry = entry(text).filter(|(bytes, _)| !bytes.is_empty()).ok_or_else(|| {
            Error::new(
                Kind::Input,
                format!("line {line} of {name} is not a token in base64, a space and a rank"),
            )
        })?;
        ranks.push(entry);
    }
    ranks.sort_by_key(|(_, rank)| *rank);
    let single: Vec<u8> =
        ranks.iter().filter(|(bytes, _)| bytes.len() == 1).map(|(bytes, _)| bytes[0]).collect();
    if let Some(missing) = (0..=255_u8).find(|byte| !single.contains(byte)) {
        return Err(Error::new(
            Kind::Input,
            format!("{name} has no token for the single byte {missing:#04x}"),
        ));
    }
    Ok(ranks)
}

/// All pairs that make a token, in the order in which they are merged.
///
/// Two neighbours are merged if together they are a token, the lowest rank first, however the token came about.
/// So each token is listed with every pair that makes it.
fn merges(ranks: &[(Vec<u8>, u32)]) -> Vec<(String, String)> {
    let known: HashMap<&[u8], u32> =
        ranks.iter().map(|(bytes, rank)| (bytes.as_slice(), *rank)).collect();
    let mut merges = Vec::new();
    for (bytes, _) in ranks {
        let mut pairs: Vec<(u32, u32, usize)> = (1..bytes.len())
            .filter_map(|at| Some((*known.get(&bytes[..at])?, *known.get(&bytes[at..])?, at)))
            .collect();
        pairs.sort_unstable();
        merges.extend(pairs.iter().map(|&(.., at)| (letters(&bytes[..at]), letters(&bytes[at..]))));
    }
    merges
}

/// The tokens that `tokenizer_config.json` adds.
///
/// # Errors
/// If an entry is none.
pub(super) fn configured(name: &str, config: &Map<String, Value>) -> Result<Vec<Added>, Error> {
    let Some(added) = config.get("added_tokens_decoder").and_then(Value::as_object) else {
        return Ok(Vec::new());
    };
    let token = |(id, token): (&String, &Value)| {
        Some(Added {
            id: id.parse().ok()?,
            text: token.get("content")?.as_str()?.to_owned(),
            special: token.get("special").and_then(Value::as_bool).unwrap_or(false),
        })
    };
    let tokens: Option<Vec<Added>> = added.iter().map(token).collect();
    let mut tokens = tokens.ok_or_else(|| {
        Error::new(
            Kind::Input,
            format!("added_tokens_decoder in the tokenizer_config.json of {name} has an entry that is not an id with `content`"),
        )
    })?;
    tokens.sort_by_key(|token| token.id);
    Ok(tokens)
}

#[cfg(test)]
#[path = "tiktoken/tests.rs"]
mod tests;
