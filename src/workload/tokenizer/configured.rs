//! What `tokenizer_config.json` says beside a `tokenizer.json`: tokens that the file lacks, what begins each text,
//! and how texts are normalized.
//!
//! The rules are those of transformers 5 with what SGLang 0.5.23 mends after it has loaded a tokenizer,
//! as theirs are the counts that a server reports.

use serde_json::{Map, Value};
use tokenizers::{AddedToken, NormalizerWrapper, PostProcessorWrapper};

use super::byte_level::Ends;
use crate::error::{Error, Kind};

/// The classes whose `add_bos_token` counts, and the token that begins texts where the configuration has none.
/// Other classes leave that to the `tokenizer.json`.
const BEGINNING: &[(&str, &str)] = &[
    ("LlamaTokenizer", "<s>"),
    ("LlamaTokenizerFast", "<s>"),
    ("CodeLlamaTokenizer", "<s>"),
    ("CodeLlamaTokenizerFast", "<s>"),
    ("GemmaTokenizer", "<bos>"),
    ("GemmaTokenizerFast", "<bos>"),
    ("CohereTokenizerFast", "<BOS_TOKEN>"),
];

/// Special tokens that a configuration names, in the order in which they get their ids.
const NAMED: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// Lists of further special tokens.
const LISTS: [&str; 2] = ["additional_special_tokens", "extra_special_tokens"];

/// Has the tokenizer `name` do what its configuration says.
///
/// # Errors
/// If an entry is malformed.
pub(super) fn apply(
    inner: &mut tokenizers::Tokenizer,
    name: &str,
    config: &Map<String, Value>,
) -> Result<(), Error> {
    if config.is_empty() {
        return Ok(());
    }
    let broken = |what: &str| {
        Error::new(Kind::Input, format!("the tokenizer_config.json of {name}: {what}"))
    };
    add(inner, tokens(config).map_err(|what| broken(&what))?)
        .map_err(|error| broken("its tokens cannot be added").because(error))?;
    begin(inner, config).map_err(|error| broken("add_bos_token cannot be used").because(error))?;
    normalize(inner, config).map_err(|error| broken("do_lower_case cannot be used").because(error))
}

/// The tokens of the configuration: those with ids, lowest first, then those with names.
fn tokens(config: &Map<String, Value>) -> Result<Vec<AddedToken>, String> {
    let mut tokens = Vec::new();
    if let Some(entries) = config.get("added_tokens_decoder").and_then(Value::as_object) {
        for (id, entry) in entries {
            let place = id.parse::<u32>().ok().zip(token(entry, false));
            tokens.push(place.ok_or_else(|| {
                format!("entry {id} of added_tokens_decoder is not an id with `content`")
            })?);
        }
    }
    tokens.sort_by_key(|(id, _)| *id);
    let named = NAMED.iter().filter_map(|key| token(config.get(*key)?, true));
    let listed = LISTS.iter().filter_map(|key| config.get(*key)).flat_map(|list| match list {
        Value::Array(items) => items.iter().collect::<Vec<_>>(),
        Value::Object(items) => items.values().collect(),
        _ => Vec::new(),
    });
    let listed = listed.filter_map(|item| token(item, true));
    Ok(tokens.into_iter().map(|(_, token)| token).chain(named).chain(listed).collect())
}

/// A token that is a text, or an object with the text as `content`.
fn token(value: &Value, special: bool) -> Option<AddedToken> {
    let flag = |key: &str| value.get(key).and_then(Value::as_bool);
    let text = value.as_str().or_else(|| value.get("content")?.as_str())?;
    let special = special || flag("special").unwrap_or(false);
    let flags = |token: AddedToken| {
        token
            .lstrip(flag("lstrip").unwrap_or(false))
            .rstrip(flag("rstrip").unwrap_or(false))
            .single_word(flag("single_word").unwrap_or(false))
            .normalized(flag("normalized").unwrap_or(!special))
    };
    (!text.is_empty()).then(|| flags(AddedToken::from(text, special)))
}

/// Adds the tokens that the tokenizer does not have; those that it has stay as they are.
fn add(inner: &mut tokenizers::Tokenizer, tokens: Vec<AddedToken>) -> tokenizers::Result<()> {
    for token in tokens {
        let known = inner.get_added_tokens_decoder();
        if known.values().any(|known| known.content == token.content) {
            continue;
        }
        if token.special {
            inner.add_special_tokens([token])?;
        } else {
            inner.add_tokens([token])?;
        }
    }
    Ok(())
}

/// Sets what begins each text, for the classes that do not leave that to the file.
fn begin(
    inner: &mut tokenizers::Tokenizer,
    config: &Map<String, Value>,
) -> Result<(), serde_json::Error> {
    let class = config.get("tokenizer_class").and_then(Value::as_str);
    let Some((_, usual)) = BEGINNING.iter().find(|(name, _)| Some(*name) == class) else {
        return Ok(());
    };
    if config.get("add_bos_token") == Some(&Value::Bool(false)) {
        return Ok(());
    }
    let text = match config.get("bos_token") {
        Some(Value::Null) => None,
        Some(value) => token(value, true).map(|token| token.content),
        // A token that only the class knows begins nothing in a vocabulary without it.
        None if inner.token_to_id(usual).is_none() => return Ok(()),
        None => Some((*usual).to_owned()),
    };
    let before = text.and_then(|text| Some((inner.token_to_id(&text)?, text)));
    let before = before.map(|(id, text)| (text, id));
    let processor: Option<PostProcessorWrapper> =
        serde_json::from_value(Ends { before, after: None }.json())?;
    inner.with_post_processor(processor);
    Ok(())
}

/// Sets how BERT's family treats letters, which the configuration says again.
fn normalize(
    inner: &mut tokenizers::Tokenizer,
    config: &Map<String, Value>,
) -> tokenizers::Result<()> {
    let class = config.get("tokenizer_class").and_then(Value::as_str).unwrap_or_default();
    let Some(normalizer) = inner.get_normalizer().filter(|_| class.contains("Bert")) else {
        return Ok(());
    };
    let mut json = serde_json::to_value(normalizer)?;
    if json["type"] != "BertNormalizer" {
        return Ok(());
    }
    for (key, name) in [
        ("do_lower_case", "lowercase"),
        ("strip_accents", "strip_accents"),
        ("tokenize_chinese_chars", "handle_chinese_chars"),
    ] {
        if let Some(value) = config.get(key).filter(|value| value.is_boolean()) {
            json[name] = value.clone();
        }
    }
    inner.with_normalizer(Some(serde_json::from_value::<NormalizerWrapper>(json)?))?;
    Ok(())
}
