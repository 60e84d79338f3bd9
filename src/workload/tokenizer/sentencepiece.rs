//! Models of SentencePiece, such as `tokenizer.model`.

use prost::Message;
use serde_json::{Map, Value};

use super::byte_level::Ends;
use super::pieces::{self, Choice, LeadingSpace, Piece, Pieces, Purpose};
use super::tiktoken::configured;
use crate::error::{Error, Kind};
use crate::workload::filetype;

/// The parts of a model that say how text is cut; the wire format skips all others.
#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<Entry>,
    #[prost(message, optional, tag = "2")]
    trainer: Option<Trainer>,
    #[prost(message, optional, tag = "3")]
    normalizer: Option<Normalizer>,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(string, optional, tag = "1")]
    piece: Option<String>,
    #[prost(float, optional, tag = "2")]
    score: Option<f32>,
    #[prost(int32, optional, tag = "3", default = "1")]
    purpose: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct Trainer {
    /// 1 unigram, 2 pairs, 3 words, 4 characters.
    #[prost(int32, optional, tag = "3", default = "1")]
    model_type: Option<i32>,
    #[prost(bool, optional, tag = "24", default = "false")]
    space_as_suffix: Option<bool>,
    #[prost(int32, optional, tag = "41", default = "1")]
    bos_id: Option<i32>,
    #[prost(int32, optional, tag = "42", default = "2")]
    eos_id: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct Normalizer {
    #[prost(bytes = "vec", optional, tag = "2")]
    characters: Option<Vec<u8>>,
    #[prost(bool, optional, tag = "3", default = "true")]
    leading_space: Option<bool>,
    #[prost(bool, optional, tag = "4", default = "true")]
    single_spaces: Option<bool>,
    #[prost(bool, optional, tag = "5", default = "true")]
    escape_spaces: Option<bool>,
}

/// The file `name` with its `bytes` and the `tokenizer_config.json` beside it, as a `tokenizer.json`.
///
/// # Errors
/// If it is no model, or one of a kind that is not supported.
pub(super) fn convert(
    name: &str,
    bytes: &[u8],
    config: &Map<String, Value>,
) -> Result<Value, Error> {
    let refuse = |what: &str| Error::new(Kind::Input, format!("{name} {what}"));
    if let Some(what) = filetype::of(&bytes[..bytes.len().min(filetype::HEAD)]) {
        return Err(refuse(&format!("is {what}")));
    }
    let model = Model::decode(bytes)
        .map_err(|error| refuse("is not a SentencePiece model").because(error))?;
    if model.pieces.is_empty() {
        return Err(refuse("is not a SentencePiece model: it has no pieces"));
    }
    let trainer = model.trainer.unwrap_or_default();
    let normalizer = model.normalizer.unwrap_or_default();
    let choice = match trainer.model_type() {
        1 => Choice::Unigram,
        2 => Choice::Pairs,
        3 => return Err(refuse("is a SentencePiece model of words, which is not supported")),
        4 => return Err(refuse("is a SentencePiece model of characters, which is not supported")),
        other => {
            return Err(refuse(&format!(
                "is a SentencePiece model of type {other}, which is not known"
            )));
        }
    };
    if trainer.space_as_suffix() {
        return Err(refuse(
            "is a SentencePiece model with spaces at the ends of words, which is not supported",
        ));
    }
    if !normalizer.escape_spaces() {
        return Err(refuse(
            "is a SentencePiece model that does not mark spaces, which is not supported",
        ));
    }
    let pieces = (0..).zip(&model.pieces).map(|(id, entry)| {
        let purpose = Purpose::new(entry.purpose().into()).ok_or_else(|| {
            refuse(&format!("has piece {id} of type {}, which is not known", entry.purpose()))
        })?;
        Ok(Piece { text: entry.piece().to_owned(), score: entry.score(), purpose })
    });
    let pieces: Vec<Piece> = pieces.collect::<Result<_, Error>>()?;
    let end = |id: i32| {
        let piece = pieces.get(usize::try_from(id).ok()?)?;
        Some((piece.text.clone(), u32::try_from(id).ok()?))
    };
    let (before, after) = ends(config, choice);
    let ends = Ends {
        before: end(trainer.bos_id()).filter(|_| before),
        after: end(trainer.eos_id()).filter(|_| after),
    };
    pieces::tokenizer(
        name,
        Pieces {
            all: pieces,
            choice,
            characters: normalizer.characters().to_vec(),
            leading_space: match (normalizer.leading_space(), config.get("legacy")) {
                (false, _) => LeadingSpace::Never,
                (true, Some(Value::Bool(false))) => LeadingSpace::First,
                (true, _) => LeadingSpace::Each,
            },
            single_spaces: normalizer.single_spaces(),
            added: configured(name, config)?,
            ends,
        },
    )
}

/// Whether servers put a token before and after each text.
///
/// The model does not say; the configuration does, or else the habit of its class:
/// the Llama family, which merges pairs, begins texts, and T5 ends them.
fn ends(config: &Map<String, Value>, choice: Choice) -> (bool, bool) {
    let says = |key: &str| config.get(key).and_then(Value::as_bool);
    let class = config.get("tokenizer_class").and_then(Value::as_str).unwrap_or_default();
    (
        says("add_bos_token").unwrap_or(choice == Choice::Pairs),
        says("add_eos_token").unwrap_or(class.starts_with("T5")),
    )
}

#[cfg(test)]
#[path = "sentencepiece/tests.rs"]
mod tests;
