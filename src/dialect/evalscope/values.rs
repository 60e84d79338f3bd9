//! Values that flags of EvalScope take.

use std::path::Path;

use rand::RngExt;
use serde_json::{Map, Value};

use crate::rng;

/// A range of lengths in tokens, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lengths {
    /// The shortest.
    pub least: usize,
    /// The longest.
    pub most: usize,
}

impl Lengths {
    /// The length of row `i`; `consumer` names what draws from `seed`.
    pub fn draw(self, seed: u64, consumer: &str, i: usize) -> usize {
        if self.most <= self.least {
            return self.least;
        }
        rng::stream(seed, consumer, i as u64).random_range(self.least..=self.most)
    }
}

/// A JSON object.
pub(super) fn object(text: &str) -> Result<Map<String, Value>, String> {
    match serde_json::from_str(text) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err("must be a JSON object".to_owned()),
        Err(error) => Err(format!("must be a JSON object: {error}")),
    }
}

/// `KEY=VALUE`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("must be KEY=VALUE".to_owned()),
    }
}

/// A text, or that of the file after `@`.
pub(super) fn text_or_file(text: &str) -> Result<String, String> {
    match text.strip_prefix('@') {
        None => Ok(text.to_owned()),
        Some(path) => std::fs::read_to_string(Path::new(path))
            .map_err(|error| format!("cannot read {path}: {error}")),
    }
}
