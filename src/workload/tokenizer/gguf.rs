//! The tokenizer in the header of a GGUF file. The weights behind it are not read.
//!
//! The crates that read GGUF describe the weights as well, and so refuse files with types newer than themselves,
//! or bring a command line or a tensor library along; the header is a list of keys with typed values.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::byte_level::{self, Added, Ends, Vocabulary, Words};
use super::pieces::{self, Choice, LeadingSpace, Piece, Pieces, Purpose};
use crate::error::{Error, Kind};

/// What such a file begins with.
pub(super) const MAGIC: &[u8; 4] = b"GGUF";

/// Longest text that is taken for one, in bytes.
const LONGEST: u64 = 1 << 26;

/// The values that describe a tokenizer.
#[derive(Debug, Clone, PartialEq)]
enum Item {
    Whole(i64),
    Float(f64),
    Flag(bool),
    Text(String),
    Wholes(Vec<i64>),
    Floats(Vec<f64>),
    Texts(Vec<String>),
    Other,
}

/// A tokenizer, and what else the file says of it.
#[derive(Debug)]
pub(super) struct Found {
    /// As a `tokenizer.json`.
    pub tokenizer: Value,
    /// As a `tokenizer_config.json`.
    pub config: Value,
}

/// Reads the tokenizer of the file at `path`.
///
/// # Errors
/// If the file is broken, has no tokenizer, or one that is not supported.
pub(super) fn read(path: &Path) -> Result<Found, Error> {
    let name = path.display().to_string();
    let file = File::open(path)
        .map_err(|error| Error::new(Kind::Input, format!("cannot read {name}")).because(error))?;
    let keys = header(&mut BufReader::new(file)).map_err(|error| {
        Error::new(Kind::Input, format!("{name} is not a GGUF file that can be read"))
            .because(error)
    })?;
    convert(&name, &Keys(keys))
}

/// The keys of a tokenizer, without their common beginning.
struct Keys(HashMap<String, Item>);

impl Keys {
    fn text(&self, key: &str) -> Option<&str> {
        match self.0.get(key)? {
            Item::Text(text) => Some(text),
            _ => None,
        }
    }

    fn flag(&self, key: &str) -> Option<bool> {
        match self.0.get(key)? {
            Item::Flag(flag) => Some(*flag),
            _ => None,
        }
    }

    fn texts(&self, key: &str) -> Option<&[String]> {
        match self.0.get(key)? {
            Item::Texts(texts) => Some(texts),
            _ => None,
        }
    }

    fn wholes(&self, key: &str) -> Option<&[i64]> {
        match self.0.get(key)? {
            Item::Wholes(wholes) => Some(wholes),
            _ => None,
        }
    }

    fn floats(&self, key: &str) -> Option<&[f64]> {
        match self.0.get(key)? {
            Item::Floats(floats) => Some(floats),
            _ => None,
        }
    }

    /// A token that is named by its id.
    fn token(&self, key: &str) -> Option<(String, u32)> {
        let Item::Whole(id) = self.0.get(key)? else { return None };
        let text = self.texts("ggml.tokens")?.get(usize::try_from(*id).ok()?)?;
        Some((text.clone(), u32::try_from(*id).ok()?))
    }
}

fn convert(name: &str, keys: &Keys) -> Result<Found, Error> {
    let refuse = |what: String| Error::new(Kind::Input, format!("{name} {what}"));
    let lacks = |key: &str| refuse(format!("has no list tokenizer.{key}"));
    let model =
        keys.text("ggml.model").ok_or_else(|| refuse("has no tokenizer.ggml.model".to_owned()))?;
    let tokens = keys.texts("ggml.tokens").ok_or_else(|| lacks("ggml.tokens"))?;
    let types = match keys.wholes("ggml.token_type") {
        Some(types) if types.len() == tokens.len() => types.to_vec(),
        None => vec![1; tokens.len()],
        Some(types) => {
            return Err(refuse(format!("has {} tokens and {} types", tokens.len(), types.len())));
        }
    };
    let ends = |begin: bool| Ends {
        before: keys
            .token("ggml.bos_token_id")
            .filter(|_| keys.flag("ggml.add_bos_token").unwrap_or(begin)),
        after: keys
            .token("ggml.eos_token_id")
            .filter(|_| keys.flag("ggml.add_eos_token").unwrap_or(false)),
    };
    let tokenizer = match model {
        "gpt2" => {
            let pre = keys.text("ggml.pre").ok_or_else(|| {
                refuse("has no tokenizer.ggml.pre, so its pattern of words is not known".to_owned())
            })?;
            let (words, whole_words) = words(pre).ok_or_else(|| {
                refuse(format!(
                    "has the tokenizer.ggml.pre {pre:?}, whose pattern of words is not known"
                ))
            })?;
            let merges = keys.texts("ggml.merges").ok_or_else(|| lacks("ggml.merges"))?;
            let merges = merges.iter().map(|merge| {
                let (left, right) = merge
                    .split_once(' ')
                    .ok_or_else(|| refuse(format!("has the merge {merge:?}, which is no pair")))?;
                Ok((left.to_owned(), right.to_owned()))
            });
            let added = (0..).zip(tokens.iter().zip(&types)).filter_map(|(id, (text, kind))| {
                let special = matches!(kind, 2 | 3);
                (special || *kind == 4).then(|| Added { id, text: text.clone(), special })
            });
            byte_level::tokenizer(
                name,
                Vocabulary {
                    tokens: tokens.iter().cloned().zip(0..).collect(),
                    merges: merges.collect::<Result<_, Error>>()?,
                    added: added.collect(),
                    words,
                    whole_words,
                    composed: false,
                    // Those that take whole words begin texts, unless the file says otherwise.
                    ends: ends(whole_words),
                },
            )?
        }
        "llama" | "t5" => {
            let scores = keys.floats("ggml.scores").ok_or_else(|| lacks("ggml.scores"))?;
            if scores.len() != tokens.len() {
                return Err(refuse(format!(
                    "has {} tokens and {} scores",
                    tokens.len(),
                    scores.len()
                )));
            }
            let pieces = tokens.iter().zip(scores).zip(&types).map(|((text, score), kind)| {
                let purpose = Purpose::new(*kind).ok_or_else(|| {
                    refuse(format!("has {text:?} of type {kind}, which is not known"))
                })?;
                #[expect(clippy::cast_possible_truncation, reason = "written as such")]
                let score = *score as f32;
                Ok(Piece { text: text.clone(), score, purpose })
            });
            let unigram = model == "t5";
            let mut ends = ends(!unigram);
            if unigram && keys.flag("ggml.add_eos_token").is_none() {
                ends.after = keys.token("ggml.eos_token_id");
            }
            let characters = match keys.wholes("ggml.precompiled_charsmap") {
                None => Vec::new(),
                // Bytes, which some writers have as signed.
                Some(bytes) => bytes.iter().map(|byte| byte.to_le_bytes()[0]).collect(),
            };
            pieces::tokenizer(
                name,
                Pieces {
                    all: pieces.collect::<Result<_, Error>>()?,
                    choice: if unigram { Choice::Unigram } else { Choice::Pairs },
                    characters,
                    leading_space: match keys.flag("ggml.add_space_prefix") {
                        Some(false) => LeadingSpace::Never,
                        _ => LeadingSpace::Each,
                    },
                    single_spaces: keys.flag("ggml.remove_extra_whitespaces").unwrap_or(unigram),
                    added: Vec::new(),
                    ends,
                },
            )?
        }
        other => {
            return Err(refuse(format!(
                "has a tokenizer of the kind {other:?}; gpt2, llama and t5 are supported"
            )));
        }
    };
    Ok(Found { tokenizer, config: config(keys) })
}

/// What a `tokenizer_config.json` would say.
fn config(keys: &Keys) -> Value {
    let mut config = Map::new();
    if let Some(template) = keys.text("chat_template") {
        config.insert("chat_template".into(), template.into());
    }
    for (key, id) in [
        ("bos_token", "ggml.bos_token_id"),
        ("eos_token", "ggml.eos_token_id"),
        ("unk_token", "ggml.unknown_token_id"),
        ("pad_token", "ggml.padding_token_id"),
    ] {
        let text = keys.token(id).map(|(text, _)| text);
        config.insert(key.into(), json!(text));
    }
    Value::Object(config)
}

/// How words are cut by the name that GGUF files write, and whether words that are tokens are left whole.
fn words(pre: &str) -> Option<(Words, bool)> {
    Some(match pre {
        "gpt-2" | "phi-2" | "jina-es" | "jina-de" | "jina-v2-es" | "jina-v2-de" | "mpt"
        | "olmo" | "jais" | "exaone4" | "modern-bert" => (Words::Gpt2, false),
        "starcoder" | "refact" | "command-r" | "smollm" | "codeshell" | "exaone" | "minerva-7b" => {
            (Words::Gpt2Digits, false)
        }
        "llama3" | "llama-v3" | "llama-bpe" | "falcon3" | "pixtral" | "lfm2" => {
            (Words::Cl100k, true)
        }
        "dbrx" | "smaug-bpe" | "glm4" | "chatglm-bpe" => (Words::Cl100k, false),
        "qwen2" | "deepseek-r1-qwen" | "megrez" | "stablelm2" | "hunyuan" | "grok-2"
        | "solar-open" => (Words::Qwen, false),
        "qwen35" => (Words::Qwen35, false),
        "gpt-4o" | "llama4" | "minimax-m2" => (Words::O200k, false),
        "tekken" => (Words::Tekken, true),
        "kimi-k2" => (Words::Kimi, false),
        "deepseek-v3" | "hunyuan-dense" => (Words::DeepSeekV3, false),
        _ => return None,
    })
}

// -- The header ------------------------------------------------------------------------------------------------------

/// Why a header cannot be read.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("it does not begin with GGUF")]
    Magic,
    #[error("its version is {0}; 2 and 3 are supported, little-endian")]
    Version(u32),
    #[error("it ends within its header")]
    Short,
    #[error("reading failed: {0}")]
    Read(std::io::Error),
    #[error("a text of {0} bytes")]
    Long(u64),
    #[error("a value of type {0}, which is not known")]
    Type(u32),
    #[error("lists within lists within lists")]
    Deep,
}

impl From<std::io::Error> for Broken {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::UnexpectedEof => Self::Short,
            _ => Self::Read(error),
        }
    }
}

/// The keys that begin with `tokenizer.`, without that.
fn header(file: &mut impl Read) -> Result<HashMap<String, Item>, Broken> {
    if &bytes::<4>(file)? != MAGIC {
        return Err(Broken::Magic);
    }
    let version = u32::from_le_bytes(bytes(file)?);
    if !matches!(version, 2 | 3) {
        return Err(Broken::Version(version));
    }
    let _tensors: [u8; 8] = bytes(file)?;
    let mut keys = HashMap::new();
    for _ in 0..u64::from_le_bytes(bytes(file)?) {
        let key = text(file)?;
        let kind = u32::from_le_bytes(bytes(file)?);
        let item = item(file, kind, 0)?;
        if let Some(key) = key.strip_prefix("tokenizer.") {
            keys.insert(key.to_owned(), item);
        }
    }
    Ok(keys)
}

fn bytes<const N: usize>(file: &mut impl Read) -> Result<[u8; N], Broken> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn text(file: &mut impl Read) -> Result<String, Broken> {
    let length = u64::from_le_bytes(bytes(file)?);
    if length > LONGEST {
        return Err(Broken::Long(length));
    }
    let mut text = Vec::new();
    if file.take(length).read_to_end(&mut text)? as u64 != length {
        return Err(Broken::Short);
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn item(file: &mut impl Read, kind: u32, depth: u32) -> Result<Item, Broken> {
    Ok(match kind {
        0 => Item::Whole(u8::from_le_bytes(bytes(file)?).into()),
        1 => Item::Whole(i8::from_le_bytes(bytes(file)?).into()),
        2 => Item::Whole(u16::from_le_bytes(bytes(file)?).into()),
        3 => Item::Whole(i16::from_le_bytes(bytes(file)?).into()),
        4 => Item::Whole(u32::from_le_bytes(bytes(file)?).into()),
        5 => Item::Whole(i32::from_le_bytes(bytes(file)?).into()),
        6 => Item::Float(f32::from_le_bytes(bytes(file)?).into()),
        7 => Item::Flag(bytes::<1>(file)? != [0]),
        8 => Item::Text(text(file)?),
        9 if depth > 1 => return Err(Broken::Deep),
        9 => {
            let kind = u32::from_le_bytes(bytes(file)?);
            let length = u64::from_le_bytes(bytes(file)?);
            list(file, kind, length, depth)?
        }
        10 => i64::try_from(u64::from_le_bytes(bytes(file)?)).map_or(Item::Other, Item::Whole),
        11 => Item::Whole(i64::from_le_bytes(bytes(file)?)),
        12 => Item::Float(f64::from_le_bytes(bytes(file)?)),
        other => return Err(Broken::Type(other)),
    })
}

/// A list of `length`, which is not trusted with memory: a file that claims too much ends first.
fn list(file: &mut impl Read, kind: u32, length: u64, depth: u32) -> Result<Item, Broken> {
    let (mut wholes, mut floats, mut texts) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..length {
        match item(file, kind, depth + 1)? {
            Item::Whole(whole) => wholes.push(whole),
            Item::Float(float) => floats.push(float),
            Item::Text(text) => texts.push(text),
            _ => {}
        }
    }
    Ok(match kind {
        0..=5 | 10 | 11 => Item::Wholes(wholes),
        6 | 12 => Item::Floats(floats),
        8 => Item::Texts(texts),
        _ => Item::Other,
    })
}

#[cfg(test)]
#[path = "gguf/tests.rs"]
mod tests;
