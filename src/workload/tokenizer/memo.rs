//! Remembers what the words of texts encode to, so that most of a text is looked up.
//!
//! Tokenizers of the byte-level family cut a text by a pattern and encode each piece by itself.
//! All of their patterns begin a new match at the places that [`Borders`] knows, whatever stands before them, and none
//! looks back. So a text may be cut there, and the ids of the parts are those of the whole.
//! Whether a tokenizer is of that kind is read from its file; of any other, nothing is remembered.

mod borders;

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use foldhash::fast::FixedState;
use serde_json::Value;
use tokenizers::Model as _;

use self::borders::Borders;
use super::byte_level;

/// Longest part that is remembered, in bytes: longer ones hardly come twice.
const LONGEST: usize = 64;

/// Most parts that one thread remembers: some MiB.
const MOST: usize = 1 << 16;

/// Parts of what all threads remember together, so that they seldom wait for each other.
const SHARDS: usize = 64;

/// What is known of the parts of texts, and the bytes of the tokens.
pub(super) struct Memo {
    borders: Borders,
    /// What a thread looks at first. There is one for each that encodes at the same time.
    shelves: Mutex<Vec<Shelf>>,
    /// What any thread has encoded, by the hash of the part.
    shared: Box<[Mutex<Shelf>]>,
    /// What stands before and after each text where special tokens are asked for.
    ends: Option<(Vec<u32>, Vec<u32>)>,
    /// Whether tokens are decoded by joining their bytes.
    joins: bool,
    bytes: OnceLock<Option<Bytes>>,
}

impl std::fmt::Debug for Memo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memo").field("joins", &self.joins).finish_non_exhaustive()
    }
}

/// Ids of parts, in the order in which they were first seen.
#[derive(Default)]
struct Shelf {
    spans: HashMap<Box<[u8]>, (u32, u32), FixedState>,
    ids: Vec<u32>,
}

impl Memo {
    /// For a tokenizer whose texts may be cut; `None` for any other.
    pub(super) fn of(inner: &tokenizers::Tokenizer) -> Option<Self> {
        let json = |part: Result<Value, serde_json::Error>| part.unwrap_or(Value::Null);
        let cuts = cuts_alike(&json(serde_json::to_value(inner.get_pre_tokenizer())));
        // Dropout makes the ids of a word a matter of chance.
        let settled = match inner.get_model() {
            tokenizers::ModelWrapper::BPE(model) => model.dropout.is_none(),
            _ => false,
        };
        let normalizer = json(serde_json::to_value(inner.get_normalizer()));
        // Composing characters does not reach over a border.
        let normal = normalizer.is_null() || normalizer["type"] == "NFC";
        // Added tokens are found before the text is cut. They must not take what stands around them.
        let added = inner.get_added_tokens_decoder();
        let alone =
            added.values().all(|token| !token.lstrip && !token.rstrip && !token.single_word);
        if !(cuts && settled && normal && alone) {
            return None;
        }
        let decoder = json(serde_json::to_value(inner.get_decoder()));
        Some(Self {
            borders: Borders::around(added.values().map(|token| token.content.as_str()))?,
            shelves: Mutex::default(),
            shared: (0..SHARDS).map(|_| Mutex::default()).collect(),
            ends: ends(inner),
            joins: decoder["type"] == "ByteLevel",
            bytes: OnceLock::new(),
        })
    }

    /// Hands on the ids of `text`, in order and in several pieces; `None` if this is not known to give the right ones.
    pub(super) fn each(
        &self,
        inner: &tokenizers::Tokenizer,
        text: &str,
        special: bool,
        mut take: impl FnMut(&[u32]),
    ) -> Option<()> {
        let ends = if special { Some(self.ends.as_ref()?) } else { None };
        if let Some((before, _)) = ends {
            take(before);
        }
        let mut shelf = lock(&self.shelves).pop().unwrap_or_default();
        let done = self
            .borders
            .parts(text)
            .try_for_each(|part| self.part(inner, &mut shelf, part, &mut take));
        lock(&self.shelves).push(shelf);
        if let Some((_, after)) = ends {
            take(after);
        }
        done
    }

    /// Hands on the ids of one part.
    fn part(
        &self,
        inner: &tokenizers::Tokenizer,
        shelf: &mut Shelf,
        part: &str,
        take: &mut impl FnMut(&[u32]),
    ) -> Option<()> {
        if let Some(ids) = shelf.get(part) {
            take(ids);
            return Some(());
        }
        if part.len() > LONGEST {
            take(inner.encode_fast(part, false).ok()?.get_ids());
            return Some(());
        }
        let hash = FixedState::default().hash_one(part.as_bytes());
        let shared = &self.shared[usize::try_from(hash >> 32).unwrap_or(0) % SHARDS];
        if let Some(ids) = lock(shared).get(part) {
            take(ids);
            shelf.put(part, ids, MOST);
            return Some(());
        }
        let ids = self.encode(inner, part)?;
        take(&ids);
        shelf.put(part, &ids, MOST);
        lock(shared).put(part, &ids, 4 * MOST / SHARDS);
        Some(())
    }

    /// Encodes one part, a plain word without looking for a pattern in it.
    fn encode(&self, inner: &tokenizers::Tokenizer, part: &str) -> Option<Vec<u32>> {
        if self.borders.is_word(part) {
            let letters = byte_level::letters(part.as_bytes());
            let tokens = inner.get_model().tokenize(&letters).ok()?;
            return Some(tokens.into_iter().map(|token| token.id).collect());
        }
        Some(inner.encode_fast(part, false).ok()?.get_ids().to_vec())
    }

    /// The text of `ids`; `None` if this is not known to be their bytes.
    pub(super) fn decode(&self, inner: &tokenizers::Tokenizer, ids: &[u32]) -> Option<String> {
        if !self.joins {
            return None;
        }
        let bytes = self.bytes.get_or_init(|| Bytes::of(inner)).as_ref()?;
        let mut text = Vec::with_capacity(ids.len() * 6);
        for &id in ids {
            text.extend_from_slice(bytes.get(id));
        }
        Some(
            String::from_utf8(text)
                .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
        )
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is remembered is whole whenever a thread can fail.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shelf {
    fn get(&self, part: &str) -> Option<&[u32]> {
        let &(start, end) = self.spans.get(part.as_bytes())?;
        Some(&self.ids[start as usize..end as usize])
    }

    /// Remembers the ids of `part`, unless there are `most` parts already.
    fn put(&mut self, part: &str, ids: &[u32], most: usize) {
        let start = self.ids.len();
        let span = u32::try_from(start).ok().zip(u32::try_from(start + ids.len()).ok());
        if let Some(span) = span.filter(|_| self.spans.len() < most) {
            self.ids.extend_from_slice(ids);
            self.spans.insert(part.as_bytes().into(), span);
        }
    }
}

/// Whether a `pre_tokenizer` cuts the parts of a text as it cuts the whole.
fn cuts_alike(json: &Value) -> bool {
    let bytes = |json: &Value, cuts: bool| {
        json["type"] == "ByteLevel"
            && json["add_prefix_space"] == false
            && json["use_regex"] == cuts
    };
    if bytes(json, true) {
        return true;
    }
    let Some([splits @ .., last]) = json["pretokenizers"].as_array().map(Vec::as_slice) else {
        return false;
    };
    let pattern = |split: &Value| {
        let plain =
            split["type"] == "Split" && split["behavior"] == "Isolated" && split["invert"] == false;
        plain.then(|| split["pattern"]["Regex"].as_str().map(str::to_owned)).flatten()
    };
    let patterns: Option<Vec<String>> = splits.iter().map(pattern).collect();
    json["type"] == "Sequence"
        && bytes(last, false)
        && patterns.is_some_and(|patterns| byte_level::Words::have(&patterns))
}

/// What the tokenizer puts before and after each text; `None` if it does something else.
fn ends(inner: &tokenizers::Tokenizer) -> Option<(Vec<u32>, Vec<u32>)> {
    let around = |text: &str| {
        let ids = |special| Some(inner.encode_fast(text, special).ok()?.get_ids().to_vec());
        let (with, without): (Vec<u32>, Vec<u32>) = (ids(true)?, ids(false)?);
        let added = with.len().checked_sub(without.len())?;
        let start = (0..=added).find(|&start| with[start..].starts_with(&without))?;
        Some((with[..start].to_vec(), with[start + without.len()..].to_vec()))
    };
    let (first, second) = (around("a b")?, around("0")?);
    (first == second).then_some(first)
}

/// The bytes of all tokens.
struct Bytes {
    joined: Vec<u8>,
    /// Where the bytes of each id end.
    ends: Vec<usize>,
}

impl Bytes {
    /// `None` if the ids are too far apart to have a place each.
    fn of(inner: &tokenizers::Tokenizer) -> Option<Self> {
        let letters = byte_level::bytes_of_letters();
        let ids = inner.get_vocab(true).into_values();
        let (count, last) = ids.fold((0, 0), |(count, last), id| (count + 1, id.max(last)));
        if last / 8 > count + 1000 {
            return None;
        }
        let (added, model) = (inner.get_added_vocabulary(), inner.get_model());
        let mut bytes = Self { joined: Vec::new(), ends: Vec::new() };
        for id in 0..=last {
            let token = added.simple_id_to_token(id).or_else(|| model.id_to_token(id));
            if let Some(token) = token {
                let start = bytes.joined.len();
                for letter in token.chars() {
                    let Some(&byte) = letters.get(&letter) else {
                        // Not written in letters that stand for bytes: the text itself.
                        bytes.joined.truncate(start);
                        bytes.joined.extend_from_slice(token.as_bytes());
                        break;
                    };
                    bytes.joined.push(byte);
                }
            }
            bytes.ends.push(bytes.joined.len());
        }
        Some(bytes)
    }

    /// The bytes of `id`, none of an unknown one.
    fn get(&self, id: u32) -> &[u8] {
        let id = id as usize;
        let Some(&end) = self.ends.get(id) else { return &[] };
        let start = id.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.joined[start..end]
    }
}

#[cfg(test)]
mod tests;
