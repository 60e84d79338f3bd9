//! What the events of a stream say of one completion: its text, and where its count of tokens stands.

use crate::backend::{End, Part, TextMode};
use crate::raw;

/// What the events so far have said of one completion.
#[derive(Default)]
pub(super) struct Completion {
    pub(super) text: String,
    /// The text as JSON writes it, where it is read only at the end.
    pub(super) escaped: Vec<u8>,
    /// Whether it had output.
    pub(super) begun: bool,
    /// Text of the first event, to tell repeated text from pieces.
    first_len: usize,
    /// The server sends pieces where the protocol says it repeats the text.
    pieces: bool,
    /// The server's count of its tokens.
    pub(super) counted: Option<u64>,
    /// Where the server's running count stood at the last event with output.
    pub(super) stepped: u64,
    /// Whether the server has a field that marks the end, and whether it did.
    pub(super) marks_end: bool,
    pub(super) finished: bool,
}

impl Completion {
    /// The whole text, without memory for more.
    pub(super) fn into_text(mut self) -> String {
        self.text.shrink_to_fit();
        self.text
    }

    /// How far the count beside an event with output rose above the one before; `None` if it is no running count.
    pub(super) fn rise(&mut self, total: u64) -> Option<u32> {
        let tokens = total.checked_sub(self.stepped).filter(|&tokens| tokens > 0 || self.begun)?;
        self.stepped = total;
        u32::try_from(tokens).ok()
    }

    /// Has room for `bytes` of text where `part` has its text.
    pub(super) fn reserve(&mut self, part: &Part<'_>, bytes: usize) {
        match part.escaped {
            Some(_) => self.escaped.reserve(bytes),
            None => self.text.reserve(bytes),
        }
    }

    /// Has the places fetched that the next text is compared with and goes to.
    pub(super) fn fetch(&self) {
        raw::fetch_end(self.text.as_bytes());
        raw::fetch_end(&self.escaped);
        raw::fetch_all(&self.escaped[..self.first_len.min(self.escaped.len())]);
    }

    /// Bytes of text that are kept of it.
    pub(super) fn kept(&self) -> usize {
        self.text.len() + self.escaped.len()
    }

    /// Keeps a text that repeats the one before and goes on, without reading what is known already.
    fn take_escaped(&mut self, text: &[u8], last: bool) {
        /// Bytes before the new ones that are compared: what a detokenizer takes back is shorter.
        const SEAM: usize = 16;
        let kept = self.escaped.len();
        if self.begun && !self.pieces {
            self.pieces = !text.starts_with(&self.escaped[..self.first_len.min(kept)]);
        } else if !self.begun {
            // The first text may end within a character that the next one has whole.
            let mut first = text;
            while let Some(whole) =
                first.strip_suffix("\u{fffd}".as_bytes()).or_else(|| first.strip_suffix(b"\\ufffd"))
            {
                first = whole;
            }
            self.first_len = first.len();
        }
        if self.pieces {
            self.escaped.extend_from_slice(text);
            return;
        }
        let seam = kept.saturating_sub(SEAM)..kept;
        if !last && text.get(seam.clone()) == self.escaped.get(seam) {
            self.escaped.extend_from_slice(&text[kept..]);
        } else {
            self.escaped.clear();
            self.escaped.extend_from_slice(text);
        }
    }

    /// Reads the text that was kept as JSON writes it.
    pub(super) fn read_escaped(&mut self) -> Result<(), serde_json::Error> {
        if !self.escaped.is_empty() {
            let quoted = [b"\"".as_slice(), &self.escaped, b"\""].concat();
            self.escaped = Vec::new();
            self.text = serde_json::from_slice(&quoted)?;
        }
        Ok(())
    }

    /// Takes the text of `part`, which comes after what was taken before or in its place.
    pub(super) fn take_text(&mut self, part: &Part<'_>) {
        if let Some(text) = part.escaped {
            self.take_escaped(text, part.end != End::Open);
            return;
        }
        if part.mode == TextMode::Replace && !self.pieces {
            // Repeated text always begins with the first event's; pieces do not.
            let first = self.text.get(..self.first_len).unwrap_or("");
            if !self.begun {
                self.first_len = part.text.trim_end_matches(char::REPLACEMENT_CHARACTER).len();
            } else if !part.text.starts_with(first) {
                self.pieces = true;
            }
        }
        if part.mode == TextMode::Replace && !self.pieces {
            self.text.clear();
        }
        self.text.push_str(&part.text);
    }
}
