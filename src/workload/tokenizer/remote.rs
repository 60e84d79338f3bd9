//! Counting by a server, where no tokenizer is at hand.

use std::sync::OnceLock;

/// Who counts tokens for others.
pub trait Counter: std::fmt::Debug + Send + Sync {
    /// Token ids of `text`, with the special tokens that the server would add if `special`.
    ///
    /// # Errors
    /// If the server does not say; the error says what came instead.
    fn ids(&self, text: &str, special: bool) -> Result<Vec<u32>, String>;

    /// The text of `ids`.
    ///
    /// # Errors
    /// As for [`Self::ids`].
    fn text(&self, ids: &[u32]) -> Result<String, String>;
}

/// Bytes of text that stand for a token where nobody counts: about what English takes in the vocabularies of today.
const BYTES_PER_TOKEN: usize = 4;

/// Nobody who counts: lengths are estimated, for requests that have to ask for one.
#[derive(Debug)]
pub(super) struct Estimate;

impl Counter for Estimate {
    fn ids(&self, text: &str, _: bool) -> Result<Vec<u32>, String> {
        Ok(vec![0; text.len().div_ceil(BYTES_PER_TOKEN)])
    }

    fn text(&self, _: &[u32]) -> Result<String, String> {
        Err("--tokenizer none makes no text of tokens".to_owned())
    }
}

/// A counter, and the first thing that went wrong with it.
#[derive(Debug)]
pub(super) struct Remote {
    counter: Box<dyn Counter>,
    trouble: OnceLock<String>,
}

impl Remote {
    pub(super) fn new(counter: Box<dyn Counter>) -> Self {
        Self { counter, trouble: OnceLock::new() }
    }

    /// As [`Counter::ids`]; none after an error, which is kept.
    pub(super) fn ids(&self, text: &str, special: bool) -> Vec<u32> {
        // One who fails is asked no more.
        if self.trouble.get().is_some() || text.is_empty() && !special {
            return Vec::new();
        }
        self.counter.ids(text, special).unwrap_or_else(|why| {
            self.trouble.get_or_init(|| why);
            Vec::new()
        })
    }

    /// As [`Counter::text`]; empty after an error, which is kept.
    pub(super) fn text(&self, ids: &[u32]) -> String {
        if self.trouble.get().is_some() || ids.is_empty() {
            return String::new();
        }
        self.counter.text(ids).unwrap_or_else(|why| {
            self.trouble.get_or_init(|| why);
            String::new()
        })
    }

    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.get().map(String::as_str)
    }
}
