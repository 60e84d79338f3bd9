//! Pieces with scores, as SentencePiece and some GGUF files hold them, written as a `tokenizer.json`.

use std::collections::HashMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::byte_level::{Added, Ends, by_text};
use crate::error::{Error, Kind};

/// The letter that stands for a space.
const SPACE: &str = "▁";

/// What a piece is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Text.
    Text,
    /// What the model does not know.
    Unknown,
    /// The machinery of the model; never made from text.
    Control,
    /// Text that is never cut.
    Whole,
    /// One byte, for text without pieces.
    Byte,
    /// Nothing.
    Unused,
}

impl Purpose {
    /// From the number that both formats write.
    pub(super) fn new(number: i64) -> Option<Self> {
        Some(match number {
            1 => Self::Text,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::Whole,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => return None,
        })
    }
}

/// How pieces are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// The most likely row of pieces.
    Unigram,
    /// Neighbours are merged, the pair with the best score first.
    Pairs,
}

/// Where a space is put before text that has none of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeadingSpace {
    Never,
    /// Before the text, and before what follows a special token within it.
    Each,
    /// Before the text, unless it begins with a space or a special token.
    First,
}

/// One piece; its place is its id.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Piece {
    pub text: String,
    pub score: f32,
    pub purpose: Purpose,
}

/// What a file says of its pieces.
#[derive(Debug)]
pub(super) struct Pieces {
    /// All pieces, by id.
    pub all: Vec<Piece>,
    pub choice: Choice,
    /// How characters are normalized, in SentencePiece's compiled form; may be empty.
    pub characters: Vec<u8>,
    pub leading_space: LeadingSpace,
    /// Whether spaces around text are dropped, and several taken as one.
    pub single_spaces: bool,
    /// Tokens that other files add.
    pub added: Vec<Added>,
    pub ends: Ends,
}

/// Checks that a table of characters leads nowhere outside of itself, which nobody does who looks something up in it.
///
/// It is the length of a double array, the array, and the texts that its leaves are places in.
fn check_characters(table: &[u8]) -> Result<(), &'static str> {
    const CUT: &str = "that is cut off";
    const OUTSIDE: &str = "that leads outside of itself";
    let (size, rest) = table.split_first_chunk::<4>().ok_or(CUT)?;
    let size = u32::from_le_bytes(*size) as usize / 4 * 4;
    let (units, texts) = rest.split_at_checked(size).ok_or(CUT)?;
    let texts = std::str::from_utf8(texts).map_err(|_| "whose texts are none")?;
    let units: Vec<usize> = units
        .chunks_exact(4)
        .filter_map(|unit| Some(u32::from_le_bytes(unit.try_into().ok()?) as usize))
        .collect();
    let offset = |unit: usize| (unit >> 10) << ((unit & 0x200) >> 6);
    let mut known = vec![false; units.len()];
    let mut nodes = vec![offset(*units.first().ok_or(CUT)?)];
    while let Some(node) = nodes.pop() {
        // Any byte may be looked for below a node.
        let children = units.get(node & !0xff..=node | 0xff).ok_or(OUTSIDE)?;
        for byte in 1..=0xff {
            let (place, unit) = (node ^ byte, children[(node ^ byte) & 0xff]);
            if unit & (1 << 31 | 0xff) != byte || std::mem::replace(&mut known[place], true) {
                continue;
            }
            let below = place ^ offset(unit);
            if unit >> 8 & 1 == 1 {
                let leaf = units.get(below).ok_or(OUTSIDE)? & 0x7fff_ffff;
                if !texts.is_char_boundary(leaf) {
                    return Err(OUTSIDE);
                }
            }
            nodes.push(below);
        }
    }
    Ok(())
}

/// The tokenizer as a `tokenizer.json`.
///
/// # Errors
/// If a piece is there twice, none stands for what is unknown, or the added tokens do not fit.
pub(super) fn tokenizer(name: &str, pieces: Pieces) -> Result<Value, Error> {
    let Pieces { all: mut pieces, choice, characters, leading_space, single_spaces, added, ends } =
        pieces;
    let refuse = |what: String| Error::new(Kind::Input, format!("{name} {what}"));
    let bytes = pieces.iter().filter(|piece| piece.purpose == Purpose::Byte).count();
    if bytes != 0 && bytes != 256 {
        return Err(refuse(format!("has pieces for {bytes} of 256 bytes")));
    }
    let unknown = pieces
        .iter()
        .position(|piece| piece.purpose == Purpose::Unknown)
        .ok_or_else(|| refuse("has no piece for unknown text".to_owned()))?;
    let is_lost = |piece: &Piece| {
        piece.text.is_empty() && (choice == Choice::Unigram || piece.purpose == Purpose::Whole)
    };
    if let Some(place) = pieces.iter().position(is_lost) {
        return Err(refuse(format!("has no text for piece {place}")));
    }
    let mut special: Vec<Added> = (0..)
        .zip(&pieces)
        .filter(|(_, piece)| matches!(piece.purpose, Purpose::Control | Purpose::Unknown))
        .map(|(id, piece)| Added { id, text: piece.text.clone(), special: true })
        .collect();
    for token in added {
        let place = token.id as usize;
        match pieces.get(place) {
            Some(piece) if piece.text == token.text => {}
            Some(piece) => {
                return Err(refuse(format!(
                    "has {:?} as token {place}, where tokenizer_config.json has {:?}",
                    piece.text, token.text
                )));
            }
            None if place == pieces.len() => pieces.push(Piece {
                text: token.text.clone(),
                score: 0.0,
                purpose: Purpose::Control,
            }),
            None => {
                return Err(refuse(format!(
                    "has {} pieces, and the first that tokenizer_config.json adds is {place}",
                    pieces.len()
                )));
            }
        }
        special.retain(|other| other.id != token.id);
        special.push(token);
    }
    special.sort_by_key(|token| token.id);
    let vocabulary =
        by_text(name, (0..).zip(&pieces).map(|(id, piece)| (piece.text.clone(), id)), &special)?;
    let whole = whole_pattern(&pieces);
    let model = match choice {
        Choice::Pairs => json!({
            "type": "BPE", "dropout": null, "unk_token": pieces[unknown].text,
            "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": true, "byte_fallback": bytes > 0,
            // What is never cut stands alone then, and is found whole.
            "ignore_merges": whole.is_some(),
            "vocab": vocabulary,
            "merges": merges(&pieces),
        }),
        Choice::Unigram => json!({
            "type": "Unigram", "unk_id": unknown, "byte_fallback": bytes > 0,
            "vocab": pieces.iter().map(|piece| json!([piece.text, piece.score])).collect::<Vec<_>>(),
        }),
    };
    let replace = |pattern: Value, content: &str| json!({"type": "Replace", "pattern": pattern, "content": content});
    let mut normalizers = Vec::new();
    if !characters.is_empty() {
        check_characters(&characters)
            .map_err(|what| refuse(format!("normalizes characters by a table {what}")))?;
        let characters = BASE64_STANDARD.encode(characters);
        normalizers.push(json!({"type": "Precompiled", "precompiled_charsmap": characters}));
    }
    if single_spaces {
        normalizers.push(replace(json!({"Regex": "^ +| +$"}), ""));
        normalizers.push(replace(json!({"Regex": " {2,}"}), " "));
    }
    if leading_space == LeadingSpace::Each {
        normalizers.push(json!({"type": "Prepend", "prepend": SPACE}));
    }
    normalizers.push(replace(json!({"String": " "}), SPACE));
    let mut decoders = vec![
        replace(json!({"String": SPACE}), " "),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if leading_space != LeadingSpace::Never {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    let mut cuts = Vec::new();
    if leading_space == LeadingSpace::First {
        cuts.push(json!({
            "type": "Metaspace", "replacement": SPACE, "prepend_scheme": "first", "split": false,
        }));
    }
    if let Some(pattern) = whole {
        cuts.push(json!({
            "type": "Split", "pattern": {"Regex": pattern},
            "behavior": "Isolated", "invert": false,
        }));
    }
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": special.iter().map(Added::json).collect::<Vec<_>>(),
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "pre_tokenizer": (!cuts.is_empty())
            .then(|| json!({"type": "Sequence", "pretokenizers": cuts})),
        "post_processor": ends.json(),
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": model,
    }))
}

/// A pattern that finds the pieces that are never cut, the longest first.
fn whole_pattern(pieces: &[Piece]) -> Option<String> {
    let mut whole: Vec<String> = pieces
        .iter()
        .filter(|piece| piece.purpose == Purpose::Whole)
        // Normalization has replaced the spaces of the text.
        .map(|piece| piece.text.replace(' ', SPACE))
        .collect();
    whole.sort_by_key(|text| std::cmp::Reverse(text.len()));
    let literal = |text: &String| {
        text.chars().fold(String::new(), |mut out, c| {
            if "\\.+*?()|[]{}^$".contains(c) {
                out.push('\\');
            }
            out.push(c);
            out
        })
    };
    (!whole.is_empty()).then(|| whole.iter().map(literal).collect::<Vec<_>>().join("|"))
}

/// All pairs that make a piece, in the order in which they are merged: by score, then by place.
fn merges(pieces: &[Piece]) -> Vec<(&str, &str)> {
    let text = |piece: &&Piece| matches!(piece.purpose, Purpose::Text | Purpose::Whole);
    let mut sorted: Vec<&Piece> = pieces.iter().filter(text).collect();
    let known: HashMap<&str, usize> =
        sorted.iter().enumerate().map(|(place, piece)| (piece.text.as_str(), place)).collect();
    sorted.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut merges = Vec::new();
    for piece in sorted {
        let cuts = piece.text.char_indices().skip(1).map(|(at, _)| piece.text.split_at(at));
        let mut pairs: Vec<(usize, usize, (&str, &str))> = cuts
            .filter_map(|(left, right)| {
                Some((*known.get(left)?, *known.get(right)?, (left, right)))
            })
            .collect();
        pairs.sort_unstable();
        merges.extend(pairs.into_iter().map(|(.., pair)| pair));
    }
    merges
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table with one entry, which leads from `byte` to the place `leaf` in `texts`.
    fn table(byte: u8, leaf: u32, texts: &[u8]) -> Vec<u8> {
        // The root is at 0 and its children in the second block, the leaf in the third.
        let mut units = vec![0_u32; 3 * 256];
        units[0] = 256 << 10;
        let place = 256 + u32::from(byte);
        units[place as usize] = (place ^ 512) << 10 | 1 << 8 | u32::from(byte);
        units[512] = 1 << 31 | leaf;
        let size = u32::try_from(units.len() * 4).unwrap();
        let units = units.iter().flat_map(|unit| unit.to_le_bytes());
        size.to_le_bytes().into_iter().chain(units).chain(texts.iter().copied()).collect()
    }

    #[test]
    fn tables_of_characters() {
        let texts = "a\0é\0".as_bytes();
        let sound = table(b'x', 2, texts);
        assert_eq!(check_characters(&sound), Ok(()));
        let mut far = sound.clone();
        far[4..8].copy_from_slice(&(768_u32 << 10).to_le_bytes());
        let mut long = sound.clone();
        long[0..4].copy_from_slice(&99_999_u32.to_le_bytes());
        for (broken, want) in [
            (vec![], "cut off"),
            (vec![0; 4], "cut off"),
            (sound[..100].to_vec(), "cut off"),
            (long, "cut off"),
            (far, "outside"),
            (table(b'x', 3, texts), "outside"),
            (table(b'x', 6, texts), "outside"),
            (table(b'x', 0, b"\xff"), "texts"),
        ] {
            assert!(check_characters(&broken).unwrap_err().contains(want), "{want}");
        }
    }
}
